package checks

import (
	"context"
	"maps"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Prober tries one target once. It obeys ctx, which has a deadline.
type Prober interface {
	Probe(ctx context.Context) probe.Outcome
}

// Schedule gives the first slot strictly after t; the zero time means never.
type Schedule interface {
	Next(t time.Time) time.Time
}

// Check is one thing to check, ready to run.
type Check struct {
	Name     string
	Kind     string
	Group    string // incidents gather by group; never empty
	Labels   map[string]string
	Location string
	Prober   Prober
	Schedule Schedule
	Timeout  time.Duration // of one attempt
	Confirm  int           // re-probes after a failed attempt, within the slot
	Endpoint probe.Endpoint
	Canaries *Canaries // tell its failures from those of the own network; nil: nothing does
}

// LateAfter returns how long after its slot a run may still start: half the
// interval, at most 10 s. A later one is not made and its result is unknown.
func (c Check) LateAfter(slot time.Time) time.Duration {
	return lateAfter(c.interval(slot))
}

func lateAfter(interval time.Duration) time.Duration { return min(interval/2, 10*time.Second) }

// interval is the time from slot to the next one.
func (c Check) interval(slot time.Time) time.Duration {
	next := c.Schedule.Next(slot)
	if next.IsZero() {
		return time.Minute
	}
	return next.Sub(slot)
}

// The pauses before re-probes: the first is short, since most blips are.
const (
	firstRetryPause = 250 * time.Millisecond
	retryPause      = time.Second
	longestPause    = 5 * time.Second // that an answer may ask for: people wait for the verdict
)

// Longest is how long a run takes in which no attempt has an answer, as far as
// the interval allows it: all attempts and the usual pauses between them.
func (c Check) Longest() time.Duration {
	d := c.Timeout
	for try := 1; try <= c.Confirm; try++ {
		d += pauseBefore(try) + c.Timeout
	}
	return d
}

// pauseBefore is the pause before a re-probe, counted from 1.
func pauseBefore(try int) time.Duration {
	if try == 1 {
		return firstRetryPause
	}
	return retryPause
}

// Newness tells whether a failure says something new: the first of its class,
// or one of the first in a row.
type Newness interface {
	New(class probe.Class, slot time.Time) bool
}

// Run runs c once, because a person asked for it: slot is any time, such as now.
// It returns its result, with the last failed attempt's evidence builder (the
// last good one's when none failed). A failure is always diagnosed.
//
// A failed attempt is followed by up to c.Confirm re-probes on fresh
// connections; the run ends by the interval less 10 %. Where an answer asks for a
// pause (Retry-After) the next one waits so long, up to 5 s; if it asks for more,
// or that does not fit, there is none. The verdict is down
// only if all attempts fail; if a re-probe is good it is degraded and keeps the
// class of the scheduled attempt. A target that does not answer is no verdict
// while c.Canaries do not answer either: that is unknown. Run never panics.
func Run(ctx context.Context, c Check, slot time.Time) (Result, func() *probe.Evidence) {
	return run(ctx, c, slot, nil)
}

// RunScheduled is Run as a schedule makes it: only failures that are new are
// diagnosed, with few requests. n is asked at most once, after a failed attempt.
func RunScheduled(ctx context.Context, c Check, slot time.Time, n Newness) (Result, func() *probe.Evidence) {
	return run(ctx, c, slot, n)
}

func run(ctx context.Context, c Check, slot time.Time, n Newness) (Result, func() *probe.Evidence) {
	start := time.Now()
	r := Result{
		Check: c.Name, Kind: c.Kind, Location: c.Location,
		Slot: slot.UTC(), Start: start.UTC(),
	}
	if c.Group != c.Name {
		r.Group = c.Group
	}
	interval := c.interval(slot)
	if next := c.Schedule.Next(slot); n == nil && !next.IsZero() { // by hand: any time, perhaps just before a slot
		interval = c.interval(next)
	}
	if late, most := start.Sub(slot), lateAfter(interval); late > most {
		r.fill(probe.Outcome{
			Class: probe.Late, Stage: probe.StageMonitor,
			Reason: "started " + late.Round(time.Millisecond).String() + " after its slot, want at most " + most.String(),
		})
		return r, nil
	}
	end := start.Add(interval * 9 / 10)
	first := attempt(ctx, c, min(c.Timeout, time.Until(end)))
	r.fill(first)
	r.Tally = first.Tally
	if r.excuse(ctx, c, start, interval) { // re-probes would tell nothing more
		r.Duration = time.Since(start)
		return r, nil
	}
	var evidence func() *probe.Evidence
	if first.Inquiry == nil || n != nil && !n.New(first.Class, slot) {
		evidence, _ = r.confirm(ctx, c, end, first)
	} else {
		d := diagnose(ctx, first.Inquiry, n != nil, end)
		var later []probe.Outcome
		evidence, later = r.confirm(ctx, c, end, first)
		found := d.concluded(later)
		evidence = into(evidence, found)
		if text := leading(found); text != "" && r.Status != probe.Unknown {
			if r.Facts = maps.Clone(r.Facts); r.Facts == nil {
				r.Facts = map[string]string{}
			}
			r.Facts[FactCause] = text
		}
	}
	if r.Tries > 1 && r.excuse(ctx, c, start, interval) {
		evidence = nil
	}
	r.Duration = time.Since(start)
	return r, evidence
}

// confirm makes the re-probes that c wants after a failed attempt, and judges by
// them. It returns the evidence to keep and the re-probes' outcomes.
func (r *Result) confirm(ctx context.Context, c Check, end time.Time, last probe.Outcome) (evidence func() *probe.Evidence, later []probe.Outcome) {
	evidence = last.Evidence
	for try := 1; try <= c.Confirm && r.Status == probe.Down; try++ {
		pause := max(pauseBefore(try), last.RetryAfter)
		if pause > longestPause || time.Until(end) < pause+minAttempt {
			break
		}
		if !sleep(ctx, pause) { // stopped: an unconfirmed failure is no verdict
			r.fill(probe.Outcome{Class: probe.Interrupted, Stage: probe.StageMonitor, Reason: "stopped before " + string(r.Class) + " was confirmed"})
			r.Tally = nil
			return nil, nil
		}
		o := attempt(ctx, c, min(c.Timeout, time.Until(end)))
		if o.Class.Status() == probe.Unknown {
			break // says nothing about the target: the verdict stands on the attempts made
		}
		r.Tries = try + 1
		later, last = append(later, o), o
		switch o.Class.Status() {
		case probe.Down:
			if o.Evidence != nil {
				evidence = o.Evidence
			}
		default:
			r.Status = probe.Degraded
			r.Latency = o.Latency
			r.Measures = o.Measures
			r.Facts = o.Facts
		}
	}
	return evidence, later
}

// excuse makes a result that is down unknown if the own network is the likeliest
// reason, and tells whether it did.
func (r *Result) excuse(ctx context.Context, c Check, start time.Time, interval time.Duration) bool {
	if r.Status != probe.Down {
		return false
	}
	class, said := c.Canaries.blame(ctx, r.Class, start, interval)
	if class == "" {
		return false
	}
	r.fill(probe.Outcome{
		Class: class, Stage: probe.StageMonitor,
		Reason: cutText(said+", so this says nothing about the target: "+r.Reason, probe.MaxReason),
	})
	r.Tally = nil
	return true
}

// minAttempt is the least time that a re-probe is given; with less left none is made.
const minAttempt = 100 * time.Millisecond

func (r *Result) fill(o probe.Outcome) {
	r.Status, r.Class, r.Stage, r.Reason = o.Class.Status(), o.Class, o.Stage, o.Reason
	r.Latency, r.Phases, r.Measures, r.Facts = o.Latency, o.Phases, o.Measures, o.Facts
}

// attempt makes one attempt with its own deadline. A panic is a bug of ours:
// it becomes an unknown outcome, so that it ends one run and not the monitor.
func attempt(ctx context.Context, c Check, timeout time.Duration) (o probe.Outcome) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			o = panicked(p)
		}
	}()
	return c.Prober.Probe(ctx)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
