package alerting

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sloRule(objective string) Rule {
	return Rule{Name: "slo", SLO: &SLO{Objective: *share(objective)}}
}

// TestBurnRates are the rates of The Site Reliability Workbook, chapter 5, and
// those of other windows that spend the same shares of the budget.
func TestBurnRates(t *testing.T) {
	const day = 24 * time.Hour
	for window, want := range map[time.Duration][4]float64{
		30 * day: {14.4, 6, 3, 1},
		28 * day: {13.44, 5.6, 2.8, 1},
		7 * day:  {3.36, 1.4, 1, 1},
	} {
		var got [4]float64
		for i, p := range burnPairs() {
			if got[i] = p.rate(window); p.long != 12*p.short {
				t.Errorf("the short window of %s is %s", p.long, p.short)
			}
		}
		if got != want {
			t.Errorf("over %s: %v, want %v", window, got, want)
		}
	}
}

// TestBadSamplesNeeded says how many minutes of a window must be bad.
func TestBadSamplesNeeded(t *testing.T) {
	for objective, want := range map[string][4]int{
		"99.9%": {1, 3, 5, 5},
		"99.5%": {5, 11, 22, 22},
		"99%":   {9, 22, 44, 44},
	} {
		s := sloRule(objective).SLO
		for i, p := range burnPairs() {
			n := 0
			for float64(n)/p.long.Minutes() <= s.limit(p) {
				n++
			}
			if n != want[i] {
				t.Errorf("%s: %s needs %d bad minutes, want %d", objective, p.long, n, want[i])
			}
		}
	}
}

// sloCheck is a check that runs each second, so that shares are nearly exact.
func sloCheck() []Subject {
	return []Subject{{Name: "a", Kind: "websocket", Host: "a.example.com", WebSocket: true, Interval: time.Second}}
}

// TestWorkbook holds the time to fire and the budget spent till then against
// table 5-8 and the formulas of the Workbook: (1 - objective) / error rate *
// long window * burn rate, and burn rate * long window / period.
func TestWorkbook(t *testing.T) {
	const objective, period = 0.999, 720.0 // hours
	for _, tt := range []struct {
		every    int // one of so many results is bad
		severity Severity
		long     float64 // hours, of the pair that fires
		rate     float64
		fires    time.Duration
		spent    float64
	}{
		{1, Page, 1, 14.4, 51840 * time.Millisecond, 0.02},
		{10, Page, 1, 14.4, 518400 * time.Millisecond, 0.02},
		{100, Page, 6, 6, 216 * time.Minute, 0.05},
		{500, Ticket, 72, 1, 36 * time.Hour, 0.10},
	} {
		t.Run(fmt.Sprintf("1 of %d", tt.every), func(t *testing.T) {
			t.Parallel()
			if want := (1 - objective) * float64(tt.every) * tt.long * tt.rate * float64(time.Hour); math.Abs(want-float64(tt.fires)) > 1e3 {
				t.Fatalf("the table says %s, the formula %s", tt.fires, time.Duration(want))
			}
			if want := tt.rate * tt.long / period; math.Abs(want-tt.spent) > 1e-9 {
				t.Fatalf("the table says %g, the formula %g", tt.spent, want)
			}
			r := sloRule("99.9%")
			r.SLO.Budgeting = "events"
			e := NewEngine([]Rule{r}, sloCheck())
			first := base().Add(45 * time.Second) // an outage over the end of a minute: see leastBadMinutes
			for n := 0; ; n++ {
				letter := '.'
				if n%tt.every == tt.every-1 {
					letter = '5'
				}
				took := time.Duration(n+1) * time.Second
				if took > tt.fires*11/10 {
					t.Fatalf("not fired after %s, want %s", took, tt.fires)
				}
				changes := e.Step(uint64(n)+1, *result("a", "", first.Add(time.Duration(n)*time.Second), letter))
				if len(changes) == 0 {
					continue
				}
				// Cells count whole, and one result decides: 2 % and a result.
				if slack := tt.fires/50 + time.Duration(tt.every)*time.Second; (took - tt.fires).Abs() > slack {
					t.Errorf("fired after %s, want %s", took, tt.fires)
				}
				f := changes[0].Incident.Findings[0]
				if changes[0].Incident.Severity != tt.severity || f.Severity != tt.severity || f.Threshold != tt.rate {
					t.Errorf("%s, want a %s at %g", changes[0].Incident.Title(), tt.severity, tt.rate)
				}
				if spent := 1 - f.Budget.Remaining; math.Abs(spent-tt.spent) > tt.spent/25 {
					t.Errorf("%.4f of the budget is spent, want %g", spent, tt.spent)
				}
				return
			}
		})
	}
}

// dots is a row of good minutes.
func dots(n int) string { return strings.Repeat(".", n) }

