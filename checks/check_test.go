package checks

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks/probe"
)

// script is a prober that ends with the next class of a list at each attempt.
type script struct {
	classes []probe.Class
	takes   time.Duration
	made    int
}

func (s *script) Probe(ctx context.Context) probe.Outcome {
	c := s.classes[min(s.made, len(s.classes)-1)]
	s.made++
	if s.takes > 0 {
		select {
		case <-ctx.Done():
			if ctx.Err() == context.Canceled {
				return probe.Outcome{Class: probe.Interrupted}
			}
			return probe.Outcome{Class: probe.HandshakeTimeout}
		case <-time.After(s.takes):
		}
	}
	if c == probe.Panic {
		panic("boom")
	}
	o := probe.Outcome{Class: c, Reason: string(c)}
	if c.Status() == probe.Up {
		o.Latency = time.Millisecond
		o.Measures = map[string]float64{"n": float64(s.made)}
	}
	return o
}

// minutely has a slot at each full minute.
type minutely struct{}

func (minutely) Next(t time.Time) time.Time { return t.Truncate(time.Minute).Add(time.Minute) }

func TestRunConfirms(t *testing.T) {
	const ok, nf, bad = probe.OK, probe.NotFound, probe.ServerError
	tests := []struct {
		name    string
		classes []probe.Class
		confirm int
		status  probe.Status
		class   probe.Class
		tries   int // attempts made
		took    time.Duration
	}{
		{"good at once", []probe.Class{ok}, 2, probe.Up, ok, 1, 0},
		{"slow is not re-probed", []probe.Class{probe.Slow}, 2, probe.Degraded, probe.Slow, 1, 0},
		{"down in all tries", []probe.Class{nf}, 2, probe.Down, nf, 3, 1250 * time.Millisecond},
		{"a blip", []probe.Class{nf, ok}, 2, probe.Degraded, nf, 2, 250 * time.Millisecond},
		{"good at the last try", []probe.Class{nf, bad, ok}, 2, probe.Degraded, nf, 3, 1250 * time.Millisecond},
		{"another class in the re-probe keeps the first", []probe.Class{nf, bad}, 1, probe.Down, nf, 2, 250 * time.Millisecond},
		{"no confirm", []probe.Class{nf, ok}, 0, probe.Down, nf, 1, 0},
		{"unknown is not re-probed", []probe.Class{probe.OwnNetwork, ok}, 2, probe.Unknown, probe.OwnNetwork, 1, 0},
		{"unknown in a re-probe says nothing", []probe.Class{nf, probe.FDLimit, ok}, 2, probe.Down, nf, 2, 250 * time.Millisecond},
		{"panic", []probe.Class{probe.Panic}, 2, probe.Unknown, probe.Panic, 1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &script{classes: tt.classes}
				c := Check{Name: "c", Group: "g", Location: "local", Prober: p, Schedule: minutely{}, Timeout: 10 * time.Second, Confirm: tt.confirm}
				slot := time.Now().Truncate(time.Minute)
				r, _ := Run(t.Context(), c, slot)
				if r.Status != tt.status || r.Class != tt.class || p.made != tt.tries || r.Duration != tt.took {
					t.Errorf("got %s %s, %d tries in %s (%s); want %s %s, %d tries in %s", r.Status, r.Class, p.made, r.Duration, r.Reason, tt.status, tt.class, tt.tries, tt.took)
				}
				if diff := cmp.Diff(map[probe.Class]int{tt.class: 1}, r.Attempts()); diff != "" {
					t.Errorf("re-probes must not count as attempts (-want +got):\n%s", diff)
				}
				if r.Status != probe.Down && r.Status != probe.Unknown && r.Class != probe.Slow && r.Latency == 0 {
					t.Error("a good attempt has a latency")
				}
			})
		})
	}
}

// TestRunObeysRetryAfter: a target that wants to be left alone is not probed again
// before. If that is long the verdict is that of the attempts made.
func TestRunObeysRetryAfter(t *testing.T) {
	for _, tt := range []struct {
		name   string
		wants  []time.Duration // of the attempts one after the other
		status probe.Status
		tries  int
		took   time.Duration
	}{
		{"nothing", []time.Duration{0, 0, 0}, probe.Degraded, 3, 1250 * time.Millisecond},
		{"less than the pause", []time.Duration{200 * time.Millisecond, time.Second, 0}, probe.Degraded, 3, 1250 * time.Millisecond},
		{"more than the first pause", []time.Duration{2 * time.Second, 0, 0}, probe.Degraded, 3, 3 * time.Second},
		{"more than the second pause", []time.Duration{0, 5 * time.Second, 0}, probe.Degraded, 3, 5250 * time.Millisecond},
		{"more than people wait", []time.Duration{5001 * time.Millisecond}, probe.Down, 1, 0},
		{"more than people wait, the second time", []time.Duration{time.Second, 6 * time.Second}, probe.Down, 2, time.Second},
		{"a day", []time.Duration{24 * time.Hour}, probe.Down, 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				made := 0
				p := proberFunc(func(context.Context) probe.Outcome {
					if made++; made == 3 {
						return probe.Outcome{Class: probe.OK, Latency: 1}
					}
					return probe.Outcome{Class: probe.RateLimited, Stage: probe.StageHTTP, Reason: "status 429", RetryAfter: tt.wants[made-1]}
				})
				c := Check{Name: "c", Prober: p, Schedule: minutely{}, Timeout: 10 * time.Second, Confirm: 2}
				r, _ := Run(t.Context(), c, time.Now().Truncate(time.Minute))
				if r.Status != tt.status || r.Class != probe.RateLimited || max(r.Tries, 1) != tt.tries || made != tt.tries || r.Duration != tt.took {
					t.Errorf("got %s %s after %d tries (%d made) and %s, want %s rate_limited after %d and %s",
						r.Status, r.Class, r.Tries, made, r.Duration, tt.status, tt.tries, tt.took)
				}
			})
		})
	}
}

