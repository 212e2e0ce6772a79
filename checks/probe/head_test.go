package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestClassifyHead(t *testing.T) {
	rst := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	host := &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.EHOSTUNREACH)}
	bad := errors.New("malformed HTTP response")
	tests := []struct {
		name   string
		err    error
		first  string
		secure bool
		class  Class
		stage  Stage
		text   string
	}{
		{"silence", os.ErrDeadlineExceeded, "", false, HandshakeTimeout, StageHandshake, "before the first byte"},
		{"half a head", os.ErrDeadlineExceeded, "HTTP/1.1 101 Sw", false, HandshakeTimeout, StageHandshake, "after 15 bytes"},
		{"fin", io.EOF, "", false, HandshakeClosed, StageHandshake, "(FIN)"},
		{"rst", rst, "", false, HandshakeClosed, StageHandshake, "(RST)"},
		{"fin in the head", io.ErrUnexpectedEOF, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: web", false, HandshakeClosed, StageHandshake, "after 46 bytes"},
		{"fin in the status line", io.ErrUnexpectedEOF, "HTT", false, HandshakeClosed, StageHandshake, "(FIN)"},
		{"other error", host, "", false, HandshakeClosed, StageHandshake, "no route to host"},
		{"banner", bad, "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", false, NotHTTP, StageHandshake, `"SSH-2.0-`},
		{"banner, then fin", io.ErrUnexpectedEOF, "+OK", false, NotHTTP, StageHandshake, `"+OK"`},
		{"garbage", bad, "\x16\x03\x01\x00\x00SSH-2.0-nope\r\n", false, NotHTTP, StageHandshake, `"\x16\x03`},
		{"bad field", bad, "HTTP/1.1 200 OK\r\nx\r\n\r\n", false, NotHTTP, StageHandshake, "the response head is malformed"},
		{"too large", errHeadTooLarge, "HTTP/1.1 200 OK\r\n", false, NotHTTP, StageHandshake, "larger than 64 KiB"},
		{"h2 over TLS", bad, "\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03", true, TLSALPN, StageTLS, "HTTP/2"},
		{"h2c", bad, "\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03", false, NotHTTP, StageHandshake, "h2c"},
		{"tls alert", bad, "\x15\x03\x01\x00\x02\x02\x0a", false, SchemeMismatch, StageHandshake, "TLS alert"},
	}
	for _, tt := range tests {
		class, stage, reason := classifyHead(tt.err, []byte(tt.first), tt.secure)
		if class != tt.class || stage != tt.stage || !strings.Contains(reason, tt.text) {
			t.Errorf("%s: %s at %s: %s; want %s at %s: %s", tt.name, class, stage, reason, tt.class, tt.stage, tt.text)
		}
	}
}

func TestClassifyBadRequest(t *testing.T) {
	tests := []struct {
		status int
		body   string
		class  Class
	}{
		{400, "<center>The plain HTTP request was sent to HTTPS port</center>", SchemeMismatch},
		{400, "Client sent an HTTP request to an HTTPS server.\n", SchemeMismatch},
		{400, "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />", SchemeMismatch},
		{400, "Bad Request\r\nThis combination of host and port requires TLS.\r\n", SchemeMismatch},
		{400, "<center>No required SSL certificate was sent</center>", TLSClientCert},
		{400, "<center>The SSL certificate error</center>", TLSClientCert},
		{400, "Bad Request", ""},
		{500, "Client sent an HTTP request to an HTTPS server.\n", ""},
	}
	for _, tt := range tests {
		if class, _, _ := ClassifyBadRequest(tt.status, []byte(tt.body)); class != tt.class {
			t.Errorf("%d %q: %q, want %q", tt.status, tt.body, class, tt.class)
		}
	}
}

