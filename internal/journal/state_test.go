package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func commit1(t *testing.T, s *State, changes ...Change) []uint64 {
	t.Helper()
	revs, err := s.Commit(t.Context(), changes...)
	if err != nil {
		t.Fatal(err)
	}
	return revs
}

// dump is what List returns, in short.
func dump(t *testing.T, s *State, prefix Key) string {
	t.Helper()
	kvs, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	parts := make([]string, len(kvs))
	for i, kv := range kvs {
		parts[i] = fmt.Sprintf("%s=%s@%d", kv.Key, kv.Value, kv.Revision)
	}
	return strings.Join(parts, " ")
}

func TestCommit(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	s := j.State()
	a, b, c := NewKey("x", "a"), NewKey("x", "b"), NewKey("y", "c")

	if _, _, err := s.Get(t.Context(), a); !errors.Is(err, ErrNotFound) {
		t.Errorf("get before the first commit: %v, want %v", err, ErrNotFound)
	}
	if got := commit1(t, s, Change{Key: a, Value: []byte("1")}); !slices.Equal(got, []uint64{1}) {
		t.Errorf("revisions %v, want 1", got)
	}
	got := commit1(t, s, Change{Key: a, Value: []byte("2"), Expect: new(uint64(1))}, Change{Key: b, Value: []byte{}, Expect: new(uint64(0))}, Change{Key: c, Value: []byte("3")})
	if !slices.Equal(got, []uint64{2, 3, 4}) {
		t.Errorf("revisions %v, want 2 3 4", got)
	}
	v, rev, err := s.Get(t.Context(), b)
	if v == nil || len(v) != 0 || rev != 3 || err != nil {
		t.Errorf("get an empty value: %q, %d, %v", v, rev, err)
	}
	if got, want := dump(t, s, NewKey("x")), "x.a=2@2 x.b=@3"; got != want {
		t.Errorf("list x: %s, want %s", got, want)
	}
	if got, want := dump(t, s, Key{}), "x.a=2@2 x.b=@3 y.c=3@4"; got != want {
		t.Errorf("list everything: %s, want %s", got, want)
	}
	commit1(t, s, Change{Key: a, Expect: new(uint64(2))}, Change{Key: c, Value: []byte("4")})
	if _, _, err := s.Get(t.Context(), a); !errors.Is(err, ErrNotFound) {
		t.Errorf("get a deleted key: %v, want %v", err, ErrNotFound)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir}).State()
	if got, want := dump(t, s, Key{}), "x.b=@3 y.c=4@6"; got != want {
		t.Errorf("list after restart: %s, want %s", got, want)
	}
}

func TestCommitConflict(t *testing.T) {
	s := open(t, Options{}).State()
	a, b, gone := NewKey("a"), NewKey("b"), NewKey("gone")
	commit1(t, s, Change{Key: a, Value: []byte("1")})
	commit1(t, s, Change{Key: gone, Value: []byte("1")})
	commit1(t, s, Change{Key: gone})
	before := dump(t, s, Key{})
	for _, c := range []struct {
		name    string
		changes []Change
		want    ConflictError
	}{
		{"one, stale", []Change{{Key: a, Value: []byte("2"), Expect: new(uint64(7))}}, ConflictError{a, 7, 1}},
		{"one, exists", []Change{{Key: a, Value: []byte("2"), Expect: new(uint64(0))}}, ConflictError{a, 0, 1}},
		{"one, missing", []Change{{Key: b, Value: []byte("2"), Expect: new(uint64(1))}}, ConflictError{b, 1, 0}},
		{"one, deleted", []Change{{Key: gone, Value: []byte("2"), Expect: new(uint64(2))}}, ConflictError{gone, 2, 0}},
		{"first of two", []Change{{Key: a, Value: []byte("2"), Expect: new(uint64(7))}, {Key: b, Value: []byte("2")}}, ConflictError{a, 7, 1}},
		{"last of two", []Change{{Key: b, Value: []byte("2")}, {Key: a, Expect: new(uint64(0))}}, ConflictError{a, 0, 1}},
	} {
		_, err := s.Commit(t.Context(), c.changes...)
		var conflict *ConflictError
		if !errors.As(err, &conflict) || *conflict != c.want || !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v, want %v", c.name, err, &c.want)
		}
		if got := dump(t, s, Key{}); got != before {
			t.Errorf("%s: state is %s, want %s", c.name, got, before)
		}
	}
	// A deleted key is a key without a record, although its marker has a revision.
	commit1(t, s, Change{Key: gone, Value: []byte("again"), Expect: new(uint64(0))}, Change{Key: b, Value: []byte("1"), Expect: new(uint64(0))})
	commit1(t, s, Change{Key: gone})
	commit1(t, s, Change{Key: gone, Value: []byte("again"), Expect: new(uint64(0))})
}

