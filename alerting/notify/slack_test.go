package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify/slacktest"
	"github.com/tripline/tripline/checks/probe"
)

// startSlack starts a stand-in of Slack, and at the end of the test checks that
// nothing was sent to it that Slack would have refused.
func startSlack(t *testing.T) *slacktest.Server {
	t.Helper()
	s := slacktest.New()
	t.Cleanup(func() {
		s.Close()
		for _, v := range s.Violations() {
			t.Errorf("Slack would have refused: %s", v)
		}
	})
	return s
}

// slackNotifier makes a notifier of Slack settings that talks to s.
func slackNotifier(t *testing.T, s *slacktest.Server, change ...func(*Slack)) Notifier {
	t.Helper()
	settings := &Slack{Token: slacktest.Token, Channel: slacktest.Channel, APIURL: s.API}
	for _, f := range change {
		f(settings)
	}
	if p := settings.Validate(); len(p) > 0 {
		t.Fatalf("settings: %v", p)
	}
	return settings.Notifier(Env{Log: logger(t)})
}

// during returns a context for a request to method that meets f: if it is going
// to hang the context ends, as one whose time is up, once it has got there.
func during(t *testing.T, s *slacktest.Server, method string, f slacktest.Fault) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	if calls := s.Calls(method); f.Hang {
		go func() {
			_, _ = s.Wait(ctx, func([]slacktest.Message) bool { return s.Calls(method) > calls })
			cancel(context.DeadlineExceeded)
		}()
	}
	return ctx
}

// lose makes an attempt that meets f, whose outcome is therefore not known.
func lose(t *testing.T, s *slacktest.Server, f slacktest.Fault, n Notifier, i alerting.Incident, told *Receipt) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if f.Hang { // until it has got there
		calls, messages := s.Calls(f.Method), len(s.Messages())
		go func() {
			_, _ = s.Wait(ctx, func(m []slacktest.Message) bool {
				return s.Calls(f.Method) > calls && (!f.Done || len(m) > messages)
			})
			cancel()
		}()
	}
	s.Inject(f)
	_, err := n.Notify(ctx, Message{Incident: i}, told)
	_, permanent := errors.AsType[*PermanentError](err)
	_, later := errors.AsType[*LaterError](err)
	if err == nil || permanent || later {
		t.Fatalf("error %v, want one that leaves the outcome open", err)
	}
}

// tell makes one attempt that must work.
func tell(t *testing.T, n Notifier, i alerting.Incident, told *Receipt) *Receipt {
	t.Helper()
	rec, err := n.Notify(t.Context(), Message{Incident: i}, told)
	if err != nil {
		t.Fatalf("tell %s v%d: %v", i.ID, i.Version, err)
	}
	rec.Version = i.Version
	return &rec
}

// pending is told after an attempt of unknown outcome.
func pending(told *Receipt, attempts int) *Receipt {
	p := Receipt{Pending: true, Attempts: attempts}
	if told != nil {
		p.Version, p.IDs = told.Version, told.IDs
	}
	return &p
}

// shape lists messages as "root", "root edited 2", "  reply", "  reply, shown in the channel".
func shape(messages []slacktest.Message) []string {
	var list []string
	for _, m := range messages {
		s := "root"
		if m.Thread != "" {
			s = "  reply"
		}
		if m.Edits > 0 {
			s += fmt.Sprintf(" edited %d", m.Edits)
		}
		if m.Broadcast {
			s += ", shown in the channel"
		}
		if m.Deleted {
			s += ", deleted"
		}
		list = append(list, s)
	}
	return list
}

func expectShape(t *testing.T, s *slacktest.Server, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, shape(s.Messages())); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

