package checks

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/tripline/tripline/checks/probe"
)

func testEnv(secrets ...string) probe.Env {
	return probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{UserAgent: "Tripline/test", Redact: probe.NewRedactor(secrets...)})}
}

// settings decodes the YAML of one kind as the configuration does.
func settings[T any](t testing.TB, text string) *T {
	t.Helper()
	s := new(T)
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// probeOnce validates s and probes once.
func probeOnce(t testing.TB, env probe.Env, s Settings) probe.Outcome {
	t.Helper()
	if p := s.Validate(env); len(p) > 0 {
		t.Fatalf("problems %v", p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return s.Probe(ctx)
}

// wantOutcome checks an outcome and what is true of all outcomes.
func wantOutcome(t testing.TB, o probe.Outcome, class probe.Class, stage probe.Stage, texts ...string) {
	t.Helper()
	if o.Class != class || o.Stage != stage {
		t.Errorf("got %s at %q (%s), want %s at %q", o.Class, o.Stage, o.Reason, class, stage)
	}
	for _, text := range texts {
		if !strings.Contains(o.Reason, text) {
			t.Errorf("reason %q does not hold %q", o.Reason, text)
		}
	}
	good := o.Class.Status() == probe.Up || o.Class.Status() == probe.Degraded
	if (o.Latency > 0) != good {
		t.Errorf("%s with latency %s", o.Class, o.Latency)
	}
	if (o.Reason == "") != (o.Class == probe.OK) || len(o.Reason) > probe.MaxReason {
		t.Errorf("%s with reason %q", o.Class, o.Reason)
	}
	if o.Evidence == nil {
		t.Error("no evidence")
		return
	}
	e := o.Evidence()
	b, err := json.Marshal(e)
	if err != nil || len(b) > probe.MaxEvidence {
		t.Errorf("evidence of %d bytes, %v", len(b), err)
	}
	if e.Class != o.Class || e.Reason != o.Reason || e.URL == "" || e.Request == "" || !strings.HasPrefix(e.Curl, "curl ") {
		t.Errorf("evidence %+v", e)
	}
}

func serveHTTP(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestStatuses(t *testing.T) {
	u := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		var code int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &code)
		if code/100 == 3 {
			w.Header().Set("Location", "/login?token=hunter22")
		}
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"version":"1.2","n":7}`)
	})
	tests := []struct {
		code  int
		class probe.Class
		after time.Duration
	}{
		{200, probe.OK, 0},
		{204, probe.OK, 0},
		{301, probe.Redirected, 0},
		{304, probe.Redirected, 0},
		{400, probe.UnexpectedStatus, 0},
		{401, probe.Auth, 0},
		{403, probe.Forbidden, 0},
		{404, probe.NotFound, 0},
		{410, probe.NotFound, 0},
		{418, probe.UnexpectedStatus, 0},
		{429, probe.RateLimited, 2 * time.Minute},
		{500, probe.ServerError, 0},
		{501, probe.UnexpectedStatus, 0},
		{502, probe.BadGateway, 0},
		{503, probe.Unavailable, 2 * time.Minute},
		{504, probe.GatewayTimeout, 0},
	}
	for _, tt := range tests {
		for kind, s := range map[string]Settings{
			"health": &Health{URL: fmt.Sprintf("%s/%d", u, tt.code), Record: map[string]string{"n": ".n"}},
			"route":  &Route{URL: fmt.Sprintf("%s/%d", u, tt.code)},
		} {
			o := probeOnce(t, testEnv(), s)
			if tt.class == probe.OK {
				wantOutcome(t, o, tt.class, "")
				continue
			}
			wantOutcome(t, o, tt.class, probe.StageHTTP, fmt.Sprintf("GET %s/%d: status %d", u, tt.code, tt.code), "want 2xx")
			if o.RetryAfter != tt.after {
				t.Errorf("%d: retry after %s, want %s", tt.code, o.RetryAfter, tt.after)
			}
			if tt.class == probe.Redirected && !strings.Contains(o.Reason, "to /login?token=***,") {
				t.Errorf("reason %q", o.Reason)
			}
			if kind == "health" && tt.code != 304 && (o.Facts["version"] != "1.2" || o.Measures["n"] != 7) {
				t.Errorf("%d: facts %v and measures %v of a failed answer", tt.code, o.Facts, o.Measures)
			}
		}
	}
}

func TestParseStatuses(t *testing.T) {
	tests := []struct {
		list probe.List
		in   []int
		out  []int
		bad  int
	}{
		{nil, []int{200, 299}, []int{199, 300}, 0},
		{probe.List{"200"}, []int{200}, []int{201}, 0},
		{probe.List{"2xx", "3XX"}, []int{200, 399}, []int{400}, 0},
		{probe.List{"200-204", " 404 "}, []int{204, 404}, []int{205}, 0},
		{probe.List{"", "99", "600", "6xx", "299-200", "ok", "2x", "-200"}, nil, nil, 8},
	}
	for _, tt := range tests {
		s, problems := parseStatuses(tt.list)
		if len(problems) != tt.bad {
			t.Errorf("%q: %v", tt.list, problems)
		}
		for _, c := range tt.in {
			if !s.has(c) {
				t.Errorf("%q does not have %d", tt.list, c)
			}
		}
		for _, c := range tt.out {
			if s.has(c) {
				t.Errorf("%q has %d", tt.list, c)
			}
		}
	}
}

func TestSlow(t *testing.T) {
	u := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	o := probeOnce(t, testEnv(), &Route{URL: u, SlowerThan: 1})
	wantOutcome(t, o, probe.Slow, probe.StageTime, "took ", "want at most 1ns")
	if o.Phases.Connect == 0 || o.Phases.FirstByte == 0 || o.Phases.Body == 0 || o.Latency < o.Phases.Connect+o.Phases.FirstByte {
		t.Errorf("latency %s, phases %+v", o.Latency, o.Phases)
	}
}

func TestBodyFailureHasItsClass(t *testing.T) {
	u := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/zip" {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 3<<20))
			_ = z.Close()
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	o := probeOnce(t, testEnv(), &Route{URL: u + "/zip"})
	wantOutcome(t, o, probe.BodyTooLarge, probe.StageBody, "more than 1048576 bytes")
	// A failed status is the verdict, whatever its body does, and waits a second at most.
	start := time.Now()
	o = probeOnce(t, testEnv(), &Route{URL: u + "/hang"})
	wantOutcome(t, o, probe.ServerError, probe.StageHTTP, "status 500")
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestBadRequestBelowHTTP(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	o := probeOnce(t, testEnv(), &Route{URL: strings.Replace(s.URL, "https", "http", 1)})
	wantOutcome(t, o, probe.SchemeMismatch, probe.StageHTTP, "the server speaks TLS here")
	o = probeOnce(t, testEnv(), &Route{URL: s.URL})
	wantOutcome(t, o, probe.TLSUntrusted, probe.StageTLS)
	o = probeOnce(t, testEnv(), &Route{URL: s.URL, Status: probe.List{"404"}, Connection: probe.Connection{TLS: &probe.TLSOptions{InsecureSkipVerify: true}}})
	wantOutcome(t, o, probe.OK, "")
	if o.Measures[probe.MeasureCertDays] == 0 {
		t.Errorf("measures %v", o.Measures)
	}
	if e := o.Evidence(); e.TLS == nil || e.TLS.ALPN != "http/1.1" {
		t.Errorf("TLS evidence %+v", e.TLS)
	}
}

func TestFamilyBrokenIsAWarning(t *testing.T) {
	u := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(u, "http://"))
	dns, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dns.Close() })
	go func() { // answers every question with both loopback addresses
		b := make([]byte, 1500)
		for {
			k, from, err := dns.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:k]) != nil {
				continue
			}
			m.Response, m.Additionals = true, nil
			h := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET}
			var body dnsmessage.ResourceBody = &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}
			if m.Questions[0].Type == dnsmessage.TypeAAAA {
				body = &dnsmessage.AAAAResource{AAAA: [16]byte{15: 1}}
			}
			m.Answers = []dnsmessage.Resource{{Header: h, Body: body}}
			if r, err := m.Pack(); err == nil {
				_, _ = dns.WriteTo(r, from)
			}
		}
	}()
	conn := probe.Connection{Resolver: dns.LocalAddr().String()}
	o := probeOnce(t, testEnv(), &Route{URL: "http://dual.test:" + port, Connection: conn})
	wantOutcome(t, o, probe.FamilyBroken, probe.StageConnect, "IPv4 works and IPv6 does not: ::1: ")
	if o.Class.Status() != probe.Degraded || o.Phases.DNS == 0 {
		t.Errorf("%s, phases %+v", o.Class.Status(), o.Phases)
	}
	if a := o.Evidence().Addresses; len(a) != 2 {
		t.Errorf("addresses %+v", a)
	}
	o = probeOnce(t, testEnv(), &Route{URL: "http://dual.test:" + port, Connection: conn, SlowerThan: 1})
	wantOutcome(t, o, probe.Slow, probe.StageTime, "IPv4 works and IPv6 does not")
	conn.IP = "4"
	o = probeOnce(t, testEnv(), &Route{URL: "http://dual.test:" + port, Connection: conn})
	wantOutcome(t, o, probe.OK, "")
}

func TestStopIsNoVerdict(t *testing.T) {
	arrived := make(chan struct{})
	u := serveHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	})
	r := &Route{URL: u}
	if p := r.Validate(testEnv()); len(p) > 0 {
		t.Fatal(p)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		<-arrived
		cancel()
	}()
	wantOutcome(t, r.Probe(ctx), probe.Interrupted, probe.StageMonitor, "GET "+u)
}

func TestEndpoint(t *testing.T) {
	env := testEnv()
	env.BaseURL, _ = url.Parse("https://api.example.test")
	for _, tt := range []struct {
		method string
		want   probe.Endpoint
	}{
		{"", probe.Endpoint{URL: "https://api.example.test/x?token=***", Host: "api.example.test:443", Repeatable: true}},
		{"HEAD", probe.Endpoint{URL: "https://api.example.test/x?token=***", Host: "api.example.test:443", Repeatable: true}},
		{"POST", probe.Endpoint{URL: "https://api.example.test/x?token=***", Host: "api.example.test:443"}},
	} {
		r := &Route{URL: "/x?token=abcdefg", Method: tt.method}
		if p := r.Validate(env); len(p) > 0 {
			t.Fatal(p)
		}
		if d := cmp.Diff(tt.want, r.Endpoint()); d != "" {
			t.Error(d)
		}
	}
}

// TestNoSecretIsShown feeds secrets through every path into an outcome.
func TestNoSecretIsShown(t *testing.T) {
	const secret = "hunter22"
	echo := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		all := fmt.Sprintf("%s %v %s", r.URL, r.Header, body)
		switch r.URL.Path {
		case "/redirect":
			w.Header().Set("Location", "/other?access_token="+r.URL.Query().Get("token")+"&again="+r.Header.Get("Authorization"))
			w.WriteHeader(302)
		case "/json":
			b, _ := json.Marshal(map[string]string{"status": all, "version": all})
			_, _ = w.Write(b)
		case "/head":
			w.Header().Set("X-Echo", strings.ReplaceAll(all, "\n", " "))
			w.WriteHeader(500)
		default:
			w.WriteHeader(404)
		}
		_, _ = io.WriteString(w, all)
	})
	raw := serveRaw(t, func(c net.Conn) {
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		_, _ = c.Write(append([]byte("garbage "), b[:n]...))
	})
	headers := map[string]string{"Authorization": "Bearer " + secret, "X-Api-Key": secret, "Cookie": "sid=" + secret}
	probes := map[string]Settings{
		"not found":     &Route{URL: echo + "/?token=" + secret, Headers: headers},
		"head":          &Route{URL: echo + "/head?token=" + secret, Headers: headers},
		"body":          &Route{URL: echo + "/json", Method: "POST", Body: "password=" + secret, Headers: headers, Contains: probe.List{"nothing"}},
		"condition":     &Health{URL: echo + "/json?token=" + secret, Headers: headers, Conditions: probe.List{`.status == "ok"`}},
		"facts":         &Health{URL: echo + "/json?token=" + secret, Headers: headers},
		"location":      &Route{URL: echo + "/redirect?token=" + secret, Headers: headers},
		"followed":      &Route{URL: echo + "/redirect?token=" + secret, Headers: headers, Redirects: "follow"},
		"userinfo":      &Route{URL: strings.Replace(echo, "://", "://user:"+secret+"@", 1), Status: probe.List{"200"}},
		"basic auth":    &Route{URL: echo, Connection: probe.Connection{BasicAuth: &probe.BasicAuth{Username: "user", Password: secret}}},
		"proxy":         &Route{URL: echo, Connection: probe.Connection{Proxy: strings.Replace(echo, "://", "://user:"+secret+"@", 1)}},
		"dead proxy":    &Route{URL: echo, Connection: probe.Connection{Proxy: "http://user:" + secret + "@127.0.0.1:1"}},
		"first bytes":   &Route{URL: "http://" + raw + "/?token=" + secret, Headers: headers},
		"refused":       &Route{URL: "http://127.0.0.1:1/?token=" + secret, Headers: headers},
		"in the config": &Route{URL: echo + "/" + secret, Headers: map[string]string{"X-Plain": secret}},
	}
	for name, s := range probes {
		env := testEnv()
		if name == "in the config" {
			env = testEnv(secret)
		}
		o := probeOnce(t, env, s)
		e := o.Evidence()
		o.Evidence = nil
		shown, err := json.Marshal([]any{e, s.Endpoint(), fmt.Sprintf("%+v", o)})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(shown), secret) || strings.Contains(string(shown), "dXNlcjpodW50ZXIy") {
			t.Errorf("%s: secret in %s", name, shown)
		}
		if name != "proxy" && name != "dead proxy" && name != "refused" && !strings.Contains(string(shown), "***") {
			t.Errorf("%s: nothing was hidden in %s", name, shown)
		}
	}
	// Problems are shown too.
	for _, s := range []Settings{
		&Route{URL: "ftp://user:" + secret + "@x.test/?token=" + secret},
		&Route{URL: "http://x.test/", Connection: probe.Connection{Proxy: "ftp://user:" + secret + "@p.test"}},
		&Health{URL: "http://user:" + secret + "@x y/"},
	} {
		if p := fmt.Sprint(s.Validate(testEnv())); p == "[]" || strings.Contains(p, secret) {
			t.Errorf("problems %s", p)
		}
	}
}

func serveRaw(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			handle(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}
