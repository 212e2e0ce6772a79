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
	// Event says the same in one word; empty in what was stored before it was known.
	Event Event `json:"event,omitempty"`

	// Labels are those that all its checks share: for routing.
	Labels map[string]string `json:"labels,omitempty"`
	// Acknowledged says that somebody has taken it on; nil if nobody has.
	Acknowledged *Acknowledgement `json:"acknowledged,omitempty"`
	// Quiet says why nobody is to be told of it for now: a silence, a
	// maintenance window, a parent that is down, a storm; empty if people are.
	Quiet string `json:"quiet,omitempty"`

	Opened time.Time `json:"opened,omitzero"`  // when the rules made it; Since is earlier
	ToldAt time.Time `json:"told_at,omitzero"` // when people were first to be told of it; zero if they never were
	// Told is the newest version that people are to be told of: an older one
	// than Version while it is quiet, or if the newest says nothing new; 0 if
	// they were never to be told.
	Told int `json:"told,omitempty"`
	// ToldSeverity and ToldTaken are what that version said: how severe it is,
	// and whether somebody has taken it on.
	ToldSeverity Severity `json:"told_severity,omitempty"`
	ToldTaken    bool     `json:"told_taken,omitempty"`

	Reminders int    `json:"reminders,omitempty"`  // how often people were reminded of it
	Reopened  int    `json:"reopened,omitempty"`   // it flaps: how often the group has broken again of late
	Storm     string `json:"storm,omitempty"`      // the incident that stands for this one, among many at once
	Parts     []Part `json:"parts,omitempty"`      // of a storm: what it stands for, for routing; at most 100
	MoreParts bool   `json:"more_parts,omitempty"` // it stands for others, too
	Failing   int    `json:"failing,omitempty"`    // how many checks of the group it is about
	Of        int    `json:"of,omitempty"`         // how many there are
}

// Part is what routing must know of an incident that is part of a storm. One
// that has ended stays among the parts.
type Part struct {
	Group    string            `json:"group"`
	Severity Severity          `json:"severity"`
	Labels   map[string]string `json:"labels,omitempty"` // never changed once made
}

// Acknowledgement says who has taken an incident on, and when.
type Acknowledgement struct {
	At time.Time `json:"at"`
	By string    `json:"by"`
}

// Tells says whether people are to be told of this version.
func (i Incident) Tells() bool { return i.Told == i.Version || i.Told == 0 && i.Quiet == "" }

// First says whether this is the version by which people hear of it.
func (i Incident) First() bool {
	return i.Event == Opened || i.Event == Released || i.Event == "" && i.Version == 1
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
	Untold    bool        `json:"untold,omitempty"` // it was made while the incident was quiet
}

// Holds tells whether the finding has not cleared.
func (f Finding) Holds() bool { return f.Cleared.IsZero() }
