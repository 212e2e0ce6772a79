package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// TestOwnNetwork cuts the monitor's own network and mends it: that is one
// incident about the monitor, and nothing else, and it ends by itself. It costs
// nothing of an error budget.
//
// The monitor is in a network namespace of its own, the targets and the canary
// are in another one, at the other end of a cable.
func TestOwnNetwork(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: network namespaces need root; .ci/run makes them")
	}
	for _, c := range []struct {
		name string
		end  int // of the cable, that is taken down
	}{
		{"the machine's own link", 0}, // no route: the probe itself knows
		{"farther away", 1},           // nothing answers: only canaries tell
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ends := newCable(t)
			address, hits := ends[1].serve(t)
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, "config.yaml"), ownNetworkConfig(address))
			p := ends[0].start(t, dir, "run")

			waitFor(t, 60*time.Second, "good results", func() bool { return hits.Load() >= 4 })
			if strings.Contains(p.out.String(), "no canary answers") {
				t.Fatal("the canary does not answer at the start")
			}
			before := ends[0].budget(t, p)
			ends[c.end].ip(t, "link", "set", "cable", "down")
			waitFor(t, 60*time.Second, "the incident", func() bool { return strings.Contains(p.out.String(), "PAGE opened") })
			ends[c.end].ip(t, "link", "set", "cable", "up")
			waitFor(t, 60*time.Second, "the end of the incident", func() bool { return strings.Contains(p.out.String(), "RESOLVED monitor") })
			p.wantStopped()
			out := p.out.String()
			p = ends[0].start(t, dir, "run") // budgets are drawn up each full minute, and at the start
			after := ends[0].budget(t, p)
			p.stop()
			if before.Bad != 0 || before.Remaining != 1 || after.Bad != 0 || after.Remaining != 1 {
				t.Errorf("the error budget was %+v before the cut and %+v after it, want nothing bad and all of it left", before, after)
			}

			told := 0
			for line := range strings.Lines(out) {
				if strings.Contains(line, " PAGE ") || strings.Contains(line, " TICKET ") || strings.Contains(line, " RESOLVED ") {
					if told++; !strings.Contains(line, " monitor") {
						t.Errorf("told %q, want nothing but the incident of the monitor", line)
					}
				}
			}
			if told != 2 {
				t.Errorf("%d lines about incidents, want it opened and resolved", told)
			}
			classes := map[probe.Class]int{}
			for _, e := range readLog(t, dir) {
				if r := e.Result; r != nil {
					classes[r.Class]++
					if r.Status == probe.Down || r.Status == probe.Degraded {
						t.Errorf("%s at %s: %s %s (%s), want nothing but up and unknown", r.Check, r.Slot, r.Status, r.Class, r.Reason)
					}
				}
			}
			t.Logf("results: %v", classes)
			if classes[probe.OwnNetwork] < 2 {
				t.Errorf("results by class: %v, want some of own_network", classes)
			}
		})
	}
}

func ownNetworkConfig(address string) string {
	return fmt.Sprintf(`version: 1
data: {dir: data}
http: {listen: "127.0.0.1:0"}
canaries: ["http://%[1]s/"]
defaults: {base_url: "http://%[1]s", every: 4s, timeout: 2s, confirm: 0}
checks:
  - {name: a, route: {url: /a}}
  - {name: b, route: {url: /b}, timeout: 1s, confirm: 1}
rules:
  - {name: down, severity: page, down: {}}
  - {name: uptime, severity: page, rate: {of: down, over: 1h, above: 0%%}}
  - {name: connection-failures, rate: {of: connection_failure, over: 1h, above: 0%%}}
  - {name: objective, by: all, slo: {objective: 99%%, window: 7d, budgeting: events}}
  - {name: blind, severity: page, recover_after: 2, unknown: {over: 1m, above: 5%%, min_results: 2}}
notify:
  - {name: console, log: {utc: true}}
`, address)
}

// end is one end of a cable: a network namespace in which the interface
// "cable" has an address.
type end struct{ namespace, address string }

func newCable(t *testing.T) (ends [2]end) {
	t.Helper()
	id := fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)
	for i := range ends {
		ends[i] = end{fmt.Sprintf("tripline-%s-%d", id, i), fmt.Sprintf("10.213.0.%d", i+1)}
		if out, err := exec.Command("ip", "netns", "add", ends[i].namespace).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED: no network namespaces here: ip netns add: %v: %s", err, out)
		}
		t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ends[i].namespace).Run() })
	}
	ends[0].ip(t, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", ends[1].namespace)
	for _, e := range ends {
		e.ip(t, "addr", "add", e.address+"/24", "dev", "cable")
		e.ip(t, "link", "set", "lo", "up")
		e.ip(t, "link", "set", "cable", "up")
	}
	return ends
}

// ip runs the command of that name in the namespace.
func (e end) ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", append([]string{"-n", e.namespace}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// serve answers HTTP in the namespace.
func (e end) serve(t *testing.T) (address string, hits *atomic.Int64) {
	t.Helper()
	var l net.Listener
	e.within(t, func() (err error) {
		l, err = net.Listen("tcp", e.address+":0")
		return err
	})
	hits = &atomic.Int64{}
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) })}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String(), hits
}

// start runs tripline in the namespace.
func (e end) start(t *testing.T, dir string, args ...string) (p *process) {
	t.Helper()
	e.within(t, func() error {
		p = start(t, dir, nil, args...) // a process is born into the namespace of its thread
		return nil
	})
	return p
}

// budget returns the error budget that the monitor in the namespace answers.
func (e end) budget(t *testing.T, p *process) (b alerting.Budget) {
	t.Helper()
	page := regexp.MustCompile(`page on (http://\S+)/`)
	client := &http.Client{Timeout: patience / 2, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(_ context.Context, network, addr string) (c net.Conn, err error) {
			return c, e.run(func() error {
				c, err = net.Dial(network, addr)
				return err
			})
		},
	}}
	waitFor(t, patience, "the error budget", func() bool {
		m := page.FindStringSubmatch(p.out.String())
		if m == nil {
			return false
		}
		res, err := client.Get(m[1] + "/api/budgets")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		var answer struct{ Budgets []alerting.Budget }
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || len(answer.Budgets) != 1 {
			return false
		}
		b = answer.Budgets[0]
		return true
	})
	return b
}

// within runs f in the namespace, and ends the test if it cannot.
func (e end) within(t *testing.T, f func() error) {
	t.Helper()
	if err := e.run(f); err != nil {
		t.Fatal(err)
	} else if t.Failed() {
		t.FailNow()
	}
}

// run runs f in the namespace: on a thread of its own, which ends with it.
func (e end) run(f func() error) error {
	done := make(chan error)
	go func() {
		defer close(done)      // where f ends the test, too
		runtime.LockOSThread() // and never unlocked
		done <- func() error {
			file, err := os.Open("/var/run/netns/" + e.namespace)
			if err != nil {
				return err
			}
			defer file.Close()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("setns %s: %w", file.Name(), err)
			}
			return f()
		}()
	}()
	return <-done
}
