package main

import (
	"context"
	"time"

	"github.com/tripline/tripline/alerting/notify"
)

// fallBack looks every second for what a notifier has not delivered in time or
// has given up, and makes its fallback tell that. It remembers nothing that
// matters: handing over twice does nothing.
func (m *monitor) fallBack(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-m.evaluator.Ready():
	}
	type handed struct{ incident, to string }
	done := map[handed]bool{}
	for pause(ctx, time.Second) {
		still := map[handed]bool{}
		cfg := m.config()
		for _, n := range cfg.Notifiers {
			if n.Fallback == "" {
				continue
			}
			for _, u := range m.desks.undelivered(n.Name, n.FallbackAfter) {
				h := handed{u.Incident, n.Fallback}
				if !done[h] {
					told, err := m.evaluator.Delegate(ctx, u.Incident, n.Fallback, u.Because)
					if err != nil {
						return unlessEnded(ctx, err)
					}
					if !told { // it is quiet: asked for again at the next look
						continue
					}
					m.slog.Warn("handed to the fallback", "notifier", n.Name, "fallback", n.Fallback, "incident", u.Incident, "because", u.Because)
				}
				still[h] = true
			}
		}
		done = still
	}
	return nil
}

// unlessEnded returns err, or nil if ctx has ended.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end of ctx is no failure
	}
	return err
}

// undelivered lists what a running desk has not delivered for so long.
func (d *desks) undelivered(name string, after time.Duration) []notify.Undelivered {
	d.mu.Lock()
	r := d.running[name]
	d.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.desk.Undelivered(after)
}
