package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/cloudmon"
	"github.com/tripline/tripline/internal/journal"
	"github.com/tripline/tripline/internal/prom"
)

// openFindings counts the findings that hold at present.
func (m *monitor) openFindings() map[cloudmon.Finding]int {
	counts := map[cloudmon.Finding]int{}
	for _, i := range m.evaluator.Open() {
		for _, f := range i.Findings {
			if f.Holds() {
				counts[cloudmon.Finding{Rule: f.Rule, Group: i.Group, Severity: string(f.Severity)}]++
			}
		}
	}
	return counts
}

// newCounters are the counts that /metrics shows: since the start of the
// process, with the latencies that Cloud Monitoring gets.
func (m *monitor) newCounters() *cloudmon.Counters {
	latency := cloudmon.Latency{PerCheck: "mean", PerGroup: "distribution"}
	if c := m.config().CloudMonitoring; c != nil && c.Off == "" {
		latency = c.Latency
	}
	return cloudmon.NewCounters(latency, m.openFindings)
}

// maxAhead is how far entries may be ahead of the clock, which may have been
// set back.
const maxAhead = 4 * time.Minute

// followMetrics feeds the counters that /metrics shows.
func (m *monitor) followMetrics(ctx context.Context) error {
	var open time.Time // the minute that is being counted
	return m.follow(ctx, m.firstSeq, func(b journal.Batch[checks.Entry]) {
		for _, e := range b.Entries {
			minute := e.Time().Truncate(time.Minute)
			if minute.After(open) && time.Until(minute) < maxAhead { // one from the far future would end every series
				open = minute
				m.counters.Roll(open)
			}
			m.counters.Fold(e)
		}
		m.metricsSeq.Store(b.Seq)
	})
}

// self is how the monitor itself does, for /metrics.
func (m *monitor) self(context.Context) prom.Self {
	s, log := m.runner.Health(), m.log.Health()
	self := prom.Self{
		Version: versionString(), Healthy: len(m.health.problems()) == 0,
		SlotsKept: s.Kept, SlotsLate: s.Late, SlotsMissed: s.Missed, SlotsShed: s.Shed,
		WorstLateness: s.WorstLateness, InFlight: s.InFlight,
		LogPending: log.Pending, LogDropped: log.Dropped, Poisoned: log.Poisoned,
		ViewBehind: map[string]uint64{},
	}
	for _, v := range m.views() {
		self.ViewBehind[v.name] = log.LastSeq - min(log.LastSeq, v.seq)
	}
	for _, b := range m.evaluator.Budgets() {
		burn := make(map[string]float64, len(b.Burns))
		for _, x := range b.Burns {
			burn[x.Over.String()] = x.Rate
		}
		self.Budgets = append(self.Budgets, prom.Budget{Rule: b.Rule, Group: b.Group, Check: b.Check, Remaining: b.Remaining, Burn: burn})
	}
	for name, d := range m.desks.stats() {
		self.Outbox = append(self.Outbox, prom.Outbox{
			Name: name, Depth: d.Depth, Oldest: d.Oldest, Told: d.Told, Attempts: d.Attempts, Failures: d.Failures, Dead: len(d.Dead),
		})
	}
	if disk, err := m.disk.state(m.journal); err == nil {
		self.DiskFree, self.DiskUsed = disk.Free, disk.Used
	}
	if m.exporter != nil {
		self.Exporter = m.exporter.Health().Samples()
	}
	return self
}

// diskCache keeps the state of the disk for a while: reading it touches every
// file of the journal.
type diskCache struct {
	mu    sync.Mutex
	at    time.Time
	value journal.DiskState
	err   error
}

func (c *diskCache) state(j *journal.Journal) (journal.DiskState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > 10*time.Second {
		c.value, c.err = j.Disk()
		c.at = time.Now()
	}
	return c.value, c.err
}

// newExporter makes the exporter to Cloud Monitoring; nil when it is off.
func (m *monitor) newExporter() *cloudmon.Exporter {
	c := m.config().CloudMonitoring
	if c == nil || c.Off != "" {
		return nil
	}
	return cloudmon.New(c.Config, cloudmon.Options{
		Log: exporterLog{m.log}, Store: stateFile{filepath.Join(m.config().Data.Dir, "cloudmon.state")}, Dir: m.config().Data.Dir,
		Findings: m.openFindings, Logger: m.slog,
	})
}

// exporterLog is the log under the names that cloudmon declares.
type exporterLog struct{ *journal.Log[checks.Entry] }

// Follow implements cloudmon.Log.
func (l exporterLog) Follow(ctx context.Context, from uint64, f func(seq uint64, entries []checks.Entry) error) error {
	return l.Log.Follow(ctx, from, func(_ context.Context, b journal.Batch[checks.Entry]) error {
		return f(b.Seq, b.Entries)
	})
}

// stateFile keeps the exporter's state: a file that is replaced whole, since
// it can be larger than one commit of the journal may be.
type stateFile struct{ path string }

// Load implements cloudmon.Store.
func (f stateFile) Load() ([]byte, error) {
	b, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Save implements cloudmon.Store: after a crash there is the old state or the
// new one.
func (f stateFile) Save(state []byte) (err error) {
	next, err := os.CreateTemp(filepath.Dir(f.path), filepath.Base(f.path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(next.Name()))
		}
	}()
	_, err = next.Write(state)
	if err == nil {
		err = next.Sync()
	}
	if err = errors.Join(err, next.Close()); err != nil {
		return err
	}
	if err = os.Rename(next.Name(), f.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	return errors.Join(syncDir(dir), dir.Close())
}

// syncDir makes the names in dir durable, where the system can.
func syncDir(dir *os.File) error {
	if err := dir.Sync(); err != nil && runtime.GOOS != "windows" {
		return err
	}
	return nil
}
