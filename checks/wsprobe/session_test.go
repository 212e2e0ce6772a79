package wsprobe

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	"github.com/tripline/tripline/checks/probe"
)

func testNetwork() *probe.Network {
	return probe.NewNetwork(probe.NetworkOptions{UserAgent: "Tripline/test"})
}

// try probes rawURL once within the given time.
func try(t *testing.T, timeout time.Duration, rawURL string, o Options) probe.Outcome {
	t.Helper()
	p := newProber(t, testNetwork(), rawURL, probe.Connection{}, nil, nil, o)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	start := time.Now()
	out := p.Probe(ctx)
	if took := time.Since(start); took > timeout+5*time.Second {
		t.Errorf("took %v, the deadline was %v", took, timeout)
	}
	return out
}

// healthy is a server that uses a well-known library; serve is its handler.
func healthy(t *testing.T, serve func(context.Context, *websocket.Conn)) (wsURL string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"v1.chat", "v2.chat"}})
		if err != nil {
			return
		}
		defer c.CloseNow() //nolint:errcheck // closed or not
		c.SetReadLimit(64 << 20)
		serve(ctx, c)
	}))
	t.Cleanup(func() { cancel(); s.Close() })
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func echo(ctx context.Context, c *websocket.Conn) {
	for {
		kind, b, err := c.Read(ctx)
		if err != nil || c.Write(ctx, kind, b) != nil {
			return
		}
	}
}

func wantClass(t *testing.T, o probe.Outcome, want probe.Class, reason string) {
	t.Helper()
	if o.Class != want || !strings.Contains(o.Reason, reason) {
		t.Errorf("got %s %q, want %s with %q", o.Class, o.Reason, want, reason)
	}
}

func TestHealthyServer(t *testing.T) {
	addr := healthy(t, echo)
	o := try(t, 5*time.Second, addr, Options{
		Ping: true, Send: []Message{{Data: []byte("hello")}, {Binary: true, Data: []byte{1, 2}}},
		Expect: []Expect{contains("hello"), contains("\x01\x02")}, Settle: 10 * time.Millisecond,
	})
	wantClass(t, o, probe.OK, "")
	p := o.Phases
	if o.Latency <= 0 || p.Upgrade <= 0 || p.FirstByte <= 0 || p.Ping <= 0 || p.Message <= 0 || p.Close <= 0 || p.Connect <= 0 {
		t.Errorf("latency %v, phases %+v: all of them should be known", o.Latency, p)
	}
	if o.Measures[MeasurePing] != p.Ping.Seconds() {
		t.Errorf("measures %v, want %s of %v", o.Measures, MeasurePing, p.Ping)
	}
	e := o.Evidence()
	if e.Class != probe.OK || !strings.Contains(e.Request, "Sec-WebSocket-Key: ") || !strings.HasPrefix(e.Head, "HTTP/1.1 101") ||
		len(e.Frames) != 4 || len(e.Addresses) != 1 || !strings.Contains(e.Curl, "curl ") {
		t.Errorf("evidence %+v", e)
	}
}

func TestBigMessages(t *testing.T) {
	const big = 17 << 20
	addr := healthy(t, func(ctx context.Context, c *websocket.Conn) {
		_ = c.Write(ctx, websocket.MessageBinary, make([]byte, big))
		echo(ctx, c)
	})
	length := Expect{Match: func(_ context.Context, m []byte) string {
		if len(m) == big {
			return ""
		}
		return fmt.Sprintf("%d bytes", big)
	}}
	wantClass(t, try(t, time.Minute, addr, Options{MaxMessage: 32 << 20, Expect: []Expect{length}}), probe.OK, "")
	wantClass(t, try(t, time.Minute, addr, Options{Expect: []Expect{length}}), probe.MessageTooBig,
		"message of at least 17825792 bytes, our limit max_message is 16777216")
	// and out: the server's limit is lower
	small := healthy(t, func(ctx context.Context, c *websocket.Conn) {
		c.SetReadLimit(1024)
		echo(ctx, c)
	})
	wantClass(t, try(t, time.Minute, small, Options{Send: []Message{{Data: []byte(strings.Repeat("x", big))}}, Expect: []Expect{contains("x")}}),
		probe.MessageTooBig, "our message is over the server's limit")
}

