package journal

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBufferOverflow(t *testing.T) {
	b := newBuffer(100, gapOf)
	const n = 3*foldAt + 7
	for id := range n {
		b.add(entry{ID: id}, false)
	}
	entries, oldest := b.take(50)
	if want := (entry{ID: 0, Gap: n - 100}); entries[0] != want {
		t.Errorf("the gap is %+v, want %+v", entries[0], want)
	}
	wantIDs(t, entries[1:], n-100)
	if len(entries) != 51 || oldest.IsZero() {
		t.Errorf("took %d entries waiting since %v, want the gap and 50", len(entries), oldest)
	}
	entries, _ = b.take(1000)
	wantIDs(t, entries, n-50)
	if entries, _ := b.take(1000); len(entries) != 0 {
		t.Errorf("%d entries left", len(entries))
	}
	if d := b.droppedTotal(); d != n-100 {
		t.Errorf("dropped %d, want %d", d, n-100)
	}
}

func TestBufferWithoutOverflow(t *testing.T) {
	b := newBuffer[entry](10, nil)
	for id := range 5000 {
		b.add(entry{ID: id}, false)
	}
	entries, _ := b.take(100)
	wantIDs(t, entries, 4990)
	if len(entries) != 10 || b.droppedTotal() != 4990 {
		t.Errorf("%d entries, %d dropped", len(entries), b.droppedTotal())
	}
	if cap(b.items) > 100 {
		t.Errorf("a buffer for 10 has grown to %d", cap(b.items))
	}
}

// Overflow is the caller's code: it may look at the buffer, and Append does not wait while it runs elsewhere.
func TestOverflowRunsWithoutLocks(t *testing.T) {
	var b *buffer[entry]
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b = newBuffer(10, func(dropped []entry) entry {
		b.state()
		once.Do(func() {
			close(entered)
			<-leave
		})
		return gapOf(dropped)
	})
	go func() {
		for id := range foldAt + 10 {
			b.add(entry{ID: id}, false)
		}
	}()
	<-entered
	for id := foldAt + 10; id < 5*foldAt; id++ {
		b.add(entry{ID: id}, false)
	}
	taken := make(chan []entry)
	go func() {
		entries, _ := b.take(100)
		taken <- entries
	}()
	select {
	case <-taken:
		t.Fatal("entries were taken before those that are older")
	case <-time.After(20 * time.Millisecond):
	}
	close(leave)
	if _, err := covers(<-taken, 5*foldAt); err != nil {
		t.Error(err)
	}
}

func TestBufferManyAppenders(t *testing.T) {
	const appenders, each = 8, 5000
	var count atomic.Int64 // of entries that came out or are in a gap
	b := newBuffer(500, gapOf)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range appenders {
		wg.Go(func() {
			for id := range each {
				b.add(entry{ID: id}, id%100 == 0)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(done)
		for b.ready(ctx, time.Millisecond) {
			entries, _ := b.take(37)
			for _, e := range entries {
				count.Add(int64(max(e.Gap, 1)))
			}
		}
	}()
	wg.Wait()
	eventually(t, "all came out", func() bool { return count.Load() == appenders*each })
	cancel()
	<-done
}

func TestReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuffer[int](1000, nil)
		ctx, cancel := context.WithCancel(t.Context())
		timed := func(want time.Duration) {
			t.Helper()
			start := time.Now()
			if ok := b.ready(ctx, linger); !ok || time.Since(start) != want {
				t.Errorf("ready is %v after %v, want true after %v", ok, time.Since(start), want)
			}
		}
		b.add(1, false)
		timed(linger)
		timed(0) // it has waited long enough
		b.take(10)
		time.AfterFunc(time.Minute, func() { b.add(1, false) })
		time.AfterFunc(time.Minute+100*time.Millisecond, func() { b.add(2, true) })
		timed(time.Minute + 100*time.Millisecond)
		b.take(10)
		time.AfterFunc(time.Minute, func() {
			for i := range maxEntries {
				b.add(i, false)
			}
		})
		timed(time.Minute)
		b.take(1)
		timed(linger)
		b.take(maxEntries)
		time.AfterFunc(time.Minute, cancel)
		if b.ready(ctx, linger) {
			t.Error("ready with nothing there")
		}
	})
}
