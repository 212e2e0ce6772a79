package alerting

import (
	"math"
	"slices"
	"time"
)

// budget is what an SLO knows of one set of checks: how many samples of the
// last hour, six hours, three days and of the SLO's whole window were bad. It
// takes the same memory however long the windows are.
//
// A sample is a minute in which there was a result (bad if one of them is, and
// unknown if all are) or, with budgeting: events, a result.
type budget struct {
	spans *spans
	rings [4]window
	pair  int8  // that makes the finding, -1: none
	floor int64 // what was bad up to this time makes no finding
	since int64 // the first slot counted
}

// spans are how budgets are divided.
type spans struct {
	rings  [4]geometry
	events bool
	rate   float64 // expected samples in a millisecond
}

const (
	aMinute = int64(time.Minute / time.Millisecond)
	anHour  = 60 * aMinute
	mostSum = 50_000 // that cells are expected to hold; they can hold 65,535
)

// newSpans divides the windows of an SLO over checks with these intervals.
// Minutes are exact for an hour, which the page's short windows need.
func newSpans(s *SLO, intervals []int64) *spans {
	d := &spans{events: s.events()}
	for _, i := range intervals {
		d.rate += 1 / float64(max(i, 1))
	}
	if !d.events {
		d.rate = min(d.rate, 1/float64(aMinute))
	}
	window := s.window().Milliseconds()
	for k, over := range [4]int64{anHour, 6 * anHour, 72 * anHour, window} {
		width := [4]int64{aMinute, 5 * aMinute, 30 * aMinute, (window-1)/mostExact + 1}[k]
		if most := int64(mostSum / d.rate); d.events && width > most {
			width = max(aMinute, most)
		}
		d.rings[k] = geometry{over: over, width: width, n: int((over-1)/width + 1)}
	}
	return d
}

// count counts one result at slot; newest says that its check has had no later
// one. It is false if the slot has left the windows.
func (b *budget) count(slot int64, x cell, newest bool) bool {
	if b.since == 0 || slot < b.since {
		b.since = slot
	}
	if !b.spans.events {
		if m := &b.rings[0]; m.cells != nil {
			switch k := floorDiv(slot, aMinute); {
			case k < m.first && !newest:
				return false
			case k >= m.first && k <= m.last:
				b.worsen(slot, m.cells[m.index(k)], x)
				return true
			}
		}
	}
	for i := range b.rings {
		b.rings[i].add(&b.spans.rings[i], slot, x, 0, newest)
	}
	return true
}

// worsen makes a minute what the worse of two results is: bad, good, unknown
// or nothing at all.
func (b *budget) worsen(slot int64, was, x cell) {
	switch {
	case was.bad > 0, x.bad == 0 && was.good > 0, x.bad+x.good == 0 && was.unknown > 0:
		return
	}
	for i := range b.rings {
		w, g := &b.rings[i], &b.spans.rings[i]
		if k := floorDiv(slot, g.width); k >= w.first && k <= w.last {
			w.swap(w.index(k), was, x)
		}
	}
}

// swap counts x instead of what was counted before.
func (w *window) swap(i int, was, x cell) {
	c := &w.cells[i]
	w.sum.minus(counts{uint32(c.bad), uint32(c.good), uint32(c.unknown)})
	for _, p := range [3]struct {
		of      *uint16
		was, is uint16
	}{{&c.bad, was.bad, x.bad}, {&c.good, was.good, x.good}, {&c.unknown, was.unknown, x.unknown}} {
		*p.of -= min(*p.of, p.was)
		increase(p.of, p.is)
	}
	w.sum.plus(counts{uint32(c.bad), uint32(c.good), uint32(c.unknown)})
}

func (c *counts) minus(o counts) {
	c.bad -= o.bad
	c.good -= o.good
	c.unknown -= o.unknown
}

// miss counts the slots of a gap of one check as unknown. A gap of many checks
// comes once for each: minutes that are counted already are not counted again.
func (b *budget) miss(interval, from, to int64) {
	from = from + max(0, to-b.spans.rings[3].over-from+interval)/interval*interval
	if !b.spans.events {
		interval = max(interval, aMinute)
		m := &b.rings[0]
		for ; m.cells != nil && from <= to && floorDiv(from, aMinute) <= m.last; from += interval {
			if k := floorDiv(from, aMinute); k < m.first {
				from += (m.first - k - 1) * aMinute / interval * interval
			} else {
				b.worsen(from, m.cells[m.index(k)], cell{unknown: 1})
			}
		}
	}
	if from > to {
		return
	}
	if b.since == 0 {
		b.since = from
	}
	for i := range b.rings {
		g := &b.spans.rings[i]
		for slot := from; slot <= to; {
			end := min((floorDiv(slot, g.width)+1)*g.width, to+1)
			n := (end-slot-1)/interval + 1
			b.rings[i].add(g, slot, cell{unknown: uint16(min(n, math.MaxUint16))}, 0, false)
			slot += n * interval
		}
	}
}

