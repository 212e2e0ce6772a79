package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func errRefused() error { return os.NewSyscallError("connect", syscall.ECONNREFUSED) }

func parseAddrs(list ...string) (addrs []netip.Addr) {
	for _, s := range list {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	return addrs
}

func TestConnectRefused(t *testing.T) {
	n := testNetwork()
	_, _, f := get(t, n, target(t, n, "http://"+closedPort(t)+"/", Connection{}), 5*time.Second)
	wantFailure(t, f, ConnectRefused, StageConnect, "connect to 127.0.0.1: connection refused")
	if len(f.Addresses) != 1 || f.Addresses[0].IP != "127.0.0.1" || f.Addresses[0].Err != "connection refused" {
		t.Errorf("addresses %+v", f.Addresses)
	}
}

// fullQueue returns the address of a listener whose accept queue is full: it
// drops SYNs.
func fullQueue(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*syscall.SockaddrInet4).Port)).String()
	for range 4 {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		cancel()
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("this kernel's accept queue has no end")
	return ""
}

func TestConnectTimeout(t *testing.T) {
	addr := fullQueue(t)
	n := testNetwork()
	_, _, f := get(t, n, target(t, n, "http://"+addr+"/", Connection{}), 300*time.Millisecond)
	wantFailure(t, f, ConnectTimeout, StageConnect, "connect to 127.0.0.1: no answer in ")
}

func TestConnectCancelled(t *testing.T) {
	addr := fullQueue(t)
	n := testNetwork()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	time.AfterFunc(50*time.Millisecond, cancel)
	_, f := n.Dial(ctx, target(t, n, "http://"+addr+"/", Connection{}))
	wantFailure(t, f, Interrupted, StageMonitor)
}

func TestFailedAddressFallsThrough(t *testing.T) {
	addr := serve(t, answer(okAnswer))
	dns := names4and6(t, map[string][]string{"app.test": {"127.0.0.2", "127.0.0.3", "127.0.0.1"}})
	n := testNetwork()
	_, resp, f := get(t, n, target(t, n, "http://app.test:"+port(addr)+"/", Connection{Resolver: dns}), 5*time.Second)
	if f != nil {
		t.Fatal(f.Reason)
	}
	var got []string
	for _, a := range resp.Conn.Addresses() {
		got = append(got, a.IP+" "+a.Err)
	}
	// The order among them is the resolver's (RFC 6724).
	if len(got) == 0 || got[len(got)-1] != "127.0.0.1 " {
		t.Errorf("tried %q", got)
	}
	if b := resp.Conn.FamilyBroken(); b != "" {
		t.Errorf("broken: %s", b)
	}
}

func TestAllAddressesFail(t *testing.T) {
	addr := closedPort(t)
	dns := names4and6(t, map[string][]string{"app.test": {"127.0.0.2", "127.0.0.1", "::1"}})
	n := testNetwork()
	_, _, f := get(t, n, target(t, n, "http://app.test:"+port(addr)+"/", Connection{Resolver: dns}), 5*time.Second)
	wantFailure(t, f, ConnectRefused, StageConnect, "127.0.0.1: connection refused", "127.0.0.2: connection refused", "::1: ")
	if len(f.Addresses) != 3 {
		t.Errorf("addresses %+v", f.Addresses)
	}
}

// A server that accepts and resets at once may have done so before connect(2) returns.
func TestResetWhileConnecting(t *testing.T) {
	n := testNetwork()
	c := &Conn{ctx: t.Context(), t: target(t, n, "http://127.0.0.1:1/", Connection{}), tried: []tried{{ip: netip.MustParseAddr("127.0.0.1"), err: os.NewSyscallError("connect", syscall.ECONNRESET)}}}
	wantFailure(t, c.connectFailure(), HandshakeClosed, StageHandshake, "connect to 127.0.0.1: connection reset by peer, as soon as it was accepted")
}

