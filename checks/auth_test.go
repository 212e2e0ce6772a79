package checks

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/checks/probe"
)

// authEnv compiles a credential and returns what checks with it are compiled with.
func authEnv(t *testing.T, base *url.URL, text string) probe.Env {
	t.Helper()
	var a Auth
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&a); err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	env := probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{}), BaseURL: base}
	c, bad := a.Credential("app", env)
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	env.Auth = c
	return env
}

// prober compiles a check; its kind is that of s.
func prober(t *testing.T, env probe.Env, s Settings, text string) Settings {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), s); err != nil {
		t.Fatal(err)
	}
	if bad := s.Validate(env); len(bad) > 0 {
		t.Fatal(bad)
	}
	return s
}

func once(t *testing.T, s Settings) probe.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	return s.Probe(ctx)
}

const appLogin = "login: {url: /login, json: {user: monitor, password: hunter2-of-the-monitor}}"

// TestAuthPlaces: the token is where it is wanted, for both protocols, and the
// same one is used again.
func TestAuthPlaces(t *testing.T) {
	for _, c := range []struct{ name, auth, header string }{
		{"bearer", "{" + appLogin + "}", ""},
		{"query", "{" + appLogin + ", in: query}", ""},
		{"another header", "{" + appLogin + ", name: X-Pass}", "X-Pass"},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := newCallApp(t)
			env := authEnv(t, app.url, c.auth)
			for range 3 {
				if o := once(t, prober(t, env, &Route{}, "url: /api?a=1")); o.Class != probe.OK {
					t.Errorf("route: %s %s", o.Class, o.Reason)
				}
			}
			if c.header == "" {
				if o := once(t, prober(t, env, &WebSocket{}, "{url: /ws/none/calls/call%201%2F2}")); o.Class != probe.OK {
					t.Errorf("websocket: %s %s", o.Class, o.Reason)
				}
			}
			if n := app.count("/login"); n != 1 {
				t.Errorf("%d logins, want 1", n)
			}
		})
	}
}

