package checks

import (
	"context"

	"github.com/tripline/tripline/checks/probe"
)

// Kinds has one field for each kind of check; a check in the config file sets
// exactly one. To add a kind: write its settings struct in a file of its own,
// then a field here and a line in Kinds.each.
type Kinds struct {
	// Health asks an HTTP endpoint that reports the service's own state.
	Health *Health `yaml:"health,omitempty" json:"health,omitempty"`
	// Route asks an HTTP route and judges its answer.
	Route *Route `yaml:"route,omitempty" json:"route,omitempty"`
	// WebSocket opens a WebSocket, uses it and closes it.
	WebSocket *WebSocket `yaml:"websocket,omitempty" json:"websocket,omitempty"`
	// Flow goes through several requests and WebSockets that belong together.
	Flow *Flow `yaml:"flow,omitempty" json:"flow,omitempty"`
}

// Settings is what a kind of check must do. The settings struct itself is the
// check: Validate prepares it, Probe uses it.
type Settings interface {
	// Validate resolves and compiles the settings and returns everything that
	// is wrong with them. It is called once, before Probe.
	Validate(env probe.Env) []probe.Problem
	// Probe tries the target once. It obeys ctx, which always has a deadline,
	// and may be called from several goroutines.
	Probe(ctx context.Context) probe.Outcome
	// Endpoint tells what is probed. It is valid after Validate without problems.
	Endpoint() probe.Endpoint
}

// Set returns the kinds that are set, by name, in the order of the fields.
func (k Kinds) Set() (names []string, settings []Settings) {
	for _, e := range k.each() {
		if e.set {
			names, settings = append(names, e.name), append(settings, e.settings)
		}
	}
	return names, settings
}

// Names lists all kinds of checks.
func (k Kinds) Names() []string {
	var names []string
	for _, e := range k.each() {
		names = append(names, e.name)
	}
	return names
}

type kind struct {
	name     string
	set      bool
	settings Settings
}

func (k Kinds) each() []kind {
	return []kind{
		{"health", k.Health != nil, k.Health},
		{"route", k.Route != nil, k.Route},
		{"websocket", k.WebSocket != nil, k.WebSocket},
		{"flow", k.Flow != nil, k.Flow},
	}
}
