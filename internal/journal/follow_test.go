package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFollowFromTheMiddle(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	l := newLog(t, j, LogOptions[entry]{})
	stop := background(t, l.Run)
	appendBatches(t, l, 1, 20, "")
	for _, from := range []uint64{1, 7, 20} {
		entries, batches := collected(t, l, from, 21-int(from))
		wantIDs(t, entries, int(from))
		if batches[0].Seq != from || batches[0].Missing != 0 {
			t.Errorf("from %d: first batch %d, missing %d", from, batches[0].Seq, batches[0].Missing)
		}
	}
	if err := errors.Join(stop(), j.Close()); err != nil {
		t.Fatal(err)
	}
	// The same from the disk.
	l = newLog(t, open(t, Options{Dir: dir}), LogOptions[entry]{})
	for _, from := range []uint64{1, 7, 20} {
		entries, _ := collected(t, l, from, 21-int(from))
		wantIDs(t, entries, int(from))
	}
}

func TestFollowBeyondTheEnd(t *testing.T) {
	l := newLog(t, open(t, Options{}), LogOptions[entry]{})
	background(t, l.Run)
	appendBatches(t, l, 1, 3, "")
	err := l.Follow(t.Context(), 5, func(context.Context, Batch[entry]) error { return nil })
	if !errors.Is(err, ErrBeyondEnd) {
		t.Errorf("follow from 5 of 3: %v, want %v", err, ErrBeyondEnd)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = l.Follow(ctx, 4, func(context.Context, Batch[entry]) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("follow from the next one: %v, want %v", err, context.Canceled)
	}
}

// Followers of every speed see every batch once and in order, and the slowest holds up neither the writer nor the others.
func TestFollowersFallOutOfTheRingAndRejoin(t *testing.T) {
	t.Parallel()
	const total = 2 * ringBatches
	l := newLog(t, open(t, Options{}), LogOptions[entry]{})
	background(t, l.Run)
	blocked := make(chan struct{})
	var wg sync.WaitGroup
	follow := func(name string, before func(b Batch[entry])) {
		wg.Go(func() {
			next := uint64(1)
			err := l.Follow(t.Context(), 1, func(_ context.Context, b Batch[entry]) error {
				if b.Seq != next || b.Missing != 0 || len(b.Entries) != 1 || b.Entries[0].ID != int(b.Seq) {
					return fmt.Errorf("got batch %+v, want %d", b, next)
				}
				next++
				before(b)
				if b.Seq == total {
					return errEnough
				}
				return nil
			})
			if !errors.Is(err, errEnough) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	follow("fast", func(Batch[entry]) {})
	follow("stuck at the third until all is written", func(b Batch[entry]) {
		if b.Seq == 3 {
			<-blocked
		}
	})
	follow("now and then slow", func(b Batch[entry]) {
		if b.Seq%100 == 0 {
			now := l.Last()
			for deadline := time.Now().Add(time.Second); l.Last() < min(now+50, total) && time.Now().Before(deadline); {
				_ = l.j.wait(t.Context(), time.Millisecond)
			}
		}
	})
	appendBatches(t, l, 1, total, "")
	l.mu.Lock()
	if first := l.ring.batches[0].Seq; first < ringBatches/2 {
		t.Errorf("ring still starts at %d: the stuck follower did not fall out", first)
	}
	l.mu.Unlock()
	close(blocked)
	wg.Wait()
}

// The log loses its oldest batches while followers are somewhere behind: they continue at the oldest and are told.
func TestRetentionWhileAFollowerIsBehind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := open(t, Options{Dir: dir, MaxBytes: 64 << 10})
	l := newLog(t, j, LogOptions[entry]{})
	background(t, l.Run)
	pad := strings.Repeat("x", 1000)
	written := make(chan struct{})
	behind := make(chan error, 1)
	go func() {
		next := uint64(1)
		behind <- l.Follow(t.Context(), 1, func(_ context.Context, b Batch[entry]) error {
			if b.Seq != next+b.Missing {
				return fmt.Errorf("batch %d missing %d after %d", b.Seq, b.Missing, next-1)
			}
			next = b.Seq + 1
			switch b.Seq {
			case 5:
				<-written
			case 2 * ringBatches:
				return errEnough
			}
			return nil
		})
	}()
	appendBatches(t, l, 1, 2*ringBatches, pad)
	first, err := l.First(t.Context())
	if err != nil || first < ringBatches {
		t.Fatalf("first kept is %d, %v; want the log to be shorter than the ring", first, err)
	}
	// The ring would hide what the log has lost.
	l.mu.Lock()
	l.ring = ring[entry]{}
	l.mu.Unlock()
	_, batches := collected(t, l, 3, 1)
	if b := batches[0]; b.Seq != first || b.Missing != first-3 {
		t.Errorf("from 3: batch %d, missing %d; want %d, %d", b.Seq, b.Missing, first, first-3)
	}
	_, batches = collected(t, l, 0, 1)
	if b := batches[0]; b.Seq != first || b.Missing != 0 {
		t.Errorf("from 0: batch %d, missing %d; want %d, 0", b.Seq, b.Missing, first)
	}
	close(written)
	if err := <-behind; !errors.Is(err, errEnough) {
		t.Error(err)
	}
}

// The server may show a message that it has not made durable. Followers must not get it.
func TestReadStopsAtTheDurableEnd(t *testing.T) {
	l := newLog(t, open(t, Options{}), LogOptions[entry]{})
	background(t, l.Run)
	appendBatches(t, l, 1, 5, "")
	for upTo := uint64(1); upTo <= 5; upTo++ {
		batches, next, err := l.read(t.Context(), 1, upTo)
		if len(batches) != int(upTo) || next != upTo+1 || err != nil {
			t.Errorf("read up to %d: %d batches, next %d, %v", upTo, len(batches), next, err)
		}
	}
}

// Everything was removed by retention: a follower must not wait for what cannot come.
func TestFollowAfterAllIsGone(t *testing.T) {
	j := open(t, Options{})
	l := newLog(t, j, LogOptions[entry]{})
	background(t, l.Run)
	appendBatches(t, l, 1, 5, "")
	s, err := j.engine.js.Stream(t.Context(), streamLog)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.ring = ring[entry]{}
	l.mu.Unlock()
	if first, err := l.First(t.Context()); first != 6 || err != nil {
		t.Errorf("first is %d, %v; want 6", first, err)
	}
	appendBatches(t, l, 6, 1, "")
	_, batches := collected(t, l, 2, 1)
	if b := batches[0]; b.Seq != 6 || b.Missing != 4 {
		t.Errorf("got batch %d, missing %d; want 6, 4", b.Seq, b.Missing)
	}
}

func decodeVersioned(data []byte) ([]entry, error) {
	var es []struct {
		entry
		V int
	}
	if err := json.Unmarshal(data, &es); err != nil {
		return nil, err
	}
	out := make([]entry, len(es))
	for i, e := range es {
		if e.V > 1 {
			return nil, fmt.Errorf("entry of version %d, want at most 1: %w", e.V, ErrNewer)
		}
		out[i] = e.entry
	}
	return out, nil
}

func TestPoisonedAndNewerBatches(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	for i, data := range []string{`[{"id":1}]`, `{half`, `[{"id":"x"}]`, `[{"id":4}]`, `[{"id":5,"V":2}]`} {
		if _, err := j.engine.js.Publish(t.Context(), rootLog, []byte(data)); err != nil {
			t.Fatalf("message %d: %v", i+1, err)
		}
	}
	o := LogOptions[entry]{Encode: encodeJSON[entry], Decode: decodeVersioned}
	l := newLog(t, j, o)
	for range 2 { // once more: counted and logged only once
		var seen []uint64
		err := l.Follow(t.Context(), 1, func(_ context.Context, b Batch[entry]) error {
			seen = append(seen, b.Seq, b.Missing)
			return nil
		})
		if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "at 5") {
			t.Errorf("follow: %v, want %v at 5", err, ErrNewer)
		}
		if got, want := fmt.Sprint(seen), "[1 0 4 2]"; got != want {
			t.Errorf("batches and missing before the newer one: %v, want %v", got, want)
		}
		if h := l.Health(); h.Poisoned != 2 {
			t.Errorf("poisoned %d, want 2", h.Poisoned)
		}
	}
}

// TestRange reads pieces of a log, also such as end where nothing can be read, and waits for nothing.
func TestRange(t *testing.T) {
	j := open(t, Options{})
	for i, data := range []string{`[{"id":1}]`, `{half`, `[{"id":3}]`, `{half`, `[{"id":5,"V":2}]`} {
		if _, err := j.engine.js.Publish(t.Context(), rootLog, []byte(data)); err != nil {
			t.Fatalf("message %d: %v", i+1, err)
		}
	}
	l := newLog(t, j, LogOptions[entry]{Encode: encodeJSON[entry], Decode: decodeVersioned})
	for _, c := range []struct {
		from, to uint64
		want     string
		newer    bool
	}{
		{0, 4, "[1 3]", false},
		{1, 1, "[1]", false},
		{2, 2, "[]", false},
		{2, 4, "[3]", false},
		{4, 3, "[]", false},
		{6, 9, "[]", false},
		{3, 99, "[3]", true},
	} {
		seen := []uint64{}
		err := l.Range(t.Context(), c.from, c.to, func(b Batch[entry]) error {
			seen = append(seen, b.Seq)
			return nil
		})
		if fmt.Sprint(seen) != c.want || errors.Is(err, ErrNewer) != c.newer || err != nil && !c.newer {
			t.Errorf("from %d to %d: %v, %v; want %s", c.from, c.to, seen, err, c.want)
		}
	}
}

func TestFollowEndsWithTheJournal(t *testing.T) {
	j := open(t, Options{})
	l := newLog(t, j, LogOptions[entry]{})
	followed := make(chan error, 1)
	go func() {
		followed <- l.Follow(t.Context(), 0, func(context.Context, Batch[entry]) error { return nil })
	}()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-followed; !errors.Is(err, ErrClosed) {
		t.Errorf("Follow: %v, want %v", err, ErrClosed)
	}
	if err := j.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// The ring against the plainest model of it.
func TestRing(t *testing.T) {
	var r ring[int]
	var all []Batch[int]
	rnd := rand.New(rand.NewPCG(1, 2))
	type handedOut struct{ got, then []Batch[int] }
	var held []handedOut
	for seq := uint64(10); seq < 5000; seq++ {
		b := Batch[int]{Seq: seq, Entries: make([]int, rnd.IntN(500))}
		r.push(b)
		all = append(all, b)
		from := max(10, seq-min(seq, uint64(rnd.IntN(300))))
		got := r.from(from)
		if got == nil {
			if from >= r.batches[0].Seq {
				t.Fatalf("from %d: nothing, but the ring starts at %d", from, r.batches[0].Seq)
			}
			continue
		}
		held = append(held, handedOut{got, slices.Clone(got)})
		for i, g := range got {
			if w := all[from-10+uint64(i)]; g.Seq != w.Seq || len(g.Entries) != len(w.Entries) {
				t.Fatalf("from %d: item %d is batch %d, want %d", from, i, g.Seq, w.Seq)
			}
		}
		if got[len(got)-1].Seq != seq {
			t.Fatalf("from %d: ends at %d, want %d", from, got[len(got)-1].Seq, seq)
		}
	}
	for _, h := range held {
		if !slices.EqualFunc(h.got, h.then, func(a, b Batch[int]) bool { return a.Seq == b.Seq }) {
			t.Fatalf("what was handed out as batches %d to %d has changed", h.then[0].Seq, h.then[len(h.then)-1].Seq)
		}
	}
	if len(r.batches) > ringBatches || r.entries > ringEntries {
		t.Errorf("ring holds %d batches, %d entries", len(r.batches), r.entries)
	}
}

// The server says nothing at the end of a page that is exactly as large as was asked for.
func TestReadPagesOfEverySize(t *testing.T) {
	t.Parallel()
	j := open(t, Options{})
	l := newLog(t, j, LogOptions[entry]{})
	background(t, l.Run)
	const total = 8
	for id := 1; id <= total; id++ {
		appendBatches(t, l, id, 1, strings.Repeat("x", id)) // no two of one size
	}
	e, err := j.current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sizes := map[int]int{} // by the number of messages on the page
	for size := 200; size < 800; size++ {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		msgs, err := e.readLog(ctx, 1, size)
		cancel()
		if err != nil {
			t.Fatalf("a page of %d bytes: %v", size, err)
		}
		sizes[len(msgs)]++
		for i, m := range msgs {
			if m.seq != uint64(i+1) {
				t.Fatalf("a page of %d bytes: message %d is number %d of the log", size, i+1, m.seq)
			}
		}
	}
	if sizes[0] > 0 || len(sizes) < 4 {
		t.Errorf("pages with this many messages: %v, want none with 0 and some with each of several", sizes)
	}
}
