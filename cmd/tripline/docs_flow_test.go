package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// callService is the service that docs/flows.md is about. With swapped its events
// come in another order.
type callService struct {
	mu      sync.Mutex
	swapped bool
	logins  int
}

const callToken, callPassword = "token-of-the-service-1", "password-of-the-monitor"

func (s *callService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	swapped := s.swapped
	var in map[string]any
	if r.Method == http.MethodPost {
		_ = json.NewDecoder(r.Body).Decode(&in)
	}
	if r.URL.Path == "/login" {
		s.logins++
	}
	s.mu.Unlock()
	answer := func(status int, v any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	switch {
	case r.URL.Path == "/login" && in["password"] == callPassword:
		answer(200, map[string]any{"access_token": callToken, "expires_in": 3600})
	case r.URL.Path == "/calls" && r.Header.Get("Authorization") == "Bearer "+callToken && r.Method == http.MethodPost:
		answer(201, map[string]any{"id": "call-7", "caller": in["caller"]})
	case r.URL.Path == "/calls" && r.Header.Get("Authorization") == "Bearer "+callToken:
		answer(200, []string{})
	case r.URL.Path == "/ws/calls/call-7" && r.URL.Query().Get("token") == callToken:
		transcribe(w, r, swapped)
	default:
		answer(403, map[string]any{})
	}
}

// transcribe confirms a subscription and sends the events of a call.
func transcribe(w http.ResponseWriter, r *http.Request, swapped bool) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow() //nolint:errcheck // closed or not
	events := strings.Fields("subscription_confirmed started partial final summary completed")
	if swapped {
		events[3], events[4] = events[4], events[3]
	}
	if _, _, err := c.Read(r.Context()); err != nil {
		return
	}
	for _, e := range events {
		if c.Write(r.Context(), websocket.MessageText, []byte(`{"type":"`+e+`","call":"call-7"}`)) != nil {
			return
		}
	}
	_, _, _ = c.Read(r.Context()) // the close frame
}

// TestDocsFlow runs the config of docs/flows.md as it stands there.
func TestDocsFlow(t *testing.T) {
	text, err := os.ReadFile("../../docs/flows.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```").FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/flows.md has no yaml block")
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, block[1], 0o600); err != nil {
		t.Fatal(err)
	}
	service := &callService{}
	server := httptest.NewServer(service)
	defer server.Close()
	run := func() (int, string) {
		out := &syncBuffer{}
		p := program{stdout: out, stderr: out, lookup: func(name string) (string, bool) {
			value, ok := map[string]string{"TARGET": server.URL, "PASSWORD": callPassword}[name]
			return value, ok
		}}
		code := p.main(t.Context(), []string{"check", "--config", file})
		return code, out.String()
	}
	if code, out := run(); code != exitOK || !regexp.MustCompile(`(?m)^transcription +up +ok `).MatchString(out) {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if service.logins != 2 {
		t.Errorf("%d logins, want 2: that of the credential and that of the flow", service.logins)
	}
	service.mu.Lock()
	service.swapped = true
	service.mu.Unlock()
	code, out := run()
	want := regexp.MustCompile(`(?m)^transcription: step 3 \(transcribe\): ws://\S+/ws/calls/call-7\?token=\*\*\*: step 3 \(events\): the events came in the order started, partial, summary, final, completed; want started, partial, final, summary, completed$`)
	if code != exitDown || !strings.Contains(out, "flow_order") || !want.MatchString(out) {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	if strings.Contains(out, callToken) || strings.Contains(out, callPassword) {
		t.Errorf("a secret is shown:\n%s", out)
	}
}
