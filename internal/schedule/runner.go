// Package schedule runs checks at their slots. It is the only place of the
// program that waits: everything else takes its time from results.
//
// One goroutine sleeps until the next slot of any check (plan.go decides which
// one that is, from readings of two clocks); a run is one goroutine that
// exists only while it runs. Every slot comes to exactly one entry in the log:
// the result of its run, or its part of a Gap.
//
// A new sort of schedule is a type with a Next method, no change here. The
// plan steps through its slots one by one, as through those of cron.
package schedule

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// DefaultWorkers bounds the runs at one time. 10,000 checks a minute that all
// hang until a timeout of 10 s, and are tried twice, need 3,400; each costs
// some 20 KiB and a file descriptor while it runs.
const DefaultWorkers = 4096

const (
	ownFiles = 128 // descriptors that are left to the log, the page and those who tell people
	runFiles = 2   // that a run has open at most, as a rule: sockets to a host's two addresses, or to its resolvers
)

// workersFor is how many runs may be made at one time by a process that may
// have so many files open, 0 for any number. Without it, runs that hang would
// take the descriptors of the log.
func workersFor(files uint64) int {
	if files == 0 || files >= ownFiles+runFiles*DefaultWorkers {
		return DefaultWorkers
	}
	return int(max(files, ownFiles+16*runFiles)-ownFiles) / runFiles
}

// Sink takes the entries: the log. Append never blocks. urgent entries are
// those that somebody waits for, such as a change of status.
type Sink interface {
	Append(e checks.Entry, urgent bool)
}

// Options are what a Runner needs.
type Options struct {
	Checks []checks.Check // by unique names; see Spread
	// Fingerprints tells by check name what the check was made of, such as a
	// hash of its settings, for Replace. A check without one counts as changed.
	Fingerprints map[string]string
	Location     string
	Sink         Sink
	// Evidence stores what a run saw. It is called from one goroutine with
	// every record that says something new; while it is behind by more than
	// 256 records further ones are dropped and counted. Nil stores nothing.
	Evidence func(context.Context, *probe.Evidence) error
	// Workers is the most runs at one time; 0 means DefaultWorkers, or as many
	// as the limit of open files allows.
	Workers int
	// RunAtStart runs every check soon after Run or Replace first sees it: up
	// to 50 within 2 s, many evenly over their first interval.
	RunAtStart bool
	// Newest is the time of the newest entry in the log, zero for an empty
	// log: the slots since then become a Gap, and ids of runs stay unique
	// even if the clock was set back meanwhile.
	Newest time.Time
	// Seen tells by check name the newest slot that the log knows: those after
	// it, whose runs were under way when the last process died, become part of
	// that Gap. For a check that is not there the Gap begins at Newest.
	Seen map[string]time.Time
	Log  *slog.Logger
}

// Runner runs checks at their slots. Use New.
type Runner struct {
	o        Options
	newAlarm func() alarm
	base     time.Time // what monotonic readings count from
	records  chan *probe.Evidence
	tick     *item // stands for the Tick entries in the plan

	mu      sync.Mutex // guards everything below
	items   map[string]*item
	order   []*item // as configured
	plan    plan
	alarm   alarm // nil unless Run is at work
	running map[*item]struct{}
	waiting waiting
	gaps    map[*item]gap // of checks that missed slots one after the other
	stats   stats
	drained chan struct{} // closed when the last run has ended; nil until Run stops
}

// item is one check with what the Runner knows of it.
type item struct {
	check       *checks.Check
	fingerprint string
	next, after int64         // see plan.add
	given       time.Duration // when its last slot was given, monotonic
	started     time.Duration // when its last run started, monotonic
	slot        time.Time     // of the run in flight or waiting for a worker
	then        int64         // if slot is a start run: the regular slot after it, else 0
	state       state
	removed     bool   // no longer configured: forgotten when its run ends
	memory      memory // belongs to the run in flight
}

type state uint8

const (
	idle      state = iota
	queued          // its slot waits for a worker
	running         // its run is in flight
	reported        // its result is in the log, its run is about to end
	abandoned       // its run did not end in time when the Runner stopped
)

// New makes a Runner.
func New(o Options) *Runner {
	if o.Workers <= 0 {
		o.Workers = workersFor(openFiles())
	}
	r := &Runner{
		o: o, newAlarm: newAlarm, base: time.Now(),
		records: make(chan *probe.Evidence, evidenceQueue),
		tick:    &item{check: &checks.Check{Schedule: every{period: int64(time.Minute)}}},
		items:   map[string]*item{}, running: map[*item]struct{}{}, gaps: map[*item]gap{},
	}
	r.Replace(o.Checks, o.Fingerprints)
	return r
}

// Run runs the checks until ctx ends. Then it cancels the runs in flight,
// whose results are of class interrupted unless the target did well, and
// returns when the last of them has ended. Those that have not ended after 3 s
// are left behind, and the error names them. Run may be called once.
func (r *Runner) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	alarm := r.newAlarm()
	r.send(r.begin(alarm))
	defer context.AfterFunc(ctx, r.ring)()
	stored := r.storeEvidence(ctx)
	var err error
	for ctx.Err() == nil && err == nil {
		out, step := r.wake(ctx)
		r.send(out)
		if step != 0 {
			r.o.Log.Warn("wall clock stepped", "by", step)
		}
		err = alarm.wait()
	}
	cancel()
	return errors.Join(err, r.end(), stored())
}

