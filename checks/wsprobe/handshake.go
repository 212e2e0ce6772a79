package wsprobe

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Of the body of an answer that is not 101 only the beginning is read, and
// only for a while: it is evidence, and it need not end.
const (
	maxBody  = 4 << 10
	bodyTime = time.Second
)

// Request is an opening handshake (RFC 6455 §4.1), compiled once: everything
// but its key is fixed.
type Request struct {
	target    *probe.Target
	own       []probe.Field // without those of the handshake
	fields    []probe.Field // with them
	offered   []string      // subprotocols
	method    string
	head      []byte // with a placeholder for the key
	keyAt     int
	noUpgrade bool   // a plain GET: for siblings
	pinned    bool   // to one of several addresses
	secret    string // name of the header field or query parameter that holds a credential; "": only telling names do
}

// sampleKey holds the place of the key: base64 of 16 bytes. It is RFC 6455's
// own example, so that a command to repeat the request by hand works.
const (
	sampleKey = "dGhlIHNhbXBsZSBub25jZQ=="
	keyLen    = len(sampleKey)
)

// NewRequest compiles the handshake with target. fields are the header fields
// to send before those of the handshake itself, as Network.Fields gives them.
func NewRequest(target *probe.Target, fields []probe.Field, subprotocols []string) *Request {
	return compile(http.MethodGet, target, fields, subprotocols, "13")
}

// WithMethod returns the handshake with another method than GET, which is wrong
// (RFC 6455 §4.1).
func (q *Request) WithMethod(method string) *Request {
	return compile(method, q.target, q.own, q.offered, "13").Secret(q.secret)
}

// with returns the handshake with another target, header fields and subprotocols.
func (q *Request) with(target *probe.Target, fields []probe.Field, subprotocols []string) *Request {
	return compile(q.method, target, fields, subprotocols, "13").Secret(q.secret)
}

// at returns the handshake with one of the target's addresses.
func (q *Request) at(ip netip.Addr) *Request {
	r := *q
	r.target, r.pinned = q.target.At(ip), true
	return &r
}

func compile(method string, target *probe.Target, fields []probe.Field, subprotocols []string, version string) *Request {
	all := append(append([]probe.Field(nil), fields...),
		probe.Field{Name: "Connection", Value: "Upgrade"},
		probe.Field{Name: "Upgrade", Value: "websocket"},
		probe.Field{Name: "Sec-WebSocket-Version", Value: version},
	)
	if len(subprotocols) > 0 {
		all = append(all, probe.Field{Name: "Sec-WebSocket-Protocol", Value: strings.Join(subprotocols, ", ")})
	}
	all = append(all, probe.Field{Name: "Sec-WebSocket-Key", Value: sampleKey})
	head := probe.AppendHead(nil, method, target.URL, all)
	return &Request{
		target: target, own: fields, fields: all, offered: subprotocols, method: method,
		head: head, keyAt: len(head) - len("\r\n\r\n") - keyLen,
	}
}

// plain compiles a GET without upgrade.
func plain(target *probe.Target, fields []probe.Field) *Request {
	all := append(append([]probe.Field(nil), fields...), probe.Field{Name: "Connection", Value: "close"})
	return &Request{
		target: target, own: fields, fields: all, method: http.MethodGet, noUpgrade: true,
		head: probe.AppendHead(nil, http.MethodGet, target.URL, all),
	}
}

