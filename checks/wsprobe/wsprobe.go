// Package wsprobe probes a WebSocket once: the opening handshake of RFC 6455,
// judged byte by byte, then a ping, messages and the closing handshake. It has
// its own small client, since a monitor must see what libraries hide: answers
// that are not 101, frames that RFC 6455 forbids, HTTP text inside the stream.
//
// prepare.go fills in what differs between attempts, handshake.go opens, frame.go reads and writes frames, session.go speaks,
// steps.go and events.go (pure) converse, sessions.go does so many times at once,
// hold.go keeps one open, classify.go judges (pure), evidence.go shows. After a
// failure inquire.go finds out why: siblings.go asks further questions, thrift.go
// keeps them few, and diagnose.go draws conclusions (pure).
//
// To recognise another failure add a case to classify.go; to recognise another
// cause add a rule to diagnose.go.
package wsprobe

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// MeasurePing is the measure of the time from our ping to its pong, in seconds.
const MeasurePing = "ping_rtt"

// Options say what to do with a WebSocket once it is open.
type Options struct {
	Ping   bool      // send a ping and want its pong
	Send   []Message // sent in order, at once
	Expect []Expect  // what the next messages must be, in order
	// Steps are what to do instead of Send and Expect.
	Steps []Step
	// Sessions is how many connections to open at the same time; below 2 one.
	Sessions int
	Stagger  time.Duration // between the starts of two sessions
	Require  float64       // the share of the sessions that must be good, from 0 to 1
	// Isolation returns "" if a message belongs to the session with the given
	// values, else what was wanted. A message that holds Session or Nonce of
	// another session of the same run never does. Nil: nobody asks.
	Isolation func(ctx context.Context, payload []byte, v *Vars) (want string)
	// Settle is how long to watch afterwards for a close: an application that
	// checks credentials after the upgrade closes a little later.
	Settle     time.Duration
	Close      time.Duration // how long the server may take to answer our close frame
	MaxMessage uint64        // bytes; a larger message is an error
	SlowerThan time.Duration // a later 101 is slow; 0 means never
	// Bypass is the same handshake sent past the proxies, to learn whether they
	// are to blame; nil if no such address is known.
	Bypass *Request
	// Prepare makes the handshake of one attempt, and its Bypass, from the values
	// of the session and a token of Credential. Nil: both are always the same.
	Prepare    Prepare
	Credential *probe.Credential // nil: Prepare needs no token
}

// Message is what we send.
type Message struct {
	Binary bool
	Data   []byte
}

// Expect is what one message must be.
type Expect struct {
	// Match returns "" if the message is right, else what was wanted.
	Match  func(ctx context.Context, payload []byte) (want string)
	Within time.Duration // 0: the whole time that the probe has
}

// Prober probes one WebSocket. It is safe for several goroutines.
type Prober struct {
	net  *probe.Network
	req  *Request
	opt  Options
	past *past
}

// past is what a Prober remembers of its probes.
type past struct {
	failed atomic.Bool  // a failure was looked into, and no good probe came since
	good   atomic.Int64 // when the last good one was, in nanoseconds since 1970; 0: never
}

// New returns a Prober that opens a WebSocket with req and uses it as o says.
func New(net *probe.Network, req *Request, o Options) *Prober {
	return &Prober{net: net, req: req, opt: o, past: &past{}}
}

// Probe tries the target once. It obeys ctx.
func (p *Prober) Probe(ctx context.Context) probe.Outcome {
	if p.opt.Sessions > 1 {
		return p.sessions(ctx)
	}
	o, _ := p.try(ctx)
	return o
}

// ProbeWith is Probe with the values of a flow that the session is a part of; its
// steps add to v.Captured. There is one session.
func (p *Prober) ProbeWith(ctx context.Context, v *Vars) probe.Outcome {
	o, _ := p.attempt(ctx, v, nil, nil)
	return o
}

func (p *Prober) try(ctx context.Context) (probe.Outcome, *exchange) {
	var v *Vars
	if len(p.opt.Steps) > 0 || p.opt.Isolation != nil || p.opt.Prepare != nil {
		v = NewVars(1)
	}
	return p.attempt(ctx, v, nil, nil)
}

// attempt tries the target once, as one session of g with the values v; arrived
// tells g that the session has done its work. g and arrived are nil if it is the
// only one, v if nobody asks for values.
func (p *Prober) attempt(ctx context.Context, v *Vars, g *group, arrived func()) (probe.Outcome, *exchange) {
	if p.opt.Prepare != nil {
		return p.prepared(ctx, v, func(p *Prober) (probe.Outcome, *exchange) { return p.once(ctx, v, g, arrived) })
	}
	return p.once(ctx, v, g, arrived)
}

func (p *Prober) once(ctx context.Context, v *Vars, g *group, arrived func()) (probe.Outcome, *exchange) {
	x, f := handshake(ctx, p.net, p.req)
	if x.conn != nil {
		defer x.conn.Close()
	}
	var latency time.Duration
	if f == nil {
		latency = x.accepted.Sub(x.conn.Began())
		f = p.use(ctx, x, v, g, arrived)
	}
	evidence := func() *probe.Evidence { return x.evidence(p.req, p.net.Redactor()) }
	if f == nil {
		return p.good(x, latency, evidence), x
	}
	o := f.Outcome(p.req.target.String(), p.net.Redactor(), evidence)
	if x.resp != nil {
		o.RetryAfter = probe.RetryAfter(x.resp.Header, time.Now())
	}
	p.measure(&o, x)
	o.Inquiry = p.inquiry(x, o, func() []probe.Outcome { return g.beside(v) })
	return o, x
}

