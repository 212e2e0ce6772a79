//go:build linux

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"github.com/tripline/tripline/alerting/notify/slacktest"
	"github.com/tripline/tripline/checks"
)

// diskFull is how long the disk is full in TestAdversityDiskFull, beyond the
// time until people are told.
var diskFull = flag.Duration("disk-full", 0, "how long the disk stays full in TestAdversityDiskFull after people were told")

// smallDisk mounts a small file system.
func smallDisk(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=100m"); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: a full disk; mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fill takes all the room in dir; free gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range [][]byte{make([]byte, 1<<20), make([]byte, 4<<10)} {
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
	}
	return func() {
		_ = f.Close()
		if err := os.Remove(f.Name()); err != nil {
			t.Error(err)
		}
	}
}

// slot names one run.
type slot struct {
	check string
	at    int64 // ms since 1970
}

// follower collects the results that /live shows: they are durable.
type follower struct {
	mu   sync.Mutex
	seen map[slot]bool
}

func follow(t *testing.T, listen string) *follower {
	t.Helper()
	f := &follower{seen: map[slot]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	conn, _, err := websocket.Dial(ctx, "ws://"+listen+"/live", nil) //nolint:bodyclose // the library closes it
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-done
	})
	go func() {
		defer close(done)
		for {
			_, message, err := conn.Read(ctx)
			if err != nil {
				return
			}
			var m struct {
				Entries []checks.Entry `json:"entries"`
			}
			if err := json.Unmarshal(message, &m); err != nil {
				t.Errorf("/live: %v", err)
			}
			f.mu.Lock()
			for _, e := range m.Entries {
				if e.Result != nil {
					f.seen[slot{e.Result.Check, e.Result.Slot.UnixMilli()}] = true
				}
			}
			f.mu.Unlock()
		}
	}()
	return f
}

// wantIn fails the test unless all that was seen is in the log.
func (f *follower) wantIn(t *testing.T, entries []checks.Entry) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	left := len(f.seen)
	for _, e := range entries {
		if e.Result != nil && f.seen[slot{e.Result.Check, e.Result.Slot.UnixMilli()}] {
			left--
		}
	}
	t.Logf("%d results were acknowledged, %d of them are lost", len(f.seen), left)
	if left != 0 || len(f.seen) == 0 {
		t.Errorf("%d of %d acknowledged results are lost", left, len(f.seen))
	}
}

// TestAdversityDiskFull fills the disk until people are told, and gives the
// room back. Every run is in the log, nobody restarts anything.
func TestAdversityDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t)
	outage(t, dir, "free, want", func() (end func()) { return fill(t, dir) })
}

// outage starts a monitor whose disk in dir takes no writes from begin to end:
// the schedule goes on, /health says so with text, people are told directly,
// and when the disk takes writes again all is well by itself, with nothing lost.
func outage(t *testing.T, dir, text string, begin func() (end func())) {
	t.Helper()
	const n = 20
	slack := slacktest.New()
	defer slack.Close()
	f, listen := newFleet(t, 1), freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), f.config(listen, n, 900*time.Millisecond, slackConfig(slack)))
	p := start(t, dir, nil, "run")
	waitFor(t, time.Minute, "two runs", func() bool { return f.least(n) >= 2 })
	live := follow(t, listen)

	at, end := time.Now(), begin()
	waitFor(t, time.Minute, "/health to say so", func() bool {
		status, body := get(t, "http://"+listen+"/health")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "the log takes no entries since") &&
			(strings.Contains(body, text) || strings.Contains(body, "no space left"))
	})
	var told []slacktest.Message
	waitFor(t, directAfter+time.Minute, "the direct message", func() bool {
		told = directTold(slack.Roots())
		return len(told) > 0
	})
	t.Logf("told after %s: %s", time.Since(at).Round(time.Millisecond), told[0].Text)
	for _, want := range []string{"the log takes no entries since", "wait in memory"} {
		if !strings.Contains(told[0].Text, want) {
			t.Errorf("the message %q lacks %q", told[0].Text, want)
		}
	}
	<-time.After(*diskFull)
	p.alive()
	end()
	at = time.Now()
	waitFor(t, time.Minute, "/health to be well", func() bool {
		status, _ := get(t, "http://"+listen+"/health")
		return status == http.StatusOK
	})
	t.Logf("well %s after the disk was", time.Since(at).Round(time.Millisecond))
	waitFor(t, time.Minute, "the message of the recovery", func() bool { return len(directTold(resolves(slack))) > 0 })
	if all, ends := directTold(slack.Roots()), directTold(resolves(slack)); len(all) != 1 || len(ends) != 1 {
		t.Errorf("%d messages and %d resolves, want one of each:\n%s", len(all), len(ends), dump(slack))
	}
	f.wantKept(t, n, every)
	p.wantStopped()
	entries := readLog(t, dir)
	live.wantIn(t, entries)
	wantAll(t, f, n, entries)
}

