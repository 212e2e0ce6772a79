package schedule

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

type discard struct{}

func (discard) Append(checks.Entry, bool) {}

// BenchmarkSlot is the cost of one slot from the plan to the sink, with a
// probe that costs nothing.
func BenchmarkSlot(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("checks=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			list := makeChecks(n, time.Minute, fake(func(context.Context) probe.Outcome { return probe.Outcome{Class: probe.OK} }))
			r := New(Options{Checks: list, Sink: discard{}, Log: slog.New(slog.DiscardHandler)})
			r.begin(newTimer())
			ctx := b.Context()
			b.ResetTimer()
			for range b.N {
				r.mu.Lock()
				r.plan.now.wall = r.plan.queue[0].next
				if d, _ := r.plan.pop(); d.it != r.tick {
					r.dispatch(ctx, d, r.plan.now, nil)
				}
				for len(r.running) > 0 {
					r.mu.Unlock()
					runtime.Gosched()
					r.mu.Lock()
				}
				r.mu.Unlock()
			}
		})
	}
}

// BenchmarkPlan is the cost of finding the next due slot.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprintf("checks=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			list := makeChecks(n, time.Minute, nil)
			p := newPlan(reading{}, time.Time{})
			for i := range list {
				p.add(p.now, []*item{{check: &list[i]}}, false)
			}
			b.ResetTimer()
			for range b.N {
				p.now.wall = p.queue[0].next
				if _, ok := p.pop(); !ok {
					b.Fatal("nothing is due")
				}
			}
		})
	}
}
