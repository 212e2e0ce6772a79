package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
)

// mood is what a notifier answers with, set from elsewhere.
type mood struct{ err atomic.Pointer[error] }

func (m *mood) set(err error) { m.err.Store(&err) }

func (m *mood) notifier() *fakeNotifier {
	return &fakeNotifier{do: func(context.Context, int, Message, *Receipt) error { return *m.err.Load() }}
}

func TestLimitText(t *testing.T) {
	for text, pause := range map[string]time.Duration{"1/s": time.Second, "120/m": 500 * time.Millisecond, "10/h": 6 * time.Minute} {
		var l Limit
		if err := l.UnmarshalText([]byte(text)); err != nil || l.Pause() != pause || l.String() != text {
			t.Errorf("%s: %v, pause %s, written %s", text, err, l.Pause(), l)
		}
	}
	for _, text := range []string{"", "1", "/m", "0/m", "-1/m", "10001/s", "1/d", "1.5/m", "60 per minute", "1/m/m"} {
		var l Limit
		if err := l.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as %s", text, l)
		}
	}
}

// What is more than the limit waits: pages first, and then the newest state is
// told. Nothing is dropped.
func TestDeskLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMemStore(), &fakeNotifier{})
		b.desk.Limit = Limit{30, time.Minute}
		b.run()
		now := time.Now()
		first := opened("first", now)
		b.want(first)
		b.expect("first v1")
		for k := range 3 {
			ticket := opened(fmt.Sprintf("ticket%d", k), now)
			ticket.Severity = alerting.Ticket
			b.want(ticket)
		}
		b.want(then(first, "also: slow", now), opened("page", now))
		b.after(time.Second)
		b.expect("first v1")
		b.want(resolved(then(first, "also: slow", now), now, now))
		b.after(11 * time.Second)
		b.expect("first v1, page v1, first v3, ticket0 v1, ticket1 v1, ticket2 v1")
		for k, a := range b.notifier.attempts() {
			if want := time.Duration(k) * 2 * time.Second; a.At != want {
				t.Errorf("attempt %d after %s, want %s", k, a.At, want)
			}
		}
		b.end()
	})
}

// Undelivered counts from when there was first something to tell, over newer
// versions, a 429 and a restart.
func TestUndelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer mood
		answer.set(errors.New("POST slack.example.com: status 503"))
		n := answer.notifier()
		store := newMemStore()
		b := newBench(t, store, n).run()
		i := opened("ws", time.Now())
		b.want(i)
		b.after(2 * time.Minute)
		b.want(then(i, "also: slow", time.Now()))
		b.after(time.Minute)
		b.end()
		b = newBench(t, store, n).run()
		b.after(2*time.Minute - time.Second)
		if got := b.desk.Undelivered(5 * time.Minute); len(got) > 0 {
			t.Errorf("undelivered after 4m59s: %v", got)
		}
		b.after(time.Second)
		want := []Undelivered{{"ws", "fake has not delivered for 5m: POST slack.example.com: status 503"}}
		if diff := cmp.Diff(want, b.desk.Undelivered(5*time.Minute)); diff != "" {
			t.Errorf("undelivered (-want +got):\n%s", diff)
		}
		if got := b.desk.Stats().Oldest; got != 5*time.Minute {
			t.Errorf("the oldest waits for %s, want 5m", got)
		}
		answer.set(&LaterError{After: time.Second, Err: errors.New("status 429")})
		b.after(5 * time.Minute)
		if got := b.desk.Undelivered(10 * time.Minute); len(got) != 1 || !strings.HasSuffix(got[0].Because, "for 10m: status 429") {
			t.Errorf("undelivered: %v", got)
		}
		answer.set(nil)
		b.after(MaxRetry)
		answer.set(errors.New("gone again"))
		b.want(resolved(then(i, "also: slow", time.Now()), time.Now(), time.Now()))
		b.after(time.Hour)
		if got := b.desk.Undelivered(5 * time.Minute); len(got) > 0 {
			t.Errorf("the end of what was told is no reason to wake others: %v", got)
		}
		b.end()
	})
}

// What is given up is undelivered at once, also when it has ended.
func TestUndeliveredDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(context.Context, int, Message, *Receipt) error {
			return &PermanentError{Err: errors.New("channel_not_found")}
		}}
		b := newBench(t, newMemStore(), n).run()
		b.want(opened("open", time.Now()))
		b.want(resolved(opened("over", time.Now()), time.Now(), time.Now()))
		b.after(time.Second)
		want := []Undelivered{{"open", "fake gave up: channel_not_found"}, {"over", "fake gave up: channel_not_found"}}
		if diff := cmp.Diff(want, b.desk.Undelivered(5*time.Minute)); diff != "" {
			t.Errorf("undelivered (-want +got):\n%s", diff)
		}
		b.end()
	})
}

