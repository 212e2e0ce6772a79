package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/alerting"
)

// A seen is a check as rules see it, known as far as its part of the file is right.
type seen struct {
	alerting.Subject
	sure bool // nothing is wrong with the check
}

func (l *loader) loadRules() {
	subjects, sure := l.subjects()
	list := l.at("rules")
	if list == nil || list.Kind != yaml.SequenceNode || l.bad[list] {
		return
	}
	names := map[string]int{}
	for i := range l.file.Rules {
		n, r := resolved(list.Content[i]), &l.file.Rules[i]
		if l.bad[n] {
			continue
		}
		at, what := l.name(n, "rule", r.Name, names)
		for _, p := range r.Validate(subjects) {
			// A selector that matches nothing may mean a check that is wrong itself.
			if sure || !strings.HasPrefix(p.Path, "select") {
				l.problem(n, at, what, "", p)
			}
		}
	}
	l.cfg.Rules = l.file.Rules
}

// subjects returns the checks as rules see them, and whether that is certain.
func (l *loader) subjects() (list []alerting.Subject, sure bool) {
	sure = len(l.seen) == len(l.file.Checks)
	list = make([]alerting.Subject, 0, len(l.seen))
	for _, s := range l.seen {
		list = append(list, s.Subject)
		sure = sure && s.sure
	}
	l.cfg.Subjects = list
	return list, sure
}

// selects tells whether rules with this selector look at a check. Package
// alerting decides it; that it selects nothing is what Validate would say.
func selects(s alerting.Select, check alerting.Subject) bool {
	r := alerting.Rule{Name: "any", Select: s, Down: &alerting.DownRule{}}
	return len(r.Validate([]alerting.Subject{check})) == 0
}

// warn lists what is allowed but hardly meant.
func (l *loader) warn() {
	c := l.cfg
	if len(l.src.wrong) > 0 {
		return
	}
	say := func(format string, args ...any) { c.Warnings = append(c.Warnings, fmt.Sprintf(format, args...)) }
	on := 0
	for _, n := range c.Notifiers {
		if n.Off == "" {
			on++
		}
	}
	switch {
	case len(c.Rules) == 0:
		say("there are no rules: nobody will be told of anything")
	case len(c.Notifiers) == 0:
		say("there are no notifiers: nobody will be told of anything")
	case on == 0:
		say("every notifier is off: nobody will be told of anything")
	}
	for i := range c.Rules {
		c.Warnings = append(c.Warnings, c.Rules[i].Warnings(c.Subjects)...)
	}
	l.warnFallbacks(say)
	var uncovered []string
	for _, s := range c.Subjects {
		if len(c.Rules) > 0 && !l.covered(s) {
			uncovered = append(uncovered, s.Name)
		}
	}
	if len(uncovered) > 0 {
		say("no rule applies to %s", someOf(uncovered, 5))
	}
	if c.HTTP.Token == "" && !isLoopback(c.HTTP.Listen) {
		say("%s can be reached from other machines: without http.token only /health answers", c.HTTP.Listen)
	}
}

func (l *loader) covered(s alerting.Subject) bool {
	for _, r := range l.cfg.Rules {
		if selects(r.Select, s) {
			return true
		}
	}
	return false
}

// someOf names the first few of many.
func someOf(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
