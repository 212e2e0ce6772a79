package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// ruleOfThumb is an Engine for tests: a check that is down opens an incident,
// every third bad result in a row is worth telling, a good one resolves it.
type ruleOfThumb struct {
	Bad      map[string]int               `json:"bad"`
	Open     map[string]alerting.Incident `json:"open"` // by check
	Padding  string                       `json:"padding"`
	restored int
	adopted  [][]alerting.Incident
}

var _ Engine = (*alerting.Engine)(nil)

func (r *ruleOfThumb) Begun() []alerting.Window { return nil }

func (r *ruleOfThumb) Budgets() []alerting.Budget {
	return []alerting.Budget{{Rule: "thumb", Bad: len(r.Open)}}
}

func newRules() *ruleOfThumb {
	return &ruleOfThumb{Bad: map[string]int{}, Open: map[string]alerting.Incident{}}
}

func (r *ruleOfThumb) Step(_ uint64, e checks.Entry) []alerting.Change {
	if e.Result == nil {
		return nil
	}
	name, slot := e.Result.Check, e.Result.Slot
	i, open := r.Open[name]
	if e.Result.Status == probe.Up {
		r.Bad[name] = 0
		if !open {
			return nil
		}
		delete(r.Open, name)
		return []alerting.Change{{Incident: resolved(i, i.LastBad, slot)}}
	}
	r.Bad[name]++
	switch {
	case !open:
		i = opened(name, slot)
		i.ID = fmt.Sprintf("%s@%d", name, slot.Unix())
	case r.Bad[name]%3 == 0:
		i = then(i, "still down", slot)
	default:
		return nil
	}
	r.Open[name] = i
	return []alerting.Change{{Incident: i}}
}

func (r *ruleOfThumb) Checkpoint(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

func (r *ruleOfThumb) Restore(b []byte) error {
	r.restored++
	return json.Unmarshal(b, r)
}

func (r *ruleOfThumb) Rewind(uint64) {}

func (r *ruleOfThumb) Adopt(stored []alerting.Incident) []alerting.Change {
	r.adopted = append(r.adopted, stored)
	return nil
}

// memLog is a log in memory.
type memLog struct {
	mu      sync.Mutex
	first   uint64 // sequence number of the first batch that is still there
	batches [][]checks.Entry
	changed chan struct{}
	given   uint64 // what Follow has given out
	slow    bool   // Last is that: whoever follows is never behind
}

func newMemLog(batches ...[]checks.Entry) *memLog {
	return &memLog{first: 1, batches: batches, changed: make(chan struct{})}
}

func (l *memLog) append(batch ...checks.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = append(l.batches, batch)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *memLog) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.slow && l.given > 0 {
		return l.given
	}
	return l.first + uint64(len(l.batches)) - 1
}

