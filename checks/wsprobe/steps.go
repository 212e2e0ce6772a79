package wsprobe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Step is one thing to do in a conversation. Exactly one of Send, Expect and
// Events is set.
type Step struct {
	Name string // as people read it, such as "step 2 (subscribe)"

	// Send makes the message to send.
	Send func(*Vars) (Message, error)
	// Expect returns "" if the next message is right, else what was wanted. It
	// may capture values of it.
	Expect func(ctx context.Context, payload []byte, v *Vars) (want string)
	// Events must come, among any other messages.
	Events *Events

	Within time.Duration // of Expect and Events; 0: the whole time that the probe has
}

// Vars are the values that belong to one session: what makes its messages
// different from those of others, and what its steps captured.
type Vars struct {
	Session string // a fresh name for this session
	Nonce   string // fresh for each session of each probe
	Number  int    // of the session, from 1
	// Captured are values of messages by name, as jq knows them.
	Captured map[string]any
}

func newVars(number int) *Vars {
	return &Vars{
		Session: fmt.Sprintf("s%d-%s", number, randomHex(6)), Nonce: randomHex(8),
		Number: number, Captured: map[string]any{},
	}
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return hex.EncodeToString(b)
}

// wrongError says that a message came that should not have come.
type wrongError struct {
	class probe.Class
	text  string
}

func (e *wrongError) Error() string { return e.text }

// conversation is the steps of one session under way.
type conversation struct {
	p     *Prober
	s     *session
	vars  *Vars
	group *group    // the sessions that run at the same time; nil if there is one
	after *eventLog // events whose repetition is still an error
}

// check judges a data message before anything else does.
func (c *conversation) check(m message) error {
	if c.p.opt.Isolation != nil {
		if err := c.isolated(m.payload); err != nil {
			return err
		}
	}
	if c.after != nil {
		hits, key := c.after.e.Recognise(c.s.ctx, m.payload, c.vars)
		if again := c.after.add(hits, key); again != "" {
			return &wrongError{probe.FlowDuplicate, c.after.duplicate(again)}
		}
	}
	return nil
}

// isolated tells whether a message belongs to this session.
func (c *conversation) isolated(payload []byte) error {
	if v, mark := c.group.owner(payload, c.vars); v != nil {
		return &wrongError{probe.Isolation, fmt.Sprintf("got a message with %q, which is of session %d: %s",
			mark, v.Number, c.p.net.Redactor().Excerpt(payload, 200))}
	}
	if wrong := c.p.opt.Isolation(c.s.ctx, payload, c.vars); wrong != "" {
		return &wrongError{probe.Isolation, fmt.Sprintf("got a message that is not its own ($session is %q, $nonce %q): %s; want %s",
			c.vars.Session, c.vars.Nonce, c.p.net.Redactor().Excerpt(payload, 200), wrong)}
	}
	return nil
}

// run does all steps.
func (c *conversation) run(pong wait, start time.Time) *probe.Failure {
	for i := range c.p.opt.Steps {
		st := &c.p.opt.Steps[i]
		var f *probe.Failure
		switch {
		case st.Send != nil:
			c.after = nil // the same events may come again in answer to it
			f = c.send(st)
		case st.Expect != nil:
			f = c.expect(st, pong)
		default:
			f = c.events(st, pong)
		}
		if f != nil {
			return f
		}
	}
	c.s.x.conn.Phases.Message = time.Since(start)
	return nil
}

func (c *conversation) send(st *Step) *probe.Failure {
	m, err := st.Send(c.vars)
	if err != nil {
		return c.s.x.conn.Fail(probe.BadPayload, probe.StageSession, st.Name+": "+err.Error(), err)
	}
	return c.s.sendMessage(m, "the message of "+st.Name)
}

func (c *conversation) expect(st *Step, pong wait) *probe.Failure {
	m, f := c.next(wait{probe.NoReply, "the message of " + st.Name, time.Now()}, limit(st.Within), pong)
	if f != nil {
		return f
	}
	if want := st.Expect(c.s.ctx, m.payload, c.vars); want != "" {
		return c.s.mismatch(m, want, st.Name+", message")
	}
	return nil
}

// next returns the next data message, which has d to come.
func (c *conversation) next(w wait, d time.Duration, pong wait) (message, *probe.Failure) {
	c.s.x.patience(d)
	m, err := c.s.nextMessage()
	if err == nil {
		return m, nil
	}
	if isTimeout(err) && !c.s.pinged.IsZero() { // the whole connection is dead, not just the application
		w.class, w.what = probe.NoPong, w.what+" and "+pong.what
	}
	return message{}, c.s.fail(err, w)
}

// events reads until the events of a step have come.
func (c *conversation) events(st *Step, pong wait) *probe.Failure {
	log := newEventLog(st.Events)
	c.after = nil
	end := time.Now().Add(limit(st.Within))
	start := time.Now()
	conn := c.s.x.conn
	for !log.complete() {
		c.s.x.patience(time.Until(end))
		m, err := c.s.nextMessage()
		switch {
		case errors.Is(err, errFlood), isTimeout(err) && (log.messages == 0 || !c.s.pinged.IsZero()):
			w := wait{probe.NoReply, "the first of the events of " + st.Name, start}
			if !c.s.pinged.IsZero() {
				w.class, w.what = probe.NoPong, w.what+" and "+pong.what
			}
			return c.s.fail(err, w)
		case isTimeout(err):
			return conn.Fail(probe.FlowMissing, probe.StageFlow, st.Name+": "+log.missing(c.p.net.Redactor(), time.Since(start)), err)
		case err != nil:
			return c.s.fail(err, wait{probe.NoReply, "the events of " + st.Name + " (" + log.seenText() + ")", start})
		}
		hits, key := st.Events.Recognise(c.s.ctx, m.payload, c.vars)
		if len(hits) == 0 && refusal(m.payload) {
			return c.s.mismatch(m, "the events of "+st.Name, st.Name+", message")
		}
		if len(hits) == 0 {
			log.stranger(m.payload)
		}
		if again := log.add(hits, key); again != "" {
			return conn.Fail(probe.FlowDuplicate, probe.StageFlow, st.Name+": "+log.duplicate(again), nil)
		}
	}
	if wrong := log.disorder(); wrong != "" {
		return conn.Fail(probe.FlowOrder, probe.StageFlow, st.Name+": "+wrong, nil)
	}
	if st.Events.NoDuplicates {
		c.after = log
	}
	return nil
}

// limit is the patience for something that may take d; 0 means until the end.
func limit(d time.Duration) time.Duration {
	if d == 0 {
		return rest
	}
	return d
}

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
