package journal

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLogRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	next := 1
	for round := range 3 {
		j := open(t, Options{Dir: dir})
		l := newLog(t, j, LogOptions[entry]{})
		stop := background(t, l.Run)
		for range 1234 {
			l.Append(entry{ID: next}, false)
			next++
		}
		if err := stop(); err != nil { // writes what is buffered
			t.Fatal(err)
		}
		entries, _ := collected(t, l, 0, next-1)
		if len(entries) != next-1 {
			t.Errorf("round %d: %d entries, want %d", round, len(entries), next-1)
		}
		wantIDs(t, entries, 1)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBatchIsTheSameLiveAndReplayed(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	l := newLog(t, j, LogOptions[entry]{})
	background(t, l.Run)
	appendBatches(t, l, 1, 3, "")
	_, live := collected(t, l, 0, 3)
	if l.ring.batches == nil {
		t.Fatal("ring is empty: the batches were not live")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, Options{Dir: dir})
	_, replayed := collected(t, newLog(t, j, LogOptions[entry]{}), 0, 3)
	if diff := cmp.Diff(live, replayed); diff != "" {
		t.Errorf("live (-) and replayed (+) differ:\n%s", diff)
	}
}

func TestLinger(t *testing.T) {
	l := newLog(t, open(t, Options{}), LogOptions[entry]{})
	for id := range 10 {
		l.Append(entry{ID: id}, false)
	}
	if h := l.Health(); h.Pending != 10 || h.OldestPending.IsZero() {
		t.Errorf("directly after Append: %+v, want 10 pending", h)
	}
	background(t, l.Run)
	eventually(t, "the batch is durable", func() bool { return l.Last() == 1 })
	eventually(t, "nothing is pending", func() bool { return l.Health().Pending == 0 })
	h := l.Health()
	if h.Err != nil || h.Batches != 1 || h.LastSeq != 1 || !h.OldestPending.IsZero() {
		t.Errorf("after the batch: %+v", h)
	}
	start := time.Now()
	l.Append(entry{ID: 10}, false)
	l.Append(entry{ID: 11}, true)
	together := time.Since(start) < linger/2 // else the first may be gone by now
	entries, batches := collected(t, l, 2, 2)
	wantIDs(t, entries, 10)
	if together && len(batches) != 1 {
		t.Errorf("%d batches, want the urgent entry to take the waiting one along", len(batches))
	}
}

// Batches respect both limits: entries and bytes.
func TestBatchLimits(t *testing.T) {
	t.Parallel()
	l := newLog(t, open(t, Options{}), LogOptions[entry]{})
	pad := string(make([]byte, 3000)) // each zero is 6 bytes of JSON
	for id := range 600 {
		e := entry{ID: id}
		if id >= 500 {
			e.Pad = pad
		}
		l.Append(e, false)
	}
	background(t, l.Run)
	entries, batches := collected(t, l, 1, 600)
	wantIDs(t, entries, 0)
	if n := len(batches[0].Entries); n != maxEntries {
		t.Errorf("first batch has %d entries, want %d", n, maxEntries)
	}
	for _, b := range batches[1:] {
		data, err := encodeJSON(nil, b.Entries)
		if err != nil || len(data) > maxBytes {
			t.Errorf("batch %d: %d bytes, %v", b.Seq, len(data), err)
		}
	}
}

// An entry that cannot be stored must not stop the others.
func TestUnstorableEntry(t *testing.T) {
	t.Parallel()
	encode := func(dst []byte, entries []entry) ([]byte, error) {
		for _, e := range entries {
			if e.ID == 7 && e.Gap == 0 {
				return nil, errors.New("seven")
			}
		}
		return encodeJSON(dst, entries)
	}
	l := newLog(t, open(t, Options{}), LogOptions[entry]{Encode: encode, Decode: decodeJSON[entry], Overflow: gapOf})
	for id := range 20 {
		e := entry{ID: id}
		if id == 9 {
			e.Pad = string(make([]byte, maxBytes))
		}
		l.Append(e, false)
	}
	background(t, l.Run)
	entries, _ := collected(t, l, 1, 20)
	wantIDs(t, entries, 0)
	for _, e := range entries {
		if want := map[int]int{7: 1, 9: 1}[e.ID]; e.Gap != want {
			t.Errorf("entry %d: gap %d, want %d", e.ID, e.Gap, want)
		}
	}
	if h := l.Health(); h.Dropped != 2 {
		t.Errorf("dropped %d, want 2", h.Dropped)
	}
}

func TestLogIsOpenedOnce(t *testing.T) {
	j := open(t, Options{})
	l := newLog(t, j, LogOptions[entry]{})
	if _, err := NewLog(t.Context(), j, LogOptions[entry]{}); err == nil {
		t.Error("second NewLog succeeded")
	}
	stop := background(t, l.Run)
	appendBatches(t, l, 1, 1, "") // Run is running
	if err := l.Run(t.Context()); err == nil {
		t.Error("second Run succeeded")
	}
	if err := stop(); err != nil {
		t.Errorf("Run at the end of its context: %v, want nil", err)
	}
}

func TestFirstAndLast(t *testing.T) {
	l := newLog(t, open(t, Options{}), LogOptions[entry]{})
	if first, err := l.First(t.Context()); first != 1 || l.Last() != 0 || err != nil {
		t.Errorf("empty log: %d to %d, %v; want 1 to 0", first, l.Last(), err)
	}
	background(t, l.Run)
	appendBatches(t, l, 1, 3, "")
	if first, err := l.First(t.Context()); first != 1 || l.Last() != 3 || err != nil {
		t.Errorf("log: %d to %d, %v; want 1 to 3", first, l.Last(), err)
	}
}

// The stored log ending anywhere else than where Run left it is not something to write on top of.
func TestRunStopsOnForeignWrite(t *testing.T) {
	j := open(t, Options{})
	l := newLog(t, j, LogOptions[entry]{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := j.engine.nc.Publish(rootLog, []byte(`[]`)); err != nil {
		t.Fatal(err)
	}
	if err := j.engine.nc.Publish(rootLog, []byte(`[]`)); err != nil {
		t.Fatal(err)
	}
	l.Append(entry{ID: 1}, true)
	if err := l.Run(ctx); !errors.Is(err, errMoved) {
		t.Errorf("Run: %v, want %v", err, errMoved)
	}
}

// kill -9 does not show whether writes are synced: it takes a power cut. So look at what the server was told.
func TestWritesAreSynced(t *testing.T) {
	if c := open(t, Options{}).engine.srv.JetStreamConfig(); !c.SyncAlways {
		t.Error("the server acknowledges before fsync")
	}
}
