package journal

import (
	"context"
	"sync"
	"time"
)

// foldAt is how many entries that no longer fit are gathered before they are folded into the gap.
const foldAt = 1024

// buffer holds the entries that wait for the disk: at most limit, plus one gap in front of them that stands for all the older
// ones that did not fit. The oldest give way, so that after a long stop the newest minutes are whole, which is what rules need.
type buffer[T any] struct {
	limit    int
	overflow func(dropped []T) T // nil: they are only counted
	wake     chan struct{}       // has room for one: something to look at

	mu      sync.Mutex
	items   []waiting[T] // items[head:] wait
	head    int
	urgent  bool
	gap     *waiting[T]   // older than all items
	spilled []waiting[T]  // older than all items, younger than the gap; soon part of it
	folding chan struct{} // non-nil while overflow runs; closed when it is done
	dropped uint64
}

type waiting[T any] struct {
	entry T
	since time.Time
}

func newBuffer[T any](limit int, overflow func([]T) T) *buffer[T] {
	return &buffer[T]{limit: limit, overflow: overflow, wake: make(chan struct{}, 1)}
}

// add never waits for anything but other short holders of the mutex.
func (b *buffer[T]) add(e T, urgent bool) {
	b.mu.Lock()
	b.items = append(b.items, waiting[T]{e, time.Now()})
	n := len(b.items) - b.head
	signal := n == 1 || n == maxEntries || urgent && !b.urgent
	b.urgent = b.urgent || urgent
	if n > b.limit {
		b.spill()
	}
	fold := len(b.spilled) >= foldAt && b.folding == nil
	b.mu.Unlock()
	if signal {
		select {
		case b.wake <- struct{}{}:
		default:
		}
	}
	if fold {
		b.fold()
	}
}

// spill takes the oldest item out. The mutex is held.
func (b *buffer[T]) spill() {
	if b.overflow != nil {
		b.spilled = append(b.spilled, b.items[b.head])
	}
	b.drop(1)
	b.dropped++
}

// drop forgets the n oldest items, which somebody else has now. The mutex is held.
func (b *buffer[T]) drop(n int) {
	clear(b.items[b.head : b.head+n]) // for the garbage collector
	b.head += n
	if b.head > len(b.items)/2 {
		kept := copy(b.items, b.items[b.head:])
		clear(b.items[kept:])
		b.items, b.head = b.items[:kept], 0
	}
}

// fold makes one gap of the gap and what was spilled since. overflow is called without the mutex: it is the caller's code.
func (b *buffer[T]) fold() {
	b.mu.Lock()
	if b.folding != nil || len(b.spilled) == 0 {
		b.mu.Unlock()
		return
	}
	from := b.spilled
	if b.gap != nil {
		from = append([]waiting[T]{*b.gap}, from...)
	}
	done := make(chan struct{})
	b.gap, b.spilled, b.folding = nil, nil, done
	b.mu.Unlock()

	entries := make([]T, len(from))
	for i, w := range from {
		entries[i] = w.entry
	}
	gap := &waiting[T]{b.overflow(entries), from[0].since}

	b.mu.Lock()
	b.gap, b.folding = gap, nil
	b.mu.Unlock()
	close(done)
}

// take hands over up to n of the oldest entries, the gap first, and since when the oldest waited.
// They are no longer the buffer's, and the slice is new.
func (b *buffer[T]) take(n int) (entries []T, oldest time.Time) {
	for {
		b.mu.Lock()
		running, spilled := b.folding, len(b.spilled)
		if running == nil && spilled == 0 {
			break
		}
		b.mu.Unlock()
		if running != nil {
			<-running
		} else {
			b.fold()
		}
	}
	defer b.mu.Unlock()
	n = min(n, len(b.items)-b.head)
	if b.gap != nil {
		entries, oldest = append(make([]T, 0, n+1), b.gap.entry), b.gap.since
		b.gap = nil
	} else if n > 0 {
		entries, oldest = make([]T, 0, n), b.items[b.head].since
	}
	for _, w := range b.items[b.head : b.head+n] {
		entries = append(entries, w.entry)
	}
	b.drop(n)
	if len(b.items) == b.head {
		b.urgent = false
	}
	return entries, oldest
}

// ready waits until there is something worth writing: an urgent entry, a full batch, or any entry that has waited linger.
// It returns false when ctx ends first.
func (b *buffer[T]) ready(ctx context.Context, linger time.Duration) bool {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		n, urgent, oldest := b.state()
		if ctx.Err() != nil {
			return false
		}
		if urgent || n >= maxEntries {
			return true
		}
		timer.Stop()
		if n > 0 {
			left := linger - time.Since(oldest)
			if left <= 0 {
				return true
			}
			timer.Reset(left)
		}
		select {
		case <-b.wake:
		case <-timer.C:
		case <-ctx.Done():
			return false
		}
	}
}

// state returns how many entries wait, whether one is urgent, and since when the oldest waits.
func (b *buffer[T]) state() (n int, urgent bool, oldest time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = len(b.items) - b.head
	if n > 0 {
		oldest = b.items[b.head].since
	}
	if b.gap != nil || len(b.spilled) > 0 || b.folding != nil {
		n++
		if b.gap != nil {
			oldest = b.gap.since
		} else if len(b.spilled) > 0 {
			oldest = b.spilled[0].since
		}
	}
	return n, b.urgent, oldest
}

func (b *buffer[T]) droppedTotal() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dropped
}
