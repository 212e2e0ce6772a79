package checks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks/probe"
)

func contextFor(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), 200*time.Millisecond)
}

func TestRoute(t *testing.T) {
	u := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Version", "v1.4.2")
		w.Header()["X-Many"] = []string{"a", "b"}
		if r.URL.Path == "/echo" {
			b, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Header.Get("Content-Type"), r.Header.Get("User-Agent"), b)
			return
		}
		_, _ = io.WriteString(w, "<h1>Welcome</h1> {}")
	})
	tests := []struct {
		name, yaml string
		class      probe.Class
		text       string
	}{
		{"plain", "", probe.OK, ""},
		{"contains", "contains: Welcome", probe.OK, ""},
		{"does not contain", "contains: [Welcome, Goodbye]", probe.ConditionFailed, `the body does not contain "Goodbye"; it begins "<h1>Welcome</h1> {}"`},
		{"matches", "matches: '<h1>.*</h1>'", probe.OK, ""},
		{"does not match", "matches: '^Welcome'", probe.ConditionFailed, `the body does not match "^Welcome"; it begins`},
		{"not matches", "not_matches: (?i)error", probe.OK, ""},
		{"matches what it must not", "not_matches: (?i)welc.", probe.ConditionFailed, `the body matches "(?i)welc.", want no match: "Welco"`},
		{"header", "response_headers: {x-version: '^v1\\.', X-Many: ^b$}", probe.OK, ""},
		{"header differs", "response_headers: {X-Version: ^v2}", probe.ConditionFailed, `the header field X-Version is "v1.4.2", want a match of "^v2"`},
		{"header missing", "response_headers: {X-None: .}", probe.ConditionFailed, "the header field X-None is missing"},
		{"jq on HTML", "conditions: .a == 1", probe.ConditionFailed, "the body is not JSON"},
		{"status", "status: [200, 404]", probe.OK, ""},
		{"other status", "status: '404'", probe.UnexpectedStatus, "status 200, want 404"},
		{"head", "method: HEAD", probe.OK, ""},
		{"one family", "ip: '4'", probe.OK, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := probeOnce(t, testEnv(), settings[Route](t, "url: "+u+"\n"+tt.yaml))
			stage := map[probe.Class]probe.Stage{probe.ConditionFailed: probe.StageCondition, probe.UnexpectedStatus: probe.StageHTTP}[tt.class]
			wantOutcome(t, o, tt.class, stage, tt.text)
		})
	}
	o := probeOnce(t, testEnv(), settings[Route](t, "url: "+u+`/echo
method: PUT
body: '{"a":1}'
headers: {Content-Type: application/json}
matches: '^PUT application/json Tripline/test \{"a":1\}$'`))
	wantOutcome(t, o, probe.OK, "")
	e := o.Evidence()
	if !strings.Contains(e.Curl, "-X 'PUT'") || !strings.Contains(e.Request, "PUT /echo HTTP/1.1\r\n") || !strings.HasPrefix(e.Head, "HTTP/1.1 200 OK\r\n") || !strings.HasPrefix(e.Body, "PUT application/json") {
		t.Errorf("evidence %+v", e)
	}
}

