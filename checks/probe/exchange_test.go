package probe

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func gzipped(t testing.TB, b []byte) string {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.String()
}

func withLength(fields, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", fields, len(body), body)
}

func TestBodies(t *testing.T) {
	const limit = 10_000
	const gz = "Content-Encoding: gzip\r\n"
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	long := strings.Repeat("x", limit)
	bomb := gzipped(t, make([]byte, 2<<20))
	tests := []struct {
		name   string
		handle func(net.Conn)
		body   string
		class  Class
		texts  string
	}{
		{"with a length", answer(withLength("", "hello")), "hello", "", ""},
		{"empty", answer(withLength("", "")), "", "", ""},
		{"no content", answer("HTTP/1.1 204 No Content\r\n\r\n"), "", "", ""},
		{"chunked", answer(chunked + "5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nTrailer: x\r\n\r\n"), "hello!", "", ""},
		{"to the end of the connection", answer("HTTP/1.0 200 OK\r\n\r\nhello"), "hello", "", ""},
		{"as large as allowed", answer(withLength("", long)), long, "", ""},
		{"gzip", answer(withLength(gz, gzipped(t, []byte("hello")))), "hello", "", ""},
		{"gzip, empty", answer(withLength(gz, "")), "", "", ""},
		{"gzip, as large as allowed", answer(withLength(gz, gzipped(t, []byte(long)))), long, "", ""},

		{"too large", answer(withLength("", long+"y")), long, BodyTooLarge, "more than 10000 bytes"},
		{"too large, chunked", answer(chunked + "ffff\r\n" + strings.Repeat("x", 0xffff) + "\r\n0\r\n\r\n"), long, BodyTooLarge, "more than 10000 bytes"},
		{"endless", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			for {
				if _, err := io.WriteString(c, long); err != nil {
					return
				}
			}
		}, long, BodyTooLarge, "more than 10000 bytes"},
		{"bomb", answer(withLength(gz, bomb)), strings.Repeat("\x00", limit), BodyTooLarge, "more than 10000 bytes|bytes as sent"},
		{"endless empty gzip members", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+gz+"\r\n")
			member := strings.Repeat(gzipped(t, nil), 100)
			for {
				if _, err := io.WriteString(c, member); err != nil {
					return
				}
			}
		}, "", BodyTooLarge, "more than 10000 bytes"},

		{"silent", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
			silent(c)
		}, "hello", BodyTimeout, "the body did not end in|5 of 10 bytes came"},
		{"a byte at a time", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			drip(c, "x", 20*time.Millisecond)
		}, "*", BodyTimeout, "the body did not end in"},
		{"fin", answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"), "hello", Dropped, "after 5 of 10 bytes of the body (FIN)"},
		{"fin in a chunk", answer(chunked + "5\r\nhe"), "he", Dropped, "after 2 bytes of the body (FIN)"},
		{"rst", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
			reset(c)
		}, "*", Dropped, "of 10 bytes of the body (RST)"},
		{"bad chunk", answer(chunked + "zz\r\nhello"), "", BadPayload, "not what its header fields say"},
		{"no gzip", answer(withLength(gz, "hello, world")), "", BadPayload, "invalid header"},
		{"damaged gzip", answer(withLength(gz, gzipped(t, []byte("hello"))[:15]+"xxxxxxxxxx")), "*", BadPayload, "not what its header fields say"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			addr := serve(t, tt.handle)
			for _, keep := range []bool{true, false} {
				n := testNetwork()
				tg := target(t, n, "http://"+addr+"/", Connection{})
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				if tt.class != BodyTimeout {
					cancel()
					ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
				}
				defer cancel()
				resp, f := n.Exchange(ctx, NewRequest(tg, "GET", nil, nil))
				if f != nil {
					t.Fatal(f.Reason)
				}
				defer resp.Close()
				body, f := resp.ReadBody(limit, keep)
				if tt.class == "" && f != nil {
					t.Fatalf("%s: %s", f.Class, f.Reason)
				}
				if tt.class != "" {
					wantFailure(t, f, tt.class, StageBody, strings.Split(tt.texts, "|")...)
				}
				want := tt.body
				if most := maxEvidenceBody + 1024; !keep && len(want) > most {
					want = want[:most]
				}
				if tt.body != "*" && string(body) != want {
					t.Errorf("keep %v: %d bytes %.40q, want %d %.40q", keep, len(body), body, len(want), want)
				}
				if resp.Conn.Phases.Body <= 0 || resp.Latency() <= 0 {
					t.Errorf("phases %+v, latency %s", resp.Conn.Phases, resp.Latency())
				}
			}
		})
	}
}

func TestExchangeSends(t *testing.T) {
	got := make(chan string, 1)
	addr := serve(t, func(c net.Conn) {
		head := readRequest(c)
		got <- head
		_, _ = io.WriteString(c, okAnswer)
	})
	n := testNetwork()
	tg := target(t, n, "http://"+addr+"/a%2Fb?c=d", Connection{BasicAuth: &BasicAuth{"u", "pass"}})
	fields, _ := n.Fields(tg, nil, map[string]string{"X-A": "1"})
	q := NewRequest(tg, "POST", fields, []byte("{}"))
	resp, f := n.Exchange(t.Context(), q)
	if f != nil {
		t.Fatal(f.Reason)
	}
	defer resp.Close()
	want := "POST /a%2Fb?c=d HTTP/1.1\r\nHost: " + addr + "\r\nUser-Agent: Tripline/test\r\nAuthorization: Basic dTpwYXNz\r\nX-A: 1\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
	if head := <-got; head != want || string(q.Head()) != want {
		t.Errorf("got  %q\nwant %q", head, want)
	}
}

