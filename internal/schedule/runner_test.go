package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a target that answers as the function says.
type fake func(ctx context.Context) probe.Outcome

func (f fake) Probe(ctx context.Context) probe.Outcome { return f(ctx) }

// answers takes d for a good answer, less if ctx ends.
func answers(d time.Duration) fake {
	return func(ctx context.Context) probe.Outcome {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return probe.Outcome{Class: probe.OK}
		case <-ctx.Done():
			return probe.Outcome{Class: probe.ConnectTimeout, Stage: probe.StageConnect, Reason: ctx.Err().Error()}
		}
	}
}

func refuses() fake {
	return func(context.Context) probe.Outcome {
		return probe.Outcome{
			Class: probe.ConnectRefused, Stage: probe.StageConnect, Reason: "refused",
			Evidence: func() *probe.Evidence { return &probe.Evidence{Class: probe.ConnectRefused} },
		}
	}
}

// log is a Sink that remembers.
type log struct {
	mu      sync.Mutex
	entries []checks.Entry
	urgent  []bool
}

func (l *log) Append(e checks.Entry, urgent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	l.urgent = append(l.urgent, urgent)
}

// results returns the results of check, or of all checks for "".
func (l *log) results(check string) (rs []checks.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.Result != nil && (check == "" || e.Result.Check == check) {
			rs = append(rs, *e.Result)
		}
	}
	return rs
}

func (l *log) gaps() (gs []checks.Gap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.Gap != nil {
			gs = append(gs, *e.Gap)
		}
	}
	return gs
}

func (l *log) ticks() (at []time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.entries {
		if e.Tick != nil {
			at = append(at, e.Tick.At)
		}
	}
	return at
}

// account fails the test unless every slot of every check that became due in
// [from, to] comes to exactly one entry.
func (l *log) account(t *testing.T, list []checks.Check, from, to time.Time) {
	t.Helper()
	slots := map[string]int{} // by Result.ID and, for gaps, by check
	for _, r := range l.results("") {
		slots[r.ID()]++
		if slots[r.ID()] > 1 {
			t.Errorf("%s: two results", r.ID())
		}
	}
	missed := map[string]int{}
	for _, g := range l.gaps() {
		missed[g.Check] += g.Slots
	}
	for _, c := range list {
		want, ran := 0, 0
		for s := c.Schedule.Next(from); !s.After(to); s = c.Schedule.Next(s) {
			want++
			ran += slots[checks.Result{Check: c.Name, Slot: s}.ID()]
		}
		if ran+missed[c.Name] != want {
			t.Errorf("%s: %d runs and %d missed, want %d slots", c.Name, ran, missed[c.Name], want)
		}
	}
}

// makeChecks makes n checks of one kind.
func makeChecks(n int, period time.Duration, p checks.Prober) []checks.Check {
	list := make([]checks.Check, n)
	for i := range list {
		name := fmt.Sprint("check-", i)
		list[i] = checks.Check{
			Name: name, Kind: "fake", Group: name, Prober: p,
			Schedule: Every(period, name), Timeout: min(10*time.Second, period*9/10),
		}
	}
	Spread(list)
	return list
}

// simulate runs o for d in a bubble and returns the Runner after its end.
func simulate(t *testing.T, o Options, d time.Duration, meanwhile func(*Runner)) *Runner {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := New(o)
	r.newAlarm = newTimer
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	if meanwhile != nil {
		meanwhile(r)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return r
}

func TestAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		start := time.Now()
		list := makeChecks(3, time.Minute, answers(20*time.Millisecond))
		simulate(t, Options{Checks: list, Sink: &l, RunAtStart: true}, time.Hour+500*time.Millisecond, nil)
		for _, c := range list {
			rs := l.results(c.Name)
			if len(rs) != 61 {
				t.Errorf("%s: %d results, want 61", c.Name, len(rs))
			}
			if d := rs[0].Start.Sub(start); d > 120*time.Millisecond {
				t.Errorf("%s: first run after %s, want at once", c.Name, d)
			}
			for i, r := range rs {
				if !r.Start.Equal(r.Slot) || r.Status != probe.Up {
					t.Errorf("%s: slot %s is %s, started %s", c.Name, r.Slot, r.Status, r.Start)
				}
				if i > 1 && r.Slot.Sub(rs[i-1].Slot) != time.Minute {
					t.Errorf("%s: slots %s and %s", c.Name, rs[i-1].Slot, r.Slot)
				}
				if i > 0 && !c.Schedule.Next(r.Slot.Add(-1)).Equal(r.Slot) {
					t.Errorf("%s: slot %s is not one of its schedule", c.Name, r.Slot)
				}
			}
		}
		if g := l.gaps(); g != nil {
			t.Errorf("gaps: %v", g)
		}
		ticks := l.ticks()
		if len(ticks) != 60 || !ticks[0].Equal(start.Add(time.Minute)) || !ticks[59].Equal(start.Add(time.Hour)) {
			t.Errorf("ticks: %v", ticks)
		}
	})
}

