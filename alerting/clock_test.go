package alerting

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// shift moves the entries from number n on by d, as when the clock is set.
func shift(log []checks.Entry, n int, d time.Duration) []checks.Entry {
	var out []checks.Entry
	for k, e := range log {
		if k >= n {
			switch {
			case e.Result != nil:
				r := *e.Result
				r.Slot, r.Start = r.Slot.Add(d), r.Start.Add(d)
				e.Result = &r
			case e.Gap != nil:
				g := *e.Gap
				g.From, g.To = g.From.Add(d), g.To.Add(d)
				e.Gap = &g
			case e.Tick != nil:
				e.Tick = &checks.Tick{At: e.Tick.At.Add(d)}
			}
		}
		out = append(out, e)
	}
	return out
}

// outline says what happened at which entry, without times.
func outline(e *Engine, log []checks.Entry) (list []string) {
	for n, entry := range log {
		for _, c := range e.Step(uint64(n)+1, entry) {
			s := string(c.Event) + " " + c.Incident.Group
			for _, f := range c.Incident.Findings {
				s += " " + f.Rule
			}
			list = append(list, time.Duration(n/3).String()+": "+s)
		}
	}
	return list
}

// TestClockIsSet sets the clock by an hour, either way, at every entry: the
// same things open and resolve as without.
func TestClockIsSet(t *testing.T) {
	rules := []Rule{
		notFound("0%"),
		downRule(2),
		{Name: "any", Rate: &Rate{Of: "any", Over: 30 * minute, Above: share("20%"), MinFailures: 3}},
		{Name: "uptime", Rate: &Rate{Of: "down", Over: 24 * 60 * minute, Above: share("10%"), MinFailures: 4}},
	}
	lines := []line{
		{"a", "ws", "..........X........XXX.X......................"},
		{"b", "ws", "............X.......X........................."},
	}
	log := entries(lines)
	want := outline(NewEngine(rules, subjects(lines)), log)
	for n := range log {
		for _, d := range []time.Duration{-time.Hour, -20 * time.Minute, -2 * time.Hour} {
			e := NewEngine(rules, subjects(lines))
			if diff := cmp.Diff(want, outline(e, shift(log, n, d))); diff != "" {
				t.Fatalf("set by %s at entry %d (-without +with):\n%s", d, n, diff)
			}
		}
		// Set forward, windows hold less: a share can be exceeded earlier, but
		// min_failures keeps that from happening on the first failure.
		e := NewEngine(rules[:2], subjects(lines))
		if diff := cmp.Diff(outline(NewEngine(rules[:2], subjects(lines)), log), outline(e, shift(log, n, time.Hour))); diff != "" {
			t.Fatalf("set forward at entry %d (-without +with):\n%s", n, diff)
		}
		forth := shift(shift(log, n, time.Hour), min(n+9, len(log)), -time.Hour)
		e = NewEngine(rules[:2], subjects(lines))
		if diff := cmp.Diff(outline(NewEngine(rules[:2], subjects(lines)), log), outline(e, forth)); diff != "" {
			t.Fatalf("set forward at entry %d and back (-without +with):\n%s", n, diff)
		}
	}
}

func TestIdsDoNotComeTwice(t *testing.T) {
	lines := []line{{"a", "", "X.......X..."}}
	got := outline(NewEngine([]Rule{downRule(1)}, subjects(lines)), shift(entries(lines), 16, -8*time.Minute))
	if len(got) != 4 {
		t.Fatalf("got %v, want it opened and resolved twice", got)
	}
	judgeChanges(t, run1(NewEngine([]Rule{downRule(1)}, subjects(lines)), 1, shift(entries(lines), 16, -8*time.Minute)))
}

func TestClockIsSetWhileEverythingWorks(t *testing.T) {
	_, lines := everything()
	for k := range lines {
		lines[k].slots = "......................"
	}
	rules, _ := everything()
	log := entries(lines)
	for _, d := range []time.Duration{time.Hour, -time.Hour, 400 * 24 * time.Hour, -400 * 24 * time.Hour} {
		e := NewEngine(rules, subjects(lines))
		if got := outline(e, shift(log, 60, d)); len(got) > 0 {
			t.Errorf("set by %s: %v", d, got)
		}
	}
}

