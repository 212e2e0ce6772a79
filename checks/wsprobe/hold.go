package wsprobe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// MeasureHeld is the measure of how long the last held connection that ended
// was open, in seconds; FactHoldEnd says what ended it.
const (
	MeasureHeld = "held_seconds"
	FactHoldEnd = "hold_end"
)

// holdOpenTime is how long the handshake of a held connection may take.
const holdOpenTime = 10 * time.Second

// Holder keeps one WebSocket open beside the probes of a Prober. It opens it
// after a good probe, by a handshake of its own, and the next probe tells what
// became of it. No probe ever waits for it. Close ends it.
type Holder struct {
	p     *Prober
	hold  time.Duration
	every time.Duration // between pings; 0: none

	mu      sync.Mutex
	cancel  context.CancelFunc // of the held connection; nil: there is none
	running sync.WaitGroup
	closed  bool
	ended   *probe.Outcome // of the last one, until it is told
	held    time.Duration  // of the last one
	text    string         // what ended it; "": none has ended
	cuts    cutLog
}

// NewHolder returns a Holder that keeps a connection open for hold, with a ping
// every so often; 0 means none, to find out what cuts idle connections.
func NewHolder(p *Prober, hold, every time.Duration) *Holder {
	return &Holder{p: p, hold: hold, every: every}
}