func TestStartEvenly(t *testing.T) {
	for _, n := range []int{1, 50, 500, 10_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l log
				start := time.Now()
				list := makeChecks(n, time.Minute, answers(20*time.Millisecond))
				simulate(t, Options{Checks: list, Sink: &l, RunAtStart: true}, time.Minute+time.Second/2, nil)
				window := min(time.Duration(n)*startPace, time.Minute)
				first := map[string]time.Time{}
				perSecond := make([]int, 62)
				for _, r := range l.results("") {
					if _, ok := first[r.Check]; !ok {
						first[r.Check] = r.Start
						perSecond[r.Start.Sub(start)/time.Second]++
					}
				}
				if len(first) != n {
					t.Errorf("%d checks were run, want all %d", len(first), n)
				}
				for name, at := range first {
					if d := at.Sub(start); d > window {
						t.Errorf("%s: first run after %s, want within %s", name, d, window)
					}
				}
				if n > 50 {
					even := n * int(time.Second) / int(window)
					for s, got := range perSecond {
						if got > 2*even {
							t.Errorf("second %d: %d first runs, an even spread is %d", s, got, even)
						}
					}
				}
				if g := l.gaps(); g != nil {
					t.Errorf("gaps: %v", g)
				}
			})
		})
	}
}

func TestHangingTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		start := time.Now()
		list := makeChecks(10_000, time.Minute, answers(20*time.Millisecond))
		for i := range list {
			if i%50 == 0 { // 2 % never answer, and fail in all their tries
				list[i].Prober, list[i].Confirm = answers(time.Hour), 2
			}
		}
		r := simulate(t, Options{Checks: list, Sink: &l}, 5*time.Minute+time.Second/2, nil)
		l.account(t, list, start, start.Add(5*time.Minute))
		for _, res := range l.results("") {
			if late := res.Start.Sub(res.Slot); late != 0 {
				t.Errorf("%s: started %s late", res.ID(), late)
			}
		}
		if g := l.gaps(); g != nil {
			t.Errorf("gaps: %v", g)
		}
		if h := r.Health(); h.Kept != h.Due() || h.Missed != 0 {
			t.Errorf("health: %+v, want all kept", h)
		}
	})
}

func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		start := time.Now()
		list := makeChecks(2, 10*time.Second, answers(time.Second))
		first := list[0].Schedule.Next(start)
		once := true
		list[0].Prober = fake(func(context.Context) probe.Outcome {
			if once { // does not obey ctx
				once = false
				pass(95 * time.Second)
			}
			return probe.Outcome{Class: probe.OK}
		})
		end := 3*time.Minute + time.Second/2
		simulate(t, Options{Checks: list, Location: "here", Sink: &l}, end, nil)
		l.account(t, list, start, start.Add(end-2*time.Second))
		gaps := l.gaps()
		next := first
		for _, g := range gaps {
			next = next.Add(10 * time.Second)
			if g.Check != "check-0" || g.Location != "here" || !g.From.Equal(next) || g.Reason != "the run before had not ended" {
				t.Errorf("gap %+v, want from %s", g, next)
			}
			next = g.To
		}
		if len(gaps) != 2 || !next.Equal(first.Add(90*time.Second)) {
			t.Errorf("gaps %+v, want one up to the minute and one up to the end of the run", gaps)
		}
	})
}

func TestOverCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		start := time.Now()
		// 100 runs of 4 s each 10 s need 40 workers.
		list := makeChecks(100, 10*time.Second, answers(4*time.Second))
		r := simulate(t, Options{Checks: list, Sink: &l, Workers: 20}, 10*time.Minute+time.Second/2, nil)
		h := r.Health()
		if h.Due() < 6000 || h.Due() > 6010 || h.Missed-h.Shed > 100 || h.Shed < 2900 || h.Shed > 3100 {
			t.Errorf("health: %+v, want about half of 6,000 slots shed", h)
		}
		l.account(t, list, start, start.Add(10*time.Minute+time.Second/2))
		for _, c := range list {
			if n := len(l.results(c.Name)); n < 28 || n > 32 {
				t.Errorf("%s: %d results, want every second slot of 60", c.Name, n)
			}
		}
		for _, g := range l.gaps() {
			if g.Reason != noWorker && g.Reason != "the monitor was stopped" {
				t.Errorf("gap: %+v", g)
			}
		}
	})
}

func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		start := time.Now()
		list := makeChecks(1000, time.Minute, answers(2*time.Second))
		prints := map[string]string{}
		for _, c := range list {
			prints[c.Name] = "1"
		}
		second := slices.Clone(list)[1:] // check-0 is removed
		for i := range second {
			second[i].Prober = refuses() // what is unchanged must keep its old Prober
		}
		later := maps.Clone(prints)
		later["check-1"] = "2"
		later["new"] = "1"
		second = append(second, checks.Check{
			Name: "new", Group: "new", Prober: answers(0), Schedule: Every(time.Minute, "new"), Timeout: time.Second,
		})
		var replaced time.Time
		simulate(t, Options{Checks: list, Fingerprints: prints, Sink: &l, RunAtStart: true}, 5*time.Minute+time.Second/2, func(r *Runner) {
			pass(150*time.Second + time.Millisecond/2)
			replaced = time.Now()
			r.Replace(second, later)
			// The same again and again changes nothing.
			for range 10 {
				pass(time.Second)
				r.Replace(second, later)
			}
		})
		if g := l.gaps(); g != nil {
			t.Errorf("gaps: %v", g)
		}
		l.account(t, list[2:], start.Add(time.Minute), start.Add(5*time.Minute))
		for _, c := range list[2:] {
			for _, r := range l.results(c.Name) {
				if r.Status == probe.Down {
					t.Errorf("%s is %s: it was changed", c.Name, r.Status)
				}
			}
		}
		removed := l.results("check-0")
		if last := removed[len(removed)-1]; last.Start.After(replaced) || last.Status != probe.Up {
			t.Errorf("removed check: last result %+v", last)
		}
		changed := 0
		for _, r := range l.results("check-1") {
			if r.Status == probe.Down {
				changed++
			}
		}
		if changed < 3 {
			t.Errorf("changed check: %d results of its new prober, want 3 or more", changed)
		}
		if rs := l.results("new"); len(rs) < 3 || rs[0].Start.Sub(replaced) > 100*time.Millisecond {
			t.Errorf("new check: %v, want a run at once", rs)
		}
	})
}

func TestReplaceInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		list := makeChecks(1, time.Minute, answers(8*time.Second))
		r := simulate(t, Options{Checks: list, Sink: &l, RunAtStart: true}, 70*time.Second, func(r *Runner) {
			pass(time.Second)
			r.Replace(nil, nil) // while its start run is in flight
			pass(time.Second)
			if h := r.Health(); h.InFlight != 1 || h.Checks != 0 || h.Oldest != "check-0" || h.OldestFor < time.Second {
				t.Errorf("health: %+v, want one run in flight of no check", h)
			}
			r.Replace(list, nil)
			r.Replace(list, nil)
		})
		rs := l.results("check-0")
		if len(rs) != 2 || rs[0].Status != probe.Up || !rs[1].Slot.Equal(list[0].Schedule.Next(rs[0].Slot)) {
			t.Errorf("results %+v, want the start run and the regular slot after it", rs)
		}
		if g := l.gaps(); g != nil || r.Health().Missed != 0 {
			t.Errorf("gaps: %v", g)
		}
	})
}

