package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/tripline/tripline/internal/web"
)

// What makes the monitor itself not ok. A view is behind only when it stands
// still: after a long stop it may have much to read.
const (
	wakeLimit  = 5 * time.Second  // the schedule looks at its plan each second
	lateLimit  = 10 * time.Second // runs this late are not made
	stuckLimit = 30 * time.Second // of the log or a view

	exportStuckLimit = 5 * time.Minute // a minute of many series takes many calls
)

// health finds what is wrong with the monitor itself.
type health struct {
	monitor *monitor

	mu   sync.Mutex
	seen map[string]progress // by view that is behind
}

// progress is how far a view that is behind was when it was first seen there.
type progress struct {
	seq uint64
	at  time.Time
}

// problems lists what is wrong with the monitor itself, for people; empty when
// it is healthy.
func (h *health) problems() []string { return h.problemsAt(time.Now()) }

func (h *health) problemsAt(now time.Time) []string {
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	m := h.monitor
	s := m.runner.Health()
	if away := now.Sub(s.LastWake); away > wakeLimit && !s.LastWake.IsZero() {
		add("the schedule has not looked for due checks for %s", away.Round(time.Second))
	}
	if s.WorstLateness > lateLimit {
		add("the schedule is late: a check started %s after its slot", s.WorstLateness.Round(time.Second))
	}
	log := m.log.Health()
	if !log.StuckSince.IsZero() {
		add("the log takes no entries since %s: %v; %d wait in memory, %d were dropped as a gap",
			log.StuckSince.Format(time.TimeOnly), log.Err, log.Pending, log.Dropped)
	}
	for _, v := range m.views() {
		if stuck := h.stuck(v, log.LastSeq, now); stuck > v.limit && v.excuse == "" {
			add("%s: no entry seen for %s, %d batches behind the log", v.title, stuck.Round(time.Second), log.LastSeq-v.seq)
		}
	}
	return list
}

// stuck returns for how long a view was seen to stand still while there was
// more to read. Batches of an earlier process do not count: the last of them
// may have expired, or not decode.
func (h *health) stuck(v view, last uint64, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.seq >= last || last < h.monitor.firstSeq {
		delete(h.seen, v.name)
		return 0
	}
	p, seen := h.seen[v.name]
	if !seen || p.seq != v.seq {
		if h.seen == nil {
			h.seen = map[string]progress{}
		}
		h.seen[v.name] = progress{v.seq, now}
		return 0
	}
	return now.Sub(p.at)
}

// view is a reader of the log.
type view struct {
	name   string        // for /metrics
	title  string        // for people
	seq    uint64        // of the newest batch that it has seen
	limit  time.Duration // how long it may stand still
	excuse string        // why it may do so for longer: no fault of this process
}

// views are all of them.
func (m *monitor) views() []view {
	list := []view{
		{name: "alerting", title: "the rules", seq: m.evaluator.Position().Seq, limit: stuckLimit},
		{name: "page", title: "the page", seq: m.page.Seq(), limit: stuckLimit},
		{name: "metrics", title: "/metrics", seq: m.metricsSeq.Load(), limit: stuckLimit},
		{name: "terminal", title: "the terminal", seq: m.consoleSeq.Load(), limit: stuckLimit},
	}
	if m.exporter != nil {
		h := m.exporter.Health()
		list = append(list, view{name: "cloudmon", title: exportTitle, seq: h.Position, limit: exportStuckLimit, excuse: h.Err})
	}
	return list
}

const exportTitle = "the export to Cloud Monitoring"

// facts are figures of the monitor itself, for the page.
func (h *health) facts() []web.Fact {
	m := h.monitor
	s, log := m.runner.Health(), m.log.Health()
	kept := "no slot yet"
	if due := s.Kept + s.Late + s.Missed; due > 0 {
		kept = fmt.Sprintf("%.2f %% of %d", 100*float64(s.Kept)/float64(due), due)
	}
	facts := []web.Fact{
		{Name: "slots kept", Value: kept, Bad: s.Missed+s.Late > 0},
		{Name: "slots missed", Value: fmt.Sprint(s.Missed), Bad: s.Missed > 0},
		{Name: "worst lateness of a minute", Value: s.WorstLateness.Round(time.Microsecond).String(), Bad: s.WorstLateness > lateLimit},
		{Name: "in flight", Value: fmt.Sprint(s.InFlight)},
		{Name: "log waits in memory", Value: fmt.Sprint(log.Pending), Bad: !log.StuckSince.IsZero()},
		{Name: "rules behind the log", Value: fmt.Sprintf("%d batches", log.LastSeq-min(log.LastSeq, m.evaluator.Position().Seq))},
	}
	if b := m.config().Heartbeat; b != nil && b.Off == "" {
		sent, why := m.heart.state()
		last := "none yet"
		if !sent.IsZero() {
			last = sent.UTC().Format(time.TimeOnly)
		}
		facts = append(facts, web.Fact{Name: "last heartbeat", Value: last, Bad: why != ""})
	}
	return facts
}

type healthcheckCmd struct{ configFlag }

// Run asks the running monitor's /health.
func (c healthcheckCmd) Run(ctx context.Context, p program) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	url := "http://" + dialable(cfg.HTTP.Listen) + "/health"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := (&http.Client{}).Do(req)
	if err != nil {
		return &exitError{exitDown, err}
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return &exitError{exitDown, fmt.Errorf("GET %s: status %d, want 200", url, res.StatusCode)}
	}
	_, err = fmt.Fprintln(p.stdout, "ok")
	return err
}
