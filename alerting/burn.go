package alerting

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// newBudgets gives each set of an SLO its budget.
func (w *watch) newBudgets(list []check) {
	var known []*spans
	for n := range w.sets {
		s := &w.sets[n]
		intervals := make([]int64, 0, s.hi-s.lo)
		for i := s.lo; i < s.hi; i++ {
			intervals = append(intervals, list[w.pairs[i].check].interval)
		}
		d := newSpans(w.SLO, intervals)
		for _, k := range known { // they are mostly the same
			if k.rate == d.rate {
				d = k
			}
		}
		if len(known) < 16 {
			known = append(known, d)
		}
		s.budget = &budget{spans: d, pair: -1}
	}
}

// spend counts a result. While the monitor is blind, what fails like a broken
// network of its own is unknown.
func (e *Engine) spend(w *watch, p *pair, s sample, newest bool) bool {
	x := s.count
	if x.bad > 0 && e.blind != nil && e.blind.active && !e.checks[p.check].canaries && s.down && isNetwork(s.class) {
		x = cell{unknown: x.bad}
	}
	return w.sets[p.set].budget.count(s.slot, x, newest)
}

// burning returns the fastest pair that alerts, -1 for none.
func (w *watch) burning(b *budget, now int64) int {
	for i, p := range burnPairs() {
		limit := w.SLO.limit(p)
		short := b.look(p.short.Milliseconds(), now)
		if short.bad < leastBadShort || short.minutes < leastBadMinutes || short.share(short.bad) <= limit {
			continue
		}
		if long := b.look(p.long.Milliseconds(), now); long.bad >= leastBadLong && long.share(long.bad) > limit {
			return i
		}
	}
	return -1
}

// faster notes when a finding burns by a faster pair, or by another one that
// pages, than the one that made it.
func (w *watch) faster(b *budget, now int64) {
	pairs := burnPairs()
	if i := w.burning(b, now); i >= 0 && (b.pair < 0 || i < int(b.pair) || pairs[i].severity == pairs[b.pair].severity) {
		b.pair = int8(i)
	}
}

// burnsOn tells whether a pair of the finding's severity or a faster one still
// burns too fast. How many are bad does not matter any more.
func (w *watch) burnsOn(b *budget, now int64) bool {
	pairs := burnPairs()
	for _, p := range pairs {
		if b.pair >= 0 && pairs[b.pair].severity == Page && p.severity != Page {
			break
		}
		limit := w.SLO.limit(p)
		short, long := b.look(p.short.Milliseconds(), now), b.look(p.long.Milliseconds(), now)
		if short.share(short.bad) > limit && long.share(long.bad) > limit {
			return true
		}
	}
	return false
}

// forgive ends what makes a finding. What was bad so far makes none again, but
// it is spent.
func (b *budget) forgive(now int64) { b.pair, b.floor = -1, max(b.floor, now) }

// connectBudget makes the budget of a set agree with whether it has tripped.
func (e *Engine) connectBudget(w *watch, s *set) {
	switch b := s.budget; {
	case !s.tripped:
		b.pair = -1
	case b.pair < 0: // the state is lost, the incident is not
		b.pair = mostPairs - 1
		i := e.incidents[w.topics[s.topic].key]
		if k := i.index(w.Name, w.kind.String()); i.Findings[k].Severity == Page {
			b.pair = 0
		}
	}
}

// worst returns the set of a topic that burns fastest among the tripped ones,
// with its pair; nil if none has tripped.
func (w *watch) worst(t *topic, now int64) (worst *set, long spent) {
	for i := t.lo; i < t.hi; i++ {
		s := &w.sets[i]
		if !s.tripped || s.budget.pair < 0 || worst != nil && s.budget.pair > worst.budget.pair {
			continue
		}
		x := s.budget.look(burnPairs()[s.budget.pair].long.Milliseconds(), now)
		if worst == nil || s.budget.pair < worst.budget.pair || x.share(x.all) > long.share(long.all) {
			worst, long = s, x
		}
	}
	return worst, long
}

// level is the severity of a topic's finding.
func (w *watch) level(t *topic) Severity {
	if w.kind != kindSLO {
		return w.severity()
	}
	for i := t.lo; i < t.hi; i++ {
		if s := &w.sets[i]; s.tripped && s.budget.pair >= 0 && burnPairs()[s.budget.pair].severity == Page {
			return Page
		}
	}
	return Ticket
}