func TestOutageIsNeverShownTooLong(t *testing.T) {
	lines := []line{{"a", "", "..XXXXXX......."}}
	for n := range entries(lines) {
		for _, d := range []time.Duration{-time.Hour, -10 * time.Minute} {
			for _, c := range run1(NewEngine([]Rule{notFound("0%"), downRule(2)}, subjects(lines)), 1, shift(entries(lines), n, d)) {
				if o := c.Incident.Outage(); o < 0 || o > 5*time.Minute {
					t.Errorf("clock set by %s at entry %d: %s after %s, since %s", d, n, c.Event, o, c.Incident.Since)
				}
			}
		}
	}
}

// TestLateResults delivers results late and out of order.
func TestLateResults(t *testing.T) {
	rule := Rule{Name: "any", Rate: &Rate{Of: "any", Over: 5 * minute, Above: share("0%"), MinFailures: 3}}
	s := subjects([]line{{"a", "", ""}})
	step := func(e *Engine, seq int, minute int, letter rune) []Change {
		return e.Step(uint64(seq), *result("a", "", base().Add(time.Duration(minute)*time.Minute), letter))
	}
	t.Run("counts at its slot", func(t *testing.T) {
		e := NewEngine([]Rule{rule}, s)
		step(e, 1, 0, 'X')
		step(e, 2, 2, 'X')
		got := step(e, 3, 1, 'X')
		if len(got) != 1 || got[0].Incident.Findings[0].Bad != 3 || !got[0].Incident.Since.Equal(base()) {
			t.Errorf("got %v", titles(got))
		}
	})
	t.Run("twice counts once", func(t *testing.T) {
		e := NewEngine([]Rule{rule}, s)
		for seq, m := range []int{0, 2, 1, 1, 2, 0} {
			letter := 'X'
			if m == 1 {
				letter = '.'
			}
			if got := step(e, seq, m, letter); len(got) > 0 {
				t.Fatalf("got %v", titles(got))
			}
		}
	})
	t.Run("too late to count", func(t *testing.T) {
		e := NewEngine([]Rule{{Name: "any", Rate: &Rate{Of: "any", Over: minute, Above: share("0%")}}}, s)
		step(e, 1, 9, '.')
		if got := step(e, 2, 8, 'X'); len(got) > 0 {
			t.Errorf("got %v", titles(got))
		}
	})
	t.Run("from before the clear", func(t *testing.T) {
		e := NewEngine([]Rule{notFound("0%"), downRule(1)}, s)
		for m, letter := range "X..-.." {
			if letter != '-' {
				step(e, m+1, m, letter)
			}
		}
		if got := step(e, 7, 3, 'X'); len(got) > 0 {
			t.Errorf("got %v", titles(got))
		}
		if got := step(e, 8, 6, 'X'); len(got) != 1 || got[0].Event != Opened {
			t.Errorf("got %v, want it opened", titles(got))
		}
	})
}

