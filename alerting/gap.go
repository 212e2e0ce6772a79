package alerting

import (
	"math"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// stepGap counts the slots of a gap as unknown.
func (e *Engine) stepGap(g *checks.Gap) {
	if !sane(g.From) || !sane(g.To) || g.To.Before(g.From) {
		return
	}
	from, to := g.From.UnixMilli(), g.To.UnixMilli()
	if g.Check != "" {
		if c := e.find(g.Check, g.Location); c != nil {
			e.miss(c, from, to, g.Reason)
		}
		return
	}
	for i := range e.checks {
		c := &e.checks[i]
		if c.location != "" && c.location != g.Location {
			continue
		}
		first := from // the first slot of c in the gap, if its phase is known
		if c.last > 0 {
			if off := (c.last - from) % c.interval; off >= 0 {
				first += off
			} else {
				first += off + c.interval
			}
		}
		if first <= to {
			e.miss(c, first, to, g.Reason)
		}
	}
}

// miss counts the slots of c from the first to the last one as unknown.
func (e *Engine) miss(c *check, from, to int64, reason string) {
	for _, ref := range c.refs {
		w := &e.watches[ref.watch]
		p := &w.pairs[ref.pair]
		switch w.kind {
		case kindDown, kindMeasure, kindAbsent:
			continue
		case kindSLO:
			if !e.excluded(w, c, from) || !e.excluded(w, c, to) {
				w.sets[p.set].budget.miss(c.interval, from, to)
			}
			continue
		case kindRate, kindLatency, kindUnknown:
		}
		g := w.shape(p)
		first := max(from, p.floor+1, to-g.over+1)
		slot := from + (first-from+c.interval-1)/c.interval*c.interval
		if slot > to {
			continue
		}
		for slot <= to { // cell by cell
			end := min((floorDiv(slot, g.width)+1)*g.width, to+1)
			n := (end-slot-1)/c.interval + 1
			p.win.add(g, slot, w.missing(c, n), 0, false)
			slot += n * c.interval
		}
		if w.kind == kindUnknown {
			e.bad(w, p, c, sample{slot: slot - c.interval, verdict: bad, class: probe.Missed, reason: reason})
		}
	}
}

// missing returns what n missed slots of c count as.
func (w *watch) missing(c *check, n int64) cell {
	if w.ofAttempts() {
		n *= int64(c.attempts)
	}
	x := uint16(min(n, math.MaxUint16))
	if w.kind == kindUnknown {
		return cell{bad: x}
	}
	return cell{unknown: x}
}
