package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// routes is a service that answers 503 on the paths that are bad.
type routes struct {
	*httptest.Server

	mu   sync.Mutex
	runs map[string]int                // requests by path
	bad  func(path string, n int) bool // whether request n of path fails, from 0
}

func newRoutes(t *testing.T) *routes {
	t.Helper()
	s := &routes{runs: map[string]int{}, bad: allWell}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func allWell(string, int) bool { return false }

func (s *routes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bad(r.URL.Path, s.runs[r.URL.Path]) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	s.runs[r.URL.Path]++
}

// answer makes the service be as bad says from now on.
func (s *routes) answer(bad func(path string, n int) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad = bad
}

// count returns how often a path was asked for.
func (s *routes) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[path]
}

// tally is what was told of the incidents of one group.
type tally struct {
	Messages, Posts, Updates, Resolves int // on Slack; posts are messages and replies
	Alerts, Ends, Events               int // on PagerDuty
}

// plus adds what was told besides.
func (n tally) plus(o tally) tally {
	return tally{
		n.Messages + o.Messages, n.Posts + o.Posts, n.Updates + o.Updates, n.Resolves + o.Resolves,
		n.Alerts + o.Alerts, n.Ends + o.Ends, n.Events + o.Events,
	}
}

var incidentOf = regexp.MustCompile(`^(.+)-\d{8}T\d{6}Z-[0-9a-f]{8}$`)

// tallies counts what was told, by group: names of lower-case letters and dashes.
func tallies(t *testing.T, slack *slacktest.Server, pd *pager) map[string]tally {
	t.Helper()
	all := map[string]tally{}
	group := func(id string) string {
		m := incidentOf.FindStringSubmatch(id)
		if m == nil {
			t.Fatalf("%q is no id of an incident", id)
		}
		return m[1]
	}
	for _, m := range slack.Messages() {
		id, _ := m.Metadata.EventPayload["incident"].(string)
		g := group(id)
		n := all[g]
		n.Posts++
		n.Updates += m.Edits
		resolved := strings.Contains(strings.ToLower(m.Text), "resolved")
		if m.Thread == "" {
			n.Messages++
			resolved = resolved && m.Edits == 0 // told when it was over
		}
		if resolved {
			n.Resolves++
		}
		all[g] = n
	}
	pd.mu.Lock()
	defer pd.mu.Unlock()
	count := func(ids []string, one func(*tally)) {
		for _, id := range ids {
			n := all[group(id)]
			one(&n)
			all[group(id)] = n
		}
	}
	var events []string
	for _, body := range pd.bodies {
		var event struct {
			Dedup string `json:"dedup_key"`
		}
		if err := json.Unmarshal([]byte(body), &event); err != nil {
			t.Fatal(err)
		}
		events = append(events, event.Dedup)
	}
	count(pd.opened, func(n *tally) { n.Alerts++ })
	count(pd.ended, func(n *tally) { n.Ends++ })
	count(events, func(n *tally) { n.Events++ })
	return all
}
