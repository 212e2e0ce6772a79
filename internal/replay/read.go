package replay

import (
	"context"
	"errors"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tripline/tripline/checks"
)

// Batch is one batch of the log.
type Batch struct {
	Seq     uint64
	At      time.Time // when it was written
	Entries []checks.Entry
	Bad     error // why it does not decode; then it has no entries
}

const (
	chunkBatches = 1024
	chunkBytes   = 256 << 10
)

// chunk is some batches on their way from the one who reads them to one who
// decodes them and on to the one who wants them in order.
type chunk struct {
	data    []byte
	ends    []int // of each batch in data
	batches []Batch
	done    chan struct{} // closed when they are decoded
}

func (c *chunk) decode() {
	from := 0
	for i, to := range c.ends {
		b := &c.batches[i]
		b.Entries, b.Bad = checks.DecodeEntries(c.data[from:to:to])
		from = to
	}
	close(c.done)
}

// Each calls f with every batch of the log since a time, in order. Batches are decoded on all
// processors meanwhile. A batch of a newer version of the program is an error.
func Each(ctx context.Context, s Source, since time.Time, f func(Batch) error) error {
	workers := max(1, runtime.GOMAXPROCS(0))
	todo := make(chan *chunk, workers)
	order := make(chan *chunk, 4*workers)
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error {
			for c := range todo {
				c.decode()
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(todo)
		defer close(order)
		return read(ctx, s, since, func(c *chunk) error {
			for _, to := range []chan *chunk{order, todo} {
				select {
				case to <- c:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
	g.Go(func() error {
		for c := range order {
			select {
			case <-c.done:
			case <-ctx.Done(): // it may never be decoded
				return ctx.Err()
			}
			for _, b := range c.batches {
				if _, newer := errors.AsType[*checks.NewerError](b.Bad); newer {
					return b.Bad
				}
				if err := f(b); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return g.Wait()
}

// read hands the log over in chunks.
func read(ctx context.Context, s Source, since time.Time, hand func(*chunk) error) error {
	var c *chunk
	err := s.Scan(ctx, since, func(seq uint64, at time.Time, data []byte) error {
		if c == nil {
			c = &chunk{data: make([]byte, 0, chunkBytes+len(data)), done: make(chan struct{})}
		}
		c.data = append(c.data, data...)
		c.ends = append(c.ends, len(c.data))
		c.batches = append(c.batches, Batch{Seq: seq, At: at})
		if len(c.batches) < chunkBatches && len(c.data) < chunkBytes {
			return nil
		}
		full := c
		c = nil
		return hand(full)
	})
	if err != nil || c == nil {
		return err
	}
	return hand(c)
}
