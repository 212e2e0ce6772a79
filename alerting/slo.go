package alerting

import (
	"cmp"
	"math"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// The values of SLO.Budgeting.
const (
	bySlices = "slices"
	byEvents = "events"
)

const defaultSLOWindow = 30 * 24 * time.Hour

// burnPair is a long and a short window in both of which the budget must burn
// faster than at its rate. The long one says that it matters, the short one,
// a twelfth of it, that it still goes on.
type burnPair struct {
	severity    Severity
	long, short time.Duration
	percent     time.Duration // of the budget, which the rate spends within long
}

const mostPairs = 4

// burnPairs are the windows and shares of The Site Reliability Workbook,
// chapter 5 "Alerting on SLOs", section 6 "Multiwindow, Multi-Burn-Rate
// Alerts", the fastest first.
func burnPairs() [mostPairs]burnPair {
	return [...]burnPair{
		{Page, time.Hour, 5 * time.Minute, 2},
		{Page, 6 * time.Hour, 30 * time.Minute, 5},
		{Ticket, 24 * time.Hour, 2 * time.Hour, 10},
		{Ticket, 72 * time.Hour, 6 * time.Hour, 10},
	}
}

// One sample of a minute probe is 2.3 % of the budget of 99.9 % over 30 days:
// the rates alone would page for a single lost packet. So there must be some
// bad samples in any case, in different minutes.
const (
	leastBadLong    = 3
	leastBadShort   = 2
	leastBadMinutes = 2
)

// rate returns the burn rate from which p alerts in an SLO over window: that
// which spends p.percent of the budget within the long window. For 30 days
// these are 14.4, 6, 3 and 1. It is at least 1, since below that the objective
// is kept.
func (p burnPair) rate(window time.Duration) float64 {
	return max(1, float64(p.percent*window)/float64(100*p.long))
}

func (s *SLO) window() time.Duration { return cmp.Or(time.Duration(s.Window), defaultSLOWindow) }

func (s *SLO) events() bool { return s.Budgeting == byEvents }

// budget returns the share that may be bad: 0.001 of 99.9 %.
func (s *SLO) budget() float64 { return math.Round((1-float64(s.Objective))*1e12) / 1e12 }

// objective returns the objective in all its digits, such as "99.999 %".
func (s *SLO) objective() string { return percent(float64(s.Objective)) }

// unit is what is counted.
func (s *SLO) unit() string {
	if s.events() {
		return "result"
	}
	return "minute"
}

// limit returns the share of bad samples above which p alerts. From 1 on it
// never does.
func (s *SLO) limit(p burnPair) float64 { return p.rate(s.window()) * s.budget() }

// Levels names the severities of a rule's findings: its own one, or those of
// the pairs of an SLO.
func (r *Rule) Levels() string {
	if r.SLO != nil {
		return string(Page) + ", " + string(Ticket)
	}
	return string(r.severity())
}

// Budget says where an SLO stands with one set of checks.
type Budget struct {
	Rule      string         `json:"rule"`
	Group     string         `json:"group"`           // the key of its incidents
	Check     string         `json:"check,omitempty"` // with by: check
	Objective float64        `json:"objective"`       // 0..1
	Window    probe.Duration `json:"window"`
	Bad       int            `json:"bad"`      // samples in the window: minutes, or results with budgeting: events
	Expected  int            `json:"expected"` // that the window holds, those that are unknown or still to come included
	Unknown   int            `json:"unknown,omitempty"`
	Remaining float64        `json:"remaining"`        // share of the budget that is left; below 0 it is overspent
	Burns     []Burn         `json:"burns"`            // the newest first
	GoneIn    probe.Duration `json:"gone_in,omitzero"` // when nothing is left at the rate of the alert, else of the last hour; 0: not at that rate, or gone already
}

// Burn is how fast a budget burns: 1 spends it all within the SLO's window.
type Burn struct {
	Over probe.Duration `json:"over"`
	Rate float64        `json:"rate"`
}