func TestSlackLife(t *testing.T) {
	s := startSlack(t)
	n := slackNotifier(t, s)
	now := time.Now()
	i := opened("ws", now)
	told := tell(t, n, i, nil)
	expectShape(t, s, "root")
	i = then(i, "also: uptime below 99.9 %", now.Add(time.Minute))
	told = tell(t, n, i, told)
	expectShape(t, s, "root edited 1", "  reply")
	i = resolved(i, now.Add(4*time.Minute), now.Add(7*time.Minute))
	told = tell(t, n, i, told)
	expectShape(t, s, "root edited 2", "  reply", "  reply, shown in the channel")

	m := s.Messages()
	for k, want := range []string{"🟢 [resolved] ws", "🔴 [page] ws", "🟢 [resolved] ws"} {
		if !strings.HasPrefix(m[k].Text, want) {
			t.Errorf("message %d says %q, want %q", k, m[k].Text, want)
		}
	}
	if !strings.Contains(string(m[1].Blocks), "also: uptime below 99.9 %") || !strings.Contains(string(m[2].Blocks), "resolved after 4m") {
		t.Errorf("replies %s and %s, want what changed", m[1].Blocks, m[2].Blocks)
	}
	want := slacktest.Metadata{EventType: "tripline_incident", EventPayload: map[string]any{
		"incident": "ws", "version": 1.0, "severity": "page", "part": "incident",
	}}
	if diff := cmp.Diff(want, m[0].Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"channel": slacktest.Channel, "ts": m[0].TS, "severity": "page"}, told.IDs); diff != "" {
		t.Errorf("receipt (-want +got):\n%s", diff)
	}
}

// An incident that came and went before it could be told is one message.
func TestSlackOpenedAndResolved(t *testing.T) {
	s := startSlack(t)
	now := time.Date(2026, 11, 21, 3, 10, 0, 0, time.UTC)
	tell(t, slackNotifier(t, s), resolved(opened("ws", now), now.Add(4*time.Minute), now.Add(7*time.Minute)), nil)
	expectShape(t, s, "root")
	if got := s.Messages()[0].Text; !strings.Contains(got, "03:10:00–") || !strings.Contains(got, "03:14:00 UTC (4m)") {
		t.Errorf("text %q, want from when to when", got)
	}
}

// A ticket that becomes a page is seen in the channel and mentions who is on call.
func TestSlackEscalation(t *testing.T) {
	s := startSlack(t)
	s.AllowMention("<!here>")
	n := slackNotifier(t, s, func(s *Slack) { s.Mention = "<!here>" })
	now := time.Now()
	i := opened("ws", now)
	i.Severity = alerting.Ticket
	told := tell(t, n, i, nil)
	i = then(i, "now page", now)
	i.Severity = alerting.Page
	told = tell(t, n, i, told)
	i = then(i, "also: slow", now)
	told = tell(t, n, i, told)
	tell(t, n, resolved(i, now, now.Add(time.Minute)), told)
	expectShape(t, s, "root edited 3", "  reply, shown in the channel", "  reply", "  reply, shown in the channel")
	for k, want := range []bool{false, true, false, false} {
		if got := bytes.Contains(s.Messages()[k].Blocks, []byte("!here")); got != want {
			t.Errorf("message %d mentions: %t, want %t", k, got, want)
		}
	}
}

// A ticket that becomes a page is told loudly, also when the first attempt was
// lost and looking for it failed.
func TestSlackEscalationLookedUp(t *testing.T) {
	s := startSlack(t)
	s.AllowMention("<!here>")
	n := slackNotifier(t, s, func(s *Slack) { s.Mention = "<!here>" })
	now := time.Now()
	i := opened("ws", now)
	i.Severity = alerting.Ticket
	told := tell(t, n, i, nil)
	i = then(i, "now page", now)
	i.Severity = alerting.Page
	lose(t, s, slacktest.Fault{Method: "chat.postMessage", Times: 1, Drop: true}, n, i, told)
	s.Inject(slacktest.Fault{Method: "conversations.replies", Times: 1, Status: 503})
	rec, err := n.Notify(t.Context(), Message{Incident: i}, pending(told, 1))
	if err == nil {
		t.Fatal("no error of the look-up")
	}
	if rec.IDs != nil { // as a Desk keeps them
		told.IDs = rec.IDs
	}
	tell(t, n, i, pending(told, 2))
	expectShape(t, s, "root edited 3", "  reply, shown in the channel")
	if m := s.Messages(); !bytes.Contains(m[len(m)-1].Blocks, []byte("!here")) {
		t.Errorf("the change mentions nobody: %s", m[len(m)-1].Blocks)
	}
}

