package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// hdrAt is when the writer made the batch, in nanoseconds since 1970.
const hdrAt = "At"

// writer is what Run needs to know from one attempt to the next. Only Run's goroutine uses it.
type writer[T any] struct {
	running  atomic.Bool
	inflight []T    // taken from the buffer, not yet durable
	fit      int    // how many entries of inflight are likely to fit into a payload
	encoded  []byte // reused
	payload  payload
	unsure   bool // the payload may be stored already
}

// payload is a batch on its way. Once it was sent it is never changed: an attempt whose outcome is not known is repeated as
// it was, so whichever attempt gets through stores the same.
type payload struct {
	n    int // entries of inflight in it; 0: no payload
	data []byte
	at   time.Time
}

// Run writes what is appended, one durable message for each batch, and tries for as long as the disk refuses. When ctx ends it
// writes what is left, for at most 5 s, and returns nil, or an error that says how many entries are lost. It also returns
// when the stored log is not the one it has written.
func (l *Log[T]) Run(ctx context.Context) error {
	if !l.w.running.CompareAndSwap(false, true) {
		return errors.New("log: Run is running already")
	}
	defer l.w.running.Store(false)
	for l.buf.ready(ctx, linger) {
		err := l.drain(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.j.opts.flush)
	defer cancel()
	for {
		if err := l.drain(flush); err != nil {
			return fmt.Errorf("log: %d entries were not written: %w", l.Health().Pending, err)
		}
		if n, _, _ := l.buf.state(); n == 0 {
			return nil
		}
	}
}

// drain writes what is in flight, and if that was nothing, the next entries of the buffer.
func (l *Log[T]) drain(ctx context.Context) error {
	if len(l.w.inflight) == 0 {
		entries, oldest := l.buf.take(maxEntries)
		l.w.inflight, l.w.fit = entries, len(entries)
		l.mu.Lock()
		l.inflight, l.oldest = len(entries), oldest
		l.mu.Unlock()
	}
	for l.encode() {
		seq, err := l.store(ctx)
		if err != nil {
			return err
		}
		l.durable(seq)
	}
	return nil
}

// durable gives the batch that was stored at seq to the followers.
func (l *Log[T]) durable(seq uint64) {
	n := l.w.payload.n
	b := Batch[T]{Seq: seq, Time: l.w.payload.at, Entries: l.w.inflight[:n:n]}
	l.w.inflight, l.w.payload = l.w.inflight[n:], payload{}
	l.mu.Lock()
	l.ring.push(b)
	l.last = seq
	l.inflight = len(l.w.inflight)
	l.health.Batches++
	l.health.Err, l.health.StuckSince = nil, time.Time{}
	changed := l.changed
	l.changed = make(chan struct{})
	l.mu.Unlock()
	close(changed)
}

// encode makes the next payload of what is in flight. It returns false when nothing is left.
func (l *Log[T]) encode() bool {
	w := &l.w
	replaced := false
	for w.payload.n == 0 && len(w.inflight) > 0 {
		var err error
		for n := min(len(w.inflight), w.fit); n > 0; {
			w.encoded, err = l.o.Encode(w.encoded[:0], w.inflight[:n])
			switch size := len(w.encoded); {
			case err != nil:
				n /= 2 // towards the one that is to blame
			case size > maxBytes:
				n = min(n-1, n*maxBytes/size)
				w.fit = max(n, 1)
			default:
				w.payload = payload{n: n, data: w.encoded, at: time.Unix(0, time.Now().UnixNano()).UTC()}
				return true
			}
		}
		if err == nil {
			err = fmt.Errorf("entry of %d bytes, want at most %d", len(w.encoded), maxBytes)
		}
		l.j.opts.Log.Error("log entry cannot be stored; it becomes a gap", "err", err)
		l.mu.Lock()
		l.health.Dropped++
		l.mu.Unlock()
		if l.o.Overflow == nil || replaced {
			w.inflight, replaced = w.inflight[1:], false
		} else {
			w.inflight[0], replaced = l.o.Overflow(w.inflight[:1:1]), true
		}
	}
	return w.payload.n > 0
}

// store makes the payload durable and returns its sequence. It returns an error only when ctx ends or there is no point in
// going on.
func (l *Log[T]) store(ctx context.Context) (uint64, error) {
	for backoff := firstBackoff; ; backoff = min(2*backoff, lastBackoff) {
		seq, err := l.attempt(ctx)
		if err == nil {
			return seq, nil
		}
		if errors.Is(err, errMoved) || errors.Is(err, ErrClosed) {
			return 0, err
		}
		if ctx.Err() == nil {
			l.stuck(err)
			if waitErr := l.j.wait(ctx, backoff); waitErr != nil {
				return 0, fmt.Errorf("%w: %w", waitErr, err)
			}
		}
		if ctx.Err() != nil {
			return 0, err
		}
	}
}

func (l *Log[T]) stuck(err error) {
	l.mu.Lock()
	first := l.health.Err == nil
	l.health.Err = err
	if first {
		l.health.StuckSince = time.Now()
	}
	l.mu.Unlock()
	if first {
		l.j.opts.Log.Error("log is stuck; entries wait in memory", "err", err)
	}
}

var errMoved = errors.New("the log is not as this process has written it")

// attempt tries once. The server accepts the payload only as the next one after the last durable batch, so that no attempt can
// store it twice or over another.
func (l *Log[T]) attempt(ctx context.Context) (uint64, error) {
	next := l.Last() + 1
	if l.w.unsure {
		if err := l.j.repair(ctx); err != nil {
			return 0, err
		}
		_, last, err := l.ends(ctx)
		switch {
		case err != nil:
			return 0, err
		case last == next: // nobody else writes, so it is this payload
			l.w.unsure = false
			return next, nil
		case last != next-1:
			return 0, fmt.Errorf("%w: it ends at %d, want %d", errMoved, last, next-1)
		}
		l.w.unsure = false
	}
	if err := l.j.room(l.j.opts.MinFree); err != nil {
		return 0, err
	}
	e, err := l.j.current(ctx)
	if err != nil {
		return 0, err
	}
	answer, cancel := context.WithTimeout(ctx, l.j.opts.answer)
	defer cancel()
	seq, err := e.publish(answer, &nats.Msg{
		Subject: rootLog,
		Header: nats.Header{
			hdrExpectLast: {strconv.FormatUint(next-1, 10)},
			hdrAt:         {strconv.FormatInt(l.w.payload.at.UnixNano(), 10)},
		},
		Data: l.w.payload.data,
	})
	switch {
	case err == nil:
		return seq, nil
	case conflict(err):
		l.w.unsure = true
	case unanswered(err):
		l.w.unsure = true
		if repairErr := l.j.repair(ctx); repairErr != nil {
			return 0, fmt.Errorf("%w: %w", repairErr, err)
		}
	}
	return 0, err
}