func TestGaps(t *testing.T) {
	rule := Rule{Name: "any", Rate: &Rate{Of: "any", Over: 60 * minute, Above: share("0%"), MinFailures: 2}}
	day := Rule{Name: "day", Rate: &Rate{Of: "any", Over: 24 * 60 * minute, Above: share("0%"), MinFailures: 2}}
	lines := []line{{"a", "ws", ""}, {"b", "ws", ""}}
	find := func(c []Change) []Finding {
		if len(c) != 1 {
			t.Fatalf("got %v, want one change", titles(c))
		}
		return c[0].Incident.Findings
	}
	gap := func(check string, from, to time.Duration) checks.Entry {
		return checks.Entry{V: 1, Gap: &checks.Gap{Check: check, Location: "local", From: base().Add(from), To: base().Add(to), Slots: 1, Reason: "asleep"}}
	}
	t.Run("of one check", func(t *testing.T) {
		e := NewEngine([]Rule{rule, day}, subjects(lines))
		e.Step(1, *result("a", "ws", base(), 'X'))
		e.Step(2, gap("a", time.Minute, 30*time.Minute))
		for _, f := range find(e.Step(3, *result("a", "ws", base().Add(31*time.Minute), 'X'))) {
			if f.Bad != 2 || f.Total != 2 || f.Unknown != 30 {
				t.Errorf("%s: %d of %d, %d unknown, want 2 of 2, 30", f.Rule, f.Bad, f.Total, f.Unknown)
			}
		}
	})
	t.Run("of all", func(t *testing.T) {
		e := NewEngine([]Rule{rule, day}, subjects(lines))
		e.Step(1, *result("a", "ws", base(), 'X'))
		e.Step(2, *result("b", "ws", base().Add(30*time.Second), '.'))
		e.Step(3, gap("", 20*time.Second, 10*time.Minute)) // 10 slots of a; 10 of b, the first of which it has
		for _, f := range find(e.Step(4, *result("a", "ws", base().Add(11*time.Minute), 'X'))) {
			if f.Bad != 2 || f.Total != 3 || f.Unknown != 20 {
				t.Errorf("%s: %d of %d, %d unknown, want 2 of 3, 20", f.Rule, f.Bad, f.Total, f.Unknown)
			}
		}
	})
	t.Run("of years", func(t *testing.T) {
		e := NewEngine([]Rule{rule, day, {Name: "self", Unknown: &UnknownRule{Over: 20 * 24 * 60 * minute}}}, subjects(lines))
		e.Step(1, *result("a", "ws", base(), 'X'))
		got := e.Step(2, gap("", time.Minute, 3*365*24*time.Hour))
		if f := find(got)[0]; f.Bad != f.Total || f.Bad < 2*19*24*60 || f.Bad > 2*20*24*60 {
			t.Errorf("%d of %d unknown", f.Bad, f.Total)
		}
	})
	t.Run("in the future", func(t *testing.T) {
		e := NewEngine([]Rule{rule}, subjects(lines))
		e.Step(1, *result("a", "ws", base(), '.'))
		e.Step(2, gap("a", 10*time.Hour, 20*time.Hour))
		e.Step(3, *result("a", "ws", base().Add(time.Minute), 'X'))
		find(e.Step(4, *result("a", "ws", base().Add(2*time.Minute), 'X')))
	})
	t.Run("backwards, of nobody, from elsewhere", func(t *testing.T) {
		s := subjects(lines)
		s[0].Location = "here"
		e := NewEngine([]Rule{{Name: "self", Unknown: &UnknownRule{}}}, s)
		for n, g := range []checks.Entry{gap("a", time.Hour, 0), gap("nobody", 0, time.Hour), gap("a", 0, time.Hour), {V: 1, Gap: &checks.Gap{}}} {
			if got := e.Step(uint64(n), g); len(got) > 0 {
				t.Errorf("gap %d: %v", n, titles(got))
			}
		}
	})
}

func TestResultsThatConcernNobody(t *testing.T) {
	s := subjects([]line{{"a", "", ""}})
	s[0].Location = "zurich"
	e := NewEngine([]Rule{downRule(1)}, s)
	if got := e.Step(1, *result("a", "", base(), 'X')); len(got) > 0 {
		t.Errorf("from elsewhere: %v", titles(got))
	}
	r := *result("a", "", time.Time{}, 'X')
	r.Result.Location = "zurich"
	if got := e.Step(2, r); len(got) > 0 {
		t.Errorf("without a slot: %v", titles(got))
	}
	r.Result.Slot = base()
	if got := e.Step(3, r); len(got) != 1 {
		t.Errorf("got %v, want one", titles(got))
	}
	if got := e.Step(4, checks.Entry{V: 1, Command: &checks.Command{At: base(), Name: "silence"}}); len(got) > 0 {
		t.Errorf("a command made %v", titles(got))
	}
}

func TestManyChecksInOneFinding(t *testing.T) {
	list := fleet(300, 1)
	e := NewEngine([]Rule{downRule(1)}, list)
	minutes(e, list, 0, 2, badResult())
	f := e.Open()[0].Findings[0]
	if len(f.Checks) != 50 || f.More != 250 || f.Checks[0] != "check-00000" || f.Bad != 300 || f.Class != probe.ConnectRefused {
		t.Errorf("%d checks from %s on, %d more, %d bad, class %s", len(f.Checks), f.Checks[0], f.More, f.Bad, f.Class)
	}
}