// A reminder reaches those whom the thread does not: the channel sees it, and a
// page that nobody has taken on mentions who is on call.
func TestSlackReminder(t *testing.T) {
	for severity, mentions := range map[alerting.Severity]bool{alerting.Page: true, alerting.Ticket: false} {
		t.Run(string(severity), func(t *testing.T) {
			s := startSlack(t)
			s.AllowMention("<!here>")
			n := slackNotifier(t, s, func(s *Slack) { s.Mention = "<!here>" })
			now := time.Now()
			i := opened("ws", now)
			i.Severity = severity
			told := tell(t, n, i, nil)
			i = then(i, "still open after 1h", now)
			i.Event = alerting.Reminded
			tell(t, n, i, told)
			expectShape(t, s, "root edited 1", "  reply, shown in the channel")
			if got := bytes.Contains(s.Messages()[1].Blocks, []byte("!here")); got != mentions {
				t.Errorf("the reminder mentions: %t, want %t", got, mentions)
			}
		})
	}
}

// What is said in a former channel does not make that the one to look in.
func TestSlackFormerChannel(t *testing.T) {
	for channel, want := range map[string]string{"#elsewhere": "", "C0000000009": "C0000000009"} {
		s := startSlack(t)
		i := opened("ws", time.Now())
		told := tell(t, slackNotifier(t, s), i, nil)
		n, _ := slackNotifier(t, s, func(s *Slack) { s.Channel = channel }).(*slackBot)
		tell(t, n, then(i, "also: slow", time.Now()), told)
		expectShape(t, s, "root edited 1", "  reply")
		if n.id != want {
			t.Errorf("the id of %s is %q, want %q", channel, n.id, want)
		}
	}
}

// lost are the ways in which a request arrives and its answer does not.
func lost(method string) map[string]slacktest.Fault {
	return map[string]slacktest.Fault{
		"drop":    {Method: method, Times: 1, Done: true, Drop: true},
		"500":     {Method: method, Times: 1, Done: true, Status: 500, Body: "<html>"},
		"html":    {Method: method, Times: 1, Done: true, Status: 200, Body: "<html>Sign in to continue</html>"},
		"hang":    {Method: method, Times: 1, Done: true, Hang: true},
		"half":    {Method: method, Times: 1, Done: true, Status: 200, Body: `{"ok":true,"chan`},
		"empty":   {Method: method, Times: 1, Done: true, Status: 200, Body: `{}`},
		"nothing": {Method: method, Times: 1, Done: true, Status: 200, Body: ` `},
		"fatal":   {Method: method, Times: 1, Done: true, Code: "fatal_error"},
	}
}

func dropped() slacktest.Fault { return lost("chat.postMessage")["drop"] }

// Whatever is not known to have arrived is looked up before it is sent again.
func TestSlackUnknownOutcome(t *testing.T) {
	for _, arrived := range []bool{true, false} {
		for name, fault := range lost("chat.postMessage") {
			fault.Done = arrived
			t.Run(fmt.Sprintf("%s arrived=%t", name, arrived), func(t *testing.T) {
				s := startSlack(t)
				n := slackNotifier(t, s)
				now := time.Now()
				attempt := func(i alerting.Incident, told *Receipt) *Receipt {
					t.Helper()
					lose(t, s, fault, n, i, told)
					return tell(t, n, i, pending(told, 1))
				}
				s.Say("somebody says something")
				i := opened("ws", now)
				told := attempt(i, nil)
				if got := len(s.Roots()); got != 2 {
					t.Errorf("%d messages in the channel, want ours once", got)
				}
				i = then(i, "also: slow", now)
				told = attempt(i, told)
				attempt(resolved(i, now, now.Add(time.Minute)), told)
				root := s.Roots()[1]
				if got := len(s.Replies(root.TS)); got != 2 || len(s.Roots()) != 2 {
					t.Errorf("%d replies, %d messages in the channel, want each change told once", got, len(s.Roots()))
				}
				if !strings.HasPrefix(root.Text, "🟢") {
					t.Errorf("message says %q at the end", root.Text)
				}
			})
		}
	}
}

