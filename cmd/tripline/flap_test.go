package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting/notify/slacktest"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// flapTime is how long targets flap in TestFlapping. An hour:
//
//	go test ./cmd/tripline -run TestFlapping -flap 1h -timeout 90m -v
var flapTime = flag.Duration("flap", 66*time.Second, "how long targets flap in TestFlapping")

// The policy of TestFlapping: its time is the shortest that there can be. What
// flaps is over when it has been calm for half of it.
const (
	flapReopens = 3
	flapWithin  = time.Minute
	flapRecover = 3 // good results in a row
	flapRules   = 2
)

// flapping is a way of two checks of a group to flap: in every cycle of so many
// requests of each of them, some fail.
type flapping struct {
	group string
	cycle int
	a, b  [2]int // the failing ones, from and to before
	least int    // cycles to wait for
}

func flappings() []flapping {
	return []flapping{
		{"each-other-second", 2, [2]int{0, 1}, [2]int{}, 30},
		{"just-below-recovery", flapRecover, [2]int{0, 1}, [2]int{}, 12},
		{"just-above-recovery", 1 + flapRecover, [2]int{0, 1}, [2]int{}, 12},
		{"well-for-a-while", 12, [2]int{0, 2}, [2]int{}, 5},
		{"at-once", 5, [2]int{0, 1}, [2]int{0, 1}, 10},
		{"in-turn", 12, [2]int{0, 1}, [2]int{6, 7}, 5},
		{"in-turn-without-end", 10, [2]int{0, 6}, [2]int{5, 10}, 6}, // whichever runs first in a second
		{"not-often-enough", 22, [2]int{0, 1}, [2]int{}, 3},
	}
}

// bad tells whether request n of path fails; all count from first.
func (f flapping) bad(path string, n int) bool {
	fails := f.a
	if strings.HasSuffix(path, "-b") {
		fails = f.b
	}
	n %= f.cycle
	return fails[0] <= n && n < fails[1]
}

func flapConfig(s *routes, listen, notifiers string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {dir: data}\nhttp: {listen: %q}\n", listen)
	fmt.Fprintf(&b, "defaults: {base_url: %q, every: 1s, timeout: 900ms, confirm: 0, per_host: 100}\nchecks:\n", s.URL)
	for _, f := range flappings() {
		for _, c := range []string{"a", "b"} {
			fmt.Fprintf(&b, "  - {name: %s-%s, group: %[1]s, route: {url: /%[1]s-%s}}\n", f.group, c)
		}
	}
	return b.String() + fmt.Sprintf(`rules:
  - {name: a, select: {name: "*-a"}, severity: ticket, recover_after: %d, down: {}}
  - {name: b, select: {name: "*-b"}, severity: page, recover_after: %[1]d, down: {}}
incidents: {flapping: {reopens: %d, within: %s}, storm: {groups: 0}}
notify:
%s`, flapRecover, flapReopens, flapWithin, notifiers)
}

// TestFlapping lets groups flap in ways of which some end each incident before
// the next one, and counts what notifiers are told of each: as many incidents as
// the policy allows and no more, each resolved once.
func TestFlapping(t *testing.T) {
	t.Parallel()
	s, pd, slack := newRoutes(t), newPager(t), slacktest.New()
	defer slack.Close()
	dir, listen := t.TempDir(), freePort(t)
	const quick = ", limit: 50/s" // what waits is told as what it has become
	writeFile(t, filepath.Join(dir, "config.yaml"), flapConfig(s, listen, slackNotifier(slack, quick)+pagerNotifier("pager", pd, pagerKey, quick)))
	p := start(t, dir, nil, "run")
	first := map[string]int{}
	for _, f := range flappings() {
		for _, c := range []string{"-a", "-b"} {
			path := "/" + f.group + c
			waitFor(t, patience, "the first run of "+path, func() bool { return s.count(path) > 0 })
			first[path] = s.count(path) + 3
		}
	}

	began := time.Now()
	s.answer(func(path string, n int) bool {
		for _, f := range flappings() {
			if n >= first[path] && strings.TrimRight(path, "ab") == "/"+f.group+"-" {
				return f.bad(path, n-first[path])
			}
		}
		return false
	})
	for _, f := range flappings() {
		waitFor(t, *flapTime+5*patience, "the flapping", func() bool {
			return time.Since(began) >= *flapTime && s.count("/"+f.group+"-a")-first["/"+f.group+"-a"] >= f.least*f.cycle
		})
	}
	s.answer(allWell)
	lasted := time.Since(began).Round(time.Second)
	last := map[string]int{}
	for path := range first {
		last[path] = s.count(path)
	}
	for path, n := range last {
		waitFor(t, patience, "the recovery of "+path, func() bool { return s.count(path) >= n+flapRecover+2 })
	}
	waitFor(t, flapWithin+2*patience, "the end", func() bool {
		if len(openIncidents(t, listen)) > 0 {
			return false
		}
		for _, n := range tallies(t, slack, pd) {
			if n.Resolves < n.Messages || n.Ends < n.Messages || n.Messages < n.Alerts {
				return false
			}
		}
		return true
	})
	p.stop()
	entries, told := readLog(t, dir), tallies(t, slack, pd)
	for _, f := range flappings() {
		n, breaks := told[f.group], breaks(entries, f.group)
		most := mostIncidents(breaks)
		t.Logf("%s: broken %d times in %s, told as %d incidents of at most %d: %+v", f.group, len(breaks), lasted, n.Messages, most, n)
		f.judge(t, n, most)
	}
	if v := slack.Violations(); len(v) > 0 {
		t.Errorf("Slack would have refused: %q", v)
	}
}

// judge looks whether what was told is at most so many incidents: opened, once
// more by the other rule, and resolved.
func (f flapping) judge(t *testing.T, n tally, most int) {
	t.Helper()
	if n.Messages == 0 || n.Messages > most {
		t.Errorf("%s: %d messages, want 1 to %d", f.group, n.Messages, most)
	}
	if n.Resolves != n.Messages || n.Alerts != n.Messages || n.Ends != n.Messages {
		t.Errorf("%s: %+v, want a resolve, an alert and its end for each of %d messages", f.group, n, n.Messages)
	}
	if each := flapRules + 1; n.Posts > each*n.Messages || n.Updates > (each-1)*n.Messages || n.Events > each*n.Messages {
		t.Errorf("%s: %+v, want at most %d posts and events for each of %d messages", f.group, n, each, n.Messages)
	}
}

// breaks are the slots at which an incident of a group would open, did nothing
// keep it open: those of failures when all its checks had recovered.
func breaks(entries []checks.Entry, group string) (slots []time.Time) {
	good := map[string]int{} // results in a row, of the checks that have not recovered
	for _, e := range entries {
		r := e.Result
		switch {
		case r == nil || r.Group != group || r.Status == probe.Unknown:
		case r.Status == probe.Down:
			if len(good) == 0 {
				slots = append(slots, r.Slot)
			}
			good[r.Check] = 0
		default:
			if n, ok := good[r.Check]; ok && n+1 < flapRecover {
				good[r.Check] = n + 1
			} else {
				delete(good, r.Check)
			}
		}
	}
	return slots
}

// mostIncidents is how many incidents the policy allows: no more than breaks,
// and while those follow each other by less than flapWithin/flapReopens,
// flapReopens of them resolve before one that does not.
func mostIncidents(breaks []time.Time) int {
	most := flapReopens + 1
	for k := range len(breaks) - 1 {
		if breaks[k+1].Sub(breaks[k]) >= flapWithin/flapReopens {
			most += flapReopens + 1
		}
	}
	return min(most, len(breaks))
}
