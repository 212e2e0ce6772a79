package journal

import (
	"context"
	"errors"
	"fmt"
)

// Follow calls f with every batch from the sequence from on, in order and each once, until ctx ends or f returns an error, and
// returns ctx's or f's error. From 0 means the oldest batch that is kept. A from whose batch is kept no longer continues at
// the oldest, and Missing tells how many were passed over. Besides, Follow returns an error that wraps ErrBeyondEnd or
// ErrNewer, or ErrClosed.
//
// A follower that keeps up shares the writer's entries; nothing is decoded for it. One that is behind reads from the disk.
// Followers do not wait for each other, and the writer waits for none.
func (l *Log[T]) Follow(ctx context.Context, from uint64, f func(ctx context.Context, b Batch[T]) error) error {
	next := max(from, 1)
	if last := l.Last(); next > last+1 {
		return fmt.Errorf("follow the log from %d: it ends at %d: %w", from, last, ErrBeyondEnd)
	}
	expected := from // the sequence that leaves nothing missing; 0: any
	for {
		batches, upTo, changed := l.since(next)
		if changed != nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return ctx.Err()
			case <-l.j.closed:
				return ErrClosed
			}
		}
		if batches == nil {
			var err error
			if batches, next, err = l.read(ctx, next, upTo); err != nil {
				return err
			}
		} else {
			next = upTo + 1
		}
		for _, b := range batches {
			if err := ctx.Err(); err != nil {
				return err
			}
			if expected > 0 {
				b.Missing = b.Seq - expected
			}
			expected = b.Seq + 1
			if err := f(ctx, b); err != nil {
				return err
			}
		}
	}
}

// Range calls f with every batch from one sequence to another, both included, in order and each once, as far as it is kept and
// durable, and returns when there is no more: it waits for nothing. Batches that do not decode are passed over. It returns f's
// or ctx's error, an error that wraps ErrNewer, or ErrClosed.
func (l *Log[T]) Range(ctx context.Context, from, to uint64, f func(b Batch[T]) error) error {
	next, to := max(from, 1), min(to, l.Last())
	for next <= to {
		batches, after, err := l.read(ctx, next, to)
		if err != nil {
			return err
		}
		for _, b := range batches {
			if err := f(b); err != nil {
				return err
			}
		}
		next = after
	}
	return nil
}

// since returns the batches from next on up to the newest durable one, upTo; or, when there is none, a channel that is closed
// when there is; or neither, when next is older than the ring.
func (l *Log[T]) since(next uint64) (batches []Batch[T], upTo uint64, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if next > l.last {
		return nil, l.last, l.changed
	}
	return l.ring.from(next), l.last, nil
}

// read gets batches from the disk, some of those from next up to upTo, and the position after them. It does not go beyond
// upTo: the server may show a message that is not durable yet.
func (l *Log[T]) read(ctx context.Context, next, upTo uint64) ([]Batch[T], uint64, error) {
	var msgs []logMessage
	err := l.j.insist(ctx, func(ctx context.Context, e *engine) (err error) {
		msgs, err = e.readLog(ctx, next, readBytes)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("read the log from %d: %w", next, err)
	}
	if len(msgs) == 0 {
		return nil, upTo + 1, nil // nothing of it is kept
	}
	batches := make([]Batch[T], 0, len(msgs))
	for _, m := range msgs {
		if m.seq > upTo {
			return batches, upTo + 1, nil
		}
		entries, err := l.o.Decode(m.data)
		if errors.Is(err, ErrNewer) {
			if len(batches) > 0 {
				break // those first; the next read meets this one again
			}
			return nil, 0, fmt.Errorf("read the log at %d: %w", m.seq, err)
		}
		next = m.seq + 1
		if err != nil {
			l.poison(m.seq, err)
			continue
		}
		batches = append(batches, Batch[T]{Seq: m.seq, Time: m.time, Entries: entries})
	}
	return batches, next, nil
}
