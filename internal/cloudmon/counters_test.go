package cloudmon

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// show writes samples as name{labels} value, one a line, * for fresh ones.
func show(samples []Sample) []string {
	var out []string
	for _, s := range samples {
		var labels []string
		for i, v := range s.Labels {
			labels = append(labels, s.Metric.Labels[i]+"="+v)
		}
		v := fmt.Sprint(s.Double)
		switch s.Metric.Type {
		case Int:
			v = fmt.Sprint(s.Int)
		case DistributionType:
			v = fmt.Sprintf("n=%d mean=%.3f", s.Distribution.Count, s.Distribution.Mean)
		}
		star := ""
		if s.Fresh {
			star = " *"
		}
		out = append(out, fmt.Sprintf("%s{%s} %s%s", s.Metric.Name, strings.Join(labels, ","), v, star))
	}
	return out
}

func TestFold(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 30, 0, time.UTC)
	type entries = []checks.Entry
	r := func(class probe.Class, change func(*checks.Result)) checks.Entry {
		e := result("api", at, class)
		if change != nil {
			change(e.Result)
		}
		return e
	}
	const of = "check=api,kind=route,group=shop,"
	for _, tt := range []struct {
		name    string
		latency Latency
		in      entries
		want    []string // without the heartbeat
	}{
		{"nothing", Latency{}, nil, nil},
		{"a tick", Latency{}, entries{tick(at)}, nil},
		{"a command", Latency{}, entries{{Command: &checks.Command{At: at, Name: "config"}}}, nil},
		{
			"good",
			Latency{PerCheck: "mean", PerGroup: "distribution"},
			entries{r(probe.OK, nil), r(probe.OK, func(r *checks.Result) { r.Latency = 40 * time.Millisecond })},
			[]string{
				"check_count{" + of + "class=ok,location=local} 2 *", "up{" + of + "location=local} 1 *",
				"latency_mean{" + of + "location=local} 0.03 *", "group_latency{group=shop,location=local} n=2 mean=0.030 *",
			},
		},
		{
			"latency the other way",
			Latency{PerCheck: "distribution", PerGroup: "mean"},
			entries{r(probe.OK, nil)},
			[]string{
				"check_count{" + of + "class=ok,location=local} 1 *", "up{" + of + "location=local} 1 *",
				"latency{" + of + "location=local} n=1 mean=0.020 *", "group_latency_mean{group=shop,location=local} 0.02 *",
			},
		},
		{
			"latency off",
			Latency{PerCheck: "off", PerGroup: "off"},
			entries{r(probe.OK, nil)},
			[]string{"check_count{" + of + "class=ok,location=local} 1 *", "up{" + of + "location=local} 1 *"},
		},
		{
			"bad, with no latency",
			Latency{PerCheck: "mean"},
			entries{r(probe.NotFound, nil)},
			[]string{"check_count{" + of + "class=not_found,location=local} 1 *", "up{" + of + "location=local} 0 *"},
		},
		{
			"degraded is up, and keeps its class",
			Latency{},
			entries{r(probe.NotFound, func(r *checks.Result) { r.Status, r.Tries = probe.Degraded, 3 })},
			[]string{"check_count{" + of + "class=not_found,location=local} 1 *", "up{" + of + "location=local} 1 *"},
		},
		{
			"unknown is neither up nor down",
			Latency{},
			entries{r(probe.Interrupted, nil)},
			[]string{"check_count{" + of + "class=interrupted,location=local} 1 *"},
		},
		{
			"unknown takes up away",
			Latency{},
			entries{r(probe.NotFound, nil), r(probe.Late, nil)},
			[]string{
				"check_count{" + of + "class=not_found,location=local} 1 *", "check_count{" + of + "class=late,location=local} 1 *",
			},
		},
		{
			"a tally counts instead of the class",
			Latency{},
			entries{r(probe.Flapping, func(r *checks.Result) { r.Tally = map[probe.Class]int{probe.OK: 7, probe.NoPong: -1} })},
			[]string{"check_count{" + of + "class=ok,location=local} 7 *", "up{" + of + "location=local} 0 *"},
		},
		{
			"an empty tally counts nothing",
			Latency{},
			entries{r(probe.OK, func(r *checks.Result) { r.Tally = map[probe.Class]int{} })},
			[]string{"up{" + of + "location=local} 1 *"},
		},
		{
			"no group: the check's name",
			Latency{PerGroup: "mean"},
			entries{r(probe.OK, func(r *checks.Result) { r.Group = "" })},
			[]string{
				"check_count{check=api,kind=route,group=api,class=ok,location=local} 1 *", "up{check=api,kind=route,group=api,location=local} 1 *",
				"group_latency_mean{group=api,location=local} 0.02 *",
			},
		},
		{
			"locations are kept apart",
			Latency{},
			entries{r(probe.OK, nil), r(probe.OK, func(r *checks.Result) { r.Location = "eu" })},
			[]string{
				"check_count{" + of + "class=ok,location=local} 1 *", "up{" + of + "location=local} 1 *",
				"check_count{" + of + "class=ok,location=eu} 1 *", "up{" + of + "location=eu} 1 *",
			},
		},
		{
			"recorded numbers, the newest",
			Latency{},
			entries{
				r(probe.OK, func(r *checks.Result) { r.Measures = map[string]float64{"queue depth": 3} }),
				r(probe.OK, func(r *checks.Result) { r.Measures = map[string]float64{"queue depth": 4} }),
				r(probe.OK, func(r *checks.Result) { r.Measures = map[string]float64{"queue depth": math.NaN()} }),
			},
			[]string{
				"check_count{" + of + "class=ok,location=local} 3 *", "up{" + of + "location=local} 1 *",
				"recorded/" + metricName("queue depth") + "{" + of + "location=local} 4 *",
			},
		},
		{
			"gaps",
			Latency{},
			entries{
				{Gap: &checks.Gap{Check: "api", Location: "local", To: at, Slots: 2}},
				{Gap: &checks.Gap{Location: "local", To: at, Slots: 9}},
				{Gap: &checks.Gap{Check: "api", Location: "local", To: at, Slots: 3}},
				{Gap: &checks.Gap{Location: "local", To: at}},
			},
			[]string{"slots_missed{check=,location=local} 9 *", "slots_missed{check=api,location=local} 5 *"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := NewCounters(tt.latency, nil)
			for _, e := range tt.in {
				c.Fold(e)
			}
			got := show(c.Snapshot())
			if got[0] != "heartbeat{} 1 *" {
				t.Errorf("first sample %s, want the heartbeat", got[0])
			}
			if d := cmp.Diff(tt.want, slices.Clip(got[1:]), cmp.Transformer("len", func(s []string) []string { return append([]string{}, s...) })); d != "" {
				t.Errorf("samples, want - and got +:\n%s", d)
			}
			// The stored form gives the same.
			b, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			again := NewCounters(tt.latency, nil)
			if err := json.Unmarshal(b, again); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.Snapshot(), again.Snapshot()); d != "" {
				t.Errorf("after a restart, want - and got +:\n%s", d)
			}
		})
	}
}

