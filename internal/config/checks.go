package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

func (l *loader) loadChecks() {
	list := l.at("checks")
	if list == nil || list.Kind == yaml.SequenceNode && len(list.Content) == 0 {
		at := list
		if at == nil {
			at = l.root
		}
		l.failOnce(at, "checks: there are none, want at least one")
		return
	}
	if l.bad[list] {
		return
	}
	l.labels(l.at("defaults.labels"), "defaults.labels", l.file.Defaults.Labels)
	l.judgeDefaults()
	env := probe.Env{Net: l.cfg.Net, BaseURL: l.base(), Headers: l.file.Defaults.Headers}
	l.loadAuth(env)
	names := make(map[string]int, len(l.file.Checks))
	l.cfg.Checks = make([]checks.Check, 0, len(l.file.Checks))
	l.cfg.when = make([]string, 0, len(l.file.Checks))
	l.seen = make([]seen, 0, len(l.file.Checks))
	for i := range l.file.Checks {
		if n := resolved(list.Content[i]); !l.bad[n] {
			l.loadCheck(n, &l.file.Checks[i], env, names)
		}
	}
	l.judgeNeeds(list)
}

// loadCheck makes a checks.Check of one item of the list.
func (l *loader) loadCheck(n *yaml.Node, c *Check, env probe.Env, names map[string]int) {
	before := len(l.src.wrong)
	at, what := l.name(n, "check", c.Name, names)
	l.labels(l.below(n, "labels"), what+": labels", c.Labels)
	if g := l.below(n, "group"); g != nil && c.Group != "" {
		l.checkText(g, what+": group", c.Group)
	}
	l.reserved(at, what, cmp.Or(c.Group, c.Name))
	kinds, settings := c.Set()
	if !l.oneKind(n, at, what, kinds, c.Names()) {
		return
	}
	env.Auth = l.authOf(n, what, c.Auth)
	key, body := l.find(n, kinds[0])
	problems := settings[0].Validate(env)
	for _, p := range problems {
		l.problem(body, key, what, kinds[0], p)
	}
	out := checks.Check{
		Name: c.Name, Kind: kinds[0], Group: cmp.Or(c.Group, c.Name), Labels: l.allLabels(c.Labels),
		Location: l.cfg.Location, Prober: settings[0], Canaries: l.cfg.Canaries,
	}
	mayRepeat := true
	if len(problems) == 0 {
		out.Endpoint = settings[0].Endpoint()
		mayRepeat = out.Endpoint.Repeatable
	}
	sched, f, most, when := l.timing(n, at, what, c, mayRepeat)
	out.Schedule, out.Timeout, out.Confirm = sched, f.timeout, f.confirm
	sure := len(l.src.wrong) == before && sched != nil
	l.seen = append(l.seen, seen{sure: sure, Subject: alerting.Subject{
		Name: out.Name, Kind: out.Kind, Group: out.Group, Host: out.Endpoint.Host, Location: out.Location, Labels: out.Labels,
		WebSocket: out.Endpoint.WebSocket || !sure, Interval: f.interval, Longest: most, Attempts: attemptsOf(c),
		Measures: measuresOf(c, out.Endpoint.URL, sure),
		Needs:    c.Needs, Canaries: out.Canaries != nil,
	}})
	l.cfg.Checks = append(l.cfg.Checks, out)
	l.cfg.when = append(l.cfg.when, when)
}

// reserved reports a group whose incidents would mix with others.
func (l *loader) reserved(at *yaml.Node, what, group string) {
	if other := alerting.Reserved(group); other != "" {
		l.failOnce(at, "%s is of the group %q, which is the name of %s: want another group", what, group, other)
	}
}

// measuresOf names the numbers that results of c record; nil if that is not sure.
func measuresOf(c *Check, url string, sure bool) []string {
	if !sure {
		return nil
	}
	list := []string{}
	if c.Health != nil {
		list = slices.AppendSeq(list, maps.Keys(c.Health.Record))
	}
	if w := c.WebSocket; w != nil {
		list = append(list, wsprobe.MeasurePing)
		if w.Sessions > 1 {
			list = append(list, wsprobe.MeasureSessions)
		}
		if w.Hold > 0 {
			list = append(list, wsprobe.MeasureHeld)
		}
	}
	if scheme, _, _ := strings.Cut(url, ":"); scheme == "https" || scheme == "wss" {
		list = append(list, probe.MeasureCertDays, probe.MeasureCertLeft)
	}
	return list
}

// attemptsOf is how many scheduled attempts one run of c makes.
func attemptsOf(c *Check) int {
	if c.WebSocket != nil {
		return c.WebSocket.Sessions
	}
	return 0
}

// allLabels returns the labels of a check with those of all checks.
func (l *loader) allLabels(own map[string]string) map[string]string {
	if len(l.file.Defaults.Labels) == 0 {
		return own
	}
	all := maps.Clone(l.file.Defaults.Labels)
	maps.Copy(all, own)
	return all
}

// name judges the name of an item of a list. It returns the node to point at
// for what concerns the item as a whole, and what to call the item.
func (l *loader) name(n *yaml.Node, sort, name string, names map[string]int) (at *yaml.Node, what string) {
	key, v := l.find(n, "name")
	switch {
	case v == nil:
		l.fail(n, "a %s has no name, want name: something unique", sort)
		return n, sort
	case l.bad[v]:
		return key, sort
	case !l.checkText(v, sort+" name", name):
		return v, sort
	}
	if line, ok := names[name]; ok {
		l.fail(v, "the name %q is taken by the %s in line %d, want another", name, sort, line)
	} else {
		names[name] = v.Line
	}
	return v, fmt.Sprintf("%s %q", sort, name)
}

// oneKind reports an item that has no kind, or several.
func (l *loader) oneKind(n, at *yaml.Node, what string, kinds, all []string) bool {
	for _, p := range l.pairs(n) {
		for _, k := range all {
			if p.key.Value == k && l.bad[resolved(p.value)] {
				return false // it has one, which is wrong
			}
		}
	}
	switch {
	case len(kinds) == 1:
		return true
	case len(kinds) > 1:
		key, _ := l.find(n, kinds[1])
		l.fail(key, "%s is %s at once, want exactly one of %s", what, strings.Join(kinds, " and "), strings.Join(all, ", "))
	case !l.unknownKeys(n):
		l.fail(at, "%s has no kind, want exactly one of %s", what, strings.Join(all, ", "))
	}
	return false
}

// unknownKeys tells whether n has keys that were reported, one of which may be
// the one that is missed.
func (l *loader) unknownKeys(n *yaml.Node) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if l.bad[n.Content[i]] {
			return true
		}
	}
	return false
}

// below returns the value of a key of n, nil if it has none or a wrong one.
func (l *loader) below(n *yaml.Node, key string) *yaml.Node {
	_, v := l.find(n, key)
	if v == nil || l.bad[v] {
		return nil
	}
	return v
}

func (l *loader) labels(n *yaml.Node, what string, labels map[string]string) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for _, p := range l.pairs(n) {
		if !isLabel(p.key.Value) {
			l.failOnce(p.key, "%s: %q is no label name, want a letter and up to 62 letters, digits and underscores", what, short(p.key.Value))
		}
		if v := resolved(p.value); len(labels[p.key.Value]) > 256 {
			l.failOnce(v, "%s: %s has %d bytes, want at most 256", what, p.key.Value, len(labels[p.key.Value]))
		}
	}
}

func isLabel(s string) bool {
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r != '_' && (r < '0' || r > '9')) {
			return false
		}
	}
	return s != "" && len(s) <= 63
}
