package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// hearing is a Slack notifier that hears of buttons, and what it heard.
type hearing struct {
	*slackBot
	slack *slacktest.Server
	ended chan struct{} // closed when Run has returned

	mu       sync.Mutex
	commands []string
	answers  func(name string) (string, error)
}

// hear runs such a notifier until the test ends.
func hear(t *testing.T, s *slacktest.Server, token string, change ...func(*slackSocket)) *hearing {
	t.Helper()
	settings := &Slack{Token: slacktest.Token, Channel: slacktest.Channel, APIURL: s.API, AppToken: token}
	if p := settings.Validate(); len(p) > 0 {
		t.Fatal(p)
	}
	h := &hearing{slack: s, ended: make(chan struct{}), answers: func(name string) (string, error) { return name + " <done>", nil }}
	h.slackBot = settings.Notifier(Env{Log: logger(t), Command: func(_ context.Context, name string, args map[string]string) (string, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.commands = append(h.commands, fmt.Sprint(name, args))
		return h.answers(name)
	}}).(*slackBot)
	h.socket.pause = 10 * time.Millisecond
	for _, f := range change {
		f(h.socket)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(h.ended)
		if err := h.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-h.ended
	})
	return h
}

func (h *hearing) heard() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.commands...)
}

// soon bounds what should take no time at all.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := soon(t)
	for !ok() {
		if !sleep(ctx, 5*time.Millisecond) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (h *hearing) connection(t *testing.T, n int) *slacktest.Socket {
	t.Helper()
	k, err := h.slack.WaitSocket(soon(t), n)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// press presses a button and waits for the acknowledgement of the envelope.
func (h *hearing) press(t *testing.T, k *slacktest.Socket, id, action string) {
	t.Helper()
	envelope, err := h.slack.Press(id, h.slack.Roots()[0].TS, action)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Send(soon(t), envelope); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Acknowledged(soon(t)); err != nil || got != id {
		t.Fatalf("acknowledged %q (%v), want %q", got, err, id)
	}
}

func TestSlackButtons(t *testing.T) {
	s := startSlack(t)
	h := hear(t, s, slacktest.AppToken)
	i := incident(1)
	rec := tell(t, h, i, nil)
	if diff := cmp.Diff([]string{buttonAcknowledge, buttonSilence}, s.Roots()[0].Buttons()); diff != "" {
		t.Errorf("buttons (-want +got):\n%s", diff)
	}
	k := h.connection(t, 1)
	h.press(t, k, "e1", buttonAcknowledge)
	h.press(t, k, "e1", buttonAcknowledge) // Slack repeats what it has had no answer to
	h.press(t, k, "e2", buttonSilence)
	eventually(t, "two answers", func() bool { return len(s.Ephemerals()) == 2 })
	want := []string{
		"acknowledgemap[author:alice (Slack U0000000001) incident:" + i.ID + "]",
		"silencemap[author:alice (Slack U0000000001) for:1h incident:" + i.ID + "]",
	}
	if diff := cmp.Diff(want, h.heard()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]slacktest.Ephemeral{
		{User: "U0000000001", Text: "acknowledge &lt;done&gt;"}, {User: "U0000000001", Text: "silence &lt;done&gt;"},
	}, s.Ephemerals()); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}

	h.mu.Lock()
	h.answers = func(string) (string, error) { return "", errors.New(`no command is named "acknowledge"`) }
	h.mu.Unlock()
	h.press(t, k, "e3", buttonAcknowledge)
	eventually(t, "the answer", func() bool { return len(s.Ephemerals()) == 3 })
	if got := s.Ephemerals()[2].Text; got != `Not done: no command is named "acknowledge"` {
		t.Errorf("answer %q, want the error", got)
	}

	i = incident(2)
	i.Acknowledged = &alerting.Acknowledgement{}
	rec = tell(t, h, i, rec)
	if diff := cmp.Diff([]string{buttonSilence}, s.Roots()[0].Buttons()); diff != "" {
		t.Errorf("buttons of an acknowledged incident (-want +got):\n%s", diff)
	}
	tell(t, h, over(incident(3)), rec)
	if got := s.Roots()[0].Buttons(); got != nil {
		t.Errorf("buttons %q when the incident has ended, want none", got)
	}
}

