// Package cloudmon exports results to Google Cloud Monitoring. It is a view of
// the log: Counters folds entries into the values of the metrics, Exporter
// follows the log and writes them, one point a minute and series.
//
// What is exported is one table, Metrics. To add a metric give it a row there,
// a field in Counters that Fold fills, a line in Snapshot and one in the stored
// form (state.go). Both exporters, this one and Prometheus, read Snapshot.
//
// The rules of the API that shape this package: a point's end time is at least
// 10 s after the one before, so points are late but never out of order; a
// cumulative series has a constant start until it begins again at zero; a
// write whose outcome is unknown is repeated as it was, and an order error in
// answer to that means that it was written. Time is that of the entries: a day
// of them is exported as it would have been live.
package cloudmon

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	monitoring "cloud.google.com/go/monitoring/apiv3/v2"

	"github.com/tripline/tripline/checks"
)

// Log is the log of entries.
type Log interface {
	// Follow calls f with every batch from the sequence from on (0: the
	// oldest), in order, until ctx ends or f returns an error, which it
	// returns. The entries are shared and not changed.
	Follow(ctx context.Context, from uint64, f func(seq uint64, entries []checks.Entry) error) error
	// Last returns the sequence of the newest batch.
	Last() uint64
}

// Store keeps the exporter's state: some 40 bytes for each series.
type Store interface {
	// Load returns what was saved last; nothing and no error if nothing was.
	Load() ([]byte, error)
	// Save replaces it, durably and at once or not at all.
	Save(state []byte) error
}

// Options are what an Exporter needs besides its config.
type Options struct {
	Log   Log
	Store Store
	Dir   string // the data directory, where the task_id is kept
	// Findings returns how many findings hold at present; nil: not exported.
	Findings func() map[Finding]int
	Logger   *slog.Logger // default: none
}

// Distances in the time of entries.
const (
	minute = time.Minute
	// minStep is the least distance between end times of one series. Cloud
	// Monitoring wanted a minute once, then 10 s, now 5 s.
	minStep = 10 * time.Second
	// maxAge is how late a point may be. Cloud Monitoring takes 25 h.
	maxAge = 24 * time.Hour
	// maxAhead is how far in the future a point may lie. Cloud Monitoring takes 5 min.
	maxAhead = 4 * time.Minute
	// fresh is how late a minute may be and still show what holds now.
	fresh = 2 * time.Minute
)

// pace says how fast live calls are made. Tests shorten it.
type pace struct {
	deadline  time.Duration // of one call
	firstWait time.Duration // before a repeat; doubled each time
	maxWait   time.Duration
	cycle     time.Duration // before another try of what was refused
	catchUp   time.Duration // between calls while minutes are waiting
	stop      time.Duration // for everything once ctx has ended
	log       time.Duration // between two lines about the same problem, when its text changes
	again     time.Duration // between two lines with the same text
}

// Exporter writes the metrics. Make one with New and run it once.
type Exporter struct {
	cfg      Config
	o        Options
	pace     pace
	client   *monitoring.MetricClient
	task     *task
	counters *Counters
	last     uint64       // newest batch of the log before this process wrote any
	zip      *gzip.Writer // for the state; a new one for each would cost a megabyte

	// Owned by Run.
	seq           uint64    // batch that is being folded, or was last
	skip          int       // how many of its entries were folded
	clock         time.Time // time of the newest folded entry
	end           time.Time // of the open minute; zero before the first entry
	lastEnd       time.Time // newest end time that was written or tried
	folded        bool      // entries were folded since
	replaying     bool      // what is written now may have been written before a restart
	described     map[string]bool
	describeAgain time.Time       // not before; zero unless the last attempt did not succeed
	logged        map[string]line // what was logged last, by what was being done

	mu     sync.Mutex
	health Health
}

// New returns an exporter for a config that Validate found right.
func New(cfg Config, o Options) *Exporter {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	zip, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is a legal one
	return &Exporter{
		cfg: cfg, o: o, zip: zip, last: o.Log.Last(), described: map[string]bool{}, logged: map[string]line{}, counters: NewCounters(cfg.Latency, o.Findings),
		pace: pace{
			deadline: 10 * time.Second, firstWait: 500 * time.Millisecond, maxWait: 30 * time.Second,
			cycle: time.Minute, catchUp: 50 * time.Millisecond, stop: 4500 * time.Millisecond, log: 10 * time.Second, again: time.Hour,
		},
	}
}

