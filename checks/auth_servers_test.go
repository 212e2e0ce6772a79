package checks

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// tokenServer serves handler and returns its address.
func tokenServer(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// TestAuthOAuth2 asks a token endpoint that is as strict as RFC 6749 allows.
func TestAuthOAuth2(t *testing.T) {
	app := newCallApp(t)
	const id, secret = "tripline client", "s3cret:of/the client"
	server := tokenServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		user, password, basic := r.BasicAuth()
		body := r.PostFormValue("client_id") == id && r.PostFormValue("client_secret") == secret
		var err1, err2 error
		if basic { // RFC 6749 §2.3.1: both are form-encoded first
			user, err1 = url.QueryUnescape(user)
			password, err2 = url.QueryUnescape(password)
			basic = err1 == nil && err2 == nil && user == id && password == secret
		}
		switch {
		case r.Method != http.MethodPost, r.Header.Get("Content-Type") != "application/x-www-form-urlencoded", r.URL.RawQuery != "",
			r.PostFormValue("grant_type") != "client_credentials", r.PostFormValue("scope") != "calls:read calls:write", r.PostFormValue("audience") != "https://api.test":
			w.WriteHeader(400)
			_, _ = w.Write([]byte(`{"error":"invalid_request"}`))
		case basic == body: // one of them, not both
			w.WriteHeader(401)
			_, _ = w.Write([]byte(`{"error":"invalid_client","error_description":"bad secret ` + password + `"}`))
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": app.give(time.Hour), "token_type": "Bearer", "expires_in": 3600})
		}
	})
	common := "token_url: " + server + ", client_id: tripline client, scopes: [calls:read, calls:write], audience: https://api.test"
	for _, c := range []struct{ name, auth, want string }{
		{"header", "{oauth2: {" + common + ", client_secret: '" + secret + "'}}", ""},
		{"body", "{oauth2: {" + common + ", client_secret: '" + secret + "', secret_in: body}}", ""},
		{"wrong secret", "{oauth2: {" + common + ", client_secret: wrong-secret}}", `status 401, want 2xx; error "invalid_client"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := once(t, prober(t, authEnv(t, app.url, c.auth), &Route{}, "url: /api"))
			if want := map[bool]probe.Class{true: probe.OK, false: probe.AuthSetup}[c.want == ""]; o.Class != want || !strings.HasSuffix(o.Reason, c.want) {
				t.Errorf("%s %s", o.Class, o.Reason)
			}
			b, _ := json.Marshal(o.Evidence())
			if strings.Contains(o.Reason+string(b), "wrong-secret") {
				t.Errorf("the secret is shown: %s %s", o.Reason, b)
			}
		})
	}
}

// TestAuthGoogleMetadata asks a metadata server that refuses what the real one
// refuses.
func TestAuthGoogleMetadata(t *testing.T) {
	app := newCallApp(t)
	flavour := "Google"
	server := tokenServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", flavour)
		w.Header().Set("Content-Type", "text/html")
		switch {
		case r.Header.Get("Metadata-Flavor") != "Google", r.Header.Get("X-Forwarded-For") != "", r.Method != http.MethodGet:
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/identity":
			w.WriteHeader(http.StatusNotFound)
		case r.URL.Query().Get("audience") != "https://api-abc.a.run.app":
			http.Error(w, "non-empty audience parameter required", http.StatusBadRequest)
		default:
			_, _ = w.Write([]byte(app.give(time.Hour)))
		}
	})
	auth := "{google_id_token: {audience: 'https://api-abc.a.run.app', metadata_url: '" + server + "'}}"
	if o := once(t, prober(t, authEnv(t, app.url, auth), &Route{}, "url: /api")); o.Class != probe.OK {
		t.Errorf("%s %s", o.Class, o.Reason)
	}
	flavour = ""
	o := once(t, prober(t, authEnv(t, app.url, auth), &Route{}, "url: /api"))
	if o.Class != probe.AuthSetup || !strings.HasSuffix(o.Reason, "this is no metadata server: its answer lacks Metadata-Flavor: Google") {
		t.Errorf("%s %s", o.Class, o.Reason)
	}
}

// TestAuthGoogleAccount exchanges a signed assertion at a token endpoint that
// verifies it.
func TestAuthGoogleAccount(t *testing.T) {
	app := newCallApp(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	const account = "monitor@project.iam.gserviceaccount.com"
	self := ""
	self = tokenServer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
			http.Error(w, `{"error":"unsupported_grant_type"}`, http.StatusBadRequest)
			return
		}
		parts := strings.Split(r.PostFormValue("assertion"), ".")
		if len(parts) != 3 {
			t.Errorf("assertion %q", parts)
			return
		}
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
		claims := map[string]any{}
		b, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(b, &claims)
		if rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], sig) != nil || claims["iss"] != account || claims["aud"] != self || claims["target_audience"] != "https://api.test" {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"id_token": app.give(time.Hour)})
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.json")
	write := func(email string) {
		b, _ := json.Marshal(map[string]string{
			"type": "service_account", "client_email": email, "private_key_id": "1", "token_uri": self,
			"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		})
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	auth := "{google_id_token: {audience: 'https://api.test', credentials_file: '" + file + "'}}"
	write(account)
	if o := once(t, prober(t, authEnv(t, app.url, auth), &Route{}, "url: /api")); o.Class != probe.OK {
		t.Errorf("%s %s", o.Class, o.Reason)
	}
	write("somebody@else")
	if o := once(t, prober(t, authEnv(t, app.url, auth), &Route{}, "url: /api")); o.Class != probe.AuthSetup || !strings.HasSuffix(o.Reason, `status 400, want 2xx; error "invalid_grant"`) {
		t.Errorf("%s %s", o.Class, o.Reason)
	}
}

func TestJWTExpiry(t *testing.T) {
	for payload, want := range map[string]int64{
		`{"exp":1700000000}`: 1700000000, `{"exp":1700000000.5}`: 1700000000, `{"exp":1.7e9}`: 1700000000,
		`{}`: 0, `{"exp":null}`: 0, `{"exp":"soon"}`: 0, `{"exp":-1}`: 0, `{"exp":1e30}`: 0, `[]`: 0, `x`: 0,
	} {
		got, ok := jwtExpiry("eyJhIjoxfQ." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".sig")
		if ok != (want != 0) || ok && got.Unix() != want {
			t.Errorf("%s: %v %v, want %d", payload, got, ok, want)
		}
	}
}

// Whatever a token is, its end is one within four digits of years, or none.
func FuzzJWTExpiry(f *testing.F) {
	for _, s := range []string{"", "a.b", "a.b.c", "a.eyJleHAiOjE3MDAwMDAwMDB9.c", "a.eyJleHAiOjFlOTk5fQ.c", "a.eyJleHAiOiIxIn0=.c", "..", "a." + strings.Repeat("e", 100) + ".c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		end, ok := jwtExpiry(token)
		if ok && (end.Year() < 1970 || end.Year() > 9999) || !ok && !end.IsZero() {
			t.Errorf("%q: %v %v", token, end, ok)
		}
	})
}