func (r *Runner) read() reading {
	now := time.Now()
	return reading{wall: now.UnixNano(), mono: now.Sub(r.base)}
}

// ring ends the wait of Run, to look at the plan again or to stop.
func (r *Runner) ring() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alarm != nil {
		r.alarm.set(1)
	}
}

// begin plans the checks that are configured so far.
func (r *Runner) begin(a alarm) outbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.read()
	r.alarm = a
	r.plan = newPlan(now, r.o.Newest)
	r.plan.add(now, r.order, r.o.RunAtStart)
	r.plan.add(now, []*item{r.tick}, false)
	var out outbox
	if away := time.Duration(now.wall - r.o.Newest.UnixNano()); !r.o.Newest.IsZero() && away > 0 {
		var missed gapList
		for _, it := range r.order {
			from := r.o.Newest
			if seen, ok := r.o.Seen[it.check.Name]; ok && seen.Before(from) {
				from = seen
			}
			missed.add(it, between(it.check.Schedule, from.UnixNano(), now.wall))
		}
		r.stats.missed(missed.slots())
		missed.entries(&out, r.o.Location, "the monitor did not run for "+brief(away))
	}
	return out
}

// wake gives every slot that is due to a worker and sets the alarm for the
// next one. It returns what is to be sent to the sink.
func (r *Runner) wake(ctx context.Context) (out outbox, step time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.read()
	step, elapsed := r.plan.look(now)
	r.stats.woke(now)
	var passed gapList
	for d, ok := r.plan.pop(); ok; d, ok = r.plan.pop() {
		if d.it == r.tick {
			r.flush(&out)
			out.add(checks.Entry{Tick: &checks.Tick{At: d.slot}})
			continue
		}
		passed.add(d.it, d.passed)
		if !r.dispatch(ctx, d, now, &out) {
			passed.add(d.it, one(d.slot))
		}
	}
	if n := passed.slots(); n > 0 {
		r.stats.missed(n)
		passed.entries(&out, r.o.Location, standstill(step, elapsed))
	}
	r.alarm.set(r.plan.wait(time.Now().UnixNano()))
	return out, step
}

// standstill says why slots passed between two looks at the clocks.
func standstill(step, elapsed time.Duration) string {
	if step > 0 {
		return "the clock went forward by " + brief(step) + ": it was set, or the machine slept"
	}
	return "the monitor stood still for " + brief(elapsed)
}

// dispatch starts d's check, or lets it wait for a worker, or counts its slot
// as missed. It returns false if it is too late for any of that.
func (r *Runner) dispatch(ctx context.Context, d due, now reading, out *outbox) bool {
	it := d.it
	if it.state > queued {
		r.miss(it, d.slot, "the run before had not ended", out)
		return true
	}
	if it.state == queued {
		r.miss(it, it.slot, noWorker, out)
	}
	it.slot, it.then = d.slot, d.next
	switch {
	case it.tooLate(now):
		it.state = idle
		return false
	case it.state == queued: // keeps its place in the queue
	case len(r.running) < r.o.Workers:
		go r.work(ctx, r.start(it, now))
	default:
		it.state = queued
		heap.Push(&r.waiting, it)
	}
	return true
}

// Replace puts list in place of the checks that are running, by name. A check
// whose fingerprint is the same goes on as it is: its old Check, slots, run in
// flight and memory. A changed one has its slots from the new Schedule, its
// run in flight ends as it began. A removed one ends after its run. New and
// changed ones are run at once if Options.RunAtStart says so. The list belongs
// to the Runner from then on.
func (r *Runner) Replace(list []checks.Check, fingerprints map[string]string) {
	r.mu.Lock()
	known := r.items
	r.items, r.order = make(map[string]*item, len(list)), make([]*item, 0, len(list))
	var kept, fresh, busy []*item
	for k := range list { // by its place: a copy for each check is 3.5 MB for 10,000
		c := &list[k]
		if r.items[c.Name] != nil {
			continue
		}
		it, print := known[c.Name], fingerprints[c.Name]
		switch {
		case it == nil:
			it = &item{check: c, fingerprint: print, started: -1}
			fresh = append(fresh, it)
		case print != "" && print == it.fingerprint && !it.removed:
			kept = append(kept, it)
		default:
			it.check, it.fingerprint, it.removed = c, print, false
			if it.state == idle {
				fresh = append(fresh, it)
			} else {
				busy = append(busy, it)
			}
		}
		r.items[c.Name] = it
		r.order = append(r.order, it)
	}
	var out outbox
	for name, it := range known {
		if r.items[name] == nil {
			r.remove(it, &out)
		}
	}
	if r.alarm != nil {
		r.plan.reset(append(kept, r.tick))
		now := r.read()
		r.plan.add(now, fresh, r.o.RunAtStart)
		r.plan.add(now, busy, false)
		r.alarm.set(1)
	}
	r.mu.Unlock()
	r.send(out)
}

// remove forgets it, or lets its run in flight do so.
func (r *Runner) remove(it *item, out *outbox) {
	if it.state > queued {
		it.removed = true
		r.items[it.check.Name] = it
		return
	}
	it.state = idle // the queue of waiting checks skips it
	r.flushOne(it, out)
}
