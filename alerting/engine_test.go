package alerting

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// base is the first slot of all tests.
func base() time.Time { return time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC) }

// line is one check of a test and what its slots come to, one letter each:
//
//	.  up                          x  404, re-probe good (degraded)
//	~  degraded, slow              X  404, confirmed
//	s  up, took 3 s                5  500, confirmed
//	?  unknown                     c  connection refused, confirmed
//	g  a gap                       d  no answer from DNS, confirmed
//	-  nothing at all              m  five attempts, two of them 404 (down)
type line struct {
	check, group, slots string
}

func result(check, group string, slot time.Time, letter rune) *checks.Entry {
	r := checks.Result{
		Check: check, Kind: "websocket", Group: group, Location: "local", Slot: slot, Start: slot,
		Status: probe.Up, Class: probe.OK, Latency: 100 * time.Millisecond,
	}
	fails := func(s probe.Status, c probe.Class, reason string) {
		r.Status, r.Class, r.Reason, r.Latency = s, c, reason, 0
	}
	switch letter {
	case '-', ' ':
		return nil
	case 'g':
		return &checks.Entry{V: 1, Gap: &checks.Gap{Check: check, Location: "local", From: slot, To: slot, Slots: 1, Reason: "no worker"}}
	case '~':
		r.Status, r.Class = probe.Degraded, probe.Slow
	case 's':
		r.Latency = 3 * time.Second
	case '?':
		fails(probe.Unknown, probe.Late, "started 12s after its slot")
	case 'x':
		fails(probe.Degraded, probe.NotFound, "status 404, want 101")
		r.Latency, r.Tally = 120*time.Millisecond, map[probe.Class]int{probe.NotFound: 1}
	case 'X':
		fails(probe.Down, probe.NotFound, "status 404, want 101")
	case 'm':
		fails(probe.Down, probe.NotFound, "2 of 5 sessions: status 404, want 101")
		r.Tally = map[probe.Class]int{probe.NotFound: 2, probe.OK: 3}
	case '5':
		fails(probe.Down, probe.ServerError, "status 500, want 101")
	case 'c':
		fails(probe.Down, probe.ConnectRefused, "connect 192.0.2.1:443: connection refused")
	case 'd':
		fails(probe.Down, probe.DNSTimeout, "resolve example.com: no answer within 5s")
	}
	return &checks.Entry{V: 1, Result: &r}
}

// entries makes the log of some lines: a slot each minute, the checks two
// seconds apart, and a tick after each.
func entries(lines []line) []checks.Entry {
	var list []checks.Entry
	for k := range lines[0].slots {
		for n, l := range lines {
			slot := base().Add(time.Duration(k)*time.Minute + time.Duration(n)*2*time.Second)
			if e := result(l.check, l.group, slot, rune(l.slots[k])); e != nil {
				list = append(list, *e)
			}
		}
		list = append(list, checks.Entry{V: 1, Tick: &checks.Tick{At: base().Add(time.Duration(k)*time.Minute + 59*time.Second)}})
	}
	return list
}

func subjects(lines []line) []Subject {
	var list []Subject
	for _, l := range lines {
		list = append(list, Subject{
			Name: l.check, Kind: "websocket", Group: l.group, Host: l.check + ".example.com:443",
			WebSocket: true, Interval: time.Minute,
		})
	}
	return list
}

// marks writes changes in the notation of the tests: for each incident key a
// string with o, g or r at the slots at which it opened, grew or resolved.
func marks(t *testing.T, e *Engine, lines []line) (map[string]string, []Change) {
	t.Helper()
	got := map[string][]byte{}
	var all []Change
	seq := e.Seq()
	for _, entry := range entries(lines) {
		slot := int(entry.Time().Sub(base()) / time.Minute)
		seq++
		for _, c := range e.Step(seq, entry) {
			all = append(all, c)
			key := c.Incident.Group
			if got[key] == nil {
				got[key] = []byte(strings.Repeat(".", len(lines[0].slots)))
			}
			got[key][slot] = map[Event]byte{Opened: 'o', Grew: 'g', Resolved: 'r'}[c.Event]
		}
	}
	out := map[string]string{}
	for k, v := range got {
		out[k] = string(v)
	}
	return out, all
}

func share(s string) *Share {
	v, err := ParseShare(s)
	if err != nil {
		panic(err)
	}
	return &v
}

const minute = probe.Duration(time.Minute)

