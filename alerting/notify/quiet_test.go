package notify

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
)

// TestEvaluatorQuiet commits what is quiet and hands it to nobody. What people
// are told in the same batch is not lost by it.
func TestEvaluatorQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(1e9, 0)
		rules := func() *alerting.Engine {
			return alerting.NewEngine([]alerting.Rule{{Name: "down", RecoverAfter: 1, Down: &alerting.DownRule{}}},
				[]alerting.Subject{{Name: "a", Interval: time.Minute}, {Name: "b", Interval: time.Minute}, {Name: "c", Interval: time.Minute}})
		}
		silence := checks.Entry{V: 1, Command: &checks.Command{
			At: t0.Add(10 * time.Second), Name: alerting.CommandSilence, Author: "ada",
			Args: map[string]string{"id": "s1", "for": "3m", "check": "*"},
		}}
		log, store := newMemLog(), newMemStore()
		e := evaluateWith(t, rules(), log, store, "slack")
		log.append(append(entries(t0, "a-"), silence)...)
		synctest.Wait()
		log.append(entries(t0.Add(time.Minute), "a- b- c-")...)
		synctest.Wait()
		log.append(entries(t0.Add(2*time.Minute), "a+ b+ c-")...)
		synctest.Wait()
		id := map[string]string{}
		for _, i := range e.Incidents() {
			id[i.Group] = i.ID
		}
		want := []string{"slack " + id["a"] + " v1", "slack " + id["a"] + " v3"}
		if diff := cmp.Diff(want, store.told()); diff != "" {
			t.Errorf("outbox (-want +got):\n%s", diff)
		}
		if got := len(e.Incidents()); got != 3 {
			t.Errorf("%d incidents stored, want 3", got)
		}
		e.stop(t)

		// The silence ends after a restart; somebody new is there to be told.
		e = evaluateWith(t, rules(), log, store, "slack", "pager")
		if diff := cmp.Diff(want, store.told()); diff != "" {
			t.Errorf("outbox after a restart (-want +got):\n%s", diff)
		}
		log.append(entries(t0.Add(4*time.Minute), "c-")...)
		synctest.Wait()
		want = append(want, "pager "+id["c"]+" v2", "slack "+id["c"]+" v2")
		if diff := cmp.Diff(want, store.told()); diff != "" {
			t.Errorf("outbox after the silence (-want +got):\n%s", diff)
		}
		e.stop(t)
	})
}

// TestPagerDutyAcknowledges sends the acknowledgement once, after what it is of.
func TestPagerDutyAcknowledges(t *testing.T) {
	r := startReceiver(t, response{status: 202, body: `{"status":"success"}`})
	n := pagerDutyAt("")(r.URL)
	i := opened("ws", time.Now())
	told := tell(t, n, i, nil)
	i = then(i, "acknowledged by ada", time.Now())
	i.Acknowledged = &alerting.Acknowledgement{At: time.Now(), By: "ada"}
	told = tell(t, n, i, told)
	i = then(i, "also: slow", time.Now())
	told = tell(t, n, i, told)
	tell(t, n, over(i), told)
	if diff := cmp.Diff("trigger ws, trigger ws, acknowledge ws, trigger ws, resolve ws", events(t, r)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
