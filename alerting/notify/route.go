package notify

import (
	"cmp"
	"slices"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// Route says which incidents a notifier is told of. The zero value is all of
// them, at once. Whoever was once told of an incident is told of it until its
// end, whatever the hour.
type Route struct {
	// When limits it to some incidents. All that is given must hold.
	When When `yaml:"when,omitempty"`
	// EscalateAfter makes it be told only of incidents that people have known of
	// for so long and that nobody has acknowledged, such as 15m. It counts from
	// when others were first to be told, not from the beginning of an incident
	// that was quiet then: in a silence, a maintenance window or a storm.
	EscalateAfter probe.Duration `yaml:"escalate_after,omitempty"`
	// Standby makes it be told only in place of another notifier, which names
	// it as its fallback.
	Standby bool `yaml:"standby,omitempty"`
}

// When says of which incidents a notifier is told.
type When struct {
	// Severity is page or ticket. Default both.
	Severity alerting.Severity `yaml:"severity,omitempty"`
	// Groups are what incidents are named after: groups of checks, the names
	// of rules with by: all, monitor for what concerns Tripline itself, and
	// storm for many incidents at once. A storm is told to everybody who would
	// be told of one of the incidents in it; one of more than 100 incidents to
	// everybody, whatever the groups and labels. Default all.
	Groups []string `yaml:"groups,omitempty"`
	// Labels are labels that all checks of the incident must have.
	Labels map[string]string `yaml:"labels,omitempty"`
	// Hours are when it is told of incidents: days, times and a time zone, such
	// as "Mon-Fri 09:00-18:00 Europe/Berlin" or "Mon-Fri 18:00-09:00, Sat, Sun".
	// Incidents that are open when the hours begin are told then. Without a
	// time zone hours are in UTC. Default always.
	Hours Hours `yaml:"hours,omitempty"`
}

// Due tells whether the notifier is to tell an open incident at a moment of
// the log.
func (r Route) Due(i alerting.Incident, at time.Time) bool {
	if r.Standby || !r.When.match(i, at) {
		return false
	}
	if r.EscalateAfter == 0 {
		return true
	}
	told := i.ToldAt
	if told.IsZero() {
		told = i.Opened
	}
	if told.IsZero() { // stored by an earlier version
		told = i.Since
	}
	return i.Acknowledged == nil && at.Sub(told) >= time.Duration(r.EscalateAfter)
}

// IsZero tells whether w is all incidents.
func (w When) IsZero() bool {
	return w.Severity == "" && len(w.Groups) == 0 && len(w.Labels) == 0 && w.Hours.IsZero()
}

func (w When) match(i alerting.Incident, at time.Time) bool {
	if !w.Hours.Contain(at) {
		return false
	}
	if i.MoreParts && (w.Severity != alerting.Page || i.Severity == alerting.Page) {
		return true // what it is not known to be about it may be about
	}
	return w.fits(alerting.Part{Group: i.Group, Severity: i.Severity, Labels: i.Labels}) || slices.ContainsFunc(i.Parts, w.fits)
}

// fits tells whether one incident, or part of a storm, is what is wanted.
func (w When) fits(p alerting.Part) bool {
	for k, v := range w.Labels {
		if got, ok := p.Labels[k]; !ok || got != v {
			return false
		}
	}
	return cmp.Or(w.Severity, p.Severity) == p.Severity && (len(w.Groups) == 0 || slices.Contains(w.Groups, p.Group))
}