func notFound(above string) Rule {
	return Rule{Name: "404", Severity: Page, Rate: &Rate{Of: "not_found", Over: 5 * minute, Above: share(above)}}
}

func downRule(slots int) Rule {
	return Rule{Name: "down", Severity: Page, Down: &DownRule{Slots: slots}}
}

func TestStep(t *testing.T) {
	any0 := Rule{Name: "any", Rate: &Rate{Of: "any", Over: 5 * minute, Above: share("0%")}}
	by := func(r Rule, by string) Rule { r.By = by; return r }
	rate := func(of, over string, f func(*Rate)) Rule {
		d, err := probe.ParseDuration(over)
		if err != nil {
			t.Fatal(err)
		}
		r := &Rate{Of: of, Over: d}
		f(r)
		return Rule{Name: of, Rate: r}
	}
	tests := []struct {
		name  string
		rules []Rule
		lines []line
		want  map[string]string
	}{
		{
			"all good",
			[]Rule{notFound("0%"), downRule(1)},
			[]line{{"a", "", "..~..s..?g-...."}},
			map[string]string{},
		},
		{
			"opens at the first, resolves after three good ones in a row",
			[]Rule{notFound("0%")},
			[]line{
				{"a", "", "..X...."},
			},
			map[string]string{"a": "..o..r."},
		},
		{
			"a failed attempt counts though the re-probe was good",
			[]Rule{notFound("0%"), downRule(1)},
			[]line{{"a", "", "..x...."}},
			map[string]string{"a": "..o..r."},
		},
		{
			"half and half does not flap",
			[]Rule{notFound("0%")},
			[]line{{"a", "", "x.x.x.x.X.x..x..x.x?.?..."}},
			map[string]string{"a": "o......................r."},
		},
		{
			"unknown neither counts nor resets, degraded is good",
			[]Rule{notFound("0%")},
			[]line{{"a", "", "X.?.?g-~.."}},
			map[string]string{"a": "o......r.."},
		},
		{
			"gaps only leave it open",
			[]Rule{notFound("0%")},
			[]line{{"a", "", "Xggggggggggggg????????"}},
			map[string]string{"a": "o....................."},
		},
		{
			"another failure does not recover it",
			[]Rule{notFound("0%")},
			[]line{{"a", "", "X5555555..5..."}},
			map[string]string{"a": "o............r"},
		},
		{
			"what is before the clear cannot reopen it",
			[]Rule{rate("any", "10m", func(r *Rate) { r.Above = share("30%") })},
			// of the slots after the clear 1 of 4 are bad, then 2 of 5
			[]line{{"a", "", "XXXX......XX.."}},
			map[string]string{"a": "o.....r....o.."},
		},
		{
			"min_failures",
			[]Rule{rate("any", "5m", func(r *Rate) { r.Above = share("0%"); r.MinFailures = 3 })},
			[]line{{"a", "", "X....X.X.X...."}},
			map[string]string{"a": ".........o..r."},
		},
		{
			"at_least",
			[]Rule{rate("any", "4m", func(r *Rate) { r.AtLeast = share("50%"); r.MinFailures = 2 })},
			[]line{{"a", "", "....X.X...."}},
			map[string]string{"a": "......o..r."},
		},
		{
			"above is not at least",
			[]Rule{rate("any", "4m", func(r *Rate) { r.Above = share("50%"); r.MinFailures = 2 })},
			[]line{{"a", "", "....X.X.X.XX..."}},
			map[string]string{"a": "...........o..r"},
		},
		{
			"clear_below waits for the window",
			[]Rule{rate("any", "10m", func(r *Rate) { r.AtLeast = share("30%"); r.MinFailures = 3; r.ClearBelow = share("20%") })},
			[]line{{"a", "", "XXX............"}},
			map[string]string{"a": "..o........r..."},
		},
		{
			"uptime counts confirmed status",
			[]Rule{rate("down", "5m", func(r *Rate) { r.Above = share("0%") })},
			[]line{{"a", "", "x~x~X....."}},
			map[string]string{"a": "....o..r.."},
		},
		{
			"degraded is bad",
			[]Rule{rate("down", "5m", func(r *Rate) { r.Above = share("0%"); r.DegradedIsBad = true })},
			[]line{{"a", "", "...~......"}},
			map[string]string{"a": "...o..r..."},
		},
		{
			"attempts of a tally",
			[]Rule{rate("not_found", "5m", func(r *Rate) { r.AtLeast = share("40%"); r.MinFailures = 4 })},
			[]line{{"a", "", "mm..."}},
			map[string]string{"a": ".o..r"},
		},
		{
			"one incident for a group, each check must recover",
			[]Rule{notFound("0%")},
			[]line{
				{"a", "ws", "X......."},
				{"b", "ws", "..X....."},
			},
			map[string]string{"ws": "o....r.."},
		},
		{
			"a group's checks together",
			[]Rule{rate("any", "5m", func(r *Rate) { r.Above = share("30%"); r.MinFailures = 2 })},
			[]line{
				{"a", "ws", "...X..X..."},
				{"b", "ws", ".........."},
				{"c", "ws", "......X..."},
			},
			map[string]string{}, // 3 of 13, 3 of 14
		},
		{
			"each check by itself",
			[]Rule{by(rate("any", "5m", func(r *Rate) { r.Above = share("30%"); r.MinFailures = 2 }), "check")},
			[]line{
				{"a", "ws", "...X..X..."},
				{"b", "ws", ".........."},
				{"c", "ws", "......X..."},
			},
			map[string]string{"ws": "......o..r"},
		},
		{
			"all together have an incident of their own",
			[]Rule{by(rate("any", "5m", func(r *Rate) { r.AtLeast = share("50%"); r.MinFailures = 2 }), "all"), downRule(2)},
			[]line{
				{"a", "", "X....."},
				{"b", "", "X....."},
			},
			map[string]string{"any": "o..r.."},
		},
		{
			"rules gather in one incident",
			[]Rule{notFound("0%"), downRule(2), any0},
			[]line{{"a", "", ".xXX......"}},
			map[string]string{"a": ".o.g..r..."},
		},
		{
			"down in a row; unknown does not end the row, good does",
			[]Rule{downRule(3)},
			[]line{{"a", "", "XX.XX?gX......"}},
			map[string]string{"a": ".......o..r..."},
		},
		{
			"a second rule of the incident clears and holds again in silence",
			[]Rule{downRule(1), notFound("0%")},
			[]line{
				{"a", "ws", "XXXXXXXXXXXX......"},
				{"b", "ws", "X....X...X........"},
			},
			map[string]string{"ws": "o.............r..."},
		},
		{
			"clears and comes back",
			[]Rule{downRule(1)},
			[]line{{"a", "", "X...X...X..."}},
			map[string]string{"a": "o..ro..ro..r"},
		},
		{
			"latency",
			[]Rule{{Name: "slow", Latency: &Latency{Above: 2 * minute / 60, Over: 5 * minute}}},
			[]line{{"a", "", "..s.sssssX?........"}},
			// 3 of 5 slow: 1.84 s; 4 of 5 slow: 2.42 s. Failures are no samples
			map[string]string{"a": "......o.......r...."},
		},
		{
			"latency needs a few samples",
			[]Rule{{Name: "slow", Latency: &Latency{Above: 2 * minute / 60, Over: 5 * minute}}},
			[]line{{"a", "", "sss......."}},
			map[string]string{"a": "..o...r..."},
		},
		{
			"median",
			[]Rule{{Name: "slow", RecoverAfter: 1, Latency: &Latency{Stat: "p50", Above: 2 * minute / 60, Over: 5 * minute}}},
			[]line{{"a", "", "....ss.s....."}},
			map[string]string{"a": ".......o.r..."},
		},
		{
			"unknown is of the monitor",
			[]Rule{notFound("0%"), {Name: "self", Unknown: &UnknownRule{}}},
			[]line{
				{"a", "", ".......?.?g........"},
				{"b", "", "..................."},
			},
			map[string]string{"monitor": "..........o..r....."},
		},
		{
			"one host alone is never blind",
			[]Rule{downRule(1), {Name: "self", Unknown: &UnknownRule{}}},
			[]line{
				{"a", "", ".ccccc..."},
				{"b", "", "........."},
				{"c", "", "........."},
			},
			map[string]string{"a": ".o......r"},
		},
		{
			"blind is one incident; what is held never opens",
			[]Rule{downRule(2), {Name: "self", Severity: Page, Unknown: &UnknownRule{}}},
			[]line{
				{"a", "", "...ccdd......"},
				{"b", "", "...cdcd......"},
				{"c", "", "...ddcc......"},
				{"d", "", "............."},
			},
			map[string]string{"monitor": "...o.....r..."},
		},
		{
			"what fails on after blindness opens",
			[]Rule{downRule(2), {Name: "self", Unknown: &UnknownRule{}}},
			[]line{
				{"a", "", "...cccccccc....."},
				{"b", "", "...ccc.........."},
				{"c", "", "...ccc.........."},
				{"d", "", "...ccc.........."},
			},
			map[string]string{"monitor": "...o....r.......", "a": ".......o.....r.."},
		},
		{
			"other classes are not held",
			[]Rule{downRule(2), {Name: "self", Unknown: &UnknownRule{}}},
			[]line{
				{"a", "", "...ccc......"},
				{"b", "", "...ccc......"},
				{"c", "", "...ccc......"},
				{"d", "", "...555......"},
			},
			map[string]string{"monitor": "...o....r...", "d": "....o...r..."},
		},
		{
			"a host that fails for long says nothing",
			[]Rule{downRule(2), {Name: "self", Unknown: &UnknownRule{}}},
			[]line{
				{"a", "", "cccccccccccccc"},
				{"b", "", ".......cccc..."},
				{"c", "", ".......cccc..."},
				{"d", "", ".............."},
			},
			map[string]string{"a": ".o............", "b": "........o....r", "c": "........o....r"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, r := range tt.rules {
				if p := r.Validate(subjects(tt.lines)); len(p) > 0 {
					t.Fatalf("rule %s: %v", r.Name, p)
				}
			}
			got, all := marks(t, NewEngine(tt.rules, subjects(tt.lines)), tt.lines)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			judgeChanges(t, all)
		})
	}
}