// incident is version v of an incident that is open.
func incident(v int) alerting.Incident {
	i := opened("ws-20261121T221503Z-1", time.Date(2026, 11, 21, 22, 15, 3, 0, time.UTC))
	i.Version = v
	return i
}

// TestSlackSocketFaults: whatever happens to the socket, the next press is heard.
func TestSlackSocketFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(t *testing.T, s *slacktest.Server, k *slacktest.Socket)
		same  bool // socket
	}{
		{"dropped", func(_ *testing.T, _ *slacktest.Server, k *slacktest.Socket) { k.Drop() }, false},
		{"a warning", func(t *testing.T, _ *slacktest.Server, k *slacktest.Socket) {
			send(t, k, `{"type":"disconnect","reason":"warning","debug_info":{"host":"x"}}`)
		}, false},
		{"to be refreshed", func(t *testing.T, _ *slacktest.Server, k *slacktest.Socket) {
			send(t, k, `{"type":"disconnect","reason":"refresh_requested"}`)
		}, false},
		{"garbage", func(t *testing.T, _ *slacktest.Server, k *slacktest.Socket) {
			for _, b := range []string{
				"", "null", "[]", "<html>", `{"type":7}`, `{"type":"hello"}`, `{"type":"interactive"}`,
				`{"type":"interactive","envelope_id":"g1","payload":[1]}`, `{"type":"interactive","envelope_id":"g2","payload":{"type":"block_actions","user":{"id":"U1"},"actions":[{"action_id":"other","value":"x"}]}}`,
				`{"type":"slash_commands","envelope_id":"g3","payload":{}}`,
			} {
				send(t, k, b)
			}
			for _, want := range []string{"g1", "g2", "g3"} {
				if got, err := k.Acknowledged(soon(t)); err != nil || got != want {
					t.Errorf("acknowledged %q (%v), want %q", got, err, want)
				}
			}
		}, true},
		{"nothing but garbage", func(t *testing.T, _ *slacktest.Server, k *slacktest.Socket) {
			for range socketBad {
				send(t, k, "x")
			}
		}, false},
		{"the API is down meanwhile", func(_ *testing.T, s *slacktest.Server, k *slacktest.Socket) {
			s.Inject(slacktest.Fault{Method: "apps.connections.open", Times: 3})
			k.Drop()
		}, false},
		{"the API answers nonsense", func(_ *testing.T, s *slacktest.Server, k *slacktest.Socket) {
			s.Inject(slacktest.Fault{Method: "apps.connections.open", Times: 1, Status: 200, Body: `{"ok":true,"url":"ws://example.com/"}`})
			s.Inject(slacktest.Fault{Method: "apps.connections.open", Times: 1, Status: 200, Body: `{"ok":true}`})
			s.Inject(slacktest.Fault{Method: "apps.connections.open", Times: 1, Status: 200, Body: `<html>`})
			k.Drop()
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startSlack(t)
			h := hear(t, s, slacktest.AppToken)
			tell(t, h, incident(1), nil)
			k := h.connection(t, 1)
			c.fault(t, s, k)
			if !c.same {
				<-k.Ended()
				k = h.connection(t, 2)
			}
			h.press(t, k, "e1", buttonAcknowledge)
			eventually(t, "the command", func() bool { return len(h.heard()) == 1 })
			eventually(t, "the end of the trouble", func() bool { return h.Trouble() == "" })
		})
	}
}

func send(t *testing.T, k *slacktest.Socket, b string) {
	t.Helper()
	if err := k.Send(soon(t), b); err != nil {
		t.Fatal(err)
	}
}

// TestSlackSocketHangs: a socket that is silent is given up.
func TestSlackSocketHangs(t *testing.T) {
	s := startSlack(t)
	s.Mute(true)
	h := hear(t, s, slacktest.AppToken, func(k *slackSocket) { k.ping = 100 * time.Millisecond })
	h.connection(t, 1)
	h.connection(t, 2)
	if got := h.Trouble(); !strings.Contains(got, "no pong in time") {
		t.Errorf("trouble %q, want that the socket is silent", got)
	}
	s.Mute(false)
	eventually(t, "the end of the trouble", func() bool { return h.Trouble() == "" })
}

// TestSlackSocketClosed: from a disconnect to the next hello nobody is heard.
func TestSlackSocketClosed(t *testing.T) {
	s := startSlack(t)
	h := hear(t, s, slacktest.AppToken, func(k *slackSocket) { k.pause = time.Hour })
	k := h.connection(t, 1)
	send(t, k, `{"type":"disconnect","reason":"refresh_requested"}`)
	<-k.Ended()
	eventually(t, "the trouble", func() bool { return h.Trouble() == "buttons do not work: Slack closed the socket, it is opened anew" })
}

