package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// stormChecks is how many checks fail at once in TestAdversityStorm: 500 at full
// size.
var stormChecks = flag.Int("storm-checks", 200, "how many checks fail at once in TestAdversityStorm")

// slowHook receives webhooks and takes a second for each answer.
type slowHook struct {
	*httptest.Server
	mu    sync.Mutex
	heard []heardHook
}

// heardHook is one request, as it came in.
type heardHook struct {
	Type string
	Data struct{ ID, Group string }
	at   time.Time
}

func newSlowHook(t *testing.T) *slowHook {
	t.Helper()
	h := &slowHook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one := heardHook{at: time.Now()}
		if err := json.NewDecoder(r.Body).Decode(&one); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		h.mu.Lock()
		h.heard = append(h.heard, one)
		h.mu.Unlock()
		pause(r.Context(), time.Second)
	}))
	t.Cleanup(h.Close)
	return h
}

// all returns what came in of a type, in order.
func (h *slowHook) all(typ string) []heardHook {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.heard), func(one heardHook) bool { return one.Type != typ })
}

// TestAdversityStorm lets a few hundred checks, each a group by itself, fail at
// once while a webhook takes a second for each answer: the schedule does not
// notice, ten incidents are told one by one and all others as one, soon, and
// each of these is resolved once.
func TestAdversityStorm(t *testing.T) {
	t.Parallel()
	const (
		interval = 2 * time.Second
		singles  = 10 // storm.groups
	)
	n := *stormChecks
	f, listen, hook, slack := newFleet(t, 10), freePort(t), newSlowHook(t), slacktest.New()
	defer slack.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {dir: data}\nhttp: {listen: %q}\n", listen)
	fmt.Fprintf(&b, "defaults: {every: %s, timeout: 1500ms, confirm: 0, per_host: 1000}\nchecks:\n", interval)
	for i := range n {
		fmt.Fprintf(&b, "  - {name: c%d, route: {url: \"http://%s/c%[1]d\"}}\n", i, f.hosts[i%len(f.hosts)])
	}
	fmt.Fprintf(&b, `rules:
  - {name: errors, severity: page, rate: {of: server_error, over: 10m, above: 0%%}}
incidents: {storm: {groups: %d, within: 10m}}
notify:
  - {name: hook, webhook: {url: %q, allow_private: true, allow_unsigned: true}}
%s`, singles, hook.URL, slackNotifier(slack, ""))
	p, dir := launch(t, b.String())
	waitFor(t, patience, "two runs", func() bool { return f.least(n) >= 2 })

	f.anew()
	at := time.Now()
	f.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	storm := func() (at time.Time) {
		if all := hook.all("incident.opened"); len(all) > 0 {
			if k := slices.IndexFunc(all, func(one heardHook) bool { return one.Data.Group == alerting.StormGroup }); k >= 0 {
				return all[k].at
			}
		}
		return time.Time{}
	}
	waitFor(t, patience, "the storm", func() bool { return !storm().IsZero() })
	took := storm().Sub(at)
	t.Logf("the storm was told %s after the first failure", took.Round(time.Millisecond))
	if want := 3 * time.Second; took > want { // though the last of them fails an interval after the first
		f.late(t, "the storm was told after %s, want %s", took, want)
	}
	opened := func() int { return len(hook.all("incident.opened")) }
	waitFor(t, patience, "what is told one by one", func() bool { return opened() >= singles+1 && len(slack.Roots()) >= singles+1 })
	if took, want := time.Since(at), interval+3*time.Second+singles*time.Second; took > want { // a message a second
		f.late(t, "all was told after %s, want %s", took, want)
	}
	seen := f.least(n)
	waitFor(t, patience, "a run of each", func() bool { return f.least(n) > seen })

	f.answers(func(http.ResponseWriter, *http.Request) {})
	ended := func() int { return len(hook.all("incident.resolved")) }
	waitFor(t, 2*patience, "the resolves", func() bool { return ended() >= singles+1 && len(resolves(slack)) >= singles+1 })
	waitFor(t, patience, "the end of all", func() bool { return len(openIncidents(t, listen)) == 0 })
	p.alive()
	p.wantStopped()
	if o, e, m, r := opened(), ended(), len(slack.Roots()), len(resolves(slack)); o != singles+1 || e != o || m != o || r != o {
		t.Errorf("the webhook heard of %d incidents and %d ends, Slack of %d and %d, want %d of each:\n%s", o, e, m, r, singles+1, dump(slack))
	}
	ids := map[string]int{}
	for _, one := range hook.all("incident.resolved") {
		ids[one.Data.ID]++
	}
	if len(ids) != ended() {
		t.Errorf("%d resolves of %d incidents, want one of each", ended(), len(ids))
	}
	f.wantKeptIn(t, readLog(t, dir), n, every)
}
