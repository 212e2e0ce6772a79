package schedule

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // for the daylight saving cases on machines without zone files

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
)

// daily is a schedule as cron makes them: a time of day in some zone.
type daily struct {
	hour, minute int
	loc          *time.Location
}

func (d daily) Next(t time.Time) time.Time {
	t = t.In(d.loc)
	n := time.Date(t.Year(), t.Month(), t.Day(), d.hour, d.minute, 0, 0, d.loc)
	if !n.After(t) {
		n = time.Date(t.Year(), t.Month(), t.Day()+1, d.hour, d.minute, 0, 0, d.loc)
	}
	return n
}

// minutely is a schedule that the plan has to step through.
type minutely struct{}

func (minutely) Next(t time.Time) time.Time { return t.Truncate(time.Minute).Add(time.Minute) }

// broken does not go forward.
type broken struct{}

func (broken) Next(t time.Time) time.Time { return t }

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// clocks are the two clocks of a simulated machine.
type clocks struct{ reading }

func (c *clocks) pass(d time.Duration) { c.wall += int64(d); c.mono += d }
func (c *clocks) step(d time.Duration) { c.wall += int64(d) } // also: the machine sleeps for d

func wallAt(t testing.TB, s string) reading {
	t.Helper()
	w, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return reading{wall: w.UnixNano()}
}

func testItem(name string, s checks.Schedule) *item {
	return &item{check: &checks.Check{Name: name, Schedule: s, Timeout: 10 * time.Second}, started: -1}
}

// run lets d pass with a look at least each second, as the Runner does, and
// writes down what is due.
func run(p *plan, c *clocks, d time.Duration, lines *[]string) {
	for end := c.mono + d; c.mono < end; {
		c.pass(min(p.wait(c.wall), end-c.mono))
		look(p, c, lines)
	}
}

func look(p *plan, c *clocks, lines *[]string) {
	p.look(c.reading)
	for d, ok := p.pop(); ok; d, ok = p.pop() {
		line := d.slot.Format("02 15:04:05.999")
		if d.passed.n > 0 {
			line += fmt.Sprintf(" passed %d: %s - %s", d.passed.n, at(d.passed.from).Format("15:04:05"), at(d.passed.to).Format("15:04:05"))
		}
		if late := time.Duration(c.wall - d.slot.UnixNano()); late > time.Second {
			line += " late " + brief(late)
		}
		*lines = append(*lines, line)
	}
}

