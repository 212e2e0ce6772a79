// Package probe is what every kind of check needs to reach one target once:
// DNS, TCP, TLS, a proxy, one HTTP/1.1 exchange, the words for what went wrong
// (Class, Stage, Failure) and the record of what was seen (Evidence).
//
// A kind of check compiles its settings into a Target once, then calls
// Network.Dial (or Network.Exchange for plain HTTP) for each probe, and makes
// an Outcome of what came back. Every probe resolves and connects afresh: a
// reused connection hides DNS, TCP, TLS and routing faults.
//
// To add a class: add it to class.go, say in Class.Status what it means, and
// let the code that sees the evidence for it return it in a Failure.
package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// NetworkOptions are what all targets of a Network share.
type NetworkOptions struct {
	// UserAgent is sent with every request, such as "Tripline/1.2.3".
	UserAgent string
	// PerHost is how many probes may be under way at once to one host:port
	// for checks that set no per_host; 0 means DefaultPerHost.
	PerHost int
	// Redact removes secrets from everything that is shown; nil means one
	// that knows the secrets of the targets only.
	Redact *Redactor
}

// DefaultPerHost is how many probes may be under way at once to one host:port.
// A schedule spreads probes, so only slow and hanging ones pile up: the limit
// is high enough for a few dozen hanging routes not to hold up the healthy ones
// behind the same gateway, and low enough to be no load for it.
const DefaultPerHost = 32

// Network reaches targets. One Network is shared by all checks of a loaded
// configuration: equal settings share their TLS policy, limits and compiled
// expressions. Files named in settings are read once per Network.
type Network struct {
	redact  *Redactor
	agent   string
	perHost int
	dialer  net.Dialer
	chains  chainCache
	readers sync.Pool // of *bufio.Reader

	mu     sync.Mutex
	shared map[string]any
}

// NewNetwork returns a Network without targets.
func NewNetwork(o NetworkOptions) *Network {
	n := &Network{redact: o.Redact, agent: o.UserAgent, perHost: o.PerHost, shared: map[string]any{}}
	if n.redact == nil {
		n.redact = NewRedactor()
	}
	if n.perHost <= 0 {
		n.perHost = DefaultPerHost
	}
	// Connections are short-lived: keep-alive would be a system call for nothing.
	// Addresses are given one by one, so there is nothing to fall back to.
	n.dialer = net.Dialer{KeepAlive: -1, FallbackDelay: -1}
	n.chains.known = map[chainKey]chainEntry{}
	n.readers.New = func() any { return bufio.NewReaderSize(nil, 4096) }
	return n
}

// Redactor returns the redactor that everything shown must pass through.
func (n *Network) Redactor() *Redactor { return n.redact }

// Shared returns the value that was built first for key, building it if there
// is none: compiled expressions are shared between checks with equal text. A
// key should begin with the kind of value, such as "jq:" or "regexp:". Errors
// are not kept.
func Shared[T any](n *Network, key string, build func() (T, error)) (T, error) {
	n.mu.Lock()
	v, ok := n.shared[key].(T)
	n.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := build()
	if err != nil {
		return v, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if first, ok := n.shared[key].(T); ok {
		return first, nil
	}
	n.shared[key] = v
	return v, nil
}

// gate lets a limited number of probes through to one host:port.
type gate struct {
	*semaphore.Weighted
	limit int
}

// Dial connects to t: it waits for a place among the probes to the same host,
// resolves, connects (directly or through the proxy) and does the TLS
// handshake. ctx bounds all of it and the whole life of the Conn: at its
// deadline, or when it is cancelled, any blocked Read or Write returns.
//
// Waiting for a place is in no phase and in no latency. When it used up the
// time, so that the target never had its chance, the class is Late.
func (n *Network) Dial(ctx context.Context, t *Target) (*Conn, *Failure) {
	c := &Conn{n: n, t: t, ctx: ctx, asked: time.Now()}
	c.began = c.asked
	if t.gate != nil {
		if !t.gate.TryAcquire(1) {
			if err := t.gate.Acquire(ctx, 1); err != nil {
				return nil, c.gateFailure(err)
			}
			c.began = time.Now()
		}
		c.admitted = true
	}
	if f := c.open(ctx); f != nil {
		c.Close()
		return nil, f
	}
	return c, nil
}

func (c *Conn) gateFailure(err error) *Failure {
	wait := time.Since(c.asked).Round(time.Millisecond)
	if errors.Is(err, context.Canceled) {
		return &Failure{Class: Interrupted, Stage: StageMonitor, Reason: fmt.Sprintf("stopped after waiting %s for a place", wait), Err: err}
	}
	return &Failure{Class: Late, Stage: StageMonitor, Err: err, Reason: fmt.Sprintf(
		"%d probes of %s are under way (per_host), none ended within %s", c.t.gate.limit, c.t.Addr, wait)}
}

// open brings c up to the point where a request can be sent.
func (c *Conn) open(ctx context.Context) *Failure {
	via := c.t
	if c.t.proxy != nil {
		via = c.t.proxy
	}
	f := c.reach(ctx, via)
	if c.t.proxy == nil {
		return f
	}
	if f == nil {
		f = c.connectThrough() //nolint:contextcheck // a connection keeps the ctx of its Dial
	}
	if f != nil {
		return f.ofProxy(via)
	}
	c.tls, c.chainEnds, c.certAsked, c.record = nil, time.Time{}, false, nil // those of the proxy
	if c.t.Secure {
		return c.handshake(ctx, c.t)
	}
	return nil
}

// reach resolves and connects to t, with TLS if t wants it.
func (c *Conn) reach(ctx context.Context, t *Target) *Failure {
	var one [1]netip.Addr
	addrs, f := c.resolve(ctx, t, one[:0])
	if f != nil {
		return f
	}
	if t == c.t && len(addrs) > 1 {
		c.found = addrs
	}
	raw, f := c.connect(ctx, t, addrs)
	if f != nil {
		return f
	}
	c.attach(ctx, raw)
	if t.Secure {
		return c.handshake(ctx, t)
	}
	return nil
}