// TestAuthTogether: many checks that need a token at the same time log in once.
func TestAuthTogether(t *testing.T) {
	app := newCallApp(t)
	env := authEnv(t, app.url, "{"+appLogin+"}")
	var all sync.WaitGroup
	for i := range 40 {
		s := prober(t, env, &Route{}, "{url: /api, per_host: 100}")
		if i%2 == 0 {
			s = prober(t, env, &WebSocket{}, "{url: /ws/none/calls/call%201%2F2, per_host: 100}")
		}
		all.Go(func() {
			if o := once(t, s); o.Class != probe.OK {
				t.Errorf("%s %s", o.Class, o.Reason)
			}
		})
	}
	all.Wait()
	if n := app.count("/login"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

// TestAuthRenewed: a token that a target refuses is renewed once before the
// verdict, whatever way it refuses.
func TestAuthRenewed(t *testing.T) {
	for _, c := range []struct {
		name string
		kind Settings
		yaml string
	}{
		{"401", &Route{}, "{url: /api}"},
		{"403 of an upgrade", &WebSocket{}, "{url: /ws/none/calls/call%201%2F2}"},
		{"close 1008", &WebSocket{}, "{url: /ws/policy/calls/call%201%2F2}"},
		{"close 4401", &WebSocket{}, "{url: /ws/late-auth/calls/call%201%2F2, sessions: 3}"},
		{"flow", &Flow{}, "steps: [{name: api, http: {url: /api}}, {name: ws, websocket: {url: /ws/policy/calls/call%201%2F2}}]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := newCallApp(t)
			s := prober(t, authEnv(t, app.url, "{"+appLogin+"}"), c.kind, c.yaml)
			for i := range 3 {
				if o := once(t, s); o.Class != probe.OK {
					t.Fatalf("%s %s", o.Class, o.Reason)
				}
				if n := app.count("/login"); n != i+1 {
					t.Fatalf("%d logins after %d rounds, want one each", n, i+1)
				}
				app.revoke()
			}
		})
	}
}

// TestAuthRefusedForGood: when a new token is refused as well, that is the
// verdict, and nobody logs in again for a while.
func TestAuthRefusedForGood(t *testing.T) {
	app := newCallApp(t)
	env := authEnv(t, app.url, "{"+appLogin+"}")
	good := prober(t, env, &Route{}, "{url: /api}")
	if o := once(t, good); o.Class != probe.OK {
		t.Fatal(o.Reason)
	}
	bad := prober(t, env, &WebSocket{}, "{url: /ws/none/calls/another}")
	start := time.Now()
	for i := range 3 {
		o := once(t, bad)
		if time.Since(start) > 20*time.Second {
			t.Skip("this machine is too slow to see what happens within 30 s")
		}
		if o.Class != probe.Forbidden || o.Stage != probe.StageHTTP {
			t.Fatalf("%s %s", o.Class, o.Reason)
		}
		if n := app.count("/login"); n != 2 {
			t.Errorf("%d logins after round %d, want 2", n, i+1)
		}
		if again := strings.HasSuffix(o.Reason, "; with a new credential as well"); again != (i == 0) {
			t.Errorf("round %d: %s", i+1, o.Reason)
		}
	}
}

// TestAuthFails: without a token the result is about us, names the login, and
// holds no secret.
func TestAuthFails(t *testing.T) {
	for _, c := range []struct{ name, auth, reason string }{
		{"status", "{login: {url: '/broken?key=very-secret-key'}}", "/broken?key=***: status 500, want 2xx"},
		{"password", "{login: {url: /login, json: {user: monitor, password: wrong-password}}}", "/login: status 401, want 2xx"},
		{"no token", "{login: {url: /empty-login}}", `/empty-login: the answer has no text at .access_token; it has "t", "user"`},
		{"no time", "{login: {url: /empty-login, token: .t, expires: .end}}", `/empty-login: the answer has no time at .end; it has "t", "user"`},
		{"refused", "{login: {url: 'http://127.0.0.1:1/login'}}", "POST http://127.0.0.1:1/login: connect to 127.0.0.1: connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := newCallApp(t)
			env := authEnv(t, app.url, c.auth)
			env.Net.Redactor().Add("wrong-password")
			start := time.Now()
			for _, s := range []Settings{
				prober(t, env, &Route{}, "url: /api"), prober(t, env, &WebSocket{}, "{url: /ws/none/calls/call%201%2F2, sessions: 2}"),
				prober(t, env, &Flow{}, "steps: [{name: a, http: {url: /api}}]"),
			} {
				o := once(t, s)
				if o.Class != probe.AuthSetup || o.Class.Status() != probe.Unknown || o.Stage != probe.StageMonitor {
					t.Errorf("%T: %s at %s: %s", s, o.Class, o.Stage, o.Reason)
				}
				if !strings.Contains(o.Reason, `no credential "app": POST http://`) || !strings.Contains(o.Reason, c.reason) {
					t.Errorf("%T: %s, want %s", s, o.Reason, c.reason)
				}
				b, _ := json.Marshal(o.Evidence())
				for _, secret := range []string{"wrong-password", "very-secret-key", "eyJ"} {
					if strings.Contains(o.Reason+string(b), secret) {
						t.Errorf("%T: %s is shown: %s %s", s, secret, o.Reason, b)
					}
				}
			}
			if n := app.count("/login") + app.count("/broken") + app.count("/empty-login"); c.name != "refused" && n != 1 && time.Since(start) < 9*time.Second {
				t.Errorf("%d logins, want 1: a failure is not repeated at once", n)
			}
		})
	}
}

// TestAuthNotInLatency: the time of the login is not that of the target.
func TestAuthNotInLatency(t *testing.T) {
	app := newCallApp(t)
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select { // slower than the target will be
		case <-time.After(3 * time.Second):
		case <-r.Context().Done():
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": app.give(time.Hour)})
	}))
	t.Cleanup(login.Close)
	for _, c := range []struct {
		kind Settings
		yaml string
	}{
		{&Route{}, "url: /api"}, {&WebSocket{}, "{url: /ws/none/calls/call%201%2F2}"}, {&Flow{}, "steps: [{name: a, http: {url: /api}}]"},
	} {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			env := authEnv(t, app.url, "{login: {url: "+login.URL+"}}")
			start := time.Now()
			o := once(t, prober(t, env, c.kind, c.yaml))
			if all := time.Since(start); o.Class != probe.OK || o.Latency <= 0 || o.Latency > all-2900*time.Millisecond {
				t.Errorf("%T: %s %s, latency %s of %s", c.kind, o.Class, o.Reason, o.Latency, all)
			}
		})
	}
}