// The time for a big message is not that for what follows.
func TestWriteAfterABigMessage(t *testing.T) {
	t.Parallel()
	p := newProber(t, testNetwork(), healthy(t, echo), probe.Connection{}, nil, nil, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	x, f := handshake(ctx, p.net, p.req)
	if f != nil {
		t.Fatal(f.Reason)
	}
	defer x.conn.Close()
	short, stop := context.WithTimeout(ctx, 4*time.Second) // of which a big message has the half
	defer stop()
	s := newSession(short, p.net, x, 1<<20)
	if err := s.write(opText, make([]byte, socketBuffer+1)); err != nil {
		t.Fatal(err)
	}
	<-short.Done()
	if err := s.write(opText, []byte("small")); err != nil {
		t.Errorf("a message after a big one: %v", err)
	}
}

func TestSubprotocols(t *testing.T) {
	addr := healthy(t, echo)
	for _, c := range []struct {
		offered []string
		want    probe.Class
	}{{[]string{"v2.chat"}, probe.OK}, {[]string{"v9.chat"}, probe.Subprotocol}, {nil, probe.OK}} {
		p := newProber(t, testNetwork(), addr, probe.Connection{}, nil, c.offered, Options{Ping: true})
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		wantClass(t, p.Probe(ctx), c.want, "")
		cancel()
	}
}

// A server that pings while we wait for a message must get its pong: this one
// sends the message only then.
func TestServerPingsAreAnswered(t *testing.T) {
	addr := healthy(t, func(ctx context.Context, c *websocket.Conn) {
		reading := c.CloseRead(ctx)
		if c.Ping(ctx) == nil {
			_ = c.Write(ctx, websocket.MessageText, []byte("after the pong"))
		}
		<-reading.Done()
	})
	wantClass(t, try(t, 5*time.Second, addr, Options{Ping: true, Expect: []Expect{contains("after the pong")}}), probe.OK, "")
}

func TestServerClosesAfterItsWork(t *testing.T) {
	for code, want := range map[websocket.StatusCode]probe.Class{
		websocket.StatusNormalClosure: probe.OK, websocket.StatusInternalError: probe.ClosedEarly, 4401: probe.AuthClosed,
	} {
		addr := healthy(t, func(ctx context.Context, c *websocket.Conn) {
			_ = c.Write(ctx, websocket.MessageText, []byte("done"))
			_ = c.Close(code, "that was all")
		})
		o := Options{Expect: []Expect{contains("done")}, Settle: 200 * time.Millisecond}
		wantClass(t, try(t, 5*time.Second, addr, o), want, "")
		o.Ping = true
		wantClass(t, try(t, 5*time.Second, addr, o), want, "")
	}
}

// upgraded serves the bytes that script sends after a right 101.
func upgraded(t *testing.T, script func(conn net.Conn, br *bufio.Reader)) (wsURL string) {
	return "ws://" + listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		br := bufio.NewReader(conn)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			acceptKey(req.Header.Get("Sec-WebSocket-Key")))
		script(conn, br)
	}) + "/ws"
}

// repeat writes s until the client is gone.
func repeat(w io.Writer, s string) {
	for {
		if _, err := io.WriteString(w, s); err != nil {
			return
		}
	}
}

// drip writes the bytes of s one by one, slowly, and then nothing.
func drip(conn net.Conn, s string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := range s {
		if _, err := conn.Write([]byte{s[i]}); err != nil {
			return
		}
		<-tick.C
	}
	_, _ = io.Copy(io.Discard, conn)
}

