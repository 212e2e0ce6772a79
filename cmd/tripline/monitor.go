package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/cloudmon"
	"github.com/tripline/tripline/internal/config"
	"github.com/tripline/tripline/internal/journal"
	"github.com/tripline/tripline/internal/prom"
	"github.com/tripline/tripline/internal/replay"
	"github.com/tripline/tripline/internal/schedule"
	"github.com/tripline/tripline/internal/web"
)

// monitor is all parts of a running Tripline, connected. A result's path: the
// runner appends it to the log, and the views follow the log, each at its own
// pace: rules and incidents (evaluator), what the page shows (page), what the
// terminal shows (console). The desks follow the outbox that the evaluator
// commits. Nothing calls back.
type monitor struct {
	journal   *journal.Journal
	log       *journal.Log[checks.Entry]
	runner    *schedule.Runner
	engine    *alerting.Engine // used by evaluator alone
	evaluator *notify.Evaluator
	closers   closers // of the checks that run
	desks     *desks
	page      *web.State
	console   *console
	server    *web.Server
	health    *health
	heart     *heart
	reloader  *reloader
	exporter  *cloudmon.Exporter // nil when Cloud Monitoring is off
	counters  *cloudmon.Counters // what /metrics shows
	disk      diskCache
	firstSeq  uint64 // of this process in the log

	metricsSeq, consoleSeq atomic.Uint64 // the newest batches that these views have seen

	slog *slog.Logger

	mu      sync.Mutex
	cfg     *config.Config // the one in force
	warning string         // about the config file, for the page; "" if there is none
}

// config returns the config in force.
func (m *monitor) config() *config.Config {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cfg
}

func (m *monitor) setConfig(c *config.Config) {
	m.counters.Configure(c.Checks)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cfg = c
}

// warn shows a warning about the config file; "" takes it back.
func (m *monitor) warn(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.warning = text
}