func (l *memLog) Follow(ctx context.Context, from uint64, f func(context.Context, uint64, []checks.Entry) error) error {
	for seq := max(from, l.first); ; {
		l.mu.Lock()
		var batch []checks.Entry
		if n := seq - l.first; n < uint64(len(l.batches)) {
			batch, l.given = l.batches[n], seq
		}
		changed := l.changed
		l.mu.Unlock()
		if batch != nil {
			if err := f(ctx, seq, batch); err != nil {
				return err
			}
			seq++
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// entries makes a batch in a small notation: "a- b+" is a down and b up.
func entries(at time.Time, results string) []checks.Entry {
	var batch []checks.Entry
	for f := range strings.FieldsSeq(results) {
		r := checks.Result{Check: f[:len(f)-1], Location: "local", Slot: at, Start: at, Status: probe.Up, Class: probe.OK}
		if strings.HasSuffix(f, "-") {
			r.Status, r.Class = probe.Down, probe.NotFound
		}
		batch = append(batch, checks.Entry{V: checks.ResultVersion, Result: &r})
	}
	return batch
}

func tick(at time.Time) []checks.Entry {
	return []checks.Entry{{V: checks.ResultVersion, Tick: &checks.Tick{At: at}}}
}

// evaluation is a running Evaluator.
type evaluation struct {
	*Evaluator
	rules  *ruleOfThumb
	cancel context.CancelFunc
	done   chan error
}

func evaluate(t *testing.T, log *memLog, store Store, route ...string) *evaluation {
	if len(route) == 0 {
		route = []string{"slack"}
	}
	rules := newRules()
	e := evaluateWith(t, rules, log, store, route...)
	e.rules = rules
	return e
}

func evaluateWith(t *testing.T, rules Engine, log *memLog, store Store, route ...string) *evaluation {
	e := &evaluation{done: make(chan error, 1)}
	e.Evaluator = NewEvaluator(EvaluatorConfig{
		Engine: rules, Log: log, Store: store, Logger: logger(t),
		Route: func(alerting.Incident, time.Time) []string { return route },
	})
	e.run(t)
	return e
}

func (e *evaluation) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e.cancel = cancel
	go func() { e.done <- e.Run(ctx) }()
	synctest.Wait()
}

func (e *evaluation) stop(t *testing.T) {
	t.Helper()
	e.cancel()
	if err := <-e.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// kill ends the program without looking back.
func (e *evaluation) kill() error {
	e.cancel()
	return <-e.done
}

// told lists what was written to the outbox, in order: "slack a@60 v1".
func (s *memStore) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, r := range s.history {
		if r.Key[0] == keyOutbox && r.Value != nil {
			_, rest, _ := strings.Cut(string(r.Value), `"version":`)
			version, _, _ := strings.Cut(rest, ",")
			list = append(list, r.Key[1]+" "+r.Key[2]+" v"+version)
		}
	}
	return list
}

func TestEvaluatorCommits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(6000, 0)
		log, store := newMemLog(), newMemStore()
		e := evaluate(t, log, store)
		feed, end := e.Subscribe()
		for k, results := range []string{"a- b+", "a- b+", "a- b-"} {
			log.append(entries(t0.Add(time.Duration(k)*time.Minute), results)...)
			synctest.Wait()
		}
		if got := e.Open(); len(got) != 2 || got[0].ID != "a@6000" || got[0].Version != 2 || got[1].ID != "b@6120" {
			t.Errorf("open %+v", got)
		}
		log.append(entries(t0.Add(3*time.Minute), "a+ b+")...)
		synctest.Wait()
		want := []string{"slack a@6000 v1", "slack a@6000 v2", "slack b@6120 v1", "slack a@6000 v3", "slack b@6120 v2"}
		if diff := cmp.Diff(want, store.told()); diff != "" {
			t.Errorf("outbox (-want +got):\n%s", diff)
		}
		if got := len(e.Open()); got != 0 {
			t.Errorf("%d open incidents, want 0", got)
		}
		if got := e.Position(); got.Seq != 4 || !got.At.Equal(t0.Add(3*time.Minute)) {
			t.Errorf("position %+v", got)
		}
		if got := len(feed); got != 5 {
			t.Errorf("%d changes in the feed, want 5", got)
		}
		end()
		end()
		e.stop(t)

		// Nothing more is committed after a restart, with or without the last checkpoint.
		for _, key := range []string{"", "head"} {
			if key != "" {
				store.mu.Lock()
				delete(store.records, path([]string{keyCheckpoint, key}))
				store.mu.Unlock()
			}
			e = evaluate(t, log, store)
			if diff := cmp.Diff(want, store.told()); diff != "" {
				t.Errorf("outbox after a restart (-want +got):\n%s", diff)
			}
			if len(e.rules.adopted) != 1 || len(e.rules.adopted[0]) != 2 {
				t.Errorf("adopted %d times, want once, all stored incidents", len(e.rules.adopted))
			}
			e.stop(t)
		}
	})
}

