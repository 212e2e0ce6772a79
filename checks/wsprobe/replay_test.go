package wsprobe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// recording is one case of testdata/recorded.jsonl: what was asked of a real
// server, what it answered byte for byte, and what was wrong with it.
type recording struct {
	ID       string         `json:"id"`
	URL      string         `json:"url"`
	Expect   probe.Class    `json:"expect"`
	Cause    string         `json:"cause"`
	DNS      bool           `json:"dns"`
	Sub      []string       `json:"sub"`
	Headers  []string       `json:"headers"`
	Send     []string       `json:"send"`
	Read     int            `json:"read"`
	Ping     bool           `json:"ping"`
	HoldMS   int            `json:"hold_ms"`
	Users    int            `json:"users"`
	Run      raw            `json:"run"`
	Statuses []int          `json:"statuses"` // of all runs, if there were several
	Other    []raw          `json:"other"`    // the first two runs, where they differ
	Siblings map[string]raw `json:"siblings"`
}

type raw struct {
	Stage   string     `json:"stage"`
	Err     string     `json:"err"`
	TLS     string     `json:"tls"`
	Head    string     `json:"head"`
	Body    string     `json:"body"`
	BodyEnd string     `json:"body_end"`
	Accept  string     `json:"accept"`
	Frames  []rawFrame `json:"frames"`
	End     string     `json:"end"`
	Status  int        `json:"status"`
	TookMS  int        `json:"took_ms"`
}

type rawFrame struct {
	Text   string `json:"text"`
	Code   int    `json:"code"`
	Reason string `json:"reason"`
	Raw    string `json:"raw"`
	Len    int    `json:"len"`
}

