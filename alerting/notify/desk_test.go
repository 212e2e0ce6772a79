package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// attemptSeen is one call of a fakeNotifier.
type attemptSeen struct {
	ID      string
	Version int
	At      time.Duration // since the start of the test
	Told    int           // version, -1 for no receipt
	Pending bool
}

// fakeNotifier records its attempts and answers with what do returns.
type fakeNotifier struct {
	start time.Time
	do    func(ctx context.Context, n int, m Message, told *Receipt) error

	mu   sync.Mutex
	seen []attemptSeen
}

func (f *fakeNotifier) Notify(ctx context.Context, m Message, told *Receipt) (Receipt, error) {
	a := attemptSeen{ID: m.Incident.ID, Version: m.Incident.Version, At: time.Since(f.start), Told: -1}
	if told != nil {
		a.Told, a.Pending = told.Version, told.Pending
	}
	f.mu.Lock()
	f.seen = append(f.seen, a)
	n := len(f.seen)
	f.mu.Unlock()
	if f.do != nil {
		if err := f.do(ctx, n, m, told); err != nil {
			return Receipt{}, err
		}
	}
	return Receipt{IDs: map[string]string{"ts": fmt.Sprint(n)}}, nil
}

func (f *fakeNotifier) attempts() []attemptSeen {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]attemptSeen(nil), f.seen...)
}

// told lists "id v1" for each attempt, in order.
func (f *fakeNotifier) told() string {
	var s []string
	for _, a := range f.attempts() {
		s = append(s, fmt.Sprintf("%s v%d", a.ID, a.Version))
	}
	return strings.Join(s, ", ")
}

// bench is a running Desk within a bubble.
type bench struct {
	*testing.T
	store    *memStore
	notifier *fakeNotifier
	desk     *Desk
	stop     func() error
}

func newBench(t *testing.T, store *memStore, n *fakeNotifier) *bench {
	n.start = time.Now()
	b := &bench{T: t, store: store, notifier: n}
	b.desk = &Desk{Name: "fake", Notifier: n, Store: store, Log: logger(t)}
	return b
}

func (b *bench) run() *bench {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- b.desk.Run(ctx) }()
	b.stop = func() error { cancel(); return <-done }
	return b
}

func (b *bench) want(incidents ...alerting.Incident) {
	b.Helper()
	b.store.want(b.T, "fake", incidents...)
}

// after lets fake time pass.
func (b *bench) after(d time.Duration) {
	sleep(b.Context(), d)
	synctest.Wait()
}

func (b *bench) expect(told string) {
	b.Helper()
	synctest.Wait()
	if diff := cmp.Diff(told, b.notifier.told()); diff != "" {
		b.Errorf("told (-want +got):\n%s", diff)
	}
}

func (b *bench) end() {
	b.Helper()
	if err := b.stop(); err != nil {
		b.Errorf("Run: %v", err)
	}
}

func TestDeskTellsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMemStore(), &fakeNotifier{}).run()
		now := time.Now()
		i := opened("ws", now)
		b.want(i)
		b.expect("ws v1")
		b.after(time.Hour)
		i = then(i, "also: slow", now.Add(time.Hour))
		b.want(i)
		b.want(i) // the same again
		i = resolved(i, now.Add(time.Hour), now.Add(2*time.Hour))
		b.want(i)
		b.after(time.Hour)
		if got := b.notifier.told(); got != "ws v1, ws v2, ws v3" && got != "ws v1, ws v3" {
			t.Errorf("told %q", got)
		}
		want := Receipt{V: 1, Incident: "ws", Version: 3, IDs: map[string]string{"ts": fmt.Sprint(len(b.notifier.attempts()))}, Attempts: 1}
		rec, _ := stored[Receipt](t, b.store, keyReceipt, "fake", "ws")
		rec.At = time.Time{}
		if diff := cmp.Diff(want, rec); diff != "" {
			t.Errorf("receipt (-want +got):\n%s", diff)
		}
		b.end()

		again := newBench(t, b.store, &fakeNotifier{}).run()
		again.after(time.Hour)
		again.expect("") // nothing is told twice after a restart
		again.end()
	})
}