// directTold are the messages about the monitor itself: where the machine is
// slow there are others.
func directTold(all []slacktest.Message) (list []slacktest.Message) {
	for _, m := range all {
		if strings.Contains(m.Text, directGroup) {
			list = append(list, m)
		}
	}
	return list
}

// wantAll fails the test unless all runs of n checks are among entries, as
// results or in gaps.
func wantAll(t *testing.T, f *fleet, n int, entries []checks.Entry) {
	t.Helper()
	results, gaps := account(t, entries)
	lost := 0
	for _, g := range gaps {
		lost += g.Slots
	}
	t.Logf("%d runs: %d results and %d slots in %d gaps", f.total(), results, lost, len(gaps))
	if ran := f.total(); results+lost < ran-n { // those in flight at the end are cut
		t.Errorf("%d runs, but %d results and %d slots in gaps", ran, results, lost)
	}
}

// TestAdversityKilledWhileFull kills the program while results wait in memory:
// what was acknowledged is there, what was lost is a gap.
func TestAdversityKilledWhileFull(t *testing.T) {
	t.Parallel()
	const n = 5
	dir := smallDisk(t)
	f, listen := newFleet(t, 1), freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), f.config(listen, n, 900*time.Millisecond, ""))
	p := start(t, dir, nil, "run")
	waitFor(t, time.Minute, "two runs", func() bool { return f.least(n) >= 2 })
	live := follow(t, listen)
	waitFor(t, time.Minute, "two more runs", func() bool { return f.least(n) >= 4 })
	free := fill(t, dir)
	before := f.total()
	waitFor(t, time.Minute, "results to wait in memory", func() bool { return metric(t, listen, "tripline_log_pending_entries") > 2*n })
	p.kill()
	free()
	ran := f.total() - before
	p = start(t, dir, nil, "run")
	again := f.least(n)
	waitFor(t, time.Minute, "three runs after the restart", func() bool { return f.least(n) >= again+3 })
	for i := range n {
		waitFor(t, time.Minute, "the page to show the gap", func() bool {
			_, body := get(t, fmt.Sprintf("http://%s/api/checks/c%d", listen, i))
			return strings.Contains(body, `"status": "gap"`)
		})
	}
	p.stop()
	entries := readLog(t, dir)
	live.wantIn(t, entries)
	_, gaps := account(t, entries)
	lost := 0
	for _, g := range gaps {
		lost += g.Slots
	}
	t.Logf("%d runs while the disk was full; %d slots in %d gaps", ran, lost, len(gaps))
	if lost < n {
		t.Errorf("%d slots in gaps after %d runs were lost, want at least %d", lost, ran, n)
	}
}

// TestAdversityKilledInFlight kills the program while one run is under way and
// younger ones of other checks are in the log: its slot is in a gap.
func TestAdversityKilledInFlight(t *testing.T) {
	t.Parallel()
	const n = 5
	f, listen := newFleet(t, 1), freePort(t)
	p, dir := launch(t, f.config(listen, n, 900*time.Millisecond, ""))
	waitFor(t, time.Minute, "two runs", func() bool { return f.least(n) >= 2 })
	live := follow(t, listen)
	var hung atomic.Int64
	f.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/c0" {
			hung.CompareAndSwap(0, time.Now().UnixMilli())
			hang(w, r)
		}
	})
	waitFor(t, time.Minute, "a younger result in the log", func() bool {
		at := hung.Load()
		live.mu.Lock()
		defer live.mu.Unlock()
		for s := range live.seen {
			if at > 0 && s.at > at {
				return true
			}
		}
		return false
	})
	p.kill()
	f.answers(func(http.ResponseWriter, *http.Request) {})
	p = start(t, dir, nil, "run")
	again := f.least(n)
	waitFor(t, time.Minute, "three runs after the restart", func() bool { return f.least(n) >= again+3 })
	p.stop()
	entries := readLog(t, dir)
	live.wantIn(t, entries)
	_, gaps := account(t, entries) // this is what finds the slot of the run that was under way
	t.Logf("gaps: %+v", gaps)
}