// A check that is removed, or gets another name, kind or group, takes its
// gauges with it, also those of its last run; its counts stay until they are idle.
func TestConfigure(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 30, 0, time.UTC)
	c := NewCounters(Latency{PerCheck: "mean", PerGroup: "mean"}, nil)
	run := func(group string) checks.Entry {
		e := result("api", at, probe.OK)
		e.Result.Group, e.Result.Measures = group, map[string]float64{"sessions": 3}
		return e
	}
	labels := func(group string) string { return "{check=api,kind=route,group=" + group + ",location=local} " }
	count := func(group string, n int) string {
		return fmt.Sprintf("check_count{check=api,kind=route,group=%s,class=ok,location=local} %d *", group, n)
	}
	gauges := func(group, fresh string) []string {
		return []string{"up" + labels(group) + "1" + fresh, "latency_mean" + labels(group) + "0.02" + fresh, "recorded/sessions" + labels(group) + "3" + fresh}
	}
	ofGroup := func(group, fresh string) string {
		return "group_latency_mean{group=" + group + ",location=local} 0.02" + fresh
	}
	want := func(when string, want ...string) {
		t.Helper()
		if d := cmp.Diff(append([]string{"heartbeat{} 1 *"}, want...), show(c.Snapshot())); d != "" {
			t.Errorf("%s (-want +got):\n%s", when, d)
		}
	}
	c.Roll(at)
	c.Fold(run("shop"))
	c.Roll(at.Add(time.Minute))
	c.Configure([]checks.Check{{Name: "api", Kind: "route", Group: "shop", Location: "local"}})
	want("it is still there", append(append([]string{count("shop", 1)}, gauges("shop", "")...), ofGroup("shop", ""))...)
	c.Configure([]checks.Check{{Name: "api", Kind: "route", Group: "cart", Location: "local"}})
	want("regrouped", count("shop", 1))
	c.Fold(run("shop"))
	want("its last run ends", count("shop", 2))
	c.Fold(run("cart"))
	want("its first run in the new group", append(append([]string{count("shop", 2), count("cart", 1)}, gauges("cart", " *")...), ofGroup("cart", " *"))...)
	c.Configure(nil)
	want("removed", count("shop", 2), count("cart", 1))
}