// TestDeadlines: whatever a server does to keep us, the probe ends in time.
func TestDeadlines(t *testing.T) {
	const limit = time.Second
	hold := func(conn net.Conn, _ *bufio.Reader) { _, _ = io.Copy(io.Discard, conn) }
	long := strings.Repeat("x", 4000)
	answer := func(s string) string {
		return "ws://" + listen(t, func(conn *net.TCPConn) {
			defer conn.Close()
			readRequest(conn)
			_, _ = io.WriteString(conn, s)
			_, _ = io.Copy(io.Discard, conn)
		})
	}
	expect := Options{Expect: []Expect{contains("never")}}
	ping := Options{Ping: true}
	for _, c := range []struct {
		name, url string
		o         Options
		want      probe.Class
		reason    string
	}{
		{"silent before the upgrade", answer(""), ping, probe.HandshakeTimeout, "no answer in"},
		{"head that does not end", answer("HTTP/1.1 101 Switching Protocols\r\n"), ping, probe.HandshakeTimeout, "no complete response head"},
		{"one byte at a time in the head", "ws://" + listen(t, func(conn *net.TCPConn) { readRequest(conn); drip(conn, "HTTP/1.1 404 Not Found\r\nX: "+long) }), ping, probe.HandshakeTimeout, "no complete response head"},
		{"endless informational heads", "ws://" + listen(t, func(conn *net.TCPConn) { readRequest(conn); repeat(conn, "HTTP/1.1 103 Early Hints\r\n\r\n") }), ping, probe.NotHTTP, "larger than"},
		{"2 MB of headers", "ws://" + listen(t, func(conn *net.TCPConn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n"+strings.Repeat("X: "+long+"\r\n", 500)+"\r\n")
			_, _ = io.Copy(io.Discard, conn)
		}), ping, probe.NotHTTP, "larger than"},
		{"redirects for ever", answer("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"), ping, probe.Redirected, "302 Found"},
		{"body that does not end", answer("HTTP/1.1 404 Not Found\r\nContent-Length: 100\r\n\r\nNot here"), ping, probe.NotFound, "body Not here"},
		{"body without end", "ws://" + listen(t, func(conn *net.TCPConn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\n\r\n")
			repeat(conn, "no and no and ")
		}), ping, probe.Forbidden, "body no and no"},
		{"silent after the upgrade", upgraded(t, hold), ping, probe.NoPong, "the pong to our ping did not come in"},
		{"silent application", upgraded(t, hold), expect, probe.NoReply, "expected message 1 of 1 did not come in"},
		{"silent for both", upgraded(t, hold), Options{Ping: true, Expect: expect.Expect}, probe.NoPong, "expected message 1 of 1 and the pong to our ping did not come in"},
		{"one byte at a time in a frame", upgraded(t, func(conn net.Conn, _ *bufio.Reader) { drip(conn, serverFrame(0x81, long)) }), expect, probe.NoReply, "of 4000 bytes of a frame came"},
		{"huge frame that does not come", upgraded(t, func(conn net.Conn, _ *bufio.Reader) {
			_, _ = io.WriteString(conn, "\x82\x7f\x00\x00\x00\x00\x00\xff\xff\xffabc")
			_, _ = io.Copy(io.Discard, conn)
		}), expect, probe.NoReply, "only 3 of 16777215 bytes of a frame came"},
		{"endless fragments", upgraded(t, func(conn net.Conn, _ *bufio.Reader) {
			repeat(conn, serverFrame(0x01, "")+strings.Repeat("\x00\x00", 1<<20))
		}), expect, probe.NoReply, ""},
		{"endless pings", upgraded(t, func(conn net.Conn, br *bufio.Reader) {
			go func() { _, _ = io.Copy(io.Discard, br) }()
			repeat(conn, serverFrame(0x89, "ping"))
		}), ping, probe.NoPong, ""},
		{"endless pings, never reading", upgraded(t, func(conn net.Conn, _ *bufio.Reader) { repeat(conn, serverFrame(0x89, long[:125])) }), ping, probe.NoPong, ""},
		{"endless messages", upgraded(t, func(conn net.Conn, _ *bufio.Reader) { repeat(conn, serverFrame(0x81, "tick")) }), ping, probe.NoPong, ""},
		{"never reads", upgraded(t, func(conn net.Conn, _ *bufio.Reader) { <-t.Context().Done() }), Options{Send: []Message{{Data: make([]byte, 8<<20)}}}, probe.NoReply, "the server stopped reading: our message 1 (8388608 bytes) could not be sent in"},
		{"close unanswered", upgraded(t, hold), Options{Close: 100 * time.Millisecond}, probe.CloseUnanswered, "the answer to our close frame did not come in"},
		{"close answered by the end", upgraded(t, func(_ net.Conn, br *bufio.Reader) { _, _, _ = readClientFrame(br) }), Options{}, probe.OK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name != "never reads" { // that one ends with the test
				t.Parallel()
			}
			wantClass(t, try(t, limit, c.url, c.o), c.want, c.reason)
		})
	}
}