type proberFunc func(context.Context) probe.Outcome

func (f proberFunc) Probe(ctx context.Context) probe.Outcome { return f(ctx) }

func TestRunEndsBeforeTheNextSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{classes: []probe.Class{probe.NotFound}, takes: 50 * time.Second}
		c := Check{Name: "c", Prober: p, Schedule: minutely{}, Timeout: 30 * time.Second, Confirm: 5}
		start := time.Now().Truncate(time.Minute)
		r, _ := Run(t.Context(), c, start)
		if r.Duration > 54*time.Second || r.Class != probe.HandshakeTimeout || r.Tries != 2 {
			t.Errorf("got %s after %s and %d tries, want a timeout within 54s after 2 tries", r.Class, r.Duration, r.Tries)
		}
	})
}

// TestRunByHand has all the time that a run has, however near the next slot is.
func TestRunByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{classes: []probe.Class{probe.NotFound, probe.OK}, takes: 2 * time.Second}
		c := Check{Name: "c", Prober: p, Schedule: minutely{}, Timeout: 5 * time.Second, Confirm: 1}
		<-time.After(time.Until(time.Now().Truncate(time.Minute).Add(59 * time.Second)))
		if r, _ := Run(t.Context(), c, time.Now()); r.Class != probe.NotFound || r.Tries != 2 {
			t.Errorf("got %s (%s) after %d tries, want not_found after 2", r.Class, r.Reason, r.Tries)
		}
	})
}

func TestRunLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{classes: []probe.Class{probe.OK}}
		c := Check{Name: "c", Prober: p, Schedule: minutely{}, Timeout: time.Second}
		r, _ := Run(t.Context(), c, time.Now().Add(-11*time.Second))
		if r.Status != probe.Unknown || r.Class != probe.Late || p.made != 0 {
			t.Errorf("got %s %s after %d attempts, want unknown late without an attempt", r.Status, r.Class, p.made)
		}
	})
}

func TestRunStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		c := Check{Name: "c", Prober: &script{classes: []probe.Class{probe.NotFound}}, Schedule: minutely{}, Timeout: time.Second, Confirm: 1}
		r, _ := Run(ctx, c, time.Now())
		if r.Status != probe.Unknown || r.Class != probe.Interrupted || r.Attempts()[probe.NotFound] != 0 {
			t.Errorf("stopped before confirmation: got %s %s %v, want unknown interrupted", r.Status, r.Class, r.Attempts())
		}
	})
}

func TestEntryRoundTrip(t *testing.T) {
	at := time.Date(2026, 11, 21, 22, 0, 0, 123000000, time.UTC)
	entries := []Entry{
		{V: 1, Result: &Result{
			Check: "api", Kind: "health", Location: "local", Slot: at, Start: at.Add(time.Millisecond), Duration: time.Second,
			Status: probe.Down, Class: probe.NotFound, Stage: probe.StageHTTP, Reason: "x", Tally: map[probe.Class]int{probe.NotFound: 1},
			Phases: probe.Phases{Connect: time.Millisecond}, Measures: map[string]float64{"a": 1.5}, Facts: map[string]string{"version": "7"},
		}},
		{V: 1, Tick: &Tick{At: at}},
		{V: 1, Gap: &Gap{Location: "local", From: at, To: at.Add(time.Minute), Slots: 3, Reason: "suspended"}},
		{V: 1, Command: &Command{At: at, Name: "config", Args: map[string]string{"hash": "ab"}}},
	}
	b, err := EncodeEntries(nil, entries)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeEntries(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDecodeNewer(t *testing.T) {
	_, err := DecodeEntries([]byte(`[{"v":99,"tick":{"at":"2026-11-21T22:00:00Z"}}]`))
	if _, ok := err.(*NewerError); !ok { //nolint:errorlint // the bare type is the contract with the journal
		t.Fatalf("got %v, want *NewerError", err)
	}
}
