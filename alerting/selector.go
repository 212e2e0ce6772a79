package alerting

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/tripline/tripline/checks/probe"
)

// Matches tells whether s selects a check. A bad pattern selects nothing.
func (s Select) Matches(c Subject) bool {
	return (s.Kind == "" || s.Kind == c.Kind) &&
		(s.Group == "" || s.Group == c.group()) &&
		s.matchesName(c.Name) && s.matchesLabels(c.Labels)
}

// String puts s into words, such as "group web, label env=prod".
func (s Select) String() string {
	var words []string
	for _, w := range [][2]string{{"kind", s.Kind}, {"group", s.Group}, {"check", s.Name}} {
		if w[1] != "" {
			words = append(words, w[0]+" "+w[1])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		words = append(words, "label "+k+"="+s.Labels[k])
	}
	if len(words) == 0 {
		return "all checks"
	}
	return strings.Join(words, ", ")
}

func (s Select) matchesName(name string) bool {
	if s.Name == "" {
		return true
	}
	ok, err := path.Match(s.Name, name)
	return ok && err == nil
}

func (s Select) matchesLabels(labels map[string]string) bool {
	for k, v := range s.Labels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// Validate returns everything that is wrong with the selector for these checks.
func (s Select) Validate(subjects []Subject) []probe.Problem {
	var p problems
	p.selected(s, subjects)
	return p
}

// selected returns the checks that s selects; if there are none it says which
// part of the selector matches none.
func (p *problems) selected(s Select, subjects []Subject) []Subject {
	if _, err := path.Match(s.Name, ""); err != nil {
		p.add("select.name", "%q is no pattern: a bracket is open or a backslash at the end", s.Name)
		return nil
	}
	list := subjects // not copied if it is all of them
	if other := func(c Subject) bool { return !s.Matches(c) }; slices.ContainsFunc(subjects, other) {
		list = slices.DeleteFunc(slices.Clone(subjects), other)
	}
	if len(list) > 0 || len(subjects) == 0 {
		return list
	}
	found := false
	part := func(path string, one Select, format string, args ...any) {
		if !slices.ContainsFunc(subjects, one.Matches) {
			p.add(path, format, args...)
			found = true
		}
	}
	if s.Kind != "" {
		part("select.kind", Select{Kind: s.Kind}, "no check is of kind %q, there are %s", s.Kind, names(subjects, func(c Subject) string { return c.Kind }))
	}
	if s.Group != "" {
		part("select.group", Select{Group: s.Group}, "no check is in group %q, there are %s", s.Group, names(subjects, Subject.group))
	}
	if s.Name != "" {
		part("select.name", Select{Name: s.Name}, "no check has a name like %q, there are %s", s.Name, names(subjects, func(c Subject) string { return c.Name }))
	}
	for _, k := range slices.Sorted(maps.Keys(s.Labels)) {
		part("select.labels."+k, Select{Labels: map[string]string{k: s.Labels[k]}}, "no check has the label %s: %q%s", k, s.Labels[k],
			labelHint(subjects, k))
	}
	if !found {
		p.add("select", "no check matches all of it, only parts")
	}
	return nil
}

func labelHint(subjects []Subject, label string) string {
	values := names(subjects, func(c Subject) string { return c.Labels[label] })
	if values == "" {
		return ", nor any label of that name"
	}
	return ", there are " + values
}

// names lists the different values of the checks, the first ten.
func names(subjects []Subject, of func(Subject) string) string {
	const most = 10
	var list []string
	for _, c := range subjects {
		if s := of(c); s != "" && !slices.Contains(list, s) {
			list = append(list, s)
		}
		if len(list) > most {
			break
		}
	}
	if len(list) > most {
		return strings.Join(list[:most], ", ") + ", ..."
	}
	return strings.Join(list, ", ")
}
