package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// shop is a monitor of groups of one check each, named as the group, that can
// be broken one by one, and what was told of them.
type shop struct {
	t      *testing.T
	routes *routes
	slack  *slacktest.Server
	pd     *pager
	dir    string
	listen string
	text   string // of the config
	p      *process

	mu    sync.Mutex
	every map[string]int // every so many requests of a group fail; 0: none
}

func newShop(t *testing.T, groups ...string) *shop {
	t.Helper()
	return newFamily(t, "", groups...)
}

// shopRecover is how many good results in a row end an incident of a shop.
const shopRecover = 3

// newFamily is a shop with one more check, which all others need; "" for none.
func newFamily(t *testing.T, parent string, groups ...string) *shop {
	t.Helper()
	s := &shop{t: t, routes: newRoutes(t), pd: newPager(t), slack: slacktest.New(), dir: t.TempDir(), listen: freePort(t), every: map[string]int{}}
	t.Cleanup(s.slack.Close)
	s.routes.answer(func(path string, n int) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		every := s.every[path[1:]]
		return every > 0 && n%every == 0
	})
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {dir: data}\nhttp: {listen: %q}\n", s.listen)
	fmt.Fprintf(&b, "defaults: {base_url: %q, every: 1s, timeout: 900ms, confirm: 0, per_host: 100}\nchecks:\n", s.routes.URL)
	needs := ""
	if parent != "" {
		fmt.Fprintf(&b, "  - {name: %s, route: {url: /%[1]s}}\n", parent)
		needs = ", needs: " + parent
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "  - {name: %s%s, route: {url: /%[1]s}}\n", g, needs)
	}
	const quick = ", limit: 50/s"
	// Not down: a machine that stands still makes timeouts, which are nobody's fault here.
	fmt.Fprintf(&b, "rules:\n  - {name: errors, severity: page, recover_after: %d, rate: {of: server_error, over: 1m, above: 0%%}}\n", shopRecover)
	b.WriteString("incidents: {storm: {groups: 0}, flapping: {reopens: 0}}\nnotify:\n")
	b.WriteString("  - {name: console, log: {}}\n" + slackNotifier(s.slack, quick) + pagerNotifier("pager", s.pd, pagerKey, quick))
	s.text = b.String()
	writeFile(t, filepath.Join(s.dir, "config.yaml"), s.text)
	s.p = start(t, s.dir, nil, "run")
	s.runs(1, groups...)
	return s
}

// fail makes every so many requests of groups fail; 0: none.
func (s *shop) fail(every int, groups ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range groups {
		s.every[g] = every
	}
}

// runs waits for so many more runs of the check of each group.
func (s *shop) runs(n int, groups ...string) {
	s.t.Helper()
	for _, g := range groups {
		seen := s.routes.count("/" + g)
		waitFor(s.t, patience, "runs of "+g, func() bool { return s.routes.count("/"+g) >= seen+n })
	}
}

// quiet says why nobody is told of the open incident of a group; ok is false if
// none is open.
func (s *shop) quiet(group string) (why string, ok bool) {
	s.t.Helper()
	for _, i := range openIncidents(s.t, s.listen) {
		if i.Group == group {
			return i.Quiet, true
		}
	}
	return "", false
}

// waitQuiet waits until each group has an open incident that is quiet, or not.
func (s *shop) waitQuiet(quiet bool, groups ...string) {
	s.t.Helper()
	for _, g := range groups {
		waitFor(s.t, 3*patience, fmt.Sprintf("an incident of %s that is quiet: %t", g, quiet), func() bool {
			why, ok := s.quiet(g)
			return ok && (why != "") == quiet
		})
	}
}

// The tallies of an incident that has only been opened, and of one that has
// been resolved as well.
func onlyOpened() tally { return tally{Messages: 1, Posts: 1, Alerts: 1, Events: 1} }

func onceResolved() tally {
	return tally{Messages: 1, Posts: 2, Updates: 1, Resolves: 1, Alerts: 1, Ends: 1, Events: 2}
}

// waitTold waits until people were told n of each group.
func (s *shop) waitTold(n tally, groups ...string) {
	s.t.Helper()
	for _, g := range groups {
		waitFor(s.t, patience, fmt.Sprintf("%s to be told as %+v", g, n), func() bool { return s.told(g) == n })
	}
}

func (s *shop) told(group string) tally {
	s.t.Helper()
	return tallies(s.t, s.slack, s.pd)[group]
}

// wantTold says if people were told anything else than n of each group.
func (s *shop) wantTold(n tally, groups ...string) {
	s.t.Helper()
	for _, g := range groups {
		if diff := cmp.Diff(n, s.told(g)); diff != "" {
			s.t.Errorf("told of %s (-want +got):\n%s", g, diff)
		}
	}
}

// maintain begins a maintenance window of a group and returns its id.
func (s *shop) maintain(group string, args ...string) string {
	s.t.Helper()
	said := command(s.t, s.dir, 0, append([]string{"maintenance", "start", "--group", group, "--by", "ada"}, args...)...)
	id := ""
	if words := strings.Fields(said); len(words) > 1 {
		id = words[1]
	}
	if !strings.HasPrefix(id, "m-") {
		s.t.Fatalf("maintenance start says %q, want the id of the window", said)
	}
	return id
}