// stepBack moves what is counted back in time: the clock was set to slot.
func (b *budget) stepBack(slot int64) {
	by := floorDiv(slot, aMinute) - 1 - b.rings[0].last
	if b.rings[0].cells == nil || by > -3 {
		return // it was one of the other checks that showed it
	}
	b.floor, b.since = b.floor+by*aMinute, min(b.since, slot)
	for i := range b.rings {
		to := floorDiv(slot, b.spans.rings[i].width)
		if i == 0 {
			to--
		}
		if w := &b.rings[i]; w.last > to {
			w.move(to - w.last)
		}
	}
}

// spent is what a window over a budget holds.
type spent struct {
	bad      int // since the floor
	all      int // bad ones
	minutes  int // or cells of the ring with bad ones since the floor
	unknown  int
	expected int
}

// look sums up the time over that ends at now. Cells count whole, so the time
// is shorter by up to one of them, and what is expected is scaled up by that.
func (b *budget) look(over, now int64) (x spent) {
	i := 0
	for i < 3 && b.spans.rings[i].over < over {
		i++
	}
	w, g := &b.rings[i], &b.spans.rings[i]
	from := floorDiv(now-over, g.width) + 1
	if w.cells != nil {
		k := max(from, w.first)
		for n := w.index(k); k <= w.last; k++ {
			c := w.cells[n]
			if n++; n == len(w.cells) {
				n = 0
			}
			x.expected += int(c.bad) + int(c.good) + int(c.unknown)
			x.unknown += int(c.unknown)
			x.all += int(c.bad)
			if c.bad > 0 && k*g.width > b.floor {
				x.bad += int(c.bad)
				x.minutes++
			}
		}
	}
	end := (floorDiv(now, aMinute) + 1) * aMinute
	since := b.since
	if since == 0 {
		since = end
	}
	if before := since - from*g.width; before > 0 { // nothing was watched then: as if it had been good
		x.expected += int(math.Round(float64(before) * b.spans.rate))
	}
	if covered := end - from*g.width; covered < over {
		x.expected = int(math.Round(float64(x.expected) * float64(over) / float64(covered)))
	}
	return x
}

// share returns the share of n among the expected samples.
func (x spent) share(n int) float64 {
	if x.expected == 0 {
		return 0
	}
	return float64(n) / float64(x.expected)
}

// budgets returns how many there are.
func (w *watch) budgets() int {
	if w.kind != kindSLO {
		return 0
	}
	return len(w.sets)
}

func (e *Engine) budgetState(w *watch, n int) (budgetState, bool) {
	b := w.sets[n].budget
	s := budgetState{Set: e.setName(w, &w.sets[n]), Pair: b.pair, Floor: b.floor, Since: b.since}
	for i := range b.rings {
		s.Rings = append(s.Rings, b.rings[i].state(&b.spans.rings[i]))
	}
	return s, b.since != 0
}

// setName identifies a set of a rule.
func (e *Engine) setName(w *watch, s *set) string {
	if w.by() == byCheck {
		return e.checks[w.pairs[s.lo].check].name
	}
	return w.topics[s.topic].key
}

// loadBudgets takes over the budgets of the sets that are still there.
func (e *Engine) loadBudgets(w *watch, list []budgetState) {
	if w.kind != kindSLO {
		return
	}
	index := make(map[string]*budget, len(w.sets))
	for n := range w.sets {
		index[e.setName(w, &w.sets[n])] = w.sets[n].budget
	}
	for _, s := range list {
		b := index[s.Set]
		if b == nil || b.since != 0 || len(s.Rings) != len(b.rings) || slices.Contains(s.Rings, nil) {
			continue
		}
		b.since, b.floor = s.Since, s.Floor
		if 0 <= s.Pair && s.Pair < mostPairs {
			b.pair = s.Pair
		}
		for i := range b.rings {
			b.rings[i].restore(&b.spans.rings[i], s.Rings[i])
		}
	}
}
