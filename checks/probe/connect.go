package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// familyHeadStart is how long the first IP family is alone before the
	// second one is tried too (RFC 8305 §8 recommends 250 ms).
	familyHeadStart = 250 * time.Millisecond
	// familyBudget is how long the other family may take to connect after the
	// first one did. It leaves room for one lost SYN, repeated after 1 s
	// (RFC 6298 §2), so that a single lost packet is no broken family.
	familyBudget = 1500 * time.Millisecond
	// minConnect is the least time that one of several addresses is given.
	minConnect = 2 * time.Second
)

// tried is one address that was tried.
type tried struct {
	ip   netip.Addr
	err  error
	took time.Duration
	cut  bool // ended by us before its time: proves nothing
}

// connect returns a TCP connection to one of addrs.
func (c *Conn) connect(ctx context.Context, t *Target, addrs []netip.Addr) (net.Conn, *Failure) {
	start := time.Now()
	c.tried = c.triedBuf[:0]
	var conn net.Conn
	first, second := families(addrs)
	if len(second) == 0 || isLocalhost(t.name) || c.t.proxy != nil { // a proxy's families are not the target's
		conn, c.tried = c.dialAll(ctx, t, addrs, c.tried, nil)
	} else {
		conn = c.dialBoth(ctx, t, first, second)
	}
	c.Phases.Connect = time.Since(start)
	if conn == nil {
		return nil, c.connectFailure()
	}
	return conn, nil
}

// isLocalhost says whether name is one of RFC 6761 §6.3. It stands for both
// loopback addresses whatever listens there: that is no broken family.
func isLocalhost(name string) bool {
	name = strings.TrimSuffix(name, ".")
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// families splits addrs by IP family, keeping their order.
func families(addrs []netip.Addr) (first, second []netip.Addr) {
	for i, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			continue
		}
		first = append(make([]netip.Addr, 0, len(addrs)), addrs[:i]...)
		for _, b := range addrs[i:] {
			if b.Is4() == addrs[0].Is4() {
				first = append(first, b)
			} else {
				second = append(second, b)
			}
		}
		return first, second
	}
	return addrs, nil
}

// dialAll tries addrs one after the other until one connects, and appends what
// it tried to log. The time that is left is shared out among them, and so is b,
// if it is not nil.
func (c *Conn) dialAll(ctx context.Context, t *Target, addrs []netip.Addr, log []tried, b *budget) (net.Conn, []tried) {
	for i, ip := range addrs {
		address := t.Addr
		if !t.literal.IsValid() {
			address = net.JoinHostPort(ip.String(), t.port)
		}
		start := time.Now()
		conn, err := c.dialOne(ctx, address, len(addrs)-i, b)
		log = append(log, tried{ip: ip, err: err, took: time.Since(start), cut: ctx.Err() != nil})
		if err == nil || ctx.Err() != nil {
			return conn, log
		}
	}
	return nil, log
}

func (c *Conn) dialOne(ctx context.Context, address string, left int, b *budget) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		rest := time.Until(deadline)
		share := max(rest/time.Duration(left), min(minConnect, rest))
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, share)
		defer cancel()
	}
	if b == nil {
		return c.n.dialer.DialContext(ctx, "tcp", address)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(b.over, func() { b.bound(ctx, cancel, left) })() //nolint:contextcheck // over tells of the other family, and ends nothing
	conn, err := c.n.dialer.DialContext(ctx, "tcp", address)
	if err != nil && errors.Is(context.Cause(ctx), os.ErrDeadlineExceeded) {
		err = os.ErrDeadlineExceeded // the dialer says that it was cancelled
	}
	return conn, err
}

// budget is the time that one family has once the other one has connected.
type budget struct {
	over context.Context // done from then on
	end  time.Time       // set before that
}

// bound ends one attempt when its share of the budget is used up: that of the
// first of the addresses that are left.
func (b *budget) bound(ctx context.Context, cancel context.CancelCauseFunc, left int) {
	share := time.NewTimer(time.Until(b.end) / time.Duration(left))
	defer share.Stop()
	select {
	case <-share.C:
		cancel(os.ErrDeadlineExceeded)
	case <-ctx.Done():
	}
}

// otherFamily is the attempt on the IP family that did not win.
type otherFamily struct {
	result chan familyResult // holds one
	cancel context.CancelFunc
	done   bool
}

type familyResult struct {
	conn  net.Conn
	tried []tried
	first bool
}