// TestMaintenance begins windows over groups that are broken and told, and over
// some that break in them, ends them by command, by their time and when all is
// well again, and counts what is told of each.
func TestMaintenance(t *testing.T) {
	t.Parallel()
	const (
		before, beforeTimed, heals       = "before", "before-timed", "heals"
		green, greenTimed, greenFlickers = "green", "green-timed", "green-flickers"
		within, stays, staysTimed        = "within", "stays", "stays-timed"
	)
	told := []string{before, beforeTimed, heals, green, greenTimed, greenFlickers} // when their windows begin
	s := newShop(t, append(told, within, stays, staysTimed)...)
	s.fail(1, told...)
	s.waitTold(onlyOpened(), told...)

	windows := map[string]string{}
	for _, g := range []string{before, heals, within, stays} {
		windows[g] = s.maintain(g, "--for", "10m")
	}
	for _, g := range []string{green, greenFlickers} {
		windows[g] = s.maintain(g, "--for", "10m", "--until-green")
	}
	s.maintain(beforeTimed, "--for", "15s")
	s.maintain(greenTimed, "--for", "15s", "--until-green")
	s.fail(1, within, stays)
	s.waitQuiet(true, before, heals, green, greenFlickers, within, stays)

	// What breaks in a window of a few seconds is told after it.
	s.maintain(staysTimed, "--for", "15s")
	s.fail(1, staysTimed)

	s.fail(2, greenFlickers) // which is not green
	s.runs(6, before, stays, greenFlickers)
	s.wantTold(onlyOpened(), told...)
	s.wantTold(tally{}, within, stays)
	if list := command(t, s.dir, 0, "silence", "list"); !strings.Contains(list, windows[greenFlickers]) {
		t.Errorf("a window until green ends while the check flickers; there are\n%s", list)
	}

	if _, page := get(t, "http://"+s.listen+"/checks/"+within); !strings.Contains(page, `<tr class="maintenance" title="in maintenance">`) {
		t.Errorf("the page does not mark the results in the window:\n%s", page)
	}
	s.fail(0, heals, within, green, greenFlickers)
	s.waitTold(onceResolved(), heals, green, greenFlickers)
	waitFor(t, patience, "the silent end", func() bool { _, open := s.quiet(within); return !open })
	waitFor(t, patience, "the windows that end when all is well", func() bool {
		list := command(t, s.dir, 0, "silence", "list")
		return !strings.Contains(list, windows[green]) && !strings.Contains(list, windows[greenFlickers]) && strings.Contains(list, windows[heals])
	})
	s.fail(1, green, heals) // heals again in its window, green after it
	s.waitQuiet(true, heals)
	s.waitQuiet(false, green)

	for _, g := range []string{before, heals, stays} {
		command(t, s.dir, 0, "maintenance", "end", windows[g])
	}
	s.waitQuiet(false, before, heals, stays, beforeTimed, greenTimed, staysTimed)
	twice := onceResolved()
	twice.Messages, twice.Posts, twice.Alerts, twice.Events = 2, 3, 2, 3
	s.waitTold(twice, green, heals)
	s.waitTold(onlyOpened(), stays, staysTimed)
	s.runs(4, before, beforeTimed, greenTimed)
	s.wantTold(onlyOpened(), before, beforeTimed, greenTimed, stays, staysTimed)

	s.fail(0, append(told, stays, staysTimed)...)
	s.waitTold(onceResolved(), before, beforeTimed, greenTimed, stays, staysTimed)
	waitFor(t, patience, "the end of all", func() bool { return len(openIncidents(t, s.listen)) == 0 })
	s.runs(3, before, green, heals)
	s.p.stop()
	s.wantTold(onceResolved(), before, beforeTimed, greenTimed, greenFlickers, stays, staysTimed)
	s.wantTold(tally{}, within)
	s.wantTold(tally{Messages: 2, Posts: 4, Updates: 2, Resolves: 2, Alerts: 2, Ends: 2, Events: 4}, green, heals)
}

// TestMaintenanceCron adds a window that comes each minute to a monitor that has
// told of one of two broken things: whichever window it meets, nothing is told
// again, and what breaks in one is told after it.
func TestMaintenanceCron(t *testing.T) {
	t.Parallel()
	const before, stays = "before", "stays"
	s := newShop(t, before, stays)
	s.fail(1, before)
	s.waitTold(onlyOpened(), before)
	writeFile(t, filepath.Join(s.dir, "config.yaml"), s.text+"maintenance:\n  - {name: nightly, cron: \"* * * * *\", for: 20s}\n")
	command(t, s.dir, 0, "reload")
	s.waitQuiet(true, before)
	if why, _ := s.quiet(before); why != "" && !strings.HasPrefix(why, "maintenance nightly until ") {
		t.Errorf("quiet is %q, want the window", why)
	}
	s.fail(1, stays)
	s.runs(3, stays)
	s.waitQuiet(false, before, stays)
	s.waitTold(onlyOpened(), stays)
	s.runs(3, before, stays)
	s.wantTold(onlyOpened(), before, stays)
	if _, page := get(t, "http://"+s.listen+"/checks/"+stays); !strings.Contains(page, `<tr class="maintenance" title="in maintenance">`) {
		t.Errorf("the page does not mark the results in the window:\n%s", page)
	}
	s.fail(0, before, stays)
	s.waitTold(onceResolved(), before, stays)
	s.runs(3, before, stays)
	s.p.stop()
	s.wantTold(onceResolved(), before, stays)
}
