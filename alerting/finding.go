package alerting

import (
	"time"

	"github.com/tripline/tripline/checks/probe"
)

const (
	mostChecks = 50  // names in a finding
	mostCost   = 256 // of a figure that is computed anew at every bad result, in checks
)

const kindBlind = "blind"

// raise makes the finding of a topic, or lets it hold again.
func (e *Engine) raise(w *watch, topic int32, slot int64) {
	t := &w.topics[topic]
	since := slot
	for k := w.sets[t.lo].lo; k < w.sets[t.hi-1].hi; k++ {
		if r := w.pairs[k].run; r != nil && r.Fed {
			since = min(since, r.Since)
		}
	}
	e.add(t.key, Finding{Rule: w.Name, Kind: w.kind.String(), Since: at(since), LastBad: at(slot)}, slot)
	e.figure(w, topic, slot)
}

// add makes a finding part of the open incident of key, or makes the incident.
// If that has one of the same rule and kind already, it holds again: nobody is
// told a second time within one incident, and of what was untold when it cleared
// people are told now.
func (e *Engine) add(key string, f Finding, slot int64) {
	i := e.incident(key, slot)
	t := e.touch(i)
	if k := i.index(f.Rule, f.Kind); k >= 0 {
		i.Findings[k].Cleared, i.Findings[k].ClearedBy = time.Time{}, ""
		if i.Findings[k].Untold {
			t.news = append(t.news, k)
		}
		return
	}
	i.Findings = append(i.Findings, f)
	t.news = append(t.news, len(i.Findings)-1)
	if f.Since.Before(i.Since) && !at(slot).Before(i.Since) { // else the clock was set back
		i.Since = f.Since
	}
}

// figure brings the finding of a topic up to date. Finer than 1/60 of the
// window that is not done where it is much work.
func (e *Engine) figure(w *watch, topic int32, slot int64) {
	t := &w.topics[topic]
	i := e.incidents[t.key]
	if i == nil {
		return
	}
	k := i.index(w.Name, w.kind.String())
	if k < 0 {
		return
	}
	f := &i.Findings[k]
	e.mark(i, f, w, w.level(t), slot)
	if w.cost(t) > mostCost && slot >= t.figured && slot < t.figured+max(w.over/mostExact, 1000) {
		return
	}
	t.figured = slot
	e.count(w, t, f, slot)
	f.Text = w.sentence(f)
}

// cost is how much work the figure of a topic is: percentiles sort their samples.
func (w *watch) cost(t *topic) int {
	n := int(w.sets[t.hi-1].hi - w.sets[t.lo].lo)
	if w.kind == kindLatency && w.Latency.percentile() > 0 {
		n *= 1 + w.shapes[0].n/16
	}
	return n
}

// mark notes a bad slot.
func (e *Engine) mark(i *Incident, f *Finding, w *watch, level Severity, slot int64) {
	f.LastBad = later(f.LastBad, at(slot))
	i.LastBad = later(i.LastBad, f.LastBad)
	if i.Quiet != "" {
		e.touch(i) // a check that nothing excuses may have become part of it
	}
	f.Severity, f.Runbook = level, w.Runbook
	untold := i.Told > 0 && i.Quiet == "" && i.ToldSeverity != Page // since what paged has passed in silence
	if f.Severity == Page && (i.Severity != Page || untold) {
		if i.Severity = Page; i.Version > 0 {
			e.touch(i).worse = true
		}
	}
}

// count computes the figure of a finding, over its tripped sets together, and
// lists the checks that fed it.
func (e *Engine) count(w *watch, t *topic, f *Finding, slot int64) {
	f.Checks, f.More, f.Confirmed = f.Checks[:0], 0, 0
	var (
		x       counts
		total   uint64
		row     int
		newest  *run
		classes []classCount
	)
	for i := t.lo; i < t.hi; i++ {
		s := &w.sets[i]
		if !s.tripped {
			continue
		}
		x.plus(w.sum(s.lo, s.hi, slot))
		for k := s.lo; k < s.hi; k++ {
			p := &w.pairs[k]
			if p.win.lat != nil {
				total += p.win.lat.total
			}
			if p.run == nil || !p.run.Fed {
				continue
			}
			row = max(row, -int(p.streak))
			f.Confirmed += p.run.Confirmed
			classes = tally(classes, p.run.Classes)
			if newest == nil || p.run.Last > newest.Last {
				newest = p.run
			}
			if len(f.Checks) < mostChecks {
				f.Checks = append(f.Checks, e.checks[p.check].name)
			} else {
				f.More++
			}
		}
	}
	if newest != nil {
		f.Reason = newest.Reason
	}
	f.Class = mostFrequent(classes)
	f.Bad, f.Total, f.Unknown = int(x.bad), x.known(), int(x.unknown)
	switch w.kind {
	case kindRate:
		f.Figure, f.Threshold, f.Unit = x.share(), w.Rate.limit(), "share"
	case kindUnknown:
		f.Figure, f.Threshold, f.Unit = x.share(), w.Unknown.above(), "share"
		f.Confirmed = 0
	case kindLatency:
		f.Figure, f.Threshold, f.Unit = e.statistic(w, t, x.known(), total), time.Duration(w.Latency.Above).Seconds(), "s"
		f.Class, f.Confirmed = "", 0
	case kindDown:
		f.Figure, f.Threshold, f.Unit = float64(row), float64(max(1, w.Down.Slots)), "slots"
		f.Bad, f.Total, f.Confirmed = len(f.Checks)+f.More, int(w.sets[t.hi-1].hi-w.sets[t.lo].lo), 0
	case kindSLO:
		e.countBudget(w, t, f, slot)
	case kindMeasure:
		e.countMeasure(w, t, f, slot)
	case kindAbsent:
		e.countAbsent(w, t, f)
	}
}

func (r *Rate) limit() float64 {
	switch {
	case r.AtLeast != nil:
		return float64(*r.AtLeast)
	case r.Above != nil:
		return float64(*r.Above)
	}
	return 0
}

func tally(sum, more []classCount) []classCount {
next:
	for _, m := range more {
		for i := range sum {
			if sum[i].Class == m.Class {
				sum[i].N += m.N
				continue next
			}
		}
		sum = append(sum, m)
	}
	return sum
}

func mostFrequent(list []classCount) (class probe.Class) {
	n := 0
	for _, c := range list {
		if c.N > n || c.N == n && c.Class < class {
			class, n = c.Class, c.N
		}
	}
	return class
}

// settle ends the finding of a topic, and the incident if it was the last one.
func (e *Engine) settle(w *watch, topic int32, slot int64) {
	why := plural(int(w.recover), "good result") + " in a row"
	if w.kind == kindLatency {
		why = plural(int(w.recover), "result") + " in a row within the limit"
	}
	switch w.kind {
	case kindSLO:
		why = "it burns no faster than the limit any more"
	case kindMeasure:
		why = plural(int(w.recover), "value") + " in a row within the limit"
	case kindAbsent:
		why = plural(int(w.recover), "result") + " again"
	}
	e.clear(w.topics[topic].key, w.Name, w.kind.String(), slot, why)
}

// clear ends a finding, and the incident if it was the last one that held.
func (e *Engine) clear(key, rule, kind string, slot int64, why string) {
	i := e.incidents[key]
	if i == nil {
		return
	}
	if k := i.index(rule, kind); k >= 0 && i.Findings[k].Holds() {
		f := &i.Findings[k]
		f.Cleared, f.ClearedBy = later(at(slot), f.LastBad), why
		e.touch(i)
		e.endIfClear(i, slot, "")
	}
}

func at(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