func TestPlan(t *testing.T) {
	minute7 := every{period: int64(time.Minute), phase: int64(7 * time.Second)}
	newYork := zone(t, "America/New_York")
	const start = "2026-06-01T12:00:00Z"
	for _, tt := range []struct {
		name     string
		start    string
		schedule checks.Schedule
		newest   time.Duration // of the log, after start; 0: empty log
		do       func(p *plan, c *clocks, out *[]string)
		want     []string
	}{
		{
			name: "even", schedule: minute7,
			do:   func(p *plan, c *clocks, out *[]string) { run(p, c, 3*time.Minute, out) },
			want: []string{"01 12:00:07", "01 12:01:07", "01 12:02:07"},
		},
		{
			name: "clock forward an hour", schedule: minute7,
			do: func(p *plan, c *clocks, out *[]string) {
				run(p, c, time.Minute, out)
				c.step(time.Hour)
				run(p, c, time.Minute, out)
			},
			want: []string{"01 12:00:07", "01 13:00:07 passed 59: 12:01:07 - 12:59:07 late 53s", "01 13:01:07"},
		},
		{
			name: "asleep for an hour, slots of cron", schedule: minutely{},
			do: func(p *plan, c *clocks, out *[]string) {
				run(p, c, 90*time.Second, out)
				c.step(time.Hour)
				look(p, c, out)
				run(p, c, time.Minute, out)
			},
			want: []string{"01 12:01:00", "01 13:01:00 passed 59: 12:02:00 - 13:00:00 late 30s", "01 13:02:00"},
		},
		{
			name: "clock forward by less than the wait", schedule: minute7,
			do: func(p *plan, c *clocks, out *[]string) {
				run(p, c, 10*time.Second, out)
				c.step(30 * time.Second)
				run(p, c, 30*time.Second, out)
			},
			want: []string{"01 12:00:07", "01 12:01:07"},
		},
		{
			name: "from 1970 to now, slots of cron", start: "1970-01-01T00:00:00Z", schedule: minutely{},
			do: func(p *plan, c *clocks, out *[]string) {
				c.step(wallDuration("2026-06-01T12:00:30Z"))
				look(p, c, out)
			},
			want: []string{"01 12:00:00 passed 10080: 00:01:00 - 11:59:00 late 30s"},
		},
		{
			name: "from 1970 to now", start: "1970-01-01T00:00:00Z", schedule: minute7,
			do: func(p *plan, c *clocks, out *[]string) {
				c.step(wallDuration("2026-06-01T12:00:30Z"))
				look(p, c, out)
			},
			want: []string{"01 12:00:07 passed 29671920: 00:00:07 - 11:59:07 late 23s"},
		},
		{
			name: "clock back an hour: other ids, no silence", schedule: minute7,
			do: func(p *plan, c *clocks, out *[]string) {
				run(p, c, 100*time.Second, out) // 12:01:40
				c.step(-time.Hour)              // 11:01:40
				run(p, c, 2*time.Minute, out)
			},
			want: []string{"01 12:00:07", "01 12:01:07", "01 11:02:07.001", "01 11:03:07.001"},
		},
		{
			name: "clock back an hour just after a run", schedule: minute7,
			do: func(p *plan, c *clocks, out *[]string) {
				run(p, c, 67*time.Second, out) // 12:01:07
				c.step(-time.Hour - 2*time.Second)
				run(p, c, time.Minute+3*time.Second, out)
			},
			want: []string{"01 12:00:07", "01 12:01:07", "01 11:02:07.001"}, // 11:01:07 would be 2 s after a run
		},
		{
			name: "clock back an hour and forth again", schedule: minute7,
			do: func(p *plan, c *clocks, out *[]string) {
				run(p, c, 100*time.Second, out)
				c.step(-time.Hour)
				run(p, c, time.Minute, out) // 11:02:40
				c.step(time.Hour)
				run(p, c, time.Minute, out)
			},
			want: []string{
				"01 12:00:07", "01 12:01:07", "01 11:02:07.001",
				"01 12:02:07 passed 59: 11:03:07 - 12:01:07 late 33s", "01 12:03:07",
			},
		},
		{
			name: "clock back twice", schedule: minute7,
			do: func(p *plan, c *clocks, out *[]string) {
				run(p, c, 100*time.Second, out) // 12:01:40
				c.step(-10 * time.Minute)       // 11:51:40
				run(p, c, time.Minute, out)     // 11:52:40
				c.step(-2 * time.Minute)        // 11:50:40
				run(p, c, 2*time.Minute, out)
			},
			want: []string{"01 12:00:07", "01 12:01:07", "01 11:52:07.001", "01 11:51:07.002", "01 11:52:07.002"},
		},
		{
			name: "clock back by less than half an interval is waited out", schedule: minute7,
			do: func(p *plan, c *clocks, out *[]string) {
				run(p, c, 10*time.Second, out)
				c.step(-20 * time.Second)
				run(p, c, 78*time.Second, out)
			},
			want: []string{"01 12:00:07", "01 12:01:07"},
		},
		{
			name: "started in time that the log knows already", schedule: minute7, newest: 90 * time.Second,
			do:   func(p *plan, c *clocks, out *[]string) { run(p, c, 3*time.Minute, out) },
			want: []string{"01 12:00:07.029", "01 12:01:07.029", "01 12:02:07"},
		},
		{
			name: "stood still", schedule: minute7,
			do: func(p *plan, c *clocks, out *[]string) {
				run(p, c, 30*time.Second, out)
				c.pass(2*time.Minute + 40*time.Second)
				look(p, c, out)
			},
			want: []string{"01 12:00:07", "01 12:03:07 passed 2: 12:01:07 - 12:02:07 late 3s"},
		},
		{
			name: "into daylight saving", start: "2026-03-07T00:00:00Z", schedule: daily{2, 30, newYork},
			do:   func(p *plan, c *clocks, out *[]string) { run(p, c, 3*24*time.Hour, out) },
			want: []string{"07 07:30:00", "08 06:30:00", "09 06:30:00"}, // 02:30 does not exist on the 8th
		},
		{
			name: "out of daylight saving", start: "2026-10-31T00:00:00Z", schedule: daily{1, 30, newYork},
			do:   func(p *plan, c *clocks, out *[]string) { run(p, c, 3*24*time.Hour, out) },
			want: []string{"31 05:30:00", "01 05:30:00", "02 06:30:00"}, // 01:30 comes twice on the 1st
		},
		{
			name: "a schedule that does not go forward", schedule: broken{},
			do: func(p *plan, c *clocks, out *[]string) { run(p, c, time.Hour, out) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.start == "" {
				tt.start = start
			}
			c := &clocks{wallAt(t, tt.start)}
			var newest time.Time
			if tt.newest != 0 {
				newest = at(c.wall).Add(tt.newest)
			}
			p := newPlan(c.reading, newest)
			p.add(p.now, []*item{testItem("a", tt.schedule)}, false)
			var got []string
			tt.do(&p, c, &got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("slots (-want +got):\n%s", diff)
			}
		})
	}
}

func wallDuration(s string) time.Duration {
	w, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return time.Duration(w.UnixNano())
}