// countBudget computes the figure of an SLO's finding: of the set that burns
// fastest.
func (e *Engine) countBudget(w *watch, t *topic, f *Finding, slot int64) {
	s, long := w.worst(t, slot)
	f.Unit, f.Confirmed = "burn", 0
	if s == nil {
		return
	}
	pair := burnPairs()[s.budget.pair]
	rate := long.share(long.all) / w.SLO.budget()
	f.Figure, f.Threshold = rate, pair.rate(w.SLO.window())
	f.Bad, f.Total, f.Unknown = long.all, long.expected-long.unknown, long.unknown
	b := e.standing(w, s, slot)
	b.GoneIn = b.goneIn(rate)
	f.Budget = &b
	f.Text = fmt.Sprintf("SLO %s over %s: %d of %s bad in %s, which burns the budget %s times too fast (limit %s); %s",
		w.SLO.objective(), span(w.SLO.window()), long.all, plural(long.expected, w.SLO.unit()), span(pair.long),
		figures(rate), figures(f.Threshold), b.left())
}

// left says how much of the budget is left and for how long.
func (b *Budget) left() string {
	switch {
	case b.Remaining <= 0:
		return fmt.Sprintf("the budget is gone (%s of it spent)", percent(round2(1-b.Remaining)))
	case b.GoneIn > 0:
		return fmt.Sprintf("%s of the budget left, gone in %s at this rate", Share(b.Remaining), b.GoneIn)
	}
	return Share(b.Remaining).String() + " of the budget left"
}

// goneIn returns when the budget is spent at a rate, in two figures or so.
func (b *Budget) goneIn(rate float64) probe.Duration {
	if rate <= 0 || b.Remaining <= 0 {
		return 0
	}
	d := time.Duration(b.Remaining * float64(b.Window) / rate)
	for _, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if d >= 3*unit || unit == time.Second {
			return probe.Duration(d.Round(unit))
		}
	}
	return 0
}

// standing says where the budget of a set stands.
func (e *Engine) standing(w *watch, s *set, now int64) Budget {
	whole := s.budget.look(w.SLO.window().Milliseconds(), now)
	b := Budget{
		Rule: w.Name, Group: w.topics[s.topic].key, Objective: float64(w.SLO.Objective), Window: probe.Duration(w.SLO.window()),
		Bad: whole.all, Expected: whole.expected, Unknown: whole.unknown,
		Remaining: 1 - whole.share(whole.all)/w.SLO.budget(),
		Burns:     make([]Burn, 0, mostPairs),
	}
	if w.by() == byCheck {
		b.Check = e.checks[w.pairs[s.lo].check].name
	}
	for _, p := range burnPairs() {
		x := s.budget.look(p.long.Milliseconds(), now)
		b.Burns = append(b.Burns, Burn{probe.Duration(p.long), x.share(x.all) / w.SLO.budget()})
	}
	b.GoneIn = b.goneIn(b.Burns[0].Rate)
	return b
}

// Budgets says where each SLO stands at the time of the newest entry, in the
// order of the rules and their groups. It shares no memory with the engine.
func (e *Engine) Budgets() []Budget {
	var list []Budget
	for k := range e.watches {
		w := &e.watches[k]
		if w.kind != kindSLO {
			continue
		}
		for n := range w.sets {
			list = append(list, e.standing(w, &w.sets[n], e.now))
		}
	}
	return list
}

// Name names what the budget is of, such as "availability · api".
func (b Budget) Name() string {
	if b.Check != "" {
		return b.Rule + " · " + b.Check
	}
	return b.Rule + " · " + b.Group
}

// Text says where the budget stands, such as "99.9 % over 30d: 3 of 43200 bad,
// 93.06 % of the budget left".
func (b Budget) Text() string {
	s := fmt.Sprintf("%s over %s: %d of %d bad, ", percent(b.Objective), b.Window, b.Bad, b.Expected)
	if b.Unknown > 0 {
		s += fmt.Sprintf("%d unknown, ", b.Unknown)
	}
	return s + b.left()
}

// figures formats a rate with at most three figures.
func figures(f float64) string {
	if f >= 100 {
		return strconv.Itoa(int(math.Round(f)))
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

func round2(f float64) float64 { return math.Round(f*100) / 100 }

// percent formats a share in all its digits.
func percent(f float64) string {
	return strconv.FormatFloat(math.Round(f*1e10)/1e8, 'f', -1, 64) + " %"
}
