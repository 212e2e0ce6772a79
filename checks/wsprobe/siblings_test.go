package wsprobe

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks/probe"
)

// answerFor picks what was recorded for a request of this sort.
func (c *recording) answerFor(req *http.Request, own *url.URL) (r raw, ok bool) {
	upgrade := req.Header.Get("Upgrade") != ""
	toggled := toggleSlash(own.Path)
	name := ""
	switch {
	case req.URL.Path == "/health" && !upgrade:
		name = "health"
	case req.URL.Path == toggled:
		name = "up_slash"
	case req.URL.Path != own.Path && upgrade:
		name = "up_random"
	case req.URL.Path != own.Path:
		name = "get_random"
	case !upgrade:
		name = "get"
	case req.Header.Get("Sec-WebSocket-Version") == "99":
		name = "up_v99"
	case req.Header.Get("Origin") != "" && !slices.ContainsFunc(c.Headers, func(h string) bool { return strings.HasPrefix(h, "Origin") }):
		name = "up_origin"
	default:
		return c.Run, true
	}
	r, ok = c.Siblings[name]
	return r, ok
}

// TestInvestigate asks servers that replay the recorded answers to each sort of
// request, and wants the conclusions that the recordings lead to.
func TestInvestigate(t *testing.T) {
	for _, c := range recordings(t) {
		if len(c.Siblings) < 3 || c.unplayable() != "" || c.Run.TookMS > 0 {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			t.Parallel()
			own, err := url.Parse(c.URL)
			if err != nil {
				t.Fatal(err)
			}
			addr := listen(t, func(conn *net.TCPConn) {
				defer conn.Close()
				br := bufio.NewReader(conn)
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				r, ok := c.answerFor(req, own)
				if !ok {
					t.Errorf("no recorded answer for %s %v", req.URL, req.Header)
				}
				r.Body = strings.ReplaceAll(r.Body, "/zz-no-such-path-7f3a", req.URL.Path)
				if r.Status == http.StatusSwitchingProtocols {
					_, _ = io.WriteString(conn, strings.Replace(r.Head, "Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x", 1))
					return // not right, but 101 is what counts
				}
				one := recording{Run: r}
				one.replayTo(t, conn, br, req)
			})
			u := *own
			u.Scheme, u.Host = "ws", addr
			headers := map[string]string{}
			for _, h := range c.Headers {
				k, v, _ := strings.Cut(h, ": ")
				headers[k] = v
			}
			p := newProber(t, testNetwork(), u.String(), probe.Connection{}, headers, c.Sub, Options{})
			timeout := 10 * time.Second
			if c.Expect == probe.HandshakeTimeout {
				timeout = 2 * time.Second
			}
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			o, first := p.examine(ctx)
			if o.Class != c.Expect {
				t.Fatalf("got %s (%s), want %s", o.Class, o.Reason, c.Expect)
			}
			ctx, cancel = context.WithTimeout(context.Background(), timeout)
			defer cancel()
			var sib Siblings
			p.askAll(ctx, p.plan(first, false, nil, &sib))
			causes := Diagnose(first, sib)
			pure := Diagnose(c.seen(t))
			if diff := cmp.Diff(names(pure), names(causes)); diff != "" {
				t.Errorf("asking gives other causes than the recording: %s", diff)
			}
		})
	}
}

func names(causes []Cause) (list []string) {
	for _, c := range causes {
		list = append(list, c.Name)
	}
	return list
}

// examine is Probe that also returns what a diagnosis starts from.
func (p *Prober) examine(ctx context.Context) (probe.Outcome, Seen) {
	o, x := p.try(ctx)
	return o, x.seen(p.req, o, p.net.Redactor())
}