// A channel that is down for three minutes ends with one message per incident,
// of its newest state, and one that came and went is told as what it was.
func TestDeskChannelDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var up atomic.Bool
		n := &fakeNotifier{do: func(context.Context, int, Message, *Receipt) error {
			if up.Load() {
				return nil
			}
			return errors.New("status 503, want 200")
		}}
		b := newBench(t, newMemStore(), n).run()
		now := time.Now()
		ws, api := opened("ws", now), opened("api", now)
		b.want(ws, api)
		b.after(time.Minute)
		ws = then(ws, "also: uptime below 99.9 %", now.Add(time.Minute))
		api = resolved(api, now.Add(30*time.Second), now.Add(time.Minute))
		b.want(ws, api)
		b.after(2 * time.Minute)
		failed := len(n.attempts())
		if failed < 16 || failed > 36 {
			t.Errorf("%d attempts in three minutes, want some dozen: back-off from 1 s, anew with each version", failed)
		}
		if s := b.desk.Stats(); s.Depth != 2 || s.Oldest < 2*time.Minute || s.Failures != uint64(failed) || s.LastError != "status 503, want 200" {
			t.Errorf("stats %+v", s)
		}
		up.Store(true)
		b.after(MaxRetry)
		var got []string
		for _, a := range n.attempts()[failed:] {
			got = append(got, fmt.Sprintf("%s v%d pending=%t", a.ID, a.Version, a.Pending))
		}
		if len(got) != 2 || got[0] == got[1] || !strings.Contains(strings.Join(got, ","), "ws v2 pending=true") || !strings.Contains(strings.Join(got, ","), "api v2 pending=true") {
			t.Errorf("after the outage %q, want one message of each, with an attempt pending", got)
		}
		b.end()
	})
}

// The waits between attempts double from a second and stop growing at MaxRetry.
func TestDeskBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(context.Context, int, Message, *Receipt) error { return errors.New("refused") }}
		b := newBench(t, newMemStore(), n).run()
		b.want(opened("ws", time.Now()))
		b.after(time.Hour)
		seen := n.attempts()
		for k := 1; k < len(seen); k++ {
			wait := seen[k].At - seen[k-1].At
			ideal := min(MinRetry<<min(k-1, 10), MaxRetry)
			if wait < max(ideal*74/100, MinRetry) || wait > min(ideal*126/100, MaxRetry) {
				t.Errorf("wait %d was %s, want about %s", k, wait, ideal)
			}
		}
		if len(seen) < 15 {
			t.Errorf("%d attempts in an hour", len(seen))
		}
		b.end()
	})
}

func TestDeskLater(t *testing.T) {
	for _, c := range []struct {
		after, wait time.Duration
	}{
		{30 * time.Second, 30 * time.Second},
		{0, MinRetry},
		{-time.Hour, MinRetry},
		{1 << 62, MaxRetry},
	} {
		t.Run(c.after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &fakeNotifier{do: func(_ context.Context, n int, _ Message, _ *Receipt) error {
					if n == 1 {
						return &LaterError{After: c.after, Err: errors.New("status 429")}
					}
					return nil
				}}
				b := newBench(t, newMemStore(), n).run()
				b.want(opened("a", time.Now()))
				synctest.Wait()
				b.want(opened("b", time.Now())) // waits with it: the channel is limited
				b.after(c.wait - time.Millisecond)
				b.expect("a v1")
				b.after(2 * time.Millisecond)
				if got := n.told(); got != "a v1, a v1, b v1" && got != "a v1, b v1, a v1" {
					t.Errorf("told %q", got)
				}
				for _, a := range n.attempts() {
					if a.Pending {
						t.Errorf("%+v is pending, but the answer was known", a)
					}
				}
				b.end()
			})
		})
	}
}