// script is a log in which much happens: incidents that come and go, two
// changes of one incident in a batch, a batch of more changes than fit one commit.
func script() (batches [][]checks.Entry) {
	t0 := time.Unix(6000, 0)
	add := func(results ...string) {
		at := t0.Add(time.Duration(len(batches)) * 20 * time.Second)
		var batch []checks.Entry
		for k, r := range results {
			batch = append(batch, entries(at.Add(time.Duration(k)*time.Second), r)...)
		}
		batches = append(batches, batch)
	}
	var many strings.Builder
	for k := range 30 { // times 31 writes for the many notifiers
		fmt.Fprintf(&many, "m%02d- ", k)
	}
	add("a+ b+")
	add("a- b+")
	add("a- b-", "b+")
	add("a- c-")
	add(many.String())
	add("a+")
	add("c+", "a-")
	add("m00+ m29+", "d-")
	for range 4 {
		add("d- a+")
	}
	add("d+")
	return batches
}

// weather is a log of results by chance, the same every time: checks of three
// groups that fail for some minutes now and then.
func weather() (batches [][]checks.Entry) {
	chance := rand.New(rand.NewPCG(1, 2))
	bad := map[string]int{}
	var batch []checks.Entry
	for minute := range 30 {
		var results strings.Builder
		for _, name := range []string{"a1", "a2", "b1", "b2", "c1"} {
			if bad[name]--; bad[name] < -2 && chance.IntN(5) == 0 {
				bad[name] = 1 + chance.IntN(6)
			}
			sign := "+"
			if bad[name] > 0 {
				sign = "-"
			}
			results.WriteString(name + sign + " ")
		}
		at := time.Date(2026, 11, 21, 0, minute, 0, 0, time.UTC)
		batch = append(batch, entries(at, results.String())...)
		if minute%3 == 2 {
			batches, batch = append(batches, append(batch, tick(at)...)), nil
		}
	}
	return batches
}

// realRules are the rules of the program itself, over the checks of weather.
func realRules() Engine {
	none := alerting.Share(0)
	rules := []alerting.Rule{
		{Name: "404", Severity: alerting.Ticket, RecoverAfter: 2, Rate: &alerting.Rate{Of: "not_found", Over: probe.Duration(5 * time.Minute), Above: &none}},
		{Name: "down", Severity: alerting.Page, RecoverAfter: 1, Down: &alerting.DownRule{Slots: 3}},
		{Name: "all", By: "all", Rate: &alerting.Rate{Of: "any", Over: probe.Duration(10 * time.Minute), Above: &none, MinFailures: 6}},
	}
	var subjects []alerting.Subject
	for _, name := range []string{"a1", "a2", "b1", "b2", "c1"} {
		subjects = append(subjects, alerting.Subject{Name: name, Kind: "route", Group: name[:1], Location: "local", Interval: time.Minute})
	}
	return alerting.NewEngine(rules, subjects)
}

// However the program ends at whichever commit, the next run goes on as if
// nothing had happened: the same versions get into the outbox, each once. One
// that was behind gets as far, and no version twice; how many of them it passes
// over depends on where it began.
func TestEvaluatorCrashes(t *testing.T) {
	var many []string
	for k := range 30 {
		many = append(many, fmt.Sprintf("notifier%02d", k))
	}
	for _, c := range []struct {
		name     string
		rules    func() Engine
		script   func() [][]checks.Entry
		behind   bool
		route    []string
		versions int // at least
		commits  int // at least
	}{
		{"many changes", func() Engine { return newRules() }, script, false, many, 1200, 15},
		{"many changes, behind", func() Engine { return newRules() }, script, true, many, 1000, 8},
		{"real rules", realRules, weather, false, []string{"slack"}, 20, 25},
	} {
		t.Run(c.name, func(t *testing.T) {
			run := func(t *testing.T, store *memStore) *evaluation {
				log := newMemLog(c.script()...)
				log.slow = !c.behind
				return evaluateWith(t, c.rules(), log, store, c.route...)
			}
			got := (*memStore).told
			if c.behind {
				got = func(s *memStore) []string { return newestTold(t, s.told()) }
			}
			var want []string
			commits := 0
			synctest.Test(t, func(t *testing.T) {
				store := newMemStore()
				e := run(t, store)
				want, commits = got(store), store.commits
				if told := store.told(); len(told) < c.versions || commits < c.commits {
					t.Fatalf("%d versions in %d commits: the script is too small", len(told), commits)
				}
				e.stop(t)
			})
			for _, f := range []struct {
				name          string
				stored, crash bool
			}{
				{"crash before", false, true},
				{"crash after", true, true},
				{"error", false, false},
				{"answer lost", true, false},
			} {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					for at := 1; at <= commits; at++ {
						synctest.Test(t, func(t *testing.T) {
							store := newMemStore()
							faultAt(t, run, store, at, f.stored, f.crash)
							if diff := cmp.Diff(want, got(store)); diff != "" {
								t.Errorf("fault at commit %d: outbox (-want +got):\n%.2000s", at, diff)
							}
						})
					}
				})
			}
		})
	}
}