// TestClockIsSetBackWhileWaiting checks that nothing that waits for a time waits
// for one that was noted by a clock that was wrong.
func TestClockIsSetBackWhileWaiting(t *testing.T) {
	good := strings.Repeat(".", 80)
	for name, c := range map[string]struct {
		policy Policy
		lines  []line
		needs  string
		minute int // from which on the clock is back
		want   string
	}{
		"flapping ends": {
			policy: Policy{Reopens: 1, FlapWithin: time.Hour.Milliseconds() / 2}, lines: []line{{"a", "", "X...X" + good}}, minute: 9,
			want: "opened a, resolved a, opened a, resolved a",
		},
		"a storm is told to have grown": {
			policy: Policy{StormGroups: 1, StormWithin: 5 * time.Minute.Milliseconds()}, minute: 5, want: "grew storm",
			lines: []line{{"a", "", "..XXXXXXXXXX"}, {"b", "", "..XXXXXXXXXX"}, {"c", "", "....XXXXXXXX"}},
		},
		"what was told before makes no storm": {
			policy: Policy{StormGroups: 1, StormWithin: time.Minute.Milliseconds()}, minute: 5, want: "opened b",
			lines: []line{{"a", "", "..X........."}, {"b", "", "......XXXXXX"}},
		},
		"nobody waits for a verdict": {
			lines: []line{{"a", "", "..XXXXXXXX"}, {"b", "", "..        "}}, needs: "b", minute: 3, want: "released a",
		},
	} {
		t.Run(name, func(t *testing.T) {
			list := subjects(c.lines)
			if c.needs != "" {
				list[0].Needs = []string{c.needs}
			}
			log := entries(c.lines)
			from := slices.IndexFunc(log, func(e checks.Entry) bool {
				return !e.Time().Before(base().Add(time.Duration(c.minute) * time.Minute))
			})
			for _, by := range []time.Duration{-20 * time.Minute, -time.Hour, -400 * 24 * time.Hour} {
				e := NewEngine([]Rule{downRule(1)}, list)
				e.SetPolicy(c.policy)
				var told []string
				for _, ch := range run1(e, 1, shift(log, from, by)) {
					if ch.Incident.Tells() {
						told = append(told, string(ch.Event)+" "+ch.Incident.Group)
					}
				}
				if got := strings.Join(told, ", "); !strings.Contains(got, c.want) {
					t.Errorf("set by %s: told %s, want %s among that", by, got, c.want)
				}
			}
		})
	}
}

// TestClockIsSetBackAndPeopleAct wants that what people say after the clock was
// set back holds at once, and that a window is where the clock is.
func TestClockIsSetBackAndPeopleAct(t *testing.T) {
	for _, by := range []time.Duration{-6 * time.Minute, -20 * time.Minute, -time.Hour, -2 * time.Hour} {
		list := subjects([]line{{check: "a"}, {check: "b"}})
		e := NewEngine([]Rule{downRule(1)}, list)
		e.SetPolicy(Policy{Windows: []Window{{Name: "nightly", Select: Select{Name: "b"}, For: 2 * time.Minute, Starts: once(base().Add(10*time.Minute + by))}}})
		p := &player{e: e}
		p.results(0, ".", "a", "b")
		p.tick(5 * time.Minute)
		p.tick(5*time.Minute + by)
		p.command(t, 6*time.Minute+by, CommandSilence, "id", "s", "for", "3m", "check", "a")
		if got := e.Silences(); len(got) != 1 {
			t.Errorf("set by %s: %d silences last, want one", by, len(got))
		}
		want(t, "silenced", p.results(7*time.Minute+by, "5", "a"))
		want(t, "its end", p.tick(9*time.Minute+by), "released a")
		want(t, "in the window", p.results(10*time.Minute+by, "5", "b"))
		want(t, "after it", p.tick(12*time.Minute+by), "released b")
	}
}

// TestLongRunsSetNoClock wants that a run that took long is not taken for a
// clock that was set back.
func TestLongRunsSetNoClock(t *testing.T) {
	for _, d := range []time.Duration{0, 4 * time.Minute, 10 * time.Minute, time.Hour, 100 * time.Hour} {
		e := NewEngine([]Rule{downRule(1)}, subjects([]line{{check: "a"}, {check: "b"}}))
		e.Step(1, checks.Entry{V: 1, Tick: &checks.Tick{At: base().Add(min(d, 100*time.Hour))}})
		before := e.clock
		long := result("a", "", base(), '5')
		long.Result.Duration = d
		e.Step(2, *long)
		if e.clock != before {
			t.Errorf("a run of %s set the clock by %s", d, at(e.clock).Sub(at(before)))
		}
	}
}
