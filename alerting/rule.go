package alerting

import (
	"cmp"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Rule says when people are told: which checks it looks at, and exactly one of
// rate, latency, down and unknown.
type Rule struct {
	// Name identifies the rule, in messages and in its state: a renamed rule
	// is a new one.
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// Select says which checks the rule looks at. Default all.
	Select Select `yaml:"select,omitempty" json:"select,omitzero"`
	// Severity is page (wake somebody up) or ticket (look at it tomorrow).
	// Default ticket.
	Severity Severity `yaml:"severity,omitempty" json:"severity,omitempty" jsonschema:"enum=page,enum=ticket"`
	// By says over what the figure is computed: check (each check by itself),
	// group (the checks of each group together) or all (all selected checks
	// together). Incidents gather by group in any case, but those of all have
	// the name of the rule. Default group, and check for unknown.
	By string `yaml:"by,omitempty" json:"by,omitempty" jsonschema:"enum=check,enum=group,enum=all"`
	// RecoverAfter is how many good results in a row each check that fed a
	// finding must have before the finding clears. Default 3.
	RecoverAfter int `yaml:"recover_after,omitempty" json:"recover_after,omitempty"`
	// Runbook is a URL that says what to do. It is part of every message.
	Runbook string `yaml:"runbook,omitempty" json:"runbook,omitempty"`

	// Rate looks at the share of failures in a window.
	Rate *Rate `yaml:"rate,omitempty" json:"rate,omitempty"`
	// Latency looks at how long good results took in a window.
	Latency *Latency `yaml:"latency,omitempty" json:"latency,omitempty"`
	// Down looks at results in a row that are confirmed to be down.
	Down *DownRule `yaml:"down,omitempty" json:"down,omitempty"`
	// Unknown looks at whether the monitor itself can see. Its findings are
	// about the monitor, not the targets: they gather in the incident "monitor".
	Unknown *UnknownRule `yaml:"unknown,omitempty" json:"unknown,omitempty"`
}

// Select says which checks a rule looks at: those that everything that is
// given holds for.
type Select struct {
	// Kind is a kind of check, such as websocket.
	Kind string `yaml:"kind,omitempty" json:"kind,omitempty"`
	// Group is a group of checks.
	Group string `yaml:"group,omitempty" json:"group,omitempty"`
	// Name is a pattern of check names: * stands for any characters but /, ?
	// for one of them, [a-z] for one of these.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// Labels are labels that a check must have, with these values.
	Labels map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"`
}

// Rate looks at the share of failures in a window. It counts scheduled
// attempts, no re-probes. Unknown attempts are neither failures nor part of
// the whole.
type Rate struct {
	// Of is what counts as a failure: not_found (404, 410), connection_failure
	// (WebSocket: no valid 101; HTTP: no response head), upgrade_rejected (an
	// HTTP answer other than 101), server_error (5xx), tls, dns, timeout,
	// session (an open WebSocket that did not do its work), any, a single
	// class such as forbidden, or down, which counts results that are
	// confirmed to be down instead of attempts.
	Of string `yaml:"of" json:"of" jsonschema:"required"`
	// Over is the length of the window, at most 31d. It slides, and is exact
	// while it holds at most 60 slots of a check; longer ones move in steps of
	// a 60th.
	Over probe.Duration `yaml:"over" json:"over" jsonschema:"required"`
	// Above is the share that must be exceeded, such as 1%. One of above and
	// at_least is needed.
	Above *Share `yaml:"above,omitempty" json:"above,omitempty"`
	// AtLeast is the share that must be reached.
	AtLeast *Share `yaml:"at_least,omitempty" json:"at_least,omitempty"`
	// MinFailures is how many failures there must be in any case. Default 1.
	MinFailures int `yaml:"min_failures,omitempty" json:"min_failures,omitempty"`
	// ClearBelow is a share that the window must have fallen below, besides
	// recover_after, before the finding clears. Default none.
	ClearBelow *Share `yaml:"clear_below,omitempty" json:"clear_below,omitempty"`
	// DegradedIsBad counts degraded results as down, too. Only with of: down.
	DegradedIsBad bool `yaml:"degraded_is_bad,omitempty" json:"degraded_is_bad,omitempty"`
}

// Latency looks at how long good results took in a window. Failures are left
// out. It clears when the figure was within the limit at recover_after good
// results in a row.
type Latency struct {
	// Stat is what is compared: mean, p50, p95 or p99. Default mean.
	Stat string `yaml:"stat,omitempty" json:"stat,omitempty" jsonschema:"enum=mean,enum=p50,enum=p95,enum=p99"`
	// Above is the latency that must be exceeded, such as 2s.
	Above probe.Duration `yaml:"above" json:"above" jsonschema:"required"`
	// Over is the length of the window. Percentiles keep every result, at most
	// 1440 of a check.
	Over probe.Duration `yaml:"over" json:"over" jsonschema:"required"`
	// MinSamples is how many results the window must hold. Default 3, or less
	// where the window holds less; percentiles need more (p50 2, p95 20, p99 100).
	MinSamples int `yaml:"min_samples,omitempty" json:"min_samples,omitempty"`
	// ClearBelow is what the figure must have fallen below before the finding
	// clears. Default the limit itself.
	ClearBelow probe.Duration `yaml:"clear_below,omitempty" json:"clear_below,omitempty"`
}

// DownRule looks at results in a row that are confirmed to be down. Unknown
// ones neither count nor end the row.
type DownRule struct {
	// Slots is how many in a row. Default 1.
	Slots int `yaml:"slots,omitempty" json:"slots,omitempty"`
}

// UnknownRule looks at whether the monitor itself can see: at the share of
// results that are unknown or missing, and at whether many hosts fail at once
// with dns and connect classes. Then the monitor is blind: that is one
// incident, and new findings of these classes are held until it sees again.
type UnknownRule struct {
	// Above is the share of unknown results that must be exceeded. Default 10%.
	Above *Share `yaml:"above,omitempty" json:"above,omitempty"`
	// Over is the length of the window. Default 10m.
	Over probe.Duration `yaml:"over,omitempty" json:"over,omitempty"`
	// MinResults is how many results must be unknown in any case. Default 3,
	// or less where the window holds less.
	MinResults int `yaml:"min_results,omitempty" json:"min_results,omitempty"`
	// BlindHosts is how many hosts must fail at once for the monitor to be
	// blind. Default 3.
	BlindHosts int `yaml:"blind_hosts,omitempty" json:"blind_hosts,omitempty"`
	// BlindShare is the share of all hosts that must fail at once for the
	// monitor to be blind. Default 50%.
	BlindShare *Share `yaml:"blind_share,omitempty" json:"blind_share,omitempty"`
}

// Subject is what rules must know of a check.
type Subject struct {
	Name, Kind string
	Group      string // empty: the name
	Host       string // host or host:port; the port says nothing about blindness
	Location   string // results from elsewhere are not looked at; empty: from anywhere
	Labels     map[string]string
	WebSocket  bool          // decides what counts as a connection failure
	Interval   time.Duration // the least time between two slots
	Attempts   int           // scheduled attempts in one run; 0 means 1
}

func (s Subject) group() string { return cmp.Or(s.Group, s.Name) }

// The values of Rule.By.
const (
	byCheck = "check"
	byGroup = "group"
	byAll   = "all"
)

// monitorKey is the incident that gathers findings about the monitor itself.
const monitorKey = "monitor"

func (r *Rule) by() string {
	if r.By == "" && r.Unknown != nil {
		return byCheck
	}
	return cmp.Or(r.By, byGroup)
}

func (r *Rule) severity() Severity { return cmp.Or(r.Severity, Ticket) }

func (r *Rule) recoverAfter() int {
	if r.RecoverAfter <= 0 {
		return 3
	}
	return r.RecoverAfter
}
