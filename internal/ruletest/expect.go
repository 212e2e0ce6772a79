package ruletest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// Expected is an incident that should come. Times count from the first slot.
type Expected struct {
	Group     string
	Opened    time.Duration
	Resolved  *time.Duration    // nil: still open at the end
	Severity  alerting.Severity // the worst; "" is any
	Findings  []string          // rules, sorted; nil is any
	Told      *Told             // nil: whether people are told does not matter
	Quiet     string            // part of a reason for which people were not told at some time; "" is any or none
	Reminders *int              // nil is any number
	Flapping  *bool             // nil: it does not matter
	Line      int
}

// Told says whether people are told of an incident, and when they first are.
type Told struct {
	Ever bool
	At   *time.Duration // after the first slot; nil: whenever
}

// UnmarshalText reads true, false, or a time such as 12m.
func (t *Told) UnmarshalText(b []byte) error {
	switch text := string(b); text {
	case "true", "false":
		*t = Told{Ever: text == "true"}
	default:
		d, err := probe.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q, want true, false, or when people are told, such as 12m", text)
		}
		at := time.Duration(d)
		*t = Told{Ever: true, At: &at}
	}
	return nil
}

// String says it for people.
func (t Told) String() string {
	switch {
	case !t.Ever:
		return "told to nobody"
	case t.At == nil:
		return "told"
	}
	return "told " + probe.Duration(*t.At).String()
}

// incident is an incident that came.
type incident struct {
	group            string
	opened, resolved time.Duration
	over             bool
	severity         alerting.Severity
	findings         []string // sorted
	told             Told
	quiet            []string // the reasons for which people were not told, in their order
	reminders        int
	flapping         bool
	texts            []string // what its versions said
}

func (i *incident) note(ch alerting.Change, at time.Duration) {
	now := ch.Incident
	i.severity, i.findings = now.Severity, nil
	for _, f := range now.Findings {
		i.findings = append(i.findings, f.Rule)
	}
	slices.Sort(i.findings)
	i.findings = slices.Compact(i.findings)
	i.reminders, i.flapping = now.Reminders, now.Reopened > 0
	text := now.Changed
	switch ch.Event {
	case alerting.Opened:
		var sentences []string
		for _, f := range now.Findings {
			sentences = append(sentences, f.Rule+": "+f.Text)
		}
		text += "; " + strings.Join(sentences, "; ")
	case alerting.Resolved:
		i.resolved, i.over = at, true
	}
	if now.Told > 0 && !i.told.Ever {
		i.told = Told{Ever: true, At: &at}
	}
	if now.Quiet != "" && !slices.Contains(i.quiet, now.Quiet) {
		i.quiet = append(i.quiet, now.Quiet)
	}
	switch {
	case now.Tells() || ch.Event == alerting.Hushed: // whose text says why
	case now.Quiet != "":
		text += "; told to nobody: " + now.Quiet
	default:
		text += "; told to nobody"
	}
	i.texts = append(i.texts, fmt.Sprintf("%s %s", probe.Duration(at), text))
}

// difference says how the incidents that came are not those that should.
// Nobody need expect what nobody is told of.
func difference(want []Expected, got []*incident) []string {
	var list []string
	left := slices.Clone(got)
	for _, w := range want {
		k := w.meant(left)
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
		if i.told.Ever {
			list = append(list, fmt.Sprintf("not expected: %s%s", i, i.story()))
		}
	}
	return list
}

// meant returns which of the incidents w is about, -1 for none: that of its
// group that opened when it says, else the first that people were told of, else
// the first.
func (w Expected) meant(list []*incident) int {
	for _, is := range []func(i *incident) bool{
		func(i *incident) bool { return i.opened == w.Opened },
		func(i *incident) bool { return i.told.Ever },
		func(*incident) bool { return true },
	} {
		if k := slices.IndexFunc(list, func(i *incident) bool { return i.group == w.Group && is(i) }); k >= 0 {
			return k
		}
	}
	return -1
}

// against names what is not as w says.
func (w Expected) against(i *incident) (wrong []string) {
	differs := func(what string, is bool) {
		if is {
			wrong = append(wrong, what)
		}
	}
	over := w.Resolved != nil
	differs("opened", w.Opened != i.opened)
	differs("resolved", over != i.over || over && *w.Resolved != i.resolved)
	differs("severity", w.Severity != "" && w.Severity != i.severity)
	differs("findings", w.Findings != nil && !slices.Equal(w.Findings, i.findings))
	differs("told", w.Told != nil && (w.Told.Ever != i.told.Ever || w.Told.At != nil && *w.Told.At != *i.told.At))
	differs("quiet", w.Quiet != "" && !slices.ContainsFunc(i.quiet, func(why string) bool { return strings.Contains(why, w.Quiet) }))
	differs("reminders", w.Reminders != nil && *w.Reminders != i.reminders)
	differs("flapping", w.Flapping != nil && *w.Flapping != i.flapping)
	return wrong
}

func (w Expected) String() string {
	parts := []string{"group " + w.Group, "opened " + probe.Duration(w.Opened).String(), "open at the end"}
	add := func(ok bool, format string, args ...any) {
		if ok {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	if w.Resolved != nil {
		parts[2] = "resolved " + probe.Duration(*w.Resolved).String()
	}
	add(w.Severity != "", "%s", w.Severity)
	add(w.Findings != nil, "findings %s", strings.Join(w.Findings, ", "))
	if w.Told != nil {
		add(true, "%s", w.Told)
	}
	add(w.Quiet != "", "quiet: %s", w.Quiet)
	if w.Reminders != nil {
		add(true, "reminders %d", *w.Reminders)
	}
	if w.Flapping != nil {
		add(true, "flapping %t", *w.Flapping)
	}
	return strings.Join(parts, ", ")
}

// String says of an incident what is not as usual: people are told at once, and once.
func (i *incident) String() string {
	w := Expected{Group: i.group, Opened: i.opened, Severity: i.severity, Findings: i.findings, Quiet: strings.Join(i.quiet, "; ")}
	if i.over {
		w.Resolved = &i.resolved
	}
	if !i.told.Ever || *i.told.At != i.opened {
		w.Told = &i.told
	}
	if i.reminders > 0 {
		w.Reminders = &i.reminders
	}
	if i.flapping {
		w.Flapping = &i.flapping
	}
	return w.String()
}

// story is what the versions of an incident said, a line each.
func (i *incident) story() string { return "\n        " + strings.Join(i.texts, "\n        ") }