func TestHeadFailures(t *testing.T) {
	endless := strings.Repeat("X-Pad: "+strings.Repeat("y", 1000)+"\r\n", 2100)
	tests := []struct {
		name   string
		handle func(net.Conn)
		class  Class
		texts  string
	}{
		{"silent", silent, HandshakeTimeout, "no answer in"},
		{"a byte at a time", func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("y", 1<<16), 20*time.Millisecond) }, HandshakeTimeout, "no complete response head in|bytes came"},
		{"2 MB of header fields", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+endless)
		}, NotHTTP, "larger than 64 KiB"},
		{"endless status line", func(c net.Conn) { readRequest(c); _, _ = io.WriteString(c, "HTTP/1.1 200 "+endless) }, NotHTTP, "64 KiB"},
		{"endless informational answers", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 10000))
		}, NotHTTP, "64 KiB"},
		{"fin after the request", func(c net.Conn) { readRequest(c) }, HandshakeClosed, "(FIN)"},
		{"fin at once", func(net.Conn) {}, HandshakeClosed, "the connection ended before the first byte"},
		{"rst after the request", func(c net.Conn) { readRequest(c); reset(c) }, HandshakeClosed, "(RST)"},
		{"rst in the head", func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le")
			reset(c)
		}, HandshakeClosed, "(RST)"},
		{"fin in the head", func(c net.Conn) { readRequest(c); _, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Le") }, HandshakeClosed, "after 27 bytes of a response head (FIN)"},
		{"banner", func(c net.Conn) { _, _ = io.WriteString(c, "220 mail.test ESMTP\r\n"); silent(c) }, NotHTTP, `first bytes are "220 mail.test ESMTP\r\n"`},
		{"bad status", answer("HTTP/1.1 abc OK\r\n\r\n"), NotHTTP, "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := testNetwork()
			start, limit := time.Now(), 10*time.Second
			if tt.class == HandshakeTimeout {
				limit = 300 * time.Millisecond
			}
			_, _, f := get(t, n, target(t, n, "http://"+serve(t, tt.handle)+"/", Connection{}), limit)
			wantFailure(t, f, tt.class, StageHandshake, strings.Split(tt.texts, "|")...)
			if took := time.Since(start); took > limit+5*time.Second {
				t.Errorf("took %s, want %s", took, limit)
			}
		})
	}
}

