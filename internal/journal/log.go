package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	linger     = 250 * time.Millisecond // how long an entry that is not urgent may wait for company
	maxEntries = 500                    // in one batch, not counting a gap
	maxBytes   = 512 << 10              // of one batch, encoded; the server refuses 1 MiB

	defaultBuffer = 10_000

	// What the ring of decoded batches holds: what a follower may be behind without reading from the disk.
	ringBatches = 256
	ringEntries = 16_384

	maxPoisoned = 1000 // sequences remembered, so that each is logged once
)

var (
	// ErrNewer is for Decode to return (wrapped) when a record was written by a newer version of the program. Follow stops with
	// it, since going on would lose what the record says.
	ErrNewer = errors.New("written by a newer version")
	// ErrBeyondEnd is returned by Follow for a position that the log has not reached: the position belongs to another log, or
	// the log lost its end.
	ErrBeyondEnd = errors.New("position is beyond the end of the log")
)

// LogOptions say how the entries of type T are kept. Zero means the default.
type LogOptions[T any] struct {
	// Buffer is how many entries may wait in memory while the disk takes none. Default 10,000.
	Buffer int
	// Overflow makes one entry, a gap, of entries that did not fit into the buffer or cannot be stored. The first of them may
	// be a gap that Overflow made before: it has to grow. Overflow runs on the goroutine of Append or Run, without locks.
	// Without Overflow such entries are only counted.
	Overflow func(dropped []T) T
	// Encode appends the stored form of a batch to dst; Decode reverses it. Default: a JSON array.
	Encode func(dst []byte, entries []T) ([]byte, error)
	Decode func(data []byte) ([]T, error)
}

// Batch is one message of the log.
type Batch[T any] struct {
	Seq     uint64    // position in the log, from 1; one more for each batch
	Time    time.Time // when the writer made the batch; the same however often it is read
	Entries []T       // shared between followers: do not change
	// Missing is how many batches directly before this one cannot be delivered: the log kept them no longer, or they do not
	// decode. Always 0 for the first batch of a Follow from 0.
	Missing uint64
}

// LogHealth says how the writing goes.
type LogHealth struct {
	Pending       int       // entries in memory, not yet durable
	OldestPending time.Time // since when the oldest of them waits; zero if none does
	Err           error     // why the last attempt to write did not succeed; nil if it did
	StuckSince    time.Time // since when attempts do not succeed; zero if the last one did
	Dropped       uint64    // entries that became part of a gap
	LastSeq       uint64    // of the newest durable batch
	Batches       uint64    // written by this process
	Poisoned      int       // batches that were met and do not decode; each is skipped and stays in the stream
}

// Log is the sequence of all entries. Append puts them in memory, Run writes them, Follow reads them.
type Log[T any] struct {
	j   *Journal
	o   LogOptions[T]
	buf *buffer[T]
	w   writer[T]

	mu       sync.Mutex
	ring     ring[T]
	last     uint64        // newest durable batch
	changed  chan struct{} // closed when last moves
	health   LogHealth     // Err, StuckSince, Batches, Dropped (by the writer)
	inflight int           // entries in the writer's hands
	oldest   time.Time     // since when the oldest of them waits
	poisoned map[uint64]struct{}
}

// NewLog returns the log of j. There is one writer, so it can be called once for a Journal.
func NewLog[T any](ctx context.Context, j *Journal, o LogOptions[T]) (*Log[T], error) {
	if o.Buffer < 0 {
		return nil, fmt.Errorf("log: Buffer is %d, want 0 or more", o.Buffer)
	}
	if (o.Encode == nil) != (o.Decode == nil) {
		return nil, errors.New("log: only one of Encode and Decode is given")
	}
	if o.Buffer == 0 {
		o.Buffer = defaultBuffer
	}
	if o.Encode == nil {
		o.Encode = encodeJSON[T]
		o.Decode = decodeJSON[T]
	}
	l := &Log[T]{
		j: j, o: o, buf: newBuffer(o.Buffer, o.Overflow),
		changed: make(chan struct{}), poisoned: make(map[uint64]struct{}),
	}
	var err error
	if _, l.last, err = l.ends(ctx); err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.logOpen {
		return nil, errors.New("log: opened twice")
	}
	j.logOpen = true
	return l, nil
}

func encodeJSON[T any](dst []byte, entries []T) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	err := json.NewEncoder(b).Encode(entries) // unlike Marshal it needs no copy of its own
	return b.Bytes(), err
}

func decodeJSON[T any](data []byte) ([]T, error) {
	var entries []T
	err := json.Unmarshal(data, &entries)
	return entries, err
}

// ends asks the server for the first and last sequence of the log.
func (l *Log[T]) ends(ctx context.Context) (first, last uint64, err error) {
	err = l.j.try(ctx, func(ctx context.Context, e *engine) error {
		first, last, err = e.lastSequence(ctx, streamLog)
		return err
	})
	return first, last, err
}

// First returns the sequence of the oldest batch that is still kept, or Last()+1 if there is none.
func (l *Log[T]) First(ctx context.Context) (uint64, error) {
	first, last, err := l.ends(ctx)
	if last == 0 {
		first = 1
	}
	return first, err
}

// Last returns the sequence of the newest durable batch, 0 if there never was one.
func (l *Log[T]) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Append hands e to the writer. It never blocks and never fails: the entry is in memory until Run has written it, which is
// within 250 ms, or as soon as the disk allows if urgent. Followers get it when it is durable, not before.
func (l *Log[T]) Append(e T, urgent bool) { l.buf.add(e, urgent) }

// Health returns how the writing goes. It never waits for the disk.
func (l *Log[T]) Health() LogHealth {
	n, _, oldest := l.buf.state()
	dropped := l.buf.droppedTotal()
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.health
	h.Pending = n + l.inflight
	h.OldestPending = oldest
	if l.inflight > 0 {
		h.OldestPending = l.oldest
	}
	h.Dropped += dropped
	h.LastSeq = l.last
	h.Poisoned = len(l.poisoned)
	return h
}

// poison notes that a batch does not decode.
func (l *Log[T]) poison(seq uint64, err error) {
	l.mu.Lock()
	_, known := l.poisoned[seq]
	if !known && len(l.poisoned) < maxPoisoned {
		l.poisoned[seq] = struct{}{}
	}
	l.mu.Unlock()
	if !known {
		l.j.opts.Log.Error("log batch does not decode; skipped", "seq", seq, "err", err)
	}
}

// ring holds the newest batches as they were written, so that a follower that keeps up never decodes anything.
type ring[T any] struct {
	batches []Batch[T] // sequences without holes; a slice of it that was handed out never changes
	entries int
}

func (r *ring[T]) push(b Batch[T]) {
	r.batches = append(r.batches, b)
	r.entries += len(b.Entries)
	for len(r.batches) > ringBatches || len(r.batches) > 1 && r.entries > ringEntries {
		r.entries -= len(r.batches[0].Entries)
		r.batches = r.batches[1:] // append moves what is left when it needs room, and lets go of the rest
	}
}

// from returns the batches from seq on, or nil if seq is older than the ring.
func (r *ring[T]) from(seq uint64) []Batch[T] {
	if len(r.batches) == 0 || seq < r.batches[0].Seq {
		return nil
	}
	n := len(r.batches)
	return r.batches[seq-r.batches[0].Seq : n : n]
}