func TestCommitLimits(t *testing.T) {
	t.Parallel()
	s := open(t, Options{}).State()
	many := make([]Change, maxChanges+1)
	for i := range many {
		many[i] = Change{Key: NewKey("many", fmt.Sprint(i)), Value: []byte("v")}
	}
	a := NewKey("a")
	for _, c := range []struct {
		want    string
		changes []Change
	}{
		{"0 changes, want 1 to 900", nil},
		{"901 changes, want 1 to 900", many},
		{"without a key", []Change{{Value: []byte("v")}}},
		{"changed twice", []Change{{Key: a, Value: []byte("v")}, {Key: a}}},
		{"want at most 524288", []Change{{Key: a, Value: make([]byte, maxCommitBytes)}}},
		{"want at most 1024", []Change{{Key: NewKey(strings.Repeat(".", 400)), Value: []byte("v")}}},
	} {
		if _, err := s.Commit(t.Context(), c.changes...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("commit: %v, want %q", err, c.want)
		}
	}
	if got := dump(t, s, Key{}); got != "" {
		t.Errorf("refused commits left %s", got)
	}
	commit1(t, s, many[:maxChanges]...)
	commit1(t, s, Change{Key: a, Value: make([]byte, maxCommitBytes-1)})
	kvs, err := s.List(t.Context(), NewKey("many"))
	if len(kvs) != maxChanges || err != nil {
		t.Errorf("%d records, %v; want %d", len(kvs), err, maxChanges)
	}
}

func TestHostileKeys(t *testing.T) {
	s := open(t, Options{}).State()
	segments := []string{"", " ", "a.b", "*", ">", "%", "%2E", "$JS.API", "a\r\nPUB x 1", "\x00\xff", "ü", strings.Repeat("k", 900), "KV-Operation: PURGE"}
	for i, seg := range segments {
		commit1(t, s, Change{Key: NewKey("h", seg), Value: fmt.Append(nil, i), Expect: new(uint64(0))})
	}
	kvs, err := s.List(t.Context(), NewKey("h"))
	if err != nil || len(kvs) != len(segments) {
		t.Fatalf("%d records, %v; want %d", len(kvs), err, len(segments))
	}
	for i, kv := range kvs {
		if got, want := kv.Key.Segments(), []string{"h", segments[i]}; !slices.Equal(got, want) {
			t.Errorf("record %d has key %q, want %q", i, got, want)
		}
		v, _, err := s.Get(t.Context(), NewKey("h", segments[i]))
		if string(v) != fmt.Sprint(i) || err != nil {
			t.Errorf("get %q: %s, %v; want %d", segments[i], v, err, i)
		}
	}
}

