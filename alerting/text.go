package alerting

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Title returns the incident in one line, such as
// "[page] ws: not_found 12 of 20 attempts (60 %) in 5m, limit 0 %".
func (i Incident) Title() string {
	lead := i.lead()
	if lead == nil {
		return fmt.Sprintf("[%s] %s", i.word(), i.subject(nil))
	}
	s := fmt.Sprintf("[%s] %s: ", i.word(), i.subject(lead))
	if !i.Open() {
		s = fmt.Sprintf("[%s] %s after %s: ", i.word(), i.Group, i.length())
		if why, ok := strings.CutPrefix(i.Changed, "resolved: "); ok {
			s = fmt.Sprintf("[%s] %s, %s: ", i.word(), i.Group, why)
		}
	}
	s += lead.Text
	if n := len(i.shown()) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}

// Lines returns what a message about the incident says below its title: for
// each finding its sentence, the counts behind it, the checks, since when, the
// newest reason and the runbook.
func (i Incident) Lines() []string {
	var lines []string
	switch {
	case !i.Open():
		lines = append(lines, fmt.Sprintf("%s: bad %s, over %s", i.Changed, period(i.Since, i.LastBad), clock(i.Ended, i.Since)))
	case i.Version > 1:
		lines = append(lines, i.Changed)
	}
	if a := i.Acknowledged; a != nil && i.Open() {
		lines = append(lines, fmt.Sprintf("acknowledged by %s at %s", a.By, clock(a.At, i.Since)))
	}
	for _, f := range i.shown() {
		lines = append(lines, f.lines()...)
	}
	return lines
}

// subject is what an open incident is about: the group, with how much of it
// fails, unless the lead says that.
func (i Incident) subject(lead *Finding) string {
	s := i.Group
	if i.Reopened > 0 {
		s += " (flapping)"
	}
	if lead == nil || lead.Kind != kindDown.String() && lead.Kind != kindStorm {
		if part := i.Part(); part != "" {
			s += " (" + part + ")"
		}
	}
	return s
}

// Part says how much of its group an incident is about, such as "1 check of 5";
// "" of a group of one check.
func (i Incident) Part() string {
	switch {
	case i.Of < 2 || i.Failing == 0:
		return ""
	case i.Failing >= i.Of:
		return "all " + plural(i.Of, "check")
	}
	return fmt.Sprintf("%s of %d", plural(i.Failing, "check"), i.Of)
}

func (i Incident) word() string {
	if i.Open() {
		return string(i.Severity)
	}
	return "resolved"
}

// shown returns the findings that messages are about: those that hold, the
// worst first; of an incident that has ended, all.
func (i Incident) shown() []Finding {
	list := slices.Clone(i.Findings)
	if i.Open() {
		list = slices.DeleteFunc(list, func(f Finding) bool { return !f.Holds() })
	}
	slices.SortStableFunc(list, func(a, b Finding) int {
		switch {
		case a.Severity == Page && b.Severity != Page:
			return -1
		case b.Severity == Page && a.Severity != Page:
			return 1
		}
		return 0
	})
	return list
}

// lead is the finding that titles name.
func (i Incident) lead() *Finding {
	if list := i.shown(); len(list) > 0 {
		return &list[0]
	}
	return nil
}

func (f Finding) lines() []string {
	lines := []string{f.Text}
	if s := f.details(); s != "" {
		lines = append(lines, s)
	}
	if s := f.checks(); s != "" {
		lines = append(lines, s)
	}
	since := "since " + clock(f.Since, time.Time{})
	if f.LastBad.After(f.Since) {
		since += ", last bad " + clock(f.LastBad, f.Since)
	}
	if !f.Holds() {
		since += ", cleared " + clock(f.Cleared, f.Since)
		if f.ClearedBy != "" {
			since += ": " + f.ClearedBy
		}
	}
	lines = append(lines, since)
	if f.Reason != "" {
		lines = append(lines, "reason: "+f.Reason)
	}
	if f.Runbook != "" {
		lines = append(lines, "runbook: "+f.Runbook)
	}
	return lines
}

// details says what a figure alone hides: which class is behind it, whether
// re-probes confirmed it, and how much of what was expected is missing.
func (f Finding) details() string {
	var parts []string
	if f.Class != "" && !strings.HasPrefix(f.Text, string(f.Class)+" ") {
		parts = append(parts, "mostly "+string(f.Class))
	}
	switch {
	case f.Kind == kindRate.String() && f.Confirmed > 0:
		parts = append(parts, "confirmed down in "+plural(f.Confirmed, "slot"))
	case f.Kind == kindRate.String():
		parts = append(parts, "confirmed down in no slot")
	case f.Kind == kindLatency.String():
		parts = append(parts, fmt.Sprintf("%d of %d were slower", f.Bad, f.Total))
	}
	if f.Unknown > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d expected are unknown", f.Unknown, f.Total+f.Unknown))
	}
	return strings.Join(parts, "; ")
}

func (f Finding) checks() string {
	const most = 10
	if len(f.Checks) == 0 {
		return ""
	}
	names := f.Checks[:min(most, len(f.Checks))]
	s := "check: "
	if len(f.Checks)+f.More > 1 {
		s = "checks: "
	}
	s += strings.Join(names, ", ")
	if n := len(f.Checks) - len(names) + f.More; n > 0 {
		s += fmt.Sprintf(" and %d more", n)
	}
	return s
}

// clock formats t, without the date on the day of another time.
func clock(t, other time.Time) string {
	t, other = t.UTC(), other.UTC()
	if t.Format(time.DateOnly) == other.Format(time.DateOnly) {
		return t.Format("15:04:05") + " UTC"
	}
	return t.Format("2006-01-02 15:04:05") + " UTC"
}

func period(from, to time.Time) string {
	if !to.After(from) {
		return "at " + clock(from, time.Time{})
	}
	return "from " + clock(from, time.Time{}) + " to " + clock(to, from)
}
