package schedule

import (
	"time"

	"github.com/tripline/tripline/checks"
)

// mergeGaps is the most Gap entries that one cause makes; if it concerns more
// checks they become one entry for all.
const mergeGaps = 100

// outbox collects entries while the Runner is locked.
type outbox []checks.Entry

func (o *outbox) add(e checks.Entry) {
	e.V = checks.ResultVersion
	*o = append(*o, e)
}

func (r *Runner) send(out outbox) {
	for _, e := range out {
		r.o.Sink.Append(e, false)
	}
}

// gap is a row of missed slots of one check, for one reason.
type gap struct {
	span
	reason string
}

func (g gap) entry(check, location string) checks.Entry {
	return checks.Entry{Gap: &checks.Gap{
		Check: check, Location: location, From: at(g.from), To: at(g.to), Slots: g.n, Reason: g.reason,
	}}
}

func one(slot time.Time) span { return span{slot.UnixNano(), slot.UnixNano(), 1} }

// miss counts one slot of it as missed. Its entry is written when the row of
// missed slots ends, or at the next Tick.
func (r *Runner) miss(it *item, slot time.Time, reason string, out *outbox) {
	r.stats.missed(1)
	if reason == noWorker {
		r.stats.Shed++
		now := r.read()
		r.stats.lateness(time.Duration(now.wall-slot.UnixNano()), now.mono)
	}
	if r.gaps[it].reason != reason {
		r.flushOne(it, out)
	}
	g := r.gaps[it]
	g.add(one(slot))
	g.reason = reason
	r.gaps[it] = g
}

func (r *Runner) flushOne(it *item, out *outbox) {
	if g, ok := r.gaps[it]; ok {
		out.add(g.entry(it.check.Name, r.o.Location))
		delete(r.gaps, it)
	}
}

func (r *Runner) flush(out *outbox) {
	for it := range r.gaps {
		r.flushOne(it, out)
	}
}

// gapList collects the slots that passed for one common reason.
type gapList []checkGap

type checkGap struct {
	check string
	span
}

func (l *gapList) add(it *item, s span) {
	if s.n == 0 {
		return
	}
	if n := len(*l); n > 0 && (*l)[n-1].check == it.check.Name {
		(*l)[n-1].add(s)
		return
	}
	*l = append(*l, checkGap{it.check.Name, s})
}

func (l gapList) slots() int {
	n := 0
	for _, g := range l {
		n += g.n
	}
	return n
}

// entries adds one Gap for each check, or one for all if they are many.
func (l gapList) entries(out *outbox, location, reason string) {
	if len(l) > mergeGaps {
		var all span
		for _, g := range l {
			all.add(g.span)
		}
		l = gapList{{"", all}}
	}
	for _, g := range l {
		out.add(gap{g.span, reason}.entry(g.check, location))
	}
}

// brief formats d for people.
func brief(d time.Duration) string {
	if d >= 10*time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