// A server that floods us is given up long before the deadline.
func TestFlood(t *testing.T) {
	addr := upgraded(t, func(conn net.Conn, _ *bufio.Reader) {
		repeat(conn, serverFrame(0x01, "")+strings.Repeat("\x00\x00", 1<<16))
	})
	o := try(t, 30*time.Second, addr, Options{Expect: []Expect{contains("never")}})
	wantClass(t, o, probe.NoReply, "gave up after 10000 frames")
}

// A monitor that is stopped says nothing about its targets.
func TestInterrupted(t *testing.T) {
	asked := make(chan struct{}, 1)
	silent := "ws://" + listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		readRequest(conn)
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, conn)
	})
	open := upgraded(t, func(_ net.Conn, br *bufio.Reader) {
		_, _, _ = readClientFrame(br)
		asked <- struct{}{}
		_, _ = io.Copy(io.Discard, br)
	})
	for _, addr := range []string{silent, open} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		go func() { <-asked; cancel() }()
		o := newProber(t, testNetwork(), addr, probe.Connection{}, nil, nil, Options{Ping: true}).Probe(ctx)
		wantClass(t, o, probe.Interrupted, "stopped")
		if o.Class.Status() != probe.Unknown || o.Stage != probe.StageMonitor {
			t.Errorf("status %s at stage %s, want unknown, monitor", o.Class.Status(), o.Stage)
		}
	}
}

// TestReasons: what a person reads at three in the morning.
func TestReasons(t *testing.T) {
	serve := func(s string) string {
		return "ws://" + listen(t, func(conn *net.TCPConn) {
			defer conn.Close()
			readRequest(conn)
			_, _ = io.WriteString(conn, s)
		}) + "/ws"
	}
	frame := func(s string) string {
		return upgraded(t, func(conn net.Conn, br *bufio.Reader) {
			_, _ = io.WriteString(conn, s)
			_, _ = io.Copy(io.Discard, br)
		})
	}
	for _, c := range []struct{ url, want string }{
		{serve("HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\n{\"detail\":\"Not Found\"}"), `upgrade answered 404 Not Found, want 101; body {"detail":"Not Found"}`},
		{serve("HTTP/1.1 307 Temporary Redirect\r\nLocation: /ws/\r\nContent-Length: 0\r\n\r\n"), `upgrade answered 307 Temporary Redirect to "/ws/", want 101; no body`},
		{serve("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 17\r\n\r\nslow down"), "upgrade answered 429 Too Many Requests, want 101; Retry-After: 17; body slow down"},
		{serve("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"api\"\r\n\r\n"), `upgrade answered 401 Unauthorized, want 101; WWW-Authenticate: Bearer realm="api"; no body`},
		{serve("HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2\r\nSec-WebSocket-Version: 13\r\n\r\n"), "upgrade answered 426 Upgrade Required, want 101; Sec-WebSocket-Version: 13; it wants Upgrade: TLS/1.2; no body"},
		{serve("SSH-2.0-OpenSSH_9.2p1\r\n"), `the answer is not HTTP/1: its first bytes are "SSH-2.0-OpenSSH_9.2p1\r\n"`},
		{frame(serverFrame(0x88, "\x11\x31token expired")), `the server closed with 4401 "token expired"`},
		{frame(serverFrame(0x81, `{"type":"error","code":"no"}`)), `message 1 is an error: {"type":"error","code":"no"}; want a message with "never"`},
		{frame(serverFrame(0x82, "abc")), `binary message 1 is not what was expected: abc; want a message with "never"`},
		{frame("HTTP/1.1 502 Bad Gateway\r\n\r\n"), `HTTP text inside the WebSocket stream: "HTTP/1.1 502 Bad Gateway" (first bytes 4854)`},
	} {
		o := try(t, 5*time.Second, c.url, Options{Expect: []Expect{contains("never")}})
		if got, ok := strings.CutPrefix(o.Reason, c.url+": "); !ok || !strings.HasPrefix(got, c.want) {
			t.Errorf("got  %s\nwant %s: %s", o.Reason, c.url, c.want)
		}
	}
}

