package notify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
)

// TestPathModel sends random results and commands the whole way, through the
// rules, the outbox and three notifiers that fail at random, while the process is
// stopped and killed and the disk refuses writes. What arrived is judged by what
// the results say: every incident that arrived has a cause, arrived in order, no
// version twice, and ended once; and whatever people were to be told arrived.
func TestPathModel(t *testing.T) {
	ways, runs := map[string]int{}, max(1, *manyRuns/10)
	for k := range uint64(runs) {
		synctest.Test(t, func(t *testing.T) { newPath(t, *firstRun+k, ways).run() })
		if t.Failed() {
			return
		}
	}
	for _, way := range []string{
		"lost", "hangs after it arrived", "looked up", "killed", "stopped", "disk",
		"silence", "maintenance", "acknowledge", "told", "quiet to its end", "escalated", "storm",
	} {
		if runs >= 20 && ways[way] < runs/20 {
			t.Errorf("%d times %s in %d runs: they prove little", ways[way], way, runs)
		}
	}
}

// pathRun is one random run. Three notifiers listen: to everything, to pages, and
// to what nobody has acknowledged in time.
type pathRun struct {
	*testing.T
	seed     uint64
	rnd      *rand.Rand
	subjects []alerting.Subject
	rules    []alerting.Rule
	policy   alerting.Policy
	routes   map[string]Route
	channels map[string]*channel
	ways     map[string]int

	log   *memLog
	store *memStore
	down  map[string][]time.Time // slots, by check
	stop  func()
	eval  *Evaluator
}

func newPath(t *testing.T, seed uint64, ways map[string]int) *pathRun {
	p := &pathRun{
		T: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 21)), ways: ways, log: newMemLog(), store: newMemStore(),
		routes: map[string]Route{
			"all": {}, "pages": {When: When{Severity: alerting.Page}}, "second": {EscalateAfter: 600e9},
		},
		channels: map[string]*channel{}, down: map[string][]time.Time{},
	}
	for name := range p.routes {
		p.channels[name] = &channel{rnd: rand.New(rand.NewPCG(seed, uint64(len(name)))), arrived: map[string][]alerting.Incident{}, ways: map[string]int{}}
	}
	for k := range 3 + p.rnd.IntN(5) {
		s := alerting.Subject{Name: fmt.Sprintf("c%d", k), Kind: "route", Location: "local", Interval: time.Minute}
		if p.rnd.IntN(3) == 0 {
			s.Group = "shared"
		}
		if k > 0 && p.rnd.IntN(4) == 0 {
			s.Needs = []string{"c0"}
		}
		p.subjects = append(p.subjects, s)
	}
	none := alerting.Share(0.3)
	p.rules = []alerting.Rule{
		{Name: "down", Severity: alerting.Page, RecoverAfter: 1 + p.rnd.IntN(2), Down: &alerting.DownRule{Slots: 1 + p.rnd.IntN(3)}},
		{Name: "rate", RecoverAfter: 2, Rate: &alerting.Rate{Of: "not_found", Over: 600e9, Above: &none, MinFailures: 2}},
	}
	if p.rnd.IntN(2) == 0 {
		p.policy.StormGroups, p.policy.StormWithin = 1+p.rnd.IntN(2), time.Minute.Milliseconds()
	}
	if p.rnd.IntN(2) == 0 {
		p.policy.Reopens, p.policy.FlapWithin = 2, 30*time.Minute.Milliseconds()
	}
	if p.rnd.IntN(2) == 0 {
		p.policy.Remind = 15 * time.Minute.Milliseconds()
	}
	return p
}

// start starts the process: the evaluator and a desk for each notifier.
func (p *pathRun) start() {
	engine := alerting.NewEngine(p.rules, p.subjects)
	engine.SetPolicy(p.policy)
	p.eval = NewEvaluator(EvaluatorConfig{Engine: engine, Log: p.log, Store: p.store, Logger: logger(p.T), Route: p.route})
	ctx, cancel := context.WithCancel(p.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = p.eval.Run(ctx) }) // an error when it is killed
	for name, c := range p.channels {
		d := &Desk{Name: name, Notifier: c, Store: p.store, Log: logger(p.T)}
		wg.Go(func() { _ = d.Run(ctx) })
	}
	p.stop = func() { cancel(); wg.Wait() }
	synctest.Wait()
}

func (p *pathRun) route(i alerting.Incident, at time.Time) (names []string) {
	for name, r := range p.routes {
		if r.Due(i, at) {
			names = append(names, name)
		}
	}
	return names
}

// refuse makes the disk take no writes.
func (p *pathRun) refuse(on bool) {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	if p.store.before = nil; on {
		p.store.before = func([]Write) error { return errDisk }
	}
}

