package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if role := os.Getenv("JOURNAL_TEST_ROLE"); role != "" {
		child(role)
		return
	}
	// The server leaks one of these for each commit that it cannot stage on a full disk (v2.15.2). Commit asks for room before,
	// but TestDiskFullInACommit takes it away in between.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*msgBlock).flushLoop"))
}

// entry is what the tests log. N of a gap is how many entries it stands for.
type entry struct {
	ID  int    `json:"id"`
	Gap int    `json:"gap,omitempty"`
	Pad string `json:"pad,omitempty"`
}

func gapOf(dropped []entry) entry {
	g := entry{ID: dropped[0].ID}
	for _, e := range dropped {
		if e.Gap > 0 {
			g.Gap += e.Gap
		} else {
			g.Gap++
		}
	}
	return g
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func testLogger(t *testing.T) *slog.Logger {
	if !testing.Verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

func open(t *testing.T, o Options) *Journal {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Log = testLogger(t)
	j, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func newLog(t *testing.T, j *Journal, o LogOptions[entry]) *Log[entry] {
	t.Helper()
	l, err := NewLog(t.Context(), j, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// background runs f and returns what stops it and returns its error. It is stopped at the end of the test in any case.
func background(t *testing.T, f func(ctx context.Context) error) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = f(ctx)
	}()
	stop = sync.OnceValue(func() error {
		cancel()
		<-done
		return err
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

var errEnough = errors.New("enough")

// collected follows the log from a sequence until it has n entries.
func collected(t *testing.T, l *Log[entry], from uint64, n int) (entries []entry, batches []Batch[entry]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := l.Follow(ctx, from, func(_ context.Context, b Batch[entry]) error {
		batches = append(batches, b)
		entries = append(entries, b.Entries...)
		if len(entries) >= n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("followed from %d: got %d of %d entries: %v", from, len(entries), n, err)
	}
	return entries, batches
}

// wantIDs checks that entries are first, first+1, ...
func wantIDs(t *testing.T, entries []entry, first int) {
	t.Helper()
	for i, e := range entries {
		if e.ID != first+i {
			t.Fatalf("entry %d has id %d, want %d", i, e.ID, first+i)
		}
	}
}

// appendBatches appends entries so that each becomes a batch of its own.
func appendBatches(t *testing.T, l *Log[entry], first, n int, pad string) {
	t.Helper()
	for id := first; id < first+n; id++ {
		before := l.Last()
		l.Append(entry{ID: id, Pad: pad}, true)
		if _, _, changed := l.since(before + 1); changed != nil {
			select {
			case <-changed:
			case <-time.After(20 * time.Second):
				t.Fatalf("entry %d is not durable after 20 s: %+v", id, l.Health())
			}
		}
	}
}

// witness follows a log and keeps what it saw.
type witness struct {
	mu      sync.Mutex
	batches []Batch[entry]
}

func (w *witness) follow(ctx context.Context, l *Log[entry]) error {
	return l.Follow(ctx, 0, func(_ context.Context, b Batch[entry]) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.batches = append(w.batches, b)
		return nil
	})
}

func (w *witness) entries() (out []entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.batches {
		out = append(out, b.Entries...)
	}
	return out
}

// covers checks that entries are the ids 0 to n-1 in order, gaps counted as what they stand for.
func covers(entries []entry, n int) (gaps int, err error) {
	next := 0
	for _, e := range entries {
		if e.ID != next {
			return gaps, fmt.Errorf("entry %d comes where %d is next", e.ID, next)
		}
		gaps += e.Gap
		next += max(e.Gap, 1)
	}
	if next != n {
		return gaps, fmt.Errorf("the log ends before %d, want %d", next, n)
	}
	return gaps, nil
}
