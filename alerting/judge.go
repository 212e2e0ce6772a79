package alerting

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// verdict is what one result means to one rule.
type verdict uint8

const (
	neutral verdict = iota // says nothing: it neither counts nor ends a row
	good                   // counts toward recovery
	other                  // bad in another way: not a failure of this rule, not a recovery either
	bad
)

// sample is one result, or one gap, as one rule sees it.
type sample struct {
	slot    int64
	verdict verdict
	count   cell
	latency uint32 // in tenths of a millisecond, 0: none
	class   probe.Class
	reason  string
	down    bool           // confirmed
	result  *checks.Result // nil for a gap
}

// judge says what r means to the rule.
func (w *watch) judge(c *check, r *checks.Result) sample {
	s := sample{slot: r.Slot.UnixMilli(), class: r.Class, reason: r.Reason, down: r.Status == probe.Down, result: r}
	switch {
	case w.ofAttempts():
		w.judgeAttempts(&s, c, r)
		return s
	case w.kind == kindUnknown:
		if s.verdict = bad; r.Status != probe.Unknown {
			s.verdict = good
		}
	case r.Status == probe.Unknown:
		s.verdict = neutral
	case w.kind == kindLatency:
		w.judgeLatency(&s, r)
		return s
	case w.kind == kindMeasure, w.kind == kindAbsent: // see measure
		s.verdict = good
		return s
	case r.Status == probe.Down, r.Status == probe.Degraded && w.degradedIsBad():
		s.verdict = bad
	default:
		s.verdict = good
	}
	switch s.verdict {
	case bad:
		s.count.bad = 1
	case good:
		s.count.good = 1
	case neutral, other:
		s.count.unknown = 1
	}
	return s
}

// degradedIsBad tells whether degraded results count as down.
func (w *watch) degradedIsBad() bool {
	return w.kind == kindRate && w.Rate.DegradedIsBad || w.kind == kindSLO && w.SLO.DegradedIsBad
}

// excluded tells whether the rule leaves out what a check came to at a slot.
func (e *Engine) excluded(w *watch, c *check, slot int64) bool {
	return w.kind == kindSLO && w.SLO.ExcludeMaintenance && e.maintained(c, slot)
}

// ofAttempts tells whether the rule counts attempts; the others count results.
func (w *watch) ofAttempts() bool { return w.kind == kindRate && w.Rate.Of != ofDown }

// judgeAttempts counts scheduled attempts by class. Status alone would not do:
// on a mix of good and bad revisions a failed attempt whose re-probe is good
// leaves the result degraded, and yet the attempt failed.
func (w *watch) judgeAttempts(s *sample, c *check, r *checks.Result) {
	if r.Tally == nil {
		w.countAttempts(&s.count, c, r.Class, 1)
	}
	for class, n := range r.Tally { // sums: the order does not matter
		w.countAttempts(&s.count, c, class, n)
	}
	switch {
	case s.count.bad > 0:
		s.verdict = bad
	case r.Status == probe.Unknown:
		s.verdict = neutral
	case r.Status == probe.Down:
		s.verdict = other
	default:
		s.verdict = good
	}
}

func (w *watch) countAttempts(x *cell, c *check, class probe.Class, n int) {
	by := uint16(max(0, min(n, math.MaxUint16)))
	switch {
	case class.Status() == probe.Unknown:
		increase(&x.unknown, by)
	case InGroup(w.Rate.Of, class, c.websocket):
		increase(&x.bad, by)
	default:
		increase(&x.good, by)
	}
}

// judgeLatency counts good results, as bad ones when they exceed the limit.
func (w *watch) judgeLatency(s *sample, r *checks.Result) {
	if r.Status == probe.Down || r.Latency <= 0 {
		s.verdict = neutral
		return
	}
	s.latency = tenths(r.Latency)
	s.verdict, s.count.good = good, 1
	if r.Latency > time.Duration(w.Latency.Above) {
		s.verdict, s.count = bad, cell{bad: 1}
		if s.reason == "" {
			s.reason = "took " + seconds(r.Latency)
		}
	}
}

// tenths returns d in tenths of a millisecond, at least 1.
func tenths(d time.Duration) uint32 {
	const unit = 100 * time.Microsecond
	return uint32(max(1, min(int64((d+unit/2)/unit), math.MaxUint32)))
}

// run is a row of bad results of one check, not broken by recover_after good
// ones. It exists only while there is one.
type run struct {
	Since     int64        `json:"since"` // first bad slot
	Last      int64        `json:"last"`
	Confirmed int          `json:"confirmed,omitempty"` // slots whose re-probes failed too
	Classes   []classCount `json:"classes,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Fed       bool         `json:"fed,omitempty"`     // it is part of a finding
	Held      bool         `json:"held,omitempty"`    // it would be, but the monitor is blind
	Suspect   bool         `json:"suspect,omitempty"` // or may be
}

type classCount struct {
	Class probe.Class `json:"class"`
	N     int         `json:"n"`
}

// note adds a bad sample of c.
func (r *run) note(w *watch, c *check, s sample) {
	r.Last = max(r.Last, s.slot)
	r.Reason = clip(s.reason)
	if s.down {
		r.Confirmed++
	}
	if !w.ofAttempts() || s.result.Tally == nil {
		r.count(s.class, 1)
		return
	}
	for _, class := range slices.Sorted(maps.Keys(s.result.Tally)) {
		if n := s.result.Tally[class]; n > 0 && InGroup(w.Rate.Of, class, c.websocket) {
			r.count(class, n)
		}
	}
}

func (r *run) count(class probe.Class, n int) {
	for i := range r.Classes {
		if r.Classes[i].Class == class {
			r.Classes[i].N += min(n, math.MaxUint16)
			return
		}
	}
	if len(r.Classes) < mostClasses {
		r.Classes = append(r.Classes, classCount{class, min(n, math.MaxUint16)})
	}
}

// mostClasses bounds a run; there are about sixty classes.
const mostClasses = 16

// clip makes a reason one line of at most 300 bytes.
func clip(s string) string {
	const most = 300
	if strings.ContainsAny(s, "\r\n") {
		s = strings.Join(strings.Fields(s), " ")
	}
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most-3], "") + "..."
	}
	return s
}
