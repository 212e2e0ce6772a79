package config

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// manyChecks is a config file of n checks of all kinds, as people would write
// or generate it.
func manyChecks(n int) []byte {
	var b strings.Builder
	b.WriteString("version: 1\ndefaults:\n  base_url: https://api.example.com\n  headers: {X-Monitor: tripline}\n  labels: {team: core}\nchecks:\n")
	for i := range n {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&b, "  - name: health %d\n    group: service %d\n    labels: {tier: api}\n    health:\n      url: https://s%d.example.com/health\n      conditions: .status == \"ok\"\n      record: {connections: .connections.active}\n", i, i/10, i/10)
		case 1:
			fmt.Fprintf(&b, "  - name: route %d\n    every: 30s\n    route:\n      url: /v1/items/%d\n      status: [200, 404]\n      matches: ^ok$\n      headers: {Accept: application/json}\n", i, i)
		case 2:
			fmt.Fprintf(&b, "  - name: live %d\n    group: service %d\n    confirm: 1\n    websocket:\n      url: wss://s%d.example.com/live\n      origin: https://app.example.com\n", i, i/10, i/10)
		}
	}
	b.WriteString("rules:\n  - {name: gone, select: {kind: websocket}, rate: {of: not_found, over: 5m, above: 0%}}\n" +
		"  - {name: failures, rate: {of: connection_failure, over: 1h, at_least: 1%, min_failures: 2}}\n" +
		"  - {name: uptime, rate: {of: down, over: 1d, above: 0.1%}}\n  - {name: down, down: {slots: 2}}\nnotify:\n  - {name: console, log: {}}\n")
	return []byte(b.String())
}

// BenchmarkLoad10000 reads a file of 10,000 checks; it should take at most half a second.
func BenchmarkLoad10000(b *testing.B) {
	src := manyChecks(10_000)
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	var c *Config
	for b.Loop() {
		var err error
		if c, err = Load("config.yaml", src, Env{}); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	c = nil
	b.ReportMetric(float64(heldBy(func() any {
		c, _ = Load("config.yaml", src, Env{})
		return c
	}))/10_000, "heldB/check")
}

// heldBy returns how many bytes of heap stay in use for what f returns.
func heldBy(f func() any) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	v := f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(v)
	return after.HeapAlloc - min(before.HeapAlloc, after.HeapAlloc)
}

// TestManyChecks reads the benchmark's file, once.
func TestManyChecks(t *testing.T) {
	c, err := Load("config.yaml", manyChecks(3000), Env{})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Checks) != 3000 || len(c.Subjects) != 3000 {
		t.Errorf("%d checks, %d subjects", len(c.Checks), len(c.Subjects))
	}
	if plan := c.Plan(planTime()); strings.Count(plan, "\n") < 3000 {
		t.Errorf("the plan has %d lines", strings.Count(plan, "\n"))
	}
}