// newestTold returns of what was told in order the newest version of each incident
// to each notifier, sorted; each must be newer than the ones before.
func newestTold(t *testing.T, told []string) []string {
	versions := map[string]int{}
	for _, one := range told {
		what, v, _ := strings.Cut(one, " v")
		version, err := strconv.Atoi(v)
		if err != nil || version <= versions[what] {
			t.Errorf("%s after version %d: %v", one, versions[what], err)
		}
		versions[what] = version
	}
	var list []string
	for what, version := range versions {
		list = append(list, fmt.Sprint(what, " v", version))
	}
	slices.Sort(list)
	return list
}

// faultAt runs an Evaluator whose commit number at fails, although it was
// stored or not, and with crash set ends it there and runs another one.
func faultAt(t *testing.T, run func(*testing.T, *memStore) *evaluation, store *memStore, at int, stored, crash bool) {
	count, failed := 0, false
	fail := func(after bool) func([]Write) error {
		return func([]Write) error {
			if !after {
				count++
			}
			switch {
			case failed && crash:
				return errDisk // the program is dead
			case !failed && count == at && after == stored:
				failed = true
				return errDisk
			}
			return nil
		}
	}
	store.before, store.after = fail(false), fail(true)
	e := run(t, store)
	if crash {
		_ = e.kill() // that it failed is the point
		store.before, store.after = nil, nil
		e = run(t, store)
	} else {
		sleep(t.Context(), time.Minute)
		synctest.Wait()
	}
	if !failed {
		t.Errorf("there was no commit %d", at)
	}
	e.stop(t)
}

// slowStore takes 10 ms for each commit, as a disk does.
type slowStore struct {
	*memStore
	commits atomic.Int64
}

func (s *slowStore) Commit(ctx context.Context, writes ...Write) error {
	sleep(ctx, 10*time.Millisecond)
	s.commits.Add(1)
	return s.memStore.Commit(ctx, writes...)
}

// When many checks fail at once, whoever is behind commits what has happened
// meanwhile in one piece; a change that nothing follows does not wait.
func TestEvaluatorBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 500
		log, store := newMemLog(), &slowStore{memStore: newMemStore()}
		e := evaluate(t, log, store)
		begun, before := time.Now(), store.commits.Load()
		for k := range n { // one every 2 ms
			log.append(entries(begun.Add(time.Duration(k)*2*time.Millisecond), fmt.Sprintf("c%d-", k))...)
			sleep(t.Context(), 2*time.Millisecond)
		}
		for len(e.Open()) < n {
			sleep(t.Context(), time.Millisecond)
		}
		if took, commits := time.Since(begun), store.commits.Load()-before; took > 2*n*time.Millisecond+50*time.Millisecond || commits > n/4 {
			t.Errorf("%d incidents were stored after %s, in %d commits", n, took, commits)
		}
		e.stop(t)
	})
}

