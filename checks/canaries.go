package checks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// canaryTime is how long a canary may take to answer, and for how long what
// the canaries said is taken for granted.
const canaryTime = time.Second

// outageMemory is for how long an outage of the own network is held against a
// run that began before the canaries were asked again, or two intervals.
const outageMemory = 2 * time.Minute

// Canaries tell failures of a target from failures of this machine's own
// network: they are hosts that do not fail together with the targets, and they
// are asked when a target does not answer. If not one of them answers either,
// the failure says nothing about the target.
//
// One consultation serves all checks that fail within a second, so there is at
// most one a second however many fail.
type Canaries struct {
	list   []canary
	redact *probe.Redactor
	reach  func(context.Context, *probe.Target) *probe.Failure

	mu       sync.Mutex
	newest   *consultation // under way, or the last one
	network  outage
	resolver outage
}

type canary struct {
	target *probe.Target
	named  bool // resolving its name is part of reaching it
}

// NewCanaries compiles canaries: host:port, or URLs, of which host and port
// are used. A TCP connection is all that is wanted of them. The problems have
// paths such as "[1]".
func NewCanaries(n *probe.Network, list []string) (*Canaries, []probe.Problem) {
	c := &Canaries{redact: n.Redactor(), reach: func(ctx context.Context, t *probe.Target) *probe.Failure {
		conn, f := n.Dial(ctx, t)
		if f == nil {
			_ = conn.Close()
		}
		return f
	}}
	var problems []probe.Problem
	for i, raw := range list {
		target, err := canaryTarget(n, raw)
		if err != nil {
			problems = append(problems, probe.Problem{Path: fmt.Sprintf("[%d]", i), Text: err.Error()})
			continue
		}
		_, err = netip.ParseAddr(target.URL.Hostname())
		c.list = append(c.list, canary{target: target, named: err != nil})
	}
	return c, problems
}

// String lists the canaries, as host:port.
func (c *Canaries) String() string {
	addresses := make([]string, len(c.list))
	for i, k := range c.list {
		addresses[i] = k.target.Addr
	}
	return strings.Join(addresses, ", ")
}

func canaryTarget(n *probe.Network, raw string) (*probe.Target, error) {
	address := raw
	if strings.Contains(raw, "://") {
		u, err := probe.ResolveURL(nil, raw, "https", "http", "wss", "ws")
		if err != nil {
			return nil, err
		}
		port := u.Port()
		switch {
		case port != "":
		case u.Scheme == "http", u.Scheme == "ws":
			port = "80"
		default:
			port = "443"
		}
		address = net.JoinHostPort(u.Hostname(), port)
	}
	u, err := probe.ResolveURL(nil, "http://"+address, "http")
	if err != nil || u.Port() == "" || u.Host != address {
		return nil, fmt.Errorf("%q is neither a URL nor host:port, want one such as https://www.gstatic.com/generate_204 or 1.1.1.1:443", n.Redactor().Line(raw))
	}
	target, problems := n.Target(u, probe.Connection{}) // http: a TCP connection without TLS
	if len(problems) > 0 {
		return nil, errors.New(problems[0].Text)
	}
	return target.Ungated(), nil
}

// consultation is one round of asking all canaries.
type consultation struct {
	done    chan struct{} // closed when what follows is there
	ended   time.Time
	reached bool   // a canary answered
	named   bool   // a name was resolved, or there is none among the canaries
	seen    string // of those that did not answer
}

// Ask consults all canaries at once, for at most a second, or returns what they
// said within the last one. The error says what was seen if none answers, or if
// those that answer are all known by address and no name could be resolved.
func (c *Canaries) Ask(ctx context.Context) error {
	switch a := c.ask(ctx); {
	case !a.reached:
		return fmt.Errorf("no canary answers: %s", a.seen)
	case !a.named:
		return fmt.Errorf("no canary's name can be resolved: %s", a.seen)
	}
	return nil
}

func (c *Canaries) ask(ctx context.Context) *consultation {
	c.mu.Lock()
	if a := c.newest; a != nil && (a.ended.IsZero() || time.Since(a.ended) < canaryTime) {
		c.mu.Unlock()
		<-a.done // within a second
		return a
	}
	a := &consultation{done: make(chan struct{})}
	c.newest = a
	c.mu.Unlock()
	c.consult(context.WithoutCancel(ctx), a) // others wait for it as well
	c.mu.Lock()
	a.ended = time.Now()
	c.network.note(!a.reached, a.ended)
	if a.reached { // else it says nothing about the resolver
		c.resolver.note(!a.named, a.ended)
	}
	c.mu.Unlock()
	close(a.done)
	return a
}

