package alerting

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

func measureRule(stat string, above float64) Rule {
	n := Number(above)
	r := Rule{Name: "measure", Measure: &Measure{Of: "connections_active", Above: &n, Stat: stat, Over: 10 * minute}}
	if stat == statLast {
		r.Measure.Over = 0
	}
	return r
}

// values steps one result a minute with these numbers; - is a result without.
func values(e *Engine, list string) (told []string) {
	for n, text := range strings.Fields(list) {
		entry := result("a", "", base().Add(time.Duration(n)*time.Minute), '.')
		var v float64
		switch _, err := fmt.Sscan(text, &v); {
		case text == "?":
			entry = result("a", "", base().Add(time.Duration(n)*time.Minute), '?')
		case err == nil:
			entry.Result.Measures = map[string]float64{"connections_active": v, probe.MeasureCertLeft: v}
		}
		for _, c := range e.Step(uint64(n)+1, *entry) {
			told = append(told, fmt.Sprintf("%d %s: %s", n, c.Event, c.Incident.Findings[0].Text))
		}
	}
	return told
}

func TestMeasure(t *testing.T) {
	number := func(f float64) *Number { n := Number(f); return &n }
	for _, tt := range []struct {
		name string
		rule Measure
		list string
		want []string
	}{
		{
			"the last value",
			Measure{Of: "connections_active", Above: number(100)},
			"1 100 101 - ? 5 - 5 200 5 5 5",
			[]string{
				"2 opened: connections_active 101, alerts above 100",
				"11 resolved: connections_active 200, alerts above 100",
			},
		},
		{"too few values", Measure{Of: "connections_active", Above: number(100), Over: 3 * minute}, "500 - ? 0 0 0", nil},
		{
			"mean",
			Measure{Of: "connections_active", Above: number(100), Over: 3 * minute},
			"0 0 200 101 1 1 1 1",
			[]string{
				"3 opened: connections_active mean 100.3333 of 3 values in 3m, alerts above 100",
				"7 resolved: connections_active mean 100.6667 of 3 values in 3m, alerts above 100",
			},
		},
		{
			"below for the whole window",
			Measure{Of: "connections_active", Below: number(10), Over: 3 * minute, Stat: "max"},
			"9 9 20 9 9 9 9 10 11 12",
			[]string{
				"5 opened: connections_active max 9 of 3 values in 3m, alerts below 10",
				"9 resolved: connections_active max 9 of 3 values in 3m, alerts below 10",
			},
		},
		{
			"least",
			Measure{Of: "connections_active", Below: number(-1), Over: 3 * minute, Stat: "min", MinSamples: 2},
			"0 -2 0 0 0 0 0",
			[]string{
				"1 opened: connections_active min -2 of 2 values in 3m, alerts below -1",
				"6 resolved: connections_active min -2 of 3 values in 3m, alerts below -1",
			},
		},
		{
			"a share of the certificate's lifetime",
			Measure{Of: probe.MeasureCertLeft, Below: number(0.33)},
			"0.5 0.331 0.3255 1 1 1",
			[]string{
				"2 opened: certificate_lifetime_left 32.55 %, alerts below 33 %",
				"5 resolved: certificate_lifetime_left 32.55 %, alerts below 33 %",
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Rule{Name: "measure", Measure: &tt.rule}
			if p := r.Validate(one()); len(p) > 0 {
				t.Fatal(p)
			}
			got := values(NewEngine([]Rule{r}, one()), tt.list)
			if diff := cmp.Diff(tt.want, got, cmp.Transformer("empty", func(s []string) string { return strings.Join(s, "\n") })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestMeasureSlices: a long window keeps slices, as many as ever.
// TestMeasureHuge wants that no number that a target may report becomes one that
// cannot be stored.
func TestMeasureHuge(t *testing.T) {
	for _, c := range []struct{ stat, over, list string }{
		{statMean, "10m", "1.7e308 1.7e308 1.7e308 1.7e308"},
		{statMean, "10m", "-1.7e308 -1.7e308 -1.7e308 1.7e308 1.7e308 1.7e308"},
		{statMean, "5h", "1.7e308 1.7e308 1.7e308 1.7e308 1.7e308 1.7e308"}, // a cell holds five of them
		{statMax, "10m", "1.7e308 1.7e308 1.7e308"},
		{statLast, "", "1.7e308"},
	} {
		for _, below := range []bool{false, true} {
			rule := measureRule(c.stat, 1000)
			if c.over != "" {
				over, err := probe.ParseDuration(c.over)
				if err != nil {
					t.Fatal(err)
				}
				rule.Measure.Over = over
			}
			list := c.list
			if below {
				rule.Measure.Above, rule.Measure.Below = nil, rule.Measure.Above
				list = strings.ReplaceAll(strings.ReplaceAll(" "+list, " ", " -"), "--", "")
			}
			e := NewEngine([]Rule{rule}, subjects([]line{{check: "a"}}))
			if told := values(e, list); len(told) == 0 {
				t.Errorf("%s of %s: nobody was told", c.stat, list)
			}
			if _, err := checkpoint(e); err != nil {
				t.Errorf("%s of %s: %v", c.stat, list, err)
			}
			for _, i := range e.Open() {
				if _, err := json.Marshal(i); err != nil || len(i.Title()) > 200 {
					t.Errorf("%s of %s: %q, %v", c.stat, list, i.Title(), err)
				}
			}
		}
	}
}

func TestMeasureSlices(t *testing.T) {
	r := measureRule("mean", 1e9)
	r.Measure.Over = 24 * 60 * minute
	e := NewEngine([]Rule{r}, one())
	values(e, strings.Repeat("1 ", 720)+strings.Repeat("3 ", 1080))
	s := &e.watches[0].series[0]
	n, v := s.figure("mean", e.now-24*time.Hour.Milliseconds())
	if len(s.Points) > 61 || n < 1416 || n > 1440 || v < 2.49 || v > 2.55 {
		t.Errorf("%d points, mean %g of %d, want about 2.5 of 1440", len(s.Points), v, n)
	}
}

// TestAbsent: ticks make time pass, unknown results and gaps do not end it,
// time in which the monitor did not run does not count.
func TestAbsent(t *testing.T) {
	absent := []Rule{{Name: "absent", Absent: &AbsentRule{For: 5 * minute}}}
	for _, tt := range []struct {
		name  string
		lines []line
		want  map[string]string
	}{
		{"down is known", []line{{"a", "", "XXXXX~~~~~sssss"}}, map[string]string{}},
		{"no entry at all", []line{{"a", "", "..-------...."}}, map[string]string{"a": "......o..r..."}},
		{"unknown and missing", []line{{"a", "", "..??gg??g-.."}}, map[string]string{"a": "......o...r."}},
		{"never any", []line{{"a", "", "----------.."}}, map[string]string{"a": ".....o....r."}},
		{
			"two of a group",
			[]line{{"a", "ws", "..-------......"}, {"b", "ws", "...-------....."}, {"c", "ws", "..............."}},
			map[string]string{"ws": "......o...r...."},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if p := absent[0].Validate(subjects(tt.lines)); len(p) > 0 {
				t.Fatal(p)
			}
			got, all := marks(t, NewEngine(absent, subjects(tt.lines)), tt.lines)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			judgeChanges(t, all)
		})
	}
	t.Run("text", func(t *testing.T) {
		e := NewEngine(absent, subjects([]line{{"a", "", ""}, {"b", "", ""}}))
		var all []Change
		for n, entry := range entries([]line{{"a", "", "..?????.."}, {"b", "", "........."}}) {
			all = append(all, e.Step(uint64(n)+1, entry)...)
		}
		if len(all) != 2 || all[0].Incident.Title() != "[ticket] a: no result for 5m59s: 1 of 1 check, alerts from 5m" ||
			all[1].Incident.Findings[0].ClearedBy != "1 result again" {
			t.Errorf("told: %q", titles(all))
		}
	})
	t.Run("the monitor did not run", func(t *testing.T) {
		for _, off := range []time.Duration{time.Hour, -time.Hour, 30 * 24 * time.Hour} {
			e := NewEngine(absent, one())
			log := entries([]line{{"a", "", "...-------......"}})
			for n, entry := range shift(log, 8, off) { // three good minutes, then two without, then the pause
				for _, c := range e.Step(uint64(n)+1, entry) {
					if c.Event == Opened && entry.Time().Sub(base())-off < 7*time.Minute {
						t.Errorf("pause of %s: %s at %s", off, c.Incident.Title(), entry.Time())
					}
				}
			}
		}
	})
	t.Run("one tick after a day off is nothing", func(t *testing.T) {
		e := NewEngine(absent, one())
		play(e, 0, "...")
		e.Step(e.Seq()+1, checks.Entry{V: 1, Tick: &checks.Tick{At: base().Add(3 * time.Minute)}})
		if got := e.Step(e.Seq()+1, checks.Entry{V: 1, Tick: &checks.Tick{At: base().Add(24 * time.Hour)}}); len(got) > 0 {
			t.Errorf("told: %q", titles(got))
		}
	})
}

func TestNumber(t *testing.T) {
	for in, want := range map[string]string{
		"33%": "0.33", " 7 % ": "0.07", "1000": "1000", "-0.5": "-0.5", "1e3": "1000",
		"": "x", "%": "x", "5s": "x", "inf": "x", "NaN": "x", "0x10": "x", "1_000": "x",
	} {
		got := "x"
		if n, err := ParseNumber(in); err == nil {
			b, _ := n.MarshalText()
			got = string(b)
		}
		if got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}
