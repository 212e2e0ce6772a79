package alerting

import (
	"cmp"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Rule says when people are told: which checks it looks at, and exactly one of
// rate, latency, down, unknown, slo, measure and absent.
type Rule struct {
	// Name identifies the rule, in messages and in its state: a renamed rule
	// is a new one.
	Name string `yaml:"name" json:"name" jsonschema:"required"`
	// Select says which checks the rule looks at. Default all.
	Select Select `yaml:"select,omitempty" json:"select,omitzero"`
	// Severity is page (wake somebody up) or ticket (look at it tomorrow).
	// Default ticket. An slo has none of its own: its fast windows page, its
	// slow ones make a ticket.
	Severity Severity `yaml:"severity,omitempty" json:"severity,omitempty" jsonschema:"enum=page,enum=ticket"`
	// By says over what the figure is computed: check (each check by itself),
	// group (the checks of each group together) or all (all selected checks
	// together). Incidents gather by group in any case, but those of all have
	// the name of the rule. Default group, and check for unknown.
	By string `yaml:"by,omitempty" json:"by,omitempty" jsonschema:"enum=check,enum=group,enum=all"`
	// RecoverAfter is how many good results in a row each check that fed a
	// finding must have before the finding clears. Default 3, for absent 1.
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
	// SLO looks at how fast an error budget is spent.
	SLO *SLO `yaml:"slo,omitempty" json:"slo,omitempty"`
	// Measure looks at a number that checks record.
	Measure *Measure `yaml:"measure,omitempty" json:"measure,omitempty"`
	// Absent looks at how long nothing has been known of a check.
	Absent *AbsentRule `yaml:"absent,omitempty" json:"absent,omitempty"`
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
// With canaries the hosts do not matter: they tell which failures are those of
// the monitor's own network, and these are unknown.
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

// SLO looks at how fast an error budget is spent, in several windows at once
// (The Site Reliability Workbook, chapter 5). Over 30 days it pages when the
// budget burns 14.4 times too fast for 1h and the last 5m, or 6 times for 6h
// and the last 30m, and makes a ticket when it burns 3 times too fast for 1d
// and the last 2h, or at all too fast for 3d and the last 6h. Over another
// window the rates are such that the same shares of the budget are spent (2 %,
// 5 %, 10 %, 10 %), at least 1.
//
// Besides, at least 3 samples must be bad in the long window and 2 in the
// short one, in different minutes: a single lost packet alerts nobody. While
// it pages it makes no ticket. It clears when the short windows are within the
// limit again, and what was bad so far makes no other finding.
//
// Only what is confirmed to be down is bad. Unknown and missing samples are
// neither bad nor good, but they were expected: they are part of the whole.
type SLO struct {
	// Objective is the share of the window that must be good, such as 99.9%.
	Objective Share `yaml:"objective" json:"objective" jsonschema:"required"`
	// Window is what the objective is about, from 3d to 31d. It slides.
	// Default 30d.
	Window probe.Duration `yaml:"window,omitempty" json:"window,omitempty"`
	// Budgeting says what a sample is. slices: a minute, from full minute to
	// full minute, in which there was a result of the selected checks; it is
	// bad if one of them was down, and good if one was known and none down.
	// events: each result by itself. Default slices.
	Budgeting string `yaml:"budgeting,omitempty" json:"budgeting,omitempty" jsonschema:"enum=slices,enum=events"`
	// DegradedIsBad counts degraded results as bad, too.
	DegradedIsBad bool `yaml:"degraded_is_bad,omitempty" json:"degraded_is_bad,omitempty"`
	// ExcludeMaintenance leaves out results in maintenance windows: they are
	// neither bad nor expected.
	ExcludeMaintenance bool `yaml:"exclude_maintenance,omitempty" json:"exclude_maintenance,omitempty"`
}

// Measure looks at a number that checks record, of each check by itself.
// Results without it say nothing.
type Measure struct {
	// Of is the name of the number: one that a health check records, or
	// certificate_days_left, certificate_lifetime_left (100% when the
	// certificate is new, 0% when it ends), ping_rtt and held_seconds (in
	// seconds), sessions_ok.
	Of string `yaml:"of" json:"of" jsonschema:"required"`
	// Above is the number that must be exceeded, such as 1000 or 80%. One of
	// above and below is needed.
	Above *Number `yaml:"above,omitempty" json:"above,omitempty"`
	// Below is the number that it must be under.
	Below *Number `yaml:"below,omitempty" json:"below,omitempty"`
	// Over is the length of the window, of all but last. It slides, and is
	// exact while it holds at most 60 slots; longer ones move in steps of a
	// 60th.
	Over probe.Duration `yaml:"over,omitempty" json:"over,omitempty"`
	// Stat is what is compared: last, or mean, min or max of the window.
	// Default last, and mean if there is a window.
	Stat string `yaml:"stat,omitempty" json:"stat,omitempty" jsonschema:"enum=last,enum=mean,enum=min,enum=max"`
	// MinSamples is how many values the window must hold. Default 3, or less
	// where the window holds less.
	MinSamples int `yaml:"min_samples,omitempty" json:"min_samples,omitempty"`
}

// AbsentRule looks at how long nothing has been known of a check: all its
// results are unknown, or missing, or there are none. Time in which the monitor
// itself did not run does not count.
type AbsentRule struct {
	// For is how long. It must be longer than the check ever pauses.
	For probe.Duration `yaml:"for" json:"for" jsonschema:"required"`
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
	Longest    time.Duration // the most time between two slots; 0: as Interval
	Attempts   int           // scheduled attempts in one run; 0 means 1
	Measures   []string      // numbers that its results record
	Needs      []string      // checks without which this one cannot work
	Canaries   bool          // tell its failures from those of this machine's network, so that it says nothing about blindness
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
	switch {
	case r.RecoverAfter > 0:
		return r.RecoverAfter
	case r.Absent != nil:
		return 1
	}
	return 3
}
