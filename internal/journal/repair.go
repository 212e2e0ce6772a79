package journal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
)

// repair is one attempt at making the engine work again, shared by all who need it.
type repair struct {
	done chan struct{}
	err  error
}

// current returns the running engine, starting one if there is none.
func (j *Journal) current(ctx context.Context) (*engine, error) {
	for range 2 {
		j.mu.Lock()
		e := j.engine
		j.mu.Unlock()
		select {
		case <-j.closed:
			return nil, ErrClosed
		default:
		}
		if e != nil {
			return e, nil
		}
		if err := j.repair(ctx); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("embedded server: stopped")
}

// repair finds out why the engine did not answer. If the disk takes no writes it returns the reason. If the disk is fine but
// the engine is not, it starts a new one on the same files. It returns nil when the operation is worth trying again.
// Callers at the same time share one attempt; ctx bounds only the waiting for it.
func (j *Journal) repair(ctx context.Context) error {
	j.mu.Lock()
	select {
	case <-j.closed:
		j.mu.Unlock()
		return ErrClosed
	default:
	}
	r := j.repairs
	if r == nil {
		r = &repair{done: make(chan struct{})}
		j.repairs = r
		go func() {
			r.err = j.repairNow(context.WithoutCancel(ctx))
			j.mu.Lock()
			j.repairs = nil
			j.mu.Unlock()
			close(r.done)
		}()
	}
	j.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (j *Journal) repairNow(ctx context.Context) error {
	if err := j.probe(); err != nil {
		return err
	}
	j.mu.Lock()
	old := j.engine
	j.mu.Unlock()
	if old != nil {
		cause := old.health("")
		if cause == nil {
			return nil
		}
		j.opts.Log.Warn("restarting the embedded server", "err", cause)
		j.mu.Lock()
		j.engine = nil
		j.mu.Unlock()
		old.stop()
	}
	e, err := startEngine(ctx, j.opts, j.stateChanged)
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.engine = e
	j.mu.Unlock()
	j.opts.Log.Info("embedded server is running again")
	return nil
}

// try runs op, which must be harmless to repeat, until it has an answer, repairing the engine in between.
// It gives up when the repair does.
func (j *Journal) try(ctx context.Context, op func(ctx context.Context, e *engine) error) error {
	for {
		e, err := j.current(ctx)
		if err != nil {
			return err
		}
		opCtx, cancel := context.WithTimeout(ctx, j.opts.answer)
		err = op(opCtx, e)
		cancel()
		if err == nil || !unanswered(err) || ctx.Err() != nil {
			return err
		}
		if repairErr := j.repair(ctx); repairErr != nil {
			return fmt.Errorf("%w: %w", err, repairErr)
		}
		if err := j.wait(ctx, firstBackoff); err != nil {
			return err
		}
	}
}

// insist is try for those that read for as long as the program runs: it gives up only when ctx ends or the journal is closed.
func (j *Journal) insist(ctx context.Context, op func(ctx context.Context, e *engine) error) error {
	for backoff := firstBackoff; ; backoff = min(2*backoff, lastBackoff) {
		err := j.try(ctx, op)
		if err == nil || errors.Is(err, ErrClosed) || ctx.Err() != nil {
			return err
		}
		if backoff == firstBackoff {
			j.opts.Log.Warn("reading the journal; will try until it works", "err", err)
		}
		if err := j.wait(ctx, backoff); err != nil {
			return err
		}
	}
}

// stateChanged wakes all watchers.
func (j *Journal) stateChanged() {
	j.mu.Lock()
	close(j.changed)
	j.changed = make(chan struct{})
	j.mu.Unlock()
}

// nextChange returns a channel that is closed at the next change of the state.
func (j *Journal) nextChange() <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.changed
}

// wait blocks for d or until ctx ends or the journal is closed.
func (j *Journal) wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-j.closed:
		return ErrClosed
	}
}
