// Package checks says what it means to check something: the kinds of checks
// (one file each), the run of one check at one slot, and the records that come
// of it. It imports nothing of this project but its own sub-packages.
//
// To add a kind of check write one file with a settings struct (YAML tags,
// Validate, Probe, Endpoint), its test, and its lines in kinds.go.
package checks

import (
	"strconv"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// ResultVersion is the version of the stored form of results and entries.
const ResultVersion = 1

// Result is what one check came to at one slot: the one record that rules,
// metrics and pages are made of. Plain data, at most about 512 bytes as JSON.
type Result struct {
	Check    string        `json:"check"`
	Kind     string        `json:"kind"`
	Group    string        `json:"group,omitempty"` // empty: the check's name
	Location string        `json:"loc"`             // where it was probed from
	Slot     time.Time     `json:"slot"`            // when it was due; with Check and Location its identity
	Start    time.Time     `json:"start"`           // when it started
	Duration time.Duration `json:"dur"`             // how long the whole run took, re-probes included, in ns
	Latency  time.Duration `json:"lat,omitempty"`   // of the first good attempt, in ns; zero if none was good

	Status probe.Status `json:"status"` // after confirmation
	Class  probe.Class  `json:"class"`  // of the scheduled attempt
	Stage  probe.Stage  `json:"stage,omitempty"`
	Reason string       `json:"reason,omitempty"` // one line for people; empty when up

	// Tally counts scheduled attempts by class; re-probes are not in it, so
	// that confirming biases no rate. Nil means one attempt of Class.
	Tally map[probe.Class]int `json:"tally,omitempty"`
	// Tries is how many attempts were made in all, re-probes included; 0 means 1.
	Tries int `json:"tries,omitempty"`

	Phases   probe.Phases       `json:"phases,omitzero"`
	Measures map[string]float64 `json:"measures,omitempty"`
	Facts    map[string]string  `json:"facts,omitempty"`
}

// ID is the identity of a run: the same check, location and slot are the same
// run, however often it is delivered.
func (r Result) ID() string {
	return r.Check + "|" + r.Location + "|" + strconv.FormatInt(r.Slot.UnixMilli(), 10)
}

// GroupOrCheck is the name under which this result's incidents gather.
func (r Result) GroupOrCheck() string {
	if r.Group != "" {
		return r.Group
	}
	return r.Check
}

// Attempts returns how many scheduled attempts ended with each class.
func (r Result) Attempts() map[probe.Class]int {
	if r.Tally != nil {
		return r.Tally
	}
	return map[probe.Class]int{r.Class: 1}
}
