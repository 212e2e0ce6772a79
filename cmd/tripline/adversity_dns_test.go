package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// silentResolver is the address of a DNS server that takes questions, by UDP
// and TCP, and never answers.
func silentResolver(t *testing.T) string {
	t.Helper()
	tcp, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	udp, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", tcp.Addr().String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return silentResolver(t)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = udp.Close() })
	go func() {
		for buf := make([]byte, 1<<10); err == nil; {
			_, _, err = udp.ReadFrom(buf)
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	return udp.LocalAddr().String()
}

// TestAdversityDNS has the resolver of 20 checks never answer: those time out
// as dns_timeout and pile up nowhere, and the other 40 do not notice.
func TestAdversityDNS(t *testing.T) {
	t.Parallel()
	const n, lost = 40, 20
	resolver := silentResolver(t)
	f, listen := newFleet(t, 10), freePort(t)
	var b strings.Builder
	for i := range lost {
		fmt.Fprintf(&b, "  - {name: lost%d, route: {url: \"http://host%d.example/\", resolver: %q}}\n", i, i, resolver)
	}
	p, dir := launch(t, f.config(listen, n, 900*time.Millisecond, b.String()))
	waitFor(t, time.Minute, "three runs", func() bool { return f.least(n) >= 3 })
	before := measure(t, listen)
	seen := f.least(n)
	<-time.After(*adversityTime)
	waitFor(t, time.Minute, "three more runs", func() bool { return f.least(n) >= seen+3 })
	p.alive()
	f.wantKept(t, n, every)
	wantBack(t, listen, before, 2*n, 64) // how many runs are under way at a moment is chance
	p.stop()
	classes := map[probe.Class]int{}
	for _, e := range readLog(t, dir) {
		if r := e.Result; r != nil && strings.HasPrefix(r.Check, "lost") && r.Class != probe.Interrupted {
			classes[r.Class]++
		}
	}
	t.Logf("classes: %v", classes)
	for class, count := range classes {
		if class != probe.DNSTimeout && class != probe.Late {
			t.Errorf("%d results of class %s, want %s", count, class, probe.DNSTimeout)
		}
	}
	if classes[probe.DNSTimeout] < lost {
		t.Errorf("%d results of class %s, want one of each check at least", classes[probe.DNSTimeout], probe.DNSTimeout)
	}
}