// Probe is that of the Prober. When it is good and the held connection has
// ended badly since the last one, the outcome is that of the held connection.
func (h *Holder) Probe(ctx context.Context) probe.Outcome {
	o := h.p.Probe(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	ended := h.ended
	h.ended = nil
	status := o.Class.Status()
	good := status == probe.Up || status == probe.Degraded
	if good && h.cancel == nil && !h.closed {
		h.start(ctx)
	}
	if good && ended != nil {
		o.Class, o.Stage, o.Reason, o.Evidence, o.Inquiry, o.Latency = ended.Class, ended.Stage, ended.Reason, ended.Evidence, ended.Inquiry, 0
		if o.Tally != nil { // the sessions were good, and the held one is one more
			o.Tally = maps.Clone(o.Tally)
			o.Tally[o.Class]++
		}
	}
	return h.withEnd(o)
}

// Close ends the held connection and waits until it is gone. No other is opened
// after it. It returns nil.
func (h *Holder) Close() error {
	h.mu.Lock()
	h.closed = true
	if h.cancel != nil {
		h.cancel()
	}
	h.mu.Unlock()
	h.running.Wait()
	return nil
}

// start opens a connection that outlives the probe.
func (h *Holder) start(ctx context.Context) {
	ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	trial := h.cuts.trial()
	h.running.Go(func() {
		end := h.keep(ctx, trial)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.cancel()
		h.cancel = nil
		if ctx.Err() != nil && h.closed {
			return
		}
		h.tell(end, trial)
	})
}

// Sit probes once and then holds connections, one after the other, until it is
// known what becomes of them: one that is cut is followed by another, to see
// whether that repeats, and that by one with pings, to see whether they prevent
// it. It takes up to four times the time to hold, or until ctx ends.
func (h *Holder) Sit(ctx context.Context) probe.Outcome {
	o := h.p.Probe(ctx)
	if status := o.Class.Status(); status != probe.Up && status != probe.Degraded {
		return o
	}
	var ended *probe.Outcome
	for range mostCuts {
		trial := h.cuts.trial()
		end := h.keep(ctx, trial)
		h.ended = nil
		h.tell(end, trial)
		if h.ended != nil {
			ended = h.ended
		}
		if ended != nil && trial > 0 && h.cuts.confirmed {
			ended.Reason += " (one with pings outlived it)"
		}
		if !end.cut || trial > 0 || ctx.Err() != nil {
			break
		}
	}
	if ended != nil {
		latency, tally := o.Latency, o.Tally
		o = *ended
		o.Latency, o.Tally = latency, tally
	}
	return h.withEnd(o)
}

// mostCuts is how many connections Sit opens: one to see a cut, one to see it
// again, one with pings.
const mostCuts = 3

// withEnd adds to an outcome how the last held connection ended.
func (h *Holder) withEnd(o probe.Outcome) probe.Outcome {
	if h.text == "" {
		return o
	}
	if o.Measures = maps.Clone(o.Measures); o.Measures == nil {
		o.Measures = map[string]float64{}
	}
	if o.Facts = maps.Clone(o.Facts); o.Facts == nil {
		o.Facts = map[string]string{}
	}
	o.Measures[MeasureHeld], o.Facts[FactHoldEnd] = h.held.Seconds(), h.text
	return o
}

// holdEnd is how a held connection ended.
type holdEnd struct {
	held time.Duration // how long it was open
	idle time.Duration // how long nothing had been sent or received
	text string
	x    *exchange
	f    *probe.Failure // nil: we ended it, or it was never open
	cut  bool           // it ended without a close frame
}

// tell keeps what the next probe has to say about an end.
func (h *Holder) tell(end holdEnd, trial time.Duration) {
	r := h.p.net.Redactor()
	h.held, h.text = end.held, r.Line(end.text)
	if f := end.f; f != nil {
		if end.cut {
			if text := h.cuts.add(end.held, end.idle, trial); text != "" {
				f.Class, f.Stage, f.Reason = probe.IdleCut, probe.StageTime, text
			}
		}
		h.text = string(f.Class) + " after " + brief(end.held)
		f.Reason = "the held connection: " + f.Reason
		end.x.idle = end.idle
		o := f.Outcome(end.x.q.target.String(), r, func() *probe.Evidence { return end.x.evidence(end.x.q, r) })
		p := *h.p
		p.req = end.x.q
		o.Inquiry = p.inquiry(end.x, o, func() []probe.Outcome { return nil })
		h.ended = &o
	} else if trial > 0 && end.held >= 2*trial {
		h.cuts.confirmed = true
	}
}

// keep opens a connection and holds it. If trial is not zero it pings more often
// than connections were cut, for twice that time.
func (h *Holder) keep(ctx context.Context, trial time.Duration) (end holdEnd) {
	defer func() {
		if v := recover(); v != nil { // a bug of ours: it must not take the monitor with it
			end = holdEnd{text: "panic: " + panicText(v)}
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(holdOpenTime, cancel)
	x, f := h.open(ctx)
	if x.conn != nil {
		defer x.conn.Close()
	}
	if !late.Stop() || f != nil {
		text := "it could not be opened in " + holdOpenTime.String()
		if f != nil {
			text = "it could not be opened: " + f.Reason
		}
		return holdEnd{text: text}
	}
	hold, every := h.hold, h.every
	if trial > 0 {
		hold, every = 2*trial, trial/3
	}
	return h.watch(newSession(ctx, h.p.net, x, h.p.opt.MaxMessage), hold, every)
}

// open makes the handshake of the held connection. It must not take a place away
// from the probes.
func (h *Holder) open(ctx context.Context) (x *exchange, f *probe.Failure) {
	p := h.p
	if p.opt.Prepare != nil {
		var err error
		f = p.opt.Credential.Use(ctx, func(t probe.Token) bool {
			p, err = h.p.with(NewVars(1), t)
			return false // a probe was good just now
		})
		if f == nil && err != nil {
			f = unprepared(err)
		}
		if f != nil {
			return &exchange{q: h.p.req}, f
		}
	}
	q := *p.req
	q.target = q.target.Ungated()
	return handshake(ctx, h.p.net, &q)
}

// holding is the watch over one held connection.
type holding struct {
	s      *session
	until  time.Time
	every  time.Duration
	tick   time.Time // when there was something to be done last
	pinged time.Time
	came   uint64 // bytes of frames, at that tick
	slow   bool   // it was inside a frame
}

// next returns when there is something to be done.
func (h *holding) next() time.Time {
	if at := h.tick.Add(h.every); h.every > 0 && at.Before(h.until) {
		return at
	}
	return h.until
}

// mark notes a tick, and sends a ping unless one is outstanding.
func (h *holding) mark(now time.Time) error {
	h.tick, h.came = now, h.s.in.came
	if !h.s.pinged.IsZero() {
		return nil
	}
	h.pinged = now
	return h.s.sendPing()
}

// inside decides on a tick inside a frame whether to read on: if bytes of it came
// since the last one. Its pong has to wait behind it.
func (h *holding) inside(err error) bool {
	now := time.Now()
	if !isTimeout(err) || h.s.ctx.Err() != nil || !now.Before(h.until) || h.s.in.came == h.came {
		return false
	}
	h.slow = true
	if h.mark(now) != nil {
		return false
	}
	h.s.x.patience(time.Until(h.next()))
	return true
}

// watch reads, and pings, until the time is over or the connection ends.
func (h *Holder) watch(s *session, hold, every time.Duration) holdEnd {
	x := s.x
	w := &holding{s: s, until: x.accepted.Add(hold), every: every, tick: x.accepted, pinged: x.accepted}
	s.in.again = w.inside
	for {
		x.patience(time.Until(w.next()))
		_, err := s.read()
		now := time.Now()
		end := holdEnd{held: now.Sub(x.accepted), x: x}
		end.idle = min(now.Sub(x.frames.last), now.Sub(w.pinged), end.held)
		_, half := errors.AsType[*cutError](err)
		_, closed := errors.AsType[*closedError](err)
		switch {
		case err == nil, errors.Is(err, errFlood):
			continue
		case s.ctx.Err() != nil:
			s.leave(1001)
			end.text = "stopped"
			return end
		case isTimeout(err) && !now.Before(w.until):
			s.leave(1000)
			end.text = "closed by us after " + brief(end.held)
			return end
		case isTimeout(err) && (half || !s.pinged.IsZero() && !w.slow):
			end.f = s.fail(err, wait{probe.NoPong, "the pong to a ping", s.pinged})
			s.leave(1000)
			return end
		case isTimeout(err):
			w.slow = false
			if w.mark(now) == nil {
				continue
			}
			s.in.again = nil
			err = s.lastWord(errPingUnsent)
			fallthrough
		default:
			end.f = s.fail(err, wait{probe.Dropped, "", x.accepted})
			end.cut = !closed && end.f.Class == probe.Dropped
			return end
		}
	}
}

var errPingUnsent = errors.New("a ping could not be sent")

// cutLog learns when idle connections are cut. It does no I/O.
type cutLog struct {
	last      time.Duration // how long the last one had been idle
	at        time.Duration // the repeatable time; 0: not known
	confirmed bool          // pings prevent it
	refuted   bool          // pings do not prevent it: connections end at that age
}

// add learns from a cut: the age of the connection and how long it was idle.
// trial is not zero if it was pinged to see if that prevents the cut. It returns
// what to say if it is an idle cut.
func (c *cutLog) add(held, idle, trial time.Duration) (text string) {
	if trial > 0 {
		c.refuted = c.refuted || near(held, trial)
		return ""
	}
	before := c.last
	c.last = idle
	if before == 0 || !near(idle, before) {
		c.at, c.confirmed, c.refuted = 0, false, false
		return ""
	}
	if c.at = (idle + before) / 2; c.refuted {
		return ""
	}
	text = fmt.Sprintf("it was cut without a close frame after %s without traffic, as the one before after %s; a proxy's idle timeout does that: raise it, or ping more often than every %s",
		brief(idle), brief(before), brief(c.at/2))
	if c.confirmed {
		text += " (one with pings outlived it)"
	}
	return text
}

// trial returns the time of the cuts if it is still to be found out whether
// pings prevent them, else 0.
func (c *cutLog) trial() time.Duration {
	if c.confirmed || c.refuted {
		return 0
	}
	return c.at
}

// near tells whether two times are within 10 %, or as near as clocks of busy
// machines allow.
func near(a, b time.Duration) bool {
	const jitter = 20 * time.Millisecond
	return (a - b).Abs() <= max(max(a, b)/10, jitter)
}