// Counters that many change at the same time lose no change, and no reader ever sees half of a commit.
func TestConcurrentCommits(t *testing.T) {
	t.Parallel()
	s := open(t, Options{}).State()
	keys := []Key{NewKey("n", "a"), NewKey("n", "b"), NewKey("n", "c")}
	change := func(n string, revs []uint64) (cs []Change) {
		for i, k := range keys {
			cs = append(cs, Change{Key: k, Value: []byte(n), Expect: &revs[i]})
		}
		return cs
	}
	commit1(t, s, change("0", []uint64{0, 0, 0})...)
	const workers, each = 3, 8
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for done := 0; done < each; {
				kvs, err := s.List(t.Context(), NewKey("n"))
				if err != nil || len(kvs) != 3 || !slices.Equal(kvs[0].Value, kvs[1].Value) || !slices.Equal(kvs[0].Value, kvs[2].Value) {
					t.Errorf("half a commit: %v, %v", kvs, err)
					return
				}
				var n int
				if _, err := fmt.Sscan(string(kvs[0].Value), &n); err != nil {
					t.Error(err)
					return
				}
				_, err = s.Commit(t.Context(), change(fmt.Sprint(n+1), []uint64{kvs[0].Revision, kvs[1].Revision, kvs[2].Revision})...)
				if err == nil {
					done++
				} else if !errors.Is(err, ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if v, _, err := s.Get(t.Context(), keys[2]); string(v) != fmt.Sprint(workers*each) || err != nil {
		t.Errorf("counter is %s, %v; want %d", v, err, workers*each)
	}
}

// A deleted key gives its place back: the marker goes after a while, and nobody is told of it.
func TestDeletionMarkersGo(t *testing.T) {
	t.Parallel()
	j := open(t, Options{markerTTL: time.Second})
	s := j.State()
	commit1(t, s, Change{Key: NewKey("k", "a"), Value: []byte("1")}, Change{Key: NewKey("k", "b"), Value: []byte("1")})
	commit1(t, s, Change{Key: NewKey("k", "a")}, Change{Key: NewKey("k", "never")})
	stored := func() uint64 {
		st, err := j.engine.js.Stream(t.Context(), streamCtrl)
		if err != nil {
			t.Fatal(err)
		}
		return st.CachedInfo().State.Msgs
	}
	if n := stored(); n != 3 {
		t.Errorf("%d messages after the deletion, want 3", n)
	}
	eventually(t, "the markers are gone", func() bool { return stored() == 1 })
	if got, want := dump(t, s, Key{}), "k.b=1@2"; got != want {
		t.Errorf("list: %s, want %s", got, want)
	}
	commit1(t, s, Change{Key: NewKey("k", "a"), Value: []byte("2"), Expect: new(uint64(0))})
}

func TestWatch(t *testing.T) {
	j := open(t, Options{})
	s := j.State()
	for i := range 3 {
		commit1(t, s, Change{Key: NewKey("w", fmt.Sprint(i)), Value: []byte("1")})
	}
	commit1(t, s, Change{Key: NewKey("w", "0")})
	commit1(t, s, Change{Key: NewKey("other", "0"), Value: []byte("1")})
	got := make(chan KV, 100)
	stop := background(t, func(ctx context.Context) error {
		return s.Watch(ctx, NewKey("w"), func(_ context.Context, kv KV) error {
			got <- kv
			return nil
		})
	})
	want := func(kvs ...KV) {
		t.Helper()
		for _, w := range kvs {
			select {
			case kv := <-got:
				if diff := cmp.Diff(w, kv, cmp.Comparer(func(a, b Key) bool { return a == b }), cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("watch (-want +got):\n%s", diff)
				}
				if (w.Value == nil) != (kv.Value == nil) {
					t.Fatalf("watch: %+v, want %+v", kv, w)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("watch: nothing, want %+v", w)
			}
		}
	}
	want(KV{NewKey("w", "1"), []byte("1"), 2}, KV{NewKey("w", "2"), []byte("1"), 3}, KV{})
	commit1(t, s, Change{Key: NewKey("w", "1"), Value: []byte{}})
	want(KV{NewKey("w", "1"), []byte{}, 6})
	commit1(t, s, Change{Key: NewKey("other", "0"), Value: []byte("2")}, Change{Key: NewKey("w", "2")}, Change{Key: NewKey("w", "3"), Value: []byte("3")})
	want(KV{NewKey("w", "2"), nil, 8}, KV{NewKey("w", "3"), []byte("3"), 9})

	// A watcher outlives the server. What changed meanwhile is told, and only that.
	restartEngine(t, j)
	commit1(t, s, Change{Key: NewKey("w", "4"), Value: []byte("4")})
	want(KV{NewKey("w", "4"), []byte("4"), 10})
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch: %v, want %v", err, context.Canceled)
	}
	err := s.Watch(t.Context(), Key{}, func(_ context.Context, kv KV) error {
		if kv.Key.IsZero() {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Errorf("Watch: %v, want the error of its function", err)
	}
}

// A watcher that was away while a deletion marker came and went still learns of the deletion.
func TestWatchLearnsOfForgottenDeletions(t *testing.T) {
	t.Parallel()
	j := open(t, Options{markerTTL: time.Second})
	s := j.State()
	commit1(t, s, Change{Key: NewKey("w", "a"), Value: []byte("1")}, Change{Key: NewKey("w", "b"), Value: []byte("1")})
	hold, told := make(chan struct{}), make(chan KV, 10)
	background(t, func(ctx context.Context) error {
		return s.Watch(ctx, NewKey("w"), func(_ context.Context, kv KV) error {
			if kv.Key.IsZero() {
				<-hold
			}
			told <- kv
			return nil
		})
	})
	<-told // a
	<-told // b
	commit1(t, s, Change{Key: NewKey("w", "a")})
	eventually(t, "the marker is gone", func() bool {
		_, err := s.record(t.Context(), NewKey("w", "a"))
		return errors.Is(err, ErrNotFound)
	})
	close(hold)
	commit1(t, s, Change{Key: NewKey("w", "b"), Value: []byte("2")})
	for deadline := time.After(10 * time.Second); ; {
		select {
		case kv := <-told:
			if kv.Key == NewKey("w", "a") && kv.Value == nil {
				return
			}
		case <-deadline:
			t.Fatal("the deletion was not told")
		}
	}
}

// restartEngine makes the server go away the way a broken one does, and has it repaired.
func restartEngine(t *testing.T, j *Journal) {
	t.Helper()
	j.mu.Lock()
	e := j.engine
	j.mu.Unlock()
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
	if err := j.repair(t.Context()); err != nil {
		t.Fatal(err)
	}
}