// good makes the outcome of a session in which nothing failed.
func (p *Prober) good(x *exchange, latency time.Duration, evidence func() *probe.Evidence) probe.Outcome {
	o := probe.Outcome{Class: probe.OK, Latency: latency, Phases: x.conn.Phases}
	what := p.req.target.String()
	if broken := x.conn.FamilyBroken(); broken != "" {
		o.Class, o.Stage, o.Reason = probe.FamilyBroken, probe.StageConnect, what+": "+broken
	}
	if p.opt.SlowerThan > 0 && latency > p.opt.SlowerThan {
		o.Class, o.Stage = probe.Slow, probe.StageTime
		o.Reason = fmt.Sprintf("%s: accepted after %s, slower_than is %v", what, brief(latency), p.opt.SlowerThan)
	}
	if o.Class == probe.OK {
		p.past.good.Store(time.Now().UnixNano())
		if p.past.failed.CompareAndSwap(true, false) {
			o.Inquiry = p.recovery
		}
	}
	if o.Class != probe.OK {
		o.Inquiry = p.inquiry(x, o, func() []probe.Outcome { return nil })
	}
	o.Measures = x.conn.CertMeasures()
	p.measure(&o, x)
	class, stage, reason := o.Class, o.Stage, o.Reason
	o.Evidence = func() *probe.Evidence {
		e := evidence()
		x.conn.Describe(e)
		e.Class, e.Stage, e.Reason = class, stage, reason
		return e.Bound()
	}
	return o
}

func (p *Prober) measure(o *probe.Outcome, x *exchange) {
	if x.conn == nil || x.conn.Phases.Ping == 0 {
		return
	}
	if o.Measures == nil {
		o.Measures = make(map[string]float64, 1)
	}
	o.Measures[MeasurePing] = x.conn.Phases.Ping.Seconds()
}

// use does with an open WebSocket what the options say, and closes it.
func (p *Prober) use(ctx context.Context, x *exchange, v *Vars, g *group, arrived func()) *probe.Failure {
	s := newSession(ctx, p.net, x, p.opt.MaxMessage)
	c := &conversation{p: p, s: s, vars: v, group: g}
	if v != nil {
		s.check = c.check
	}
	f := p.converse(s, c, arrived)
	switch {
	case f == nil:
	case f.Class == probe.ProtocolError:
		s.leave(1002)
	case f.Class == probe.MessageTooBig:
		s.leave(1009)
	default:
		s.leave(1000)
	}
	return f
}

// rest is the wait for things that have no limit of their own: ctx ends it.
const rest = time.Hour

func (p *Prober) converse(s *session, c *conversation, arrived func()) *probe.Failure {
	start := time.Now()
	pong := wait{probe.NoPong, "the pong to our ping", start}
	if p.opt.Ping {
		if err := s.sendPing(); err != nil {
			return s.fail(s.lastWord(err), pong)
		}
	}
	if f := p.sendAll(s); f != nil {
		return f
	}
	if f := p.expectAll(s, pong, start); f != nil {
		return f
	}
	if len(p.opt.Steps) > 0 {
		if f := c.run(pong, start); f != nil {
			return f
		}
	}
	s.x.patience(rest)
	if err := s.awaitPong(); err != nil {
		if p.finished(err) {
			return nil
		}
		return s.fail(err, pong)
	}
	if p.opt.Settle > 0 {
		if err := s.watch(p.opt.Settle); err != nil {
			if p.finished(err) {
				return nil
			}
			return s.fail(err, wait{probe.Dropped, "", start})
		}
	}
	if c.group != nil {
		arrived()
		if over, err := s.meet(c.group); err != nil && !p.finished(err) {
			return s.fail(err, wait{probe.Dropped, "", start})
		} else if over || err != nil {
			s.leave(1000)
			return nil
		}
	}
	closing := time.Now()
	if err := s.close(p.opt.Close); err != nil {
		return s.fail(err, wait{probe.CloseUnanswered, "the answer to our close frame", closing})
	}
	return nil
}

// finished tells whether err is a server that closes in good order after all
// expected messages came.
func (p *Prober) finished(err error) bool {
	var c *closedError
	return len(p.opt.Expect)+len(p.opt.Steps) > 0 && errors.As(err, &c) && (c.code == 1000 || c.code == 1005)
}

func (p *Prober) sendAll(s *session) *probe.Failure {
	for i, m := range p.opt.Send {
		if f := s.sendMessage(m, fmt.Sprintf("our message %d", i+1)); f != nil {
			return f
		}
	}
	return nil
}

func (p *Prober) expectAll(s *session, pong wait, sent time.Time) *probe.Failure {
	for i, e := range p.opt.Expect {
		within := e.Within
		if within == 0 {
			within = rest
		}
		w := wait{probe.NoReply, fmt.Sprintf("expected message %d of %d", i+1, len(p.opt.Expect)), time.Now()}
		s.x.patience(within)
		m, err := s.nextMessage()
		if err != nil {
			if !s.pinged.IsZero() { // the whole connection is dead, not just the application
				w.class, w.what = probe.NoPong, w.what+" and "+pong.what
			}
			return s.fail(err, w)
		}
		if want := e.Match(s.ctx, m.payload); want != "" {
			return s.mismatch(m, want, fmt.Sprintf("message %d", i+1))
		}
	}
	if len(p.opt.Expect) > 0 {
		s.x.conn.Phases.Message = time.Since(sent)
	}
	return nil
}
