package alerting

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

const (
	leastObjective = Share(0.5)
	leastWindow    = 3 * 24 * time.Hour // the longest of the pairs' windows
	leastBudget    = 40                 // bad samples; 99.9 % of a month of minutes is 43
)

func (p *problems) slo(r *Rule) {
	s := r.SLO
	switch {
	case s.Objective == 0:
		p.add("slo.objective", "missing, want the share that must be good, such as 99.9%%")
	case s.Objective >= 1:
		p.add("slo.objective", "%s leaves no budget, want less, or a rule of kind down", s.Objective)
	case s.Objective < leastObjective:
		p.add("slo.objective", "%s, want the share that must be good, from %s on", s.Objective, leastObjective)
	}
	switch d := s.window(); {
	case d < leastWindow:
		p.add("slo.window", "%s, want at least 3d: the slowest alert looks at 3 days", s.Window)
	case d > mostOver:
		p.add("slo.window", "%s is longer than the log is kept, want at most 31d", s.Window)
	}
	if s.Budgeting != "" && s.Budgeting != bySlices && s.Budgeting != byEvents {
		p.add("slo.budgeting", "%q, want slices or events", s.Budgeting)
	}
	if r.Severity != "" {
		p.add("severity", "an slo has none of its own: it pages when the budget burns fast, and makes a ticket when it burns slowly")
	}
}

func (p *problems) measure(m *Measure, s scope) {
	p.measured(m, s)
	switch {
	case m.Above == nil && m.Below == nil:
		p.add("measure", "no limit, want above: or below: with a number such as 1000 or 33%%")
	case m.Above != nil && m.Below != nil:
		p.add("measure.below", "above and below at once, want one of them: make a rule of each")
	}
	if !slices.Contains([]string{"", statLast, statMean, statMin, statMax}, m.Stat) {
		p.add("measure.stat", "%q, want last, mean, min or max", m.Stat)
		return
	}
	if m.stat() == statLast {
		if m.Over > 0 {
			p.add("measure.over", "the last value has no window, want another stat or no over")
		}
		if m.MinSamples != 0 {
			p.add("measure.min_samples", "the last value is one, want another stat or no min_samples")
		}
		return
	}
	p.over("measure.over", m.Over, s, 0)
	if m.MinSamples < 0 {
		p.add("measure.min_samples", "%d, want at least 1", m.MinSamples)
		return
	}
	for _, c := range s.subjects { // each by itself
		p.holds("measure.min_samples", m.MinSamples, m.Over, scope{sets: [][]Subject{{c}}}, func(Subject) int { return 1 })
	}
}

// measured judges the name of a number by what the selected checks record.
func (p *problems) measured(m *Measure, s scope) {
	if m.Of == "" {
		p.add("measure.of", "missing, want the name of a recorded number, such as connections_active")
		return
	}
	var there []string
	for _, c := range s.subjects {
		if c.Measures == nil || slices.Contains(c.Measures, m.Of) {
			return // not known, or good
		}
		there = append(there, c.Measures...)
	}
	slices.Sort(there)
	switch there = slices.Compact(there); {
	case len(s.subjects) == 0:
	case len(there) == 0:
		p.add("measure.of", "none of the selected checks records %q, or any number", m.Of)
	default:
		p.add("measure.of", "none of the selected checks records %q, there are %s", m.Of, strings.Join(there, ", "))
	}
}

func (p *problems) absent(a *AbsentRule, s scope) {
	if a.For <= 0 {
		p.add("absent.for", "missing, want how long there may be no result, such as 5m")
		return
	}
	if time.Duration(a.For) > mostOver {
		p.add("absent.for", "%s is longer than the log is kept, want at most 31d", a.For)
	}
	for _, c := range s.subjects {
		longest := max(c.Longest, c.Interval)
		if least := longest + c.Interval; time.Duration(a.For) < least {
			p.add("absent.for", "%s, but %q pauses for %s between two runs: want at least %s", a.For, c.Name,
				probe.Duration(longest), probe.Duration(least))
			return
		}
	}
}

// Warnings returns what is allowed but hardly meant of a valid rule for these
// checks: parts of an SLO that can never alert, and objectives that so few
// samples cannot tell from bad luck.
func (r *Rule) Warnings(subjects []Subject) []string {
	if r.SLO == nil {
		return nil
	}
	var list []string
	say := func(format string, args ...any) {
		list = append(list, fmt.Sprintf("rule %q: ", r.Name)+fmt.Sprintf(format, args...))
	}
	for _, p := range burnPairs() {
		if r.SLO.limit(p) >= 1 {
			say("a total outage burns the budget of %s %s times too fast, so the alert on %s and %s, from %s times on, never comes",
				r.SLO.objective(), figures(1/r.SLO.budget()), span(p.long), span(p.short), figures(p.rate(r.SLO.window())))
		}
	}
	var selected []Subject
	for _, c := range subjects {
		if r.Select.Matches(c) {
			selected = append(selected, c)
		}
	}
	for _, set := range divide(r, selected).sets {
		if text := r.SLO.sparse(set); text != "" { // one set stands for all
			say("%s", text)
			break
		}
	}
	return list
}

// sparse says what is wrong with an SLO over a set of checks that run so rarely.
func (s *SLO) sparse(set []Subject) string {
	var intervals []int64
	for _, c := range set {
		intervals = append(intervals, millis(c.Interval, time.Minute))
	}
	rate := newSpans(s, intervals).rate
	total := rate * float64(s.window().Milliseconds())
	if allowed := math.Round(total*s.budget()*10) / 10; allowed < leastBudget {
		unit := s.unit() + "s"
		if unit == "minutes" {
			unit = "minutes with a result"
		}
		return fmt.Sprintf("%s of %s hold %.0f %s, of which %s lets %s be bad: too few to tell a bad service from bad luck, want at least %d, %s",
			span(s.window()), someOf(set), total, unit, s.objective(), figures(allowed), leastBudget, s.instead(total, rate))
	}
	for _, p := range burnPairs() {
		if p.severity == Page && p.short > 5*time.Minute && math.Ceil(rate*float64(p.short.Milliseconds())) < leastBadShort {
			return fmt.Sprintf("%s runs so rarely that %s never hold %d results: it will never page, only make tickets",
				someOf(set), span(p.short), leastBadShort)
		}
	}
	return ""
}

// instead says what would give a budget that is large enough.
func (s *SLO) instead(total, rate float64) string {
	more := ""
	if rate < 1/float64(aMinute) || s.events() {
		more = ", or more probes"
	}
	for _, o := range []float64{99.95, 99.9, 99.5, 99, 98, 95, 90} {
		if o/100 < float64(s.Objective) && total*(100-o)/100 >= leastBudget {
			return "such as an objective of " + strconv.FormatFloat(o, 'f', -1, 64) + " %" + more
		}
	}
	return "such as more probes"
}