func (p *pathRun) run() {
	p.start()
	mood := map[string]string{}
	for range 60 {
		for _, s := range p.subjects {
			if p.rnd.IntN(8) == 0 {
				mood[s.Name] = []string{"+", "+", "+", "-", "-+", "--+"}[p.rnd.IntN(6)]
			}
		}
		if p.rnd.IntN(20) == 0 { // all at once
			for _, s := range p.subjects {
				mood[s.Name] = "-"
			}
		}
		p.minute(mood)
		p.trouble()
	}
	for _, c := range p.channels {
		c.set(0)
	}
	for range 75 {
		p.minute(nil)
	}
	sleep(p.Context(), time.Hour)
	synctest.Wait()
	p.judge()
	p.stop()
}

// minute adds a slot of each check by its mood, and a tick.
func (p *pathRun) minute(mood map[string]string) {
	for _, s := range p.subjects {
		sleep(p.Context(), 5*time.Second)
		sign := "+"
		if m := mood[s.Name]; m != "" {
			sign = string(m[p.rnd.IntN(len(m))])
		}
		at := time.Now().Truncate(time.Millisecond) // as slots are
		if sign == "-" {
			p.down[s.Name] = append(p.down[s.Name], at)
		}
		p.log.append(entries(at, s.Name+sign)...)
	}
	sleep(p.Context(), time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
	p.log.append(tick(time.Now())...)
	synctest.Wait()
}

// trouble is what people, the network, the disk and the process do by chance.
func (p *pathRun) trouble() {
	way := ""
	switch p.rnd.IntN(16) {
	case 0:
		way = alerting.CommandSilence
	case 1:
		way = alerting.CommandMaintenance
	case 2:
		way = alerting.CommandAcknowledge
	case 3, 4, 5:
		for _, name := range []string{"all", "pages", "second"} {
			p.channels[name].set([]int{0, 30, 100}[p.rnd.IntN(3)])
		}
	case 6, 7: // what it does after this is stored nowhere
		p.refuse(true)
		p.stop()
		p.refuse(false)
		p.start()
		p.ways["killed"]++
	case 8:
		p.stop()
		p.start()
		p.ways["stopped"]++
	case 9:
		p.refuse(true)
		sleep(p.Context(), time.Duration(p.rnd.IntN(50))*time.Second)
		p.refuse(false)
		p.ways["disk"]++
	}
	if way == "" {
		return
	}
	args := map[string]string{"id": fmt.Sprint(time.Now().Unix()), "for": fmt.Sprintf("%dm", 1+p.rnd.IntN(30)), "check": fmt.Sprintf("c%d", p.rnd.IntN(4))}
	if way == alerting.CommandAcknowledge {
		open := p.eval.Open()
		if len(open) == 0 {
			return
		}
		args = map[string]string{"incident": open[p.rnd.IntN(len(open))].ID}
	}
	p.log.append(checks.Entry{V: checks.ResultVersion, Command: &checks.Command{At: time.Now(), Name: way, Author: "ada", Args: args}})
	p.ways[way]++
}

// judge compares what arrived with what was to be told, and that with the results.
func (p *pathRun) judge() {
	fail := func(i alerting.Incident, format string, args ...any) {
		p.Helper()
		p.Errorf("seed %d: %s: %s", p.seed, i.ID, fmt.Sprintf(format, args...))
	}
	stored := map[string]alerting.Incident{}
	for _, i := range p.eval.Incidents() {
		stored[i.ID] = i
		switch {
		case i.Open():
			fail(i, "open after more than an hour in which all was good: %s", i.Title())
		case i.Told > 0 && len(p.channels["all"].arrived[i.ID]) == 0:
			fail(i, "nothing arrived, of %d versions", i.Version)
		case i.Told > 0:
			p.ways["told"]++
		default:
			p.ways["quiet to its end"]++
		}
	}
	for name, c := range p.channels {
		for id, list := range c.arrived {
			var versions []int
			ends := 0
			for _, a := range list {
				versions = append(versions, a.Version)
				ends += b2i(!a.Open())
			}
			first := list[0]
			if distinct := slices.Compact(slices.Clone(versions)); !slices.IsSorted(versions) || len(distinct) < len(versions) || ends != 1 || list[len(list)-1].Open() {
				fail(first, "%s heard the versions %v, of these %d resolved; want each once, and the resolve at last", name, versions, ends)
			}
			if stored[id].Told == 0 {
				fail(first, "%s heard of what nobody was to hear of", name)
			}
			if !p.caused(first) {
				fail(first, "%s heard of it without a cause: %s", name, first.Title())
			}
			p.ways["storm"] += b2i(first.Group == alerting.StormGroup)
			p.ways["escalated"] += b2i(name == "second")
		}
		for way, n := range c.ways {
			p.ways[way] += n
		}
	}
}

// caused tells whether a check that i names was down in the time that i is about.
func (p *pathRun) caused(i alerting.Incident) bool {
	for _, f := range i.Findings {
		for _, name := range f.Checks {
			if slices.ContainsFunc(p.down[name], func(at time.Time) bool { return !at.Before(i.Since) && !at.After(i.LastBad) }) {
				return true
			}
		}
	}
	return false
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
