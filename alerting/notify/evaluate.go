package notify

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
)

// Engine is what the rules must do: alerting.Engine.
type Engine interface {
	Step(seq uint64, e checks.Entry) []alerting.Change
	Checkpoint(w io.Writer) error
	Restore(checkpoint []byte) error
	Rewind(seq uint64)
	Adopt(stored []alerting.Incident) []alerting.Change
	Budgets() []alerting.Budget
	Begun() []alerting.Window
}

// Follower is the log of entries.
type Follower interface {
	// Last returns the sequence number of the newest batch, 0 if there is none.
	Last() uint64
	// Follow calls f with every batch from the sequence number from on, in
	// order, first the stored ones and then each new one. It blocks until ctx
	// ends or f returns an error.
	Follow(ctx context.Context, from uint64, f func(ctx context.Context, seq uint64, entries []checks.Entry) error) error
}

// EvaluatorConfig is what an Evaluator works with.
type EvaluatorConfig struct {
	Engine Engine // not yet restored; nobody else may use it
	Log    Follower
	Store  Store
	Logger *slog.Logger

	// Route names the notifiers that are to tell an open incident at a moment
	// of the log. It is asked at every change of the incident and once a
	// minute. Whoever was once to tell one is kept up to date until its end.
	Route func(i alerting.Incident, at time.Time) []string

	Keep time.Duration // of resolved incidents; 0 means 30 days
}

// Evaluator is the view of the log that raises incidents. It steps the rules
// over every entry and commits each change of an incident, what the notifiers
// are to tell of it, and its own position in the log in one piece. The windows
// of the rules are stored once a minute; what lies between is stepped again
// after a restart, and the changes up to the committed position are recognised.
type Evaluator struct {
	log    Follower
	last   uint64 // newest batch of the log before this process wrote any
	store  Store
	logger *slog.Logger
	keep   time.Duration
	writer string
	ready  chan struct{} // closed once the engine and the stored incidents agree

	requests chan func(context.Context) error

	// turn is held by whoever uses the engine and the fields up to mu.
	turn         chan struct{}
	engine       Engine
	route        func(alerting.Incident, time.Time) []string
	routes       map[string][]string          // by incident: who has an outbox entry, sorted
	because      map[string]map[string]string // by incident and notifier: why, where that is not by its route
	done         position                     // as committed
	waiting      []stepped                    // changes not yet committed
	behind       int                          // entries stepped since the first of them
	next         uint64                       // sequence number of the next batch to step
	at           time.Time                    // of the newest entry
	generation   string                       // of the newest checkpoint
	checkpointed time.Time                    // entry time of the newest checkpoint
	tidied       time.Time                    // entry time of the last tidying
	budgeted     time.Time                    // the minute of budgets
	broken       bool                         // the engine is ahead of what is committed

	mu        sync.Mutex // guards what is below
	incidents map[string]alerting.Incident
	position  Position
	budgets   []alerting.Budget
	begun     []alerting.Window
	feeds     map[chan alerting.Incident]bool
}

// Position is how far an Evaluator has come.
type Position struct {
	Seq uint64    // of the last batch evaluated, 0 if none was
	At  time.Time // of the newest entry in it
}

// NewEvaluator returns an Evaluator that does nothing until Run. Call it before
// anybody writes to the log.
func NewEvaluator(c EvaluatorConfig) *Evaluator {
	return &Evaluator{
		log: c.Log, last: c.Log.Last(), store: c.Store, logger: c.Logger, engine: c.Engine, route: c.Route,
		keep:      orDefault(c.Keep, defaultKeep),
		writer:    rand.Text(),
		ready:     make(chan struct{}),
		requests:  make(chan func(context.Context) error),
		turn:      make(chan struct{}, 1),
		routes:    map[string][]string{},
		because:   map[string]map[string]string{},
		incidents: map[string]alerting.Incident{},
		feeds:     map[chan alerting.Incident]bool{},
	}
}

// Run follows the log until ctx ends; it may be called once. It returns early
// when the store holds what it cannot read, or when another Evaluator uses it.
func (e *Evaluator) Run(ctx context.Context) error {
	if err := e.begin(ctx); err != nil {
		return unlessStopped(ctx, err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.log.Follow(gctx, e.next, e.batch) })
	g.Go(func() error { return e.obey(gctx) })
	err := g.Wait()
	if e.isReady() && !e.broken {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
		defer cancel()
		if ferr := e.flush(last); ferr != nil {
			return errors.Join(unlessStopped(ctx, err), ferr)
		}
		e.checkpoint(last)
	}
	return unlessStopped(ctx, err)
}

// begin loads what is stored and, if nothing has to be stepped again, makes
// the engine and the stored incidents agree.
func (e *Evaluator) begin(ctx context.Context) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer func() { <-e.turn }()
	if err := e.load(ctx); err != nil {
		return err
	}
	if e.caughtUp(e.next) {
		return e.agree(ctx)
	}
	return nil
}