func TestFamilyBroken(t *testing.T) {
	probe := func(t *testing.T, listen, ip string) (*Response, *Failure, string) {
		t.Helper()
		addr := serveOn(t, listen, answer(okAnswer))
		dns := names4and6(t, map[string][]string{"dual.test": {"::1", "127.0.0.1"}})
		n := testNetwork()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		tg := target(t, n, "http://dual.test:"+port(addr)+"/", Connection{Resolver: dns, IP: ip})
		fields, _ := n.Fields(tg, nil, nil)
		resp, f := n.Exchange(ctx, NewRequest(tg, "GET", fields, nil))
		if f != nil {
			return nil, f, ""
		}
		defer resp.Close()
		return resp, nil, resp.Conn.FamilyBroken()
	}
	t.Run("v6 refused", func(t *testing.T) {
		_, f, broken := probe(t, "127.0.0.1:0", "")
		if f != nil || !strings.Contains(broken, "IPv4 works and IPv6 does not: ::1: connection refused") {
			t.Errorf("%+v, %q", f, broken)
		}
	})
	t.Run("v4 refused", func(t *testing.T) {
		resp, f, broken := probe(t, "[::1]:0", "")
		if f != nil || !strings.Contains(broken, "IPv6 works and IPv4 does not: 127.0.0.1: connection refused") {
			t.Fatalf("%+v, %q", f, broken)
		}
		if a := resp.Conn.Addresses(); len(a) != 2 {
			t.Errorf("addresses %+v", a)
		}
	})
	t.Run("both work", func(t *testing.T) {
		_, f, broken := probe(t, "[::]:0", "")
		if f != nil || broken != "" {
			t.Errorf("%+v, %q", f, broken)
		}
	})
	t.Run("only the other wanted", func(t *testing.T) {
		_, f, _ := probe(t, "[::1]:0", "4")
		wantFailure(t, f, ConnectRefused, StageConnect)
	})
	t.Run("only one wanted", func(t *testing.T) {
		_, f, broken := probe(t, "[::1]:0", "6")
		if f != nil || broken != "" {
			t.Errorf("%+v, %q", f, broken)
		}
	})
}

// dialFamilies connects to a port with these addresses, which have names for dual.test.
func dialFamilies(t *testing.T, port string, first, second []netip.Addr) *Conn {
	t.Helper()
	n := testNetwork()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := &Conn{n: n, ctx: ctx, t: target(t, n, "http://dual.test:"+port+"/", Connection{})}
	conn := c.dialBoth(ctx, c.t, first, second)
	if conn == nil {
		t.Fatal(triedText(c.tried))
	}
	t.Cleanup(func() { _ = conn.Close() })
	return c
}

// A family that does not answer is told as that, and all its addresses have
// their share of the time.
func TestSilentFamily(t *testing.T) {
	t.Parallel()
	addr := fullQueue(t)
	serveOn(t, "[::1]:"+port(addr), answer(okAnswer))
	v6, silent := parseAddrs("::1"), netip.MustParseAddr("127.0.0.1")
	for _, second := range [][]netip.Addr{{silent}, {silent, silent}} {
		c := dialFamilies(t, port(addr), v6, second)
		if got := c.FamilyBroken(); !strings.HasPrefix(got, "IPv6 works and IPv4 does not: 127.0.0.1: no answer in ") {
			t.Errorf("%d addresses: %q", len(second), got)
		}
		all := c.Addresses()
		if len(all) != 1+len(second) || !strings.HasPrefix(all[len(all)-1].Err, "no answer in ") {
			t.Errorf("%d addresses: %+v", len(second), all)
		}
	}
}

// One silent address of two is no broken family.
func TestHalfSilentFamily(t *testing.T) {
	t.Parallel()
	addr := fullQueue(t)
	serveOn(t, "127.0.0.2:"+port(addr), answer(okAnswer))
	n := testNetwork()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := &Conn{n: n, ctx: ctx, t: target(t, n, "http://dual.test:"+port(addr)+"/", Connection{})}
	over, won := context.WithCancel(ctx)
	won()
	conn, log := c.dialAll(ctx, c.t, parseAddrs("127.0.0.1", "127.0.0.2"), nil, &budget{over: over, end: time.Now().Add(8 * time.Second)})
	if conn == nil {
		t.Fatal(triedText(log))
	}
	_ = conn.Close()
	if len(log) != 2 || !isTimeout(log[0].err) || log[1].err != nil || log[0].took > 30*time.Second {
		t.Errorf("%+v", log)
	}
}

func TestLocalhostIsNoBrokenFamily(t *testing.T) {
	addr := serve(t, answer(okAnswer))
	n := testNetwork()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, f := n.Dial(ctx, target(t, n, "http://localhost:"+port(addr)+"/", Connection{}))
	if f != nil {
		t.Fatal(f.Reason)
	}
	defer c.Close()
	if b := c.FamilyBroken(); b != "" || c.other != nil {
		t.Errorf("broken: %q", b)
	}
}