// errStopped ends a write that could not be finished before the end of Run.
var errStopped = errors.New("stopped")

// Run exports until ctx ends, then writes what is in the log and not yet
// exported, if that is possible within 5 s, and returns nil. It returns an
// error when the log cannot be read, the stored state is of a newer version, or
// another process uses the same task_id; a damaged state and problems with
// Cloud Monitoring are no reason to return, they are logged and in Health.
func (x *Exporter) Run(ctx context.Context) error {
	var err error
	if x.task, err = openTask(x.o.Dir); err != nil {
		return err
	}
	defer x.task.close()
	if err := x.load(); err != nil {
		return err
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		t := time.NewTimer(x.pace.stop)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-work.Done():
		}
	})()
	defer func() {
		if x.client != nil {
			_ = x.client.Close()
		}
	}()
	if x.connect(work) { // at once, so that what is wrong shows at start
		x.describe(work, x.metrics())
	}
	return x.follow(ctx, work)
}

// load restores the state. Without one that can be used this is the beginning,
// at the oldest entry of the log.
func (x *Exporter) load() error {
	b, err := x.o.Store.Load()
	if err != nil {
		return fmt.Errorf("load export state: %w", err)
	}
	s := state{Counters: x.counters}
	why := "there is none"
	if len(b) > 0 {
		err = s.decode(b)
		var newer *checks.NewerError
		switch {
		case errors.As(err, &newer):
			return err
		case err != nil:
			why = err.Error()
		case s.Counters == nil:
			why = "it holds no counters"
		case s.Seq > x.last:
			why = fmt.Sprintf("it is of batch %d, and the log ends at %d", s.Seq, x.last)
		default:
			why = ""
		}
	}
	switch {
	case why != "" && !x.task.isNew:
		// The series of this id exist, and their counts cannot be continued:
		// what is in the log would be counted twice, or begin at another time.
		if err := x.task.renew(); err != nil {
			return err
		}
		x.o.Logger.Warn("no export state for the task id, beginning under a new one, at the oldest entry of the log", "task_id", x.task.id, "why", why)
	case why == "" && s.Task != x.task.id:
		// The counts belong to series of another name. Going on with them
		// would count everything twice.
		x.o.Logger.Warn("export state is of another task id, counters begin at zero", "task_id", x.task.id, "state_of", s.Task)
		x.counters = NewCounters(x.cfg.Latency, x.o.Findings)
		s = state{Seq: s.Seq, Skip: s.Skip}
	}
	if why != "" {
		x.counters = NewCounters(x.cfg.Latency, x.o.Findings) // some of it may have been decoded
		s = state{}
	}
	x.seq, x.skip, x.folded = s.Seq, s.Skip, s.Folded
	x.end, x.lastEnd = fromMS(s.End), fromMS(s.LastEnd)
	x.replaying = s.Task == x.task.id
	x.mu.Lock()
	x.health = Health{
		TaskID: x.task.id, Position: s.Seq, Minute: x.lastEnd,
		Written: s.Written, Rejected: s.Rejected, Dropped: s.Dropped, sinceMS: s.Since,
	}
	x.mu.Unlock()
	if !x.replaying {
		x.save() // from here on the task id has a state
	}
	return nil
}

// save stores the state, and tells whether it could. If not, that is no reason
// to stop exporting: it costs a repeat after a crash.
func (x *Exporter) save() bool {
	x.mu.Lock()
	h := x.health
	x.mu.Unlock()
	s := state{
		V: stateVersion, Task: x.task.id, Seq: x.seq, Skip: x.skip, End: ms(x.end), LastEnd: ms(x.lastEnd), Folded: x.folded,
		Since: h.sinceMS, Written: h.Written, Rejected: h.Rejected, Dropped: h.Dropped, Counters: x.counters,
	}
	b, err := s.encode(x.zip)
	if err == nil {
		err = x.o.Store.Save(b)
	}
	if err != nil {
		x.problem("export state not saved", err)
	}
	return err == nil
}

