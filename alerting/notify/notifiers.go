package notify

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Kinds has one field for each kind of notifier; a notifier in the config file
// sets exactly one. To add a kind: write its settings struct in a file of its
// own, then a field here and a line in Kinds.each.
type Kinds struct {
	// Log writes a line for every change of an incident.
	Log *Log `yaml:"log,omitempty" json:"log,omitempty"`
	// Slack tells incidents in a Slack channel, as a bot: one message for each,
	// kept up to date, with a thread.
	Slack *Slack `yaml:"slack,omitempty" json:"slack,omitempty"`
	// SlackWebhook tells incidents through an incoming webhook of Slack: a
	// message for every change.
	SlackWebhook *SlackWebhook `yaml:"slack_webhook,omitempty" json:"slack_webhook,omitempty"`
	// PagerDuty tells incidents through PagerDuty's Events API v2.
	PagerDuty *PagerDuty `yaml:"pagerduty,omitempty" json:"pagerduty,omitempty"`
	// Alertmanager tells incidents to Prometheus Alertmanager.
	Alertmanager *Alertmanager `yaml:"alertmanager,omitempty" json:"alertmanager,omitempty"`
	// Webhook tells incidents by a signed POST of JSON to a URL of yours.
	Webhook *Webhook `yaml:"webhook,omitempty" json:"webhook,omitempty"`
	// Email tells incidents by mail.
	Email *Email `yaml:"email,omitempty" json:"email,omitempty"`
}

// Env is what notifiers need from outside their settings.
type Env struct {
	Out  io.Writer      // where Log writes
	Zone *time.Location // of the times that Log writes
	Log  *slog.Logger   // for what people cannot be told otherwise

	// Command carries out what people want done, such as "acknowledge" with
	// the arguments incident and author, and returns what to answer them. Nil
	// means that nobody is heard.
	Command func(ctx context.Context, name string, args map[string]string) (string, error)

	// History returns the newest results and gaps of a check, oldest first: of
	// results at least slot, status and latency, of gaps the first slot and the
	// number. It may be called at any time. Nil means that no pictures are drawn.
	History func(check string) []checks.Entry
}

// Settings is what a kind of notifier must do.
type Settings interface {
	// Validate returns everything that is wrong with the settings, without
	// quoting a secret.
	Validate() []probe.Problem
	// Notifier makes the notifier. It is called after Validate found nothing.
	Notifier(env Env) Notifier
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

// Names lists all kinds of notifiers.
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
		{"log", k.Log != nil, k.Log},
		{"slack", k.Slack != nil, k.Slack},
		{"slack_webhook", k.SlackWebhook != nil, k.SlackWebhook},
		{"pagerduty", k.PagerDuty != nil, k.PagerDuty},
		{"alertmanager", k.Alertmanager != nil, k.Alertmanager},
		{"webhook", k.Webhook != nil, k.Webhook},
		{"email", k.Email != nil, k.Email},
	}
}
