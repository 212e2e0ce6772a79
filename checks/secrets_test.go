package checks

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// TestSecretsThatAreCut: of a secret in an answer not even the beginning is shown,
// wherever the text that it is in is cut.
func TestSecretsThatAreCut(t *testing.T) {
	const secret = "7d1f0c52a9e84b36f01d2c97e5ab83406cb5ed1908f72a43d6e0b9c15f82a734"
	pad := func(n int) string { return strings.Repeat("z", n) }
	location := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/"+pad(n)+"/"+secret+"/end")
			w.WriteHeader(http.StatusFound)
		}
	}
	body := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}
	header := func(status int, name, value string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set(name, value)
			w.WriteHeader(status)
		}
	}
	upgraded := func(name, value string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set(name, value)
			w.WriteHeader(http.StatusSwitchingProtocols)
		}
	}
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.WriteString(c, text)
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}
		}
	}
	tests := []struct {
		name  string
		serve http.HandlerFunc
		yaml  string // behind the url
		kind  func(t testing.TB, text string) Settings
	}{
		{"redirect of an upgrade", location(170), "", anyOf[WebSocket]},
		{"redirect of a route", location(200), "", anyOf[Route]},
		{"challenge", header(401, "WWW-Authenticate", "Custom realm="+pad(60)+secret), "", anyOf[WebSocket]},
		{"upgrade required", header(426, "Upgrade", pad(40)+secret), "", anyOf[WebSocket]},
		{"wrong accept", upgraded("Sec-WebSocket-Accept", pad(90)+secret), "", anyOf[WebSocket]},
		{"title", body("<title>" + pad(70) + secret + "</title>"), "", anyOf[WebSocket]},
		{"refusal", body(pad(130) + secret), "", anyOf[WebSocket]},
		{"no HTTP", raw(pad(15) + secret), "", anyOf[Route]},
		{"value of a condition", body(`{"a":"` + pad(50) + secret + `"}`), "conditions: ['.a == \"b\"']", anyOf[Health]},
		{"value without a comparison", body(`{"a":"` + pad(50) + secret + `"}`), "conditions: ['.a']", anyOf[Health]},
		{"error of a condition", body(`{"a":"` + secret + `"}`), "conditions: ['.a.b == 1']", anyOf[Health]},
		{"no JSON", body(pad(30) + secret), "conditions: ['.a']", anyOf[Health]},
		{"no text", body(pad(30) + secret), "contains: other", anyOf[Route]},
		{"no match", body(pad(30) + secret), "matches: other", anyOf[Route]},
		{"a match", body(pad(30) + secret), "not_matches: 'zzzz[a-z0-9]+'", anyOf[Route]},
		{"a match inside", body(pad(30) + secret), "not_matches: '[0-9a-f]{16}'", anyOf[Route]},
		{"header field", header(200, "X-A", "z"+strings.Repeat(" ", 1100)+secret), "response_headers: {X-A: other}", anyOf[Route]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := serveHTTP(t, tt.serve)
			text := "url: " + u + "/\n" + tt.yaml
			s := tt.kind(t, text)
			if _, ws := s.(*WebSocket); ws {
				s = tt.kind(t, strings.Replace(text, "http://", "ws://", 1))
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			o := probeOnce(t, testEnv(secret), s)
			if o.Class.Status() != probe.Down {
				t.Fatalf("%s: %s", o.Class, o.Reason)
			}
			shown := []any{o.Reason, o.Facts, o.Evidence()}
			if o.Inquiry != nil {
				shown = append(shown, o.Inquiry(ctx, false)(nil))
			}
			b, err := json.Marshal(shown)
			if err != nil {
				t.Fatal(err)
			}
			for i := range len(secret) - 7 {
				if part := secret[i : i+8]; strings.Contains(string(b), part) {
					t.Fatalf("%q of the secret is shown: %s", part, b)
				}
			}
		})
	}
}

func anyOf[T any, P interface {
	*T
	Settings
}](t testing.TB, text string) Settings {
	return P(settings[T](t, text))
}
