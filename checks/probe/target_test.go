package probe

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolveURL(t *testing.T) {
	base, _ := url.Parse("https://api.example.test/v1/")
	tests := []struct {
		raw     string
		base    *url.URL
		schemes string
		want    string
		err     string
	}{
		{"http://x.test/a?b=1", nil, "http https", "http://x.test/a?b=1", ""},
		{"/health?x=1", base, "http https", "https://api.example.test/v1/health?x=1", ""},
		{"/ws%2Fx", base, "ws wss", "wss://api.example.test/v1/ws%2Fx", ""},
		{"/health", nil, "http https", "", `"/health" is only a path and no base URL is configured`},
		{"", base, "http https", "", "there is no URL, want http:// or https://"},
		{"ws://x.test/", nil, "http https", "", `has scheme "ws", want http:// or https://`},
		{"x.test/health", nil, "http https", "", `"x.test/health" has no scheme`},
		{"localhost:8080", nil, "http https", "", "has no scheme"},
		{"//x.test/a", base, "http https", "", "has no scheme"},
		{"http://", nil, "http https", "", "has no host"},
		{"http://x.test:0/", nil, "http https", "", "has port 0"},
		{"http://x.test:99999/", nil, "http https", "", "has port 99999"},
		{"http://x.test:http/", nil, "http https", "", "is no URL"},
		{"http://x.test/#a", nil, "http https", "", "has a fragment"},
		{"http://a b/", nil, "http https", "", "is no URL"},
		{"http://user:hunter22@x y/?token=hunter33", nil, "http https", "", "is no URL"},
		{"http://x.test/\x00", nil, "http https", "", "is no URL"},
	}
	for _, tt := range tests {
		got, err := ResolveURL(tt.base, tt.raw, strings.Fields(tt.schemes)...)
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: error %v, want %q", tt.raw, err, tt.err)
			} else if strings.Contains(err.Error(), "hunter") {
				t.Errorf("%q: secret in error %v", tt.raw, err)
			}
		case err != nil || got.String() != tt.want:
			t.Errorf("%q: %v (%v), want %s", tt.raw, got, err, tt.want)
		}
	}
}

func TestTargetForms(t *testing.T) {
	tests := []struct{ url, host, addr, server string }{
		{"http://X.Test/a", "x.test", "x.test:80", "x.test"},
		{"https://x.test:443/", "x.test", "x.test:443", "x.test"},
		{"wss://x.test:8443", "x.test:8443", "x.test:8443", "x.test"},
		{"http://127.0.0.1:80/", "127.0.0.1", "127.0.0.1:80", "127.0.0.1"},
		{"https://[::1]:8443/", "[::1]:8443", "[::1]:8443", "::1"},
		{"ws://bücher.test/", "xn--bcher-kva.test", "xn--bcher-kva.test:80", "xn--bcher-kva.test"},
		{"https://x.test./", "x.test.", "x.test.:443", "x.test"},
	}
	for _, tt := range tests {
		tg := target(t, testNetwork(), tt.url, Connection{})
		got := []string{tg.Host, tg.Addr, tg.serverName}
		if d := cmp.Diff([]string{tt.host, tt.addr, tt.server}, got); d != "" {
			t.Errorf("%s: %s", tt.url, d)
		}
	}
}

func TestTargetProblemsAreAllTold(t *testing.T) {
	u, _ := url.Parse("https://192.0.2.1/")
	missing := filepath.Join(t.TempDir(), "missing.pem")
	_, problems := testNetwork().Target(u, Connection{
		IP: "6", Resolver: "dns.example", PerHost: -1, Proxy: "socks5://p:1",
		BasicAuth: &BasicAuth{Username: "a:b", Password: "p"},
		TLS:       &TLSOptions{CAFile: missing, ClientCert: "x", MinVersion: "1.1"},
	})
	var paths []string
	for _, p := range problems {
		paths = append(paths, p.Path)
	}
	want := []string{"ip", "resolver", "per_host", "basic_auth.username", "tls.min_version", "tls.ca_file", "tls.client_key", "proxy"}
	if d := cmp.Diff(want, paths); d != "" {
		t.Errorf("%v\n%s", problems, d)
	}
	if _, problems = testNetwork().Target(u, Connection{IP: "five"}); len(problems) != 1 || !strings.Contains(problems[0].Text, `"five" is no choice`) {
		t.Errorf("ip: %v", problems)
	}
}

func TestTargetHidesItsSecrets(t *testing.T) {
	n := testNetwork()
	tg := target(t, n, "https://user:hunter22@x.test/a?token=hunter33&x=1", Connection{
		Proxy: "http://puser:hunter44@p.test:3128",
	})
	if tg.BasicAuth == "" || tg.URL.User != nil {
		t.Errorf("userinfo is not basic auth: %q, %v", tg.BasicAuth, tg.URL.User)
	}
	if tg.String() != "https://x.test/a?token=***&x=1" {
		t.Errorf("String() = %s", tg)
	}
	fields, _ := n.Fields(tg, nil, map[string]string{"X-Token": "hunter55", "Cookie": "a=hunter66; b=2"})
	shown := n.Redactor().String(strings.Join([]string{
		"hunter22 hunter33 hunter44 hunter55 hunter66", tg.BasicAuth, tg.proxy.proxyAuth,
		CurlLine(n.Redactor(), tg, "GET", fields, false),
	}, "\n"))
	if strings.Contains(shown, "hunter") || strings.Contains(shown, tg.BasicAuth[6:]) {
		t.Errorf("secrets in %s", shown)
	}
}