// The message arrived, and until it is looked up the incident has gone on.
func TestSlackAdoptsOlderVersion(t *testing.T) {
	s := startSlack(t)
	n := slackNotifier(t, s)
	now := time.Now()
	i := opened("ws", now)
	lose(t, s, dropped(), n, i, nil)
	for range 250 { // more than a page of the history
		s.Say("chatter")
	}
	i = resolved(i, now, now.Add(time.Minute))
	tell(t, n, i, pending(nil, 1))
	if got := len(s.Roots()); got != 251 {
		t.Errorf("%d messages in the channel, want ours once", got)
	}
	root := s.Roots()[0]
	if replies := s.Replies(root.TS); len(replies) != 1 || !replies[0].Broadcast || root.Edits != 1 {
		t.Errorf("root edited %d times, replies %v, want one of each", root.Edits, shape(replies))
	}
}

// Without the right to read, a message may be repeated, but is not lost.
func TestSlackHistoryForbidden(t *testing.T) {
	for _, code := range []string{"missing_scope", "not_in_channel", "channel_not_found", "no_permission"} {
		t.Run(code, func(t *testing.T) {
			s := startSlack(t)
			s.ForbidHistory(code)
			n := slackNotifier(t, s)
			now := time.Now()
			i := opened("ws", now)
			lose(t, s, dropped(), n, i, nil)
			told := tell(t, n, i, pending(nil, 1))
			expectShape(t, s, "root", "root")
			tell(t, n, then(i, "also", now), pending(told, 1))
			expectShape(t, s, "root", "root edited 1", "  reply")
		})
	}
}

// A look-up that fails is tried again, though not for ever.
func TestSlackLookUpFails(t *testing.T) {
	s := startSlack(t)
	n := slackNotifier(t, s)
	i := opened("ws", time.Now())
	for attempts := 1; attempts < patience; attempts++ {
		for _, f := range []slacktest.Fault{{Status: 503}, {Code: "internal_error"}, {Drop: true}, {Status: 429, Header: http.Header{"Retry-After": {"60"}}}} {
			f.Method, f.Times = "conversations.history", 1
			s.Inject(f)
			_, err := n.Notify(t.Context(), Message{Incident: i}, pending(nil, attempts))
			if _, later := errors.AsType[*LaterError](err); err == nil || later {
				t.Fatalf("error %v, want one that holds up no other incident", err)
			}
		}
	}
	expectShape(t, s)
	s.Inject(slacktest.Fault{Method: "conversations.history", Times: 1, Status: 503})
	tell(t, n, i, pending(nil, patience))
	expectShape(t, s, "root")
}

func TestSlackMessageGone(t *testing.T) {
	s := startSlack(t)
	n := slackNotifier(t, s)
	now := time.Now()
	i := opened("ws", now)
	told := tell(t, n, i, nil)
	s.Delete(told.IDs["ts"])
	i = then(i, "also: slow", now)
	lose(t, s, dropped(), n, i, told)
	told = tell(t, n, i, pending(told, 1)) // finds the new one
	i = resolved(i, now, now.Add(time.Minute))
	tell(t, n, i, told)
	expectShape(t, s, "root, deleted", "root edited 1", "  reply, shown in the channel")
}

func TestSlackCannotEdit(t *testing.T) {
	for _, code := range []string{"edit_window_closed", "cant_update_message"} {
		t.Run(code, func(t *testing.T) {
			s := startSlack(t)
			n := slackNotifier(t, s)
			now := time.Now()
			i := opened("ws", now)
			told := tell(t, n, i, nil)
			s.Inject(slacktest.Fault{Method: "chat.update", Code: code})
			told = tell(t, n, then(i, "also: slow", now), told)
			expectShape(t, s, "root", "  reply, shown in the channel")
			if told.IDs["ts"] != s.Messages()[0].TS {
				t.Errorf("receipt %v, want the first message", told.IDs)
			}
		})
	}
}