// What a check says of its own credentials wins over a default header field.
func TestOwnCredentialsWin(t *testing.T) {
	defaults := map[string]string{"authorization": "Bearer of-all-checks"}
	for _, tt := range []struct {
		name, userinfo string
		conn           Connection
		own            map[string]string
		want           string
	}{
		{"the default", "", Connection{}, nil, "Bearer of-all-checks"},
		{"basic_auth", "", Connection{BasicAuth: &BasicAuth{"u", "pass"}}, nil, "Basic dTpwYXNz"},
		{"userinfo", "u:pass@", Connection{}, nil, "Basic dTpwYXNz"},
		{"a header field", "", Connection{}, map[string]string{"Authorization": "own"}, "own"},
		{"none", "", Connection{}, map[string]string{"Authorization": ""}, ""},
	} {
		n := testNetwork()
		tg := target(t, n, "http://"+tt.userinfo+"x.test/", tt.conn)
		fields, problems := n.Fields(tg, defaults, tt.own)
		if got := FieldValue(fields, "Authorization"); got != tt.want || len(problems) > 0 {
			t.Errorf("%s: Authorization %q, problems %v; want %q", tt.name, got, problems, tt.want)
		}
		if shown := n.Redactor().String("it sent of-all-checks"); shown != "it sent ***" {
			t.Errorf("%s: the default is shown: %q", tt.name, shown)
		}
	}
}

// A redirect within the same origin is for the same virtual host.
func TestRedirectKeepsTheHost(t *testing.T) {
	n := testNetwork()
	tg := target(t, n, "http://10.0.0.1/a", Connection{})
	fields, _ := n.Fields(tg, nil, map[string]string{"Host": "app.test"})
	for to, want := range map[string]string{"/b": "app.test", "http://10.0.0.1:80/b": "app.test", "http://10.0.0.2/b": "10.0.0.2", "http://10.0.0.1:81/": "10.0.0.1:81"} {
		u, err := tg.URL.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		q, err := n.Redirect(NewRequest(tg, "GET", fields, nil), 302, u)
		if err != nil {
			t.Fatal(err)
		}
		if got := FieldValue(q.Fields, "Host"); got != want {
			t.Errorf("redirected to %s: Host %s, want %s", to, got, want)
		}
	}
}

// A server may answer and close before it has read a large request.
func TestEarlyAnswerToALargeRequest(t *testing.T) {
	addr := serve(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, 10))
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		_ = c.(*net.TCPConn).CloseWrite()
		silent(c)
	})
	n := testNetwork()
	tg := target(t, n, "http://"+addr+"/", Connection{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	resp, f := n.Exchange(ctx, NewRequest(tg, "POST", nil, make([]byte, 8<<20)))
	if f != nil {
		t.Fatal(f.Reason)
	}
	defer resp.Close()
	if resp.StatusCode != 413 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestRequestThatNobodyReads(t *testing.T) {
	stop := make(chan struct{})
	addr := serve(t, func(net.Conn) { <-stop })
	t.Cleanup(func() { close(stop) })
	n := testNetwork()
	tg := target(t, n, "http://"+addr+"/", Connection{})
	q := NewRequest(tg, "POST", nil, make([]byte, 32<<20))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, f := n.Exchange(ctx, q)
	wantFailure(t, f, HandshakeTimeout, StageHandshake, "the request could not be sent in ")
}

// Thousands of probes, good and bad, leave nothing behind.
func TestProbesLeaveNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("short")
	}
	ca := newAuthority(t)
	good := serve(t, answer(okAnswer))
	dual := serveOn(t, "[::]:0", answer(okAnswer))
	dns := names4and6(t, map[string][]string{"dual.test": {"::1", "127.0.0.1"}})
	n := testNetwork()
	targets := []*Target{
		target(t, n, "http://"+good+"/", Connection{}),
		target(t, n, "http://"+serve(t, func(c net.Conn) { readRequest(c); reset(c) })+"/", Connection{}),
		target(t, n, "http://"+closedPort(t)+"/", Connection{}),
		target(t, n, "https://"+good+"/", Connection{TLS: &TLSOptions{CAFile: ca.file}}),
		target(t, n, "http://dual.test:"+port(dual)+"/", Connection{Resolver: dns}),
		target(t, n, "http://gone.test:"+port(dual)+"/", Connection{Resolver: dns}),
		target(t, n, "http://"+good+"/", Connection{Proxy: "http://" + good}),
	}
	count := func() (fds, goroutines int) {
		dir, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc")
		}
		return len(dir), runtime.NumGoroutine()
	}
	round := func() {
		for _, tg := range targets {
			limit := 5 * time.Second
			if tg.Secure {
				limit = 20 * time.Millisecond // a handshake that nobody answers
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			if resp, f := n.Exchange(ctx, NewRequest(tg, http.MethodGet, nil, nil)); f == nil {
				_, _ = resp.ReadBody(1000, false)
				resp.Close()
			}
			cancel()
		}
	}
	round()
	fds, goroutines := count()
	for range 100 {
		round()
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		f, g := count()
		if f <= fds+3 && g <= goroutines+3 { // the servers' side may be closing still
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors and %d goroutines, want %d and %d as after the first round", f, g, fds, goroutines)
		}
		runtime.Gosched()
	}
}
