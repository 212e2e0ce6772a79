package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// MaxEvidence is the largest evidence that is kept, in bytes.
const MaxEvidence = 16 << 10

// PutEvidence keeps data under key, in place of what was there. It is durable when PutEvidence returns nil, and goes when the
// space for evidence is used up, the oldest first. Evidence is not retried: on a full disk it is refused.
func (j *Journal) PutEvidence(ctx context.Context, key Key, data []byte) error {
	if n := len(key.escaped); n == 0 || n > maxKeyBytes {
		return fmt.Errorf("put evidence: key of %d bytes escaped, want 1 to %d", n, maxKeyBytes)
	}
	if len(data) > MaxEvidence {
		return fmt.Errorf("put evidence %s: %d bytes, want at most %d", key, len(data), MaxEvidence)
	}
	if err := j.room(j.opts.MinFree); err != nil {
		return fmt.Errorf("put evidence %s: %w", key, err)
	}
	err := j.try(ctx, func(ctx context.Context, e *engine) error {
		_, err := e.publish(ctx, &nats.Msg{Subject: key.subject(rootEvidence), Data: data})
		return err
	})
	if err != nil {
		return fmt.Errorf("put evidence %s: %w", key, err)
	}
	return nil
}

// Evidence returns what is kept under key and when it was put there, or an error that wraps ErrNotFound.
func (j *Journal) Evidence(ctx context.Context, key Key) (data []byte, at time.Time, err error) {
	return j.lastEvidence(ctx, key, key.subject(rootEvidence))
}

// NewestEvidence returns the newest evidence of all keys that have prefix and at least one segment more, or an error that wraps
// ErrNotFound.
func (j *Journal) NewestEvidence(ctx context.Context, prefix Key) (data []byte, at time.Time, err error) {
	return j.lastEvidence(ctx, prefix, prefix.filter(rootEvidence))
}

func (j *Journal) lastEvidence(ctx context.Context, key Key, filter string) ([]byte, time.Time, error) {
	var r record
	err := j.try(ctx, func(ctx context.Context, e *engine) (err error) {
		r, err = e.readLast(ctx, streamEvidence, filter)
		return err
	})
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("evidence of %s: %w", key, err)
	}
	return r.data, r.time, nil
}
