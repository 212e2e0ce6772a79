package alerting

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// StormGroup is the group of the incident that stands for many that open at once.
const StormGroup = "storm"

const (
	stormKey  = StormGroup
	kindStorm = "storm"
)

// stormSettle is how long a storm gathers before people are told of it.
const stormSettle = 1500 * time.Millisecond

// mostParts bounds what a storm tells of its parts.
const mostParts = 100

// crowded tells whether people were told of so many incidents of late that the
// next one becomes part of a storm.
func (e *Engine) crowded() bool {
	n, since := e.policy.StormGroups, e.clock-e.policy.StormWithin
	if n == 0 || len(e.recent) < n {
		return false
	}
	first := e.recent[len(e.recent)-n]
	return since < first && first <= e.clock
}

// counted notes that an incident opens for people, told by itself or within a storm.
func (e *Engine) counted(i *Incident) {
	if e.policy.StormGroups == 0 || i.Group == stormKey || i.Group == monitorKey {
		return
	}
	e.recent = append(e.recent, e.clock)
	if n := len(e.recent) - e.policy.StormGroups; n > 0 {
		e.recent = slices.Delete(e.recent, 0, n)
	}
}

// join makes an incident part of the storm.
func (e *Engine) join(i *Incident) {
	s := e.incident(stormKey, e.clock)
	if len(s.Findings) == 0 {
		e.members = 0
		s.Since, s.LastBad = i.Since, i.LastBad
		s.Findings = []Finding{{Rule: kindStorm, Kind: kindStorm, Severity: Ticket, Since: i.Since, LastBad: i.LastBad, Threshold: float64(e.policy.StormGroups), Unit: "incidents"}}
	}
	f := &s.Findings[0]
	f.Untold = true
	f.Total++
	t := e.touch(s)
	if len(t.news) == 0 {
		t.news = append(t.news, 0)
	}
	if i.Severity == Page && s.Severity != Page {
		f.Severity, s.Severity, t.worse = Page, Page, s.Version > 0
	}
	if i.Since.Before(s.Since) {
		s.Since, f.Since = i.Since, i.Since
	}
	i.Storm = s.ID
	e.members++
	e.counted(i)
	if e.roundly() {
		e.figureStorm(s)
	}
}

// roundly tells whether what a storm says of all its parts is brought up to date
// though people are not told of it: of many that is much work.
func (e *Engine) roundly() bool { return e.members <= 50 || e.members%64 == 0 }

// gather lets the storm follow what this step has done to its parts.
func (e *Engine) gather() {
	s := e.incidents[stormKey]
	if s == nil {
		return
	}
	for k := range len(e.touched) {
		i := e.touched[k].incident
		if i.Storm != s.ID {
			continue
		}
		t := e.touch(s)
		if i.Severity == Page && s.Severity != Page && e.excused(i) == "" {
			s.Findings[0].Severity, s.Severity, t.worse = Page, Page, s.Version > 0
		}
		t.spread = takesPart(s, i) || t.spread
	}
}

// takesPart takes an incident into the parts of a storm, as it is now, and tells
// whether that changes them.
func takesPart(s, i *Incident) bool {
	p := Part{i.Group, i.Severity, i.Labels}
	k := slices.IndexFunc(s.Parts, func(p Part) bool { return p.Group == i.Group })
	switch {
	case k >= 0 && s.Parts[k].Severity == p.Severity && maps.Equal(s.Parts[k].Labels, p.Labels):
		return false
	case k >= 0:
		s.Parts[k] = p
	case len(s.Parts) < mostParts:
		s.Parts = append(s.Parts, p)
	default:
		news := !s.MoreParts
		s.MoreParts = true
		return news
	}
	return true
}

// left notes that a part of the storm has ended; with the last one the storm does.
func (e *Engine) left(i *Incident, slot int64) {
	s := e.incidents[stormKey]
	if s == nil || i.Storm != s.ID {
		return
	}
	f := &s.Findings[0]
	f.LastBad = later(f.LastBad, i.LastBad)
	s.LastBad = later(s.LastBad, i.LastBad)
	if e.members--; e.members > 0 {
		return
	}
	f.Cleared, f.ClearedBy = later(at(slot), f.LastBad), "all of them have recovered"
	e.endIfClear(s, slot, "")
}

// gathered counts again what is part of the storm.
func (e *Engine) gathered() {
	e.members = 0
	if s := e.incidents[stormKey]; s != nil {
		for _, i := range e.incidents {
			e.members += b2i(i.Storm == s.ID)
		}
	}
}

// gust tells whether people are to be told that a storm has grown, and when
// that has to wait notes until when: for a pause, and for something that fails
// (incidents that flap are open for a while with nothing bad).
func (e *Engine) gust(s *Incident) bool {
	if !s.Findings[0].Untold {
		return false
	}
	if e.awaits(e.gusty+e.policy.StormWithin, e.policy.StormWithin) {
		return false
	}
	for range e.culprits(s) {
		return true
	}
	e.wakeAt(e.clock + e.policy.StormWithin)
	return false
}

// figureStorm brings the finding of a storm up to date.
func (e *Engine) figureStorm(s *Incident) {
	if !s.Open() {
		return
	}
	f := &s.Findings[0]
	var names []string
	var classes []classCount
	for _, i := range e.incidents {
		if i.Storm != s.ID {
			continue
		}
		f.LastBad = later(f.LastBad, i.LastBad)
		for _, g := range i.Findings {
			if g.Class != "" && g.Holds() {
				classes = tally(classes, []classCount{{g.Class, 1}})
			}
		}
	}
	for c := range e.culprits(s) {
		names = append(names, e.checks[c].name)
	}
	s.LastBad = later(s.LastBad, f.LastBad)
	slices.Sort(names)
	names = slices.Compact(names)
	all := len(names)
	if all == 0 { // what is part of it flaps, and is well just now: it stays as it was
		return
	}
	f.Checks = names[:min(all, mostChecks)]
	f.More = all - len(f.Checks)
	f.Bad, f.Figure = e.members, float64(f.Total)
	f.Class = mostFrequent(classes)
	f.Text = fmt.Sprintf("%s of %s, more than the %d in %s that are told one by one", plural(f.Total, "incident"), plural(all, "check"),
		e.policy.StormGroups, span(time.Duration(e.policy.StormWithin)*time.Millisecond))
	slices.SortFunc(classes, func(a, b classCount) int { return cmp.Or(b.N-a.N, cmp.Compare(a.Class, b.Class)) })
	var words []string
	for _, c := range classes[:min(len(classes), 5)] {
		words = append(words, fmt.Sprintf("%s %d", c.Class, c.N))
	}
	f.Reason = strings.Join(words, ", ")
}
