package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// An answer that got lost must not lead to a second copy, nor to a lost batch.
func TestLostAnswer(t *testing.T) {
	j := open(t, Options{})
	l := newLog(t, j, LogOptions[entry]{})
	for i, c := range []string{"stored", "not stored", "stored, then the server dies", "not stored, then the server dies"} {
		l.Append(entry{ID: i}, true)
		entries, _ := l.buf.take(10)
		l.w.inflight, l.w.fit = entries, len(entries)
		if !l.encode() {
			t.Fatal("nothing to write")
		}
		if !strings.HasPrefix(c, "not") {
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := l.attempt(ctx); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		l.w.unsure = true
		if strings.HasSuffix(c, "dies") {
			restartEngine(t, j)
		}
		seq, err := l.store(t.Context())
		if err != nil || seq != uint64(i+1) {
			t.Fatalf("%s: stored at %d, %v; want %d", c, seq, err, i+1)
		}
		l.durable(seq)
	}
	l.ring = ring[entry]{}
	entries, batches := collected(t, l, 1, 4)
	wantIDs(t, entries, 0)
	if len(batches) != 4 {
		t.Errorf("%d batches, want 4", len(batches))
	}
}

func TestCommitLostAnswer(t *testing.T) {
	t.Parallel()
	j := open(t, Options{})
	s := j.State()
	for _, n := range []int{1, 3} {
		changes := make([]Change, n)
		for i := range changes {
			changes[i] = Change{Key: NewKey(fmt.Sprint(n), fmt.Sprint(i)), Value: []byte("v"), Expect: new(uint64(0))}
		}
		c := commit{id: fmt.Sprintf("test%d", n), changes: changes, expect: make([]*uint64, n)}
		for i := range changes {
			c.expect[i] = changes[i].Expect
		}
		if seq, err := s.settle(t.Context(), &c); seq != 0 || err != nil {
			t.Errorf("%d changes, not stored: settled at %d, %v; want to try again", n, seq, err)
		}
		want, err := s.send(t.Context(), &c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.send(t.Context(), &c); !conflict(err) {
			t.Errorf("%d changes, second time: %v, want a conflict", n, err)
		}
		for range 2 {
			if seq, err := s.settle(t.Context(), &c); seq != want || err != nil {
				t.Errorf("%d changes, stored: settled at %d, %v; want %d", n, seq, err, want)
			}
			restartEngine(t, j)
		}
	}
}

// The server dies again and again under everything that uses it. Nobody notices more than a pause.
func TestServerDies(t *testing.T) {
	t.Parallel()
	j := open(t, Options{answer: 500 * time.Millisecond})
	l := newLog(t, j, LogOptions[entry]{Buffer: 1 << 20})
	stop := background(t, l.Run)
	var w witness
	background(t, func(ctx context.Context) error { return w.follow(ctx, l) })
	var mu sync.Mutex
	watched := ""
	background(t, func(ctx context.Context) error {
		return j.State().Watch(ctx, Key{}, func(_ context.Context, kv KV) error {
			mu.Lock()
			defer mu.Unlock()
			watched = string(kv.Value)
			return nil
		})
	})
	n, commits := 0, 0
	for round := range 6 {
		for range 200 {
			l.Append(entry{ID: n}, n%10 == 0)
			n++
		}
		j.mu.Lock()
		e := j.engine
		j.mu.Unlock()
		switch {
		case e == nil: // being replaced
		case round%3 == 0:
			e.srv.Shutdown()
		case round%3 == 1:
			if err := e.srv.ShutdownJetStream(); err != nil {
				t.Fatal(err)
			}
		default:
			e.nc.Close()
		}
		for range 3 {
			commits++
			v := fmt.Append(nil, commits)
			if _, err := j.State().Commit(t.Context(), Change{Key: NewKey("n", "a"), Value: v}, Change{Key: NewKey("n", "b"), Value: v}); err != nil {
				t.Errorf("commit %d: %v", commits, err)
			}
		}
		if err := j.PutEvidence(t.Context(), NewKey("e"), fmt.Append(nil, round)); err != nil {
			t.Error(err)
		}
		data, _, err := j.Evidence(t.Context(), NewKey("e"))
		if string(data) != fmt.Sprint(round) || err != nil {
			t.Errorf("evidence is %s, %v; want %d", data, err, round)
		}
	}
	eventually(t, "the follower has it", func() bool { return len(w.entries()) == n })
	wantIDs(t, w.entries(), 0)
	eventually(t, "the watcher has it", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return watched == fmt.Sprint(commits)
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	l.mu.Lock()
	l.ring = ring[entry]{}
	l.mu.Unlock()
	_, batches := collected(t, l, 0, n)
	if diff := cmp.Diff(w.batches, batches); diff != "" {
		t.Errorf("what the follower saw (-) and what is stored (+) differ:\n%s", diff)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	l.Append(entry{}, true)
	if err := l.Run(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("Run of a closed journal: %v, want %v", err, ErrClosed)
	}
	if _, err := j.State().Commit(t.Context(), Change{Key: NewKey("k"), Value: []byte("v")}); !errors.Is(err, ErrClosed) {
		t.Errorf("Commit to a closed journal: %v, want %v", err, ErrClosed)
	}
}

// Run says how much it could not write.
func TestRunCountsWhatIsLost(t *testing.T) {
	j := open(t, Options{MinFree: 1 << 60, flush: 300 * time.Millisecond})
	l := newLog(t, j, LogOptions[entry]{})
	for id := range 7 {
		l.Append(entry{ID: id}, true)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	start := time.Now()
	err := l.Run(ctx)
	if err == nil || !strings.Contains(err.Error(), "7 entries were not written") || !strings.Contains(err.Error(), "want 1099511627776.0 MiB") {
		t.Errorf("Run: %v, want the number and the reason", err)
	}
	if took := time.Since(start); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("Run took %v to give up, want about 300 ms", took)
	}
}