// TestNoSecrets: a token in the URL or in a header is in nothing that is shown,
// also when the server sends it back.
func TestNoSecrets(t *testing.T) {
	const secret = "s3cr3t-tok3n-value"
	addr := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		br := bufio.NewReader(conn)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.URL.Path == "/refuse" {
			fmt.Fprintf(conn, "HTTP/1.1 302 Found\r\nLocation: /login?token=%s\r\nX-Echo: %s\r\n\r\nyou sent %s", secret, req.Header.Get("X-Api-Key"), secret)
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", acceptKey(req.Header.Get("Sec-WebSocket-Key")))
		_, _ = io.WriteString(conn, serverFrame(0x81, `{"error":"bad token `+secret+`"}`))
		_, _ = io.Copy(io.Discard, br)
	})
	for _, path := range []string{"/refuse", "/open"} {
		n := testNetwork()
		p := newProber(t, n, "ws://"+addr+path+"?token="+secret, probe.Connection{},
			map[string]string{"Authorization": "Bearer " + secret, "X-Api-Key": secret}, nil, Options{Expect: []Expect{contains("never")}})
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		o := p.Probe(ctx)
		cancel()
		e, err := json.Marshal(o.Evidence())
		if err != nil {
			t.Fatal(err)
		}
		if all := o.Reason + string(e); strings.Contains(all, secret) || strings.Contains(all, url.QueryEscape(secret)) {
			t.Errorf("the secret is in\n%s\n%s", o.Reason, e)
		}
	}
}

// TestNothingLeaks: two thousand probes of every sort leave no descriptor and
// no goroutine behind (goleak looks for those at the end).
var leakProbes = flag.Int("leak-probes", 2000, "how many probes TestNothingLeaks makes")

func TestNothingLeaks(t *testing.T) {
	addrs := []string{
		healthy(t, echo),
		upgraded(t, func(conn net.Conn, _ *bufio.Reader) { _, _ = io.WriteString(conn, serverFrame(0x88, "\x03\xf0")) }),
		"ws://" + listen(t, func(conn *net.TCPConn) {
			readRequest(conn)
			_, _ = io.WriteString(conn, "HTTP/1.1 404 Not Found\r\n\r\n")
			conn.Close()
		}),
		"ws://" + closedPort(t),
	}
	n := testNetwork()
	var probers []*Prober
	for _, a := range addrs {
		probers = append(probers, newProber(t, n, a, probe.Connection{}, nil, nil, Options{Ping: true}))
	}
	round := func(count int) {
		var g errgroup.Group
		g.SetLimit(16)
		for i := range count {
			g.Go(func() error {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				probers[i%len(probers)].Probe(ctx)
				return nil
			})
		}
		_ = g.Wait()
	}
	round(100)
	fds, routines := openFDs(t), runtime.NumGoroutine()
	round(*leakProbes)
	deadline := time.Now().Add(20 * time.Second)
	for openFDs(t) > fds+20 || runtime.NumGoroutine() > routines+20 { // servers close a little later
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors and %d goroutines, before %d and %d", openFDs(t), runtime.NumGoroutine(), fds, routines)
		}
		runtime.Gosched()
	}
}

func openFDs(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("SKIPPED: no /proc on this machine: %v", err)
	}
	return len(list)
}

// FuzzHandshakeAnswer: whatever a server answers, the probe ends with a class,
// and never takes for an accepted upgrade what is none.
func FuzzHandshakeAnswer(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
		"HTTP/1.0 200 OK\r\n\r\n<html>", "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n", "SSH-2.0-x\r\n", "\x15\x03\x01\x00\x02\x02\x46", "", "HTTP/1.1 999 \r\n\r\n", "HTTP/1.1 400 Bad\r\nContent-Length: -1\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	body := make(chan []byte, 1)
	addr := listen(f, func(conn *net.TCPConn) {
		defer conn.Close()
		readRequest(conn)
		_, _ = conn.Write(<-body)
	})
	p := newProber(f, testNetwork(), "ws://"+addr, probe.Connection{}, nil, nil, Options{Close: 10 * time.Millisecond})
	f.Fuzz(func(t *testing.T, in []byte) {
		body <- in
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		o := p.Probe(ctx)
		if o.Class == probe.OK || o.Class == "" || o.Reason == "" || o.Stage == "" {
			t.Errorf("%q: class %q at stage %q, reason %q", in, o.Class, o.Stage, o.Reason)
		}
		if b, err := json.Marshal(o.Evidence()); err != nil || len(b) > probe.MaxEvidence {
			t.Errorf("evidence of %d bytes, %v", len(b), err)
		}
	})
}
