package alerting

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Event says what made a new version of an incident.
type Event string

// The events. Opened comes once, first; resolved once, last.
const (
	Opened       Event = "opened"
	Grew         Event = "grew" // a rule that was not part of it yet, or a page instead of a ticket
	Acknowledged Event = "acknowledged"
	Reminded     Event = "reminded"
	Hushed       Event = "hushed"   // people are no longer told, or for another reason: see Incident.Quiet
	Released     Event = "released" // it is no longer quiet
	Resolved     Event = "resolved"
)

// Change is a version of an incident. People must be told about it if its Tells
// says so; the others are to be stored and shown. It shares no memory with the
// engine.
type Change struct {
	Event    Event
	Incident Incident
}

// touch is what a step has done to an incident.
type touch struct {
	incident *Incident
	news     []int // findings
	worse    bool  // it became a page
	spread   bool  // it is a storm that now concerns somebody else, too
	acked    bool
	reminded bool
	ended    bool
}

func (e *Engine) touch(i *Incident) *touch {
	for k := range e.touched {
		if e.touched[k].incident == i {
			return &e.touched[k]
		}
	}
	e.touched = append(e.touched, touch{incident: i})
	return &e.touched[len(e.touched)-1]
}

// incident returns the open incident of key, or makes one.
func (e *Engine) incident(key string, slot int64) *Incident {
	if i := e.incidents[key]; i != nil {
		return i
	}
	opened := max(slot, e.opened[key]+1) // an id never comes twice, even if the clock was set back
	e.opened[key] = opened
	i := &Incident{
		V: IncidentVersion, ID: incidentID(key, opened), Group: key, Severity: Ticket,
		Since: at(slot), LastBad: at(slot), Opened: at(max(slot, e.clock)), Reopened: e.reopened(key, slot),
	}
	e.incidents[key] = i
	return i
}

// incidentID is made of the key and the slot that opened the incident.
func incidentID(key string, opened int64) string {
	h := fnv.New32a()
	_, _ = fmt.Fprintf(h, "%s|%d", key, opened) // cannot fail
	return fmt.Sprintf("%s-%s-%08x", slug(key), at(opened).Format("20060102T150405Z"), h.Sum32())
}

// slug keeps the lower-case letters and digits of s, with dashes between.
func slug(s string) string {
	const most = 40
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case b.Len() >= most:
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if s := strings.TrimSuffix(b.String(), "-"); s != "" {
		return s
	}
	return "incident"
}

// index returns the place of the finding of a rule and kind, -1 if there is none.
func (i *Incident) index(rule, kind string) int {
	return slices.IndexFunc(i.Findings, func(f Finding) bool { return f.Rule == rule && f.Kind == kind })
}

// endIfClear ends an incident none of whose findings holds. One that flaps
// waits until it has been calm for a while, unless there is a reason why it ends.
func (e *Engine) endIfClear(i *Incident, slot int64, why string) {
	if slices.ContainsFunc(i.Findings, Finding.Holds) || why == "" && e.flaps(i) {
		return
	}
	i.Ended = later(at(slot), i.LastBad)
	i.Changed = why
	if why == "" {
		i.Changed = "resolved after " + i.length()
	}
	e.touch(i).ended = true
	delete(e.incidents, i.Group)
	e.left(i, slot)
}

// changes returns the new versions of the incidents that the step touched.
func (e *Engine) changes() []Change {
	e.review()
	var list []Change
	change := func(storm bool) {
		for k := range e.touched {
			t := e.touched[k]
			if storm != (t.incident.Group == stormKey) {
				continue
			}
			if event := e.decide(t); event != "" {
				list = append(list, Change{Event: event, Incident: t.incident.clone()})
			}
		}
	}
	change(false)
	e.gather()
	change(true) // after those that have become part of it
	clear(e.touched)
	e.touched = e.touched[:0]
	return list
}

// clone returns a copy that shares no memory with i.
func (i Incident) clone() Incident {
	i.Findings = slices.Clone(i.Findings)
	for k := range i.Findings {
		i.Findings[k].Checks = slices.Clone(i.Findings[k].Checks)
	}
	i.Parts = slices.Clone(i.Parts)
	return i
}

// Open returns the open incidents with their newest figures, by their
// beginning.
func (e *Engine) Open() []Incident {
	list := make([]Incident, 0, len(e.incidents))
	for _, i := range e.incidents {
		list = append(list, i.clone())
	}
	slices.SortFunc(list, func(a, b Incident) int {
		if n := a.Since.Compare(b.Since); n != 0 {
			return n
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list
}

// length says how long the outage was, from ten seconds on without fractions.
func (i Incident) length() string {
	d := i.Outage()
	switch {
	case d == 0:
		return "one bad slot"
	case d >= 10*time.Second:
		d = d.Round(time.Second)
	}
	return span(d)
}

// span formats d without zero parts: 4m, 1h30m, 2d.
func span(d time.Duration) string { return probe.Duration(d.Round(time.Millisecond)).String() }