// An update that Slack keeps refusing for no known reason does not hold up the end.
func TestSlackUpdateKeepsFailing(t *testing.T) {
	s := startSlack(t)
	n := slackNotifier(t, s)
	now := time.Now()
	i := opened("ws", now)
	told := tell(t, n, i, nil)
	s.Inject(slacktest.Fault{Method: "chat.update", Code: "some_new_error"})
	i = resolved(i, now, now.Add(time.Minute))
	if _, err := n.Notify(t.Context(), Message{Incident: i}, told); err == nil {
		t.Fatal("no error")
	}
	tell(t, n, i, pending(told, patience))
	expectShape(t, s, "root", "  reply, shown in the channel")
}

// A resolve that meets the rate limit is told by the next attempt.
func TestSlackLimitedAtTheEnd(t *testing.T) {
	s := startSlack(t)
	n := slackNotifier(t, s)
	now := time.Now()
	i := opened("ws", now)
	told := tell(t, n, i, nil)
	i = resolved(i, now, now.Add(time.Minute))
	s.Inject(slacktest.Fault{Method: "chat.postMessage", Times: 1, Status: 429, Header: http.Header{"Retry-After": {"7"}}})
	_, err := n.Notify(t.Context(), Message{Incident: i}, told)
	var later *LaterError
	if !errors.As(err, &later) || later.After != 7*time.Second {
		t.Fatalf("error %v, want to wait 7 s", err)
	}
	tell(t, n, i, told)
	expectShape(t, s, "root edited 2", "  reply, shown in the channel")
}

// What Slack refuses for its form is told as plain text.
func TestSlackRefusesForm(t *testing.T) {
	for _, code := range []string{"invalid_blocks", "msg_blocks_too_long", "msg_too_long"} {
		t.Run(code, func(t *testing.T) {
			s := startSlack(t)
			n := slackNotifier(t, s)
			now := time.Now()
			s.Inject(slacktest.Fault{Method: "chat.postMessage", Times: 1, Code: code})
			i := opened("ws", now)
			told := tell(t, n, i, nil)
			s.Inject(slacktest.Fault{Method: "chat.update", Times: 1, Code: code})
			tell(t, n, then(i, "also", now), told)
			m := s.Messages()
			expectShape(t, s, "root edited 1", "  reply")
			if !strings.Contains(m[0].Text, "not_found 3 of 3") || string(m[0].Blocks) != "[]" {
				t.Errorf("message %q with blocks %s, want plain text", m[0].Text, m[0].Blocks)
			}
		})
	}
}

// By its name a channel takes messages; updates and look-ups use its id.
func TestSlackChannelByName(t *testing.T) {
	s := startSlack(t)
	n := slackNotifier(t, s, func(s *Slack) { s.Channel = slacktest.ChannelName })
	now := time.Now()
	a := opened("a", now)
	// No id is known yet: the message may be repeated.
	lose(t, s, dropped(), n, a, nil)
	told := tell(t, n, a, pending(nil, 1))
	tell(t, n, then(a, "also", now), told)
	expectShape(t, s, "root", "root edited 1", "  reply")
	// From the first answer on it is.
	b := opened("b", now)
	lose(t, s, dropped(), n, b, nil)
	tell(t, n, b, pending(nil, 1))
	expectShape(t, s, "root", "root edited 1", "  reply", "root")
}

