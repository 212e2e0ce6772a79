package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// storyConfig watches a health endpoint and a WebSocket each second and tells
// Slack when the WebSocket answers 404.
func storyConfig(tg *target, slack *slacktest.Server, listen string) string {
	return fmt.Sprintf(`version: 1
data: {dir: data}
http: {listen: %q}
defaults: {base_url: %q, every: 1s, timeout: 300ms, confirm: 0}
checks:
  - {name: api, group: api, health: {url: /health, conditions: ['.status == "ok"']}}
  - {name: live, group: ws, websocket: {url: /ws}}
rules:
  - {name: ws-404, select: {kind: websocket}, severity: page, rate: {of: not_found, over: 1m, above: 0%%}}
notify:
  - {name: console, log: {}}
  - {name: slack, slack: {token: %q, channel: %q, api_url: %q}}
`, listen, tg.URL, slacktest.Token, slacktest.Channel, slack.API)
}

// roots waits until the incident messages in the channel satisfy ok.
func roots(t *testing.T, slack *slacktest.Server, within time.Duration, what string, ok func([]slacktest.Message) bool) []slacktest.Message {
	t.Helper()
	within = max(within, patience)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if _, err := slack.Wait(ctx, func([]slacktest.Message) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if _, err := slack.Wait(ctx, func(all []slacktest.Message) bool { return ok(rootsOf(all)) }); err != nil {
		t.Fatalf("waited %s for %s; the channel has:\n%s", within, what, dump(slack))
	}
	return slack.Roots()
}

func rootsOf(all []slacktest.Message) []slacktest.Message {
	var list []slacktest.Message
	for _, m := range all {
		if m.Thread == "" && !m.Deleted {
			list = append(list, m)
		}
	}
	return list
}

func dump(slack *slacktest.Server) string {
	var b strings.Builder
	for _, m := range slack.Messages() {
		fmt.Fprintf(&b, "%s thread=%q %s\n", m.TS, m.Thread, m.Text)
	}
	return b.String()
}

func TestStory(t *testing.T) {
	for _, failure := range []string{"404", "mix"} {
		t.Run(failure, func(t *testing.T) {
			t.Parallel()
			slack := slacktest.New()
			defer slack.Close()
			tg := newTarget(t)
			dir := t.TempDir()
			listen := freePort(t)
			writeFile(t, filepath.Join(dir, "config.yaml"), storyConfig(tg, slack, listen))
			p := start(t, dir, nil, "run")

			waitFor(t, 10*time.Second, "three good upgrades", func() bool { return tg.upgrades.Load() >= 3 })
			if n := len(slack.Messages()); n != 0 {
				t.Fatalf("%d messages while all is well:\n%s", n, dump(slack))
			}
			tg.mode.Store(failure)
			interval := time.Second
			if failure == "mix" {
				interval = 2 * time.Second // every other upgrade fails
			}
			opened := roots(t, slack, interval+2*time.Second, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })
			for _, want := range []string{"not_found", "ws"} {
				if !strings.Contains(opened[0].Text, want) {
					t.Errorf("the message %q does not name %q", opened[0].Text, want)
				}
			}
			seen := tg.upgrades.Load()
			waitFor(t, 20*time.Second, "eight more upgrades", func() bool { return tg.upgrades.Load() >= seen+8 })
			if all := slack.Messages(); len(all) != 1 {
				t.Errorf("it stays broken: %d messages, want 1:\n%s", len(all), dump(slack))
			}
			tg.mode.Store("ok")
			roots(t, slack, 8*time.Second, "the resolve", func(m []slacktest.Message) bool {
				return len(m) == 1 && strings.Contains(strings.ToLower(m[0].Text), "resolved")
			})
			waitFor(t, 5*time.Second, "the resolve in the thread", func() bool { return len(slack.Replies(opened[0].TS)) == 1 })
			if reply := slack.Replies(opened[0].TS)[0].Text; !strings.Contains(reply, "after") {
				t.Errorf("the resolve %q does not give the outage length", reply)
			}
			if v := slack.Violations(); len(v) > 0 {
				t.Errorf("Slack would have refused: %q", v)
			}
			if code, took := p.stop(); code != 0 || took > 8*time.Second {
				t.Errorf("exit code %d after %s, want 0 within 8s", code, took)
			}
		})
	}
}