func TestEqualSettingsShare(t *testing.T) {
	n := testNetwork()
	a := target(t, n, "https://x.test/a", Connection{})
	b := target(t, n, "https://x.test/b", Connection{})
	other := target(t, n, "https://y.test/b", Connection{TLS: &TLSOptions{MinVersion: "1.3"}})
	if a.tls != b.tls || a.gate != b.gate {
		t.Error("equal settings do not share their TLS policy and limit")
	}
	if a.tls == other.tls || a.gate == other.gate {
		t.Error("different settings share")
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	built := map[*int]bool{}
	for range 8 {
		wg.Go(func() {
			v, _ := Shared(n, "x:1", func() (*int, error) { return new(int), nil })
			mu.Lock()
			defer mu.Unlock()
			built[v] = true
		})
	}
	wg.Wait()
	if len(built) != 1 {
		t.Errorf("Shared gave %d values", len(built))
	}
	if _, err := Shared(n, "x:2", func() (int, error) { return 0, errors.New("no") }); err == nil {
		t.Error("error lost")
	}
	if v, err := Shared(n, "x:2", func() (int, error) { return 7, nil }); v != 7 || err != nil {
		t.Errorf("an error was kept: %d, %v", v, err)
	}
}

func TestFields(t *testing.T) {
	n := testNetwork()
	tg := target(t, n, "http://x.test/", Connection{BasicAuth: &BasicAuth{"u", "pass"}})
	fields, problems := n.Fields(tg,
		map[string]string{"X-B": "default", "x-a": "default", "Accept": "*/*"},
		map[string]string{"X-A": "own", "accept": "", "Host": "other.test", "User-Agent": "mine"})
	want := []Field{{"Host", "other.test"}, {"User-Agent", "mine"}, {"Authorization", tg.BasicAuth}, {"X-B", "default"}, {"X-A", "own"}}
	if d := cmp.Diff(want, fields); d != "" || len(problems) > 0 {
		t.Error(d, problems)
	}
	_, problems = n.Fields(tg, nil, map[string]string{
		"Bad Name": "x", "X-Value": "a\r\nb", "Connection": "x", "Authorization": "Bearer x",
	})
	var paths []string
	for _, p := range problems {
		paths = append(paths, p.Path)
	}
	if d := cmp.Diff([]string{"headers.Authorization", "headers.Bad Name", "headers.Connection", "headers.X-Value"}, paths); d != "" {
		t.Error(d)
	}
}

func TestRedirectLeavesCredentialsBehind(t *testing.T) {
	n := testNetwork()
	cert, key := files(t, newAuthority(t).leaf(t, nil))
	tg := target(t, n, "https://x.test/login", Connection{
		BasicAuth: &BasicAuth{"u", "pass"}, TLS: &TLSOptions{ClientCert: cert, ClientKey: key, ServerName: "sni.test"},
	})
	fields, _ := n.Fields(tg, nil, map[string]string{"X-Api-Key": "kkkk", "Cookie": "c=dddd", "X-Plain": "1", "Content-Type": "a/b"})
	get := NewRequest(tg, "GET", fields, nil)
	post := NewRequest(tg, "POST", fields, []byte("body"))
	tests := []struct {
		name   string
		q      *Request
		status int
		to     string
		method string
		kept   bool
		err    string
	}{
		{"same origin", get, 302, "https://x.test/other", "GET", true, ""},
		{"other host", get, 302, "https://y.test/other", "GET", false, ""},
		{"other port", get, 302, "https://x.test:444/other", "GET", false, ""},
		{"from TLS to plain", get, 301, "http://x.test/", "GET", false, ""},
		{"post 302", post, 302, "https://x.test/", "GET", true, ""},
		{"post 303", post, 303, "https://x.test/", "GET", true, ""},
		{"post 307", post, 307, "https://x.test/", "POST", true, ""},
		{"post 307 to another host", post, 307, "https://y.test/", "", false, "the body is not sent to another host"},
		{"other scheme", get, 302, "ftp://x.test/", "", false, `"ftp" is no scheme`},
	}
	for _, tt := range tests {
		u, _ := url.Parse(tt.to)
		q, err := n.Redirect(tt.q, tt.status, u)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want %q", tt.name, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		head := string(q.Head())
		if q.Method != tt.method || !strings.HasPrefix(head, tt.method+" "+u.Path) || !strings.Contains(head, "X-Plain: 1") {
			t.Errorf("%s: %q", tt.name, head)
		}
		for _, secret := range []string{"Basic ", "kkkk", "dddd"} {
			if strings.Contains(head, secret) != tt.kept {
				t.Errorf("%s: %q in %q is not %v", tt.name, secret, head, tt.kept)
			}
		}
		if got := len(q.Target.tls.Certificates) == 1; got != tt.kept {
			t.Errorf("%s: client certificate %v, want %v", tt.name, got, tt.kept)
		}
		if strings.Contains(head, "Content-Type") != (q.Method == "POST") {
			t.Errorf("%s: Content-Type in %q", tt.name, head)
		}
	}
}

func TestRedirectsLeaveNothingInTheNetwork(t *testing.T) {
	n := testNetwork()
	tg := target(t, n, "https://x.test/", Connection{})
	q := NewRequest(tg, "GET", nil, nil)
	before, values := len(n.shared), len(n.redact.values)
	for i := range 100 {
		u, _ := url.Parse(fmt.Sprintf("https://user:password%d@host%d.test/?token=secret%d", i, i, i))
		next, err := n.Redirect(q, 302, u)
		if err != nil {
			t.Fatal(err)
		}
		if s := next.Target.String(); strings.Contains(s, "secret") || strings.Contains(s, "password") {
			t.Errorf("secret in %s", s)
		}
	}
	if len(n.shared) != before || len(n.redact.values) != values {
		t.Errorf("%d shared values and %d secrets, want %d and %d", len(n.shared), len(n.redact.values), before, values)
	}
}