func (e *Evaluator) lock(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// load reads what is stored.
func (e *Evaluator) load(ctx context.Context) error {
	stored, err := e.store.List(ctx, keyIncident)
	if err != nil {
		return err
	}
	for _, r := range stored {
		i, err := decode[alerting.Incident](r, alerting.IncidentVersion)
		if err != nil {
			return err
		}
		e.incidents[i.ID] = i
	}
	outbox, err := e.store.List(ctx, keyOutbox)
	if err != nil {
		return err
	}
	for _, r := range outbox {
		if len(r.Key) != 3 {
			continue
		}
		o, err := decode[order](r, alerting.IncidentVersion)
		if err != nil {
			return err
		}
		e.tells(r.Key[2], r.Key[1], o.Because)
	}
	if e.done, _, err = e.committed(ctx); err != nil {
		return err
	}
	if err := e.restore(ctx); err != nil {
		return err
	}
	return e.rewind(ctx)
}

// caughtUp tells whether, with seq as the next batch, no committed change is
// left to be stepped again.
func (e *Evaluator) caughtUp(seq uint64) bool {
	return seq > e.done.Seq || seq == e.done.Seq && e.done.N == 0
}

func (e *Evaluator) isReady() bool {
	select {
	case <-e.ready:
		return true
	default:
		return false
	}
}

// mostBehind is how many entries may be stepped, while more are in the log,
// before what changed is committed: a few milliseconds' worth.
const mostBehind = 1000

// batch steps the engine over one batch of the log and commits what changed.
// While more batches are in the log it waits for their changes, too: when many
// checks fail at once, a commit for each would take seconds.
func (e *Evaluator) batch(ctx context.Context, seq uint64, entries []checks.Entry) error {
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer func() { <-e.turn }()
	if !e.isReady() && e.caughtUp(seq) { // the log has lost what was to be stepped again
		e.next = seq
		if err := e.agree(ctx); err != nil {
			return err
		}
	}
	tick := e.step(seq, entries)
	stores := e.at.Sub(e.checkpointed).Abs() >= time.Minute
	if e.isReady() && !tick && !stores && len(e.waiting) > 0 && e.behind < mostBehind && seq < e.log.Last() {
		return nil
	}
	if err := e.flush(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	e.position = Position{Seq: seq, At: e.at}
	e.mu.Unlock()
	if !e.isReady() {
		if !e.caughtUp(e.next) {
			return nil
		}
		return e.agree(ctx)
	}
	e.lookAtBudgets()
	e.setBegun()
	if tick {
		if err := e.commitHere(ctx, e.grown()); err != nil {
			return err
		}
	}
	if stores {
		e.checkpoint(ctx)
	}
	if e.at.Sub(e.tidied).Abs() >= time.Hour {
		e.tidy(ctx)
	}
	return nil
}

// step steps the engine over one batch and adds the changes that are not yet
// committed to the waiting ones. It tells whether a tick is in the batch.
func (e *Evaluator) step(seq uint64, entries []checks.Entry) (tick bool) {
	n := 0 // changes of this batch
	for _, entry := range entries {
		for _, c := range e.engine.Step(seq, entry) {
			if n++; seq > e.done.Seq || seq == e.done.Seq && n > e.done.N {
				e.waiting = append(e.waiting, stepped{c, seq, n})
			}
		}
		if at := entry.Time(); !at.IsZero() {
			e.at = at
		}
		tick = tick || entry.Tick != nil
	}
	if len(e.waiting) > 0 {
		e.behind += len(entries)
	}
	e.next = seq + 1
	return tick
}

// flush commits the waiting changes.
func (e *Evaluator) flush(ctx context.Context) error {
	waiting := e.waiting
	e.waiting, e.behind = nil, 0
	return e.commit(ctx, waiting)
}

// agree makes the engine and the stored incidents agree, once all that was
// committed has been stepped again, and gives open incidents to notifiers that
// are new.
func (e *Evaluator) agree(ctx context.Context) error {
	if err := e.apply(ctx, e.engine.Adopt(e.Incidents())); err != nil {
		return err
	}
	close(e.ready)
	return nil
}

// apply commits changes that come of no entry, and then the windows: stepping
// over this point again would not make the same changes.
func (e *Evaluator) apply(ctx context.Context, changes []alerting.Change) error {
	if err := e.commitHere(ctx, append(e.grown(), changes...)); err != nil {
		return err
	}
	e.checkpoint(ctx)
	e.setBudgets()
	e.setBegun()
	return nil
}

// commitHere commits changes that come of no entry: the position stays.
func (e *Evaluator) commitHere(ctx context.Context, changes []alerting.Change) error {
	all := make([]stepped, len(changes))
	for k, c := range changes {
		all[k] = stepped{c, e.next, 0}
	}
	return e.commit(ctx, all)
}

// grown returns the open incidents that more notifiers are to tell than do:
// hours have begun, or an escalation has fallen due. It follows from what is
// committed, so that what a crash prevents is found again.
func (e *Evaluator) grown() []alerting.Change {
	var changes []alerting.Change
	for _, i := range e.Open() {
		if len(e.recipients(i)) > len(e.routes[i.ID]) {
			changes = append(changes, alerting.Change{Incident: i})
		}
	}
	return changes
}