func TestEndlessHeadIsNotRead(t *testing.T) {
	addr := serve(t, answer("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Pad: "+strings.Repeat("y", 1000)+"\r\n", 2100)))
	n := testNetwork()
	tg := target(t, n, "http://"+addr+"/", Connection{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, f := n.Dial(ctx, tg)
	if f != nil {
		t.Fatal(f.Reason)
	}
	defer c.Close()
	if f := c.Send([]byte("GET / HTTP/1.1\r\n\r\n")); f != nil {
		t.Fatal(f.Reason)
	}
	_, f = c.ReadHead("GET") //nolint:bodyclose // the connection is closed
	wantFailure(t, f, NotHTTP, StageHandshake, "larger than 64 KiB")
	if c.got != MaxHead || len(c.Recorded()) > maxRecord {
		t.Errorf("%d bytes were read and %d kept, want %d and at most %d", c.got, len(c.Recorded()), MaxHead, maxRecord)
	}
}

func TestInformationalAnswersAreSkipped(t *testing.T) {
	addr := serve(t, answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"+okAnswer))
	n := testNetwork()
	body, resp, f := get(t, n, target(t, n, "http://"+addr+"/", Connection{}), 5*time.Second)
	if f != nil || resp.StatusCode != 200 || body != "ok" {
		t.Errorf("%q %+v", body, f)
	}
}

func TestSwitchingProtocolsIsAnAnswer(t *testing.T) {
	addr := serve(t, answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x02hi"))
	n := testNetwork()
	tg := target(t, n, "ws://"+addr+"/", Connection{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, f := n.Dial(ctx, tg)
	if f != nil {
		t.Fatal(f.Reason)
	}
	defer c.Close()
	if f := c.Send(AppendHead(nil, "GET", tg.URL, []Field{{"Host", tg.Host}})); f != nil {
		t.Fatal(f.Reason)
	}
	resp, f := c.ReadHead("GET") //nolint:bodyclose // the connection is closed
	if f != nil || resp.StatusCode != 101 {
		t.Fatalf("%+v", f)
	}
	frame := make([]byte, 4)
	if _, err := io.ReadFull(c.Reader(), frame); err != nil || string(frame) != "\x81\x02hi" {
		t.Errorf("%q, %v", frame, err)
	}
}

func TestCancelUnblocksARead(t *testing.T) {
	addr := serve(t, silent)
	n := testNetwork()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, f := n.Dial(ctx, target(t, n, "http://"+addr+"/", Connection{}))
	if f != nil {
		t.Fatal(f.Reason)
	}
	defer c.Close()
	time.AfterFunc(30*time.Millisecond, cancel)
	_, f = c.ReadHead("GET") //nolint:bodyclose // the connection is closed
	wantFailure(t, f, Interrupted, StageMonitor)
	// A deadline that is set afterwards does not revive it.
	_ = c.SetReadDeadline(time.Now().Add(time.Hour))
	if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
		t.Errorf("read after cancel: %v", err)
	}
}

func TestDeadlinesNeverPassThatOfTheContext(t *testing.T) {
	addr := serve(t, silent)
	n := testNetwork()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	c, f := n.Dial(ctx, target(t, n, "http://"+addr+"/", Connection{}))
	if f != nil {
		t.Fatal(f.Reason)
	}
	defer c.Close()
	for _, d := range []time.Time{{}, time.Now().Add(time.Hour)} {
		_ = c.SetDeadline(d)
		if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
			t.Errorf("deadline %s: %v", d, err)
		}
	}
	_ = c.SetWriteDeadline(time.Unix(1, 0))
	if _, err := c.Write([]byte("x")); !isTimeout(err) {
		t.Errorf("write: %v", err)
	}
}

// fakeConn is a connection from which fixed bytes come.
type fakeConn struct {
	net.Conn
	r io.Reader
}

func (c *fakeConn) Read(p []byte) (int, error)  { return c.r.Read(p) }
func (c *fakeConn) Write(p []byte) (int, error) { return len(p), nil }
func (c *fakeConn) Close() error                { return nil }
func (c *fakeConn) SetDeadline(time.Time) error { return nil }

// FuzzHead: whatever a server sends, there is an answer or one named failure,
// bounded evidence, and no panic.
func FuzzHead(f *testing.F) {
	for _, s := range []string{
		okAnswer,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 X\r\n\r\n\x81\x00",
		"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
		"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "SSH-2.0\r\n", "\x15\x03\x01\x00\x02\x02\x0a", "",
	} {
		f.Add([]byte(s))
	}
	n := testNetwork("tok-1234567890")
	u, _ := ResolveURL(nil, "http://x.test/", "http")
	tg, _ := n.Target(u, Connection{})
	f.Fuzz(func(t *testing.T, b []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := &Conn{n: n, t: tg, ctx: ctx, asked: time.Now(), began: time.Now()}
		c.attach(ctx, &fakeConn{r: strings.NewReader(string(b))})
		defer c.Close()
		if f := c.Send([]byte("GET / HTTP/1.1\r\n\r\n")); f != nil {
			t.Fatal(f.Reason)
		}
		resp, fail := c.ReadHead(http.MethodGet) //nolint:bodyclose // the connection is closed
		if fail == nil {
			r := &Response{Response: resp, Conn: c}
			var body []byte
			if body, fail = r.ReadBody(1<<16, true); len(body) > 1<<16 {
				t.Fatalf("%d bytes of body", len(body))
			}
			if r.Latency() < 0 || c.Phases.FirstByte <= 0 {
				t.Fatalf("latency %s, phases %+v", r.Latency(), c.Phases)
			}
			e := &Evidence{Body: n.Redactor().Excerpt(body, maxEvidenceBody)}
			c.Describe(e)
			checkEvidence(t, e.Bound())
		}
		if fail == nil {
			return
		}
		if fail.Class.Status() != Down || fail.Stage == "" || fail.Reason == "" {
			t.Fatalf("failure %+v", fail)
		}
		o := fail.Outcome("GET http://x.test/", n.Redactor(), func() *Evidence { return &Evidence{} })
		if len(o.Reason) > MaxReason || strings.ContainsAny(o.Reason, "\r\n\x00\x1b") {
			t.Fatalf("reason %q", o.Reason)
		}
		checkEvidence(t, o.Evidence())
	})
}