func recordings(t testing.TB) []recording {
	t.Helper()
	f, err := os.Open("testdata/recorded.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []recording
	for d := json.NewDecoder(f); ; {
		var r recording
		if err := d.Decode(&r); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
}

// bytes rebuilds the bytes of a recorded frame. pong is the payload of the
// client's ping, which a pong repeats.
func (f rawFrame) bytes(t testing.TB, pong []byte) []byte {
	head, err := hex.DecodeString(f.Raw)
	if err != nil {
		t.Fatal(err)
	}
	payload := []byte(strings.ReplaceAll(f.Text, "\uFFFD", "\xff"))
	if base, _, cut := strings.Cut(f.Text, "...(+"); cut {
		payload = bytes.Repeat([]byte(base[:1]), f.Len)
	}
	switch {
	case head[0]&0x0f == opClose && f.Len >= 2:
		payload = append([]byte{byte(f.Code >> 8), byte(f.Code)}, strings.TrimRight(f.Reason, "\x00")...)
	case head[0] == 0x80|opPong:
		return append([]byte{head[0], byte(len(pong))}, pong...)
	case head[1]&0x80 != 0: // masked: the recorder left out the key
		head = append(head, "abcd"...)
	}
	if head[0]&0x70 != 0 { // no frame: the recorder's buffer was longer than what came
		payload = bytes.TrimRight(payload, "\x00")
	}
	return append(head, payload...)
}

// replay serves one connection as the recorded server did.
func (c *recording) replay(t testing.TB, conn net.Conn) {
	defer conn.Close()
	br := bufio.NewReader(conn)
	req, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	c.replayTo(t, conn, br, req)
}

func (c *recording) replayTo(t testing.TB, conn net.Conn, br *bufio.Reader, req *http.Request) {
	r := c.Run
	switch r.Stage {
	case "head":
		_, _ = conn.Write([]byte(r.Head))
		finish(conn, br, r.Err)
	case "body":
		_, _ = conn.Write(append([]byte(r.Head), encodeBody(r)...))
		finish(conn, br, "EOF")
	case "open":
		c.replayOpen(t, conn, br, req)
	default:
		t.Errorf("%s: cannot replay stage %q", c.ID, r.Stage)
	}
}

func encodeBody(r raw) []byte {
	if !strings.Contains(strings.ToLower(r.Head), "transfer-encoding: chunked") {
		return []byte(r.Body)
	}
	var b bytes.Buffer
	w := httputil.NewChunkedWriter(&b)
	_, _ = io.WriteString(w, r.Body)
	_ = w.Close()
	b.WriteString("\r\n")
	return b.Bytes()
}

func (c *recording) replayOpen(t testing.TB, conn net.Conn, br *bufio.Reader, req *http.Request) {
	head := c.Run.Head
	if c.Run.Accept == "ok" {
		head = regexp.MustCompile(`(?i)(sec-websocket-accept: *)[^\r]*`).
			ReplaceAllString(head, "${1}"+acceptKey(req.Header.Get("Sec-WebSocket-Key")))
	}
	if c.Expect == probe.Slow {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := range head {
			<-tick.C
			_, _ = conn.Write([]byte{head[i]})
		}
	} else {
		_, _ = conn.Write([]byte(head))
	}
	var ping []byte
	if len(c.Run.Frames) > 0 {
		asked := len(c.Send)
		if c.Ping {
			asked++
		}
		for range asked {
			op, payload, err := readClientFrame(br)
			if err != nil {
				return
			}
			if op == opPing {
				ping = payload
			}
		}
	}
	for _, f := range c.Run.Frames {
		if _, err := conn.Write(f.bytes(t, ping)); err != nil {
			return
		}
	}
	finish(conn, br, c.Run.End)
}

// finish ends the connection as end, the recorder's words, tells.
func finish(conn net.Conn, br *bufio.Reader, end string) {
	tcp, _ := conn.(*net.TCPConn)
	own, after, _ := strings.Cut(end, "our close 1000")
	switch {
	case strings.Contains(own, "EOF"), strings.Contains(own, "malformed"):
		_ = tcp.CloseWrite()
		_, _ = io.Copy(io.Discard, br)
	case strings.Contains(own, "reset"):
		_ = tcp.SetLinger(0)
	case strings.Contains(after, "answered"):
		for {
			op, payload, err := readClientFrame(br)
			if err != nil {
				return
			}
			if op == opClose {
				_, _ = conn.Write([]byte(serverFrame(0x88, string(payload))))
				return
			}
		}
	default: // silence
		_, _ = io.Copy(io.Discard, br)
	}
}

func readClientFrame(br *bufio.Reader) (op byte, payload []byte, err error) {
	var h header
	if err := readHeader(br, &h); err != nil {
		return 0, nil, err
	}
	payload = make([]byte, h.length)
	if _, err := io.ReadFull(br, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= h.key[i&3]
	}
	return h.op, payload, nil
}

// listen serves every connection with serve until the test ends.
func listen(t testing.TB, serve func(*net.TCPConn)) (addr string) {
	t.Helper()
	return listenOn(t, "127.0.0.1:0", serve)
}

func listenOn(t testing.TB, address string, serve func(*net.TCPConn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var conns []net.Conn
	go func() {
		defer close(done)
		var served sync.WaitGroup
		for {
			conn, err := ln.Accept()
			if err != nil {
				break
			}
			conns = append(conns, conn)
			served.Go(func() { serve(conn.(*net.TCPConn)) })
		}
		for _, c := range conns {
			_ = c.Close()
		}
		served.Wait()
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}

// newProber compiles a check of rawURL.
func newProber(t testing.TB, n *probe.Network, rawURL string, c probe.Connection, own map[string]string, sub []string, o Options) *Prober {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	target, bad := n.Target(u, c)
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	fields, bad := n.Fields(target, nil, own)
	if len(bad) > 0 {
		t.Fatal(bad)
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = 16 << 20
	}
	if o.Close == 0 {
		o.Close = time.Second
	}
	return New(n, NewRequest(target, fields, sub), o)
}

func contains(text string) Expect {
	return Expect{Match: func(_ context.Context, msg []byte) string {
		if bytes.Contains(msg, []byte(text)) {
			return ""
		}
		return fmt.Sprintf("a message with %q", text)
	}}
}

// expectations says what a person would expect of the exchange of a case.
func (c *recording) expectations() (all []Expect) {
	var want []string
	first := ""
	if len(c.Send) > 0 {
		first = c.Send[0]
	}
	switch {
	case strings.Contains(first, "agent_execute"):
		want = []string{"agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"}
	case strings.Contains(first, `"ping"`):
		want = []string{"pong"}
	case strings.Contains(first, "subscribe"):
		want = []string{"subscription_confirmed"}
	case first == "hi":
		want = []string{"hi"}
	case strings.Contains(c.URL, "/socket.io/"):
		want = []string{"0{", "40", "42"}[:c.Read]
	default:
		want = make([]string, c.Read) // any messages
	}
	for _, w := range want {
		e := contains(w)
		if c.Expect == probe.NoReply {
			e.Within = time.Second
		}
		all = append(all, e)
	}
	return all
}

// flow is what a person would expect of the events of a case.
func (c *recording) flow() []Step {
	events := []string{"agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"}
	send := func(*Vars) (Message, error) { return Message{Data: []byte(c.Send[0])}, nil }
	return []Step{{Name: "step 1", Send: send}, {Name: "step 2", Within: time.Second, Events: &Events{
		Names: events, Ordered: true, NoDuplicates: true, Recognise: recognise(events),
	}}}
}

// recognise finds the events whose name a message holds.
func recognise(names []string) func(context.Context, []byte, *Vars) ([]int, string) {
	return func(_ context.Context, msg []byte, _ *Vars) (hits []int, key string) {
		for i, n := range names {
			if bytes.Contains(msg, []byte(n)) {
				hits = append(hits, i)
			}
		}
		return hits, ""
	}
}

func (c *recording) options() Options {
	o := Options{Ping: c.Ping, Close: 5 * time.Second}
	if c.Expect == probe.CloseUnanswered {
		o.Close = 300 * time.Millisecond
	}
	for _, s := range c.Send {
		var n int
		switch {
		case strings.HasPrefix(s, "bin:"):
			b, _ := hex.DecodeString(s[4:])
			o.Send = append(o.Send, Message{Binary: true, Data: b})
			continue
		case strings.HasPrefix(s, "big:"):
			_, _ = fmt.Sscanf(s, "big:%d", &n)
			s = strings.Repeat("y", n)
		}
		o.Send = append(o.Send, Message{Data: []byte(s)})
	}
	if strings.HasPrefix(string(c.Expect), "flow_") {
		o.Steps, o.Send = c.flow(), nil
		return o
	}
	if c.Expect != probe.CloseUnanswered { // nothing but the close is wrong there
		o.Expect = c.expectations()
	}
	if len(o.Expect) == 0 {
		o.Settle = 50 * time.Millisecond
		switch c.Expect {
		case probe.Dropped, probe.ClosedEarly, probe.AuthClosed, probe.ProtocolError:
			o.Settle = 5 * time.Second // ends when what is wrong comes
		}
	}
	if c.Expect == probe.Slow {
		o.SlowerThan = 50 * time.Millisecond
	}
	return o
}

// unplayable says why a case is not for this test; "" if it is.
func (c *recording) unplayable() string {
	switch {
	case c.Run.Stage == "dns", c.Run.Stage == "connect", c.Run.Stage == "tls", strings.HasPrefix(c.URL, "wss:") && c.Run.Stage != "body" && c.Run.Stage != "open":
		return "needs a live listener: TestLiveStages"
	case c.Expect == probe.FamilyBroken:
		return "needs two address families: TestLiveStages"
	case c.HoldMS > 0:
		return "takes as long as it was held: TestHoldIdleCut and others"
	case c.Users > 0:
		return "the messages of its sessions were not recorded: TestWebSocketSessions of package checks"
	case c.Expect == probe.Flapping:
		return "several tries: the diagnosis"
	case strings.Contains(c.Run.End, "write tcp"):
		return "the recorder stopped before the server's close frame came"
	}
	return ""
}

// TestReplay plays what real servers sent, byte for byte, and wants the class
// that the recording has.
func TestReplay(t *testing.T) {
	all := recordings(t)
	type verdict struct {
		c    recording
		got  probe.Outcome
		skip string
	}
	results := make([]verdict, len(all))
	t.Run("cases", func(t *testing.T) {
		for i, c := range all {
			results[i] = verdict{c: c, skip: c.unplayable()}
			if results[i].skip != "" {
				continue
			}
			t.Run(c.ID, func(t *testing.T) {
				t.Parallel()
				results[i].got = c.probe(t)
			})
		}
	})
	played, right := 0, 0
	for _, v := range results {
		switch {
		case v.skip != "":
			t.Logf("%-20s not played: %s", v.c.ID, v.skip)
			continue
		case v.got.Class == v.c.Expect:
			right++
		default:
			t.Errorf("%-20s got %s (%s), want %s", v.c.ID, v.got.Class, v.got.Reason, v.c.Expect)
		}
		played++
	}
	t.Logf("%d of %d cases played, %d right", played, len(all), right)
	if played < 190 {
		t.Errorf("only %d cases played", played)
	}
}

func (c *recording) probe(t *testing.T) probe.Outcome {
	addr := listen(t, func(conn *net.TCPConn) { c.replay(t, conn) })
	u, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.Scheme, u.Host = "ws", addr
	own := map[string]string{}
	for _, h := range c.Headers {
		k, v, _ := strings.Cut(h, ": ")
		own[k] = v
	}
	timeout := 20 * time.Second
	if c.Expect == probe.HandshakeTimeout || c.Expect == probe.NoPong {
		timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	n := probe.NewNetwork(probe.NetworkOptions{UserAgent: "Tripline/test"})
	o := newProber(t, n, u.String(), probe.Connection{}, own, c.Sub, c.options()).Probe(ctx)
	if o.Class != probe.OK {
		t.Log(o.Reason)
	}
	if e := o.Evidence(); e != nil {
		if b, err := json.Marshal(e); err != nil || len(b) > probe.MaxEvidence {
			t.Errorf("evidence of %d bytes (%v), want at most %d", len(b), err, probe.MaxEvidence)
		}
	}
	return o
}