func TestBrokenFamilyNeedsProof(t *testing.T) {
	v6, v4 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	timeout := os.ErrDeadlineExceeded
	tests := []struct {
		name string
		log  []tried
		want string
	}{
		{"refused", []tried{{ip: v6, err: errRefused()}}, "IPv4 works and IPv6 does not: 2001:db8::1: connection refused"},
		{"silent", []tried{{ip: v4, err: timeout, took: familyBudget}}, "IPv6 works and IPv4 does not: 192.0.2.1: no answer in 1.5s"},
		{"cut short by us", []tried{{ip: v6, err: timeout, cut: true}}, ""},
		{"no IPv6 here", []tried{{ip: v6, err: syscall.EAFNOSUPPORT}}, ""},
		{"no descriptor here", []tried{{ip: v6, err: syscall.EMFILE}}, ""},
		{"second address works", []tried{{ip: v6, err: errRefused()}, {ip: v6}}, ""},
	}
	for _, tt := range tests {
		if got := brokenReason(tt.log); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestFamilies(t *testing.T) {
	tests := []struct{ in, first, second []netip.Addr }{
		{parseAddrs("10.0.0.1"), parseAddrs("10.0.0.1"), nil},
		{parseAddrs("10.0.0.1", "10.0.0.2"), parseAddrs("10.0.0.1", "10.0.0.2"), nil},
		{parseAddrs("::1", "10.0.0.1", "::2", "10.0.0.2"), parseAddrs("::1", "::2"), parseAddrs("10.0.0.1", "10.0.0.2")},
	}
	equal := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	for _, tt := range tests {
		first, second := families(tt.in)
		if d := cmp.Diff(tt.first, first, equal) + cmp.Diff(tt.second, second, equal); d != "" {
			t.Errorf("%v: %s", tt.in, d)
		}
	}
}

// TestNoRouteIsUnknown runs itself again as a child without a network.
func TestNoRouteIsUnknown(t *testing.T) {
	const inside = "TRIPLINE_TEST_NO_NETWORK"
	if os.Getenv(inside) != "" {
		n := testNetwork()
		_, _, f := get(t, n, target(t, n, "http://192.0.2.1/", Connection{}), 5*time.Second)
		wantFailure(t, f, OwnNetwork, StageMonitor, "192.0.2.1: network is unreachable", "this machine cannot send there")
		_, _, f = get(t, n, target(t, n, "http://x.test/", Connection{}), 5*time.Second)
		wantFailure(t, f, OwnResolver, StageMonitor, "the system's resolver", "network is unreachable", "x.test could not be resolved")
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoRouteIsUnknown$", "-test.v")
	child.Env = append(os.Environ(), inside+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
	}
	out, err := child.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("namespaces are not allowed here: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNoDescriptorIsUnknown(t *testing.T) {
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	addr := serve(t, silent)
	n := testNetwork()
	tg := target(t, n, "http://"+addr+"/", Connection{})
	byName := target(t, n, "http://x.test/", Connection{Resolver: addr})
	low := was
	low.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, f := n.Dial(ctx, tg)
	_, g := n.Dial(ctx, byName)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	wantFailure(t, f, FDLimit, StageMonitor, "too many open files")
	wantFailure(t, g, FDLimit, StageMonitor, "no file descriptor left")
}

func TestPerHostLimit(t *testing.T) {
	arrived := make(chan struct{}, 8)
	addr := serve(t, func(c net.Conn) {
		arrived <- struct{}{}
		silent(c)
	})
	n := testNetwork()
	tg := target(t, n, "http://"+addr+"/", Connection{PerHost: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	held, f := n.Dial(ctx, tg)
	if f != nil {
		t.Fatal(f.Reason)
	}
	<-arrived
	short, cancelShort := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancelShort()
	_, f = n.Dial(short, tg)
	wantFailure(t, f, Late, StageMonitor, "1 probes of "+addr+" are under way")

	stopped, stop := context.WithCancel(ctx)
	time.AfterFunc(20*time.Millisecond, stop)
	_, f = n.Dial(stopped, tg)
	wantFailure(t, f, Interrupted, StageMonitor)

	// A place that came late: the wait is in no phase, and what then ends by
	// the time being up is about us.
	time.AfterFunc(300*time.Millisecond, func() { _ = held.Close() })
	late, cancelLate := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancelLate()
	c, f := n.Dial(late, tg)
	if f != nil {
		t.Fatal(f.Reason)
	}
	defer c.Close()
	if c.Phases.Connect > 150*time.Millisecond || c.Began().Sub(c.asked) < 150*time.Millisecond {
		t.Errorf("connect %s, waited %s", c.Phases.Connect, c.Began().Sub(c.asked))
	}
	if f := c.Send([]byte("GET / HTTP/1.1\r\n\r\n")); f != nil {
		t.Fatal(f.Reason)
	}
	_, f = c.ReadHead("GET") //nolint:bodyclose // the connection is closed
	wantFailure(t, f, Late, StageMonitor, "waited", "no answer")
	_ = c.Close()
	_ = c.Close() // frees one place only
	d, f := n.Dial(ctx, tg)
	if f != nil {
		t.Fatal(f.Reason)
	}
	_ = d.Close()
}