// bytes returns the request head with a fresh key.
func (q *Request) bytes() (head []byte, key string) {
	if q.noUpgrade {
		return q.head, ""
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand
	head = append([]byte(nil), q.head...)
	base64.StdEncoding.Encode(head[q.keyAt:], nonce[:])
	return head, string(head[q.keyAt : q.keyAt+keyLen])
}

// exchange is one handshake under way or done: the request as sent and what
// came back. It is what evidence and diagnosis are made of.
type exchange struct {
	q        *Request    // what was sent, or to be sent
	conn     *probe.Conn // nil if there was no connection
	resp     *http.Response
	body     []byte // of an answer that is not 101, at most maxBody
	sent     []byte
	start    time.Time     // when the request was written
	accepted time.Time     // when the 101 was found right
	end      string        // how the connection ended, when it matters; may hold secrets
	detail   string        // sub-kind of the failure
	code     int           // of the server's close frame
	idle     time.Duration // of a held connection, before its end
	frames   recorder
}

// handshake connects, sends q and judges the answer. Without failure the
// connection is open and has spoken a right 101. The caller closes x.conn
// whenever it is not nil.
func handshake(ctx context.Context, net *probe.Network, q *Request) (x *exchange, f *probe.Failure) {
	x = &exchange{q: q}
	head, key := q.bytes()
	x.sent = head
	if x.conn, f = net.Dial(ctx, q.target); f != nil {
		x.conn = nil
		return x, f
	}
	if f = x.conn.Send(head); f != nil {
		return x, f
	}
	x.start = x.conn.Sent()
	x.resp, f = x.conn.ReadHead(http.MethodGet) //nolint:bodyclose,contextcheck // the connection has the context, and the body ends with it
	if f != nil {
		return x, f
	}
	if x.resp.StatusCode != http.StatusSwitchingProtocols {
		return x, x.refused(net.Redactor())
	}
	if class, what := check101(x.resp, key, q.offered, net.Redactor()); class != probe.OK {
		return x, x.conn.Fail(class, probe.StageUpgrade, what, nil)
	}
	x.accepted = time.Now()
	x.conn.Phases.Upgrade = x.accepted.Sub(x.start)
	return x, nil
}

// refused reads the beginning of the body and judges an answer that is not 101.
func (x *exchange) refused(r *probe.Redactor) *probe.Failure {
	x.readBody()
	if class, stage, what := probe.ClassifyBadRequest(x.resp.StatusCode, x.body); class != "" {
		return x.conn.Fail(class, stage, what, nil)
	}
	return x.conn.Fail(classStatus(x.resp.StatusCode), probe.StageHTTP, refusalText(x.resp, x.body, r), nil)
}

func (x *exchange) readBody() {
	x.patience(bodyTime)
	var err error
	x.body, err = io.ReadAll(io.LimitReader(x.resp.Body, maxBody))
	if isTimeout(err) {
		x.end = "the body did not end within " + bodyTime.String()
	}
}

// patience bounds the reads that follow to d from now, and never past ctx.
func (x *exchange) patience(d time.Duration) {
	_ = x.conn.SetReadDeadline(time.Now().Add(d)) // fails only on a dead connection, which the read shows
}

// refusalText is what to say about an answer that is not 101.
func refusalText(resp *http.Response, body []byte, r *probe.Redactor) string {
	var b strings.Builder
	b.WriteString("upgrade answered " + strings.TrimSpace(resp.Status))
	h := resp.Header
	if v := h.Get("Location"); v != "" {
		b.WriteString(" to " + r.Quote([]byte(v), 200))
	}
	b.WriteString(", want 101")
	for _, n := range []string{"Www-Authenticate", "Retry-After", "Allow", "Sec-Websocket-Version"} {
		if v := h.Get(n); v != "" {
			b.WriteString("; " + headerName(n) + ": " + r.Excerpt([]byte(v), 103))
		}
	}
	if v := h.Get("Upgrade"); v != "" && resp.StatusCode == http.StatusUpgradeRequired {
		b.WriteString("; it wants Upgrade: " + r.Excerpt([]byte(v), 63))
	}
	text := strings.TrimSpace(r.Excerpt(body, 160))
	switch title := pageTitle(body); {
	case title != "":
		b.WriteString("; body is a web page, " + strconv.Quote(r.Excerpt([]byte(title), 100)))
	case text != "":
		b.WriteString("; body " + text)
	default:
		b.WriteString("; no body")
	}
	return b.String()
}

// pageTitle returns the title of a web page; "" if there is none.
func pageTitle(body []byte) string {
	_, rest, _ := strings.Cut(string(body), "<title>")
	title, _, ok := strings.Cut(rest, "</title>")
	if !ok {
		return ""
	}
	return strings.Join(strings.Fields(title), " ")
}
