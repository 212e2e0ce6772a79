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
	"sync"
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
			p.askAll(ctx, p.plan(first, false, &sib), &sib)
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

// TestInvestigateIsPolite: how many requests are made, and of which sort.
func TestInvestigateIsPolite(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	status := "404 Not Found"
	addr := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, req.Method+" "+req.Header.Get("Upgrade"))
		_, _ = io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
	})
	p := newProber(t, testNetwork(), "ws://"+addr+"/a/b/ws?token=x", probe.Connection{}, nil, []string{"v1.chat"}, Options{})
	for _, c := range []struct {
		status string
		around Around
		want   int
	}{
		{"404 Not Found", Around{}, 13},
		{"404 Not Found", Around{Budget: 8}, 8},
		{"503 Service Unavailable", Around{}, 4},
		{"429 Too Many Requests", Around{}, 0},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		status = c.status
		_, first := p.Examine(ctx)
		asked = nil
		p.Investigate(ctx, first, c.around)
		cancel()
		if len(asked) != c.want {
			t.Errorf("%s with budget %d: %d requests, want %d: %q", c.status, c.around.Budget, len(asked), c.want, asked)
		}
		if !first.Credential || first.Origin || !slices.Equal(first.Offered, []string{"v1.chat"}) || strings.Contains(first.Path, "token=x") {
			t.Errorf("first is %+v", first)
		}
	}
	_, first := p.Examine(t.Context())
	first.Stage = probe.StageDNS
	if sib := p.Investigate(t.Context(), first, Around{}); len(sib.all()) > 0 || len(sib.Again) > 0 {
		t.Errorf("asked where nobody can answer: %+v", sib)
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
		{"any path is taken", json404, Siblings{Get: &json404, Slash: &open, UpRandom: &open}, []string{CauseRouteMissing}, []string{CauseSlash}},
		{"slash", empty403, Siblings{Get: &json404, Slash: &open}, []string{CauseSlash}, nil},
		{"origin", empty403, Siblings{Get: &json404, WithOrigin: &open}, []string{CauseOrigin}, nil},
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