// An incident that became quiet before it was told waits, and one that ends so
// is not told at all. What was told is brought to its end.
func TestDeskQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer mood
		answer.set(&LaterError{After: time.Second, Err: errors.New("status 429")}) // surely not told
		n := answer.notifier()
		b := newBench(t, newMemStore(), n).run()
		quiet := func(i alerting.Incident) alerting.Incident {
			i = then(i, "silenced", time.Now())
			i.Quiet = "silenced by anna"
			return i
		}
		a, c := opened("a", time.Now()), opened("c", time.Now())
		b.want(a, c)
		b.after(100 * time.Millisecond)
		a, c = quiet(a), quiet(c)
		b.want(a, c)
		b.after(time.Minute)
		tried := len(n.attempts())
		answer.set(nil)
		b.after(time.Hour)
		if got := len(n.attempts()); got != tried || got > 2 {
			t.Errorf("%d attempts, then %d: want none while it is quiet", tried, got)
		}
		if s := b.desk.Stats(); s.Depth != 0 || len(b.desk.Undelivered(time.Minute)) > 0 {
			t.Errorf("%d wait, %v", s.Depth, b.desk.Undelivered(time.Minute))
		}
		b.want(resolved(c, time.Now(), time.Now()))
		b.after(time.Hour)
		a = then(a, "no longer silenced", time.Now())
		a.Quiet = ""
		b.want(a)
		b.after(time.Second)
		a = quiet(a)
		b.want(resolved(a, time.Now(), time.Now()))
		b.after(time.Second)
		var told []string
		for _, s := range n.attempts()[tried:] {
			told = append(told, fmt.Sprintf("%s v%d", s.ID, s.Version))
		}
		if diff := cmp.Diff([]string{"a v3", "a v5"}, told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		b.end()
	})
}

// Attempts are kept with the receipt, without commits of their own, the newest
// 50, over a restart.
func TestAttemptsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails atomic.Int64
		fails.Store(3)
		n := &fakeNotifier{do: func(ctx context.Context, n int, _ Message, _ *Receipt) error {
			sleep(ctx, 20*time.Millisecond)
			if int64(n) <= fails.Load() {
				return fmt.Errorf("status 503, attempt %d", n)
			}
			return nil
		}}
		store := newMemStore()
		b := newBench(t, store, n).run()
		start := time.Now()
		commits := func() int {
			store.mu.Lock()
			defer store.mu.Unlock()
			return store.commits
		}
		before := commits()
		b.want(opened("ws", start))
		b.after(time.Minute)
		if got := commits() - before - 1; got != 2 {
			t.Errorf("%d commits for 4 attempts, want 2: the intent and the receipt", got)
		}
		kept, err := StoredAttempts(t.Context(), store, "ws")
		if err != nil || len(kept) != 4 {
			t.Fatalf("%d attempts are stored, want 4: %v", len(kept), err)
		}
		if diff := cmp.Diff(Attempt{At: start.UTC(), Notifier: "fake", Version: 1, Took: 20 * time.Millisecond, Err: "status 503, attempt 1"}, kept[0]); diff != "" {
			t.Errorf("the first (-want +got):\n%s", diff)
		}
		if kept[3].Err != "" {
			t.Errorf("the last: %+v", kept[3])
		}
		fails.Store(1000)
		b.want(then(opened("ws", start), "also: slow", time.Now()))
		b.after(time.Minute)
		b.end() // stores what is not yet
		b = newBench(t, store, n).run()
		b.after(10 * time.Hour)
		if got := b.desk.Attempts("ws"); len(got) != keptTries || got[0].Version != 2 || got[0].At.After(start.Add(8*time.Hour)) {
			t.Errorf("%d attempts, the first %+v", len(got), got[0])
		}
		b.end()
		if got := b.desk.Attempts("nothing"); got != nil {
			t.Errorf("attempts of nothing: %v", got)
		}
		kept, err = StoredAttempts(t.Context(), store, "ws")
		if err != nil || len(kept) != keptTries {
			t.Errorf("%d attempts are stored, want %d: %v", len(kept), keptTries, err)
		}
	})
}

// Of two receivers' wishes that meet the later one is kept.
func TestLaterPause(t *testing.T) {
	now := time.Now()
	q := newQueue(time.Hour, 0)
	for _, id := range []string{"a", "b"} {
		q.wanted(opened(id, now), now)
	}
	a, _ := q.next(now)
	b, _ := q.next(now)
	for _, f := range []struct {
		job   *job
		after time.Duration
	}{{a, time.Minute}, {b, 2 * time.Second}} {
		q.finished(f.job, outcome{err: &LaterError{After: f.after, Err: errors.New("status 429")}}, now)
	}
	if j, wait := q.next(now.Add(3 * time.Second)); j != nil || wait != 57*time.Second {
		t.Errorf("next is %v in %s, want nothing for 57s", j, wait)
	}
}
