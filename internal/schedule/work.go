package schedule

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// grace is how long the runs in flight have to end when the Runner stops.
const grace = 3 * time.Second

const noWorker = "over capacity: no worker was free in time"

// job is one run: of check for slot.
type job struct {
	it    *item
	check *checks.Check
	slot  time.Time
}

// job returns it's run for its slot. A start run ends before the regular slot
// after it, which need not be the next one of the schedule.
func (it *item) job() job {
	c := it.check
	if it.then != 0 {
		start := *c
		start.Schedule = once(it.then)
		c = &start
	}
	return job{it, c, it.slot}
}

// once is a schedule of one slot.
type once int64

// Next implements checks.Schedule.
func (o once) Next(t time.Time) time.Time {
	if o == never || t.UnixNano() >= int64(o) {
		return time.Time{}
	}
	return at(int64(o))
}

// tooLate tells whether it is too late to start the run for it's slot.
func (it *item) tooLate(now reading) bool {
	late := time.Duration(now.wall - it.slot.UnixNano())
	return late > time.Millisecond && late > it.job().check.LateAfter(it.slot)
}

// start makes it's slot a run in flight. The caller runs it.
func (r *Runner) start(it *item, now reading) job {
	it.state, it.started = running, now.mono
	r.running[it] = struct{}{}
	return it.job()
}

// work makes one run, and those that wait for a worker after it.
func (r *Runner) work(ctx context.Context, j job) {
	for ok := true; ok; {
		result, evidence := checks.RunScheduled(ctx, *j.check, j.slot, &j.it.memory)
		if ctx.Err() != nil && result.Status == probe.Down {
			result.Status, result.Class, result.Stage = probe.Unknown, probe.Interrupted, probe.StageMonitor
			result.Reason, result.Tally, evidence = "the monitor was stopped during the run", nil, nil
		}
		if !r.report(j, &result, evidence) {
			return
		}
		j, ok = r.done(ctx, j.it)
	}
}

// report sends the result to the sink, unless the Runner has stopped waiting
// for it.
func (r *Runner) report(j job, result *checks.Result, evidence func() *probe.Evidence) bool {
	r.mu.Lock()
	if j.it.state == abandoned {
		r.mu.Unlock()
		return false
	}
	j.it.state = reported
	before := j.it.memory.status
	changed, keep := j.it.memory.note(result)
	r.stats.ran(result, time.Since(r.base))
	r.mu.Unlock()
	r.o.Sink.Append(checks.Entry{V: checks.ResultVersion, Result: result}, changed)
	if keep && evidence != nil && r.o.Evidence != nil {
		r.keep(result, evidence)
	}
	if changed {
		r.o.Log.Debug("check changed", "check", result.Check, "from", before, "to", result.Status, "class", result.Class, "reason", result.Reason)
	}
	return true
}

// done ends it's run and returns the next one for this worker, if any waits.
func (r *Runner) done(ctx context.Context, it *item) (j job, ok bool) {
	var out outbox
	r.mu.Lock()
	delete(r.running, it)
	it.state = idle
	r.flushOne(it, &out)
	if it.removed {
		delete(r.items, it.check.Name)
	}
	if ctx.Err() == nil {
		j, ok = r.nextWaiting(&out)
	}
	if r.drained != nil && len(r.running) == 0 {
		close(r.drained)
		r.drained = nil
	}
	r.mu.Unlock()
	r.send(out)
	return j, ok
}

// nextWaiting starts the check that waits for a worker and has not run for
// longest, so that over capacity all checks are run equally often.
func (r *Runner) nextWaiting(out *outbox) (job, bool) {
	for len(r.waiting) > 0 {
		it := heap.Pop(&r.waiting).(*item)
		if it.state != queued {
			continue // removed
		}
		now := r.read()
		if it.tooLate(now) {
			it.state = idle
			r.miss(it, it.slot, noWorker, out)
			continue
		}
		return r.start(it, now), true
	}
	return job{}, false
}

// end waits for the runs in flight, whose context is cancelled, and leaves
// behind those that do not obey it.
func (r *Runner) end() error {
	drained := r.stop()
	timeout := time.NewTimer(grace)
	defer timeout.Stop()
	select {
	case <-drained:
		return nil
	case <-timeout.C:
	}
	names := r.abandon()
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	more := ""
	if n := len(names); n > 5 {
		names, more = names[:5], fmt.Sprintf(" and %d more", n-5)
	}
	return fmt.Errorf("stop the runs in flight: not ended %s after their context: %s%s", grace, strings.Join(names, ", "), more)
}

// stop ends the planning and the waiting for workers. The channel it returns
// is closed when the last run in flight has ended.
func (r *Runner) stop() <-chan struct{} {
	var out outbox
	r.mu.Lock()
	r.alarm.close()
	r.alarm = nil
	for _, it := range r.waiting {
		if it.state == queued {
			it.state = idle
			r.miss(it, it.slot, "the monitor was stopped", &out)
		}
	}
	r.waiting = nil
	r.flush(&out)
	drained := make(chan struct{})
	if len(r.running) == 0 {
		close(drained)
	} else {
		r.drained = drained
	}
	r.mu.Unlock()
	r.send(out)
	return drained
}

// abandon reports the runs that are still in flight as interrupted, in their
// place, and returns the names of their checks.
func (r *Runner) abandon() (names []string) {
	var out outbox
	r.mu.Lock()
	for it := range r.running {
		names = append(names, it.check.Name)
		if it.state != running {
			continue
		}
		it.state = abandoned
		c := it.check
		result := checks.Result{
			Check: c.Name, Kind: c.Kind, Location: c.Location, Slot: it.slot, Start: r.base.Add(it.started).UTC(),
			Status: probe.Unknown, Class: probe.Interrupted, Stage: probe.StageMonitor,
			Reason: fmt.Sprintf("the monitor was stopped and the run did not end within %s", grace),
		}
		result.Duration = time.Since(result.Start)
		if c.Group != c.Name {
			result.Group = c.Group
		}
		out.add(checks.Entry{Result: &result})
	}
	r.flush(&out)
	r.mu.Unlock()
	r.send(out)
	return names
}

// waiting is a heap of checks by when they last ran.
type waiting []*item

func (w waiting) Len() int           { return len(w) }
func (w waiting) Less(i, j int) bool { return cmp.Less(w[i].started, w[j].started) }
func (w waiting) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *waiting) Push(x any)        { *w = append(*w, x.(*item)) }
func (w *waiting) Pop() any {
	old := *w
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*w = old[:len(old)-1]
	return it
}
