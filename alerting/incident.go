package alerting

import (
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// IncidentVersion is the version of the stored form of incidents.
const IncidentVersion = 1

// Severity says how loudly people are told.
type Severity string

// The severities, worst first.
const (
	Page   Severity = "page"
	Ticket Severity = "ticket"
)

// Incident is one broken thing: the findings of all rules that concern one
// group of checks, from the first to the last of them. It holds everything
// that a message about it needs.
type Incident struct {
	V        int       `json:"v"`
	ID       string    `json:"id"`    // made of the group and the slot that opened it: replaying makes the same one
	Group    string    `json:"group"` // the checks' group, or the rule's own key
	Severity Severity  `json:"severity"`
	Version  int       `json:"version"`        // grows by one with every change that people are told of
	Since    time.Time `json:"since"`          // first bad slot
	LastBad  time.Time `json:"last_bad"`       // last bad slot so far
	Ended    time.Time `json:"ended,omitzero"` // when it was resolved; zero while open
	Findings []Finding `json:"findings"`       // in the order they were made, cleared ones included

	// Changed says in one line what the newest version added, such as
	// "opened", "also: uptime below 99.9 %", "resolved after 4m0s".
	Changed string `json:"changed"`

	// Labels are those that all its checks share: for routing.
	Labels map[string]string `json:"labels,omitempty"`
	// Acknowledged says that somebody has taken it on; nil if nobody has.
	Acknowledged *Acknowledgement `json:"acknowledged,omitempty"`
	// Quiet says why nobody is to be told of it for now: a silence, a
	// maintenance window, a parent that is down, a storm; empty if people are.
	Quiet string `json:"quiet,omitempty"`
}

// Acknowledgement says who has taken an incident on, and when.
type Acknowledgement struct {
	At time.Time `json:"at"`
	By string    `json:"by"`
}

// Open tells whether the incident has not ended.
func (i Incident) Open() bool { return i.Ended.IsZero() }

// Outage is how long it was bad: from the first to the last bad slot.
func (i Incident) Outage() time.Duration { return i.LastBad.Sub(i.Since) }

// Finding is one rule's statement about one group: what was measured, against
// which threshold, and the counts behind it.
type Finding struct {
	Rule      string      `json:"rule"`
	Kind      string      `json:"kind"` // rate, latency, down, unknown, blind, slo, measure, absent
	Severity  Severity    `json:"severity"`
	Checks    []string    `json:"checks"` // that fed it, sorted, at most 50
	More      int         `json:"more,omitempty"`
	Class     probe.Class `json:"class,omitempty"`  // the most frequent class among the bad attempts
	Reason    string      `json:"reason,omitempty"` // of the newest bad result
	Figure    float64     `json:"figure"`           // what was measured: a share 0..1, seconds, or a count
	Threshold float64     `json:"threshold"`        // in the same unit
	Unit      string      `json:"unit"`             // "share", "s", "slots", "hosts", "burn", that of a recorded number
	Bad       int         `json:"bad"`
	Total     int         `json:"total"`               // attempts that are not unknown
	Confirmed int         `json:"confirmed,omitempty"` // slots since Since with the verdict down, beside the raw rate
	Unknown   int         `json:"unknown,omitempty"`   // expected but unknown or missing
	Since     time.Time   `json:"since"`               // first bad slot that fed it
	LastBad   time.Time   `json:"last_bad"`
	Cleared   time.Time   `json:"cleared,omitzero"` // zero while it holds
	ClearedBy string      `json:"cleared_by,omitempty"`
	Text      string      `json:"text"`             // one line for people: the sentence of this finding
	Budget    *Budget     `json:"budget,omitempty"` // of an SLO; never changed once made
	Runbook   string      `json:"runbook,omitempty"`
}

// Holds tells whether the finding has not cleared.
func (f Finding) Holds() bool { return f.Cleared.IsZero() }
