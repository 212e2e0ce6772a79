//go:build linux

package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of its own. That needs root: elsewhere the test is skipped, and must run where there is root.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: a full disk; mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fillDisk writes a file until only left bytes are free.
func fillDisk(t *testing.T, dir string, left int64) (release func()) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	chunk := make([]byte, 4096)
	for err == nil {
		var free int64
		if free, err = freeBytes(dir); err != nil || free <= left {
			break
		}
		_, err = f.Write(chunk[:min(int64(len(chunk)), free-left)])
	}
	if err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Error(err)
	}
	return func() {
		if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
			t.Error(err)
		}
	}
}

// Before the disk is really full, the entries stop and the state goes on.
func TestDiskReserve(t *testing.T) {
	dir := smallDisk(t, "64m")
	j := open(t, Options{Dir: dir, MinFree: 16 << 20})
	l := newLog(t, j, LogOptions[entry]{Buffer: 100, Overflow: gapOf})
	background(t, l.Run)
	var w witness
	background(t, func(ctx context.Context) error { return w.follow(ctx, l) })
	appendBatches(t, l, 0, 5, "")
	release := fillDisk(t, dir, 8<<20)
	const n = 3000
	start := time.Now()
	for id := 5; id < n; id++ {
		l.Append(entry{ID: id}, false)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("Append took %v for %d entries on a full disk", took, n)
	}
	eventually(t, "the log is stuck", func() bool { return l.Health().Err != nil })
	h := l.Health()
	if !strings.Contains(h.Err.Error(), "8.0 MiB free, want 16.0 MiB") || h.StuckSince.IsZero() || h.OldestPending.IsZero() {
		t.Errorf("health: %+v; want the reason", h)
	}
	if h.Pending > 100+1+maxEntries || h.Dropped < n-5-100-maxEntries {
		t.Errorf("health: %d pending, %d dropped", h.Pending, h.Dropped)
	}
	if err := j.PutEvidence(t.Context(), NewKey("e"), []byte("x")); err == nil {
		t.Error("evidence took from the reserve")
	}
	commit1(t, j.State(), Change{Key: NewKey("a"), Value: []byte("1")}, Change{Key: NewKey("b"), Value: []byte("1")})
	if d, err := j.Disk(); err != nil || d.Free != 8<<20 && d.Free > 9<<20 || d.Used == 0 {
		t.Errorf("disk: %+v, %v", d, err)
	}
	engine := j.engine
	release()
	eventually(t, "all is written", func() bool { h := l.Health(); return h.Pending == 0 && h.Err == nil })
	eventually(t, "the follower has it", func() bool { _, err := covers(w.entries(), n); return err == nil })
	gaps, err := covers(w.entries(), n)
	if h := l.Health(); err != nil || gaps != int(h.Dropped) || gaps == 0 {
		t.Errorf("gaps for %d entries, health says %d, %v", gaps, h.Dropped, err)
	}
	if j.engine != engine {
		t.Error("the server was restarted without need")
	}
}

func TestLogLimit(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct{ limit, own, free, reserve, want int64 }{
		{4096, 0, 100_000, 384, 4096},
		{4096, 0, 1000, 384, 616},    // a small disk
		{4096, 600, 400, 384, 616},   // and later
		{4096, 4000, 10, 384, 3626},  // it was filled by a version that did not look
		{4096, 0, 300, 384, 16},      // hopeless
		{8, 0, 300, 384, 8},          // asked for
		{4096, 4090, 390, 384, 4096}, // just enough
	} {
		if got := logLimit(tt.limit*mib, tt.own*mib, tt.free*mib, tt.reserve*mib) / mib; got != tt.want {
			t.Errorf("limit %d MiB, %d used, %d free, %d reserved: %d, want %d", tt.limit, tt.own, tt.free, tt.reserve, got, tt.want)
		}
	}
}

