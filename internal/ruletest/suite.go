package ruletest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Suite is some rules, the checks they look at, and what is expected of them.
type Suite struct {
	Rules    []alerting.Rule
	Subjects []alerting.Subject
	Cases    []Case
}

// Case is one test.
type Case struct {
	Name   string
	Line   int                // in its file
	Input  map[string][]Point // by check
	Expect []Expected
}

// Expected is an incident that should come. Times count from the first slot,
// which all checks have in common.
type Expected struct {
	Group    string
	Opened   time.Duration
	Resolved *time.Duration    // nil: still open at the end
	Severity alerting.Severity // the worst; "" is any
	Findings []string          // rules, sorted; nil is any
	Line     int
}

// incident is an incident that came.
type incident struct {
	group            string
	opened, resolved time.Duration
	over             bool
	severity         alerting.Severity
	findings         []string // sorted
	texts            []string // what its versions said
}

// Run runs a case and returns what is wrong, for people; nothing if all is
// as expected.
func (s Suite) Run(c Case) []string {
	return difference(c.Expect, s.step(c))
}

// begin is the first slot: a Monday, far from any change of the clocks.
func begin() time.Time { return time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC) }

// step steps the rules over the input. Checks without input do not take part:
// they would be absent.
func (s Suite) step(c Case) []incident {
	s.Subjects = slices.DeleteFunc(slices.Clone(s.Subjects), func(sub alerting.Subject) bool { return len(c.Input[sub.Name]) == 0 })
	e := alerting.NewEngine(s.Rules, s.Subjects)
	var list []*incident
	open := map[string]*incident{}
	for n, entry := range s.entries(c) {
		at := entry.Time().Sub(begin())
		for _, ch := range e.Step(uint64(n)+1, entry) {
			i := open[ch.Incident.ID]
			if i == nil {
				i = &incident{group: ch.Incident.Group, opened: at}
				open[ch.Incident.ID] = i
				list = append(list, i)
			}
			i.note(ch, at)
		}
	}
	out := make([]incident, len(list))
	for k, i := range list {
		out[k] = *i
	}
	return out
}

func (i *incident) note(ch alerting.Change, at time.Duration) {
	i.severity, i.findings = ch.Incident.Severity, nil
	for _, f := range ch.Incident.Findings {
		i.findings = append(i.findings, f.Rule)
	}
	slices.Sort(i.findings)
	i.findings = slices.Compact(i.findings)
	text := ch.Incident.Changed
	switch ch.Event {
	case alerting.Opened:
		var sentences []string
		for _, f := range ch.Incident.Findings {
			sentences = append(sentences, f.Rule+": "+f.Text)
		}
		text += "; " + strings.Join(sentences, "; ")
	case alerting.Resolved:
		i.resolved, i.over = at, true
	}
	i.texts = append(i.texts, fmt.Sprintf("%s %s", probe.Duration(at), text))
}

// entries makes the log of a case: results and gaps by time, and a tick each
// minute.
func (s Suite) entries(c Case) []checks.Entry {
	var list []checks.Entry
	last := begin()
	for _, sub := range s.Subjects {
		interval := cmp.Or(max(sub.Interval, 0), time.Minute)
		points := c.Input[sub.Name]
		for k := 0; k < len(points); k++ {
			slot := begin().Add(time.Duration(k) * interval)
			e := checks.Entry{V: checks.ResultVersion}
			if points[k].Gap {
				from := k
				for k+1 < len(points) && points[k+1].Gap {
					k++
				}
				to := begin().Add(time.Duration(k) * interval)
				e.Gap = &checks.Gap{Check: sub.Name, Location: location(sub), From: slot, To: to, Slots: k - from + 1, Reason: "gap in the test"}
			} else {
				e.Result = result(sub, points[k], slot)
			}
			list = append(list, e)
			if t := e.Time(); t.After(last) {
				last = t
			}
		}
	}
	for at := begin().Add(30 * time.Second); at.Before(last); at = at.Add(time.Minute) {
		list = append(list, checks.Entry{V: checks.ResultVersion, Tick: &checks.Tick{At: at}})
	}
	slices.SortStableFunc(list, func(a, b checks.Entry) int { return a.Time().Compare(b.Time()) })
	return list
}

func location(s alerting.Subject) string { return cmp.Or(s.Location, "local") }

func result(s alerting.Subject, p Point, slot time.Time) *checks.Result {
	r := &checks.Result{
		Check: s.Name, Kind: s.Kind, Group: s.Group, Location: location(s), Slot: slot, Start: slot,
		Duration: max(p.Latency, time.Millisecond), Latency: p.Latency, Status: p.Status, Class: p.Class, Measures: p.Measures,
	}
	if p.Status != probe.Up {
		r.Reason = fmt.Sprintf("%s in the test", p.Class)
	}
	return r
}

// difference says how the incidents that came are not those that should. Those
// of a group are compared in their order.
func difference(want []Expected, got []incident) []string {
	var list []string
	left := slices.Clone(got)
	for _, w := range want {
		k := slices.IndexFunc(left, func(i incident) bool { return i.group == w.Group })
		if k < 0 {
			list = append(list, fmt.Sprintf("line %d: missing: %s", w.Line, w))
			continue
		}
		if wrong := w.against(left[k]); len(wrong) > 0 {
			list = append(list, fmt.Sprintf("line %d: %s of group %s:\n      want %s\n      got  %s%s",
				w.Line, strings.Join(wrong, ", "), w.Group, w, left[k], left[k].story()))
		}
		left = slices.Delete(left, k, k+1)
	}
	for _, i := range left {
		list = append(list, fmt.Sprintf("not expected: %s%s", i, i.story()))
	}
	return list
}

// against names what is not as w says.
func (w Expected) against(i incident) (wrong []string) {
	if w.Opened != i.opened {
		wrong = append(wrong, "opened")
	}
	if over := w.Resolved != nil; over != i.over || over && *w.Resolved != i.resolved {
		wrong = append(wrong, "resolved")
	}
	if w.Severity != "" && w.Severity != i.severity {
		wrong = append(wrong, "severity")
	}
	if w.Findings != nil && !slices.Equal(w.Findings, i.findings) {
		wrong = append(wrong, "findings")
	}
	return wrong
}

func (w Expected) String() string {
	text := fmt.Sprintf("group %s, opened %s, ", w.Group, probe.Duration(w.Opened))
	if w.Resolved == nil {
		text += "open at the end"
	} else {
		text += "resolved " + probe.Duration(*w.Resolved).String()
	}
	if w.Severity != "" {
		text += ", " + string(w.Severity)
	}
	if w.Findings != nil {
		text += ", findings " + strings.Join(w.Findings, ", ")
	}
	return text
}

func (i incident) String() string {
	w := Expected{Group: i.group, Opened: i.opened, Severity: i.severity, Findings: i.findings}
	if i.over {
		w.Resolved = &i.resolved
	}
	return w.String()
}

// story is what the versions of an incident said, a line each.
func (i incident) story() string { return "\n        " + strings.Join(i.texts, "\n        ") }
