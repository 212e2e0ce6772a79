package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// TestAdversityCapacity lets 60 targets hang with 192 descriptors, which is
// room for 32 runs. All checks are then run equally often, each slot without a
// run is counted and in the log, nothing is taken for down, the log has its
// descriptors, and it recovers.
func TestAdversityCapacity(t *testing.T) {
	t.Parallel()
	const n, rounds = 60, 5
	f, listen := newFleet(t, 4), freePort(t)
	p, dir := launch(t, f.config(listen, n, 900*time.Millisecond, ""), limitFiles+"=192")
	waitFor(t, time.Minute, "a run", func() bool { return f.least(n) >= 1 })
	before := measure(t, listen)
	started := f.counts(n)
	f.answers(hang)
	at := time.Now()
	waitFor(t, 2*time.Minute, "some rounds", func() bool {
		return f.total() >= sum(started)+rounds*n && time.Since(at) >= *adversityTime
	})
	runs := f.counts(n)
	for i := range runs {
		runs[i] -= started[i]
	}
	under := measure(t, listen)
	t.Logf("each check was run %d to %d times; before %.0f, over capacity %.0f", slices.Min(runs), slices.Max(runs), before, under)
	// One run of the slot under way when it began, and one of a round that is not over.
	if least, most := slices.Min(runs), slices.Max(runs); most-least > 2+most/3 {
		t.Errorf("some checks were run %d times and some %d times", least, most)
	}
	if grown := (under.memory - before.memory) / (1 << 20); grown > 96 || under.files >= 186 {
		t.Errorf("memory grew by %.1f MiB, %g files are open; want at most 96 MiB and less than 186", grown, under.files)
	}
	if status, body := get(t, "http://"+listen+"/health"); status != http.StatusOK {
		t.Errorf("/health: status %d: %s", status, body)
	}

	f.answers(func(http.ResponseWriter, *http.Request) {})
	p.alive()
	seen := f.least(n)
	waitFor(t, time.Minute, "two more runs of all", func() bool { return f.least(n) >= seen+2 })
	missed, shed := metric(t, listen, `tripline_slots_total{outcome="missed"}`), metric(t, listen, `tripline_slots_total{outcome="shed"}`)
	if shed == 0 || missed < shed {
		t.Errorf("/metrics: %g slots missed, %g of them shed; want some, and no more shed than missed", missed, shed)
	}
	wantBack(t, listen, before, 40, 96) // 60 checks a second are more under way than at the start
	p.stop()

	entries := readLog(t, dir)
	_, gaps := account(t, entries)
	inGaps := 0
	for _, g := range gaps {
		inGaps += g.Slots
	}
	if float64(inGaps) < missed {
		t.Errorf("%d slots in gaps, want at least the %g that /metrics says were missed", inGaps, missed)
	}
	classes, newest := map[probe.Class]int{}, map[string]probe.Status{}
	for _, e := range entries {
		if r := e.Result; r != nil && r.Class != probe.Interrupted {
			classes[r.Class]++
			newest[r.Check] = r.Status
		}
	}
	t.Logf("%g slots missed, %g of them shed; classes: %v", missed, shed, classes)
	for class, count := range classes {
		if class != probe.OK && class != probe.HandshakeTimeout && class != probe.Late {
			f.late(t, "%d results of class %s", count, class)
		}
	}
	for check, status := range newest {
		if status != probe.Up {
			f.late(t, "%s is %s in the end", check, status)
		}
	}
}

// counts are the arrivals of each of the n checks.
func (f *fleet) counts(n int) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := make([]int, n)
	for i := range n {
		counts[i] = len(f.arrivals[fmt.Sprintf("/c%d", i)])
	}
	return counts
}

func sum(list []int) (n int) {
	for _, v := range list {
		n += v
	}
	return n
}
