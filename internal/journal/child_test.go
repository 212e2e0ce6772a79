package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// child is what the test binary does when a test starts it again as another process.
func child(role string) {
	err := errors.New("unknown role " + role)
	dir := os.Getenv("JOURNAL_TEST_DIR")
	switch role {
	case "hold":
		err = childHold(dir)
	case "work":
		err = childWork(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// childHold opens the journal and keeps it until its input ends.
func childHold(dir string) error {
	j, err := Open(context.Background(), Options{Dir: dir})
	if err != nil {
		return err
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return j.Close()
}

// childWork appends entries with growing ids and changes two records together, for ever, and prints what is durable.
func childWork(ctx context.Context, dir string) error {
	j, err := Open(ctx, Options{Dir: dir})
	if err != nil {
		return err
	}
	l, err := NewLog(ctx, j, LogOptions[entry]{Buffer: 1 << 20})
	if err != nil {
		return err
	}
	next := 0
	if last := l.Last(); last > 0 {
		err := l.Follow(ctx, last, func(_ context.Context, b Batch[entry]) error {
			next = b.Entries[len(b.Entries)-1].ID + 1
			return errEnough
		})
		if !errors.Is(err, errEnough) {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.Run(ctx) })
	g.Go(func() error {
		return l.Follow(ctx, l.Last()+1, func(_ context.Context, b Batch[entry]) error {
			_, err := fmt.Println("entry", b.Entries[len(b.Entries)-1].ID)
			return err
		})
	})
	g.Go(func() error {
		for ; ; next++ {
			l.Append(entry{ID: next, Pad: strings.Repeat("x", rand.IntN(400))}, rand.IntN(20) == 0)
			if rand.IntN(50) == 0 || l.Health().Pending > 2000 {
				if err := j.wait(ctx, time.Duration(rand.IntN(5))*time.Millisecond); err != nil {
					return err
				}
			}
		}
	})
	g.Go(func() error {
		s := j.State()
		n := 0
		if v, _, err := s.Get(ctx, NewKey("n", "a")); err == nil {
			_, _ = fmt.Sscan(string(v), &n)
		}
		for {
			n++
			v := fmt.Append(nil, n)
			if _, err := s.Commit(ctx, Change{Key: NewKey("n", "a"), Value: v}, Change{Key: NewKey("n", "b"), Value: v}); err != nil {
				return err
			}
			if _, err := fmt.Println("commit", n); err != nil {
				return err
			}
		}
	})
	return g.Wait()
}

// startChild starts the test binary as another process that does role in dir.
func startChild(t *testing.T, role, dir string) (cmd *exec.Cmd, in io.WriteCloser, out *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "JOURNAL_TEST_ROLE="+role, "JOURNAL_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	in, err = cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, in, bufio.NewScanner(stdout)
}

func TestOpenNamesTheHolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd, in, out := startChild(t, "hold", dir)
	if !out.Scan() || out.Text() != "open" {
		t.Fatalf("child says %q", out.Text())
	}
	start := time.Now()
	_, err := Open(t.Context(), Options{Dir: dir})
	var locked *LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("Open: %v, want a *LockedError", err)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("Open took %v to refuse", took)
	}
	host, _ := os.Hostname()
	if h := locked.Holder; h.PID != cmd.Process.Pid || h.Host != host || time.Since(h.Started) > time.Minute {
		t.Errorf("holder %+v, want process %d on %s", h, cmd.Process.Pid, host)
	}
	if want := fmt.Sprintf("in use by process %d on host %s", cmd.Process.Pid, host); !strings.Contains(err.Error(), want) {
		t.Errorf("Open: %v, want %q", err, want)
	}
	// In the same process, too.
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	open(t, Options{Dir: dir})
	if _, err := Open(t.Context(), Options{Dir: dir}); !errors.As(err, &locked) || locked.Holder.PID != os.Getpid() {
		t.Errorf("second Open in the process: %v, want a *LockedError", err)
	}
}

// What was reported durable is there after kill -9, once, and commits are whole.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	durable, commits := -1, 0
	for round := range 4 {
		cmd, _, out := startChild(t, "work", dir)
		kill := time.AfterFunc(time.Hour, func() { _ = cmd.Process.Kill() })
		armed := false
		for out.Scan() {
			if !armed {
				armed = true
				kill.Reset(time.Duration(rand.IntN(200)) * time.Millisecond)
			}
			var what string
			var n int
			if _, err := fmt.Sscan(out.Text(), &what, &n); err != nil {
				continue // cut in the middle of the line
			}
			if what == "entry" {
				durable = max(durable, n)
			} else {
				commits = n
			}
		}
		_ = cmd.Wait() // killed
		if !armed {
			t.Fatalf("round %d: the child did nothing", round)
		}

		j := open(t, Options{Dir: dir})
		l := newLog(t, j, LogOptions[entry]{})
		var entries []entry
		ctx, cancel := context.WithCancel(t.Context())
		err := l.Follow(ctx, 0, func(_ context.Context, b Batch[entry]) error {
			entries = append(entries, b.Entries...)
			if b.Seq == l.Last() {
				cancel()
			}
			return nil
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		wantIDs(t, entries, 0)
		if len(entries) <= durable {
			t.Errorf("round %d: the log ends at %d, but %d was reported durable", round, len(entries)-1, durable)
		}
		if commits > 0 {
			a, _, errA := j.State().Get(t.Context(), NewKey("n", "a"))
			b, _, errB := j.State().Get(t.Context(), NewKey("n", "b"))
			var n int
			_, err := fmt.Sscan(string(a), &n)
			if err := errors.Join(err, errA, errB); err != nil || string(a) != string(b) || n < commits {
				t.Errorf("round %d: state is %s and %s, want both %d or more; %v", round, a, b, commits, err)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d entries, %d commits", durable, commits)
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(t.Context(), Options{}); err == nil {
		t.Error("no directory is not refused")
	}
	if _, err := Open(t.Context(), Options{Dir: t.TempDir(), MaxBytes: -1}); err == nil {
		t.Error("a negative limit is not refused")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "cluster-eu"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "cluster-eu") {
		t.Errorf("a cluster's directory: %v, want it refused", err)
	}
	if err := os.Remove(filepath.Join(dir, "cluster-eu")); err != nil {
		t.Fatal(err)
	}
	open(t, Options{Dir: dir}) // the refusal let go of the lock
}

// A stream whose description is damaged must not be replaced by an empty one.
func TestOpenDoesNotHideDamage(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	l := newLog(t, j, LogOptions[entry]{})
	background(t, l.Run)
	appendBatches(t, l, 1, 3, "")
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	meta := filepath.Join(dir, "standalone", "jetstream", "$G", "streams", streamLog, "meta.inf")
	good, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(meta, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "holds messages") {
		t.Errorf("Open: %v, want a refusal", err)
	}
	if err := os.WriteFile(meta, good, 0o600); err != nil {
		t.Fatal(err)
	}
	l = newLog(t, open(t, Options{Dir: dir}), LogOptions[entry]{})
	entries, _ := collected(t, l, 1, 3)
	wantIDs(t, entries, 1)
}

// What the message about a damaged stream advises works: the folder of the log
// is moved away, and the state is still there.
func TestLogMovedAway(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	l := newLog(t, j, LogOptions[entry]{})
	background(t, l.Run)
	appendBatches(t, l, 1, 3, "")
	if _, err := j.State().Commit(t.Context(), Change{Key: NewKey("a"), Value: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "standalone", "jetstream", "$G", "streams", streamLog)
	if err := os.WriteFile(filepath.Join(folder, "meta.inf"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "or move the folder away to begin an empty log") {
		t.Errorf("Open: %v, want the advice", err)
	}
	if err := os.Rename(folder, filepath.Join(t.TempDir(), "LOG")); err != nil {
		t.Fatal(err)
	}
	j = open(t, Options{Dir: dir})
	if n := newLog(t, j, LogOptions[entry]{}).Last(); n != 0 {
		t.Errorf("the new log ends at %d, want 0", n)
	}
	if v, _, err := j.State().Get(t.Context(), NewKey("a")); err != nil || string(v) != "1" {
		t.Errorf("state: %q, %v", v, err)
	}
}

// Limits may change from start to start.
func TestLimitsChange(t *testing.T) {
	dir := t.TempDir()
	for i, o := range []Options{
		{},
		{MaxBytes: 1 << 40, EvidenceMaxBytes: 1 << 40, MaxAge: time.Hour},
		{MaxBytes: 1 << 20, EvidenceMaxBytes: 1 << 20, MaxAge: 365 * 24 * time.Hour},
	} {
		o.Dir = dir
		j := open(t, o)
		l := newLog(t, j, LogOptions[entry]{})
		background(t, l.Run)
		appendBatches(t, l, i, 1, "")
		if l.Last() != uint64(i+1) {
			t.Errorf("start %d: log ends at %d", i, l.Last())
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