func TestPlanAtStart(t *testing.T) {
	c := &clocks{wallAt(t, "2026-06-01T12:00:00Z")}
	p := newPlan(c.reading, time.Time{})
	phase := func(d time.Duration) checks.Schedule { return every{int64(time.Minute), int64(d)} }
	p.add(p.now, []*item{
		testItem("soon anyway", phase(50*time.Millisecond)),
		testItem("just after its start run", phase(5*time.Second)),
		testItem("later", phase(30*time.Second)),
	}, true)
	var got []string
	run(&p, c, 100*time.Second, &got)
	want := []string{
		"01 12:00:00.04", "01 12:00:00.05", "01 12:00:00.08", // within 3 * 40 ms
		"01 12:00:30",
		"01 12:01:00.05", "01 12:01:05", "01 12:01:30", // 12:00:05 would have cut the start run short
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("slots (-want +got):\n%s", diff)
	}
}

// FuzzPlan drives a plan through any mix of time passing, standing still,
// sleeping and clock steps. Whatever happens, no id is used twice and no check
// is silent for long; as long as the clock does not go back, the slots given
// and passed are exactly those of the schedule.
func FuzzPlan(f *testing.F) {
	f.Add([]byte{1, 5, 9})
	f.Add([]byte{0, 200, 2, 60, 0, 10, 1, 255, 0, 30})
	f.Add([]byte{0, 255, 3, 255, 0, 255, 2, 255, 0, 255, 3, 9, 0, 255})
	f.Fuzz(func(t *testing.T, program []byte) {
		program = program[:min(len(program), 100)]
		c := &clocks{wallAt(t, "2026-06-01T12:00:00.5Z")}
		items := []*item{
			testItem("1s", Every(time.Second, "1s")),
			testItem("7s", Every(7*time.Second, "7s")),
			testItem("60s", Every(time.Minute, "60s")),
			testItem("cron", minutely{}),
		}
		m := newModel(c, items)
		for len(program) >= 2 {
			op, arg := program[0], time.Duration(program[1])
			program = program[2:]
			switch op % 4 {
			case 0: // all is well
				for end := c.mono + arg*time.Second/4; c.mono < end; {
					c.pass(min(m.p.wait(c.wall), end-c.mono))
					m.look(t)
				}
			case 1: // the program stands still
				c.pass(arg * time.Second)
				m.look(t)
			case 2: // the machine sleeps, or the clock goes forward
				c.step(arg * arg * time.Second / 8)
				m.look(t)
			case 3: // the clock goes back
				c.step(-arg * arg * time.Second / 8)
				m.look(t)
			}
		}
		m.check(t)
	})
}

// model checks a plan from the outside.
type model struct {
	p     plan
	c     *clocks
	items []*item
	start int64
	back  bool // the clock went back at some time
	ids   map[string]bool
	given map[string][]int64
	spans map[string][]span
	quiet map[string]*quiet
	prev  reading
}

// quiet is a check's silence: since when, and what excuses it.
type quiet struct {
	since time.Duration
	back  int           // steps back since then
	still time.Duration // longest time between two looks since then
}

func newModel(c *clocks, items []*item) *model {
	m := &model{
		p: newPlan(c.reading, time.Time{}), c: c, items: items, start: c.wall, prev: c.reading,
		ids: map[string]bool{}, given: map[string][]int64{}, spans: map[string][]span{}, quiet: map[string]*quiet{},
	}
	for _, it := range items {
		m.quiet[it.check.Name] = &quiet{}
	}
	m.p.add(m.p.now, items, false)
	return m
}

func (m *model) look(t *testing.T) {
	elapsed := m.c.mono - m.prev.mono
	back := time.Duration(m.c.wall-m.prev.wall)-elapsed < -time.Millisecond
	m.back = m.back || back
	m.prev = m.c.reading
	for _, q := range m.quiet {
		q.still = max(q.still, elapsed)
		if back {
			q.back++
		}
	}
	m.p.look(m.c.reading)
	for d, ok := m.p.pop(); ok; d, ok = m.p.pop() {
		name := d.it.check.Name
		id := checks.Result{Check: name, Slot: d.slot}.ID()
		if m.ids[id] {
			t.Fatalf("id %s used twice", id)
		}
		m.ids[id] = true
		if early := time.Duration(d.slot.UnixNano() - m.c.wall); early > time.Duration(m.p.shift) {
			t.Fatalf("%s: slot %s is given %s early", name, d.slot, early)
		}
		m.given[name] = append(m.given[name], d.slot.UnixNano())
		if d.passed.n > 0 {
			m.spans[name] = append(m.spans[name], d.passed)
		}
		m.quiet[name] = &quiet{since: m.c.mono}
	}
	for _, it := range m.items {
		q := m.quiet[it.check.Name]
		interval := time.Duration(next(it.check.Schedule, m.c.wall))
		interval = time.Duration(next(it.check.Schedule, int64(interval))) - interval
		limit := interval + q.still
		if q.back > 0 {
			limit = 2*interval + q.still
		}
		if silent := m.c.mono - q.since; silent > limit && q.back <= 1 {
			t.Fatalf("%s is silent for %s, want at most %s", it.check.Name, silent, limit)
		}
	}
}