// Incidents whose attempts hang do not hold up others.
func TestDeskHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(ctx context.Context, _ int, m Message, _ *Receipt) error {
			if strings.HasPrefix(m.Incident.ID, "stuck") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		b := newBench(t, newMemStore(), n).run()
		var all []alerting.Incident
		for k := range 7 {
			all = append(all, opened(fmt.Sprintf("stuck%d", k), time.Now()))
		}
		b.want(all...)
		synctest.Wait()
		b.want(opened("fine", time.Now()))
		synctest.Wait()
		seen := n.attempts()
		if last := seen[len(seen)-1]; last.ID != "fine" || last.At != 0 {
			t.Errorf("last attempt %+v, want fine at once", last)
		}
		b.after(defaultTimeout + 2*MinRetry)
		if got := len(n.attempts()); got < 8+7 {
			t.Errorf("%d attempts, want each stuck one again after %s", got, defaultTimeout)
		}
		b.end()
	})
}

// What changes during an attempt is told by the next one.
func TestDeskChangeDuringAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(context.Context, int, Message, *Receipt) error { sleep(t.Context(), 2*time.Second); return nil }}
		b := newBench(t, newMemStore(), n).run()
		now := time.Now()
		i := opened("ws", now)
		b.want(i)
		b.after(time.Second)
		for range 5 {
			i = then(i, "also", now)
			b.want(i)
		}
		b.after(10 * time.Second)
		b.expect("ws v1, ws v6")
		b.end()
	})
}

func TestDeskPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(context.Context, int, Message, *Receipt) error {
			return fmt.Errorf("slack: %w", &PermanentError{Err: errors.New("invalid_auth")})
		}}
		b := newBench(t, newMemStore(), n).run()
		now := time.Now()
		open, over := opened("open", now), opened("over", now)
		b.want(open, over)
		b.after(time.Hour)
		if got := n.told(); got != "open v1, over v1" && got != "over v1, open v1" {
			t.Errorf("told %q, want one attempt each", got)
		}
		s := b.desk.Stats()
		if s.Depth != 0 || len(s.Dead) != 2 || s.Dead[0].Reason != "slack: invalid_auth" || s.Dead[0].Version != 1 {
			t.Errorf("stats %+v", s)
		}
		over = resolved(over, now, now.Add(time.Hour))
		b.want(over) // a new version is tried again
		b.after(time.Minute)
		if dead, _ := stored[Dead](t, b.store, keyDead, "fake", "over"); dead.Version != 2 {
			t.Errorf("dead letter %+v, want version 2", dead)
		}
		b.end()

		// After a restart, perhaps with a better token, what is still open is
		// told, and what is over stays given up.
		again := newBench(t, b.store, &fakeNotifier{}).run()
		again.after(time.Minute)
		again.expect("open v1")
		if _, ok := stored[Dead](t, b.store, keyDead, "fake", "open"); ok {
			t.Error("the dead letter of a told incident is still there")
		}
		if s := again.desk.Stats(); len(s.Dead) != 1 || s.Dead[0].Incident != "over" {
			t.Errorf("dead %+v, want over", s.Dead)
		}
		again.end()
	})
}

func TestDeskExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(context.Context, int, Message, *Receipt) error { return errors.New("refused") }}
		b := newBench(t, newMemStore(), n).run()
		now := time.Now()
		over, open := opened("over", now), opened("open", now)
		over = resolved(over, now.Add(time.Minute), now.Add(2*time.Minute))
		b.want(over, open)
		b.after(23 * time.Hour)
		if s := b.desk.Stats(); s.Depth != 2 || len(s.Dead) != 0 {
			t.Errorf("after 23 h: %+v", s)
		}
		b.after(2 * time.Hour)
		s := b.desk.Stats()
		if s.Depth != 1 || len(s.Dead) != 1 || s.Dead[0].Incident != "over" || s.Dead[0].Reason != "not told within 24h0m0s of its end" {
			t.Errorf("after 25 h: %+v, want only the resolved one given up", s)
		}
		before := len(n.attempts())
		b.after(time.Hour)
		for _, a := range n.attempts()[before:] {
			if a.ID != "open" {
				t.Errorf("%+v after its expiry", a)
			}
		}
		b.end()
	})
}

