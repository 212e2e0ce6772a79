package alerting

import (
	"math"
	"time"
)

// take counts one sample of c and does what comes of it. newest says that no
// later one has come before.
func (e *Engine) take(w *watch, p *pair, c *check, s sample, newest bool) {
	if s.slot <= p.floor {
		return
	}
	switch {
	case w.kind == kindAbsent:
		w.seen(p, &s)
	case s.count == (cell{}), w.kind == kindDown, w.kind == kindMeasure:
	case w.kind == kindSLO && !e.spend(w, p, s, newest),
		w.kind != kindSLO && !p.win.add(w.shape(p), s.slot, s.count, s.latency, newest):
		return
	}
	fed, well := p.run != nil && p.run.Fed, p.streak >= w.recover
	switch s.verdict {
	case bad:
		e.bad(w, p, c, s)
	case good:
		e.good(w, p, c, s)
	case other:
		w.streak(p, 0)
	case neutral:
	}
	if i := e.incidents[w.topics[w.sets[p.set].topic].key]; i != nil && fed && well != (p.streak >= w.recover) {
		e.touch(i) // whom it is about has changed
	}
}

// streak sets the streak of p and keeps count of who has yet to recover.
func (w *watch) streak(p *pair, to int16) {
	was := p.streak >= w.recover
	p.streak = to
	if is := p.streak >= w.recover; p.run != nil && p.run.Fed && was != is {
		if is {
			w.sets[p.set].pending--
		} else {
			w.sets[p.set].pending++
		}
	}
}

// longer returns a streak with one more good result.
func longer(streak int16) int16 { return max(0, min(streak, math.MaxInt16-1)) + 1 }

// feed makes p part of the finding of its set.
func (w *watch) feed(p *pair) {
	if p.run.Fed {
		return
	}
	p.run.Fed, p.run.Held, p.run.Suspect = true, false, false
	if p.streak < w.recover {
		w.sets[p.set].pending++
	}
}

// feeds tells whether the bad results of p are enough to be part of a finding.
func (w *watch) feeds(p *pair) bool {
	return w.kind != kindDown || -int(p.streak) >= max(1, w.Down.Slots)
}

func (e *Engine) bad(w *watch, p *pair, c *check, s sample) {
	t := &w.sets[p.set]
	switch {
	case w.kind != kindLatency:
		w.streak(p, max(min(p.streak, 0), 1-math.MaxInt16)-1)
	case !t.tripped:
		w.streak(p, 0)
	default:
		e.judgeFigure(w, p, s)
	}
	if p.run == nil {
		p.run = &run{Since: s.slot}
	}
	p.run.note(w, c, s)
	switch {
	case t.tripped:
		if w.kind == kindSLO {
			w.faster(t.budget, s.slot)
		}
		if w.feeds(p) {
			w.feed(p)
		}
		if p.run.Fed {
			e.figure(w, t.topic, s.slot)
		}
		e.clearIfRecovered(w, p, s.slot)
	case e.held(w, p, c, s):
	case w.feeds(p) && w.trips(t, s.slot):
		e.trip(w, t, s.slot)
	}
}

// held tells whether a bad sample must not open anything, or not yet, since it
// may be the monitor that is cut off.
func (e *Engine) held(w *watch, p *pair, c *check, s sample) bool {
	b := e.blind
	p.run.Suspect = false
	switch {
	case b == nil || w.kind == kindUnknown || c.canaries || !s.down || !isNetwork(s.class):
		return false
	case b.active:
		p.run.Held = true
		return true
	case b.suspect:
		p.run.Suspect = true
		for _, ref := range c.refs {
			if &e.watches[ref.watch] == w {
				b.suspects = append(b.suspects, ref)
			}
		}
		return true
	}
	return false
}

func (e *Engine) good(w *watch, p *pair, c *check, s sample) {
	t := &w.sets[p.set]
	if w.kind == kindLatency && t.tripped {
		e.judgeFigure(w, p, s)
	} else {
		w.streak(p, longer(p.streak))
	}
	switch {
	case p.run == nil:
	case p.run.Fed:
		e.clearIfRecovered(w, p, s.slot)
	case p.streak >= w.recover:
		if p.run.Held { // what was held has not become a finding and never will
			p.win.restart()
			p.floor = c.last
		}
		p.run = nil
	}
}

// judgeFigure counts a result in a row for p if the latency of its set is
// within the limit, whatever its own.
func (e *Engine) judgeFigure(w *watch, p *pair, s sample) {
	if e.within(w, &w.sets[p.set], s.slot) {
		w.streak(p, longer(p.streak))
	} else {
		w.streak(p, 0)
	}
}

