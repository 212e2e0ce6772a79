package alerting

import (
	"fmt"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// stepTick lets a minute pass: checks of which nothing is known may become
// absent.
func (e *Engine) stepTick(t *checks.Tick) {
	if !sane(t.At) {
		return
	}
	now := t.At.UnixMilli()
	// Time in which the monitor did not run, or by which the clock was set
	// forward, has not passed for the checks.
	skipped := int64(0)
	if d := now - e.tick; e.tick != 0 && d > 2*aMinute {
		skipped = d - aMinute
	}
	e.tick = now
	for k := range e.watches {
		if w := &e.watches[k]; w.kind == kindAbsent {
			e.pass(w, now, skipped)
		}
	}
}

func (e *Engine) pass(w *watch, now, skipped int64) {
	limit := time.Duration(w.Absent.For).Milliseconds()
	for i := range w.pairs {
		p := &w.pairs[i]
		if p.floor == 0 {
			p.floor = now // it has begun
		}
		p.floor = min(p.floor+skipped, now)
		if now-p.floor < limit {
			continue
		}
		if p.run == nil {
			p.run = &run{Since: p.floor}
		}
		e.bad(w, p, &e.checks[p.check], sample{slot: now, verdict: bad, class: probe.Missed, reason: p.run.Reason})
	}
}

// seen notes a result of p's check.
func (w *watch) seen(p *pair, s *sample) {
	if s.verdict == good {
		p.floor = s.slot
		return
	}
	if p.run != nil { // it is absent; this says why
		p.run.Reason = clip(s.reason)
	}
}

// countAbsent computes the figure of a finding: how long nothing has been known
// of the check of which it is longest.
func (e *Engine) countAbsent(w *watch, t *topic, f *Finding) {
	since := f.LastBad.UnixMilli()
	for i := w.sets[t.lo].lo; i < w.sets[t.hi-1].hi; i++ {
		if p := &w.pairs[i]; p.run != nil && p.run.Fed {
			since = min(since, p.floor)
		}
	}
	absent := f.LastBad.Sub(at(since))
	f.Figure, f.Threshold, f.Unit = absent.Seconds(), time.Duration(w.Absent.For).Seconds(), "s"
	f.Bad, f.Total, f.Class, f.Confirmed = len(f.Checks)+f.More, int(w.sets[t.hi-1].hi-w.sets[t.lo].lo), "", 0
	f.Text = fmt.Sprintf("no result for %s: %d of %s, alerts from %s", span(absent.Round(time.Second)), f.Bad,
		plural(f.Total, "check"), w.Absent.For)
}
