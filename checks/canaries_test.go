package checks

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// fakeNetwork is a network that canaries are reached through.
type fakeNetwork struct {
	asked atomic.Int64

	mu    sync.Mutex
	cut   bool // nothing comes through
	names bool // names can be resolved
}

func (f *fakeNetwork) set(cut, names bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cut, f.names = cut, names
}

func (f *fakeNetwork) reach(ctx context.Context, t *probe.Target) *probe.Failure {
	f.asked.Add(1)
	f.mu.Lock()
	cut, names := f.cut, f.names
	f.mu.Unlock()
	switch named := net.ParseIP(t.URL.Hostname()) == nil; {
	case named && !names:
		return &probe.Failure{Class: probe.DNSError, Stage: probe.StageDNS, Reason: "SERVFAIL for " + t.URL.Hostname()}
	case cut:
		<-ctx.Done()
		return &probe.Failure{Class: probe.ConnectTimeout, Stage: probe.StageConnect, Reason: "no answer in 1s"}
	}
	return nil
}

func newTestCanaries(t *testing.T, list ...string) (*Canaries, *fakeNetwork) {
	t.Helper()
	c, problems := NewCanaries(probe.NewNetwork(probe.NetworkOptions{}), list)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	f := &fakeNetwork{names: true}
	c.reach = f.reach
	return c, f
}

const (
	canaryName    = "https://canary.example/"
	canaryAddress = "192.0.2.1:443"
)

func TestCanaries(t *testing.T) {
	both := []string{canaryName, canaryAddress}
	tests := []struct {
		name       string
		list       []string
		cut, names bool
		class      probe.Class // of the target
		want       probe.Class
	}{
		{"all answer", both, false, true, probe.ConnectRefused, probe.ConnectRefused},
		{"one answers", both, false, false, probe.ConnectTimeout, probe.ConnectTimeout},
		{"none answers", both, true, true, probe.ConnectRefused, probe.OwnNetwork},
		{"nor does DNS", both, true, false, probe.DNSTimeout, probe.OwnNetwork},
		{"cut in the middle of an answer", both, true, true, probe.BodyTimeout, probe.OwnNetwork},
		{"a session that is cut", both, true, true, probe.NoPong, probe.OwnNetwork},
		{"no resolver", both, false, false, probe.DNSError, probe.OwnResolver},
		{"a name that does not exist", both, false, true, probe.DNSNXDomain, probe.DNSNXDomain},
		{"a name, and no canary has one", []string{canaryAddress}, false, false, probe.DNSError, probe.DNSError},
		{"no canaries", nil, true, false, probe.ConnectTimeout, probe.ConnectTimeout},
		{"the target answered", both, true, false, probe.NotFound, probe.NotFound},
		{"its certificate has expired", both, true, false, probe.TLSExpired, probe.TLSExpired},
	}
	for _, tt := range tests {
		for _, confirm := range []int{0, 2} {
			t.Run(fmt.Sprintf("%s, confirm %d", tt.name, confirm), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					canaries, f := newTestCanaries(t, tt.list...)
					f.set(tt.cut, tt.names)
					p := &script{classes: []probe.Class{tt.class}}
					c := Check{Name: "c", Prober: p, Schedule: minutely{}, Timeout: time.Second, Confirm: confirm, Canaries: canaries}
					r, evidence := Run(t.Context(), c, time.Now())
					if r.Class != tt.want || r.Status != tt.want.Status() {
						t.Fatalf("got %s %s (%s), want %s", r.Status, r.Class, r.Reason, tt.want)
					}
					if r.Status != probe.Unknown {
						if p.made != 1+confirm {
							t.Errorf("%d attempts, want %d", p.made, 1+confirm)
						}
						return
					}
					if p.made != 1 || evidence != nil || r.Stage != probe.StageMonitor || r.Tally != nil {
						t.Errorf("%d attempts, stage %s, want 1 and a result about the monitor", p.made, r.Stage)
					}
					for _, want := range []string{"no canary", "says nothing about the target: " + string(tt.class)} {
						if !strings.Contains(r.Reason, want) || len(r.Reason) > probe.MaxReason {
							t.Errorf("reason %q, want %q in it", r.Reason, want)
						}
					}
				})
			})
		}
	}
}

// TestCanariesAreAskedOnce: however many checks fail within a second.
func TestCanariesAreAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		canaries, f := newTestCanaries(t, canaryName, canaryAddress)
		var unknown atomic.Int64
		fail := func() {
			var all sync.WaitGroup
			for range 10_000 {
				all.Go(func() {
					c := Check{Name: "c", Prober: &script{classes: []probe.Class{probe.ConnectRefused}}, Schedule: minutely{}, Timeout: time.Second, Canaries: canaries}
					if r, _ := Run(t.Context(), c, time.Now()); r.Status == probe.Unknown {
						unknown.Add(1)
					}
				})
			}
			all.Wait()
		}
		fail()
		<-time.After(500 * time.Millisecond)
		fail()
		if n := f.asked.Load(); n != 2 || unknown.Load() != 0 {
			t.Errorf("%d canaries asked, %d results unknown; want each of 2 once, and 0", n, unknown.Load())
		}
		<-time.After(time.Second)
		f.set(true, true)
		start := time.Now()
		fail()
		if n := f.asked.Load(); n != 4 || unknown.Load() != 10_000 || time.Since(start) != canaryTime {
			t.Errorf("%d canaries asked, %d results unknown after %s; want each of 2 twice, and 10000 after 1s", n, unknown.Load(), time.Since(start))
		}
	})
}

// TestCanariesAtTheEdge: a run that began while the network was cut, and ended
// after that, is no verdict; the next one is.
func TestCanariesAtTheEdge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		canaries, f := newTestCanaries(t, canaryName, canaryAddress)
		<-time.After(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
		run := func(takes, cut time.Duration) Result {
			c := Check{
				Name: "c", Schedule: minutely{}, Timeout: 20 * time.Second, Canaries: canaries,
				Prober: &script{classes: []probe.Class{probe.ConnectRefused}, takes: takes},
			}
			f.set(cut > 0, true)
			timer := time.AfterFunc(cut, func() { f.set(false, true) })
			defer timer.Stop()
			slot := time.Now()
			r, _ := Run(t.Context(), c, slot)
			<-time.After(time.Until(slot.Add(time.Minute)))
			return r
		}
		for i, step := range []struct {
			takes, cut time.Duration
			want       probe.Class
		}{
			{time.Second, 0, probe.ConnectRefused},
			{time.Second, 30 * time.Second, probe.OwnNetwork},
			{10 * time.Second, 9 * time.Second, probe.OwnNetwork},
			{time.Second, 0, probe.ConnectRefused},
		} {
			if r := run(step.takes, step.cut); r.Class != step.want {
				t.Errorf("run %d: got %s (%s), want %s", i, r.Class, r.Reason, step.want)
			}
		}
	})
}

// TestCanariesConnect asks real sockets.
func TestCanariesConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refuses := closed.Addr().String()
	_ = closed.Close()
	for _, address := range []string{l.Addr().String(), refuses} {
		c, problems := NewCanaries(probe.NewNetwork(probe.NetworkOptions{}), []string{"http://" + address + "/x?key=secret"})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if a := c.ask(t.Context()); !a.reached || !a.named {
			t.Errorf("%s: got %+v, want an answer", address, a)
		}
		if c.String() != address {
			t.Errorf("shown as %q, want %q", c.String(), address)
		}
	}
}