// follow is Run after the preparations. work is ctx and the time it takes to
// finish once ctx has ended.
func (x *Exporter) follow(ctx, work context.Context) error {
	err := x.o.Log.Follow(ctx, x.seq, func(seq uint64, entries []checks.Entry) error {
		return x.batch(ctx, work, seq, entries)
	})
	if errors.Is(err, errStopped) {
		return nil // what is not exported is in the log, and its position in the store
	}
	if ctx.Err() == nil || err != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("follow the log from %d: %w", x.seq, err)
	}
	if last := x.o.Log.Last(); last > 0 { // the batch at x.seq may be folded in part only
		drained := errors.New("drained")
		err := x.o.Log.Follow(work, x.seq, func(seq uint64, entries []checks.Entry) error {
			if err := x.batch(ctx, work, seq, entries); err != nil {
				return err
			}
			if seq >= last {
				return drained
			}
			return nil
		})
		if !errors.Is(err, drained) {
			return nil //nolint:nilerr // time is up, or as above
		}
	}
	x.flush(ctx, work)
	return nil
}

// batch folds what was not folded of one batch. When a minute ends in it, the
// state is saved there and then: after a crash no more than one minute can
// have been written without this process knowing.
func (x *Exporter) batch(ctx, work context.Context, seq uint64, entries []checks.Entry) error {
	if seq != x.seq {
		x.seq, x.skip = seq, 0
	}
	x.mu.Lock()
	x.health.Position = seq
	x.mu.Unlock()
	for ; x.skip < len(entries); x.skip++ {
		e := entries[x.skip]
		over, err := x.advance(ctx, work, e)
		if err != nil {
			return err
		}
		if over {
			x.save()
		}
		x.counters.Fold(e)
		x.folded = true
	}
	return nil
}

// entryTime is when an entry came to be: a run at its end.
func entryTime(e checks.Entry) time.Time {
	if e.Result != nil {
		return e.Result.Start.Add(e.Result.Duration)
	}
	return e.Time()
}

// advance ends the open minute if e, which is about to be folded, comes after
// it, and tells whether it did.
func (x *Exporter) advance(ctx, work context.Context, e checks.Entry) (bool, error) {
	t := entryTime(e)
	if time.Until(t) > maxAhead {
		return false, nil // nonsense: it tells nothing about the time, and is counted all the same
	}
	if t.After(x.clock) {
		x.clock = t
	}
	begin := t.Truncate(minute)
	switch {
	case x.end.IsZero():
		x.end = begin.Add(minute)
		x.roll(begin)
		return false, nil
	case e.Tick != nil && t.Before(x.end.Add(-2*minute)):
		// The clock was set back. Points wait until it passes lastEnd again.
		x.end, x.clock = begin, t
	case t.Before(x.end):
		return false, nil
	}
	over, err := x.close(ctx, work, x.end)
	if err != nil {
		return false, err
	}
	x.end = begin.Add(minute)
	if over {
		x.roll(begin)
	}
	return over, nil
}

// roll begins an interval at from, or where the newest written one ended.
func (x *Exporter) roll(from time.Time) {
	if from.Before(x.lastEnd) {
		from = x.lastEnd
	}
	x.counters.Roll(from)
	x.mu.Lock()
	if x.health.sinceMS == 0 {
		x.health.sinceMS = ms(from) + 1
	}
	x.mu.Unlock()
}

// flush writes what was folded since the last minute ended, so that a result
// of the last second before a stop is exported. Its end time keeps the
// distance to the point before; should the end of the minute be too near after
// it, the next process leaves that one out. Unlike the end of a minute it is
// not found again by reading the log, so it is stored before it is used.
func (x *Exporter) flush(ctx, work context.Context) {
	if !x.folded || x.end.IsZero() {
		return
	}
	end := x.clock.Truncate(time.Millisecond).Add(time.Millisecond)
	if least := x.lastEnd.Add(minStep); end.Before(least) {
		end = least
	}
	if time.Until(end) > maxAhead { // many restarts in one minute: the next one will write it
		return
	}
	before := x.lastEnd
	x.lastEnd = end
	if !x.save() {
		return
	}
	x.lastEnd = before
	if _, err := x.close(ctx, work, end); err != nil {
		return // not finished in time: the stored state knows what is missing
	}
	x.roll(end)
	x.save()
}
