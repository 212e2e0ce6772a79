package wsprobe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
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

// NewVars makes fresh values for the session with that number.
func NewVars(number int) *Vars {
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