// judgeChanges checks what holds of every sequence of changes: versions grow by
// one from 1 on, each incident is opened first and resolved last, ids do not
// come twice.
func judgeChanges(t *testing.T, all []Change) {
	t.Helper()
	last := map[string]Incident{}
	open := map[string]string{}
	for n, c := range all {
		i := c.Incident
		was, known := last[i.ID]
		switch {
		case i.Version != was.Version+1:
			t.Errorf("change %d: %s has version %d after %d", n, i.ID, i.Version, was.Version)
		case (c.Event == Opened) != !known:
			t.Errorf("change %d: %s %s, known before: %t", n, i.ID, c.Event, known)
		case known && !was.Open():
			t.Errorf("change %d: %s %s after its end", n, i.ID, c.Event)
		case (c.Event == Resolved) == i.Open():
			t.Errorf("change %d: %s %s, open: %t", n, i.ID, c.Event, i.Open())
		case i.LastBad.Before(i.Since), !i.Open() && i.Ended.Before(i.LastBad):
			t.Errorf("change %d: %s since %s, last bad %s, ended %s", n, i.ID, i.Since, i.LastBad, i.Ended)
		case known && !was.Since.Equal(i.Since) && i.Since.After(was.Since):
			t.Errorf("change %d: %s since %s, before %s", n, i.ID, i.Since, was.Since)
		case i.Reopened == 0 && i.Open() != slices.ContainsFunc(i.Findings, Finding.Holds):
			t.Errorf("change %d: %s open: %t, findings: %+v", n, i.ID, i.Open(), i.Findings)
		}
		if c.Event == Opened && open[i.Group] != "" {
			t.Errorf("change %d: %s opened while %s is open", n, i.ID, open[i.Group])
		}
		if open[i.Group] = i.ID; c.Event == Resolved {
			open[i.Group] = ""
		}
		for _, f := range i.Findings {
			if f.Text == "" || f.LastBad.Before(f.Since) || !slices.IsSorted(f.Checks) || len(f.Checks) > 50 || len(f.Checks) == 0 {
				t.Errorf("change %d: %s: finding %+v", n, i.ID, f)
			}
		}
		last[i.ID] = i
	}
}

func ExampleEngine() {
	lines := []line{{"chat", "ws", "..XX...."}, {"feed", "ws", "...X...."}}
	e := NewEngine([]Rule{notFound("0%")}, subjects(lines))
	for n, entry := range entries(lines) {
		for _, c := range e.Step(uint64(n)+1, entry) {
			fmt.Println(c.Incident.Title())
		}
	}
	// Output:
	// [page] ws (1 check of 2): not_found 1 of 5 attempts (20 %) in 5m, limit 0 %
	// [resolved] ws after 1m2s: not_found 3 of 8 attempts (37.5 %) in 5m, limit 0 %
}
