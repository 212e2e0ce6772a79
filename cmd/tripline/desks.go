package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/config"
	"github.com/tripline/tripline/internal/web"
)

// desks runs one notify.Desk for each notifier that is on, and changes the set
// when the config does.
type desks struct {
	store    notify.Store
	evidence func(ctx context.Context, check string) (*probe.Evidence, error)
	link     func(alerting.Incident) string
	out      io.Writer
	log      *slog.Logger

	mu      sync.Mutex
	running map[string]*runningDesk
	ctx     context.Context //nolint:containedctx // of run: desks that a reload adds live in it
	failed  chan error
}

type runningDesk struct {
	desk   *notify.Desk
	config string // fingerprint of its settings
	cancel context.CancelFunc
	done   chan struct{}
}

// run runs the desks of list, and those that replace adds, until ctx ends or
// one of them fails.
func (d *desks) run(ctx context.Context, list []config.Notifier) error {
	d.mu.Lock()
	d.ctx, d.running, d.failed = ctx, map[string]*runningDesk{}, make(chan error, 1)
	d.mu.Unlock()
	d.replace(list)
	var err error
	select {
	case <-ctx.Done():
	case err = <-d.failed:
	}
	d.replace(nil)
	return err
}

// replace makes the running desks those of list: what is the same goes on,
// what is gone or changed ends after its attempts in flight.
func (d *desks) replace(list []config.Notifier) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := map[string]config.Notifier{}
	for _, n := range list {
		if n.Off == "" {
			wanted[n.Name] = n
		}
	}
	for name, r := range d.running {
		if n, ok := wanted[name]; !ok || n.Fingerprint != r.config {
			r.cancel()
			defer func() { <-r.done }() // all end at the same time
			delete(d.running, name)
		}
	}
	for name, n := range wanted {
		if d.running[name] == nil {
			d.start(n)
		}
	}
}

func (d *desks) start(n config.Notifier) {
	ctx, cancel := context.WithCancel(d.ctx)
	r := &runningDesk{config: n.Fingerprint, cancel: cancel, done: make(chan struct{}), desk: &notify.Desk{
		Name: n.Name, Notifier: n.Settings.Notifier(notify.Env{Out: d.out, Zone: time.Local, Log: d.log}),
		Store: d.store, Log: d.log, Evidence: d.evidence, Link: d.link,
	}}
	d.running[n.Name] = r
	go func() {
		defer close(r.done)
		if err := r.desk.Run(ctx); err != nil {
			select {
			case d.failed <- fmt.Errorf("notifier %q: %w", n.Name, err):
			default:
			}
		}
	}()
}

// stats returns how the running desks do, by name.
func (d *desks) stats() map[string]notify.Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	stats := make(map[string]notify.Stats, len(d.running))
	for name, r := range d.running {
		stats[name] = r.desk.Stats()
	}
	return stats
}

// failingAfter is how long a notifier may have something to tell before the
// page calls it failing.
const failingAfter = 30 * time.Second

// states are the notifiers as the page shows them.
func (d *desks) states(list []config.Notifier) []web.Notifier {
	stats := d.stats()
	var states []web.Notifier
	for _, n := range list {
		s, on := stats[n.Name]
		w := web.Notifier{Name: n.Name, State: "ok", Waiting: s.Depth, Told: s.LastTold}
		switch {
		case !on:
			w.State, w.Reason = "off", n.Off
		case len(s.Dead) > 0:
			w.State, w.Reason = "failing", s.Dead[len(s.Dead)-1].Reason
		case s.Oldest > failingAfter:
			w.State, w.Reason = "failing", s.LastError
		}
		states = append(states, w)
	}
	return states
}
