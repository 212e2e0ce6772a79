package alerting

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
)

// play steps slots of check "a", one a minute from number n on, and returns
// what people are told of.
func play(e *Engine, n int, slots string) (told []string) {
	for k, letter := range slots {
		if entry := result("a", "", base().Add(time.Duration(n+k)*time.Minute), letter); entry != nil {
			for _, c := range e.Step(e.Seq()+1, *entry) {
				told = append(told, fmt.Sprintf("%d %s %s", n+k, c.Event, c.Incident.Title()))
			}
		}
	}
	return told
}

func one() []Subject { return subjects([]line{{"a", "", ""}}) }

func TestSLOText(t *testing.T) {
	e := NewEngine([]Rule{sloRule("99.9%")}, one())
	got := play(e, 0, dots(100)+"XXX??X"+dots(40))
	want := []string{
		"102 opened [page] a: SLO 99.9 % over 30d: 3 of 60 minutes bad in 1h, which burns the budget 50 times too fast (limit 14.4); " +
			"93.06 % of the budget left, gone in 13h at this rate",
		// by then the hour's short window is clear, and the six hours have 4 of 358
		"135 resolved [resolved] a after 5m: SLO 99.9 % over 30d: 4 of 60 minutes bad in 1h, which burns the budget 66.7 times too fast (limit 14.4); " +
			"90.74 % of the budget left, gone in 10h at this rate",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSlowBurn: one bad minute every two hours burns 8 times too fast over a
// day, but is too rare for the windows that page: a ticket. When it becomes
// worse the same finding pages.
func TestSlowBurn(t *testing.T) {
	e := NewEngine([]Rule{sloRule("99.9%")}, one())
	slots := ""
	for range 8 {
		slots += "X" + dots(99)
	}
	got := play(e, 0, slots)
	if len(got) != 1 || got[0][:20] != "400 opened [ticket] " {
		t.Fatalf("told: %q", got)
	}
	got = play(e, len(slots), "XX"+dots(29))
	if len(got) != 1 || got[0][:16] != "801 grew [page] " {
		t.Fatalf("told: %q", got)
	}
	i := e.Open()[0]
	if len(i.Findings) != 1 || i.Findings[0].Threshold != 6 {
		t.Fatalf("findings: %+v", i.Findings)
	}
	// It clears as a page, half an hour later: the windows of the ticket still
	// hold what was bad, but people know of that.
	got = play(e, len(slots)+31, dots(24*60))
	if len(got) != 1 || got[0][:13] != "831 resolved " {
		t.Fatalf("told: %q", got)
	}
}

func TestBudgets(t *testing.T) {
	each := sloRule("99.5%")
	each.Name, each.By, each.SLO.Window = "each", "check", 7*24*60*minute
	e := NewEngine([]Rule{sloRule("99.9%"), each, downRule(9)}, subjects([]line{{"a", "ws", ""}, {"b", "ws", ""}}))
	play(e, 0, "..X?")
	got := e.Budgets()
	day := 24 * 60 * minute
	want := []Budget{
		{
			Rule: "slo", Group: "ws", Objective: 0.999, Window: 30 * day, Bad: 1, Expected: 43200, Unknown: 1,
			Remaining: 1 - 1/43.2, GoneIn: 42 * 60 * minute,
			Burns: []Burn{{60 * minute, 1000 / 60.}, {360 * minute, 1000 / 360.}, {day, 1000 / 1440.}, {3 * day, 1000 / 4320.}},
		},
		{
			Rule: "each", Group: "ws", Check: "a", Objective: 0.995, Window: 7 * day, Bad: 1, Expected: 10080, Unknown: 1,
			Remaining: 1 - 1/50.4, GoneIn: 49 * 60 * minute,
			Burns: []Burn{{60 * minute, 200 / 60.}, {360 * minute, 200 / 360.}, {day, 200 / 1440.}, {3 * day, 200 / 4320.}},
		},
		{
			Rule: "each", Group: "ws", Check: "b", Objective: 0.995, Window: 7 * day, Expected: 10080, Remaining: 1,
			Burns: []Burn{{60 * minute, 0}, {360 * minute, 0}, {day, 0}, {3 * day, 0}},
		},
	}
	near := cmp.Comparer(func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 })
	if diff := cmp.Diff(want, got, near); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBudgetSpent: nothing is forgotten within the window, and all of it after.
func TestBudgetSpent(t *testing.T) {
	e := NewEngine([]Rule{sloRule("99%")}, one())
	bad := 0
	for d := range 45 {
		slots := dots(1440 - d)
		for range d {
			slots += "X"
		}
		play(e, d*1440, slots)
		bad += d
		if d >= 30 {
			bad -= d - 30
		}
		b := e.Budgets()[0]
		if b.Bad < bad-(d-29) && b.Bad != bad || b.Bad > bad || b.Expected != 43200 {
			t.Errorf("day %d: %d of %d bad, want %d of about 43200", d, b.Bad, b.Expected, bad)
		}
	}
	if b := e.Budgets()[0]; b.Remaining > -1 {
		t.Errorf("remaining %g, want overspent", b.Remaining)
	}
}

// TestExpected: gaps are part of the whole, once, however many checks and
// however long.
func TestExpected(t *testing.T) {
	lines := []line{{"a", "ws", ""}, {"b", "ws", ""}}
	for _, budgeting := range []string{"slices", "events"} {
		r := sloRule("99.9%")
		r.SLO.Budgeting = budgeting
		e := NewEngine([]Rule{r}, subjects(lines))
		per := map[string]int{"slices": 1, "events": 2}[budgeting]
		for n := range 30 {
			for k, c := range []string{"a", "b"} {
				e.Step(e.Seq()+1, *result(c, "ws", base().Add(time.Duration(n)*time.Minute+time.Duration(k)*2*time.Second), '.'))
			}
		}
		gap := checks.Gap{Location: "local", From: base().Add(30 * time.Minute), To: base().Add(48*time.Hour - time.Second), Reason: "asleep"}
		for range 2 { // once is enough
			e.Step(e.Seq()+1, checks.Entry{V: 1, Gap: &gap})
			if budgeting == "events" {
				break // results of the same slot do not come twice
			}
		}
		for k, c := range []string{"a", "b"} {
			e.Step(e.Seq()+1, *result(c, "ws", base().Add(48*time.Hour+time.Duration(k)*2*time.Second), 'X'))
		}
		b := e.Budgets()[0]
		if want := per * (48*60 - 30); b.Unknown != want || b.Bad != per || b.Expected < per*43150 || b.Expected > per*43250 {
			t.Errorf("%s: bad %d, unknown %d, want %d and %d, of %d", budgeting, b.Bad, b.Unknown, per, want, b.Expected)
		}
		x := e.watches[0].sets[0].budget.look((6 * time.Hour).Milliseconds(), e.now)
		if x.expected < per*355 || x.expected > per*360 || x.unknown < per*354 {
			t.Errorf("%s: in 6 h %+v, want %d expected", budgeting, x, per*360)
		}
	}
}

// TestBlindSpends: what looks like our own network spends nothing while the
// monitor is blind.
func TestBlindSpends(t *testing.T) {
	lines := []line{
		{"a", "", "...ccccccccc......"},
		{"b", "", "...ccccccccc......"},
		{"c", "", "...ccccccccc......"},
		{"d", "", "..............X..."},
	}
	e := NewEngine([]Rule{sloRule("99.9%"), {Name: "self", Unknown: &UnknownRule{}}}, subjects(lines))
	got, _ := marks(t, e, lines)
	if diff := cmp.Diff(map[string]string{"monitor": "...o..........r..."}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	bad := 0
	for _, b := range e.Budgets() {
		bad += b.Bad
	}
	if bad > 3 { // the first two, before it was clear, and d's own
		t.Errorf("%d bad minutes", bad)
	}
}

// TestSLORestart kills the engine at every entry: it goes on as if nothing was.
func TestSLORestart(t *testing.T) {
	events := sloRule("99.9%")
	events.Name, events.SLO.Budgeting = "events", "events"
	rules := []Rule{sloRule("99.9%"), events, measureRule("max", 5), {Name: "gone", Absent: &AbsentRule{For: 3 * minute}}}
	lines := []line{
		{"a", "ws", "..X..XX?X" + dots(36) + "XX.X....???-....."},
		{"b", "ws", "..X..?gg......-----.." + dots(24) + "X.XX............."},
	}
	log := entries(lines)
	whole := NewEngine(rules, subjects(lines))
	for n, entry := range log {
		state, err := checkpoint(whole)
		if err != nil {
			t.Fatal(err)
		}
		half := NewEngine(rules, subjects(lines))
		if err := half.Restore(state); err != nil {
			t.Fatal(err)
		}
		again, err := checkpoint(half)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(state), string(again)); diff != "" {
			t.Fatalf("entry %d: restored (-want +got):\n%s", n, diff)
		}
		if n%7 == 0 {
			half.Reconfigure(rules, subjects(lines), entry.Time())
		}
		want := whole.Step(uint64(n)+1, entry)
		if diff := cmp.Diff(want, half.Step(uint64(n)+1, entry)); diff != "" {
			t.Fatalf("entry %d (-whole +restored):\n%s", n, diff)
		}
		if diff := cmp.Diff(whole.Budgets(), half.Budgets()); diff != "" {
			t.Fatalf("entry %d: budgets (-whole +restored):\n%s", n, diff)
		}
		// Without a checkpoint the incident is still resolved, and by its own severity.
		lost := NewEngine(rules, subjects(lines))
		lost.Adopt(whole.Open())
		if len(lost.Open()) != len(whole.Open()) {
			t.Fatalf("entry %d: %d open without a checkpoint, want %d", n, len(lost.Open()), len(whole.Open()))
		}
		told := recover1(lost, n, subjects(lines))
		if open := lost.Open(); len(open) > 0 {
			t.Fatalf("entry %d: open after an hour: %s, told %q", n, open[0].Title(), titles(told))
		}
	}
}

// TestSLOClock sets the clock by up to two hours at every entry.
func TestSLOClock(t *testing.T) {
	lines := []line{
		{"a", "ws", "..X......XXX" + dots(40) + "X.XX" + dots(34)},
		{"b", "ws", dots(56) + dots(34)},
	}
	rules := []Rule{sloRule("99.9%")}
	log := entries(lines)
	want := outline(NewEngine(rules, subjects(lines)), log)
	for n := range log {
		for _, d := range []time.Duration{-time.Hour, -20 * time.Minute, -2 * time.Hour} {
			e := NewEngine(rules, subjects(lines))
			got := outline(e, shift(log, n, d))
			if len(got) != len(want) {
				t.Fatalf("set by %s at entry %d: %q, want %q", d, n, got, want)
			}
			if b := e.Budgets()[0]; b.Bad < 6 || b.Bad > 7 {
				t.Fatalf("set by %s at entry %d: %d bad minutes are left of 7", d, n, b.Bad)
			}
		}
	}
}

// FuzzSLO steps results, gaps and restarts of two checks, with some minutes
// between, and counts minutes in the plainest way besides.
func FuzzSLO(f *testing.F) {
	f.Add(byte(0), []byte("..XXX......................................"))
	f.Add(byte(1), []byte("X.X.X.X.X.X?g-X"))
	for seed := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		data := make([]byte, 300)
		for k := range data {
			data[k] = byte(rnd.Uint32())
		}
		f.Add(byte(seed), data)
	}
	f.Fuzz(func(t *testing.T, choice byte, data []byte) {
		const letters = "............XX5?g-~."
		r := sloRule([]string{"99.9%", "99.5%", "99%", "90%"}[choice>>1&3])
		r.SLO.Budgeting = []string{"slices", "events"}[choice&1]
		rules := []Rule{r}
		list := subjects([]line{{"a", "ws", ""}, {"b", "ws", ""}})
		e := NewEngine(rules, list)
		blamed, badMinutes, cleared := map[string]bool{}, map[int]int{}, -1
		var all []Change
		now, last := 0, ""
		for n, b := range data[:min(len(data), 300)] {
			c := list[b&1].Name
			letter := letters[int(b>>1)%len(letters)]
			if c == "a" || last == "b" {
				now += 1 + int(b>>6)*int(b>>6) // up to 10 minutes
			}
			last = c
			if n%50 == int(choice) {
				e = restored(t, e, all)
			}
			entry := result(c, "ws", base().Add(time.Duration(now)*time.Minute+time.Duration(b&1)*2*time.Second), rune(letter))
			if entry == nil {
				continue
			}
			if letter == 'X' || letter == '5' {
				blamed[c] = true
				badMinutes[now]++
			}
			for _, change := range e.Step(uint64(n)+1, *entry) {
				all = append(all, change)
				if change.Event == Resolved {
					cleared = now
					continue
				}
				samples, minutes := 0, 0
				for m, k := range badMinutes {
					if m > cleared {
						samples, minutes = samples+k, minutes+1
					}
				}
				if r.SLO.Budgeting == "slices" {
					samples = minutes
				}
				if samples < leastBadLong || minutes < leastBadMinutes {
					t.Fatalf("minute %d: %s, and there were %d bad samples in %d minutes", now, change.Incident.Title(), samples, minutes)
				}
			}
			if n%8 == 0 {
				judgeEngine(t, e, blamed)
				judgeBudget(t, e, badMinutes, r.SLO.Budgeting == "events")
			}
		}
		for k := range 8 * 12 {
			now += 5
			all = append(all, e.Step(uint64(2000+k), *result("a", "ws", base().Add(time.Duration(now)*time.Minute), '.'))...)
			all = append(all, e.Step(uint64(2000+k), *result("b", "ws", base().Add(time.Duration(now)*time.Minute+2*time.Second), '.'))...)
		}
		judgeChanges(t, all)
		if open := e.Open(); len(open) > 0 {
			t.Fatalf("open after eight good hours: %s", open[0].Title())
		}
	})
}

// judgeBudget compares a budget with all bad minutes there were.
func judgeBudget(t *testing.T, e *Engine, badMinutes map[int]int, events bool) {
	t.Helper()
	want := len(badMinutes)
	if events {
		want = 0
		for _, n := range badMinutes {
			want += n
		}
	}
	for k := range e.watches[0].sets {
		for i := range e.watches[0].sets[k].budget.rings {
			judgeSums(t, &e.watches[0].sets[k].budget.rings[i])
		}
	}
	b := e.Budgets()[0]
	if b.Bad != want || b.Bad+b.Unknown > b.Expected || b.Remaining > 1 {
		t.Fatalf("%+v, want %d bad", b, want)
	}
}

// TestSLOMemory: an SLO takes about 2.5 KiB for each group, whatever happens.
func TestSLOMemory(t *testing.T) {
	const n = 2000
	for _, tt := range []struct {
		groups int
		most   float64 // bytes a check
	}{{n / 10, 600}, {n, 3400}} {
		list := fleet(n, tt.groups)
		before := heap()
		e := NewEngine([]Rule{sloRule("99.9%")}, list)
		minutes(e, list, 0, 3, goodResult())
		each := float64(heap()-before) / n
		t.Logf("%d checks in %d groups: %.0f bytes a check", n, tt.groups, each)
		if each > tt.most {
			t.Errorf("%.0f bytes a check, want at most %.0f", each, tt.most)
		}
		runtime.KeepAlive(e)
		runtime.KeepAlive(list)
	}
}

func BenchmarkStepSLO(b *testing.B) {
	for name, r := range map[string]checks.Result{"good": goodResult(), "bad": badResult()} {
		b.Run(name, func(b *testing.B) {
			const n = 10_000
			list := fleet(n, 1000)
			e := NewEngine([]Rule{sloRule("99.9%")}, list)
			minutes(e, list, 0, 62, goodResult())
			entry := checks.Entry{V: 1, Result: &r}
			b.ReportAllocs()
			k, m := 0, 62
			for b.Loop() {
				r.Check, r.Group = list[k].Name, list[k].Group
				r.Slot = base().Add(time.Duration(m)*time.Minute + time.Minute*time.Duration(k)/n)
				e.Step(uint64(m+1), entry)
				if k++; k == n {
					k, m = 0, m+1
				}
			}
		})
	}
	b.Run("budgets", func(b *testing.B) {
		list := fleet(10_000, 1000)
		e := NewEngine([]Rule{sloRule("99.9%")}, list)
		minutes(e, list, 0, 62, goodResult())
		for b.Loop() {
			e.Budgets()
		}
	})
	b.Run("checkpoint", func(b *testing.B) {
		list := fleet(10_000, 1000)
		e := NewEngine([]Rule{sloRule("99.9%")}, list)
		minutes(e, list, 0, 62, goodResult())
		size := 0
		for b.Loop() {
			c, err := checkpoint(e)
			if err != nil || !json.Valid(c) {
				b.Fatal(err)
			}
			size = len(c)
		}
		b.ReportMetric(float64(size)/1000, "B/group")
	})
}