// check compares with the slots of the schedule, which is possible only if
// wall time did not come twice.
func (m *model) check(t *testing.T) {
	if m.back {
		return
	}
	for _, it := range m.items {
		name := it.check.Name
		var want, got []int64
		for s := next(it.check.Schedule, m.start); s <= m.c.wall; s = next(it.check.Schedule, s) {
			want = append(want, s)
		}
		got = append(got, m.given[name]...)
		for _, s := range m.spans[name] {
			n := 0
			for slot := s.from; slot <= s.to; slot = next(it.check.Schedule, slot) {
				got = append(got, slot)
				n++
			}
			if n != s.n {
				t.Fatalf("%s: passed %d slots from %s to %s, want %d", name, s.n, at(s.from), at(s.to), n)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%s: %d slots are accounted for, want %d", name, len(got), len(want))
		}
	}
}

func TestEvery(t *testing.T) {
	for _, period := range []time.Duration{time.Second, 7 * time.Second, time.Minute, 36 * time.Hour} {
		s := Every(period, "home")
		for _, from := range []string{"1960-02-03T04:05:06Z", "1970-01-01T00:00:00Z", "2026-06-01T12:00:00Z"} {
			start := at(wallAt(t, from).wall)
			first := s.Next(start)
			if d := first.Sub(start); d <= 0 || d > period {
				t.Errorf("every %s: first slot %s after %s, want within one period", period, d, start)
			}
			if again := s.Next(first.Add(-1)); !again.Equal(first) {
				t.Errorf("every %s: slot just before %s is %s", period, first, again)
			}
			if second := s.Next(first); second.Sub(first) != period {
				t.Errorf("every %s: second slot %s after the first", period, second.Sub(first))
			}
			if first.Nanosecond()%int(time.Millisecond) != 0 {
				t.Errorf("every %s: slot %s is not on a millisecond", period, first)
			}
		}
	}
	// Fixed for ever: another phase after an upgrade would shift every check.
	if got, want := Every(time.Minute, "home").(every).phase, int64(21_954*time.Millisecond); got != want {
		t.Errorf("phase of %q is %s, want %s", "home", time.Duration(got), time.Duration(want))
	}
	if got := Every(0, "x").Next(time.Now()); !got.IsZero() {
		t.Errorf("every 0: next slot %s, want none", got)
	}
}

func TestSpread(t *testing.T) {
	const period = 10 * time.Second
	list := make([]checks.Check, 1000)
	for i := range list {
		name := fmt.Sprint("check-", i)
		list[i] = checks.Check{Name: name, Schedule: Every(period, name)}
	}
	before := slices.Clone(list)
	Spread(list)
	counts := map[int64]int{} // by 10 ms
	for i, c := range list {
		phase := c.Schedule.(every).phase
		counts[phase/int64(10*time.Millisecond)]++
		moved := time.Duration(phase - before[i].Schedule.(every).phase).Abs()
		if min(moved, period-moved) > period/20 {
			t.Errorf("%s moved by %s from its hash", c.Name, moved)
		}
	}
	if len(counts) != 1000 {
		t.Errorf("1,000 checks in 10 s take %d of the 1,000 spans of 10 ms", len(counts))
	}

	shuffled := slices.Clone(before)
	rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	more := append(slices.Clone(before), checks.Check{Name: "new", Schedule: Every(period, "new")})
	Spread(shuffled)
	Spread(more)
	phases := map[string]int64{}
	for _, c := range shuffled {
		phases[c.Name] = c.Schedule.(every).phase
	}
	for i, c := range list {
		if phases[c.Name] != c.Schedule.(every).phase {
			t.Errorf("%s: phase depends on the order of the list", c.Name)
		}
		moved := time.Duration(more[i].Schedule.(every).phase - c.Schedule.(every).phase).Abs()
		if min(moved, period-moved) > 2*period/1000+time.Millisecond {
			t.Errorf("%s moved by %s for one more check", c.Name, moved)
		}
	}

	mixed := []checks.Check{{Name: "a", Schedule: minutely{}}, {Name: "b", Schedule: Every(0, "b")}}
	Spread(mixed)
	if mixed[0].Schedule != (minutely{}) || mixed[1].Schedule != (every{}) {
		t.Errorf("Spread changed schedules that are not its own: %v", mixed)
	}
}
