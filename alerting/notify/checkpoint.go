package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
	b, err := e.engine.Checkpoint()
	if err != nil {
		return err
	}
	h := checkpointHead{V: checkpointVersion, Generation: "a", Sum: sum(b), Next: e.next, At: e.at}
	if e.generation == "a" {
		h.Generation = "b"
	}
	for len(b) > 0 {
		n := min(len(b), pieceSize)
		w := Write{Key: []string{keyCheckpoint, h.Generation, strconv.Itoa(h.Pieces)}, Value: b[:n]}
		if err := e.store.Commit(ctx, w); err != nil {
			return fmt.Errorf("piece %d of checkpoint %s: %w", h.Pieces, h.Generation, err)
		}
		h.Pieces++
		b = b[n:]
	}
	if err := e.store.Commit(ctx, Write{Key: []string{keyCheckpoint, "head"}, Value: encode(h)}); err != nil {
		return fmt.Errorf("head of checkpoint %s: %w", h.Generation, err)
	}
	e.generation = h.Generation
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
	if err := e.engine.Restore(b); err != nil {
		return fmt.Errorf("restore the checkpoint before batch %d: %w", head.Next, err)
	}
	e.next, e.at, e.checkpointed = head.Next, head.At, head.At
	e.mu.Lock()
	e.position = Position{Seq: head.Next - 1, At: head.At}
	e.mu.Unlock()
	return nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
