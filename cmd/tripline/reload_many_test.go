package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The long form of TestReloadMany: -reload-checks 1000 -reloads 10.
var (
	reloadChecks = flag.Int("reload-checks", 100, "how many checks TestReloadMany runs")
	reloads      = flag.Int("reloads", 3, "how often TestReloadMany changes one of them")
)

// TestReloadMany changes one check of many again and again: the others miss no
// slot and keep their phase, and a bad file changes nothing.
func TestReloadMany(t *testing.T) {
	t.Parallel()
	tg := newTarget(t)
	dir, listen := t.TempDir(), freePort(t)
	file := filepath.Join(dir, "config.yaml")
	const every = 4 * time.Second
	config := func(changed int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "version: 1\ndata: {dir: data}\nhttp: {listen: %q}\ndefaults: {base_url: %q, every: %s, timeout: 1s, confirm: 0}\nchecks:\n", listen, tg.URL, every)
		for i := range *reloadChecks {
			query := ""
			if i == 0 {
				query = fmt.Sprintf("?%d", changed)
			}
			fmt.Fprintf(&b, "  - {name: c%d, health: {url: \"/health%s\"}}\n", i, query)
		}
		return b.String()
	}
	writeFile(t, file, config(0))
	p := start(t, dir, nil, "run")
	waitFor(t, 30*time.Second, "every check to run once", func() bool { return tg.health.Load() >= int64(*reloadChecks) })
	for i := range *reloads {
		<-time.After(every / 2)
		want := "checks changed: c0"
		if i%3 == 2 {
			writeFile(t, file, "version: 1\nnonsense: 1\n")
			want = "config not reloaded"
		} else {
			writeFile(t, file, config(i+1))
		}
		seen := strings.Count(p.out.String(), want)
		syscallHangup(t, p)
		waitFor(t, 10*time.Second, want, func() bool { return strings.Count(p.out.String(), want) > seen })
	}
	<-time.After(2 * every)
	if missed := metric(t, listen, `tripline_slots_total{outcome="missed"}`); missed != 0 {
		p.load.late(t, "%g slots were missed, want 0", missed)
	}
	p.stop()

	phase, last, runs := map[string]time.Duration{}, map[string]time.Time{}, 0
	for _, e := range readLog(t, dir) {
		if e.Gap != nil {
			p.load.late(t, "a gap: %+v", *e.Gap)
			continue
		}
		r := e.Result
		if r == nil || r.Check == "c0" {
			continue
		}
		runs++
		before, seen := last[r.Check]
		last[r.Check] = r.Slot
		if !seen { // the run at start, which is at no regular slot
			continue
		}
		at := time.Duration(r.Slot.UnixNano()) % every
		if was, ok := phase[r.Check]; ok && was != at {
			t.Errorf("%s moved from %s to %s of its interval", r.Check, was, at)
		} else if ok && r.Slot.Sub(before) != every {
			p.load.late(t, "%s has no slot between %s and %s", r.Check, before, r.Slot)
		}
		phase[r.Check] = at
	}
	t.Logf("%d runs of %d checks over %d reloads", runs, *reloadChecks, *reloads)
}