// consult fills in what the canaries say to a.
func (c *Canaries) consult(ctx context.Context, a *consultation) {
	ctx, cancel := context.WithTimeout(ctx, canaryTime)
	defer cancel()
	failures := make([]*probe.Failure, len(c.list))
	var asked sync.WaitGroup
	for i := range c.list {
		asked.Go(func() { failures[i] = c.tryReach(ctx, c.list[i].target) })
	}
	asked.Wait()
	a.named = true
	names, resolved := 0, 0
	var seen []string
	for i, f := range failures {
		noName := f != nil && unresolved(f.Class)
		if c.list[i].named {
			names++
			if !noName {
				resolved++
			}
		}
		// A refusal is an answer: a packet came back.
		if f == nil || f.Class == probe.ConnectRefused {
			a.reached = true
			continue
		}
		seen = append(seen, c.list[i].target.Addr+": "+c.redact.Line(f.Reason))
	}
	a.named = names == 0 || resolved > 0
	a.seen = cutText(strings.Join(seen, "; "), 140)
}

// tryReach reaches a canary. A panic is a bug of ours and must not end the program.
func (c *Canaries) tryReach(ctx context.Context, t *probe.Target) (f *probe.Failure) {
	defer func() {
		if p := recover(); p != nil {
			f = &probe.Failure{Class: probe.Panic, Stage: probe.StageMonitor, Reason: panicked(p).Reason}
		}
	}()
	return c.reach(ctx, t)
}

// outage is what the consultations have said of one thing that may fail.
type outage struct {
	last time.Time // when it was last found out of order
	back time.Time // when it was first found in order after that; zero: not yet
}

func (o *outage) note(out bool, at time.Time) {
	switch {
	case out:
		o.last, o.back = at, time.Time{}
	case o.back.IsZero():
		o.back = at
	}
}

// touches tells whether it may have been out of order during a run that began
// at start: whether it was found so since then, or so shortly before, within,
// that nobody has looked again before start.
func (o *outage) touches(start time.Time, within time.Duration) bool {
	return o.last.After(start.Add(-within)) && (o.back.IsZero() || o.back.After(start))
}

// blame returns the class of a failure that this machine's own network is the
// likeliest reason of, and what the canaries said; "" if the failure is about
// the target. The failure is of an attempt that has just ended, in a run that
// began at start.
func (c *Canaries) blame(ctx context.Context, class probe.Class, start time.Time, interval time.Duration) (probe.Class, string) {
	if c == nil || len(c.list) == 0 || !unanswered(class) {
		return "", ""
	}
	a := c.ask(ctx)
	within := max(outageMemory, 2*interval)
	c.mu.Lock()
	defer c.mu.Unlock()
	const before = "a moment ago no canary answered"
	switch {
	case !a.reached:
		return probe.OwnNetwork, "no canary answers (" + a.seen + ")"
	case c.network.touches(start, within):
		return probe.OwnNetwork, before
	case !unresolved(class):
		return "", ""
	case !a.named:
		return probe.OwnResolver, "no canary's name can be resolved (" + a.seen + ")"
	case c.resolver.touches(start, within):
		return probe.OwnResolver, "a moment ago no canary's name could be resolved"
	}
	return "", ""
}

// unresolved tells whether c is a failure to resolve a name.
func unresolved(c probe.Class) bool {
	switch c {
	case probe.DNSNXDomain, probe.DNSNoData, probe.DNSError, probe.DNSTimeout, probe.OwnResolver:
		return true
	}
	return false
}

// unanswered tells whether c is what a target looks like while this machine's
// own network is broken, or breaks in the middle of a run.
func unanswered(c probe.Class) bool {
	switch c {
	case probe.ConnectRefused, probe.ConnectTimeout, probe.ConnectError, probe.TLSHandshake,
		probe.HandshakeTimeout, probe.HandshakeClosed, probe.BodyTimeout, probe.Dropped,
		probe.NoPong, probe.NoReply, probe.CloseUnanswered, probe.FlowMissing:
		return true
	}
	return unresolved(c)
}

// cutText cuts s to at most n bytes.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-3], "") + "..."
}