// dialBoth connects to the first of two families that answers, with a head
// start for the first one. The other is tried too; collect has its result.
func (c *Conn) dialBoth(ctx context.Context, t *Target, first, second []netip.Addr) net.Conn {
	results := make(chan familyResult, 2)
	over, connected := context.WithCancel(context.WithoutCancel(ctx))
	defer connected()
	rest := &budget{over: over}
	race := func(addrs []netip.Addr, isFirst bool) context.CancelFunc {
		ctx, cancel := context.WithCancel(ctx)
		go func() {
			conn, log := c.dialAll(ctx, t, addrs, nil, rest)
			results <- familyResult{conn, log, isFirst}
		}()
		return cancel
	}
	cancelFirst := race(first, true)
	var won familyResult
	timer := time.NewTimer(familyHeadStart)
	defer timer.Stop()
	select {
	case won = <-results:
	case <-timer.C:
	}
	cancelSecond := race(second, false)
	if won.tried == nil {
		won = <-results
	}
	cancelOther, cancelWon := cancelSecond, cancelFirst
	if !won.first {
		cancelOther, cancelWon = cancelWon, cancelOther
	}
	cancelWon()
	c.tried = append(c.tried, won.tried...)
	if won.conn == nil { // the other one decides
		lost := won
		won = <-results
		cancelOther()
		c.tried = append(c.tried, won.tried...)
		if won.conn != nil {
			c.broken = brokenReason(lost.tried)
		}
		return won.conn
	}
	rest.end = time.Now().Add(familyBudget)
	c.other = &otherFamily{result: results, cancel: cancelOther}
	return won.conn
}

// collect waits for the attempt on the other family, which familyBudget bounds.
func (c *Conn) collect() {
	o := c.other
	if o == nil || o.done {
		return
	}
	r := <-o.result
	o.cancel()
	o.done = true
	if r.conn != nil {
		_ = r.conn.Close()
	}
	c.tried = append(c.tried, r.tried...)
	if r.conn == nil {
		c.broken = brokenReason(r.tried)
	}
}

// drop ends the attempt on the other family, whose result nobody wants.
func (o *otherFamily) drop() {
	if o == nil || o.done {
		return
	}
	o.cancel()
	o.done = true
	if r := <-o.result; r.conn != nil {
		_ = r.conn.Close()
	}
}

// brokenReason says why a family is broken at the target; empty if the attempts
// prove nothing about the target, such as when this machine has no IPv6.
func brokenReason(log []tried) string {
	if len(log) == 0 {
		return ""
	}
	for _, a := range log {
		if a.err == nil || a.cut || connectClass(a).Status() == Unknown {
			return ""
		}
	}
	broken, works := "IPv6", "IPv4"
	if log[0].ip.Is4() {
		broken, works = works, broken
	}
	return fmt.Sprintf("%s works and %s does not: %s", works, broken, triedText(log))
}

// connectFailure names a failure on all addresses. The first address decides,
// unless its failure is about us and another one's is not.
func (c *Conn) connectFailure() *Failure {
	class, err := Class(""), error(nil)
	for _, a := range c.tried {
		if k := connectClass(a); class == "" || class.Status() == Unknown && k.Status() != Unknown {
			class, err = k, a.err
		}
	}
	stage, reason := stageOf(class, StageConnect), "connect to "+triedText(c.tried)
	switch class {
	case OwnNetwork:
		reason += ": this machine cannot send there"
	case HandshakeClosed:
		stage = StageHandshake
		reason += ", as soon as it was accepted"
	default:
	}
	return c.Fail(class, stage, reason, err)
}

// connectClass names the failure on one address. Only what is provably local is
// about us: no route, no local port or address, forbidden by the own firewall.
func connectClass(a tried) Class {
	switch err := a.err; {
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return FDLimit
	case isTimeout(err):
		return ConnectTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return ConnectRefused
	case errors.Is(err, syscall.ECONNRESET): // a reset in answer to the SYN is refused: this one came after it was accepted
		return HandshakeClosed
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAFNOSUPPORT),
		errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return OwnNetwork
	case errors.Is(err, syscall.ENETUNREACH) && !routed(a.ip):
		return OwnNetwork
	}
	return ConnectError
}

// routed says whether this machine has a route to ip. A router on the way may
// answer with "network unreachable" as well; connecting a UDP socket sends
// nothing and asks the own routing table alone.
func routed(ip netip.Addr) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 9)))
	if err != nil {
		return !errors.Is(err, syscall.ENETUNREACH)
	}
	_ = conn.Close()
	return true
}

// triedText lists attempts for a reason: 10.0.0.1: connection refused, ...
func triedText(log []tried) string {
	const most = 4
	var parts []string
	for i, a := range log {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(log)-most))
			break
		}
		parts = append(parts, a.ip.String()+": "+a.text())
	}
	return strings.Join(parts, ", ")
}

func (a tried) text() string {
	switch {
	case a.err == nil:
		return "ok"
	case isTimeout(a.err) || a.cut:
		return "no answer in " + short(a.took)
	}
	return cause(a.err)
}
