package alerting

import (
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks"
)

// What is found and whether people are told of it are two things. Findings and
// incidents open, grow and resolve as the rules say; after that each step
// decides for every incident that something concerns whether it is quiet. It is
// while each check that it is about is excused: by a silence, by a maintenance
// window, or by a check that it needs. What excuses depends on the entries and
// on the clock, which is the newest time that an entry came with.

const (
	// setBack is how far the clock must go back to be believed: entries come a
	// little out of order.
	setBack = 5 * time.Minute
	// mostRun is how long a run is believed to have taken.
	mostRun = time.Hour
)

// advance takes the time of an entry: that of a result is when it was known.
func (e *Engine) advance(entry checks.Entry) {
	e.ticked = entry.Tick != nil
	t := entry.Time()
	if !sane(t) {
		return
	}
	e.now = t.UnixMilli()
	known := e.now
	late := entry.Gap != nil // it may have ended long ago
	if r := entry.Result; r != nil {
		known += max(0, min(r.Duration, mostRun)).Milliseconds()
		late = r.Duration > mostRun
	}
	switch {
	case known > e.clock:
		e.clock = known
	case !late && e.clock-known > setBack.Milliseconds():
		e.clock, e.wake = known, 0
	}
}

// awaits tells whether a time that is at most so far ahead is still to come, and
// notes when it is. One that is further ahead comes of a clock that has been
// set back since: nothing waits for that.
func (e *Engine) awaits(ms, most int64) bool {
	if e.clock >= ms || ms-e.clock > most {
		return false
	}
	e.wakeAt(ms)
	return true
}

// wakeAt notes that at a time it must be decided again who is told.
func (e *Engine) wakeAt(ms int64) { e.wake = min(e.wake, ms) }

// Due returns when time alone may change who is told, if no entry comes: the
// engine wants a tick then. It is zero if nothing is waited for.
func (e *Engine) Due() time.Time {
	if len(e.incidents) == 0 || e.wake == never {
		return time.Time{}
	}
	return at(e.wake)
}

// review touches the incidents about which something may have to be decided
// without anything new about them.
func (e *Engine) review() {
	if e.ticked {
		e.remind()
	}
	if e.clock >= e.wake {
		e.wake = never
		e.expire()
		for _, i := range e.sorted() {
			if e.calmed(i) {
				continue
			}
			e.touch(i)
		}
	} else if e.moved && len(e.needs) > 0 {
		for _, i := range e.sorted() {
			if i.Quiet != "" {
				e.touch(i)
			}
		}
	}
	e.moved = false
}

// decide makes a new version of an incident that was touched, if there is
// something to tell or to store of it, and returns what it is; else "".
func (e *Engine) decide(t touch) Event {
	i, was := t.incident, t.incident.Quiet
	var event Event
	tells := true
	if t.ended {
		event = Resolved
		if i.Told > 0 || i.Version == 0 {
			i.Quiet = ""
		}
	} else {
		i.Quiet = e.quiet(i)
		if was != "" && i.Quiet == "" && i.Told > 0 {
			t.hidden()
		}
		event, tells = e.event(&t, was)
		if event == "" {
			return ""
		}
		if i.Group != stormKey || tells || e.roundly() {
			e.describe(i)
		}
	}
	for _, k := range t.news {
		i.Findings[k].Untold = true
	}
	i.Event = event
	i.Version++
	if i.Quiet == "" && tells {
		e.told(i)
	}
	return event
}

// hidden adds what people were not told of while the incident was quiet: that it
// is a page, if it still is, and that somebody has taken it on.
func (t *touch) hidden() {
	i := t.incident
	pages := func(f Finding) bool { return f.Holds() && f.Severity == Page }
	t.worse = t.worse || i.ToldSeverity != Page && slices.ContainsFunc(i.Findings, pages)
	t.acked = t.acked || i.Acknowledged != nil && !i.ToldTaken
}

// told notes that people are to be told of the newest version.
func (e *Engine) told(i *Incident) {
	if i.ToldAt.IsZero() {
		i.ToldAt = at(e.clock)
		e.counted(i)
	}
	if i.Group == stormKey {
		e.gusty = e.clock
		e.figureStorm(i)
	}
	i.Told, i.ToldSeverity, i.ToldTaken = i.Version, i.Severity, i.Acknowledged != nil
	for k := range i.Findings {
		i.Findings[k].Untold = false
	}
}

// event says what happened to an open incident and puts it into words, and
// whether that is for people; "" if it is nothing.
func (e *Engine) event(t *touch, was string) (event Event, tells bool) {
	i := t.incident
	if i.Version == 0 {
		if i.Changed = "opened"; i.Reopened > 0 {
			i.Changed = "opened, and flaps: " + e.flapText(i)
		}
		return Opened, true
	}
	released := was != "" && i.Quiet == ""
	if released && i.Told == 0 {
		i.Changed = "opened"
		if d := at(e.clock).Sub(i.Opened).Truncate(time.Second); was != gathering && !strings.HasPrefix(was, waits) {
			i.Changed = "opened " + span(d) + " ago, not told until now: " + was
		}
		return Released, true
	}
	news := e.news(t, released)
	var words []string
	if t.worse {
		event, words = Grew, append(words, "now "+string(i.Severity))
	}
	for _, k := range news {
		event, words = Grew, append(words, "also: "+i.Findings[k].Text)
	}
	tells = event != "" && (i.Group != stormKey || t.worse || e.gust(i))
	if t.acked {
		event, tells, words = Acknowledged, true, append(words, "acknowledged by "+i.Acknowledged.By)
	}
	if t.reminded && event == "" && i.Quiet == "" { // else a window has just begun
		event, tells = Reminded, true
		i.Reminders = e.reminders(i)
		words = append(words, "still open after "+span(at(e.clock).Sub(i.ToldAt).Truncate(time.Second)))
	}
	switch {
	case event != "":
	case released:
		event, words = Released, []string{"no longer quiet: " + was}
	case i.Quiet != was:
		event, words = Hushed, []string{"quiet: " + i.Quiet}
	case t.spread: // for those who have not heard of it
		event, words = Grew, []string{"it concerns others, too"}
	default:
		return "", false
	}
	i.Changed = strings.Join(words, "; ")
	return event, tells
}

// news lists the findings that a new version is about: those of this step, and
// once an incident is no longer quiet those that hold since.
func (e *Engine) news(t *touch, released bool) []int {
	list := slices.Clone(t.news)
	if storm := t.incident.Group == stormKey; released || storm && t.incident.Quiet == "" && e.gust(t.incident) {
		for k, f := range t.incident.Findings {
			if f.Untold && f.Holds() && !slices.Contains(list, k) {
				list = append(list, k)
			}
		}
	}
	return list
}

// modern fills in what versions before did not store.
func (i *Incident) modern() {
	if i.Told == 0 && i.Quiet == "" && i.Version > 0 {
		i.Told, i.ToldAt = i.Version, i.Since
	}
	if i.Told > 0 && i.ToldSeverity == "" {
		i.ToldSeverity, i.ToldTaken = i.Severity, i.Acknowledged != nil
	}
	if i.Opened.IsZero() {
		i.Opened = i.Since
	}
}
