package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// maxAddresses is how many addresses of each family are tried.
const maxAddresses = 8

// resolve appends the addresses of t to addrs, in the order to try them
// (RFC 6724). Nothing is cached: every probe asks.
func (c *Conn) resolve(ctx context.Context, t *Target, addrs []netip.Addr) ([]netip.Addr, *Failure) {
	if t.literal.IsValid() {
		return append(addrs, t.literal), nil
	}
	network := "ip"
	if t.family != "both" {
		network += t.family
	}
	start := time.Now()
	w := &dnsWatch{resolver: t.resolver, dialer: &c.n.dialer}
	// A Resolver of its own: it merges lookups of one name, and the watch is for one.
	found, err := (&net.Resolver{PreferGo: true, Dial: w.dial}).LookupNetIP(ctx, network, t.name)
	c.Phases.DNS = time.Since(start)
	if err != nil || len(found) == 0 {
		class, reason := w.classify(err, t, short(c.Phases.DNS))
		return nil, c.Fail(class, stageOf(class, StageDNS), reason, err)
	}
	var n4, n6 int
	for _, ip := range found {
		ip = ip.Unmap()
		count := &n4
		if ip.Is6() {
			count = &n6
		}
		if *count++; *count <= maxAddresses && !slices.Contains(addrs, ip) {
			addrs = append(addrs, ip)
		}
	}
	return addrs, nil
}

// stageOf returns the stage of a class that was found at stage s: classes about
// us belong to the monitor.
func stageOf(class Class, s Stage) Stage {
	if class.Status() == Unknown {
		return StageMonitor
	}
	return s
}

// dnsWatch sees what the DNS servers answer, since the errors of package net
// tell neither NXDOMAIN from an empty answer nor which server was asked.
type dnsWatch struct {
	resolver string // asked instead of the system's; "" for those
	dialer   *net.Dialer

	mu      sync.Mutex
	server  string   // last asked
	answers [][]byte // those that hold no address, at most maxAnswers
	err     error    // of the socket, last
}

const maxAnswers = 8

func (w *dnsWatch) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if w.resolver != "" {
		address = w.resolver
	}
	conn, err := w.dialer.DialContext(ctx, network, address)
	w.mu.Lock()
	w.server = address
	w.mu.Unlock()
	if err != nil {
		w.failed(err)
		return nil, err
	}
	// The lookup of package net waits out its own timeout when ctx ends early.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if udp, ok := conn.(*net.UDPConn); ok {
		return &watchedUDP{udp, w, stop}, nil
	}
	return &watchedTCP{conn, w, stop}, nil
}

func (w *dnsWatch) failed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// answered keeps an answer that holds nothing, to be looked into if the lookup fails.
func (w *dnsWatch) answered(b []byte) {
	if len(b) < 12 {
		return // a header (RFC 1035 §4.1.1) has 12 bytes
	}
	if rcode, answers := b[3]&0xF, int(b[6])<<8|int(b[7]); rcode == 0 && answers > 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.answers) < maxAnswers {
		w.answers = append(w.answers, slices.Clone(b[:min(len(b), 512)]))
	}
}

// classify names a failed lookup.
func (w *dnsWatch) classify(err error, t *Target, spent string) (Class, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	server := w.server
	if w.resolver == "" {
		server = "the system's resolver " + server
	}
	if errors.Is(w.err, syscall.EMFILE) || errors.Is(w.err, syscall.ENFILE) {
		return FDLimit, fmt.Sprintf("no file descriptor left to resolve %s", t.name)
	}
	rcode, seen := w.rcode(t.name)
	// An empty answer for one family says nothing while the other is waited for.
	if isTimeout(err) && (!seen || rcode == dnsmessage.RCodeSuccess) {
		return DNSTimeout, fmt.Sprintf("no answer from %s for %s in %s", server, t.name, spent)
	}
	switch {
	case seen && rcode == dnsmessage.RCodeNameError:
		return DNSNXDomain, fmt.Sprintf("the name %s does not exist (NXDOMAIN from %s)", t.name, server)
	case seen && rcode == dnsmessage.RCodeSuccess:
		return DNSNoData, fmt.Sprintf("the name %s has no %s record (empty answer from %s)", t.name, records(t.family), server)
	case seen:
		return DNSError, fmt.Sprintf("%s from %s for %s", rcodeName(rcode), server, t.name)
	case w.err != nil && w.resolver == "":
		return OwnResolver, fmt.Sprintf("%s: %s, so %s could not be resolved", server, cause(w.err), t.name)
	case w.err != nil:
		return DNSError, fmt.Sprintf("%s: %s, so %s could not be resolved", server, cause(w.err), t.name)
	case w.server == "" && err == nil:
		return DNSNoData, fmt.Sprintf("the name %s has no %s address in the hosts file", t.name, records(t.family))
	case w.server == "":
		return DNSNXDomain, fmt.Sprintf("the name %s does not exist (it is in no hosts file and no name for DNS)", t.name)
	}
	return DNSError, fmt.Sprintf("an answer from %s for %s that is none", server, t.name)
}

// rcode returns the response code (RFC 1035 §4.1.1) that decided about name.
// Search domains make several questions of one name: answers to the name itself
// count more. An error of a server counts more than an empty answer, since the
// other family may have been there.
func (w *dnsWatch) rcode(name string) (code dnsmessage.RCode, seen bool) {
	own := false
	for _, b := range w.answers {
		var p dnsmessage.Parser
		h, err := p.Start(b)
		if err != nil {
			continue
		}
		q, err := p.Question()
		if err != nil {
			continue
		}
		exact := strings.EqualFold(strings.TrimSuffix(q.Name.String(), "."), strings.TrimSuffix(name, "."))
		if !seen || exact && !own || exact == own && rank(h.RCode) > rank(code) {
			code = h.RCode
		}
		seen, own = true, own || exact
	}
	return code, seen
}

func rank(c dnsmessage.RCode) int {
	switch c {
	case dnsmessage.RCodeSuccess:
		return 0
	case dnsmessage.RCodeNameError:
		return 2
	}
	return 1
}

func rcodeName(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	}
	return fmt.Sprintf("response code %d", c)
}

func records(family string) string {
	switch family {
	case "4":
		return "A"
	case "6":
		return "AAAA"
	}
	return "A or AAAA"
}

// watchedUDP is a net.PacketConn, by which package net knows that it is UDP.
type watchedUDP struct {
	*net.UDPConn
	watch *dnsWatch
	stop  func() bool
}

func (c *watchedUDP) Read(b []byte) (int, error) {
	n, err := c.UDPConn.Read(b)
	return c.watch.read(b, n, err)
}

func (c *watchedUDP) Close() error {
	c.stop()
	return c.UDPConn.Close()
}

type watchedTCP struct {
	net.Conn
	watch *dnsWatch
	stop  func() bool
}

func (c *watchedTCP) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return c.watch.read(b, n, err)
}

func (c *watchedTCP) Close() error {
	c.stop()
	return c.Conn.Close()
}

func (w *dnsWatch) read(b []byte, n int, err error) (int, error) {
	if err == nil {
		w.answered(b[:n])
	} else if !isTimeout(err) {
		w.failed(err)
	}
	return n, err
}
