package probe

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestDNSFailures(t *testing.T) {
	dns := serveDNS(t, func(name string, kind dnsmessage.Type) *dnsAnswer {
		switch name {
		case "gone.test":
			return &dnsAnswer{rcode: dnsmessage.RCodeNameError}
		case "onlytxt.test", "onlya.test", "halfbroken.test":
			if name == "halfbroken.test" && kind == dnsmessage.TypeAAAA {
				return &dnsAnswer{rcode: dnsmessage.RCodeServerFailure}
			}
			return &dnsAnswer{}
		case "slow6.test":
			if kind == dnsmessage.TypeAAAA {
				return nil
			}
			return &dnsAnswer{}
		case "servfail.test":
			return &dnsAnswer{rcode: dnsmessage.RCodeServerFailure}
		case "refused.test":
			return &dnsAnswer{rcode: dnsmessage.RCodeRefused}
		case "notimp.test":
			return &dnsAnswer{rcode: dnsmessage.RCodeNotImplemented}
		}
		return nil // silence
	})
	dead := closedPort(t)
	tests := []struct {
		name, host, resolver, ip string
		class                    Class
		texts                    string
	}{
		{"nxdomain", "gone.test", dns, "", DNSNXDomain, "gone.test does not exist|NXDOMAIN from " + dns},
		{"nodata", "onlytxt.test", dns, "", DNSNoData, "no A or AAAA record|" + dns},
		{"nodata of one family", "onlya.test", dns, "6", DNSNoData, "no AAAA record"},
		{"one family broken", "halfbroken.test", dns, "", DNSError, "SERVFAIL"},
		{"one family silent", "slow6.test", dns, "", DNSTimeout, "no answer from " + dns},
		{"servfail", "servfail.test", dns, "", DNSError, "SERVFAIL from " + dns + "|servfail.test"},
		{"refused", "refused.test", dns, "", DNSError, "REFUSED from " + dns},
		{"not implemented", "notimp.test", dns, "", DNSError, "NOTIMP"},
		{"silent", "silent.test", dns, "", DNSTimeout, "no answer from " + dns + " for silent.test"},
		{"dead resolver that was configured", "x.test", dead, "", DNSError, dead + ": connection refused"},
		{"no name", "a..b", dns, "", DNSNXDomain, "does not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := testNetwork()
			tg := target(t, n, "http://"+tt.host+"/", Connection{Resolver: tt.resolver, IP: tt.ip})
			_, _, f := get(t, n, tg, 500*time.Millisecond)
			wantFailure(t, f, tt.class, StageDNS, strings.Split(tt.texts, "|")...)
			if f != nil && f.Phases.DNS == 0 {
				t.Error("no DNS phase")
			}
		})
	}
}

func TestOwnResolverIsUnknown(t *testing.T) {
	// The system's resolver cannot be swapped in a test: what tells it apart is
	// that no resolver is configured.
	w := &dnsWatch{server: "127.0.0.53:53", err: &net.OpError{Op: "read", Err: errRefused()}}
	class, reason := w.classify(&net.DNSError{Err: "connection refused"}, &Target{name: "x.test"}, "1ms")
	if class != OwnResolver || !strings.Contains(reason, "system's resolver 127.0.0.53:53: connection refused") {
		t.Errorf("%s: %s", class, reason)
	}
	w.resolver = "127.0.0.53:53"
	if class, _ := w.classify(&net.DNSError{Err: "connection refused"}, &Target{name: "x.test"}, "1ms"); class != DNSError {
		t.Errorf("configured resolver: %s", class)
	}
}

func TestDNSStopsWhenCancelled(t *testing.T) {
	asked := make(chan struct{}, 16)
	dns := serveDNS(t, func(string, dnsmessage.Type) *dnsAnswer {
		asked <- struct{}{}
		return nil
	})
	n := testNetwork()
	tg := target(t, n, "http://silent.test/", Connection{Resolver: dns})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		<-asked
		cancel()
	}()
	_, f := n.Dial(ctx, tg)
	wantFailure(t, f, Interrupted, StageMonitor, "stopped in the middle")
}

func TestEveryProbeResolves(t *testing.T) {
	asked := make(chan string, 16)
	dns := serveDNS(t, func(name string, kind dnsmessage.Type) *dnsAnswer {
		asked <- name
		return &dnsAnswer{addrs: parseAddrs("127.0.0.1")}
	})
	addr := serve(t, answer(okAnswer))
	n := testNetwork()
	tg := target(t, n, "http://app.test:"+port(addr)+"/", Connection{Resolver: dns, IP: "4"})
	for range 3 {
		if body, resp, f := get(t, n, tg, 5*time.Second); f != nil || body != "ok" || resp.Conn.Phases.DNS <= 0 {
			t.Fatalf("%q, %+v", body, f)
		}
	}
	if len(asked) != 3 {
		t.Errorf("%d questions, want 3", len(asked))
	}
}
