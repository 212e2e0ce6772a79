package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/slack-go/slack"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// night is an outage of a WebSocket at 3 a.m., as each notifier gets it.
func night() map[string]Message {
	at := time.Date(2026, 11, 21, 3, 10, 0, 0, time.UTC)
	i := opened("ws", at)
	i.ID = "ws-20261121T031000Z-1a2b3c4d"
	i.Findings[0].Text = "not_found 3 of 3 attempts (100 %) in 5m, limit 0 %"
	i.Findings[0].Confirmed = 3
	i.Findings[0].Checks = []string{"ws-eu", "ws-us"}
	i.LastBad = at.Add(2 * time.Minute)
	i.Findings[0].LastBad = i.LastBad
	ev := &probe.Evidence{
		Class: probe.NotFound, Stage: probe.StageUpgrade, URL: "wss://gw.example.com/ws?token=[redacted]",
		Request: "GET /ws?token=[redacted] HTTP/1.1\r\nHost: gw.example.com\r\nUpgrade: websocket\r\n\r\n",
		Head:    "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nServer: uvicorn\r\n\r\n",
		Body:    `{"detail":"Not Found"}`,
		Causes: []probe.Cause{
			{Name: "no_websocket_library", Certainty: probe.Possible, Text: "the server has no WebSocket library", Next: "look for \"No <supported> library\" in the log", Fix: "install it"},
			{Name: "proxy_strips_upgrade", Certainty: probe.Possible, Text: "a proxy drops the Upgrade header", Next: "probe past it"},
			{Name: "route_missing", Certainty: probe.Unlikely, Text: "no route"},
		},
	}
	link := "https://tripline.example.com/incidents/" + i.ID
	grown := then(i, "also: p95 latency 2.41 s of 20 results in 5m, limit 1 s", at.Add(4*time.Minute))
	grown.Findings = append(grown.Findings, alerting.Finding{
		Rule: "latency", Kind: "latency", Severity: alerting.Ticket, Checks: []string{"ws-eu"}, Figure: 2.41, Threshold: 1,
		Unit: "s", Bad: 12, Total: 20, Since: at.Add(4 * time.Minute), LastBad: at.Add(4 * time.Minute),
		Text: "p95 latency 2.41 s of 20 results in 5m, limit 1 s",
	})
	ticket := opened("api & <web>", at)
	ticket.Severity = alerting.Ticket
	ticket.Findings[0].Severity, ticket.Findings[0].Runbook = alerting.Ticket, ""
	return map[string]Message{
		"opened":   {Incident: i, Evidence: ev, Link: link},
		"grown":    {Incident: grown, Evidence: ev, Link: link},
		"resolved": {Incident: resolved(grown, at.Add(4*time.Minute), at.Add(7*time.Minute)), Evidence: ev, Link: link},
		"ticket":   {Incident: ticket},
	}
}

func TestSlackGolden(t *testing.T) {
	now := time.Date(2026, 11, 21, 3, 20, 0, 0, time.UTC)
	for name, m := range night() {
		for part, msg := range map[string]slackMessage{"root": slackRoot(m, "<!here>", now), "change": slackChange(m, "", now)} {
			if part == "change" && m.Incident.Version == 1 {
				continue
			}
			t.Run(name+" "+part, func(t *testing.T) {
				var b bytes.Buffer
				e := json.NewEncoder(&b)
				e.SetEscapeHTML(false)
				e.SetIndent("", "  ")
				if err := e.Encode(map[string]any{"text": msg.Text, "blocks": slack.Blocks{BlockSet: msg.Blocks}}); err != nil {
					t.Fatal(err)
				}
				golden(t, "slack-"+name+"-"+part+".json", b.Bytes())
			})
		}
	}
}

func TestLogGolden(t *testing.T) {
	now := time.Date(2026, 11, 21, 3, 20, 0, 0, time.UTC)
	var b strings.Builder
	for _, name := range []string{"opened", "grown", "resolved", "ticket"} {
		b.WriteString(logLine(night()[name], now, time.FixedZone("CET", 3600)) + "\n")
	}
	golden(t, "log.txt", []byte(b.String()))
}

func TestLog(t *testing.T) {
	var out logged
	n := (&Log{UTC: true}).Notifier(Env{Out: &out})
	i := opened("ws\x1b[31m\nfake line", time.Now())
	if _, err := n.Notify(t.Context(), Message{Incident: i}, nil); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Count(got, "\n") != 1 || strings.Contains(got, "\x1b") || !strings.Contains(got, " PAGE opened ws[31m fake line: ") {
		t.Errorf("line %q", got)
	}
	n = (&Log{}).Notifier(Env{Out: full{}})
	if _, err := n.Notify(t.Context(), Message{Incident: i}, nil); !errors.Is(err, errDisk) {
		t.Errorf("error %v, want %v", err, errDisk)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errDisk }

func TestKinds(t *testing.T) {
	if diff := cmp.Diff([]string{"log", "slack", "slack_webhook", "pagerduty", "alertmanager", "webhook", "email"}, Kinds{}.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	names, settings := Kinds{Slack: &Slack{Token: "xoxb-1"}}.Set()
	if len(names) != 1 || names[0] != "slack" || len(settings[0].Validate()) != 1 {
		t.Errorf("set: %q", names)
	}
}

func TestSpan(t *testing.T) {
	at := time.Date(2026, 11, 21, 23, 58, 0, 0, time.UTC)
	i := opened("ws", at)
	now := at.Add(time.Hour)
	if got, want := span(i, now, time.UTC), "2026-11-21 23:58:00 UTC (one slot)"; got != want {
		t.Errorf("span %q, want %q", got, want)
	}
	i.LastBad = at.Add(4 * time.Minute)
	if got, want := span(i, now, time.UTC), "2026-11-21 23:58:00–00:02:00 UTC (4m)"; got != want {
		t.Errorf("span %q, want %q", got, want)
	}
}

// plainSlack tells whether s can mean nothing but itself to Slack.
func plainSlack(s string) bool {
	s = strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(s)
	return !strings.ContainsAny(s, "<>&")
}

func FuzzSlackText(f *testing.F) {
	for _, s := range hostile() {
		f.Add(s, 150)
	}
	f.Add("&&&&", 5)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = 1 + (limit&0x7fffffff)%3000
		got := slackInline(s, limit)
		if !utf8.ValidString(got) || slackLen(got) > limit || !plainSlack(got) || strings.ContainsAny(got, "\n\r\x1b") {
			t.Errorf("inline of %q within %d: %q", s, limit, got)
		}
		if whole := slackInline(s, 1<<30); slackLen(whole) <= limit && got != whole {
			t.Errorf("inline of %q within %d: %q, though it fits", s, limit, got)
		}
		code := slackCode(s, limit)
		if code == "" {
			return
		}
		inner, ok := strings.CutPrefix(code, "```\n")
		inner, ok2 := strings.CutSuffix(inner, "\n```")
		if !ok || !ok2 || inner == "" || strings.Contains(inner, "`") || !utf8.ValidString(code) || slackLen(code) > limit || !plainSlack(inner) {
			t.Errorf("code of %q within %d: %q", s, limit, code)
		}
		link := slackLink(s, s)
		if strings.HasPrefix(link, "<") {
			link = strings.TrimSuffix(strings.Replace(link[1:], "|", "", 1), ">")
		}
		if !plainSlack(link) || !utf8.ValidString(link) {
			t.Errorf("link to %q: %q", s, link)
		}
	})
}