func TestRedirects(t *testing.T) {
	var requests atomic.Int64
	other := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "other host, key %q, auth %q, plain %q", r.Header.Get("X-Api-Key"), r.Header.Get("Authorization"), r.Header.Get("X-Plain"))
	})
	u := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		switch r.URL.Path {
		case "/1", "/2":
			http.Redirect(w, r, map[string]string{"/1": "2", "/2": "/end"}[r.URL.Path], http.StatusFound)
		case "/end":
			fmt.Fprintf(w, "the end, key %q", r.Header.Get("X-Api-Key"))
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusMovedPermanently)
		case "/other":
			http.Redirect(w, r, other, http.StatusTemporaryRedirect)
		case "/ftp":
			w.Header().Set("Location", "ftp://x.test/")
			w.WriteHeader(301)
		case "/bad":
			w.Header().Set("Location", "http://[")
			w.WriteHeader(301)
		case "/nowhere":
			w.WriteHeader(301)
		case "/gone":
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}
	})
	tests := []struct {
		name, yaml string
		class      probe.Class
		stage      probe.Stage
		text       string
		requests   int64
	}{
		{"refused", "/1", probe.Redirected, probe.StageHTTP, "status 302 to /2, want 2xx", 1},
		{"accepted", "/1\nstatus: 302", probe.OK, "", "", 1},
		{"followed", "/1\nredirects: follow\ncontains: 'the end, key \"kkkk\"'", probe.OK, "", "", 3},
		{"followed to a bad end", "/1\nredirects: follow\ncontains: nothing", probe.ConditionFailed, probe.StageCondition, "/1 -> " + u + "/end: the body does not contain", 3},
		{"loop", "/loop\nredirects: follow", probe.TooManyRedirects, probe.StageHTTP, "11 redirects, want at most 10; the last is to /loop", 11},
		{"fewer", "/loop\nredirects: follow\nmax_redirects: 2", probe.TooManyRedirects, probe.StageHTTP, "3 redirects, want at most 2", 3},
		{"enough", "/1\nredirects: follow\nmax_redirects: 2", probe.OK, "", "", 3},
		{"other host gets no credentials", "/other\nredirects: follow\ncontains: 'other host, key \"\", auth \"\", plain \"p\"'", probe.OK, "", "", 1},
		{"other scheme", "/ftp\nredirects: follow", probe.Redirected, probe.StageHTTP, "status 301 to ftp://x.test/ cannot be followed", 1},
		{"bad location", "/bad\nredirects: follow", probe.Redirected, probe.StageHTTP, "which is no URL", 1},
		{"no location", "/nowhere\nredirects: follow", probe.Redirected, probe.StageHTTP, "status 301, want 2xx", 1},
		{"to a dead port", "/gone\nredirects: follow", probe.ConnectRefused, probe.StageConnect, "-> http://127.0.0.1:1/: connect to 127.0.0.1: connection refused", 1},
		{"body to another host", "/other\nredirects: follow\nmethod: POST\nbody: x", probe.Redirected, probe.StageHTTP, "the body is not sent to another host", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requests.Store(0)
			o := probeOnce(t, testEnv(), settings[Route](t, "headers: {X-Api-Key: kkkk, X-Plain: p}\nbasic_auth: {username: u, password: pppp}\nurl: "+u+tt.yaml))
			wantOutcome(t, o, tt.class, tt.stage, tt.text)
			if n := requests.Load(); n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
		})
	}
	o := probeOnce(t, testEnv(), settings[Route](t, "url: "+u+"/1\nredirects: follow"))
	if e := o.Evidence(); e.Facts["redirects"] != "2" || e.Facts["redirect_2"] != u+"/end" || e.URL != u+"/end" {
		t.Errorf("evidence %+v", e)
	}
}

func TestRouteTellsAllProblems(t *testing.T) {
	for yaml, want := range map[string][]string{
		"url: wss://x.test/": {"url"},
		"url: /x":            {"url"},
		"url: http://x.test/\nmatches: ['(', ok]\nnot_matches: '['\nresponse_headers: {A: '('}\nconditions: [ok]\nredirects: maybe\nheaders: {'a b': c}\nslower_than: 1s": {"headers.a b", "redirects", "conditions[0]", "matches[0]", "not_matches[0]", "response_headers.A"},
		"url: http://x.test/\nmax_redirects: 5":                       {"max_redirects"},
		"url: http://x.test/\nredirects: follow\nmax_redirects: 1000": {"max_redirects"},
		"url: http://x.test/\nbody: x":                                {"body"},
		"url: http://x.test/\nmethod: HEAD\ncontains: x":              {"method"},
		"url: http://x.test/\nmethod: TRACE":                          {"method"},
	} {
		var paths []string
		for _, p := range settings[Route](t, yaml).Validate(testEnv()) {
			paths = append(paths, p.Path)
		}
		if d := cmp.Diff(want, paths); d != "" {
			t.Errorf("%s: %s", yaml, d)
		}
	}
}