func TestSlackErrors(t *testing.T) {
	limited := func(after ...string) slacktest.Fault {
		f := slacktest.Fault{Status: 429, Header: http.Header{}}
		if len(after) > 0 {
			f.Header["Retry-After"] = after
		}
		return f
	}
	const at = `slack chat.postMessage to "C0000000001": `
	for _, c := range []struct {
		name  string
		fault slacktest.Fault
		kind  string // permanent, later, or again
		after time.Duration
		text  string
	}{
		{"invalid_auth", slacktest.Fault{Code: "invalid_auth"}, "permanent", 0, at + "invalid_auth, want a valid token"},
		{"token_revoked", slacktest.Fault{Code: "token_revoked"}, "permanent", 0, at + "token_revoked, want a valid token"},
		{"channel_not_found", slacktest.Fault{Code: "channel_not_found"}, "permanent", 0, at + "channel_not_found, want the id of a channel that the bot can see (a private one: invite it)"},
		{"not_in_channel", slacktest.Fault{Code: "not_in_channel"}, "permanent", 0, at + "not_in_channel, invite the bot to the channel (/invite)"},
		{"is_archived", slacktest.Fault{Code: "is_archived"}, "permanent", 0, at + "is_archived"},
		{"restricted", slacktest.Fault{Code: "restricted_action_read_only_channel"}, "permanent", 0, at + "restricted_action_read_only_channel"},
		{
			"scope",
			slacktest.Fault{Status: 200, Body: `{"ok":false,"error":"missing_scope","needed":"chat:write","provided":"none"}`},
			"permanent", 0, at + `missing_scope, the token needs the scope "chat:write"`,
		},
		{
			"details",
			slacktest.Fault{Status: 200, Body: `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: channel"]}}`},
			"permanent", 0, at + "invalid_arguments ([ERROR] missing required field: channel)",
		},
		{"internal_error", slacktest.Fault{Code: "internal_error"}, "again", 0, at + "internal_error"},
		{"unknown code", slacktest.Fault{Code: "brand_new_error"}, "again", 0, at + "brand_new_error"},
		{"ratelimited", slacktest.Fault{Code: "ratelimited"}, "later", slackPause, at + "ratelimited"},
		{"429 3", limited("3"), "later", 3 * time.Second, at + "status 429, wants a pause of 3s"},
		{"429", limited(), "later", slackPause, at + "status 429, want 200"},
		{"429 1.5", limited("1.5"), "later", 1500 * time.Millisecond, at + `status 429 with Retry-After "1.5", want seconds`},
		{"429 -5", limited("-5"), "later", -5 * time.Second, at + "status 429, wants a pause of -5s"},
		{"429 1e99", limited("1e99"), "later", MaxRetry, at + `status 429 with Retry-After "1e99", want seconds`},
		{"429 99999999999999999999", limited("99999999999999999999"), "later", MaxRetry, at + `status 429 with Retry-After "99999999999999999999", want seconds`},
		{"429 soon", limited("soon"), "later", slackPause, at + `status 429 with Retry-After "soon", want seconds`},
		{"503", slacktest.Fault{Status: 503, Body: "<html>upstream</html>"}, "again", 0, at + "status 503, want 200"},
		{"302", slacktest.Fault{Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/steal"}}}, "again", 0, at + "status 302, want 200"},
		{"html", slacktest.Fault{Status: 200, Body: "<html>"}, "again", 0, at + "an answer that is not JSON: something between here and Slack answered"},
		{"{}", slacktest.Fault{Status: 200, Body: "{}"}, "again", 0, at + "an answer without channel and ts"},
		{"drop", slacktest.Fault{Drop: true}, "again", 0, at + "the connection ended before the answer"},
		{"hang", slacktest.Fault{Hang: true}, "again", 0, at + "no answer in time"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startSlack(t)
			n := slackNotifier(t, s)
			s.Inject(c.fault)
			_, err := n.Notify(during(t, s, "chat.postMessage", c.fault), Message{Incident: opened("ws", time.Now())}, nil)
			if err == nil {
				t.Fatal("no error")
			}
			checkError(t, err, c.kind, c.after, c.text, slacktest.Token, "steal")
			if s.Calls("chat.postMessage") != 1 {
				t.Errorf("%d requests, want 1: the queue is what tries again", s.Calls("chat.postMessage"))
			}
		})
	}
}

// checkError checks what a Desk would do about err, and that no secret is in it.
func checkError(t *testing.T, err error, kind string, after time.Duration, text string, secrets ...string) {
	t.Helper()
	var permanent *PermanentError
	var later *LaterError
	got := "again"
	switch {
	case errors.As(err, &permanent):
		got = "permanent"
	case errors.As(err, &later):
		got = "later"
		if later.After != after {
			t.Errorf("wait %s, want %s", later.After, after)
		}
	}
	if got != kind {
		t.Errorf("error is for %s, want %s", got, kind)
	}
	if err.Error() != text {
		t.Errorf("error %q\nwant  %q", err, text)
	}
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, s := range secrets {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), s) {
				t.Errorf("secret %q in %#v", s, e)
			}
		}
	}
}