// Incidents too large to be stored lose names, not their news.
func TestEvaluatorLarge(t *testing.T) {
	for _, c := range []struct {
		notifiers, findings, check int
	}{{3, 60, 60}, {3, 200, 400}, {40, 60, 60}, {800, 3, 10}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			i := opened("ws", time.Unix(6000, 0))
			for range 50 {
				i.Findings[0].Checks = append(i.Findings[0].Checks, strings.Repeat("x", c.check))
			}
			for range c.findings {
				i.Findings = append(i.Findings, i.Findings[0])
			}
			store := newMemStore()
			e := NewEvaluator(EvaluatorConfig{Engine: newRules(), Log: newMemLog(), Store: store, Logger: logger(t), Route: func(alerting.Incident, time.Time) []string {
				var names []string
				for k := range c.notifiers {
					names = append(names, fmt.Sprint("notifier", k))
				}
				return names
			}})
			e.next = 2
			var changes []stepped
			for n, i := range []alerting.Incident{i, then(i, "also", i.Since), opened("other", i.Since)} {
				changes = append(changes, stepped{alerting.Change{Incident: i}, 1, n + 1})
			}
			if err := e.commit(t.Context(), changes); err != nil {
				t.Fatal(err)
			}
			for _, key := range [][]string{{keyIncident, "ws"}, {keyOutbox, "notifier1", "ws"}} {
				got, ok := stored[alerting.Incident](t, store, key...)
				if !ok || got.Version != 2 || got.Changed != "also" {
					t.Errorf("%q: %t, version %d", key, ok, got.Version)
				}
				if f := i.Findings[0]; len(got.Findings) > 0 && len(got.Findings[0].Checks)+got.Findings[0].More != len(f.Checks)+f.More {
					t.Errorf("%q: %d checks and %d more, want %d together", key, len(got.Findings[0].Checks), got.Findings[0].More, len(f.Checks))
				}
			}
		})
	}
}

// Two programs on one store: the second to commit gives up.
func TestEvaluatorRival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		log := newMemLog()
		e, rival := evaluate(t, log, store), evaluate(t, log, store)
		log.append(entries(time.Unix(6000, 0), "a-")...)
		sleep(t.Context(), time.Second) // the second one looks again after a conflict
		synctest.Wait()
		var err error
		select {
		case err = <-e.done:
			rival.stop(t)
		case err = <-rival.done:
			e.stop(t)
		default:
			t.Fatal("both go on")
		}
		if !errors.Is(err, ErrConflict) {
			t.Errorf("Run: %v, want ErrConflict", err)
		}
		if diff := cmp.Diff([]string{"slack a@6000 v1"}, store.told()); diff != "" {
			t.Errorf("outbox (-want +got):\n%s", diff)
		}
	})
}

func TestEvaluatorReconfigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(6000, 0)
		log, store := newMemLog(entries(t0, "a- b-")), newMemStore()
		e := evaluate(t, log, store)
		var at time.Time
		err := e.Reconfigure(t.Context(),
			func(alerting.Incident, time.Time) []string { return []string{"pager"} },
			func(now time.Time) []alerting.Change { // b is no longer checked
				at = now
				i := e.rules.Open["b"]
				delete(e.rules.Open, "b")
				return []alerting.Change{{Incident: resolved(i, i.LastBad, now)}}
			})
		if err != nil || !at.Equal(t0) {
			t.Errorf("Reconfigure at %s: %v", at, err)
		}
		got := store.told()
		slices.Sort(got)
		// The new notifier hears of what is open, the old one of the end.
		want := []string{
			"pager a@6000 v1", "pager b@6000 v2",
			"slack a@6000 v1", "slack a@6000 v1", "slack b@6000 v1", "slack b@6000 v2",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("outbox (-want +got):\n%s", diff)
		}
		log.append(entries(t0.Add(time.Minute), "a+")...)
		synctest.Wait()
		_ = e.kill()
		e = evaluate(t, log, store, "pager")
		if got := e.Open(); len(got) != 0 {
			t.Errorf("open %+v after a restart, want none", got)
		}
		if got := store.told(); got[len(got)-1] != "slack a@6000 v2" {
			t.Errorf("last told %q, want the end for the notifier that knows of the beginning", got[len(got)-1])
		}
		e.stop(t)
	})
}