// trips tells whether the figure of t exceeds its limit at the time now.
func (w *watch) trips(t *set, now int64) bool {
	switch w.kind {
	case kindDown, kindMeasure, kindAbsent:
		return true // each check by itself: see feeds
	case kindSLO:
		return w.burning(t.budget, now) >= 0
	case kindLatency:
		n, slower, total := w.latency(t.lo, t.hi, now)
		return n >= w.Latency.least(w.slots(t)) && w.Latency.exceeds(n, slower, total)
	case kindUnknown:
		x := w.sum(t.lo, t.hi, now)
		return int(x.bad) >= w.Unknown.least(w.slots(t)) && w.Unknown.exceeds(x)
	}
	x := w.sum(t.lo, t.hi, now)
	return int(x.bad) >= max(1, w.Rate.MinFailures) && w.Rate.exceeds(x)
}

// slots returns how many slots the windows of t hold.
func (w *watch) slots(t *set) (n int64) {
	for i := t.lo; i < t.hi; i++ {
		n += w.shape(&w.pairs[i]).slots()
	}
	return n
}

// sum adds up the windows of pairs, slid to the time now.
func (w *watch) sum(lo, hi int32, now int64) (x counts) {
	for i := lo; i < hi; i++ {
		p := &w.pairs[i]
		p.win.slide(w.shape(p), now)
		x.plus(p.win.sum)
	}
	return x
}

// trip makes a finding of t, or adds t to one.
func (e *Engine) trip(w *watch, t *set, slot int64) {
	t.tripped, t.pending = true, 0
	if w.kind == kindSLO {
		w.faster(t.budget, slot)
	}
	for i := t.lo; i < t.hi; i++ {
		if p := &w.pairs[i]; p.run != nil && w.feeds(p) {
			w.feed(p)
		}
	}
	w.topics[t.topic].tripped++
	w.topics[t.topic].figured = 0
	e.moved = true
	e.raise(w, t.topic, slot)
}

// clearIfRecovered clears the set of p if each check that fed it has recovered.
func (e *Engine) clearIfRecovered(w *watch, p *pair, slot int64) {
	t := &w.sets[p.set]
	if !t.tripped || t.pending > 0 || p.streak < w.recover {
		return
	}
	if w.kind == kindLatency && !e.within(w, t, slot) || w.kind == kindSLO && w.burnsOn(t.budget, slot) {
		return
	}
	if w.kind == kindRate && w.Rate.ClearBelow != nil {
		if x := w.sum(t.lo, t.hi, slot); x.share() >= float64(*w.Rate.ClearBelow) {
			return
		}
	}
	e.release(w, t, slot)
	if w.topics[t.topic].tripped == 0 {
		e.settle(w, t.topic, slot)
	} else if i := e.incidents[w.topics[t.topic].key]; i != nil {
		e.touch(i)
	}
}

// release ends the part of t in its finding. What was bad so far cannot trip
// it again, although the windows still hold it: they start anew. Those of
// latencies need not, since their figure is within the limit.
func (e *Engine) release(w *watch, t *set, now int64) {
	e.moved = true
	for i := t.lo; i < t.hi; i++ {
		p := &w.pairs[i]
		fed := p.run != nil && p.run.Fed
		if fed {
			p.run = nil
		}
		if w.kind == kindLatency || w.kind == kindMeasure {
			continue
		}
		p.win.slide(w.shape(p), now)
		if fed || p.win.sum.bad > 0 {
			p.floor = max(p.floor, e.checks[p.check].last)
			if p.win.cells != nil {
				p.win.restart()
			}
		}
	}
	if t.budget != nil {
		t.budget.forgive(now)
	}
	if t.tripped {
		t.tripped, t.pending = false, 0
		w.topics[t.topic].tripped--
	}
}

// share returns the share of bad ones among the known, 0 of none.
func (c counts) share() float64 {
	if c.known() == 0 {
		return 0
	}
	return float64(c.bad) / float64(c.known())
}

// exceeds compares correctly rounded quotients: 7 of 100 is exactly 7 %.
func (r *Rate) exceeds(x counts) bool {
	if r.AtLeast != nil {
		return x.share() >= float64(*r.AtLeast)
	}
	return r.Above != nil && x.share() > float64(*r.Above)
}

const (
	defaultUnknownOver  = 10 * time.Minute
	defaultUnknownShare = 0.1
	defaultUnknownLeast = 3
)

func (u *UnknownRule) above() float64 {
	if u.Above == nil {
		return defaultUnknownShare
	}
	return float64(*u.Above)
}

func (u *UnknownRule) exceeds(x counts) bool { return x.share() > u.above() }

// least returns how many results must be unknown in a window of so many slots.
func (u *UnknownRule) least(slots int64) int {
	if u.MinResults > 0 {
		return u.MinResults
	}
	return int(max(1, min(slots, defaultUnknownLeast)))
}
