package journal

import (
	"context"
	"time"
)

// Watch calls f with every record whose key has prefix and at least one segment more; then once with the zero KV, which says
// that those were all; then with every change, a deletion having a nil Value. A record that changes again before f has seen
// it is given once, as it is now. Records of one commit come one after the other. Watch returns when ctx ends or f returns
// an error, with that error, or ErrClosed.
func (s *State) Watch(ctx context.Context, prefix Key, f func(ctx context.Context, kv KV) error) error {
	known := make(map[Key]uint64) // what f was told, and not told the end of
	tell := func(kv KV) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		rev, ok := known[kv.Key]
		if rev == kv.Revision || !ok && kv.Value == nil {
			return nil
		}
		if kv.Value == nil {
			delete(known, kv.Key)
		} else {
			known[kv.Key] = kv.Revision
		}
		return f(ctx, kv)
	}
	for synced := false; ; {
		var e *engine
		if err := s.j.insist(ctx, func(_ context.Context, running *engine) error { e = running; return nil }); err != nil {
			return err
		}
		changed, at := s.j.nextChange(), time.Now()
		next, err := s.resync(ctx, prefix, known, tell)
		if err == nil && !synced {
			synced = true
			err = f(ctx, KV{})
		}
		if err != nil {
			return err
		}
		if err := s.live(ctx, e, cursor{prefix, next, at, changed}, tell); err != nil {
			return err
		}
	}
}

// resync tells what differs from what is known: at the start everything, after a restart of the server what changed meanwhile.
func (s *State) resync(ctx context.Context, prefix Key, known map[Key]uint64, tell func(KV) error) (next uint64, err error) {
	seen := make(map[Key]struct{}, len(known))
	next, err = s.scan(ctx, s.j.insist, prefix, 1, func(kv KV) error {
		seen[kv.Key] = struct{}{}
		return tell(kv)
	})
	if err != nil {
		return next, err
	}
	for k := range known {
		if _, ok := seen[k]; !ok {
			if err := tell(KV{Key: k}); err != nil {
				return next, err
			}
		}
	}
	return next, nil
}

// cursor is how far a watcher has come.
type cursor struct {
	prefix  Key
	next    uint64          // revision
	at      time.Time       // when it began to read what is before next
	changed <-chan struct{} // closed if anything changed since
}

// live tells changes from the cursor on. It returns nil when a resync is due: the engine is gone, or reading took so long that
// a deletion marker may have come and gone unseen.
func (s *State) live(ctx context.Context, e *engine, c cursor, tell func(KV) error) error {
	for {
		select {
		case <-c.changed:
		case <-e.gone:
			return nil
		case <-s.j.closed:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
		if time.Since(c.at) > s.j.opts.markerTTL/2 {
			return nil
		}
		c.changed, c.at = s.j.nextChange(), time.Now()
		var err error
		if c.next, err = s.scan(ctx, s.j.insist, c.prefix, c.next, tell); err != nil {
			return err
		}
	}
}