// TestPlanIsPolite: how many requests are made, and of which sort.
func TestPlanIsPolite(t *testing.T) {
	p := newProber(t, testNetwork(), "ws://127.0.0.1:1/a/b/ws?token=x&a=1", probe.Connection{}, nil, []string{"v1.chat"}, Options{})
	plan := func(status int, h http.Header, thrifty bool) []question {
		var sib Siblings
		return p.plan(Seen{Stage: probe.StageHTTP, Class: classStatus(status), Status: status, Header: h}, thrifty, nil, &sib)
	}
	for _, c := range []struct {
		status  int
		header  http.Header
		thrifty bool
		want    int
	}{
		{404, nil, false, 16},
		{404, nil, true, 9},
		{503, nil, false, 4},
		{503, nil, true, 1},
		{503, http.Header{"Retry-After": {"5"}}, true, 0},
		{429, nil, false, 0},
		{429, nil, true, 0},
	} {
		if got := plan(c.status, c.header, c.thrifty); len(got) != c.want {
			t.Errorf("%d, thrifty %v: %d requests, want %d", c.status, c.thrifty, len(got), c.want)
		}
	}
	var sib Siblings
	if got := p.plan(Seen{Stage: probe.StageDNS}, false, nil, &sib); len(got) > 0 {
		t.Errorf("would ask where nobody can answer: %d requests", len(got))
	}
	if got := p.withoutCredential().target.URL.String(); got != "ws://127.0.0.1:1/a/b/ws?a=1" {
		t.Errorf("without the credential it is %s", got)
	}
}

func TestNoSuchPath(t *testing.T) {
	for in, prefix := range map[string]string{"/": "/no-such-path-", "": "/no-such-path-", "/ws": "/no-such-path-", "/a/b/ws": "/a/b/no-such-path-", "/a/b/": "/a/no-such-path-"} {
		if got := noSuchPath(in); !strings.HasPrefix(got, prefix) || got == prefix {
			t.Errorf("%q: got %q, want %s...", in, got, prefix)
		}
	}
}