func (m *monitor) warnings() []string {
	var list []string
	if _, why := m.heart.state(); why != "" {
		list = append(list, why)
	}
	if m.exporter != nil {
		if h := m.exporter.Health(); h.Err != "" {
			list = append(list, exportTitle+": "+h.Err)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.warning != "" {
		list = append(list, m.warning)
	}
	return list
}

// bufferFor is how many entries the log may hold in memory while the disk
// takes none: ten minutes of them, at least 10,000.
func bufferFor(list []checks.Check) int {
	perMinute := 0.0
	now := time.Now()
	for _, c := range list {
		first := c.Schedule.Next(now)
		if every := c.Schedule.Next(first).Sub(first); every > 0 {
			perMinute += time.Minute.Seconds() / every.Seconds()
		}
	}
	return max(10_000, int(10*perMinute))
}

// newMonitor opens the data directory and builds all parts; nothing runs yet.
// Close its journal after use.
func newMonitor(ctx context.Context, p program, cfg *config.Config, log *slog.Logger) (*monitor, error) {
	j, err := journal.Open(ctx, journal.Options{
		Dir: cfg.Data.Dir, MaxAge: time.Duration(cfg.Data.Keep), MaxBytes: int64(cfg.Data.MaxSize), Log: log,
	})
	if err != nil {
		return nil, err
	}
	m := &monitor{cfg: cfg, journal: j, slog: log}
	if err := m.connect(ctx, p); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return m, nil
}

func (m *monitor) connect(ctx context.Context, p program) error {
	var err error
	m.log, err = journal.NewLog(ctx, m.journal, journal.LogOptions[checks.Entry]{
		Buffer: bufferFor(m.cfg.Checks), Overflow: overflow,
		Encode: checks.EncodeEntries, Decode: decodeEntries,
	})
	if err != nil {
		return err
	}
	newest, seen, err := m.logEnd(ctx)
	if err != nil {
		return err
	}
	m.engine = alerting.NewEngine(m.cfg.Rules, m.cfg.Subjects)
	m.engine.SetPolicy(m.cfg.Policy)
	m.evaluator = notify.NewEvaluator(notify.EvaluatorConfig{
		Engine: m.engine, Log: entryLog{m.log}, Store: state{m.journal.State()},
		Logger: m.slog, Route: routeFor(m.cfg),
	})
	m.runner = schedule.New(schedule.Options{
		Checks: m.cfg.Checks, Fingerprints: m.cfg.Fingerprints, Location: m.cfg.Location, Sink: m.log,
		Evidence: evidenceStore{m.journal}.put, RunAtStart: true, Newest: newest, Seen: seen, Log: m.slog,
	})
	if err := m.closers.replace(&config.Config{}, m.cfg); err != nil {
		return err
	}
	m.page = web.NewState()
	m.desks = &desks{
		store: state{m.journal.State()}, evidence: evidenceStore{m.journal}.newest, link: m.link, command: m.command,
		history: m.page.History, out: p.stdout, log: m.slog,
	}
	m.console = newConsole(p.stdout)
	m.health = &health{monitor: m}
	m.heart = newHeart(m)
	m.firstSeq = m.log.Last() + 1
	m.metricsSeq.Store(m.log.Last())
	m.consoleSeq.Store(m.log.Last())
	m.remember(ctx, m.cfg, replay.Era{After: m.log.Last(), At: time.Now().UTC(), Restart: true})
	m.counters = m.newCounters()
	m.exporter = m.newExporter()
	m.server = web.New(web.Options{
		State: m.page, Version: versionString(), Environment: m.cfg.Environment, Started: time.Now(), Log: m.slog, Token: m.cfg.HTTP.Token, PublicHost: m.publicHost,
		Checks: func() []checks.Check { return m.config().Checks }, Problems: m.health.problems, Facts: m.health.facts,
		Notifiers: func() []web.Notifier { return m.desks.states(m.config().Notifiers) }, Evidence: evidenceStore{m.journal}.newest,
		Attempts: m.desks.attempts,
		Budgets:  m.evaluator.Budgets, Warnings: m.warnings, Command: m.command, Metrics: prom.New(m.counters, m.self, m.slog),
		Windows: func() []alerting.Window {
			return append(m.evaluator.Begun(), m.config().Policy.Windows...)
		},
		Replay: replay.Handler(&stored{log: m.log, journal: m.journal}, m.slog),
	})
	return nil
}

// routeFor names who is to tell an incident: every notifier that is on and
// whose route it is.
func routeFor(cfg *config.Config) func(alerting.Incident, time.Time) []string {
	return func(i alerting.Incident, at time.Time) []string {
		var names []string
		for _, n := range cfg.Notifiers {
			if n.Off == "" && n.Route.Due(i, at) {
				names = append(names, n.Name)
			}
		}
		return names
	}
}

// seenBack is how far back the log is read for the newest slot of each check.
const seenBack = 5 * time.Minute

// logEnd returns the time of the newest entry in the log, zero for a log that
// has none, and the newest slot in it of each check that had one lately. It
// reads what is there: nobody writes yet, and the newest batch may have expired
// or not decode.
func (m *monitor) logEnd(ctx context.Context) (newest time.Time, seen map[string]time.Time, err error) {
	last := m.log.Last()
	if last == 0 {
		return newest, nil, nil
	}
	first, err := m.log.First(ctx)
	if err != nil {
		return newest, nil, fmt.Errorf("read the end of the log: %w", err)
	}
	for back := uint64(0); ; back = 4*back + 512 {
		from, start := max(first, last-min(last, back)), time.Time{}
		seen = map[string]time.Time{}
		err := m.log.Range(ctx, from, last, func(b journal.Batch[checks.Entry]) error {
			if start.IsZero() {
				start = b.Time
			}
			for _, e := range b.Entries {
				newest = later(newest, e.Time())
				see(seen, e)
			}
			return nil
		})
		if err != nil {
			return newest, nil, fmt.Errorf("read the end of the log: %w", err)
		}
		if from <= first || newest.Sub(start) > seenBack {
			return newest, seen, nil
		}
	}
}

// see notes the slots that e accounts for.
func see(seen map[string]time.Time, e checks.Entry) {
	switch r, g := e.Result, e.Gap; {
	case r != nil:
		seen[r.Check] = later(seen[r.Check], r.Slot)
	case g != nil && g.Check != "":
		seen[g.Check] = later(seen[g.Check], g.To)
	case g != nil:
		for check, slot := range seen {
			seen[check] = later(slot, g.To)
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// catchUpTime bounds how long the views may take to see the last results when
// the program ends. What they do not see they see at the next start.
const catchUpTime = 2 * time.Second

// run runs all parts until ctx ends or one of them fails. The parts end in the
// order of a result's path, so that the last results are stored and evaluated.
func (m *monitor) run(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	logCtx, stopLog := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLog()
	viewCtx, stopViews := context.WithCancel(context.WithoutCancel(ctx))
	defer stopViews()

	var writer, views errgroup.Group
	part := func(g *errgroup.Group, ctx context.Context, name string, f func(context.Context) error) {
		g.Go(func() error {
			if err := f(ctx); err != nil {
				cancel() // one part's failure ends the program: it must not go on half
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	part(&writer, logCtx, "log", m.log.Run)
	part(&views, viewCtx, "alerting", m.evaluator.Run)
	part(&views, viewCtx, "alarm", m.wakeRules)
	part(&views, viewCtx, "notify", func(ctx context.Context) error { return m.desks.run(ctx, m.config().Notifiers) })
	part(&views, viewCtx, "fallback", m.fallBack)
	part(&views, viewCtx, "heartbeat", m.heart.run)
	part(&views, viewCtx, "direct message", m.tellDirectly)
	part(&views, viewCtx, "page", m.followPage)
	part(&views, viewCtx, "incidents", m.followIncidents)
	part(&views, viewCtx, "metrics", m.followMetrics)
	if m.exporter != nil {
		part(&views, viewCtx, "cloud monitoring", m.exporter.Run)
	}
	part(&views, viewCtx, "reload", m.reloader.run)
	part(&views, viewCtx, "canaries", m.askCanaries)
	part(&views, viewCtx, "terminal", m.followConsole)
	part(&views, viewCtx, "http", func(ctx context.Context) error { return m.server.Serve(ctx, l) })

	err := errors.Join(m.runner.Run(ctx), m.closers.replace(m.config(), &config.Config{}))
	stopLog()
	err = errors.Join(err, writer.Wait())
	m.catchUp(viewCtx)
	stopViews()
	return errors.Join(err, views.Wait())
}

// askCanaries says it when the canaries do not answer at the start: one that
// never does makes every target that does not answer unknown.
func (m *monitor) askCanaries(ctx context.Context) error {
	c := m.config().Canaries
	if c == nil {
		return nil
	}
	if err := c.Ask(ctx); err != nil {
		m.slog.Warn("while no canary answers, targets that do not answer are unknown and not down", "canaries", c.String(), "err", err)
	}
	return nil
}

// catchUp waits until the rules have seen the end of the log, but not for long.
func (m *monitor) catchUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	for m.evaluator.Position().Seq < m.log.Last() && pause(ctx, 10*time.Millisecond) {
	}
}
