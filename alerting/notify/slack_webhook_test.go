package notify

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify/slacktest"
)

func webhook(t *testing.T, s *slacktest.Server) Notifier {
	t.Helper()
	settings := &SlackWebhook{URL: s.Webhook}
	if p := settings.Validate(); len(p) > 0 {
		t.Fatalf("settings: %v", p)
	}
	return settings.Notifier(Env{Log: logger(t)})
}

func TestSlackWebhookLife(t *testing.T) {
	s := startSlack(t)
	n := webhook(t, s)
	now := time.Now()
	i := opened("ws", now)
	told := tell(t, n, i, nil)
	i = then(i, "also: slow", now)
	told = tell(t, n, i, told)
	tell(t, n, resolved(i, now, now.Add(time.Minute)), told)
	expectShape(t, s, "root", "root", "root")
	for k, want := range []string{"🔴 [page] ws", "🔴 [page] ws", "🟢 [resolved] ws"} {
		if got := s.Messages()[k].Text; !strings.HasPrefix(got, want) {
			t.Errorf("message %d says %q, want %q", k, got, want)
		}
	}
}

// The answer was lost: one repeat, and no more.
func TestSlackWebhookUnknownOutcome(t *testing.T) {
	for name, fault := range lost("webhook") {
		if name == "fatal" || name == "empty" {
			continue // not answers of a webhook
		}
		t.Run(name, func(t *testing.T) {
			s := startSlack(t)
			n := webhook(t, s)
			i := opened("ws", time.Now())
			lose(t, s, fault, n, i, nil)
			tell(t, n, i, pending(nil, 1))
			expectShape(t, s, "root", "root")
		})
	}
}

func TestSlackWebhookErrors(t *testing.T) {
	s := startSlack(t)
	n := webhook(t, s)
	at := "POST " + strings.TrimPrefix(s.Webhook[:strings.Index(s.Webhook, "/services")], "http://") + ": "
	answers := func(status int, body string, header ...string) slacktest.Fault {
		f := slacktest.Fault{Status: status, Body: body, Header: http.Header{}}
		if len(header) > 0 {
			f.Header["Retry-After"] = header
		}
		return f
	}
	for _, c := range []struct {
		name  string
		fault slacktest.Fault
		kind  string
		after time.Duration
		text  string
	}{
		{"404", answers(404, "no_service"), "permanent", 0, at + "status 404, no_service"},
		{"403", answers(403, "invalid_token"), "permanent", 0, at + "status 403, invalid_token"},
		{"410", answers(410, "channel_is_archived"), "permanent", 0, at + "status 410, channel_is_archived"},
		{"400", answers(400, "invalid_payload"), "permanent", 0, at + "status 400, invalid_payload: the form of the message was refused"},
		{"500", answers(500, "rollup_error"), "again", 0, at + "status 500, rollup_error"},
		{"503", answers(503, "<html>"+s.Webhook+"</html>"), "again", 0, at + "status 503, a text that is not Slack's"},
		{"302", slacktest.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}, "again", 0, at + "status 302, no text"},
		{"html", answers(200, "<html>"+s.Webhook+"</html>"), "again", 0, at + "status 200, a text that is not Slack's, want ok"},
		{"429 30", answers(429, "", "30"), "later", 30 * time.Second, at + "status 429, no text"},
		{"429", answers(429, "rate_limited"), "later", slackPause, at + "status 429, rate_limited"},
		{"429 0.5", answers(429, "", "0.5"), "later", 500 * time.Millisecond, at + "status 429, no text"},
		{"429 -1", answers(429, "", "-1"), "later", 0, at + "status 429, no text"},
		{"429 NaN", answers(429, "", "NaN"), "later", slackPause, at + "status 429, no text"},
		{"hang", slacktest.Fault{Hang: true}, "again", 0, at + "no answer in time"},
		{"drop", slacktest.Fault{Drop: true}, "again", 0, at + "EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.Inject(c.fault)
			defer s.Heal()
			_, err := n.Notify(during(t, s, "webhook", c.fault), Message{Incident: opened("ws", time.Now())}, nil)
			if err == nil {
				t.Fatal("no error")
			}
			checkError(t, err, c.kind, c.after, c.text, "slacktest-secret")
		})
	}
	s.Close()
	_, err := n.Notify(t.Context(), Message{Incident: opened("ws", time.Now())}, nil)
	if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func TestSlackWebhookRefusesForm(t *testing.T) {
	s := startSlack(t)
	s.Inject(slacktest.Fault{Status: 400, Body: "invalid_blocks", Times: 1})
	tell(t, webhook(t, s), opened("ws", time.Now()), nil)
	expectShape(t, s, "root")
	if m := s.Messages()[0]; len(m.Blocks) != 0 || !strings.Contains(m.Text, "not_found 3 of 3") {
		t.Errorf("message %q with blocks %s, want plain text", m.Text, m.Blocks)
	}
}

// What becomes of the plain text counts, not that the form was refused before.
func TestSlackWebhookPlainLater(t *testing.T) {
	for name, second := range map[string]slacktest.Fault{
		"429":  {Status: 429, Header: http.Header{"Retry-After": {"7"}}},
		"503":  {Status: 503},
		"drop": {Drop: true},
	} {
		s := startSlack(t)
		n := webhook(t, s)
		second.Times = 1
		s.Inject(slacktest.Fault{Status: 400, Body: "invalid_blocks", Times: 1})
		s.Inject(second)
		_, err := n.Notify(t.Context(), Message{Incident: opened("ws", time.Now())}, nil)
		later, limited := errors.AsType[*LaterError](err)
		if _, permanent := errors.AsType[*PermanentError](err); err == nil || permanent || limited != (name == "429") || limited && later.After != 7*time.Second {
			t.Errorf("%s: error %v (permanent %t), want one that is tried again", name, err, permanent)
		}
	}
}

// A message says what its version added, a reminder among them.
func TestSlackWebhookSaysWhatChanged(t *testing.T) {
	s := startSlack(t)
	s.AllowMention("<!here>")
	n := (&SlackWebhook{URL: s.Webhook, Mention: "<!here>"}).Notifier(Env{Log: logger(t)})
	i := opened("ws", time.Now())
	tell(t, n, i, nil)
	i = then(i, "still open after 1h", time.Now())
	i.Event = alerting.Reminded
	tell(t, n, i, nil)
	for _, want := range []string{"still open after 1h", "!here"} {
		if got := string(s.Messages()[1].Blocks); !strings.Contains(got, want) {
			t.Errorf("the reminder does not say %q: %s", want, got)
		}
	}
	if got := string(s.Messages()[0].Blocks); strings.Contains(got, "*opened*") {
		t.Errorf("the first message says that it is the first: %s", got)
	}
}

func TestSlackWebhookValidate(t *testing.T) {
	for url, want := range map[string]string{
		"https://hooks.slack.com/services/T/B/secret": "",
		"":                                       "url: is empty, want https://hooks.slack.com/services/...",
		"http://hooks.slack.com/services/secret": "url: sends secrets to hooks.slack.com without encryption, want https",
		"hooks.slack.com/services/secret":        "url: is no https URL",
		"https://host\x00/secret":                "url: is no URL",
	} {
		got := ""
		for _, p := range (&SlackWebhook{URL: url}).Validate() {
			got += p.Path + ": " + p.Text
		}
		if got != want {
			t.Errorf("%q: %q, want %q", url, got, want)
		}
	}
}
