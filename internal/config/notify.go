package config

import (
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/alerting/notify"
)

// findOff finds the outputs that are off, before their references are looked
// at: those of an unset variable are no error there.
func (l *loader) findOff() {
	for _, key := range []string{"cloud_monitoring", "heartbeat"} {
		if _, n := l.find(l.root, key); n != nil {
			l.judgeOff(resolved(n))
		}
	}
	_, list := l.find(l.root, "notify")
	if list == nil || list.Kind != yaml.SequenceNode {
		return
	}
	for _, item := range list.Content {
		l.judgeOff(resolved(item))
	}
}

// judgeOff notes that the output n is off if its only_if says so.
func (l *loader) judgeOff(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	_, v := l.find(n, "only_if")
	if v == nil || v.Kind != yaml.ScalarNode || !isVariable(v.Value) {
		return
	}
	switch value, ok := l.env.Lookup(v.Value); {
	case !ok:
		l.off[n] = v.Value + " is not set"
	case value == "":
		l.off[n] = v.Value + " is empty"
	}
}

// judgeOnlyIf reports an only_if that names no variable.
func (l *loader) judgeOnlyIf(n *yaml.Node, what, name string) {
	if v := l.below(n, "only_if"); v != nil && !isVariable(name) {
		l.fail(v, "%s: only_if: %q is no name of an environment variable, want one such as SLACK_BOT_TOKEN", what, short(name))
	}
}

func (l *loader) loadNotifiers() {
	list := l.at("notify")
	if list == nil || list.Kind != yaml.SequenceNode || l.bad[list] {
		return
	}
	names := map[string]int{}
	for i := range l.file.Notify {
		if n := resolved(list.Content[i]); !l.bad[n] {
			l.loadNotifier(n, &l.file.Notify[i], names)
		}
	}
	l.judgeFallbacks(list)
}

func (l *loader) loadNotifier(n *yaml.Node, e *Notify, names map[string]int) {
	at, what := l.name(n, "notifier", e.Name, names)
	l.judgeOnlyIf(n, what, e.OnlyIf)
	kinds, settings := e.Set()
	if !l.oneKind(n, at, what, kinds, notify.Kinds{}.Names()) {
		return
	}
	key, body := l.find(n, kinds[0])
	for _, p := range settings[0].Validate() {
		l.problem(body, key, what, kinds[0], p)
	}
	out := Notifier{
		Name: e.Name, Kind: kinds[0], Settings: settings[0], Off: l.off[n], Route: e.Route,
		Limit: e.Limit, Fallback: e.Fallback, FallbackAfter: defaultFallbackAfter,
	}
	if own, ok := settings[0].(interface{ DefaultLimit() notify.Limit }); ok && e.Limit.IsZero() {
		out.Limit = own.DefaultLimit()
	}
	l.judgeRoute(n, what, e)
	if e.FallbackAfter != nil {
		out.FallbackAfter = time.Duration(*e.FallbackAfter)
		l.judgeFallbackAfter(n, what, e)
	}
	if out.Off != "" {
		out.Settings = nil
	}
	l.cfg.Notifiers = append(l.cfg.Notifiers, out)
}
