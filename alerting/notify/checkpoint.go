package notify

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"
)

// pieceSize is the most bytes of a checkpoint that one record holds.
const pieceSize = maxBytes

// checkpointHead says which pieces make up the newest checkpoint and where in
// the log it was taken. It is written last, and the pieces of the one before
// are left alone, so that a crash in between costs nothing.
type checkpointHead struct {
	V          int       `json:"v"`
	Generation string    `json:"generation"` // "a" and "b" in turn: the second segment of the pieces' keys
	Pieces     int       `json:"pieces"`
	Sum        string    `json:"sum"`  // SHA-256 over all pieces
	Next       uint64    `json:"next"` // the first batch that it does not hold
	At         time.Time `json:"at"`   // of the newest entry in it
}

const checkpointVersion = 1

// checkpoint stores the windows of the engine. A failure costs only a longer
// replay after a restart, so it is logged and tried again in a minute.
func (e *Evaluator) checkpoint(ctx context.Context) {
	e.checkpointed = e.at
	if err := e.saveCheckpoint(ctx); err != nil {
		e.logger.Error("checkpoint not stored", "next", e.next, "err", err)
	}
}

func (e *Evaluator) saveCheckpoint(ctx context.Context) error {
	p := &pieces{ctx: ctx, store: e.store, sum: sha256.New(), generation: "a"}
	if e.generation == "a" {
		p.generation = "b"
	}
	z, err := gzip.NewWriterLevel(p, gzip.BestSpeed) // of many checks it is megabytes of much the same
	if err != nil {
		return err
	}
	if err := errors.Join(e.engine.Checkpoint(z), z.Close(), p.flush()); err != nil {
		return err
	}
	h := checkpointHead{
		V: checkpointVersion, Generation: p.generation, Pieces: p.n, Sum: hex.EncodeToString(p.sum.Sum(nil)), Next: e.next, At: e.at,
	}
	if err := e.store.Commit(ctx, Write{Key: []string{keyCheckpoint, "head"}, Value: encode(h)}); err != nil {
		return fmt.Errorf("head of checkpoint %s: %w", h.Generation, err)
	}
	e.generation = h.Generation
	return nil
}

// pieces stores what is written to it in records of pieceSize.
type pieces struct {
	ctx        context.Context //nolint:containedctx // an io.Writer has no other way to get one
	store      Store
	generation string
	sum        hash.Hash
	buf        []byte
	n          int // stored
}

// Write implements io.Writer.
func (p *pieces) Write(b []byte) (int, error) {
	written := len(b)
	for len(b) > 0 {
		if p.buf == nil {
			p.buf = make([]byte, 0, pieceSize)
		}
		n := min(len(b), pieceSize-len(p.buf))
		p.buf = append(p.buf, b[:n]...)
		b = b[n:]
		if len(p.buf) == pieceSize {
			if err := p.flush(); err != nil {
				return 0, err
			}
		}
	}
	return written, nil
}

func (p *pieces) flush() error {
	if len(p.buf) == 0 {
		return nil
	}
	_, _ = p.sum.Write(p.buf) // a hash cannot fail
	w := Write{Key: []string{keyCheckpoint, p.generation, strconv.Itoa(p.n)}, Value: p.buf}
	if err := p.store.Commit(p.ctx, w); err != nil {
		return fmt.Errorf("piece %d of checkpoint %s: %w", p.n, p.generation, err)
	}
	p.n++
	p.buf = nil // the store may keep it
	return nil
}

// restore gives the engine the newest checkpoint and sets where to go on. If
// there is none, or it is damaged, the whole log is stepped again.
func (e *Evaluator) restore(ctx context.Context) error {
	e.next = 1
	records, err := e.store.List(ctx, keyCheckpoint)
	if err != nil {
		return err
	}
	pieces := map[string][]byte{}
	var head *checkpointHead
	for _, r := range records {
		switch len(r.Key) {
		case 2:
			h, err := decode[checkpointHead](r, checkpointVersion)
			if err != nil {
				return err
			}
			head = &h
		case 3:
			pieces[r.Key[1]+"/"+r.Key[2]] = r.Value
		}
	}
	if head == nil {
		return nil
	}
	e.generation = head.Generation
	var b []byte
	for n := range head.Pieces {
		b = append(b, pieces[head.Generation+"/"+strconv.Itoa(n)]...)
	}
	if got := sum(b); got != head.Sum {
		e.logger.Error("checkpoint damaged, the whole log is evaluated again", "sum", got, "want", head.Sum)
		return nil
	}
	if b, err = unzip(b); err == nil {
		err = e.engine.Restore(b)
	}
	if err != nil {
		return fmt.Errorf("restore the checkpoint before batch %d: %w", head.Next, err)
	}
	e.next, e.at, e.checkpointed = head.Next, head.At, head.At
	e.mu.Lock()
	e.position = Position{Seq: head.Next - 1, At: head.At}
	e.mu.Unlock()
	return nil
}

// rewind goes on at the end of a log that ends before what was evaluated: it
// was moved away, or is an older copy. What its new batches say is new, although
// their numbers have been used; open incidents stay, and the rules know what
// they knew.
func (e *Evaluator) rewind(ctx context.Context) error {
	end := e.last + 1 // the next batch of the log
	known := max(e.next, e.done.Seq)
	if e.done.N > 0 {
		known = max(known, e.done.Seq+1)
	}
	if known <= end {
		return nil
	}
	e.logger.Error("the log ends before what the rules have seen, as if it was moved away or is an older copy; they go on at its end with what they know, and open incidents stay",
		"ends_at", e.last, "seen", known-1)
	if e.next > end {
		e.next = end
		e.engine.Rewind(e.last)
		e.mu.Lock()
		e.position.Seq = e.last
		e.mu.Unlock()
	}
	if !e.caughtUp(end) {
		return e.put(ctx, nil, position{V: positionVersion, Seq: end, Writer: e.writer, Commit: e.done.Commit + 1})
	}
	return nil
}

// unzip unpacks a checkpoint. Those of the first version are plain JSON.
func unzip(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) { // RFC 1952, section 2.3.1
		return b, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
