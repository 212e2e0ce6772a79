package notify

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// The defaults of a Desk, and how long attempts in flight may last once it is
// told to stop.
const (
	defaultTimeout = 15 * time.Second
	defaultExpire  = 24 * time.Hour
	defaultWorkers = 8
	stopGrace      = 5 * time.Second
)

// Desk delivers one notifier's part of the outbox: whenever the wanted version
// of an incident is above the told one, it makes an attempt with the newest
// state. What arrives during an attempt is told by the next one, so an update
// is never lost and an outage of the channel ends with one message and not a
// hundred. What a receiver wants repeated (Receipt.Again) is repeated while the
// incident is open. Attempts run one at a time for an incident and up to Workers at a
// time in all.
//
// Before an attempt the Desk stores that it makes one (Receipt.Pending), after
// it the receipt. A crash between the answer and the receipt is thereby seen,
// and the notifier can look up what arrived.
//
// The Desk of one name must be the only one on its store.
type Desk struct {
	Name     string
	Notifier Notifier
	Store    Store
	Log      *slog.Logger

	// Evidence returns the newest evidence of a check, nil if there is none.
	// Nil means that messages quote no evidence.
	Evidence func(ctx context.Context, check string) (*probe.Evidence, error)
	// Link returns the URL of an incident on the page; nil means no links.
	Link func(alerting.Incident) string

	Limit   Limit         // of attempts; zero means none
	Timeout time.Duration // of one attempt; 0 means 15 s
	Expire  time.Duration // after its end an incident is no longer told; 0 means 24 h
	Workers int           // attempts at a time; 0 means 8

	mu    sync.Mutex // guards what is below
	queue *queue
	stats Stats
}

// Stats says how a Desk does.
type Stats struct {
	Name     string        `json:"name"`
	Depth    int           `json:"depth"`    // incidents with something to tell
	Oldest   time.Duration `json:"oldest"`   // how long the oldest of them has waited here, in ns
	Told     uint64        `json:"told"`     // deliveries since the start, repeats included
	Attempts uint64        `json:"attempts"` // since the start
	Failures uint64        `json:"failures"` // attempts without a delivery, since the start
	Dead     []Dead        `json:"dead"`     // given up and not told since, by time

	Started     time.Time `json:"started,omitzero"`     // when Run began
	LastError   string    `json:"last_error,omitempty"` // without secrets
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	LastTold    time.Time `json:"last_told,omitzero"`
}

// Stats returns how the Desk does. It may be called at any time.
func (d *Desk) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Name = d.Name
	if d.queue == nil {
		return s
	}
	for _, j := range d.queue.open {
		if j.behind() {
			s.Depth++
			s.Oldest = max(s.Oldest, time.Since(j.since))
		}
	}
	for _, j := range d.queue.jobs {
		if j.dead != nil && j.want.Version > j.told.Version {
			s.Dead = append(s.Dead, *j.dead)
		}
	}
	slices.SortFunc(s.Dead, func(a, b Dead) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Incident, b.Incident))
	})
	return s
}

// Run delivers until ctx ends, then gives the attempts in flight 5 s to end. It
// returns early only if the store cannot be read.
func (d *Desk) Run(ctx context.Context) error {
	q, err := d.load(ctx)
	if err != nil {
		return unlessStopped(ctx, err)
	}
	d.mu.Lock()
	d.queue, d.stats.Started = q, time.Now().UTC()
	d.mu.Unlock()

	records := make(chan Record)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return d.Store.Watch(gctx, []string{keyOutbox, d.Name}, func(r Record) error {
			select {
			case records <- r:
				return nil
			case <-gctx.Done():
				return gctx.Err()
			}
		})
	})
	g.Go(func() error { return d.loop(gctx, records) })
	return unlessStopped(ctx, g.Wait())
}

// unlessStopped returns err, or nil if it only says that ctx has ended.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// load reads what earlier runs told and gave up.
func (d *Desk) load(ctx context.Context) (*queue, error) {
	q := newQueue(orDefault(d.Expire, defaultExpire), d.Limit.Pause())
	receipts, err := d.Store.List(ctx, keyReceipt, d.Name)
	if err != nil {
		return nil, err
	}
	for _, r := range receipts {
		told, err := decode[Receipt](r, ReceiptVersion)
		if err != nil {
			return nil, err
		}
		if !told.Pending {
			told.Attempts = 0 // of the next version
		}
		j := q.job(told.Incident)
		j.told, j.tried, j.marked = told, true, told.Pending
	}
	letters, err := d.Store.List(ctx, keyDead, d.Name)
	if err != nil {
		return nil, err
	}
	for _, r := range letters {
		dead, err := decode[Dead](r, ReceiptVersion)
		if err != nil {
			return nil, err
		}
		j := q.job(dead.Incident)
		j.dead, j.loaded, j.letter = &dead, true, true
	}
	return q, d.loadTries(ctx, q)
}

// finish is an attempt that has ended.
type finish struct {
	job *job
	outcome
}

// loop starts attempts and takes what arrives, until ctx ends.
func (d *Desk) loop(ctx context.Context, records <-chan Record) error {
	// Attempts outlive ctx by the grace at the stop.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	done := make(chan finish)
	for {
		timer := time.NewTimer(d.start(working, done))
		var err error
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case r := <-records:
			err = d.take(r)
		case f := <-done:
			d.finished(f)
		case <-timer.C:
		}
		timer.Stop()
		if err != nil {
			d.drain(done, stop)
			d.keepAll(context.WithoutCancel(ctx))
			return err
		}
	}
}

// start starts every attempt that is due and for which there is a worker, and
// returns how long nothing more will be.
func (d *Desk) start(ctx context.Context, done chan<- finish) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.queue.busy < orDefault(d.Workers, defaultWorkers) {
		j, wait := d.queue.next(time.Now())
		if j == nil {
			return wait
		}
		work := *j // what arrives meanwhile is for the next attempt
		go func() { done <- finish{j, d.attempt(ctx, work)} }()
	}
	return MaxRetry // a worker that ends wakes the loop
}

// drain waits for the attempts in flight and ends them after the grace.
func (d *Desk) drain(done <-chan finish, stop context.CancelFunc) {
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	for d.busy() > 0 {
		select {
		case f := <-done:
			d.finished(f)
		case <-grace.C:
			stop()
		}
	}
}

func (d *Desk) busy() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queue.busy
}

// take takes one record of the outbox.
func (d *Desk) take(r Record) error {
	if len(r.Key) == 0 {
		return nil // the marker: what is current has been seen; a Desk need not know
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Value == nil {
		d.queue.forgotten(r.Key[len(r.Key)-1])
		return nil
	}
	o, err := decode[order](r, alerting.IncidentVersion)
	if err != nil {
		return err
	}
	d.queue.wanted(o.Incident, time.Now())
	d.queue.job(o.ID).why = o.Because
	return nil
}

// finished takes the outcome of an attempt.
func (d *Desk) finished(f finish) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.queue.finished(f.job, f.outcome, now)
	if f.asked {
		d.stats.Attempts++
	}
	if f.err == nil {
		d.stats.Told++
		d.stats.LastTold = now.UTC()
		return
	}
	if f.asked {
		d.stats.Failures++
	}
	d.stats.LastError, d.stats.LastErrorAt = f.err.Error(), now.UTC()
}

func orDefault[T ~int | ~int64](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}