func TestSLO(t *testing.T) {
	degraded := sloRule("99.9%")
	degraded.SLO.DegradedIsBad = true
	events := sloRule("99.9%")
	events.SLO.Budgeting = "events"
	each := sloRule("99.9%")
	each.By = "check"
	tests := []struct {
		name  string
		rules []Rule
		lines []line
		want  map[string]string
	}{
		{"a single lost packet alerts nobody", []Rule{sloRule("99.9%")}, []line{{"a", "", "..X" + dots(400)}}, map[string]string{}},
		{"nor does one of events", []Rule{events}, []line{{"a", "", "..X" + dots(400)}}, map[string]string{}},
		{
			"nor one in each of three checks within a minute",
			[]Rule{events},
			[]line{{"a", "ws", "..X" + dots(40)}, {"b", "ws", "..X" + dots(40)}, {"c", "ws", "..X" + dots(40)}},
			map[string]string{},
		},
		{
			"a total outage pages in the third minute, and resolves when half an hour was good",
			[]Rule{sloRule("99.9%")},
			[]line{{"a", "", "..XXXX" + dots(31)}},
			map[string]string{"a": "..." + ".o" + dots(30) + "r" + "."},
		},
		{
			"a total outage by events",
			[]Rule{events},
			[]line{{"a", "", "..XXXX" + dots(31)}},
			map[string]string{"a": "..." + ".o" + dots(30) + "r" + "."},
		},
		{
			"at 99.5 % in the fifth",
			[]Rule{sloRule("99.5%")},
			[]line{{"a", "", "..XXXXX" + dots(5)}},
			map[string]string{"a": "......o....r"},
		},
		{
			"unknown, a re-probe that was good and slow ones are not bad",
			[]Rule{sloRule("99.9%")},
			[]line{{"a", "", "..?????x~x~x~ssss-gggg" + dots(20)}},
			map[string]string{},
		},
		{
			"degraded is bad",
			[]Rule{degraded},
			[]line{{"a", "", "..~~~" + dots(20)}},
			map[string]string{"a": "....o" + dots(20)},
		},
		{
			"a group's minute is bad if one of its checks is down",
			[]Rule{sloRule("99.9%")},
			[]line{{"a", "ws", "..X...." + dots(30)}, {"b", "ws", "....X.." + dots(30)}, {"c", "ws", "......X" + dots(30)}},
			map[string]string{"ws": "......o" + dots(29) + "r"},
		},
		{
			"each check by itself",
			[]Rule{each},
			[]line{{"a", "ws", "..X...." + dots(30)}, {"b", "ws", "....X.." + dots(30)}, {"c", "ws", "......X" + dots(30)}},
			map[string]string{},
		},
		{
			"at the edge it does not flap: another finding needs three new ones",
			[]Rule{sloRule("99.9%")},
			[]line{{"a", "", "XXX" + dots(32) + "X" + dots(40) + "X" + dots(10) + "X" + dots(10)}},
			map[string]string{"a": "..o" + dots(29) + "r" + dots(2) + "." + dots(40) + "." + dots(10) + "o" + dots(10)},
		},
		{
			"one every half hour keeps it open",
			[]Rule{sloRule("99.9%")},
			[]line{{"a", "", "XXX" + dots(29) + "X" + dots(29) + "X" + dots(31)}},
			map[string]string{"a": "..o" + dots(29) + "." + dots(29) + "." + dots(29) + "r."},
		},
		{
			"one incident with other rules; only new severities are told",
			[]Rule{sloRule("99.9%"), downRule(1)},
			[]line{{"a", "", ".XXXXXX" + dots(40)}},
			map[string]string{"a": ".o.g..." + dots(29) + "r" + dots(10)},
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

func TestWarnings(t *testing.T) {
	every := func(d time.Duration) []Subject {
		s := one()
		s[0].Interval = d
		return s
	}
	for _, tt := range []struct {
		objective, budgeting string
		subjects             []Subject
		want                 string
	}{
		{"99.9%", "", every(time.Minute), ""},
		{"99.9%", "events", every(20 * time.Second), ""},
		{
			"90%", "", every(time.Minute),
			`rule "slo": a total outage burns the budget of 90 % 10 times too fast, so the alert on 1h and 5m, from 14.4 times on, never comes`,
		},
		{
			"99.9%", "", every(5 * time.Minute),
			`rule "slo": 30d of "a" hold 8640 minutes with a result, of which 99.9 % lets 8.6 be bad: too few to tell a bad service from bad luck, want at least 40, such as an objective of 99.5 %, or more probes`,
		},
		{
			"99.99%", "", every(time.Minute),
			`rule "slo": 30d of "a" hold 43200 minutes with a result, of which 99.99 % lets 4.3 be bad: too few to tell a bad service from bad luck, want at least 40, such as an objective of 99.9 %`,
		},
		{"99%", "", every(30 * time.Minute), `rule "slo": 30d of "a" hold 1440 minutes with a result, of which 99 % lets 14.4 be bad: too few to tell a bad service from bad luck, want at least 40, such as an objective of 95 %, or more probes`},
		{"95%", "", every(30 * time.Minute), `rule "slo": "a" runs so rarely that 30m never hold 2 results: it will never page, only make tickets`},
	} {
		r := sloRule(tt.objective)
		r.SLO.Budgeting = tt.budgeting
		if got := strings.Join(r.Warnings(tt.subjects), "\n"); got != tt.want {
			t.Errorf("%s of %s %s:\n%s, want\n%s", tt.objective, tt.subjects[0].Interval, tt.budgeting, got, tt.want)
		}
	}
}