// Open incidents with old news are told only if they stand for a while: when an
// old log is read again they come and go.
func TestDeskOldNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMemStore(), &fakeNotifier{}).run()
		long := time.Now().Add(-30 * 24 * time.Hour)
		gone, stands := opened("gone", long), opened("stands", long)
		b.want(gone, stands)
		b.after(time.Second)
		b.want(resolved(gone, long, long.Add(time.Minute)))
		b.after(settle)
		b.expect("stands v1")
		b.end()
	})
}

// A crash after the answer and before the receipt: the next run knows that
// something may have arrived.
func TestDeskCrashBeforeReceipt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		b := newBench(t, store, &fakeNotifier{}).run()
		b.want(opened("ws", time.Now()))
		synctest.Wait()
		store.mu.Lock()
		store.before = func(writes []Write) error {
			r, ok := receiptOf(writes)
			if ok && !r.Pending {
				return errDisk
			}
			return nil
		}
		store.mu.Unlock()
		i := then(opened("ws", time.Now()), "also", time.Now())
		b.want(i)
		b.after(time.Minute)
		b.expect("ws v1, ws v2") // told once, however often the receipt fails
		b.end()

		rec, _ := stored[Receipt](t, store, keyReceipt, "fake", "ws")
		if rec.Version != 1 || !rec.Pending || rec.IDs["ts"] != "1" {
			t.Fatalf("receipt %+v, want version 1 and pending", rec)
		}
		store.mu.Lock()
		store.before = nil
		store.mu.Unlock()
		again := newBench(t, store, &fakeNotifier{}).run()
		synctest.Wait()
		if diff := cmp.Diff([]attemptSeen{{ID: "ws", Version: 2, Told: 1, Pending: true}}, again.notifier.attempts()); diff != "" {
			t.Errorf("attempts of the next run (-want +got):\n%s", diff)
		}
		again.end()
	})
}

func receiptOf(writes []Write) (Receipt, bool) {
	for _, w := range writes {
		if w.Key[0] == keyReceipt {
			r, err := decode[Receipt](Record{Key: w.Key, Value: w.Value}, ReceiptVersion)
			return r, err == nil
		}
	}
	return Receipt{}, false
}

// Nothing is told before it is stored that it is about to be told.
func TestDeskIntentFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		store.before = failing(keyReceipt, errDisk)
		b := newBench(t, store, &fakeNotifier{}).run()
		b.want(opened("ws", time.Now()))
		b.after(10 * time.Second)
		b.expect("")
		if s := b.desk.Stats(); s.Depth != 1 || s.Attempts != 0 || !strings.Contains(s.LastError, "no space left") {
			t.Errorf("stats %+v", s)
		}
		store.mu.Lock()
		store.before = nil
		store.mu.Unlock()
		b.after(time.Minute)
		b.expect("ws v1")
		b.end()
	})
}

func TestDeskStop(t *testing.T) {
	for _, c := range []struct {
		name  string
		takes time.Duration
		want  Receipt
		ends  time.Duration
	}{
		{"in time", 4 * time.Second, Receipt{Version: 1, Attempts: 1}, 4 * time.Second},
		{"too slow", 10 * time.Second, Receipt{Pending: true, Attempts: 1}, stopGrace},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &fakeNotifier{do: func(ctx context.Context, _ int, _ Message, _ *Receipt) error {
					if !sleep(ctx, c.takes) {
						return ctx.Err()
					}
					return nil
				}}
				b := newBench(t, newMemStore(), n).run()
				b.want(opened("ws", time.Now()))
				synctest.Wait()
				start := time.Now()
				b.end()
				if took := time.Since(start); took != c.ends {
					t.Errorf("Run ended after %s, want %s", took, c.ends)
				}
				rec, _ := stored[Receipt](t, b.store, keyReceipt, "fake", "ws")
				if rec.Version != c.want.Version || rec.Pending != c.want.Pending || rec.Attempts != c.want.Attempts {
					t.Errorf("receipt %+v, want %+v", rec, c.want)
				}
			})
		})
	}
}

func TestDeskPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(_ context.Context, n int, _ Message, _ *Receipt) error {
			if n == 1 {
				panic("index out of range")
			}
			return nil
		}}
		b := newBench(t, newMemStore(), n).run()
		b.want(opened("ws", time.Now()))
		b.after(MinRetry * 2)
		b.expect("ws v1, ws v1")
		if s := b.desk.Stats(); s.LastError != "notifier fake panicked: index out of range" || s.Told != 1 {
			t.Errorf("stats %+v", s)
		}
		b.end()
	})
}

func TestDeskForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(context.Context, int, Message, *Receipt) error {
			sleep(t.Context(), time.Second)
			return errors.New("no")
		}}
		b := newBench(t, newMemStore(), n).run()
		b.want(opened("ws", time.Now()))
		synctest.Wait() // an attempt is at work
		if err := b.store.Commit(t.Context(), Write{Key: []string{keyOutbox, "fake", "ws"}}); err != nil {
			t.Fatal(err)
		}
		b.after(time.Hour)
		b.expect("ws v1")
		if s := b.desk.Stats(); s.Depth != 0 {
			t.Errorf("stats %+v", s)
		}
		b.end()
	})
}

func TestDeskNewerRecord(t *testing.T) {
	for _, kind := range []string{keyOutbox, keyReceipt, keyDead} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newMemStore()
				if err := store.Commit(t.Context(), Write{Key: []string{kind, "fake", "ws"}, Value: []byte(`{"v":99}`)}); err != nil {
					t.Fatal(err)
				}
				b := newBench(t, store, &fakeNotifier{})
				err := b.desk.Run(t.Context())
				if err == nil || !strings.Contains(err.Error(), "newer Tripline") || !strings.Contains(err.Error(), kind) {
					t.Errorf("Run: %v, want that the record is of a newer version", err)
				}
			})
		})
	}
}

// A storm of incidents is worked off by eight at a time, pages first.
func TestDeskStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		working, most := 0, 0
		n := &fakeNotifier{do: func(context.Context, int, Message, *Receipt) error {
			mu.Lock()
			working++
			most = max(most, working)
			mu.Unlock()
			sleep(t.Context(), time.Second)
			mu.Lock()
			working--
			mu.Unlock()
			return nil
		}}
		b := newBench(t, newMemStore(), n)
		for k := range 80 {
			i := opened(fmt.Sprintf("ticket%02d", k), time.Now())
			i.Severity = alerting.Ticket
			b.want(i)
		}
		b.run()
		synctest.Wait()
		b.want(opened("page", time.Now()))
		b.after(10*time.Second + time.Millisecond)
		if most != defaultWorkers {
			t.Errorf("%d attempts at a time, want %d", most, defaultWorkers)
		}
		seen := n.attempts()
		for _, a := range seen {
			if a.ID == "page" && a.At != time.Second {
				t.Errorf("the page was attempted after %s, want as soon as a worker is free", a.At)
			}
		}
		if len(seen) != 81 {
			t.Errorf("%d attempts in 10 s, want 81", len(seen))
		}
		b.after(time.Minute)
		if s := b.desk.Stats(); s.Told != 81 || s.Depth != 0 {
			t.Errorf("stats %+v", s)
		}
		b.end()
	})
}

func TestDeskEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		var got []Message
		n := &fakeNotifier{do: func(_ context.Context, _ int, m Message, _ *Receipt) error { got = append(got, m); return nil }}
		b := newBench(t, newMemStore(), n)
		b.desk.Link = func(i alerting.Incident) string { return "http://127.0.0.1:8080/incidents/" + i.ID }
		b.desk.Evidence = func(_ context.Context, check string) (*probe.Evidence, error) {
			switch check {
			case "a":
				return nil, errors.New("no such evidence")
			case "b":
				return &probe.Evidence{Class: probe.OK, Slot: now}, nil
			}
			return &probe.Evidence{Class: probe.NotFound, Slot: now, Check: check}, nil
		}
		b.run()
		i := opened("ws", now)
		i.Findings[0].Checks = []string{"a", "b", "c", "d"}
		b.want(i)
		synctest.Wait()
		if len(got) != 1 || got[0].Evidence == nil || got[0].Evidence.Check != "c" || got[0].Link != "http://127.0.0.1:8080/incidents/ws" {
			t.Errorf("messages %+v, want the evidence of c, the first that failed", got)
		}
		b.end()
	})
}
