package main

import (
	"flag"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

var (
	manyChecks = flag.Int("many", 300, "how many checks TestAdversityMany has")
	manyEvery  = flag.Duration("many-every", 6*time.Second, "the interval of the checks of TestAdversityMany")
	manyTime   = flag.Duration("many-time", 6*time.Second, "how long TestAdversityMany goes on after each check was run once")
)

// TestAdversityMany has many checks of which 2 % hang, with the default timeout.
// Each check is run once in its first interval, at an even pace, and the slots
// of the others are kept. At full size:
//
//	go test ./cmd/tripline -run TestAdversityMany -many 10000 -many-every 1m -many-time 10m -timeout 20m -v
func TestAdversityMany(t *testing.T) {
	t.Parallel()
	const hosts = 100
	n, interval := *manyChecks, *manyEvery
	hangs := func(check int) bool { return check%50 == 0 }
	f, listen := newFleet(t, hosts), freePort(t)
	f.answers(func(w http.ResponseWriter, r *http.Request) {
		var check int
		if _, err := fmt.Sscanf(r.URL.Path, "/c%d", &check); err == nil && hangs(check) {
			hang(w, r)
		}
	})
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {dir: data}\nhttp: {listen: %q}\ndefaults: {every: %s, per_host: %d}\nchecks:\n", listen, interval, n)
	for i := range n {
		host := (i + i/hosts) % hosts // so that those that hang are of different hosts
		fmt.Fprintf(&b, "  - {name: c%d, group: g%d, route: {url: \"http://%s/c%d\"}}\n", i, host, f.hosts[host], i)
	}
	p, dir := launch(t, b.String())
	waitFor(t, 2*time.Minute+interval, "the first runs", func() bool { return f.least(n) >= 1 })
	<-time.After(*manyTime)
	p.alive()
	if status, body := get(t, "http://"+listen+"/health"); status != http.StatusOK {
		t.Errorf("/health: status %d: %s", status, body)
	}
	t.Logf("%.0f MiB, %.0f runs in flight, the latest %.1f ms late", metric(t, listen, "process_resident_memory_bytes")/(1<<20),
		metric(t, listen, "tripline_runs_in_flight"), 1000*metric(t, listen, "tripline_lateness_worst_seconds"))
	p.stop()

	entries := readLog(t, dir)
	wantEven(t, n, interval, entries)
	f.wantKeptIn(t, entries, n, func(check int) bool { return !hangs(check) })
}

// wantKeptIn fails the test unless the log says that 99.9 % of the slots were
// kept of those of n checks that which lets through, and that many requests came.
func (f *fleet) wantKeptIn(t *testing.T, entries []checks.Entry, n int, which func(check int) bool) {
	t.Helper()
	ran, late, missed := 0, 0, 0
	for _, e := range entries {
		name := ""
		switch {
		case e.Gap != nil:
			name = e.Gap.Check // empty if it is of all checks
		case e.Result != nil && e.Result.Class != probe.Interrupted:
			name = e.Result.Check
		default:
			continue
		}
		var check int
		if _, err := fmt.Sscanf(name, "c%d", &check); err == nil && !which(check) {
			continue
		}
		if e.Gap != nil {
			missed += e.Gap.Slots
		} else if ran++; e.Result.Start.Sub(e.Result.Slot) > time.Second {
			late++
		}
	}
	reached := 0
	for i, runs := range f.counts(n) {
		if which(i) {
			reached += runs
		}
	}
	t.Logf("%d runs, %d requests at the targets, %d runs late, %d slots missed", ran, reached, late, missed)
	if reached < ran*999/1000 || float64(late+missed) > 0.001*float64(ran+missed) {
		f.late(t, "%d requests of %d runs; %d runs late and %d slots missed; want 99.9 %% kept", reached, ran, late, missed)
	}
}

// wantEven fails the test unless each of n checks had its first slot in the
// first interval, and in no second more than twice as many as if they were
// spread evenly.
func wantEven(t *testing.T, n int, interval time.Duration, entries []checks.Entry) {
	t.Helper()
	first := map[string]time.Time{}
	var start time.Time
	for _, e := range entries {
		if r := e.Result; r != nil {
			if at, seen := first[r.Check]; !seen || r.Slot.Before(at) {
				first[r.Check] = r.Slot
			}
			if start.IsZero() || r.Slot.Before(start) {
				start = r.Slot
			}
		}
	}
	seconds := map[int]int{}
	for check, at := range first {
		if at.Sub(start) > interval {
			t.Errorf("%s was first run after %s, want within %s", check, at.Sub(start), interval)
		}
		seconds[int(at.Sub(start)/time.Second)]++
	}
	most, even := 0, float64(n)/interval.Seconds()
	for _, count := range seconds {
		most = max(most, count)
	}
	t.Logf("%d of %d checks run in the first interval, at most %d in a second, %.0f if evenly", len(first), n, most, even)
	if len(first) != n || float64(most) > 2*even {
		t.Errorf("%d of %d checks run, %d first runs in one second, want all and at most %.0f", len(first), n, most, 2*even)
	}
}
