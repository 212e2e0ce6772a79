package alerting

import (
	"slices"
	"time"
)

// A check needs others: while one of these is in trouble people are not told
// of an incident about it. What fails first may be either of them, so a new
// incident waits for the next verdict on what its check needs. It is told as
// soon as there is none in trouble, if its check has run since and still fails:
// what it was before is no news.

const (
	longestWait = time.Minute // for a verdict, or two intervals of the parent if that is less
	// patience is for how many intervals a parent that is down but part of no
	// finding excuses others: no rule may ever tell of it.
	patience = 10
)

// kin is what is known of a check that needs others, or that others need.
type kin struct {
	parent  bool  // others need it
	verdict int64 // newest slot that is not unknown
	down    int64 // slot since which it is down, 0: it is not
	trouble bool  // its newest result was down, or a failure of a finding
	back    int64 // slot since which none was, 0: none ever was, or trouble
}

// survey notes which checks need which, directly or by others, and how large
// the groups are.
func (e *Engine) survey() {
	e.sizes, e.needs, e.kin = map[string]int{}, map[int32][]int32{}, map[int32]*kin{}
	for _, s := range e.subjects {
		e.sizes[s.group()]++
	}
	for c := range int32(len(e.subjects)) {
		todo := slices.Clone(e.subjects[c].Needs)
		for k := 0; k < len(todo); k++ {
			p, ok := e.index[todo[k]]
			if !ok || p == c || slices.Contains(e.needs[c], p) {
				continue
			}
			e.needs[c] = append(e.needs[c], p)
			for _, m := range []int32{c, p} {
				if e.kin[m] == nil {
					e.kin[m] = &kin{}
				}
			}
			e.kin[p].parent = true
			todo = append(todo, e.subjects[p].Needs...)
		}
	}
}

// remember takes what a result that is in order and not unknown says about a
// check by itself: whether it is good, and whether it is well, which is that no
// rule of failures calls it bad either.
func (e *Engine) remember(c int32, good, well bool, slot int64) {
	if p := e.kin[c]; p != nil {
		_, since := e.outdated(c)
		e.moved = e.moved || p.parent || since > 0
		p.verdict = slot
		switch {
		case good:
			p.down = 0
		case p.down == 0 || p.down > slot:
			p.down = slot
		}
		switch {
		case !good, !well && e.failing(c):
			p.trouble, p.back = true, 0
		case p.trouble, p.back > slot:
			p.trouble, p.back = false, slot
		}
	}
	e.green(c, good)
}

// needed says which check that c needs is in trouble, or may be; "" if none is.
func (e *Engine) needed(c int32, i *Incident) string {
	pending := ""
	for _, n := range e.needs[c] {
		if e.troubled(n) {
			return e.checks[n].name + " is down"
		}
		if pending == "" && e.pending(n, i) {
			pending = waits + e.checks[n].name
		}
	}
	if pending != "" {
		return pending
	}
	if n, back := e.outdated(c); back > 0 {
		if wait := 2 * e.checks[c].interval; e.awaits(back+wait, wait) {
			return e.checks[n].name + " is back, " + e.checks[c].name + " has not run since"
		}
	}
	return ""
}

// outdated says which check that c needs is back since the newest verdict on c,
// the last of them if there are several; since 0 if none is.
func (e *Engine) outdated(c int32) (parent int32, since int64) {
	for _, n := range e.needs[c] {
		if back := e.kin[n].back; back > max(since, e.kin[c].verdict) {
			parent, since = n, back
		}
	}
	return parent, since
}

// troubled tells whether a check fails in a finding of failures, or is down.
func (e *Engine) troubled(n int32) bool {
	if e.failing(n) {
		return true
	}
	p := e.kin[n]
	if p.down == 0 {
		return false
	}
	wait := patience * e.checks[n].interval
	return e.awaits(p.down+wait, wait+setBack.Milliseconds())
}

// failing tells whether a check fails in a finding of failures.
func (e *Engine) failing(n int32) bool {
	for _, ref := range e.checks[n].refs {
		w := &e.watches[ref.watch]
		if w.kind != kindRate && w.kind != kindDown {
			continue
		}
		if q := &w.pairs[ref.pair]; q.run != nil && q.run.Fed && q.streak < w.recover {
			return true
		}
	}
	return false
}

// pending tells whether a check has yet to show whether it fails, too.
func (e *Engine) pending(n int32, i *Incident) bool {
	wait := min(longestWait.Milliseconds(), 2*e.checks[n].interval)
	opened := min(e.opened[i.Group], i.Opened.UnixMilli()) // the former is ahead if the clock once was
	return e.kin[n].verdict < opened && e.awaits(i.Opened.UnixMilli()+wait, wait)
}