// A reload that comes while the log is stepped again waits until that is done.
func TestEvaluatorReconfigureWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEvaluator(EvaluatorConfig{Engine: newRules(), Log: newMemLog(), Store: newMemStore(), Logger: logger(t)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := e.Reconfigure(ctx, nil, func(time.Time) []alerting.Change { t.Error("called before Run"); return nil })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Reconfigure: %v", err)
		}
	})
}

// noise returns n letters that cannot be packed to less than 6 bits each.
func noise(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

func TestEvaluatorCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(6000, 0)
		log, store := newMemLog(), newMemStore()
		e := evaluate(t, log, store)
		e.rules.Padding = noise(3 * pieceSize) // packs to three quarters
		for k := range 10 {
			log.append(entries(t0.Add(time.Duration(k)*20*time.Second), "a-")...)
		}
		log.append(tick(t0.Add(200 * time.Second))...)
		synctest.Wait()
		head, ok := stored[checkpointHead](t, store, keyCheckpoint, "head")
		if !ok || head.Pieces != 3 || head.Next != 11 || !head.At.Equal(t0.Add(180*time.Second)) {
			t.Errorf("head %+v, want the checkpoint of 180 s: one each minute of the log", head)
		}
		e.stop(t)
		head, _ = stored[checkpointHead](t, store, keyCheckpoint, "head")
		if head.Next != 12 {
			t.Errorf("head %+v, want one on stop", head)
		}

		e = evaluate(t, log, store)
		if e.rules.restored != 1 || e.rules.Bad["a"] != 10 {
			t.Errorf("restored %d times, %d bad results, want 1 and 10", e.rules.restored, e.rules.Bad["a"])
		}
		e.stop(t)

		store.mu.Lock()
		k := path([]string{keyCheckpoint, "a", "1"})
		store.records[k] = Record{Key: []string{keyCheckpoint, "a", "1"}, Value: []byte("damaged"), Rev: 1}
		k = path([]string{keyCheckpoint, "b", "1"})
		store.records[k] = Record{Key: []string{keyCheckpoint, "b", "1"}, Value: []byte("damaged"), Rev: 1}
		store.mu.Unlock()
		e = evaluate(t, log, store)
		if e.rules.restored != 0 || e.rules.Bad["a"] != 10 {
			t.Errorf("restored %d times, %d bad results, want a damaged checkpoint left alone and the log stepped again", e.rules.restored, e.rules.Bad["a"])
		}
		e.stop(t)
	})
}

// A crash in the middle of a checkpoint leaves the one before as it was.
func TestEvaluatorCheckpointTorn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(6000, 0)
		log, store := newMemLog(entries(t0, "a-"), tick(t0.Add(time.Minute))), newMemStore()
		evaluate(t, log, store).stop(t)
		store.before = func(writes []Write) error {
			if slices.Equal(writes[0].Key, []string{keyCheckpoint, "head"}) {
				return errDisk
			}
			return nil
		}
		e := evaluate(t, log, store)
		log.append(entries(t0.Add(2*time.Minute), "a-")...)
		e.stop(t)
		e = evaluate(t, log, store)
		if e.rules.restored != 1 || e.rules.Bad["a"] != 2 {
			t.Errorf("restored %d times, want the checkpoint before", e.rules.restored)
		}
		e.stop(t)
	})
}

// A log that has lost its beginning by age: what is committed stays as it is.
func TestEvaluatorLogTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(6000, 0)
		log, store := newMemLog(entries(t0, "a-"), entries(t0.Add(time.Minute), "b-")), newMemStore()
		evaluate(t, log, store).stop(t)
		told := store.told()
		store.mu.Lock()
		delete(store.records, path([]string{keyCheckpoint, "head"}))
		store.mu.Unlock()
		log.first, log.batches = 3, nil
		e := evaluate(t, log, store)
		log.append(tick(t0.Add(2 * time.Minute))...)
		synctest.Wait()
		if diff := cmp.Diff(told, store.told()); diff != "" || len(e.Open()) != 2 || len(e.rules.adopted) != 1 {
			t.Errorf("%d open, adopted %d times, outbox (-want +got):\n%s", len(e.Open()), len(e.rules.adopted), diff)
		}
		e.stop(t)
	})
}

