package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// front is a load balancer before two versions of a service: A, which has no
// WebSocket route, and B, which has.
type front struct {
	mode         atomic.Value // "A", "B", "mix" by turns, "down" nobody answers behind it
	healths, ups atomic.Int64 // requests of each sort in mode mix
	seen         atomic.Int64 // requests of the health path
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mode := f.mode.Load().(string)
	turn := &f.healths
	if r.Header.Get("Upgrade") != "" {
		turn = &f.ups
	}
	if mode == "mix" {
		mode = []string{"B", "A"}[turn.Add(1)%2]
	}
	switch {
	case mode == "down":
		w.WriteHeader(http.StatusBadGateway)
	case r.URL.Path == "/health":
		f.seen.Add(1)
		fmt.Fprintf(w, `{"status":"ok","version":"rev-%s"}`, mode)
	case mode == "B" && r.URL.Path == "/ws" && r.Header.Get("Upgrade") != "":
		if c, err := websocket.Accept(w, r, nil); err == nil {
			_, _, _ = c.Read(r.Context())
			_ = c.CloseNow() // the client has gone
		}
	case r.Header.Get("Upgrade") != "": // as ASGI servers do
		w.WriteHeader(http.StatusForbidden)
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"detail":"Not Found"}`)
	}
}

// TestDeployments runs the monitor through deployments that go wrong: the message
// names the versions, mixed revisions are told from a bad one, and a cold start
// is 502 and then good.
func TestDeployments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, before, then string
		want               []string // in the message
		output             []string // in the terminal, in this order
	}{
		{
			"rollback", "B", "A",
			[]string{"it fails since another version was deployed", `"rev-B" until `, `"rev-A" since`},
			[]string{"up       live", "live forbidden: ", "[new_version: ", "up       live"},
		},
		{
			"mixed", "B", "mix",
			[]string{"several revisions or backends serve at once", `"rev-A"`, `"rev-B"`},
			[]string{"up       live", "live forbidden: ", "[mixed_versions: ", "up       live"},
		},
		{
			"cold start", "A", "down",
			[]string{"the proxy cannot reach the application", `version "rev-A" until `},
			[]string{"live forbidden: ", "up       live", "RESOLVED"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := &front{}
			f.mode.Store(c.before)
			s := httptest.NewServer(f)
			defer s.Close()
			slack := slacktest.New()
			defer slack.Close()
			dir := t.TempDir()
			rules := "{name: ws, select: {kind: websocket}, severity: page, rate: {of: upgrade_rejected, over: 1m, above: 0%}}"
			if c.then == "down" { // version A rejects upgrades all the time: only the gateway's errors are told
				rules = "{name: ws, select: {kind: websocket}, severity: page, rate: {of: server_error, over: 1m, above: 0%}}"
			}
			writeFile(t, filepath.Join(dir, "config.yaml"), fmt.Sprintf(`version: 1
data: {dir: data}
http: {listen: %q}
defaults: {base_url: %q}
checks:
  - {name: api, group: svc, every: 1s, timeout: 800ms, confirm: 0, health: {url: /health}}
  - {name: live, group: svc, every: 3s, timeout: 1s, confirm: 1, websocket: {url: /ws}}
rules:
  - %s
notify:
  - {name: console, log: {}}
  - {name: slack, slack: {token: %q, channel: %q, api_url: %q}}
`, freePort(t), s.URL, rules, slacktest.Token, slacktest.Channel, slack.API))
			p := start(t, dir, nil, "run")
			waitFor(t, 60*time.Second, "the version to be known", func() bool {
				return strings.Contains(p.out.String(), " live") && f.seen.Load() >= 5
			})
			f.mode.Store(c.then)
			root := roots(t, slack, 60*time.Second, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })[0]
			for _, want := range c.want {
				if !strings.Contains(strings.ReplaceAll(string(root.Blocks), `\"`, `"`), want) {
					t.Errorf("the message lacks %q:\n%s", want, root.Blocks)
				}
			}
			f.mode.Store("B")
			roots(t, slack, 60*time.Second, "the resolve", func(m []slacktest.Message) bool {
				return strings.Contains(strings.ToLower(m[0].Text), "resolved")
			})
			p.stop()
			rest := p.out.String()
			for _, want := range c.output {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("the output lacks %q after what went before", want)
				}
				rest = after
			}
		})
	}
}