// What a minute's end does to each kind of value.
func TestRoll(t *testing.T) {
	base := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	open := map[Finding]int{{"404", "shop", "page"}: 1}
	c := NewCounters(Latency{PerCheck: "mean", PerGroup: "distribution"}, func() map[Finding]int { return open })
	c.Roll(base)
	e := result("api", base, probe.OK)
	e.Result.Measures = map[string]float64{"n": 5}
	c.Fold(e)
	c.Snapshot()
	delete(open, Finding{"404", "shop", "page"})
	c.Roll(base.Add(time.Minute))
	want := []string{
		"heartbeat{} 1 *",
		"check_count{check=api,kind=route,group=shop,class=ok,location=local} 1 *",
		"up{check=api,kind=route,group=shop,location=local} 1",
		"latency_mean{check=api,kind=route,group=shop,location=local} 0.02",
		"recorded/n{check=api,kind=route,group=shop,location=local} 5",
		"group_latency{group=shop,location=local} n=1 mean=0.020 *",
		"open_findings{rule=404,group=shop,severity=page} 0 *",
	}
	if d := cmp.Diff(want, show(c.Snapshot())); d != "" {
		t.Errorf("after a minute, want - and got +:\n%s", d)
	}
	slow := result("api", base.Add(time.Minute), probe.OK)
	slow.Result.Latency = time.Second
	c.Fold(slow)
	want[1] = "check_count{check=api,kind=route,group=shop,class=ok,location=local} 2 *"
	want[2] += " *"
	want[3] = "latency_mean{check=api,kind=route,group=shop,location=local} 1 *"
	want[5] = "group_latency{group=shop,location=local} n=2 mean=0.510 *"
	if d := cmp.Diff(want, show(c.Snapshot())); d != "" {
		t.Errorf("in the next minute, want - and got +:\n%s", d)
	}
	starts := map[string]int64{}
	for _, s := range c.Snapshot() {
		if s.Metric.Kind == Cumulative {
			starts[s.Metric.Name] = s.StartMS - base.UnixMilli()
		}
	}
	if want := (map[string]int64{"check_count": 1, "group_latency": 1}); !maps.Equal(starts, want) {
		t.Errorf("starts %v ms after the first minute began, want %v", starts, want)
	}
}

// Long-lived counters do not grow with time, only with what is checked.
func TestCountersAreBounded(t *testing.T) {
	c := NewCounters(Latency{PerCheck: "distribution", PerGroup: "distribution"}, func() map[Finding]int { return nil })
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for day := range 60 { // each day with other checks
		for minute := range 24 * 6 {
			from := base.AddDate(0, 0, day).Add(time.Duration(minute) * 10 * time.Minute)
			c.Roll(from)
			c.Fold(result(fmt.Sprintf("check-%d-%d", day, minute%5), from, probe.OK))
		}
	}
	if len(c.checks) > 15 || len(c.order) != len(c.checks) || len(c.groups) != 1 {
		t.Errorf("%d checks, %d in order and %d groups after 60 days, want those of two days", len(c.checks), len(c.order), len(c.groups))
	}
}

func TestCountersStateErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{`{"checks":[{"check":"a","classes":[{"class":"ok","n":-1}]}]}`, `check "a": -1 attempts of class "ok", want 0 or more`},
		{`{"checks":[{"check":"a","dist":{"n":2,"b":[1]}}]}`, `check "a": latency distribution of 2 is inconsistent`},
		{`{"checks":1}`, `cannot unmarshal`},
	} {
		if err := json.Unmarshal([]byte(tt.in), NewCounters(Latency{}, nil)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %q", tt.in, err, tt.want)
		}
	}
	// Settings that changed meanwhile.
	c := NewCounters(Latency{PerCheck: "distribution", PerGroup: "distribution"}, nil)
	c.Fold(result("api", time.Now(), probe.OK))
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	off := NewCounters(Latency{PerCheck: "off", PerGroup: "off"}, nil)
	if err := json.Unmarshal(b, off); err != nil {
		t.Fatal(err)
	}
	if n := len(off.Snapshot()); n != 3 {
		t.Errorf("%d samples, want heartbeat, count and up: %v", n, show(off.Snapshot()))
	}
}

// A result of a known check costs nothing but time.
func BenchmarkFold(b *testing.B) {
	for _, l := range []Latency{{"mean", "distribution"}, {"distribution", "distribution"}, {"off", "off"}} {
		b.Run(l.PerCheck+"/"+l.PerGroup, func(b *testing.B) {
			c := NewCounters(l, nil)
			entries := benchEntries(1000)
			for _, e := range entries {
				c.Fold(e)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.Fold(entries[i%len(entries)])
			}
		})
	}
}

func benchEntries(n int) []checks.Entry {
	at := time.Now()
	entries := make([]checks.Entry, n)
	for i := range entries {
		entries[i] = result(fmt.Sprintf("checkout-service-%d", i), at, probe.OK)
		entries[i].Result.Group = fmt.Sprintf("group-%d", i/10)
		entries[i].Result.Measures = map[string]float64{"ping_rtt": 0.01, "certificate_days_left": 30}
	}
	return entries
}

func TestFoldAllocatesNothing(t *testing.T) {
	c := NewCounters(Latency{"distribution", "distribution"}, nil)
	entries := benchEntries(10)
	entries[0].Result.Tally = map[probe.Class]int{probe.OK: 3, probe.NoPong: 2}
	fold := func() {
		for _, e := range entries {
			c.Fold(e)
		}
	}
	fold()
	if n := testing.AllocsPerRun(100, fold); n != 0 {
		t.Errorf("%v allocations for 10 results, want 0", n)
	}
}

func BenchmarkSnapshot10000Checks(b *testing.B) {
	c := NewCounters(Latency{"mean", "distribution"}, nil)
	for _, e := range benchEntries(10_000) {
		c.Fold(e)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Snapshot()
	}
}