func TestEvaluatorNewerRecord(t *testing.T) {
	for _, key := range [][]string{{keyIncident, "a"}, {keyEvaluator, "position"}, {keyCheckpoint, "head"}} {
		t.Run(key[0], func(t *testing.T) {
			store := newMemStore()
			if err := store.Commit(t.Context(), Write{Key: key, Value: []byte(`{"v":99}`)}); err != nil {
				t.Fatal(err)
			}
			e := NewEvaluator(EvaluatorConfig{Engine: newRules(), Log: newMemLog(), Store: store, Logger: logger(t)})
			if err := e.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "newer Tripline") {
				t.Errorf("Run: %v, want that the record is of a newer version", err)
			}
		})
	}
}

func TestEvaluatorTidies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(6000, 0)
		log, store := newMemLog(), newMemStore()
		e := evaluate(t, log, store)
		log.append(entries(t0, "a- b-")...)
		log.append(entries(t0.Add(time.Minute), "a+")...)
		synctest.Wait()
		if err := store.Commit(t.Context(),
			Write{Key: []string{keyReceipt, "slack", "a@6000"}, Value: []byte("{}")},
			Write{Key: []string{keyReceipt, "slack", "b@6000"}, Value: []byte("{}")},
			Write{Key: []string{keyDead, "slack", "unheard"}, Value: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		log.append(tick(t0.Add(40 * 24 * time.Hour))...)
		synctest.Wait()
		var left []string
		store.mu.Lock()
		for _, r := range store.list(nil) {
			if r.Key[0] != keyCheckpoint && r.Key[0] != keyEvaluator {
				left = append(left, strings.Join(r.Key, " "))
			}
		}
		store.mu.Unlock()
		want := []string{"incident b@6000", "outbox slack b@6000", "receipt slack b@6000"}
		if diff := cmp.Diff(want, left); diff != "" {
			t.Errorf("left (-want +got):\n%s", diff)
		}
		if got := len(e.Incidents()); got != 1 {
			t.Errorf("%d incidents, want 1", got)
		}
		e.stop(t)
	})
}

func TestOutdated(t *testing.T) {
	now := time.Unix(1e9, 0)
	var all []alerting.Incident
	add := func(id string, age time.Duration) {
		i := opened(id, now.Add(-age-time.Minute))
		all = append(all, resolved(i, i.Since, now.Add(-age)))
	}
	for k := range keepAtMost - 1 {
		add(fmt.Sprint("young", k), time.Hour)
	}
	add("last kept", 50*time.Hour)
	add("one too many", 51*time.Hour)
	add("old", 31*24*time.Hour)
	all = append(all, opened("open", now.Add(-365*24*time.Hour)))
	want := map[string]bool{"one too many": true, "old": true}
	if diff := cmp.Diff(want, outdated(all, now, 30*24*time.Hour)); diff != "" {
		t.Errorf("outdated (-want +got):\n%s", diff)
	}
}

// A feed that is not read is closed, and holds nobody up.
func TestEvaluatorFeedFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemLog()
		e := evaluate(t, log, newMemStore())
		feed, end := e.Subscribe()
		var many strings.Builder
		for k := range 300 {
			fmt.Fprintf(&many, "m%03d- ", k)
		}
		log.append(entries(time.Unix(6000, 0), many.String())...)
		synctest.Wait()
		n := 0
		for range feed {
			n++
		}
		if n != 256 || len(e.Open()) != 300 {
			t.Errorf("%d changes read before the end of the feed, %d open, want 256 and 300", n, len(e.Open()))
		}
		end()
		e.stop(t)
	})
}