// Nobody listens, or somebody who does not speak HTTP.
func TestSlackUnreachable(t *testing.T) {
	s := slacktest.New()
	s.Close()
	n := slackNotifier(t, s)
	_, err := n.Notify(t.Context(), Message{Incident: opened("ws", time.Now())}, nil)
	if err == nil || !strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), slacktest.Token) {
		t.Errorf("error %v", err)
	}
}

// hostile are names and texts that want to be more than that.
func hostile() []string {
	return []string{
		"<!channel>", "<!here|you>", "<@U0123456789>", "<#C1>", "@channel", "#general", "<https://evil.example.com|click>",
		"&lt;!channel&gt;", "a&b<c>d", "```", "*bold* _it_ ~no~ `code`", "line\nbreak\r\n> quote", "\x1b[31mred\x07",
		"\u202Egnp.exe", "\xff\xfe not UTF-8", "\u2028sep", "😀", "", " ", strings.Repeat("<&>", 5000), strings.Repeat("😀", 5000),
	}
}

// Whatever things are called, messages stay within Slack's limits and ping nobody.
func TestSlackHostile(t *testing.T) {
	s := startSlack(t)
	n := slackNotifier(t, s)
	hook := (&SlackWebhook{URL: s.Webhook}).Notifier(Env{Log: logger(t)})
	now := time.Now()
	for k, name := range hostile() {
		i := opened("id", now)
		i.ID, i.Group, i.Changed = fmt.Sprintf("%d %s", k, name), name, name
		f := &i.Findings[0]
		f.Rule, f.Reason, f.Text, f.Runbook, f.Checks = name, name, name, name, []string{name, name}
		i.Findings = append(i.Findings, *f, *f)
		i.Findings[2].Runbook = "https://runbooks.example.com/" + name
		m := Message{Incident: i, Link: "http://127.0.0.1/" + name, Evidence: &probe.Evidence{
			URL: name, Request: name, Head: name, Body: name + "```" + name, End: name, Addresses: []probe.Address{{IP: name, Err: name}},
			Causes: []probe.Cause{{Certainty: probe.Certainty(name), Text: name, Next: name}, {Certainty: probe.Certainty(name), Text: name}},
		}}
		told, err := n.Notify(t.Context(), m, nil)
		if err != nil {
			t.Errorf("name %.40q: %v", name, err)
			continue
		}
		m.Incident = resolved(i, now, now.Add(time.Minute))
		m.Incident.Changed = name
		if _, err := n.Notify(t.Context(), m, &told); err != nil {
			t.Errorf("name %.40q: %v", name, err)
		}
		if _, err := hook.Notify(t.Context(), m, nil); err != nil {
			t.Errorf("name %.40q: %v", name, err)
		}
	}
	if got, want := len(s.Messages()), 3*len(hostile()); got != want {
		t.Errorf("%d messages, want %d", got, want)
	}
}

// bulky is an incident with hundreds of checks and findings.
func bulky() Message {
	i := opened("big", time.Now())
	var names []string
	for k := range 500 {
		names = append(names, fmt.Sprintf("check number %d of a large company in a far-away region", k))
	}
	for k := range 60 {
		f := i.Findings[0]
		f.Rule, f.Checks, f.More = fmt.Sprint("rule", k), names, 500
		f.Reason = strings.Repeat("GET https://gw.example.com/ws: upgrade answered 404 ", 20)
		f.Runbook = "https://runbooks.example.com/" + strings.Repeat("x", 1000)
		i.Findings = append(i.Findings, f)
	}
	return Message{Incident: i, Link: "https://tripline.example.com/incidents/big", Evidence: &probe.Evidence{
		URL: "wss://gw.example.com/ws", Head: "HTTP/1.1 404 Not Found\r\nX: y", Body: strings.Repeat("<html>&nbsp;", 2000),
	}}
}

func TestSlackBulky(t *testing.T) {
	s := startSlack(t)
	n := slackNotifier(t, s)
	if _, err := n.Notify(t.Context(), bulky(), nil); err != nil {
		t.Fatal(err)
	}
	if got := len(s.Messages()[0].Blocks); got < 4000 {
		t.Errorf("blocks of %d bytes: too much was cut", got)
	}
}

