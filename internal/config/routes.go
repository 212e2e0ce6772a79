package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks/probe"
)

const (
	defaultFallbackAfter = 5 * time.Minute
	leastFallbackAfter   = 10 * time.Second
	mostEscalateAfter    = 24 * time.Hour
)

// judgeRoute reports what is wrong with who is told of what, and when.
func (l *loader) judgeRoute(n *yaml.Node, what string, e *Notify) {
	w := e.When
	if v := l.below(n, "when.severity"); v != nil && w.Severity != "" && !slices.Contains([]alerting.Severity{alerting.Page, alerting.Ticket}, w.Severity) {
		l.fail(v, "%s: when.severity: %q, want page or ticket", what, short(string(w.Severity)))
	}
	if v := l.below(n, "escalate_after"); v != nil && (e.EscalateAfter < probe.Duration(time.Minute) || e.EscalateAfter > probe.Duration(mostEscalateAfter)) {
		l.fail(v, "%s: escalate_after: %s, want %s to %s", what, e.EscalateAfter, text(time.Minute), text(mostEscalateAfter))
	}
	if e.Standby {
		for _, key := range []string{"when", "escalate_after"} {
			if key, v := l.find(n, key); v != nil {
				l.fail(key, "%s: %s and standby at once: on standby it is told only in place of another notifier, want one of them", what, key.Value)
			}
		}
	}
	subjects, sure := l.subjects()
	if !sure || len(l.file.Rules) != len(l.cfg.Rules) { // what is missing may be what is wrong itself
		return
	}
	known := l.incidentKeys(subjects)
	for k, group := range w.Groups {
		if v := l.below(n, fmt.Sprintf("when.groups[%d]", k)); v != nil && !slices.Contains(known, group) {
			l.fail(v, "%s: when.groups: no incident is named %q, there are %s", what, short(group), someOf(known, 10))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(w.Labels)) {
		has := func(s alerting.Subject) bool { got, ok := s.Labels[k]; return ok && got == w.Labels[k] }
		if v := l.below(n, "when.labels."+k); v != nil && !slices.ContainsFunc(subjects, has) {
			l.fail(v, "%s: when.labels: no check has the label %s: %q", what, short(k), short(w.Labels[k]))
		}
	}
}

// incidentKeys lists what incidents can be named after: the groups of checks,
// the rules that look at all checks together, the monitor, and many at once.
func (l *loader) incidentKeys(subjects []alerting.Subject) []string {
	var keys []string
	for _, s := range subjects {
		if s.Group == "" {
			s.Group = s.Name
		}
		keys = append(keys, s.Group)
	}
	for _, r := range l.cfg.Rules {
		if r.By == "all" {
			keys = append(keys, r.Name)
		}
	}
	slices.Sort(keys)
	return append(slices.Compact(keys), "monitor", alerting.StormGroup)
}

func (l *loader) judgeFallbackAfter(n *yaml.Node, what string, e *Notify) {
	v := l.below(n, "fallback_after")
	switch {
	case v == nil:
	case e.Fallback == "":
		l.fail(v, "%s: fallback_after without fallback, want both or neither", what)
	case *e.FallbackAfter < probe.Duration(leastFallbackAfter) || *e.FallbackAfter > probe.Duration(mostEscalateAfter):
		l.fail(v, "%s: fallback_after: %s, want %s to %s", what, *e.FallbackAfter, text(leastFallbackAfter), text(mostEscalateAfter))
	}
}

// judgeFallbacks reports fallbacks that there are not, or that go in a circle.
func (l *loader) judgeFallbacks(list *yaml.Node) {
	next, names, circles := map[string]string{}, []string{}, map[string]bool{}
	for _, e := range l.file.Notify {
		next[e.Name] = e.Fallback
		names = append(names, e.Name)
	}
	for i, e := range l.file.Notify {
		v := l.below(resolved(list.Content[i]), "fallback")
		if v == nil {
			continue
		}
		what := fmt.Sprintf("notifier %q: fallback", e.Name)
		path := []string{e.Name}
		for at := e.Fallback; at != ""; at = next[at] {
			path = append(path, at)
			if slices.Contains(path[:len(path)-1], at) {
				break
			}
		}
		_, known := next[e.Fallback]
		switch {
		case !known:
			hint := ""
			if meant := nearest(e.Fallback, names); meant != "" {
				hint = fmt.Sprintf("did you mean %q? ", meant)
			}
			l.fail(v, "%s: no notifier is named %q, %sthere are %s", what, short(e.Fallback), hint, someOf(names, 10))
		case e.Fallback == e.Name:
			l.fail(v, "%s: %q is itself, want another notifier", what, short(e.Name))
		case circles[e.Name]: // said at another of its notifiers
		case path[len(path)-1] == e.Name:
			for _, name := range path {
				circles[name] = true
			}
			l.fail(v, "%s: goes in a circle: %s", what, strings.Join(path, " -> "))
		}
	}
}

// warnFallbacks lists fallbacks that do not do what was hardly meant otherwise.
func (l *loader) warnFallbacks(say func(format string, args ...any)) {
	byName, wanted := map[string]Notifier{}, map[string]bool{}
	for _, n := range l.cfg.Notifiers {
		byName[n.Name] = n
		wanted[n.Fallback] = true
	}
	for _, n := range l.cfg.Notifiers {
		to := byName[n.Fallback]
		switch {
		case n.Route.Standby && !wanted[n.Name]:
			say("notifier %s is on standby and no notifier names it as its fallback: it will be told of nothing", n.Name)
		case n.Fallback == "" || n.Off != "":
		case to.Off != "":
			say("the fallback of %s is off: %s: %s", n.Name, to.Name, to.Off)
		case everything(to.Route):
			say("%s, the fallback of %s, is told of everything anyway: standby: true makes it wait for that", to.Name, n.Name)
		}
	}
}

// everything tells whether a route is that of a notifier without one.
func everything(r notify.Route) bool {
	return !r.Standby && r.EscalateAfter == 0 && r.When.IsZero()
}

// routeText says of what a notifier is told, in the words of the file; "" for
// everything.
func routeText(n Notifier) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	w := n.Route.When
	if w.Severity != "" {
		add("%ss only", w.Severity)
	}
	if len(w.Groups) > 0 {
		add("of %s", someOf(w.Groups, 8))
	}
	for _, k := range slices.Sorted(maps.Keys(w.Labels)) {
		add("with %s: %s", k, w.Labels[k])
	}
	if !w.Hours.IsZero() {
		add("%s", w.Hours)
	}
	if n.Route.EscalateAfter > 0 {
		add("unless acknowledged within %s", n.Route.EscalateAfter)
	}
	if n.Route.Standby {
		add("standby")
	}
	if !n.Limit.IsZero() {
		add("at most %s", n.Limit)
	}
	if n.Fallback != "" {
		add("after %s undelivered %s", text(n.FallbackAfter), n.Fallback)
	}
	return strings.Join(parts, ", ")
}