// TestAuthNotShown: tokens that were obtained at run time are shown nowhere, even
// when servers repeat them.
func TestAuthNotShown(t *testing.T) {
	app := newCallApp(t)
	app.life = -time.Hour
	for _, in := range []string{"header", "query"} {
		env := authEnv(t, app.url, "{"+appLogin+", in: "+in+"}")
		for _, c := range []struct {
			kind  Settings
			yaml  string
			class probe.Class
		}{
			{&Route{}, "{url: '/api?x=1', contains: nothing}", probe.Auth},
			{&WebSocket{}, "{url: /ws/policy/calls/call%201%2F2}", probe.AuthClosed},
			{&WebSocket{}, "{url: '/ws/{{nonce}}/calls/x'}", probe.Forbidden},
		} {
			o := once(t, prober(t, env, c.kind, c.yaml))
			if o.Class != c.class {
				t.Errorf("%T: %s %s", c.kind, o.Class, o.Reason)
			}
			d := probe.Diagnosis{}
			if o.Inquiry != nil {
				d = o.Inquiry(t.Context(), false)(nil)
			}
			b, _ := json.Marshal([]any{o.Reason, o.Facts, o.Evidence().With(d)})
			app.mu.Lock()
			for _, token := range app.tokens {
				if strings.Contains(string(b), token) || strings.Contains(string(b), token[len(token)-20:]) {
					t.Errorf("%T in the %s: the token is shown: %s", c.kind, in, b)
				}
			}
			app.mu.Unlock()
		}
	}
}

// TestAuthSiblings: the diagnosis asks with the token, and once without it,
// wherever it is.
func TestAuthSiblings(t *testing.T) {
	for _, place := range []string{"", ", in: query, name: t", ", name: X-Pass"} {
		var mu sync.Mutex
		with, without := 0, 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token := r.Header.Get("Authorization") + r.URL.Query().Get("t") + r.Header.Get("X-Pass")
			mu.Lock()
			defer mu.Unlock()
			if token = strings.TrimPrefix(token, "Bearer "); token == "the-token-of-all" {
				with++
			} else if token == "" && r.URL.Path == "/ws" {
				without++
			} else {
				t.Errorf("%s: a request with the token %q", r.URL, token)
			}
			w.WriteHeader(http.StatusForbidden)
		}))
		defer s.Close()
		u, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		o := once(t, prober(t, authEnv(t, u, "{bearer: the-token-of-all"+place+"}"), &WebSocket{}, "{url: '/ws?a=1'}"))
		d := o.Inquiry(t.Context(), false)(nil)
		b, _ := json.Marshal(d)
		if with < 5 || without != 1 || !strings.Contains(string(b), "without the credential") {
			t.Errorf("%q: %d requests with the token and %d without: %s", place, with, without, b)
		}
	}
}

// TestAuthRedirect: the token does not follow a redirect to another host.
func TestAuthRedirect(t *testing.T) {
	app := newCallApp(t)
	s := httptest.NewServer(http.RedirectHandler(app.url.String()+"/api", http.StatusFound))
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	env := authEnv(t, u, "{bearer: "+app.give(time.Hour)+", name: X-Pass}")
	if o := once(t, prober(t, env, &Route{}, "{url: /, redirects: follow}")); o.Class != probe.Auth {
		t.Errorf("%s %s, want auth: no token", o.Class, o.Reason)
	}
}

func TestAuthProblems(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                             "0 of bearer, login, oauth2 and google_id_token are set, want exactly one",
		"{bearer: x, login: {url: /}}":   "2 of bearer, login, oauth2 and google_id_token are set, want exactly one",
		"{bearer: x, in: body}":          `"body" is no choice, want header or query`,
		"{login: {url: x}}":              `"x" has no scheme`,
		"{login: {url: /, token: '.['}}": `".[" is no jq expression`,
		"{oauth2: {token_url: /}}":       "client_id or client_secret is missing, want both",
		"{google_id_token: {}}":          "there is no audience, want the URL of the service",
		"{google_id_token: {audience: a, credentials_file: /nowhere}}": "open /nowhere: no such file",
	} {
		var a Auth
		if err := yaml.Unmarshal([]byte(text), &a); err != nil {
			t.Fatal(err)
		}
		_, bad := a.Credential("app", probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{}), BaseURL: &url.URL{Scheme: "http", Host: "localhost"}})
		if len(bad) == 0 || !strings.Contains(bad[0].Text, want) {
			t.Errorf("%s: %v, want %s", text, bad, want)
		}
	}
}

// TestAuthEvidence: the evidence of a check without a token is that of the login,
// without its body.
func TestAuthEvidence(t *testing.T) {
	app := newCallApp(t)
	o := once(t, prober(t, authEnv(t, app.url, "{login: {url: /broken}}"), &Route{}, "url: /api"))
	e := o.Evidence()
	if !strings.HasSuffix(e.URL, "/broken") || !strings.HasPrefix(e.Head, "HTTP/1.1 500") || !strings.Contains(e.Curl, "/broken'") || e.Body != "" || e.Class != probe.AuthSetup || e.Reason != o.Reason {
		t.Errorf("%+v", e)
	}
}
