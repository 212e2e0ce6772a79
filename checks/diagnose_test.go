package checks

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// inquired is a prober that fails with class, and whose inquiry takes its time.
type inquired struct {
	class   probe.Class
	takes   time.Duration // of the inquiry; it obeys its context
	panics  bool
	asked   int
	thrifty bool
	later   []probe.Outcome
}

func (p *inquired) Probe(context.Context) probe.Outcome {
	o := probe.Outcome{Class: p.class, Stage: probe.StageHTTP, Evidence: func() *probe.Evidence { return &probe.Evidence{Class: p.class} }}
	o.Inquiry = func(ctx context.Context, thrifty bool) func([]probe.Outcome) probe.Diagnosis {
		p.asked++
		p.thrifty = thrifty
		if p.panics {
			panic("boom")
		}
		select {
		case <-ctx.Done():
		case <-time.After(p.takes):
		}
		return func(later []probe.Outcome) probe.Diagnosis {
			p.later = later
			return probe.Diagnosis{Causes: []probe.Cause{{Name: "why"}}, Asked: []probe.Question{{What: "it"}}}
		}
	}
	return o
}

// newness is what a scheduler thinks is new.
type newness bool

func (n newness) New(probe.Class, time.Time) bool { return bool(n) }

func TestRunDiagnoses(t *testing.T) {
	for _, c := range []struct {
		name    string
		prober  *inquired
		confirm int
		new     Newness // nil: a person asked
		every   time.Duration
		asked   int
		took    time.Duration
	}{
		{"beside the re-probes", &inquired{takes: time.Second}, 2, nil, time.Minute, 1, 1250 * time.Millisecond},
		{"longer than the re-probes", &inquired{takes: 2 * time.Second}, 1, nil, time.Minute, 1, 2 * time.Second},
		{"2.5 s at most", &inquired{takes: time.Hour}, 0, nil, time.Minute, 1, diagnoseTime},
		{"not past the end of the run", &inquired{takes: time.Hour}, 0, nil, 2 * time.Second, 1, 1800 * time.Millisecond},
		{"new in a schedule", &inquired{}, 0, newness(true), time.Minute, 1, 0},
		{"known in a schedule", &inquired{}, 0, newness(false), time.Minute, 0, 0},
		{"a panic", &inquired{panics: true}, 1, nil, time.Minute, 1, 250 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := c.prober
				p.class = probe.NotFound
				check := Check{Name: "c", Prober: p, Schedule: every(c.every), Timeout: time.Second, Confirm: c.confirm}
				result, evidence := run(t.Context(), check, time.Now(), c.new)
				if result.Class != probe.NotFound || result.Duration != c.took || p.asked != c.asked {
					t.Errorf("got %s after %s, %d inquiries; want %s and %d", result.Class, result.Duration, p.asked, c.took, c.asked)
				}
				e := evidence()
				switch {
				case p.panics:
					if len(e.Asked) != 1 || !strings.Contains(e.Asked[0].What, "panicked at diagnose_test.go:") || e.Class != probe.NotFound {
						t.Errorf("after a panic: %+v", e)
					}
				case c.asked == 0 && len(e.Causes) > 0, c.asked == 1 && (len(e.Causes) != 1 || len(e.Asked) != 1):
					t.Errorf("evidence has causes %v, asked %v", e.Causes, e.Asked)
				case p.thrifty != (c.asked == 1 && c.new != nil):
					t.Errorf("thrifty is %v", p.thrifty)
				case c.asked == 1 && len(p.later) != c.confirm:
					t.Errorf("%d later attempts, want %d", len(p.later), c.confirm)
				}
			})
		})
	}
}

// TestRunStoppedWhileDiagnosing leaves nothing behind: synctest fails if a
// goroutine does not end.
func TestRunStoppedWhileDiagnosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		p := &inquired{class: probe.NotFound, takes: time.Hour}
		r, evidence := Run(ctx, Check{Name: "c", Prober: p, Schedule: minutely{}, Timeout: time.Second, Confirm: 1}, time.Now())
		if r.Class != probe.Interrupted || r.Duration != 100*time.Millisecond || evidence != nil {
			t.Errorf("got %s after %s, evidence %v; want interrupted at once, without evidence", r.Class, r.Duration, evidence != nil)
		}
	})
}

// every is a schedule with a slot each so often from any time.
type every time.Duration

func (e every) Next(t time.Time) time.Time { return t.Add(time.Duration(e)) }

// fine is a prober that is always good.
type fine struct{}

func (fine) Probe(context.Context) probe.Outcome { return probe.Outcome{Class: probe.OK} }

// TestHealthyRunCostsNothing: that failures are diagnosed is not paid for by
// what is well.
func TestHealthyRunCostsNothing(t *testing.T) {
	c := Check{Name: "c", Group: "c", Prober: fine{}, Schedule: minutely{}, Timeout: time.Second, Confirm: 2}
	ctx := t.Context()
	bare := testing.AllocsPerRun(200, func() { attempt(ctx, c, time.Second) })
	n := new(newness)
	whole := testing.AllocsPerRun(200, func() { RunScheduled(ctx, c, time.Now(), n) })
	if whole > bare {
		t.Errorf("a good run allocates %v times, one attempt alone %v", whole, bare)
	}
}
