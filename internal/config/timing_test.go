package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestCron: five fields in a time zone, also where its clocks change.
func TestCron(t *testing.T) {
	for _, c := range []struct {
		name, cron, zone, from string
		want                   []string // in UTC
	}{
		{"each quarter", "*/15 * * * *", "", "2026-11-21T12:01:00Z", []string{"2026-11-21T12:15:00Z", "2026-11-21T12:30:00Z"}},
		{"UTC by default", "30 3 * * *", "", "2026-11-21T12:00:00Z", []string{"2026-11-22T03:30:00Z"}},
		{"Berlin", "30 3 * * 1-5", "Europe/Berlin", "2026-11-21T12:00:00Z", []string{"2026-11-23T02:30:00Z", "2026-11-24T02:30:00Z"}},
		{"an hour that does not exist is skipped", "30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", []string{"2026-03-09T06:30:00Z"}},
		{"an hour that comes twice runs twice", "30 1 * * *", "America/New_York", "2026-11-01T00:00:00Z", []string{"2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "2026-11-02T06:30:00Z"}},
		{"hourly across the change", "0 * * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", []string{"2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		{"leap day", "0 0 29 2 *", "", "2026-03-01T00:00:00Z", []string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone, err := location(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			s, err := parseCron(c.cron, zone)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(time.RFC3339, c.from)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range c.want {
				at = s.Next(at)
				got = append(got, at.UTC().Format(time.RFC3339))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// FuzzCron: no text makes the parser or Next panic, spin, or stand still.
func FuzzCron(f *testing.F) {
	for _, seed := range []string{
		"* * * * *", "TZ=UTC", "CRON_TZ=", "TZ= 1 1 1 1 1", "0 0 31 2 *", "@every 1s", "*/0 * * * *", "1-0 * * * *",
		"0-59/9999999999999999999 * * * *", "? ? ? ? ?", "* * * JAN-DEC SUN", "*/7,*/11 1-23/5 29 2 *", "\x00 * * * *", "* * * * * *",
	} {
		f.Add(seed, "Europe/Berlin")
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		zone, err := location(name)
		if err != nil {
			zone = time.UTC
		}
		s, err := parseCron(text, zone)
		if err != nil {
			return
		}
		at := reference()
		for range 5 {
			next := s.Next(at)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("%q in %s: %s comes after %s", text, zone, next, at)
			}
			at = next
		}
		if least, _ := between(s); least < time.Minute {
			t.Fatalf("%q in %s: slots %s apart", text, zone, least)
		}
	})
}

// TestFit: what the file does not say is chosen so that it fits the interval;
// what it does say stays, and is refused if it does not.
func TestFit(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, c := range []struct {
		name    string
		in      fit
		want    fit
		problem string
	}{
		{"all defaults", fit{60 * s, 0, unset}, fit{60 * s, 10 * s, 2}, ""},
		{"10s", fit{10 * s, 0, unset}, fit{10 * s, 2500 * ms, 2}, ""},
		{"2s", fit{2 * s, 0, unset}, fit{2 * s, 770 * ms, 1}, ""},
		{"1s", fit{1 * s, 0, unset}, fit{1 * s, 900 * ms, 0}, ""},
		{"a day", fit{24 * time.Hour, 0, unset}, fit{24 * time.Hour, 10 * s, 2}, ""},
		{"timeout given", fit{30 * s, 12 * s, unset}, fit{30 * s, 12 * s, 1}, ""},
		{"timeout as long as can be", fit{10 * s, 9 * s, unset}, fit{10 * s, 9 * s, 0}, ""},
		{"timeout too long", fit{10 * s, 9001 * ms, unset}, fit{10 * s, 9001 * ms, 0}, "timeout 9.001s does not fit every 10s"},
		{"confirm given", fit{10 * s, 0, 4}, fit{10 * s, 1100 * ms, 4}, ""},
		{"just fits", fit{60 * s, 17583333333, 2}, fit{60 * s, 17583333333, 2}, ""},
		{"just does not", fit{60 * s, 17583333334, 2}, fit{60 * s, 17583333334, 2}, "= 54.000000002s, want at most 54s"},
		{"no room for pauses", fit{1 * s, 0, 2}, fit{1 * s, -110 * ms, 2}, "the pauses between the attempts alone take 1.25s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.in.choose()
			if got != c.want {
				t.Errorf("chose %+v, want %+v", got, c.want)
			}
			if p := got.problem(); (p == "") != (c.problem == "") || !strings.Contains(p, c.problem) {
				t.Errorf("problem %q, want it to hold %q", p, c.problem)
			}
		})
	}
}

// TestHash: the hash of a config changes with what it means to the program,
// and not with its secrets.
func TestHash(t *testing.T) {
	hash := func(src string, env map[string]string) string {
		c, err := Load("c.yaml", []byte(src), testEnv(env, nil))
		if err != nil {
			t.Fatal(err)
		}
		return c.Hash
	}
	src := oneCheck + "    every: ${EVERY:-1m}\nhttp: {token: \"${API_TOKEN:-some-token}\"}\n"
	first := hash(src, nil)
	if len(first) != 12 || first != hash(src, nil) {
		t.Errorf("hash %q is not 12 characters, or changes", first)
	}
	if first == hash(src+"# comment\n", nil) {
		t.Error("another text has the same hash")
	}
	if first == hash(src, map[string]string{"EVERY": "2m"}) {
		t.Error("another value of a variable has the same hash")
	}
	if one, two := hash(src, map[string]string{"API_TOKEN": "secret-one"}), hash(src, map[string]string{"API_TOKEN": "secret-two"}); one != two {
		t.Error("the hash tells secrets apart")
	}
}

// TestFingerprintsOfFiles: a certificate, key or secret that is renewed in its
// place is a change of whatever names its file.
func TestFingerprintsOfFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, n int64) { // a certificate and its key in one file, another for each n
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(n), NotAfter: time.Now().Add(time.Hour)}
		cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		b := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"ca", "own", "all", "login", "mail"} {
		write(name, 1)
	}
	token := "first-token"
	tests := []struct{ what, want string }{
		{"", ""},
		{"ca", "roots"},
		{"own", "client"},
		{"all", "client plain roots shop token"},
		{"login", "shop"},
		{"mail", "mail"},
		{"token", "token"},
	}
	src := strings.NewReplacer("DIR", dir).Replace(`version: 1
defaults: {tls: {ca_file: DIR/all}}
auth:
  shop: {login: {url: "https://127.0.0.1/", body: x, token: .token, tls: {ca_file: DIR/login}}}
checks:
  - {name: plain, health: {url: "http://127.0.0.1/"}}
  - {name: roots, health: {url: "https://127.0.0.1/", tls: {ca_file: DIR/ca}}}
  - {name: client, websocket: {url: "wss://127.0.0.1/", tls: {client_cert: DIR/own, client_key: DIR/own}}}
  - {name: shop, auth: shop, route: {url: "http://127.0.0.1/"}}
  - {name: token, health: {url: "http://127.0.0.1/", headers: {X-Key: "${file:token}"}}}
notify:
  - {name: mail, email: {server: "127.0.0.1:25", from: a@example.com, to: [b@example.com], ca_file: DIR/mail}}
`)
	load := func() map[string]string {
		c, err := Load("c.yaml", []byte(src), testEnv(nil, map[string]string{"token": token}))
		if err != nil {
			t.Fatal(err)
		}
		prints := maps.Clone(c.Fingerprints)
		prints["mail"] = c.Notifiers[0].Fingerprint
		return prints
	}
	before := load()
	for _, tt := range tests {
		switch tt.what {
		case "":
		case "token":
			token = "second-token"
		default:
			write(tt.what, 2)
		}
		after := load()
		var changed []string
		for _, name := range slices.Sorted(maps.Keys(after)) {
			if after[name] != before[name] {
				changed = append(changed, name)
			}
		}
		if got := strings.Join(changed, " "); got != tt.want {
			t.Errorf("another %q changes %q, want %q", tt.what, got, tt.want)
		}
		before = after
	}
}

