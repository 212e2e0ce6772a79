package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/config"
	"github.com/tripline/tripline/internal/web"
)

// shelf is a notify.Store in memory for one incident: what is watched does not
// change.
type shelf struct {
	mu      sync.Mutex
	records []notify.Record
}

func (s *shelf) Commit(_ context.Context, writes ...notify.Write) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range writes {
		s.records = slices.DeleteFunc(s.records, func(r notify.Record) bool { return slices.Equal(r.Key, w.Key) })
		if w.Value != nil {
			s.records = append(s.records, notify.Record{Key: w.Key, Value: w.Value})
		}
	}
	return nil
}

func (s *shelf) List(_ context.Context, prefix ...string) ([]notify.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []notify.Record
	for _, r := range s.records {
		if len(r.Key) > len(prefix) && slices.Equal(r.Key[:len(prefix)], prefix) {
			list = append(list, r)
		}
	}
	return list, nil
}

func (s *shelf) Watch(ctx context.Context, prefix []string, f func(notify.Record) error) error {
	list, _ := s.List(ctx, prefix...)
	for _, r := range append(list, notify.Record{}) {
		if err := f(r); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// slow is a notifier that takes its time, and its settings.
type slow struct {
	takes   time.Duration
	refuses string // the id of an incident

	mu       sync.Mutex
	now, max int // attempts at a time
	attempts int
}

func (s *slow) Validate() []probe.Problem           { return nil }
func (s *slow) Notifier(notify.Env) notify.Notifier { return s }

func (s *slow) Notify(ctx context.Context, m notify.Message, _ *notify.Receipt) (notify.Receipt, error) {
	s.count(1)
	defer s.count(-1)
	pause(ctx, s.takes)
	if m.Incident.ID == s.refuses {
		return notify.Receipt{}, &notify.PermanentError{Err: errors.New("status 400")}
	}
	return notify.Receipt{}, nil
}

func (s *slow) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now += n
	s.max, s.attempts = max(s.max, s.now), s.attempts+max(0, n)
}

// newDesks runs desks of one notifier with incidents to tell, within a bubble;
// ended ends them.
func newDesks(t *testing.T, n config.Notifier, ids ...string) (d *desks, ended func()) {
	t.Helper()
	store := &shelf{}
	for _, id := range ids {
		i := testIncident(time.Now(), alerting.Page)
		i.ID = id
		order, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Commit(t.Context(), notify.Write{Key: []string{"outbox", n.Name, id}, Value: order}); err != nil {
			t.Fatal(err)
		}
	}
	d = &desks{
		store: store, link: func(alerting.Incident) string { return "" }, out: io.Discard,
		log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.run(ctx, []config.Notifier{n}) }()
	synctest.Wait()
	return d, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A desk whose settings change starts when the one before has ended, and what
// that one told is not told again. Nobody waits for it who only wants to know
// how the desks do.
func TestDesksReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := &slow{takes: 3 * time.Second}
		n := config.Notifier{Name: "slow", Settings: settings, Fingerprint: "1"}
		d, ended := newDesks(t, n, "a")
		var reload sync.WaitGroup
		n.Fingerprint = "2"
		reload.Go(func() { d.replace([]config.Notifier{n}) })
		synctest.Wait()
		if !d.mu.TryLock() {
			t.Error("whoever wants to know how the desks do waits for the end of an attempt")
		} else if d.mu.Unlock(); d.states([]config.Notifier{n})[0].State != "ok" {
			t.Errorf("state %+v while it is replaced, want that of the desk that ends", d.states([]config.Notifier{n})[0])
		}
		reload.Wait()
		pause(t.Context(), time.Minute)
		if settings.max != 1 || settings.attempts != 1 {
			t.Errorf("%d attempts, %d at a time, want one", settings.attempts, settings.max)
		}
		if s := d.stats()["slow"]; s.Depth != 0 || len(d.running) != 1 {
			t.Errorf("%d desks, stats %+v, want one that has nothing to tell", len(d.running), s)
		}
		ended()
	})
}

// A notifier that gave something up is failing until it tells something else, or
// its settings change.
func TestDesksStates(t *testing.T) {
	for _, c := range []struct {
		ids  []string
		want web.Notifier
	}{
		{[]string{"refused"}, web.Notifier{Name: "slow", State: "failing", Reason: "gave up: status 400"}},
		{[]string{"refused", "told"}, web.Notifier{Name: "slow", State: "ok"}},
	} {
		t.Run(c.want.State, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := config.Notifier{Name: "slow", Settings: &slow{refuses: "refused"}, Fingerprint: "1"}
				d, ended := newDesks(t, n, c.ids...)
				pause(t.Context(), time.Second)
				got := d.states([]config.Notifier{n})
				got[0].Told = time.Time{}
				if diff := cmp.Diff([]web.Notifier{c.want}, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", c.ids, diff)
				}
				ended()
			})
		})
	}
	dead := []notify.Dead{{At: time.Unix(100, 0), Reason: "status 400"}, {At: time.Unix(200, 0), Reason: "status 410"}}
	for name, c := range map[string]struct {
		stats notify.Stats
		want  string
	}{
		"well":                {notify.Stats{}, ""},
		"gave up":             {notify.Stats{Dead: dead}, "gave up: status 410"},
		"told something else": {notify.Stats{Dead: dead, LastTold: time.Unix(300, 0)}, ""},
		"of an earlier run":   {notify.Stats{Dead: dead, Started: time.Unix(300, 0)}, ""},
		"behind":              {notify.Stats{Oldest: 31 * time.Second, LastError: "no answer"}, "has not delivered for 31s: no answer"},
	} {
		if got := failing(c.stats); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
