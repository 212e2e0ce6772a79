package config

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
)

// loadIncidents reads what is done with incidents, and the maintenance windows.
func (l *loader) loadIncidents() {
	c := l.cfg
	c.incidents = l.file.Incidents
	if key, n := l.find(l.root, "incidents"); n != nil {
		for _, p := range c.incidents.Validate() {
			l.problem(resolved(n), key, "incidents", "", p)
		}
	}
	c.Policy = c.incidents.Policy()
	list := l.at("maintenance")
	if list == nil || list.Kind != yaml.SequenceNode || l.bad[list] {
		return
	}
	c.maintenance = l.file.Maintenance
	names := map[string]int{}
	for i := range l.file.Maintenance {
		if n := resolved(list.Content[i]); !l.bad[n] {
			l.loadWindow(n, &l.file.Maintenance[i], names)
		}
	}
}

// Starts reads when a window of an earlier config begins.
func Starts(w alerting.Window) (checks.Schedule, error) {
	zone, err := location(w.Timezone)
	if err != nil {
		return nil, err
	}
	return parseCron(w.Cron, zone)
}

func (l *loader) loadWindow(n *yaml.Node, m *Maintenance, names map[string]int) {
	before := len(l.src.wrong)
	at, what := l.name(n, "maintenance window", m.Name, names)
	w := alerting.Window{Name: m.Name, Select: m.Select, For: time.Duration(m.For), Cron: m.Cron, Timezone: m.Timezone}
	subjects, sure := l.subjects()
	for _, p := range m.Select.Validate(subjects) {
		if sure {
			l.problem(n, at, what, "", p)
		}
	}
	zone, err := location(m.Timezone)
	if err != nil {
		l.failOnce(l.below(n, "timezone"), "%s: timezone: %s", what, err)
		zone = time.UTC
	}
	if v := l.below(n, "cron"); v != nil {
		starts, err := parseCron(m.Cron, zone)
		if err != nil {
			l.failOnce(v, "%s: cron: %s", what, err)
		}
		w.Starts = starts
	} else if _, wrong := l.find(n, "cron"); wrong == nil {
		l.fail(at, "%s has no cron, want when it begins, such as cron: 0 2 * * SUN", what)
	}
	switch v := l.below(n, "for"); {
	case v == nil:
		if _, wrong := l.find(n, "for"); wrong == nil {
			l.fail(at, "%s has no for, want how long it lasts, such as for: 1h", what)
		}
	case w.For < time.Second || w.For > alerting.MostWindow:
		l.failOnce(v, "%s: for: %s, want 1s to 31d", what, m.For)
	}
	if len(l.src.wrong) == before && w.Starts != nil {
		l.cfg.Policy.Windows = append(l.cfg.Policy.Windows, w)
	}
}

// judgeNeeds reports checks that need what is not there, or each other.
func (l *loader) judgeNeeds(list *yaml.Node) {
	needs := make(map[string][]string, len(l.file.Checks))
	names := make([]string, 0, len(l.file.Checks))
	for _, c := range l.file.Checks {
		needs[c.Name] = c.Needs
		names = append(names, c.Name)
	}
	for i, c := range l.file.Checks {
		n := resolved(list.Content[i])
		v := l.below(n, "needs")
		if v == nil || l.bad[n] {
			continue
		}
		for k, name := range c.Needs {
			at := resolved(v)
			if at.Kind == yaml.SequenceNode {
				at = resolved(at.Content[k])
			}
			what := "check " + strconv.Quote(c.Name) + ": needs: "
			if _, ok := needs[name]; !ok {
				hint := ""
				if meant := nearest(name, names); meant != "" {
					hint = ", did you mean " + strconv.Quote(meant) + "?"
				}
				l.failOnce(at, "%sno check is named %s%s", what, strconv.Quote(short(name)), hint)
			} else if name == c.Name {
				l.failOnce(at, "%sit names itself, want another check", what)
			} else if circle := circleOf(c.Name, name, needs); circle != nil {
				l.failOnce(at, "%sthis goes round in a circle: %s", what, strings.Join(circle, " needs "))
			}
		}
	}
}

// circleOf returns the way from a check by one that it needs back to itself,
// nil if there is none.
func circleOf(from, by string, needs map[string][]string) []string {
	type step struct {
		name string
		way  []string
	}
	seen := map[string]bool{}
	for todo := []step{{by, []string{from, by}}}; len(todo) > 0; todo = todo[1:] {
		for _, next := range needs[todo[0].name] {
			way := append(slices.Clone(todo[0].way), next)
			if next == from {
				return way
			}
			if !seen[next] {
				seen[next] = true
				todo = append(todo, step{next, way})
			}
		}
	}
	return nil
}