func TestSlackValidate(t *testing.T) {
	good := Slack{Token: "xoxb-1", Channel: "C0123456789"}
	for _, c := range []struct {
		change func(*Slack)
		want   string
	}{
		{func(*Slack) {}, ""},
		{func(s *Slack) { s.Channel = "#alerts" }, ""},
		{func(s *Slack) { s.Mention = "<!subteam^S0123>" }, ""},
		{func(s *Slack) { s.APIURL = "http://127.0.0.1:8080/api" }, ""},
		{func(s *Slack) { s.Token = "" }, "token: is empty, want a bot token (xoxb-...)"},
		{func(s *Slack) { s.Token = "https://hooks.slack.com/services/secret" }, "token: is a URL, want a bot token (xoxb-...); incoming webhooks go under slack_webhook"},
		{func(s *Slack) { s.Token = "secret" }, "token: is no bot token, want one that starts with xoxb-"},
		{func(s *Slack) { s.Channel = "" }, "channel: is empty, want a channel id such as C0123456789"},
		{func(s *Slack) { s.Channel = "<#C1>" }, `channel: "<#C1>" is no channel, want an id such as C0123456789`},
		{func(s *Slack) { s.Mention = "@here" }, `mention: "@here" mentions nobody, want <!here>, <!channel>, <@U...> or <!subteam^S...>`},
		{func(s *Slack) { s.Mention = "<@U1> <!channel>" }, `mention: "<@U1> <!channel>" mentions nobody, want <!here>, <!channel>, <@U...> or <!subteam^S...>`},
		{func(s *Slack) { s.APIURL = "http://slack.example.com/secret" }, "api_url: sends secrets to slack.example.com without encryption, want https"},
		{func(s *Slack) { s.APIURL = "slack.com" }, "api_url: is no https URL"},
	} {
		s := good
		c.change(&s)
		var got []string
		for _, p := range s.Validate() {
			got = append(got, p.Path+": "+p.Text)
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%+v: %q, want %q", s, got, c.want)
		}
		if strings.Contains(strings.Join(got, ""), "secret") && !strings.Contains(c.want, "secrets") {
			t.Errorf("secret in %q", got)
		}
	}
}

// A crash between the answer and the receipt, with real parts: the next Desk
// finds the bot's message and sends none; a webhook's is repeated once.
func TestSlackDeskCrash(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings func(*slacktest.Server) Settings
		want     []string
	}{
		{
			"bot",
			func(s *slacktest.Server) Settings {
				return &Slack{Token: slacktest.Token, Channel: slacktest.Channel, APIURL: s.API}
			},
			[]string{"root edited 1", "  reply, shown in the channel"},
		},
		{
			"webhook",
			func(s *slacktest.Server) Settings { return &SlackWebhook{URL: s.Webhook} },
			[]string{"root", "root", "root"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // it waits for the end of the grace
			s, store := startSlack(t), newMemStore()
			run := func(until func() bool) {
				t.Helper()
				runDesk(t, &Desk{Name: "slack", Notifier: c.settings(s).Notifier(Env{Log: logger(t)}), Store: store, Log: logger(t)}, until)
			}
			told := func(version int) func() bool {
				return func() bool {
					r, _ := stored[Receipt](t, store, keyReceipt, "slack", "ws")
					return r.Version == version
				}
			}
			store.before = func(writes []Write) error {
				if r, ok := receiptOf(writes); ok && !r.Pending {
					return errDisk
				}
				return nil
			}
			i := opened("ws", time.Now())
			store.want(t, "slack", i)
			run(func() bool { return len(s.Messages()) == 1 })
			store.before = nil
			run(told(1))
			run(told(1)) // a restart without a crash repeats nothing
			i = resolved(i, i.Since, time.Now())
			store.want(t, "slack", i)
			run(told(2))
			expectShape(t, s, c.want...)
		})
	}
}

// runDesk runs d until something is so.
func runDesk(t *testing.T, d *Desk, until func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	for tick := time.NewTicker(5 * time.Millisecond); !until(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Error("it never was so")
		}
		if ctx.Err() != nil {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
