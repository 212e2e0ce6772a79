package wsprobe

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Events is a set of events that must come.
type Events struct {
	Names   []string // of the events, in the wanted order
	AtLeast int      // how many of them; 0 means all
	// Ordered wants the first of each event in the order of Names.
	Ordered bool
	// NoDuplicates wants no event twice, until the next step that sends.
	NoDuplicates bool
	// Recognise returns the indexes of the events that a message can be, and
	// what tells it from another message of the same event ("" if nothing does).
	Recognise func(ctx context.Context, payload []byte, v *Vars) (hits []int, key string)
}

// eventLog is what came of Events. It does no I/O.
type eventLog struct {
	e        *Events
	seen     []int // in the order in which each came first
	has      []bool
	keys     map[string]bool
	messages int
	other    []byte // the last message that is none of the events
	others   int
}

func newEventLog(e *Events) *eventLog {
	return &eventLog{e: e, has: make([]bool, len(e.Names)), keys: map[string]bool{}}
}

// add counts a message. It returns the name of the event that came twice and
// must not, or "".
func (l *eventLog) add(hits []int, key string) (again string) {
	l.messages++
	if len(hits) == 0 {
		return ""
	}
	event := hits[0]
	for _, h := range hits {
		if !l.has[h] {
			event = h
			break
		}
	}
	id := fmt.Sprint(event, " ", key)
	if l.keys[id] && l.e.NoDuplicates {
		return l.e.Names[event]
	}
	l.keys[id] = true
	if !l.has[event] {
		l.has[event] = true
		l.seen = append(l.seen, event)
	}
	return ""
}

func (l *eventLog) stranger(payload []byte) {
	const kept = 200
	l.other = append(l.other[:0], payload[:min(len(payload), kept)]...)
	l.others++
}

func (l *eventLog) need() int {
	if l.e.AtLeast > 0 {
		return l.e.AtLeast
	}
	return len(l.e.Names)
}

func (l *eventLog) complete() bool { return len(l.seen) >= l.need() }

// disorder says how the order differs from the wanted one, or "".
func (l *eventLog) disorder() string {
	if !l.e.Ordered {
		return ""
	}
	for i := 1; i < len(l.seen); i++ {
		if l.seen[i] < l.seen[i-1] {
			return "the events came in the order " + l.names(l.seen) + "; want " + strings.Join(l.e.Names, ", ")
		}
	}
	return ""
}

// missing says which events did not come.
func (l *eventLog) missing(r *probe.Redactor, in time.Duration) string {
	var not []int
	for i, has := range l.has {
		if !has {
			not = append(not, i)
		}
	}
	text := l.names(not) + " did not come in " + brief(in)
	if l.e.AtLeast > 0 {
		text = fmt.Sprintf("%d of the events came in %s, want at least %d; missing: %s", len(l.seen), brief(in), l.e.AtLeast, l.names(not))
	}
	text += " (" + l.seenText()
	if l.others > 0 {
		text += fmt.Sprintf("; other messages: %d, the last one %s", l.others, r.Excerpt(l.other, 100))
	}
	return text + ")"
}

func (l *eventLog) seenText() string {
	if len(l.seen) == 0 {
		return "none of them came"
	}
	return "seen: " + l.names(l.seen)
}

func (l *eventLog) duplicate(event string) string {
	return event + " came twice (" + l.seenText() + ")"
}

func (l *eventLog) names(events []int) string {
	names := make([]string, len(events))
	for i, e := range events {
		names[i] = l.e.Names[e]
	}
	return strings.Join(names, ", ")
}
