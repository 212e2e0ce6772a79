package alerting

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

const (
	mostOver    = 31 * 24 * time.Hour // the log is not kept for longer
	mostRecover = 1000
	mostSlots   = 1000
	mostName    = 100
)

// problems collects what is wrong with a rule.
type problems []probe.Problem

func (p *problems) add(path, format string, args ...any) {
	*p = append(*p, probe.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
}

// Validate returns everything that is wrong with the rule for these checks:
// also settings that could never or would always make a finding, and selectors
// that match nothing.
func (r *Rule) Validate(subjects []Subject) []probe.Problem {
	var p problems
	if r.Name == "" {
		p.add("name", "missing: messages and the stored state need one")
	} else if len(r.Name) > mostName {
		p.add("name", "%d bytes, want at most %d", len(r.Name), mostName)
	}
	if r.Severity != "" && r.Severity != Page && r.Severity != Ticket {
		p.add("severity", "%q is no severity, want page or ticket", r.Severity)
	}
	if !slices.Contains([]string{"", byCheck, byGroup, byAll}, r.By) {
		p.add("by", "%q, want check, group or all", r.By)
	}
	if r.RecoverAfter < 0 || r.RecoverAfter > mostRecover {
		p.add("recover_after", "%d, want 1 to %d good results in a row", r.RecoverAfter, mostRecover)
	}
	p.runbook(r.Runbook)
	selected := p.selected(r.Select, subjects)
	p.keys(r, subjects)
	p.kinds(r, divide(r, selected))
	return p
}

// scope is the selected checks and the sets that figures are computed over.
type scope struct {
	subjects []Subject
	sets     [][]Subject
}

// divide divides the selected checks into sets.
func divide(r *Rule, selected []Subject) scope {
	s := scope{subjects: selected}
	index := map[string]int{}
	for i, c := range selected {
		_, of := r.keys(c)
		if k, ok := index[of]; ok {
			s.sets[k] = append(s.sets[k], c)
			continue
		}
		index[of] = len(s.sets)
		s.sets = append(s.sets, selected[i:i+1:i+1]) // a copy only once it grows
	}
	return s
}

func (p *problems) kinds(r *Rule, s scope) {
	var set []string
	if r.Rate != nil {
		set = append(set, "rate")
		p.rate(r.Rate, s)
	}
	if r.Latency != nil {
		set = append(set, "latency")
		p.latency(r.Latency, s)
	}
	if r.Down != nil {
		set = append(set, "down")
		if n := r.Down.Slots; n < 0 || n > mostSlots {
			p.add("down.slots", "%d, want 1 to %d slots in a row", n, mostSlots)
		}
	}
	if r.Unknown != nil {
		set = append(set, "unknown")
		p.unknown(r.Unknown, s)
	}
	if r.SLO != nil {
		set = append(set, "slo")
		p.slo(r)
	}
	if r.Measure != nil {
		set = append(set, "measure")
		p.measure(r.Measure, s)
	}
	if r.Absent != nil {
		set = append(set, "absent")
		p.absent(r.Absent, s)
	}
	switch len(set) {
	case 0:
		p.add("", "no kind of rule, want one of rate, latency, down, unknown, slo, measure, absent")
	case 1:
	default:
		p.add("", "%s at once, want one of them: make a rule of each", strings.Join(set, " and "))
	}
}

func (p *problems) runbook(s string) {
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		p.add("runbook", "this is no URL of a page, want one such as https://example.com/runbooks/websocket")
	case u.User != nil:
		p.add("runbook", "the URL holds credentials, and is part of every message: want it without")
	}
}

// Reserved says what incidents of a group or a rule of this name would mix
// with; "" if with none.
func Reserved(name string) string {
	switch name {
	case monitorKey:
		return "the incident about Tripline itself"
	case stormKey:
		return "the incident that gathers many at once"
	}
	return ""
}

// keys finds incidents that would mix: those of a rule with others of its name.
func (p *problems) keys(r *Rule, subjects []Subject) {
	if r.Unknown != nil || r.by() != byAll {
		return
	}
	const named = "with by: all the incident is named after the rule, and "
	if other := Reserved(r.Name); other != "" {
		p.add("name", named+"%q is the name of %s: want another name", r.Name, other)
	} else if slices.ContainsFunc(subjects, func(c Subject) bool { return c.group() == r.Name }) {
		p.add("name", named+"a group of checks is named %q too: want another name", r.Name)
	}
}

// over judges the length of a window. fallback is its default, 0 if it must be given.
func (p *problems) over(path string, over probe.Duration, s scope, fallback time.Duration) {
	switch d := time.Duration(over); {
	case d == 0 && fallback > 0:
	case d <= 0:
		p.add(path, "missing, want the length of the window, such as 5m")
	case d > mostOver:
		p.add(path, "%s is longer than the log is kept, want at most 31d", over)
	default:
		var longer []Subject
		for _, c := range s.subjects {
			if c.Interval > d {
				longer = append(longer, c)
			}
		}
		if len(longer) > 0 {
			p.add(path, "%s is shorter than the time between two runs of %s, %s: want at least that", over,
				someOf(longer), probe.Duration(longer[0].Interval))
		}
	}
}

// someOf names the first of some checks.
func someOf(list []Subject) string {
	s := strconv.Quote(list[0].Name)
	if n := len(list) - 1; n > 0 {
		s += " and " + strconv.Itoa(n) + " more"
	}
	return s
}

// holds complains of a count that the windows of a set can never reach.
func (p *problems) holds(path string, want int, over probe.Duration, s scope, each func(Subject) int) {
	if over <= 0 {
		return
	}
	for _, set := range s.sets {
		most := 0
		for _, c := range set {
			most += int(slotsIn(over, c)) * each(c)
		}
		if most < want {
			p.add(path, "%d, but %s of %s holds at most %d, so this would never trip", want, over, someOf(set), most)
			return
		}
	}
}

func slotsIn(over probe.Duration, c Subject) int64 {
	g := newGeometry(millis(time.Duration(over), time.Minute), millis(c.Interval, time.Minute), mostExact)
	return g.slots()
}