// TestSlackSocketPause: the own pause varies, what Slack asked for is kept.
func TestSlackSocketPause(t *testing.T) {
	limited := &LaterError{After: 10 * time.Second, Err: errors.New("status 429")}
	lowest, most := time.Hour, time.Duration(0)
	for range 1000 {
		if got := socketWait(time.Second, limited); got < limited.After {
			t.Fatalf("a pause of %s, want at least %s", got, limited.After)
		}
		got := socketWait(time.Second, errors.New("status 503"))
		lowest, most = min(lowest, got), max(most, got)
	}
	if lowest < 500*time.Millisecond || most >= 1500*time.Millisecond || most-lowest < 500*time.Millisecond {
		t.Errorf("pauses from %s to %s, want from 0.5 s to 1.5 s", lowest, most)
	}
}

// TestSlackSocketRefused: messages are told without buttons.
func TestSlackSocketRefused(t *testing.T) {
	s := startSlack(t)
	h := hear(t, s, "xapp-1-some-other-secret")
	select {
	case <-h.ended:
	case <-soon(t).Done():
		t.Fatal("still trying")
	}
	if n := s.Calls("apps.connections.open"); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	if got, want := h.Trouble(), "buttons do not work: slack apps.connections.open: invalid_auth, want a valid token"; got != want {
		t.Errorf("trouble %q, want %q", got, want)
	}
	tell(t, h, incident(1), nil)
	if got := s.Roots()[0].Buttons(); got != nil {
		t.Errorf("buttons %q, want none", got)
	}
}

// TestSlackSocketSwitchedOff: so it is when somebody switches it off.
func TestSlackSocketSwitchedOff(t *testing.T) {
	s := startSlack(t)
	h := hear(t, s, slacktest.AppToken)
	send(t, h.connection(t, 1), `{"type":"disconnect","reason":"link_disabled"}`)
	select {
	case <-h.ended:
	case <-soon(t).Done():
		t.Fatal("still trying")
	}
	if got := h.Trouble(); !strings.Contains(got, "switched off") {
		t.Errorf("trouble %q, want that it is switched off", got)
	}
}

// TestSlackSocketBlocks: a command that takes its time holds up neither
// acknowledgements nor messages, and one that panics does no harm.
func TestSlackSocketBlocks(t *testing.T) {
	s := startSlack(t)
	h := hear(t, s, slacktest.AppToken)
	release := make(chan struct{})
	h.mu.Lock()
	h.answers = func(string) (string, error) {
		<-release
		panic("boom")
	}
	h.mu.Unlock()
	rec := tell(t, h, incident(1), nil)
	k := h.connection(t, 1)
	for n := range 3 * socketPresses { // more than may wait
		h.press(t, k, fmt.Sprint("e", n), buttonAcknowledge)
	}
	tell(t, h, incident(2), rec)
	close(release)
	eventually(t, "an answer", func() bool { return len(s.Ephemerals()) > 0 })
	if got := s.Ephemerals()[0].Text; got != "Not done: the command acknowledge panicked: boom" {
		t.Errorf("answer %q, want what happened", got)
	}
}

// TestSlackSocketSecrets: neither token nor the address of a socket is told.
func TestSlackSocketSecrets(t *testing.T) {
	for _, body := range []string{
		`{"ok":true,"url":"ws://127.0.0.1:1/?ticket=slacktest-secret"}`,
		`{"ok":true,"url":"wss://slacktest-secret.invalid/?ticket=slacktest-secret"}`,
		`{"ok":true,"url":"slacktest-secret"}`,
		`{"ok":false,"error":"` + slacktest.AppToken + `"}`,
	} {
		s := startSlack(t)
		s.Inject(slacktest.Fault{Method: "apps.connections.open", Status: 200, Body: body})
		h := hear(t, s, slacktest.AppToken)
		eventually(t, "the trouble", func() bool { return h.Trouble() != "" })
		if got := h.Trouble(); strings.Contains(got, "ticket") || strings.Contains(got, slacktest.AppToken) {
			t.Errorf("%s: trouble %q holds a secret", body, got)
		}
	}
}