// TestDiagnosePairs: what cannot be told apart is said to be so, and what tells
// it apart decides.
func TestDiagnosePairs(t *testing.T) {
	json404 := Seen{Path: "/ws", Class: probe.NotFound, Stage: probe.StageHTTP, Status: 404, Body: `{"detail":"Not Found"}`, Header: http.Header{"Server": {"uvicorn"}}}
	empty403 := Seen{Path: "/ws", Class: probe.Forbidden, Stage: probe.StageHTTP, Status: 403, Header: http.Header{}}
	open := Seen{Status: 101, Class: probe.OK}
	other := func(s Seen, path string) *Seen { s.Path = path; return &s }
	goMux := Seen{Path: "/ws", Class: probe.NotFound, Stage: probe.StageHTTP, Status: 404, Body: "404 page not found\n", Header: http.Header{}}
	page403 := Seen{Path: "/ws", Class: probe.Forbidden, Stage: probe.StageHTTP, Status: 403, Body: "<html>Forbidden", Header: http.Header{"Content-Type": {"text/html"}}}
	gateway := Seen{Path: "/ws", Class: probe.Forbidden, Stage: probe.StageHTTP, Status: 403, Body: `{"message":"Forbidden"}`, Header: http.Header{"X-Amzn-Errortype": {"ForbiddenException"}}}
	misdirected := Seen{Path: "/ws", Class: probe.UpgradeRefused, Stage: probe.StageHTTP, Status: 421, Header: http.Header{}}
	bad := Seen{Status: 400, Header: http.Header{}, Body: "bad version"}
	misdirected400 := Seen{Path: "/ws", Class: probe.UpgradeRefused, Stage: probe.StageHTTP, Status: 400, Header: http.Header{}, Body: "no"}
	page200 := Seen{Path: "/ws", Class: probe.UpgradeIgnored, Stage: probe.StageHTTP, Status: 200, Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>"}
	busy := Seen{Path: "/ws", Class: probe.Unavailable, Stage: probe.StageHTTP, Status: 503, Header: http.Header{}}
	post405 := Seen{Path: "/ws", Class: probe.UpgradeRefused, Stage: probe.StageHTTP, Status: 405, Header: http.Header{}}
	for _, c := range []struct {
		name  string
		first Seen
		sib   Siblings
		want  []string // the first of the causes
		not   []string
	}{
		{"identical to GET: proxy or library", json404, Siblings{Get: &json404, UpRandom: other(json404, "/x")}, []string{CauseNoLibrary, CauseStripped}, []string{CauseCredentials}},
		{"the origin takes it: the proxy", json404, Siblings{Get: &json404, Bypass: &open}, []string{CauseStripped}, nil},
		{"the origin answers alike: no proxy", json404, Siblings{Get: &json404, Bypass: &json404}, []string{CauseNoLibrary, CauseNoWebSockets}, nil},
		{"mixed answers", json404, Siblings{Again: []Seen{open, json404, open}, Get: &json404}, []string{CauseMixedVersions}, []string{CauseStripped}},
		{"nothing but the answer", json404, Siblings{}, []string{CauseUnclear}, nil},
		{"a route that plain requests have too", json404, Siblings{Get: &json404, Version: &bad}, []string{CauseRouteMissing}, []string{CauseStripped}},
		{"403 of an ASGI server", empty403, Siblings{Get: &json404, UpRandom: other(empty403, "/x"), Version: &bad}, []string{CauseCredentials, CauseRouteMissing}, nil},
		{"403 here, 404 elsewhere", empty403, Siblings{Get: &json404, UpRandom: other(json404, "/x"), Version: &bad}, []string{CauseCredentials}, nil},
		{"a router for both sorts", goMux, Siblings{Get: &goMux, UpRandom: other(goMux, "/x")}, []string{CauseRouteMissing, CauseStripped}, nil},
		{"a page for every request", page403, Siblings{Get: &page403, UpRandom: other(page403, "/x")}, []string{CauseEdgeRule}, nil},
		{"a gateway's own 403", gateway, Siblings{Get: &empty403}, []string{CauseProxyRoute}, nil},
		{"misdirected", misdirected, Siblings{Get: &misdirected}, []string{CauseProxyRoute}, nil},
		{"any path but this", misdirected400, Siblings{Get: &misdirected400, UpRandom: &open}, []string{CauseUnclear}, nil},
		{"a page on this path alone", page200, Siblings{Get: &page200, UpRandom: &open}, []string{CauseUnclear, CausePlainHandler, CauseCatchAll, CauseStripped}, nil},
		{"some sessions", empty403, Siblings{Beside: []Seen{open, empty403, open}}, []string{CauseMixedVersions}, []string{CauseConnLimit}},
		{"full", busy, Siblings{Beside: []Seen{open, open, busy}, Again: []Seen{open}}, []string{CauseConnLimit}, []string{CauseRestart}},
		{"busy for all", busy, Siblings{Beside: []Seen{busy, busy}}, []string{CauseOverload}, nil},
		{"another method", post405, Siblings{WithGet: &open, WithOrigin: &post405}, []string{CauseMethod}, nil},
		{"any path is taken", json404, Siblings{Get: &json404, Slash: &open, UpRandom: &open}, []string{CauseRouteMissing}, []string{CauseSlash}},
		{"slash", empty403, Siblings{Get: &json404, Slash: &open}, []string{CauseSlash}, nil},
		{"origin", empty403, Siblings{Get: &json404, WithOrigin: &open}, []string{CauseOrigin}, nil},
		{"origin, while another try is accepted too", empty403, Siblings{Get: &json404, WithOrigin: &open, Again: []Seen{empty403, open}}, []string{CauseMixedVersions}, []string{CauseOrigin}},
		{"credential is the trouble", empty403, Siblings{NoCredential: &open}, []string{CauseCredentials}, nil},
		{"subprotocol is the trouble", empty403, Siblings{NoProtocol: &open}, []string{CauseSubprotocol}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := names(Diagnose(c.first, c.sib))
			if len(got) < len(c.want) || !slices.Equal(got[:len(c.want)], c.want) {
				t.Errorf("got %v, want first %v", got, c.want)
			}
			for _, n := range c.not {
				if slices.Contains(got, n) {
					t.Errorf("got %v, want no %s", got, n)
				}
			}
		})
	}
	for _, class := range []probe.Class{probe.OK, probe.Interrupted, probe.OwnNetwork} {
		if got := Diagnose(Seen{Class: class}, Siblings{}); len(got) > 0 {
			t.Errorf("%s: %v, want nothing", class, names(got))
		}
	}
}
