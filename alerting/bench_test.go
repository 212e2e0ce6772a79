package alerting

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// standing are the four rules of the example config.
func standing() []Rule {
	return []Rule{
		{Name: "404", Severity: Page, Select: Select{Kind: "websocket"}, Rate: &Rate{Of: "not_found", Over: 5 * minute, Above: share("0%")}},
		{Name: "connect", Severity: Page, Rate: &Rate{Of: "connection_failure", Over: 60 * minute, Above: share("5%"), MinFailures: 3}},
		{Name: "slow", Latency: &Latency{Above: 2 * minute / 60, Over: 10 * minute}},
		{Name: "uptime", Rate: &Rate{Of: "down", Over: 24 * 60 * minute, Above: share("0.1%"), MinFailures: 3}},
	}
}

func fleet(n, groups int) []Subject {
	list := make([]Subject, n)
	for k := range list {
		list[k] = Subject{
			Name: fmt.Sprintf("check-%05d", k), Kind: "websocket", Group: fmt.Sprintf("group-%04d", k%groups),
			Host: fmt.Sprintf("h%d.example.com", k), WebSocket: true, Interval: time.Minute,
		}
	}
	return list
}

// minutes steps all checks of a fleet through n slots, evenly spread.
func minutes(e *Engine, list []Subject, from, n int, r checks.Result) {
	entry := checks.Entry{V: 1, Result: &r}
	for m := from; m < from+n; m++ {
		for k := range list {
			r.Check, r.Group = list[k].Name, list[k].Group
			r.Slot = base().Add(time.Duration(m)*time.Minute + time.Minute*time.Duration(k)/time.Duration(len(list)))
			r.Start = r.Slot
			e.Step(uint64(m+1), entry)
		}
	}
}

func goodResult() checks.Result {
	return checks.Result{
		Kind: "websocket", Location: "local", Status: probe.Up, Class: probe.OK,
		Latency: 80 * time.Millisecond, Duration: 90 * time.Millisecond,
	}
}

func badResult() checks.Result {
	return checks.Result{
		Kind: "websocket", Location: "local", Status: probe.Down, Class: probe.ConnectRefused,
		Reason: "connect 192.0.2.1:443: connection refused",
	}
}

// notFoundResult is bad as badResult, but says nothing about the network.
func notFoundResult() checks.Result {
	r := badResult()
	r.Class, r.Reason = probe.NotFound, "status 404, want 101"
	return r
}

func benchmarkStep(b *testing.B, groups int, r checks.Result) {
	const n = 10_000
	list := fleet(n, groups)
	e := NewEngine(append(standing(), Rule{Name: "self", Unknown: &UnknownRule{}}), list)
	if groups == n {
		e.SetPolicy((&Incidents{}).Policy())
	}
	minutes(e, list, 0, 62, goodResult())
	minutes(e, list, 62, 2, r)
	entry := checks.Entry{V: 1, Result: &r}
	b.ReportAllocs()
	k, m := 0, 64
	for b.Loop() {
		r.Check, r.Group = list[k].Name, list[k].Group
		r.Slot = base().Add(time.Duration(m)*time.Minute + time.Minute*time.Duration(k)/n)
		e.Step(uint64(m+1), entry)
		if k++; k == n {
			k, m = 0, m+1
		}
	}
}

func BenchmarkStep(b *testing.B) {
	b.Run("good", func(b *testing.B) { benchmarkStep(b, 1000, goodResult()) })
	b.Run("bad", func(b *testing.B) { benchmarkStep(b, 1000, badResult()) })
	b.Run("bad in a storm", func(b *testing.B) { benchmarkStep(b, 10_000, notFoundResult()) })
	b.Run("bad in one group", func(b *testing.B) { benchmarkStep(b, 1, badResult()) })
}

func BenchmarkCheckpoint(b *testing.B) {
	list := fleet(10_000, 1000)
	e := NewEngine(standing(), list)
	minutes(e, list, 0, 62, goodResult())
	var size int
	for b.Loop() {
		c, err := checkpoint(e)
		if err != nil {
			b.Fatal(err)
		}
		size = len(c)
	}
	b.ReportMetric(float64(size)/10_000, "B/check")
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	list := fleet(100, 10)
	e := NewEngine(append(standing(), Rule{Name: "self", Unknown: &UnknownRule{}}), list)
	minutes(e, list, 0, 90, goodResult())
	r := goodResult()
	entry := checks.Entry{V: 1, Result: &r}
	m := 90
	if got := testing.AllocsPerRun(200, func() {
		for k := range list {
			r.Check, r.Slot = list[k].Name, base().Add(time.Duration(m)*time.Minute)
			e.Step(uint64(m+1), entry)
		}
		m++
	}); got != 0 {
		t.Errorf("%.2f allocations in a minute of good results, want 0", got)
	}
}

func TestMemory(t *testing.T) {
	const n = 5000
	list := fleet(n, n/10)
	before := heap()
	e := NewEngine(standing(), list)
	minutes(e, list, 0, 3, goodResult()) // windows are allocated whole by the first result
	each := float64(heap()-before) / n
	t.Logf("%.0f bytes a check", each)
	if each > 1536 {
		t.Errorf("%.0f bytes a check, want at most 1536", each)
	}
	runtime.KeepAlive(e)
	runtime.KeepAlive(list)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
