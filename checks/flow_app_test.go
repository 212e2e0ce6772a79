package checks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// callApp is an application that transcribes calls: log in, start a call, listen.
// Paths below /ws/ choose a fault: /ws/swapped/calls/ID and so on.
type callApp struct {
	url  *url.URL
	mu   sync.Mutex
	seen map[string]int // requests by path
	// life is how long the tokens of /login are good.
	life time.Duration
	// bad are tokens that are refused although they have not expired.
	bad    map[string]bool
	tokens []string // that were given
}

const appSecret = "secret-of-the-app"

func newCallApp(t *testing.T) *callApp {
	t.Helper()
	a := &callApp{seen: map[string]int{}, bad: map[string]bool{}, life: time.Hour}
	ctx, cancel := context.WithCancel(context.Background())
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		var in struct{ User, Password string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.User != "monitor" || in.Password != "hunter2-of-the-monitor" {
			answer(w, 401, map[string]any{"detail": "no such user", "you_sent": in})
			return
		}
		answer(w, 200, map[string]any{"access_token": a.give(a.life), "token_type": "bearer"})
	})
	mux.HandleFunc("POST /expired-login", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{"access_token": a.give(-time.Minute)})
	})
	mux.HandleFunc("POST /empty-login", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{"t": a.give(time.Hour), "user": 7})
	})
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { answer(w, 500, map[string]any{"detail": "boom"}) })
	mux.HandleFunc("/api", func(w http.ResponseWriter, r *http.Request) { // echoes its credential, as bad servers do
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if token == "" {
			token = r.URL.Query().Get("token") + r.Header.Get("X-Pass")
		}
		if !a.good(token) {
			answer(w, 401, map[string]any{"detail": "bad token " + token, "plain": token})
			return
		}
		answer(w, 200, map[string]any{"ok": true, "plain": token})
	})
	mux.HandleFunc("POST /calls", func(w http.ResponseWriter, r *http.Request) {
		if !a.good(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
			answer(w, 401, map[string]any{"detail": "token"})
			return
		}
		var in struct{ Caller string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.Caller == "" {
			answer(w, 422, map[string]any{"detail": "caller"})
			return
		}
		answer(w, 201, map[string]any{"id": "call 1/2", "caller": in.Caller})
	})
	mux.HandleFunc("/ws/{fault}/calls/{id}", func(w http.ResponseWriter, r *http.Request) { a.serve(ctx, w, r) })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.seen[r.URL.Path]++
		a.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { cancel(); s.Close() })
	var err error
	if a.url, err = url.Parse(s.URL); err != nil {
		t.Fatal(err)
	}
	return a
}

// give makes a JSON Web Token, signed with HS256.
func (a *callApp) give(life time.Duration) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	claims := fmt.Sprintf(`{"sub":"monitor","n":%d,"exp":%d}`, len(a.tokens), time.Now().Add(life).Unix())
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	token := text + "." + sign(text)
	a.tokens = append(a.tokens, token)
	return token
}

func sign(text string) string {
	m := hmac.New(sha256.New, []byte(appSecret))
	m.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func (a *callApp) good(token string) bool {
	i := strings.LastIndexByte(token, '.')
	if i < 0 || sign(token[:i]) != token[i+1:] {
		return false
	}
	end, ok := jwtExpiry(token)
	a.mu.Lock()
	defer a.mu.Unlock()
	return ok && time.Now().Before(end) && !a.bad[token]
}

func (a *callApp) count(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[path]
}

// revoke makes all tokens bad that were given until now.
func (a *callApp) revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tokens {
		a.bad[t] = true
	}
}

func (a *callApp) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	fault, token := r.PathValue("fault"), r.URL.Query().Get("token")
	if h := r.Header.Get("Authorization"); h != "" {
		token = strings.TrimPrefix(h, "Bearer ")
	}
	late := fault == "late-auth" || fault == "policy"
	if !late && !a.good(token) || r.PathValue("id") != "call 1/2" {
		w.WriteHeader(http.StatusForbidden) // as ASGI servers do
		return
	}
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer c.CloseNow() //nolint:errcheck // closed or not
	send := func(v any) {
		b, _ := json.Marshal(v)
		_ = c.Write(ctx, websocket.MessageText, b)
	}
	switch {
	case fault == "late-auth" && !a.good(token):
		_ = c.Close(4401, "token expired or invalid")
		return
	case fault == "policy" && !a.good(token):
		_ = c.Close(1008, "token "+token[:min(len(token), 60)])
		return
	case fault == "crash":
		return
	}
	order := map[string]string{
		"swapped": "started executing thinking tool completed", "lost": "started thinking executing completed",
		"doubled": "started thinking thinking executing tool completed", "unfinished": "started thinking executing tool",
	}[fault]
	if order == "" {
		order = "started thinking executing tool completed"
	}
	for {
		_, b, err := c.Read(ctx)
		if err != nil {
			return
		}
		var in map[string]any
		if json.Unmarshal(b, &in) != nil || fault == "silent" {
			continue
		}
		switch {
		case fault == "not-json":
			_ = c.Write(ctx, websocket.MessageText, []byte("<html>oops "+token+"</html>"))
		case in["subscribe"] != nil:
			send(map[string]any{"type": "subscription_confirmed", "subscription": in["subscribe"]})
		case in["type"] == "agent_execute":
			for i, e := range strings.Fields(order) {
				send(map[string]any{"type": e, "run": in["run"], "seq": i})
			}
		case in["type"] == "user_message":
			user := in["user_id"]
			if fault == "foreign" {
				user = "somebody-else"
			}
			send(map[string]any{"type": "user_reply", "user_id": user, "echo": in["data"]})
		}
	}
}
