package cloudmon

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/cloudmon/cloudmontest"
)

const prefix = "custom.googleapis.com/tripline/"

// memLog is a log in memory. Its batches never change.
type memLog struct {
	mu      sync.Mutex
	batches [][]checks.Entry
	changed chan struct{}
}

func newLog(batches ...[]checks.Entry) *memLog {
	return &memLog{batches: batches, changed: make(chan struct{})}
}

func (l *memLog) Append(entries ...checks.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = append(l.batches, entries)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *memLog) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.batches))
}

func (l *memLog) Follow(ctx context.Context, from uint64, f func(uint64, []checks.Entry) error) error {
	for seq := max(from, 1); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.mu.Lock()
		n, changed := uint64(len(l.batches)), l.changed
		var b []checks.Entry
		if seq <= n {
			b = l.batches[seq-1]
		}
		l.mu.Unlock()
		if seq > n {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		if err := f(seq, b); err != nil {
			return err
		}
		seq++
	}
}

// memStore keeps the state in memory; saved counts the saves.
type memStore struct {
	mu    sync.Mutex
	b     []byte
	saved int
	err   error
}

func (s *memStore) Load() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.b), nil
}

func (s *memStore) Save(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.b = slices.Clone(b)
	s.saved++
	return nil
}

// rig is an exporter with everything around it.
type rig struct {
	*testing.T
	server *cloudmontest.Server
	cfg    Config
	log    *memLog
	store  *memStore
	dir    string
	open   func() map[Finding]int
	logged *strings.Builder
	pace   func(*pace)
}

func newRig(t *testing.T, o cloudmontest.Options) *rig {
	t.Helper()
	server, endpoint := cloudmontest.Start(t, o)
	r := &rig{T: t, server: server, cfg: Config{Project: "test", Endpoint: endpoint}, log: newLog(), store: &memStore{}, dir: t.TempDir(), logged: &strings.Builder{}}
	if p := r.cfg.Validate(); len(p) > 0 {
		t.Fatal(p)
	}
	return r
}

// another is a second process with a data directory of its own that writes to the same server.
func (r *rig) another() *rig {
	other := *r
	other.log, other.store, other.dir = newLog(), &memStore{}, r.TempDir()
	return &other
}

func (r *rig) exporter() *Exporter {
	x := New(r.cfg, Options{
		Log: r.log, Store: r.store, Dir: r.dir, Findings: r.open,
		Logger: slog.New(slog.NewTextHandler(r.logged, nil)),
	})
	x.pace = pace{
		deadline: 10 * time.Second, firstWait: time.Millisecond, maxWait: 10 * time.Millisecond,
		cycle: 20 * time.Millisecond, stop: 60 * time.Second, again: time.Hour,
	}
	if r.pace != nil {
		r.pace(&x.pace)
	}
	return x
}

// run starts an exporter; stop ends it as SIGTERM would and waits.
func (r *rig) run() (x *Exporter, stop func()) {
	x = r.exporter()
	ctx, cancel := context.WithCancel(r.Context())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	return x, func() {
		r.Helper()
		cancel()
		if err := <-done; err != nil {
			r.Errorf("Run: %v", err)
		}
	}
}

// runAll exports everything that is in the log now.
func (r *rig) runAll() *Exporter {
	r.Helper()
	x, stop := r.run()
	stop()
	return x
}

// until waits for a condition.
func (r *rig) until(what string, ok func() bool) {
	r.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			r.Fatalf("waited a minute for %s", what)
		}
	}
}

func (r *rig) noViolations() {
	r.Helper()
	if v := r.server.Violations(); len(v) > 0 {
		r.Errorf("%d rules broken, the first: %v", len(v), v[0])
	}
}

// agrees compares the counts at the server with those in the entries.
func (r *rig) agrees(entries []checks.Entry) {
	r.Helper()
	want := map[string]int64{}
	for _, e := range entries {
		if e.Result != nil {
			for class, n := range e.Result.Attempts() {
				want[e.Result.Check+"|"+string(class)] += int64(n)
			}
		}
	}
	got := map[string]int64{}
	for _, s := range r.server.Series(prefix+"check_count", nil) {
		got[s.Labels["check"]+"|"+s.Labels["class"]] += s.Last().Int
	}
	if !maps.Equal(got, want) {
		for k := range want {
			if got[k] != want[k] {
				r.Errorf("count of %s: %d exported, %d in the log", k, got[k], want[k])
				return
			}
		}
		r.Errorf("counts differ: %d series exported, want %d", len(got), len(want))
	}
}

// began returns the beginning of the minute some minutes ago.
func began(minutesAgo int) time.Time {
	return time.Now().UTC().Truncate(time.Minute).Add(-time.Duration(minutesAgo) * time.Minute)
}

func result(check string, at time.Time, class probe.Class) checks.Entry {
	r := &checks.Result{
		Check: check, Kind: "route", Group: "shop", Location: "local",
		Slot: at, Start: at, Duration: 20 * time.Millisecond, Class: class, Status: class.Status(),
	}
	if class == probe.OK {
		r.Latency = 20 * time.Millisecond
	}
	return checks.Entry{V: checks.ResultVersion, Result: r}
}

// shortDeadline is for tests in which calls get no answer.
func shortDeadline(p *pace) { p.deadline = 400 * time.Millisecond }

func tick(at time.Time) checks.Entry {
	return checks.Entry{V: checks.ResultVersion, Tick: &checks.Tick{At: at}}
}

// traffic makes the entries of n minutes from base on: each check every so
// often, a Tick a minute, and classes drawn from seed.
func traffic(base time.Time, minutes, n int, every time.Duration, seed uint64) [][]checks.Entry {
	rng := rand.New(rand.NewPCG(seed, 1))
	classes := []probe.Class{probe.OK, probe.OK, probe.OK, probe.NotFound, probe.ConnectRefused, probe.Interrupted}
	var batches [][]checks.Entry
	for m := range minutes {
		start := base.Add(time.Duration(m) * time.Minute)
		for at := time.Duration(0); at < time.Minute; at += every {
			batch := make([]checks.Entry, 0, n+1)
			if at == 0 {
				batch = append(batch, tick(start.Add(3*time.Millisecond)))
			}
			for i := range n {
				e := result(fmt.Sprintf("check-%03d", i), start.Add(at+time.Duration(i)*every/time.Duration(2*n)+5*time.Millisecond), classes[rng.IntN(len(classes))])
				e.Result.Group = fmt.Sprintf("group-%02d", i/10)
				e.Result.Measures = map[string]float64{"ping_rtt": rng.Float64()}
				if i%7 == 0 {
					e.Result.Tally = map[probe.Class]int{probe.OK: 3, e.Result.Class: 2}
				}
				batch = append(batch, e)
			}
			batches = append(batches, batch)
		}
	}
	return append(batches, []checks.Entry{tick(base.Add(time.Duration(minutes)*time.Minute + time.Millisecond))})
}

func flat(batches [][]checks.Entry) []checks.Entry { return slices.Concat(batches...) }
