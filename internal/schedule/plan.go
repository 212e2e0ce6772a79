package schedule

import (
	"container/heap"
	"time"

	"github.com/tripline/tripline/checks"
)

const (
	// maxWait is the longest time between two looks at the clocks, so that a
	// step of the wall clock is noticed soon although timers do not see it.
	maxWait = time.Second
	// stepTolerance is how far the wall clock may drift from the monotonic one
	// between two looks before it counts as a step. Slewing is 0.5 ms a second.
	stepTolerance = 500 * time.Millisecond
	// startPace is the pause between two first runs: 50 checks take 2 s.
	startPace = 40 * time.Millisecond
	// countBack is how far back slots of cron schedules are counted, one by
	// one, after the clock went forward; it may have been set from 1970.
	countBack = 7 * 24 * time.Hour
)

// reading is one look at both clocks.
type reading struct {
	wall int64         // Unix nanoseconds; may step either way
	mono time.Duration // since some moment; never steps, stands still while the machine sleeps
}

// span is a row of slots, from the first to the last.
type span struct {
	from, to int64
	n        int
}

func (s *span) add(o span) {
	if o.n == 0 {
		return
	}
	if s.n == 0 {
		*s = o
		return
	}
	s.from, s.to, s.n = min(s.from, o.from), max(s.to, o.to), s.n+o.n
}

// plan decides which slot of which check is due. It has no clock and never
// waits: look is given the readings, pop answers for the newest of them.
//
// Slots are instants of wall time. When the wall clock goes forward (or the
// machine sleeps) slots pass completely: pop returns them as a span beside the
// newest due slot. When it goes back, a check whose next slot is now more than
// half an interval too far away is planned anew, so that it is not silent; its
// next slot then is one that has been used. So that a Result.ID is never used
// twice, slots not after the newest slot ever given are from then on moved by
// some milliseconds, one more with each step back.
type plan struct {
	queue queue // by next slot
	now   reading
	high  int64 // the newest slot given, or in the log, before any move
	shift int64 // by how much slots up to high are moved
}

// newPlan starts at now. newest is the time of the newest entry in the log: if
// it lies in the future the clock was set back while nobody looked.
func newPlan(now reading, newest time.Time) plan {
	p := plan{now: now}
	if !newest.IsZero() {
		p.high = newest.UnixNano()
	}
	if p.high > now.wall { // any other number than the last process used will do
		p.shift = (1 + p.high/int64(time.Millisecond)%97) * int64(time.Millisecond)
	}
	return p
}

// look takes a reading. It returns by how much the wall clock stepped since
// the last one, 0 for none, and how long ago that was.
func (p *plan) look(now reading) (step, elapsed time.Duration) {
	elapsed = now.mono - p.now.mono
	step = time.Duration(now.wall-p.now.wall) - elapsed
	p.now = now
	if step.Abs() < stepTolerance {
		return 0, elapsed
	}
	if step < 0 {
		p.shift += int64(time.Millisecond)
		for _, it := range p.queue {
			p.stepBack(it)
		}
		heap.Init(&p.queue)
	}
	return step, elapsed
}

// stepBack plans it anew if waiting for its next slot would leave it silent
// for more than one and a half intervals since its last one.
func (p *plan) stepBack(it *item) {
	first := next(it.check.Schedule, p.now.wall)
	second := next(it.check.Schedule, first)
	if second == never {
		return
	}
	interval := time.Duration(second - first)
	silent := p.now.mono - it.given
	if silent+time.Duration(it.next-p.now.wall) <= interval*3/2 {
		return
	}
	it.next, it.after = first, 0
	if silent+time.Duration(first-p.now.wall) < interval/2 {
		it.next = second // it ran a moment ago
	}
}

