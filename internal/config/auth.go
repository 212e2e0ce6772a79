package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/checks/probe"
)

// loadAuth makes the credentials that checks name.
func (l *loader) loadAuth(env probe.Env) {
	l.auth = map[string]*probe.Credential{}
	list := l.at("auth")
	if list == nil || list.Kind != yaml.MappingNode || l.bad[list] {
		return
	}
	for _, p := range l.pairs(list) {
		name, body := p.key.Value, resolved(p.value)
		l.auth[name] = nil
		a, ok := l.file.Auth[name]
		if !ok || l.bad[body] || !l.checkText(p.key, "auth", name) {
			continue
		}
		c, problems := a.Credential(name, env)
		for _, bad := range problems {
			l.problem(body, p.key, fmt.Sprintf("auth %q", name), "", bad)
		}
		if len(problems) == 0 {
			l.auth[name] = c
		}
	}
}

// authOf returns the credential that a check names; nil if it names none, or one
// that is wrong.
func (l *loader) authOf(n *yaml.Node, what, name string) *probe.Credential {
	v := l.below(n, "auth")
	if v == nil {
		return nil
	}
	c, ok := l.auth[name]
	if !ok {
		names := slices.Sorted(maps.Keys(l.auth))
		want := "there are none: want auth at the top of the file"
		if len(names) > 0 {
			want = "want one of " + strings.Join(names, ", ")
			if meant := nearest(name, names); meant != "" {
				want = fmt.Sprintf("did you mean %q? %s", meant, want)
			}
		}
		l.failOnce(v, "%s: no auth is named %q, %s", what, short(name), want)
	}
	return c
}
