package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify/slacktest"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
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

// storyTitle is the first line of what is told of it.
var storyTitle = regexp.MustCompile(`^🔴 \[page\] ws: not_found (\d+) of (\d+) attempts \((.+)\) in 1m, limit 0 % – `)

// wantStory fails the test unless a message says all that one who is woken by
// it wants to know: what is wrong, of how much, since when, which check, what
// was seen.
func wantStory(t *testing.T, m slacktest.Message) {
	t.Helper()
	figures := storyTitle.FindStringSubmatch(m.Text)
	if figures == nil {
		t.Fatalf("the message is %q, want %s", m.Text, storyTitle)
	}
	bad, _ := strconv.Atoi(figures[1])
	total, _ := strconv.Atoi(figures[2])
	if share := alerting.Share(float64(bad) / float64(total)).String(); bad < 1 || total < 3 || figures[3] != share {
		t.Errorf("%d of %d attempts are said to be %s, want %s, and more than the three good ones", bad, total, figures[3], share)
	}
	if !strings.Contains(m.Text, "404") {
		t.Errorf("the message %q does not say what was seen", m.Text)
	}
	var blocks []struct {
		Text     struct{ Text string }
		Elements []struct{ Text string }
	}
	if err := json.Unmarshal(m.Blocks, &blocks); err != nil {
		t.Fatalf("%v in %s", err, m.Blocks)
	}
	var shown strings.Builder
	for _, b := range blocks {
		fmt.Fprintln(&shown, b.Text.Text)
		for _, e := range b.Elements {
			fmt.Fprintln(&shown, e.Text)
		}
	}
	for _, want := range []string{
		`^🔴 \[page\] ws: not_found \d+ of \d+ attempts `,
		`(?m)^\*Since <!date\^\d+\^.* UTC>\*$`,
		`(?m)^• not_found \d+ of \d+ attempts \(`,
		`(?m)^check: live$`,
		`(?m)^since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`,
		`(?m)^reason: .*404`,
		`incident ws-\d{8}T\d{6}Z-[0-9a-f]+, version 1`,
	} {
		if !regexp.MustCompile(want).MatchString(shown.String()) {
			t.Errorf("the message shows no %s:\n%s", want, &shown)
		}
	}
}

// wantRecovered fails the test unless the incident ended with the third good
// result in a row after the last bad one.
func wantRecovered(t *testing.T, i alerting.Incident, check string, entries []checks.Entry) {
	t.Helper()
	good, other := 0, 0
	for _, e := range entries {
		switch r := e.Result; {
		case r == nil || r.Check != check || !r.Slot.After(i.LastBad) || r.Slot.After(i.Ended):
		case r.Status == probe.Up:
			good++
		case r.Status != probe.Unknown: // bad in another way, such as a timeout
			other++
		}
	}
	if good < 3 || good > 3 && other == 0 {
		t.Errorf("the incident ended with good result %d after the last bad one, want the third", good)
	}
}

func TestStory(t *testing.T) {
	t.Parallel()
	for _, failure := range []string{"404", "mix"} {
		t.Run(failure, func(t *testing.T) {
			t.Parallel()
			slack := slacktest.New()
			defer slack.Close()
			tg := newTarget(t)
			dir := t.TempDir()
			listen := freePort(t)
			writeFile(t, filepath.Join(dir, "config.yaml"), storyConfig(tg, slack, listen))
			at := time.Now()
			p := start(t, dir, nil, "run")

			waitFor(t, 10*time.Second, "the first upgrade", func() bool { return tg.upgrades.Load() >= 1 })
			if took := time.Since(at); took > 5*time.Second {
				p.load.late(t, "the first check was run after %s, want 5s", took)
			}
			waitFor(t, 10*time.Second, "three good upgrades", func() bool { return tg.upgrades.Load() >= 3 })
			if n := len(slack.Messages()); n != 0 {
				t.Fatalf("%d messages while all is well:\n%s", n, dump(slack))
			}
			tg.mode.Store(failure)
			opened := roots(t, slack, patience, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })
			wantStory(t, opened[0])
			seen := tg.upgrades.Load()
			waitFor(t, 20*time.Second, "eight more upgrades", func() bool { return tg.upgrades.Load() >= seen+8 })
			if all := slack.Messages(); len(all) != 1 {
				t.Errorf("it stays broken: %d messages, want 1:\n%s", len(all), dump(slack))
			}
			id := oneIncident(t, listen).ID
			tg.mode.Store("ok")
			roots(t, slack, 8*time.Second, "the resolve", func(m []slacktest.Message) bool { return len(m) == 1 && isResolved(m[0]) })
			waitFor(t, 5*time.Second, "the resolve in the thread", func() bool { return len(slack.Replies(opened[0].TS)) == 1 })
			ended := endedIncident(t, listen, id)
			want := "🟢 [resolved] ws after " + probe.Duration(ended.Outage().Round(time.Second)).String() + ": not_found "
			if reply := slack.Replies(opened[0].TS)[0].Text; !strings.HasPrefix(reply, want) || ended.Outage() < 4*time.Second {
				t.Errorf("the resolve is %q after an outage of %s, want %q of some seconds", reply, ended.Outage(), want)
			}
			if v := slack.Violations(); len(v) > 0 {
				t.Errorf("Slack would have refused: %q", v)
			}
			p.wantStopped()
			wantRecovered(t, ended, "live", readLog(t, dir))
		})
	}
}