// TestFingerprints: of two loads exactly what differs has another fingerprint.
func TestFingerprints(t *testing.T) {
	const src = "version: 1\ndefaults: {every: \"${EVERY:-1m}\", headers: {X-A: \"${HEADER:-a}\"}}\nchecks:\n" +
		"  - name: one\n    health: {url: \"${URL:-http://127.0.0.1/}\"}\n" +
		"  - name: two\n    every: 1m\n    health: {url: \"http://127.0.0.1/\", headers: {X-Key: \"${API_KEY:-some-key}\"}}\n" +
		"notify:\n  - name: team\n    only_if: TOKEN\n    slack: {token: \"${TOKEN}\", channel: C012345}\n"
	load := func(env map[string]string) map[string]string {
		c, err := Load("c.yaml", []byte(src), testEnv(env, nil))
		if err != nil {
			t.Fatal(err)
		}
		prints := map[string]string{"team": c.Notifiers[0].Fingerprint}
		for _, k := range c.Checks {
			prints[k.Name] = c.Fingerprints[k.Name]
		}
		return prints
	}
	first := load(nil)
	for _, c := range []struct {
		env  map[string]string
		want string // what changes
	}{
		{nil, ""},
		{map[string]string{"UNUSED": "x"}, ""},
		{map[string]string{"URL": "http://127.0.0.2/"}, "one"},
		{map[string]string{"EVERY": "2m"}, "one"},
		{map[string]string{"HEADER": "b"}, "one two"},
		{map[string]string{"API_KEY": "another-key"}, "two"},
		{map[string]string{"TOKEN": "xoxb-1234"}, "team"},
	} {
		var changed []string
		now := load(c.env)
		for _, name := range []string{"one", "two", "team"} {
			if now[name] != first[name] {
				changed = append(changed, name)
			}
		}
		if got := strings.Join(changed, " "); got != c.want {
			t.Errorf("%v changes %q, want %q", c.env, got, c.want)
		}
	}
	if one, two := load(map[string]string{"TOKEN": "xoxb-1234"}), load(map[string]string{"TOKEN": "xoxb-5678"}); one["team"] == two["team"] {
		t.Error("another token has the same fingerprint")
	}
}
