package notify

import (
	"context"
	"time"

	"github.com/tripline/tripline/alerting"
)

// Reconfigure replaces the routes and calls change, which gives the engine its
// new rules, between two batches; at is the time of the newest entry. It waits
// until what was committed has been stepped again with the rules of the start.
// Once begun it goes on even if ctx ends.
func (e *Evaluator) Reconfigure(ctx context.Context, route func(alerting.Incident, time.Time) []string, change func(at time.Time) []alerting.Change) error {
	return e.between(ctx, func(ctx context.Context) error {
		e.route = route
		return e.apply(ctx, change(e.at))
	})
}

// between calls f between two batches, once what was committed has been stepped
// again, and returns its error, which also ends Run. Once begun f goes on even
// if ctx ends: it runs within Run, by its ctx, since what it changes must be
// committed.
func (e *Evaluator) between(ctx context.Context, f func(context.Context) error) error {
	done := make(chan error, 1)
	request := func(ctx context.Context) error {
		err := e.lock(ctx)
		if err == nil {
			if err = e.flush(ctx); err == nil {
				err = f(ctx)
			}
			<-e.turn
		}
		done <- err
		return err
	}
	select {
	case e.requests <- request:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// View calls f while nobody else uses the engine, once it and the stored
// incidents agree.
func (e *Evaluator) View(ctx context.Context, f func()) error {
	select {
	case <-e.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer func() { <-e.turn }()
	f()
	return nil
}

// obey carries out requests once the engine and the stored incidents agree.
func (e *Evaluator) obey(ctx context.Context) error {
	select {
	case <-e.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		select {
		case request := <-e.requests:
			if err := request(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
