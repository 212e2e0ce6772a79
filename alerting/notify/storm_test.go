package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
)

// A storm reaches those who would be told of an incident in it, also of one
// that joins later, and tells the others nothing again.
func TestStormReachesItsTeams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
		var subjects []alerting.Subject
		routes := map[string]Route{
			"pages":  {When: When{Severity: alerting.Page}},
			"team-d": {When: When{Labels: map[string]string{"team": "d"}}},
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			routes[name] = Route{When: When{Groups: []string{name}}}
			subjects = append(subjects, alerting.Subject{
				Name: name, Kind: "route", Location: "local", Interval: time.Minute, Labels: map[string]string{"team": name},
			})
		}
		rules := []alerting.Rule{{Name: "down", Down: &alerting.DownRule{}, RecoverAfter: 1}}
		engine := alerting.NewEngine(rules, subjects)
		engine.SetPolicy(alerting.Policy{StormGroups: 1, StormWithin: time.Minute.Milliseconds()})
		route := func(i alerting.Incident, at time.Time) (names []string) {
			for name, r := range routes {
				if r.Due(i, at) {
					names = append(names, name)
				}
			}
			return names
		}
		log, store := newMemLog(), newMemStore()
		e := &evaluation{done: make(chan error, 1)}
		e.Evaluator = NewEvaluator(EvaluatorConfig{Engine: engine, Log: log, Store: store, Logger: logger(t), Route: route})
		e.run(t)
		seen := 0
		for _, step := range []struct {
			after   time.Duration
			results string // none: a tick
			want    []string
		}{
			{0, "a- b-", []string{"a a"}},
			{2 * time.Second, "", []string{"b storm"}},
			{10 * time.Second, "c-", []string{"c storm"}},
			{20 * time.Second, "b-", nil},
			{30 * time.Second, "d-", []string{"d storm", "team-d storm"}},
			{70 * time.Second, "", []string{"b storm", "c storm", "d storm", "team-d storm"}},
			{80 * time.Second, "a+ b+ c+ d+", []string{"a a", "b storm", "c storm", "d storm", "team-d storm"}},
		} {
			if step.results == "" {
				log.append(tick(t0.Add(step.after))...)
			} else {
				log.append(entries(t0.Add(step.after), step.results)...)
			}
			synctest.Wait()
			all := store.told()
			var got []string
			for _, line := range all[seen:] {
				name, rest, _ := strings.Cut(line, " ")
				group, _, _ := strings.Cut(rest, "-")
				got = append(got, name+" "+group)
			}
			seen = len(all)
			slices.Sort(got)
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("%s: outbox (-want +got):\n%s", step.after, diff)
			}
		}
		e.stop(t)
	})
}

// With a second between messages a storm does not wait for the incidents that
// were told one by one before it, of the same severity.
func TestStormGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newMemStore(), &fakeNotifier{})
		b.desk.Limit = Limit{1, time.Second}
		b.run()
		now := time.Now()
		ticket := opened("ticket", now)
		ticket.Severity, ticket.Group = alerting.Ticket, alerting.StormGroup
		b.want(ticket)
		for k := range 10 {
			b.want(opened(fmt.Sprintf("page%d", k), now))
		}
		b.after(1500 * time.Millisecond)
		storm := opened("storm", time.Now())
		storm.Group = alerting.StormGroup
		b.want(storm)
		b.after(20 * time.Second)
		var order []string
		for _, a := range b.notifier.attempts() {
			if order = append(order, a.ID); a.ID == "storm" && a.At > 2*time.Second {
				t.Errorf("the storm is told after %s, want 2s", a.At)
			}
		}
		if n := len(order); n != 12 || order[n-1] != "ticket" && order[0] != "ticket" {
			t.Errorf("told %v, want a storm of tickets first, when there is nothing else, or last", order)
		}
		b.end()
	})
}

// What is stored of a storm of many parts with many labels fits.
func TestLargeStormFits(t *testing.T) {
	labels := map[string]string{}
	for k := range 20 {
		labels[fmt.Sprintf("label%d", k)] = strings.Repeat("x", 250)
	}
	storm := opened("storm", time.Unix(6000, 0))
	for k := range 100 {
		storm.Parts = append(storm.Parts, alerting.Part{Group: fmt.Sprintf("g%d", k), Severity: alerting.Page, Labels: labels})
	}
	const limit = 100 << 10
	b := fit(storm, limit)
	i, err := alerting.DecodeIncident(b)
	if err != nil || len(b) > limit || len(i.Findings) != len(storm.Findings) || len(i.Parts) != 12 || !i.MoreParts {
		t.Errorf("%d bytes, %d findings, %d parts, more: %t, %v", len(b), len(i.Findings), len(i.Parts), i.MoreParts, err)
	}
}
