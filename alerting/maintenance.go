package alerting

import (
	"cmp"
	"math"
	"time"

	"github.com/tripline/tripline/checks"
)

// Window is a maintenance window that comes again: checks run and count, and
// people are not told of what is bad meanwhile unless it still is at the end.
type Window struct {
	Name           string
	Select         Select
	For            time.Duration
	Cron, Timezone string // when it begins, as the config has it
	// Starts says the same. It is pure: the same time has the same answer. A
	// window without it never opens.
	Starts checks.Schedule `json:"-"`
}

// calendar is a Window with what is known of it around one time.
type calendar struct {
	Window
	covers []bool
	lo, hi int64 // between these
	is     bool  // it is open, or not
}

// look finds out about a time.
func (w *calendar) look(ms int64) {
	if w.lo <= ms && ms < w.hi {
		return
	}
	var start time.Time
	if w.Starts != nil {
		start = w.Starts.Next(at(ms).Add(-w.For)) // the first one that is not over
	}
	switch s := start.UnixMilli(); {
	case start.IsZero():
		w.is, w.lo, w.hi = false, ms, never
	case s <= ms:
		w.is, w.lo, w.hi = true, s, s+w.For.Milliseconds()
	default:
		w.is, w.lo, w.hi = false, ms, s
	}
}

// open tells whether the window is open at a time.
func (w *calendar) open(ms int64) bool {
	w.look(ms)
	return w.is
}

// turn returns when it opens or closes next.
func (w *calendar) turn(ms int64) int64 {
	w.look(ms)
	return w.hi
}

func (w *calendar) text() string {
	return "maintenance " + w.Name + " until " + clock(at(w.hi), at(w.lo))
}

// maintained tells whether a slot of c is in a maintenance window.
func (e *Engine) maintained(c *check, slot int64) bool {
	k, ok := e.index[c.name]
	if !ok {
		return false
	}
	for _, q := range e.silences {
		if q.Maintenance && q.covers[k] && q.active(slot) {
			return true
		}
	}
	for i := range e.windows {
		if w := &e.windows[i]; w.covers[k] && w.open(slot) {
			return true
		}
	}
	return false
}

// green takes a result of check number k, and ends the maintenance windows that
// end when all their checks are good again, and are.
func (e *Engine) green(k int32, good bool) {
	for _, q := range e.silences {
		if !q.UntilGreen || !q.covers[k] || !q.active(e.clock) {
			continue
		}
		if q.Goods == nil {
			q.Goods = map[string]int{}
		}
		if q.Goods[e.checks[k].name]++; !good {
			q.Goods[e.checks[k].name], q.Bad = 0, true
		}
		if good && q.Bad && e.allGreen(q) {
			e.endSilence(q)
		}
	}
}

func (e *Engine) allGreen(q *silence) bool {
	for k := range e.checks {
		if c := &e.checks[k]; q.covers[k] && q.Goods[c.name] < e.recovery(c) {
			return false
		}
	}
	return true
}

// recovery is how many good results in a row let every rule about c recover.
func (e *Engine) recovery(c *check) int {
	n := int16(0)
	for _, ref := range c.refs {
		n = max(n, e.watches[ref.watch].recover)
	}
	return cmp.Or(int(n), (&Rule{}).recoverAfter())
}

// once is the schedule of what begins at one time.
type once time.Time

// Next implements checks.Schedule.
func (o once) Next(t time.Time) time.Time {
	if start := time.Time(o); start.After(t) {
		return start
	}
	return time.Time{}
}

// Begun returns the maintenance windows that people have begun, as far as they
// are remembered: until a day after their end.
func (e *Engine) Begun() (list []Window) {
	for _, q := range e.silences {
		if q.Maintenance && q.Until.After(q.From) {
			list = append(list, Window{Name: q.ID, Select: q.Select, For: q.Until.Sub(q.From), Starts: once(q.From)})
		}
	}
	return list
}

// Maintained returns what tells at which times c is in one of the windows, not
// safe for concurrent use; nil if it is in none ever.
func Maintained(windows []Window, c Subject) func(time.Time) bool {
	var list []calendar
	for _, w := range windows {
		if w.Select.Matches(c) {
			list = append(list, calendar{Window: w})
		}
	}
	if len(list) == 0 {
		return nil
	}
	return func(t time.Time) bool {
		for k := range list {
			if list[k].open(t.UnixMilli()) {
				return true
			}
		}
		return false
	}
}

// MostWindow is how long a maintenance window may last, and a silence.
const MostWindow = 31 * 24 * time.Hour

// Maintenance returns the windows of the policy that are open, and when they close.
func (e *Engine) Maintenance() map[string]time.Time {
	open := map[string]time.Time{}
	for k := range e.windows {
		if w := &e.windows[k]; w.open(e.clock) && w.hi < math.MaxInt64 {
			open[w.Name] = at(w.hi)
		}
	}
	return open
}
