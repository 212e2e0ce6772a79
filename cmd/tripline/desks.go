package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
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
	command  func(ctx context.Context, name string, args map[string]string) (string, error)
	history  func(check string) []checks.Entry
	out      io.Writer
	log      *slog.Logger

	turn sync.Mutex // held by whoever replaces

	mu      sync.Mutex // never held while something is waited for
	running map[string]*runningDesk
	ctx     context.Context //nolint:containedctx // of run: desks that a reload adds live in it
	failed  chan error
}

type runningDesk struct {
	desk   *notify.Desk
	config string // fingerprint of its settings
	cancel context.CancelFunc
	done   chan struct{}
	told   notify.Receipt // of the last incident told directly
}

// run runs the desks of list, and those that replace adds, until ctx ends or
// one of them fails.
func (d *desks) run(ctx context.Context, list []config.Notifier) error {
	d.mu.Lock()
	d.ctx, d.running, d.failed = ctx, map[string]*runningDesk{}, make(chan error, 1)
	d.mu.Unlock()
	d.replace(list) //nolint:contextcheck // a desk lives as long as run
	var err error
	select {
	case <-ctx.Done():
	case err = <-d.failed:
	}
	d.replace(nil) //nolint:contextcheck // it starts none
	return err
}

// replace makes the running desks those of list: what is the same goes on,
// what is gone or changed ends after its attempts in flight, and only then does
// another one start in its place: a store has one desk of a name.
func (d *desks) replace(list []config.Notifier) {
	d.turn.Lock()
	defer d.turn.Unlock()
	wanted := map[string]config.Notifier{}
	for _, n := range list {
		if n.Off == "" {
			wanted[n.Name] = n
		}
	}
	for _, r := range d.cancel(wanted) { // all end at the same time
		<-r.done
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.running, func(name string, r *runningDesk) bool { return r.outdated(name, wanted) })
	for name, n := range wanted {
		if d.running[name] == nil {
			d.start(n)
		}
	}
}

// cancel tells the desks that are not wanted as they are to end, and returns
// them. They are among the running ones until they have.
func (d *desks) cancel(wanted map[string]config.Notifier) (ending []*runningDesk) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, r := range d.running {
		if r.outdated(name, wanted) {
			r.cancel()
			ending = append(ending, r)
		}
	}
	return ending
}

// outdated tells whether r is not what is wanted under its name.
func (r *runningDesk) outdated(name string, wanted map[string]config.Notifier) bool {
	n, ok := wanted[name]
	return !ok || n.Fingerprint != r.config
}

func (d *desks) start(n config.Notifier) {
	ctx, cancel := context.WithCancel(d.ctx)
	r := &runningDesk{config: n.Fingerprint, cancel: cancel, done: make(chan struct{}), desk: &notify.Desk{
		Name: n.Name, Notifier: n.Settings.Notifier(notify.Env{
			Out: d.out, Zone: time.Local, Log: d.log, Command: d.command, History: d.history,
		}),
		Store: d.store, Log: d.log, Evidence: d.evidence, Link: d.link, Limit: n.Limit,
	}}
	d.running[n.Name] = r
	go func() {
		defer close(r.done)
		var heard sync.WaitGroup
		defer heard.Wait()
		if l, ok := r.desk.Notifier.(notify.Listener); ok {
			heard.Go(func() {
				if err := l.Run(ctx); err != nil { // messages are delivered nevertheless
					d.log.Error("nobody is heard", "notifier", n.Name, "err", err)
				}
			})
		}
		if err := r.desk.Run(ctx); err != nil {
			select {
			case d.failed <- fmt.Errorf("notifier %q: %w", n.Name, err):
			default:
			}
		}
	}()
}

// tell tells i directly through every running desk's notifier: one attempt
// each, nothing is stored. It returns when all attempts have ended.
func (d *desks) tell(ctx context.Context, i alerting.Incident) {
	d.mu.Lock()
	running := maps.Clone(d.running)
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	var attempts sync.WaitGroup
	for name, r := range running {
		attempts.Go(func() {
			if err := r.tell(ctx, notify.Message{Incident: i, Link: d.link(i)}); err != nil {
				d.log.Error("not told directly", "notifier", name, "incident", i.ID, "version", i.Version, "err", err)
			}
		})
	}
	attempts.Wait()
}

// tell makes one attempt. What its notifier needs to find the message of an
// incident again is kept in memory.
func (r *runningDesk) tell(ctx context.Context, m notify.Message) error {
	var told *notify.Receipt
	if r.told.Incident == m.Incident.ID {
		told = &r.told
	}
	receipt, err := r.desk.Try(ctx, m, told)
	receipt.V, receipt.Incident, receipt.Version = notify.ReceiptVersion, m.Incident.ID, m.Incident.Version
	if err != nil { // it may have arrived; there is no other attempt to leave the look-up to
		receipt.Version, receipt.Pending, receipt.Attempts = 0, true, directLookup
	}
	r.told = receipt
	return err
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

// deaf tells which notifiers do not hear people, and why.
func (d *desks) deaf() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	deaf := map[string]string{}
	for name, r := range d.running {
		if l, ok := r.desk.Notifier.(notify.Listener); ok {
			deaf[name] = l.Trouble()
		}
	}
	return deaf
}

// failingAfter is how long a notifier may have something to tell before the
// page calls it failing.
const failingAfter = 30 * time.Second

// states are the notifiers as the page shows them.
func (d *desks) states(list []config.Notifier) []web.Notifier {
	stats, deaf := d.stats(), d.deaf()
	var states []web.Notifier
	for _, n := range list {
		s, on := stats[n.Name]
		w := web.Notifier{Name: n.Name, State: "ok", Reason: deaf[n.Name], Waiting: s.Depth, Told: s.LastTold}
		if why := failing(s); !on {
			w.State, w.Reason = "off", n.Off
		} else if why != "" {
			w.State, w.Reason = "failing", why
		}
		states = append(states, w)
	}
	return states
}