// add plans the checks in fresh. Their regular slots are those of their
// schedules. With atStart each also gets a run of its own soon, at a pace of
// one in startPace or all within one interval, whichever is sooner; that
// includes those whose regular slot comes as soon anyway. The regular slots
// keep their phase; the first one after such a run leaves it time for all its
// attempts, if an interval has that, or else for the first. now is a reading of
// this moment: the newest that look was given may be a second old.
func (p *plan) add(now reading, fresh []*item, atStart bool) {
	n := time.Duration(len(fresh))
	for i, it := range fresh {
		s := it.check.Schedule
		it.next, it.after, it.given = next(s, now.wall), 0, now.mono
		if it.next == never {
			continue
		}
		if second := next(s, it.next); atStart {
			interval := time.Duration(second - it.next)
			window := min(n*startPace, interval)
			if it.next > now.wall+int64(window) {
				start := wholeMS(now.wall + int64(window/n)*int64(i))
				room := it.check.Longest() * 10 / 9
				if room > interval {
					room = it.check.Timeout * 10 / 9
				}
				it.next, it.after = start, next(s, start+int64(room))
			}
		}
		heap.Push(&p.queue, it)
	}
}

// reset leaves only list in the plan.
func (p *plan) reset(list []*item) {
	p.queue = p.queue[:0]
	for _, it := range list {
		if it.next != never {
			p.queue = append(p.queue, it)
		}
	}
	heap.Init(&p.queue)
}

// due is one check whose slot has come.
type due struct {
	it     *item
	slot   time.Time
	passed span  // slots before it that have no run
	next   int64 // the regular slot after a start run; 0 for regular slots
}

// pop returns the next check that has a slot due at the newest reading.
func (p *plan) pop() (due, bool) {
	if len(p.queue) == 0 || p.queue[0].next > p.now.wall {
		return due{}, false
	}
	it := p.queue[0]
	d := due{it: it, next: it.after}
	slot, following, passed := advance(it.check.Schedule, it.next, it.after, p.now.wall)
	d.passed = passed
	if passed.n > 0 {
		d.next = 0
	}
	it.next, it.after, it.given = following, 0, p.now.mono
	if following == never {
		heap.Pop(&p.queue)
	} else {
		heap.Fix(&p.queue, 0)
	}
	if slot > p.high {
		p.high = slot
	} else {
		slot += p.shift // 0 unless the clock went back
	}
	d.slot = at(slot)
	return d, true
}

// wait returns how long it is from wall until the next look, at least 1 ns.
func (p *plan) wait(wall int64) time.Duration {
	if len(p.queue) == 0 {
		return maxWait
	}
	return min(max(time.Duration(p.queue[0].next-wall), 1), maxWait)
}

// between returns the slots of s after from, up to to.
func between(s checks.Schedule, from, to int64) span {
	first := next(s, from)
	if first > to {
		return span{}
	}
	newest, _, passed := advance(s, first, 0, to)
	passed.add(span{newest, newest, 1})
	return passed
}

// advance goes from the due slot from (followed by after, if that is not 0) to
// the newest slot that is not after now. It returns that slot, the one
// following it, and those that were passed.
func advance(s checks.Schedule, from, after, now int64) (newest, following int64, passed span) {
	if after == 0 {
		after = next(s, from)
	}
	if after > now {
		return from, after, span{}
	}
	passed = span{from: from, to: from, n: 1}
	if e, ok := s.(every); ok {
		k := (now - after) / e.period
		newest = after + k*e.period
		if k > 0 {
			passed.to, passed.n = newest-e.period, passed.n+int(k)
		}
		return newest, newest + e.period, passed
	}
	if oldest := now - int64(countBack); after < oldest {
		if after = next(s, oldest); after > now {
			return from, after, span{}
		}
	}
	newest = after
	for following = next(s, newest); following <= now; following = next(s, newest) {
		passed.to, passed.n = newest, passed.n+1
		newest = following
	}
	return newest, following, passed
}

// next is s.Next in Unix nanoseconds, and never for a schedule that ends or
// does not go forward.
func next(s checks.Schedule, t int64) int64 {
	if t == never {
		return never
	}
	if e, ok := s.(every); ok {
		return e.next(t)
	}
	if n := s.Next(at(t)); !n.IsZero() && n.UnixNano() > t {
		return n.UnixNano()
	}
	return never
}

// queue is a heap of checks by their next slot.
type queue []*item

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].next < q[j].next }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*item)) }
func (q *queue) Pop() any {
	old := *q
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return it
}
