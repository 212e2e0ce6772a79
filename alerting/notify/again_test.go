package notify

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
)

// repeater asks to be called again.
type repeater struct {
	*fakeNotifier
	again time.Duration
}

func (r repeater) Notify(ctx context.Context, m Message, told *Receipt) (Receipt, error) {
	rec, err := r.fakeNotifier.Notify(ctx, m, told)
	rec.Again = r.again
	return rec, err
}

func newRepeating(t *testing.T, store *memStore, n *fakeNotifier) *bench {
	b := newBench(t, store, n)
	b.desk.Notifier = repeater{n, time.Minute}
	return b
}

// An open incident is repeated for as long as it is open, and nothing is stored
// for that.
func TestDeskAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{}
		b := newRepeating(t, newMemStore(), n).run()
		now := time.Now()
		i := opened("ws", now)
		b.want(i)
		b.after(10*time.Second + 2*time.Minute)
		want := []attemptSeen{
			{ID: "ws", Version: 1, At: 0, Told: -1},
			{ID: "ws", Version: 1, At: time.Minute, Told: 1},
			{ID: "ws", Version: 1, At: 2 * time.Minute, Told: 1},
		}
		if diff := cmp.Diff(want, n.attempts()); diff != "" {
			t.Errorf("attempts (-want +got):\n%s", diff)
		}
		if got := b.store.commits; got != 3 { // the outbox, the intent, the receipt
			t.Errorf("%d commits, want 3", got)
		}
		if s := b.desk.Stats(); s.Depth != 0 || s.Oldest != 0 || s.Told != 3 {
			t.Errorf("stats %+v, want nothing to tell", s)
		}
		i = then(i, "also: slow", now) // news are not held up, and repeats go on from there
		b.want(i)
		b.expect("ws v1, ws v1, ws v1, ws v2")
		b.after(time.Minute)
		b.expect("ws v1, ws v1, ws v1, ws v2, ws v2")
		b.want(resolved(i, now, now.Add(time.Minute)))
		b.after(time.Hour)
		b.expect("ws v1, ws v1, ws v1, ws v2, ws v2, ws v3")
		b.end()
	})
}

// A restart keeps the rhythm, and makes up for what was due meanwhile.
func TestDeskAgainAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRepeating(t, newMemStore(), &fakeNotifier{}).run()
		open, over := opened("open", time.Now()), opened("over", time.Now())
		b.want(open, resolved(over, time.Now(), time.Now()))
		b.after(20 * time.Second)
		b.end()

		soon := newRepeating(t, b.store, &fakeNotifier{}).run()
		soon.after(time.Minute)
		if diff := cmp.Diff([]attemptSeen{{ID: "open", Version: 1, At: 40 * time.Second, Told: 1}}, soon.notifier.attempts()); diff != "" {
			t.Errorf("after a quick restart (-want +got):\n%s", diff)
		}
		soon.end()
		sleep(t.Context(), time.Hour)

		late := newRepeating(t, b.store, &fakeNotifier{}).run()
		synctest.Wait()
		if diff := cmp.Diff([]attemptSeen{{ID: "open", Version: 1, At: 0, Told: 1}}, late.notifier.attempts()); diff != "" {
			t.Errorf("after a late restart (-want +got):\n%s", diff)
		}
		late.end()
	})
}

// A repeat is never given up, and tried again no later than the next was due.
func TestDeskAgainFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(_ context.Context, n int, m Message, _ *Receipt) error {
			switch {
			case n == 2:
				return &PermanentError{Err: errors.New("status 400")}
			case n == 3:
				return &LaterError{After: 30 * time.Second, Err: errors.New("status 429")}
			case m.Incident.Version == 1 && n > 3:
				return errors.New("status 503")
			}
			return nil
		}}
		b := newRepeating(t, newMemStore(), n).run()
		i := opened("ws", time.Now())
		b.want(i)
		b.after(time.Hour)
		seen := n.attempts()
		for k := 1; k < len(seen); k++ {
			if wait := seen[k].At - seen[k-1].At; wait > time.Minute || seen[k].Pending || seen[k].Told != 1 {
				t.Errorf("%+v after %s, want at most a minute", seen[k], wait)
			}
		}
		if len(seen) < 60 {
			t.Errorf("%d attempts in an hour", len(seen))
		}
		if s := b.desk.Stats(); s.Depth != 0 || len(s.Dead) != 0 || s.LastError != "status 503" {
			t.Errorf("stats %+v", s)
		}
		b.want(then(i, "also: slow", time.Now()))
		b.after(time.Second)
		if s := b.desk.Stats(); s.Told != 2 {
			t.Errorf("stats %+v, want the news told", s)
		}
		b.end()
	})
}

// A receiver that forgets what is not repeated hears at least that often, also
// while there are news that it does not take.
func TestDeskAgainWhileNewsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(_ context.Context, _ int, m Message, _ *Receipt) error {
			if m.Incident.Version > 1 {
				return errors.New("status 503")
			}
			return nil
		}}
		b := newRepeating(t, newMemStore(), n).run()
		i := opened("ws", time.Now())
		b.want(i)
		b.after(time.Second)
		b.want(then(i, "also: slow", time.Now()))
		b.after(time.Hour)
		seen := n.attempts()
		for k := 1; k < len(seen); k++ {
			if wait := seen[k].At - seen[k-1].At; wait > time.Minute {
				t.Errorf("%+v after %s, want at most a minute", seen[k], wait)
			}
		}
		if len(seen) < 60 {
			t.Errorf("%d attempts in an hour", len(seen))
		}
		b.end()
	})
}

// News go before repeats, however many of these are due.
func TestDeskAgainNewsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNotifier{do: func(_ context.Context, n int, _ Message, _ *Receipt) error {
			if n > 30 {
				sleep(t.Context(), 10*time.Second)
			}
			return nil
		}}
		b := newRepeating(t, newMemStore(), n)
		b.desk.Workers = 1
		var all []alerting.Incident
		for k := range 30 {
			all = append(all, opened(fmt.Sprintf("page%02d", k), time.Now()))
		}
		b.want(all...)
		b.run()
		b.after(61 * time.Second) // the repeats have begun
		news := opened("ticket", time.Now())
		news.Severity = alerting.Ticket
		b.want(news)
		b.after(10 * time.Second)
		if seen := n.attempts(); seen[len(seen)-1].ID != "ticket" {
			t.Errorf("last attempt %+v, want the news", seen[len(seen)-1])
		}
		b.after(time.Minute)
		b.end()
	})
}