// A log whose limit is larger than its disk makes room for itself: it never stops.
func TestLogFitsItsDisk(t *testing.T) {
	dir := smallDisk(t, "64m")
	var logged strings.Builder
	j, err := Open(t.Context(), Options{Dir: dir, MinFree: 8 << 20, EvidenceMaxBytes: 8 << 20, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	if !strings.Contains(logged.String(), `configured="4096.0 MiB"`) || !strings.Contains(logged.String(), `limit="40.0 MiB"`) {
		t.Errorf("logged %q, want the limits", logged.String())
	}
	l := newLog(t, j, LogOptions[entry]{})
	background(t, l.Run)
	random := rand.New(rand.NewPCG(1, 2))
	for id := range 60 { // 1.2 MiB each before compression, 0.9 after
		var pad strings.Builder
		for pad.Len() < 400<<10 {
			fmt.Fprintf(&pad, "%016x", random.Uint64())
		}
		for k := range 3 {
			l.Append(entry{ID: 3*id + k, Pad: pad.String()[k:]}, true)
			eventually(t, "the batch is durable", func() bool { h := l.Health(); return h.Pending == 0 || h.Err != nil })
			if h := l.Health(); h.Err != nil {
				t.Fatalf("entry %d: %v", 3*id+k, h.Err)
			}
		}
	}
	if first, err := l.First(t.Context()); err != nil || first < 2 {
		t.Errorf("the log begins at %d, %v, want it to have lost its beginning", first, err)
	}
}

// The disk fills up to the last byte in the middle of writes of every kind, several times. It recovers by itself.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "64m")
	j := open(t, Options{Dir: dir, MinFree: 1, answer: 300 * time.Millisecond})
	l := newLog(t, j, LogOptions[entry]{Buffer: 1000, Overflow: gapOf})
	stop := background(t, l.Run)
	var w witness
	background(t, func(ctx context.Context) error { return w.follow(ctx, l) })
	watched := make(map[Key]string)
	var watchedMu sync.Mutex
	background(t, func(ctx context.Context) error {
		return j.State().Watch(ctx, Key{}, func(_ context.Context, kv KV) error {
			watchedMu.Lock()
			defer watchedMu.Unlock()
			watched[kv.Key] = string(kv.Value)
			return nil
		})
	})
	next, restarts := 0, 0
	pad := strings.Repeat("x", 1000)
	add := func(n int) {
		for range n {
			l.Append(entry{ID: next, Pad: pad}, true)
			next++
		}
	}
	state := func(ctx context.Context, v string) error {
		var cs []Change
		for i := range 20 {
			cs = append(cs, Change{Key: NewKey("s", fmt.Sprint(i)), Value: []byte(v)})
		}
		_, err := j.State().Commit(ctx, cs...)
		return err
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	committed := "none"
	for round := range 4 {
		engine := j.engine
		release := fillDisk(t, dir, rnd.Int64N(100<<10))
		full := fmt.Sprintf("full %d", round)
		for range 25 {
			add(50)
			if err := j.wait(t.Context(), time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := state(ctx, full)
		cancel()
		eventually(t, "the log is stuck", func() bool { return l.Health().Err != nil })
		if round%2 == 0 { // long enough for the server to be found out
			eventually(t, "the reason is known", func() bool {
				err := l.Health().Err
				return err != nil && strings.Contains(err.Error(), "no space left on device")
			})
		}
		release()
		add(1)
		eventually(t, "all is written", func() bool { h := l.Health(); return h.Pending == 0 && h.Err == nil })
		if err == nil {
			committed = full
		}
		kvs, err := j.State().List(t.Context(), NewKey("s"))
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range kvs {
			if v := string(kv.Value); v != string(kvs[0].Value) || v != committed && v != full {
				t.Errorf("round %d: half a commit, or a lost one: %s is %s, want %s or %s", round, kv.Key, v, committed, full)
			}
		}
		committed = fmt.Sprintf("free %d", round)
		if err := state(t.Context(), committed); err != nil {
			t.Errorf("round %d: commit after recovery: %v", round, err)
		}
		if err := j.PutEvidence(t.Context(), NewKey("e"), []byte("x")); err != nil {
			t.Errorf("round %d: evidence after recovery: %v", round, err)
		}
		eventually(t, "the watcher has it", func() bool {
			watchedMu.Lock()
			defer watchedMu.Unlock()
			return watched[NewKey("s", "7")] == committed
		})
		if j.engine != engine {
			restarts++
		}
	}
	if restarts == 0 {
		t.Error("the server was never restarted: the test did not fill the disk")
	}
	t.Logf("%d restarts of the server, %d entries, %d in gaps", restarts, next, l.Health().Dropped)
	eventually(t, "the follower has it", func() bool { _, err := covers(w.entries(), next); return err == nil })
	gaps, err := covers(w.entries(), next)
	if err != nil || gaps != int(l.Health().Dropped) {
		t.Errorf("the follower: gaps for %d entries, health says %d, %v", gaps, l.Health().Dropped, err)
	}
	if err := errors.Join(stop(), j.Close()); err != nil {
		t.Fatal(err)
	}
	j = open(t, Options{Dir: dir})
	_, batches := collected(t, newLog(t, j, LogOptions[entry]{}), 0, len(w.entries()))
	if diff := cmp.Diff(w.batches, batches); diff != "" {
		t.Errorf("what the follower saw (-) and what is stored (+) differ:\n%s", diff)
	}
}

// Somebody else takes the last of the disk in the middle of commits. Each is whole or not at all, and what Commit says is so.
func TestDiskFullInACommit(t *testing.T) {
	t.Parallel()
	dir := smallDisk(t, "16m")
	j := open(t, Options{Dir: dir, MinFree: 1, answer: 300 * time.Millisecond})
	s := j.State()
	const n = 20
	version := func(kv KV) string {
		v, _, _ := strings.Cut(string(kv.Value), " ")
		return v
	}
	last, restarts, refused, unread := "", 0, 0, 0
	for round := range 5 {
		engine := j.engine
		stop := make(chan struct{})
		released := make(chan struct{})
		go func() {
			defer close(released)
			release := fillDisk(t, dir, 0)
			<-stop
			release()
		}()
		tried := last
		check := func(kvs []KV) {
			t.Helper()
			for _, kv := range kvs {
				v, first := version(kv), version(kvs[0])
				if v != first || v != last && v != tried {
					t.Errorf("round %d: %s is %s and %s is %s; committed was %s, refused %s", round, kvs[0].Key, first, kv.Key, v, last, tried)
				}
			}
		}
		for i := 0; ; i++ {
			tried = fmt.Sprintf("%d.%d", round, i)
			cs := make([]Change, n)
			for k := range cs {
				cs[k] = Change{Key: NewKey("s", fmt.Sprint(k)), Value: fmt.Appendf(nil, "%s %s", tried, strings.Repeat("x", 16<<10))}
			}
			if _, err := s.Commit(t.Context(), cs...); err != nil {
				refused++
				break
			}
			last = tried
		}
		if kvs, err := s.List(t.Context(), NewKey("s")); err != nil {
			unread++
		} else {
			check(kvs)
		}
		close(stop)
		<-released
		commit1(t, s, Change{Key: NewKey("other"), Value: []byte("x")}) // repairs
		kvs, err := s.List(t.Context(), NewKey("s"))
		if err != nil {
			t.Fatal(err)
		}
		check(kvs)
		if len(kvs) > 0 {
			last = version(kvs[0])
		}
		if j.engine != engine {
			restarts++
		}
	}
	t.Logf("%d commits refused, %d reads refused, %d restarts of the server", refused, unread, restarts)
}

// A program that starts on a full disk says so instead of touching the store.
func TestOpenOnAFullDisk(t *testing.T) {
	dir := smallDisk(t, "16m")
	release := fillDisk(t, dir, 0)
	_, err := Open(t.Context(), Options{Dir: dir})
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("Open: %v, want %v", err, unix.ENOSPC)
	}
	release()
	open(t, Options{Dir: dir})
}