// A start run has as many re-probes as any other, wherever the regular slot
// after it is; of a check whose interval has no room for them it is as before.
func TestStartRunIsConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		list := makeChecks(40, time.Minute, answers(time.Hour))
		for i := range list {
			list[i].Confirm = 2
		}
		list[0].Timeout, list[0].Confirm = 40*time.Second, 1
		simulate(t, Options{Checks: list, Sink: &l, RunAtStart: true}, 3*time.Minute, nil)
		for _, c := range list[1:] {
			if rs := l.results(c.Name); len(rs) < 2 || rs[0].Tries != 3 || rs[1].Tries != 3 {
				t.Errorf("%s: %d results, the first %+v, want two and more with 3 attempts", c.Name, len(rs), rs[0])
			}
		}
		for i, r := range l.results(list[0].Name) {
			if r.Class != probe.Interrupted && (r.Duration < 40*time.Second || r.Status != probe.Down) { // that is the end of the test
				t.Errorf("%s: run %d %+v, want an attempt of 40s", list[0].Name, i, r)
			}
		}
		if g := l.gaps(); g != nil {
			t.Errorf("gaps: %v", g)
		}
	})
}

// A new check is planned from the moment of Replace, not from the last look at
// the clocks, which can be a second old.
func TestReplacePlansFromNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		list := makeChecks(1, time.Hour, answers(0))
		more := append(slices.Clone(list), makeChecks(20, 10*time.Second, answers(0))[1:]...)
		var replaced time.Time
		simulate(t, Options{Checks: list, Fingerprints: map[string]string{"check-0": "1"}, Sink: &l}, 30*time.Second, func(r *Runner) {
			pass(2900 * time.Millisecond)
			replaced = time.Now()
			r.Replace(more, map[string]string{"check-0": "1"})
		})
		for _, r := range l.results("") {
			if late := r.Start.Sub(r.Slot); r.Slot.Before(replaced) || late > time.Millisecond {
				t.Errorf("%s: slot %s, started %s after it, added at %s", r.Check, r.Slot, late, replaced)
			}
		}
		if n := len(l.results("")); n < 19*2 {
			t.Errorf("%d results, want more", n)
		}
	})
}

func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		release := make(chan struct{})
		list := makeChecks(3, time.Minute, answers(5*time.Second))
		list[2].Prober = fake(func(context.Context) probe.Outcome {
			<-release
			return probe.Outcome{Class: probe.OK}
		})
		r := New(Options{Checks: list, Sink: &l, RunAtStart: true, Workers: 2, Log: slog.New(slog.DiscardHandler)})
		r.newAlarm = newTimer
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := r.Run(ctx) // check-2 waits for a worker
		if err != nil || time.Since(began) > 1100*time.Millisecond {
			t.Errorf("Run returned %v after %s, want nil at once", err, time.Since(began))
		}
		for _, res := range l.results("") {
			if res.Class != probe.Interrupted || res.Status != probe.Unknown || res.Tally != nil {
				t.Errorf("result %+v, want interrupted", res)
			}
		}
		if g := l.gaps(); len(l.results("")) != 2 || len(g) != 1 || g[0].Check != "check-2" || g[0].Slots != 1 {
			t.Errorf("results %v, gaps %v, want two runs and one slot missed", l.results(""), g)
		}

		l = log{}
		r = New(Options{Checks: list[2:], Sink: &l, RunAtStart: true, Log: slog.New(slog.DiscardHandler)})
		r.newAlarm = newTimer
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		err = r.Run(ctx)
		if err == nil || !strings.Contains(err.Error(), "check-2") || time.Since(began) > time.Second+grace+100*time.Millisecond {
			t.Errorf("Run returned %v after %s, want the name of the check after the grace", err, time.Since(began))
		}
		close(release)
		synctest.Wait()
		if rs := l.results(""); len(rs) != 1 || rs[0].Class != probe.Interrupted {
			t.Errorf("results %+v, want one, interrupted", rs)
		}
	})
}

func TestDownTimeOfTheMonitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		start := time.Now()
		list := makeChecks(2, time.Minute, answers(0))
		simulate(t, Options{Checks: list, Sink: &l, Newest: start.Add(-time.Hour)}, time.Minute+time.Second/2, nil)
		l.account(t, list, start.Add(-time.Hour), start.Add(time.Minute))
		for _, g := range l.gaps() {
			if g.Slots != 60 || g.Reason != "the monitor did not run for 1h0m0s" {
				t.Errorf("gap %+v", g)
			}
		}

		l = log{}
		list = makeChecks(mergeGaps+1, time.Minute, answers(0))
		simulate(t, Options{Checks: list, Sink: &l, Newest: time.Now().Add(-time.Hour)}, time.Second, nil)
		if g := l.gaps(); len(g) != 1 || g[0].Check != "" || g[0].Slots != 60*(mergeGaps+1) {
			t.Errorf("gaps %+v, want one for all", g)
		}
	})
}

func TestUrgentAndEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		outcomes := []probe.Class{probe.OK, probe.OK, probe.NotFound, probe.NotFound, probe.NotFound, probe.NotFound, probe.Forbidden, probe.OK, probe.OK}
		for range 70 {
			outcomes = append(outcomes, probe.NotFound)
		}
		i := -1
		var diagnosed []int
		p := fake(func(context.Context) probe.Outcome {
			i++
			class := outcomes[min(i, len(outcomes)-1)]
			o := probe.Outcome{Class: class, Reason: "x", Evidence: func() *probe.Evidence {
				if i == 2 {
					panic("a bug")
				}
				return &probe.Evidence{Class: class}
			}}
			if class != probe.OK {
				o.Inquiry = func(_ context.Context, thrifty bool) func([]probe.Outcome) probe.Diagnosis {
					if diagnosed = append(diagnosed, i); !thrifty {
						t.Error("nobody asked for a diagnosis")
					}
					return func([]probe.Outcome) probe.Diagnosis { return probe.Diagnosis{Causes: []probe.Cause{{Name: "why"}}} }
				}
			}
			return o
		})
		var kept []*probe.Evidence
		list := makeChecks(1, time.Minute, p)
		first := list[0].Schedule.Next(time.Now())
		simulate(t, Options{
			Checks: list, Location: "here", Sink: &l,
			Evidence: func(_ context.Context, e *probe.Evidence) error {
				kept = append(kept, e)
				return fmt.Errorf("disk full")
			},
		}, time.Until(first)+78*time.Minute+time.Second, nil)
		var urgent, evidence []int
		n := -1
		for i, e := range l.entries {
			if e.Result != nil {
				n++
				if l.urgent[i] {
					urgent = append(urgent, n)
				}
			}
		}
		for _, e := range kept {
			evidence = append(evidence, int(e.Slot.Sub(first)/time.Minute))
			if e.Check != "check-0" || e.V != probe.EvidenceVersion {
				t.Errorf("evidence %+v", e)
			}
		}
		if diff := cmp.Diff([]int{2, 7, 9}, urgent); diff != "" {
			t.Errorf("urgent results (-want +got):\n%s", diff)
		}
		// 2 panicked; 3 and 4 are the second and third failure; 6 and 7 are new
		// classes; 9, 10, 11 the first three of a streak; 71 an hour later.
		if diff := cmp.Diff([]int{3, 4, 6, 7, 9, 10, 11, 71}, evidence); diff != "" {
			t.Errorf("evidence kept (-want +got):\n%s", diff)
		}
		// What is kept is diagnosed, and nothing else: 7 is good again.
		if diff := cmp.Diff([]int{2, 3, 4, 6, 9, 10, 11, 71}, diagnosed); diff != "" || len(kept[0].Causes) != 1 {
			t.Errorf("diagnosed, with causes %v (-want +got):\n%s", kept[0].Causes, diff)
		}
	})
}

func TestSlowEvidenceDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		list := makeChecks(1000, time.Minute, refuses())
		r := simulate(t, Options{
			Checks: list, Sink: &l,
			Evidence: func(ctx context.Context, _ *probe.Evidence) error {
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
				return ctx.Err()
			},
		}, 3*time.Minute+time.Millisecond/2, nil)
		if h := r.Health(); h.Kept < 3000 || h.Kept != h.Due() {
			t.Errorf("health %+v, want all 3,000 slots kept", h)
		}
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l log
		list := makeChecks(10, 10*time.Second, answers(time.Second))
		simulate(t, Options{Checks: list, Sink: &l, Workers: 5}, 5*time.Minute, func(r *Runner) {
			for range 100 {
				pass(1700 * time.Millisecond)
				synctest.Wait()
				h := r.Health()
				if since := time.Since(h.LastWake); since > maxWait {
					t.Errorf("last wake %s ago, want at most %s", since, maxWait)
				}
				if h.Checks != 10 || h.Workers != 5 || h.WorstLateness != 0 || h.Late != 0 || h.Missed != 0 {
					t.Errorf("health %+v", h)
				}
				if (h.InFlight > 0) != (h.Oldest != "") || h.OldestFor > time.Second {
					t.Errorf("health %+v", h)
				}
			}
		})
	})
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// TestRealTime uses the machine's clocks and the precise alarm.
func TestRealTime(t *testing.T) {
	var l log
	list := makeChecks(20, 200*time.Millisecond, answers(0))
	prints := map[string]string{}
	for _, c := range list {
		prints[c.Name] = "1"
	}
	r := New(Options{Checks: list, Fingerprints: prints, Sink: &l, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
	defer cancel()
	replaced := make(chan struct{})
	go func() {
		defer close(replaced)
		r.Replace(slices.Clone(list), prints) // interrupts the alarm
	}()
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	<-replaced
	ran := map[string]int{}
	var late []time.Duration
	var first, last time.Time // slots that were looked at, however slow the machine is
	for _, res := range l.results("") {
		ran[res.ID()]++
		late = append(late, res.Start.Sub(res.Slot))
		if first.IsZero() || res.Slot.Before(first) {
			first = res.Slot
		}
		if res.Slot.After(last) {
			last = res.Slot
		}
	}
	if len(late) == 0 {
		t.Fatal("no results")
	}
	for _, c := range list { // what did not run, since the machine stood still, is in a gap
		for s := c.Schedule.Next(first); s.Before(last); s = c.Schedule.Next(s) {
			n := ran[checks.Result{Check: c.Name, Slot: s}.ID()]
			for _, g := range l.gaps() {
				if g.Check == c.Name && !s.Before(g.From) && !s.After(g.To) {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s: %d entries for the slot %s, want 1", c.Name, n, s)
			}
		}
	}
	slices.Sort(late)
	if late[0] < 0 {
		t.Errorf("a run began %s before its slot", -late[0])
	}
	t.Logf("lateness: median %s, worst %s", late[len(late)/2], late[len(late)-1])
	r.Replace(nil, nil) // after the end it does no harm
}

func TestWorkersFor(t *testing.T) {
	for files, want := range map[uint64]int{0: 4096, 20: 16, 160: 16, 256: 64, 1024: 448, 8319: 4095, 8320: 4096, 1 << 63: 4096} {
		if got := workersFor(files); got != want {
			t.Errorf("%d open files: %d workers, want %d", files, got, want)
		}
	}
}

// TestSeen has the last process die while runs were under way: their slots are
// part of the Gap although other checks have newer ones.
func TestSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		list := makeChecks(3, time.Minute, fake(func(context.Context) probe.Outcome { return probe.Outcome{Class: probe.OK} }))
		for i := range list {
			list[i].Schedule = every{period: int64(time.Minute), phase: int64(time.Duration(10*i) * time.Second)}
		}
		newest := now.Truncate(time.Minute).Add(-3*time.Minute + 25*time.Second)
		var l log
		simulate(t, Options{Checks: list, Sink: &l, Newest: newest, Seen: map[string]time.Time{
			list[0].Name: newest.Add(-25 * time.Second),             // its newest
			list[1].Name: newest.Add(-15*time.Second - time.Minute), // under way
		}}, time.Second, nil)
		got := map[string]int{}
		for _, e := range l.entries {
			if e.Gap != nil {
				got[e.Gap.Check] += e.Gap.Slots
			}
		}
		slots := func(i int, from time.Time) int { return between(list[i].Schedule, from.UnixNano(), now.UnixNano()).n }
		want := map[string]int{list[0].Name: slots(0, newest), list[1].Name: 1 + slots(1, newest), list[2].Name: slots(2, newest)}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("slots in gaps (-want +got):\n%s", diff)
		}
	})
}
