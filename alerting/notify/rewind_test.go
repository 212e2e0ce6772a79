package notify

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
)

// The log was moved away, or is an older copy of itself: open incidents stay,
// nobody is told of them again, and what comes next is judged with what the
// rules knew.
func TestLogEndsEarlier(t *testing.T) {
	t0 := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	at := func(minute int) time.Time { return t0.Add(time.Duration(minute) * time.Minute) }
	for _, tt := range []struct {
		name       string
		kept       int  // batches of six
		checkpoint bool // of the rules, at the stop
	}{
		{"all gone", 0, true},
		{"two batches left", 2, true},
		{"five batches left", 5, true},
		{"nothing gone", 6, true},
		{"four batches left, no checkpoint", 4, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, store := newMemLog(), newMemStore()
				e := evaluateWith(t, realRules(), log, store, "slack")
				for minute := range 6 { // down after three bad slots in a row
					log.append(append(entries(at(minute), "a1- b1+"), tick(at(minute))...)...)
				}
				synctest.Wait()
				e.stop(t)
				told, open := store.told(), e.Open()
				if len(open) != 2 || len(told) < 2 {
					t.Fatalf("%d incidents, told %v, want those of a and of all", len(open), told)
				}
				if !tt.checkpoint {
					store.mu.Lock()
					delete(store.records, path([]string{keyCheckpoint, "head"}))
					store.mu.Unlock()
				}
				log = &memLog{first: 1, batches: log.batches[:tt.kept:tt.kept], changed: make(chan struct{})}
				e = evaluateWith(t, realRules(), log, store, "slack")
				if diff := cmp.Diff(open, e.Open()); diff != "" || !e.isReady() {
					t.Errorf("ready %v; open after the restart (-want +got):\n%s", e.isReady(), diff)
				}
				if diff := cmp.Diff(told, store.told()); diff != "" {
					t.Errorf("told after the restart (-want +got):\n%s", diff)
				}
				for minute := 6; minute < 9; minute++ { // good again, and another is down
					log.append(append(entries(at(minute), "a1+ b1-"), tick(at(minute))...)...)
					synctest.Wait()
				}
				groups := map[string]bool{}
				for _, i := range e.Open() {
					groups[i.Group] = true
				}
				if !groups["b"] || groups["a"] {
					t.Errorf("open: %v, want one of b, and a resolved", groups)
				}
				if p := e.Position(); p.Seq != log.Last() {
					t.Errorf("position %d, want %d", p.Seq, log.Last())
				}
				e.stop(t)

				told = store.told()
				e = evaluateWith(t, realRules(), log, store, "slack") // and all is as ever
				if diff := cmp.Diff(told, store.told()); diff != "" {
					t.Errorf("told after another restart (-want +got):\n%s", diff)
				}
				e.stop(t)
			})
		})
	}
}

var _ Follower = (*memLog)(nil)

var _ interface{ Rewind(uint64) } = (*alerting.Engine)(nil)
