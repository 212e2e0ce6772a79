package checks

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// WebSocket opens a WebSocket (RFC 6455), uses it and closes it. The opening
// handshake is judged byte by byte; then a ping must be answered, the messages
// of expect or steps must come, and our close frame must be answered.
type WebSocket struct {
	// URL is a ws:// or wss:// URL (http:// and https:// mean the same), or a
	// path below base_url. Path and query may hold templates as in send of steps.
	URL string `yaml:"url" json:"url"`
	// Method is the method of the handshake; default GET, the only right one (RFC
	// 6455 §4.1). With another one a check sees how the server refuses it.
	Method string `yaml:"method,omitempty" json:"method,omitempty" jsonschema:"enum=GET,enum=POST,enum=PUT,enum=OPTIONS"`
	// Headers are sent with the handshake. Values may hold templates as in send
	// of steps.
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"`
	// Origin is the Origin header, as a browser would send it: https://app.example.com.
	Origin string `yaml:"origin,omitempty" json:"origin,omitempty"`
	// Subprotocols are offered in this order; the server must choose one of them.
	Subprotocols probe.List `yaml:"subprotocols,omitempty" json:"subprotocols,omitempty"`
	// Token is a credential, in the query or in a header.
	Token *WebSocketToken `yaml:"token,omitempty" json:"token,omitempty"`
	// Send are text messages that are sent once the WebSocket is open.
	Send probe.List `yaml:"send,omitempty" json:"send,omitempty"`
	// SendBinary are binary messages in hex, sent after those of send.
	SendBinary probe.List `yaml:"send_binary,omitempty" json:"send_binary,omitempty"`
	// Expect is what the next messages must be, one item for each message.
	Expect []WebSocketExpect `yaml:"expect,omitempty" json:"expect,omitempty"`
	// Steps are a conversation, instead of send, send_binary and expect.
	Steps []WebSocketStep `yaml:"steps,omitempty" json:"steps,omitempty"`
	// Sessions is how many connections to open at the same time; each is an
	// attempt of its own in all rates. The default is one.
	Sessions int `yaml:"sessions,omitempty" json:"sessions,omitempty"`
	// Stagger is the time between the starts of two sessions; default 0s. With
	// it a server that is full is told from one that is broken.
	Stagger probe.Duration `yaml:"stagger,omitempty" json:"stagger,omitempty"`
	// Require is the share of the sessions that must be good, such as 80%;
	// default 100%.
	Require string `yaml:"require,omitempty" json:"require,omitempty"`
	// Hold is how long to keep one more connection open, beside the probes: it
	// is opened after a good one, and the next one tells what became of it.
	// Default 0s: none.
	Hold probe.Duration `yaml:"hold,omitempty" json:"hold,omitempty"`
	// PingEvery is the time between pings on the held connection; default 0s:
	// none, which shows what cuts idle connections.
	PingEvery probe.Duration `yaml:"ping_every,omitempty" json:"ping_every,omitempty"`
	// Isolation is a jq expression that must not be false for any JSON message
	// that a session receives, such as .user_id == null or .user_id == $session. No
	// message may hold {{session}} or {{nonce}} of another session either; for
	// that alone say "true".
	Isolation string `yaml:"isolation,omitempty" json:"isolation,omitempty"`
	// Ping tells whether to send a ping and want its pong; default true.
	Ping *bool `yaml:"ping,omitempty" json:"ping,omitempty"`
	// MaxMessage is the largest message to accept, in bytes; default 16 MiB.
	MaxMessage int `yaml:"max_message,omitempty" json:"max_message,omitempty"`
	// SlowerThan is the time to the accepted handshake beyond which the check
	// is degraded; default never.
	SlowerThan probe.Duration `yaml:"slower_than,omitempty" json:"slower_than,omitempty"`
	// Settle is how long to watch the open WebSocket for a close: many
	// applications check credentials only after the handshake, some of them
	// slowly. The default is 0s, since the ping or expect takes a moment too, and
	// 100ms with neither.
	Settle *probe.Duration `yaml:"settle,omitempty" json:"settle,omitempty"`
	// CloseTimeout is how long the server may take to answer our close frame; default 1s.
	CloseTimeout probe.Duration `yaml:"close_timeout,omitempty" json:"close_timeout,omitempty"`
	// Bypass is where the same WebSocket is reached past the proxies, such as
	// http://10.0.0.5:8080. After a failure it is tried too: what works there
	// and not at url is the proxies' fault. The path is that of url, unless it
	// has one.
	Bypass string `yaml:"bypass,omitempty" json:"bypass,omitempty"`

	probe.Connection `yaml:",inline"`

	prober   *wsprobe.Prober
	holder   *wsprobe.Holder // nil if nothing is held
	endpoint probe.Endpoint
}

// WebSocketToken is a credential and where to put it.
type WebSocketToken struct {
	// Value is the token.
	Value string `yaml:"value" json:"value"`
	// Query is the name of the query parameter to put it in.
	Query string `yaml:"query,omitempty" json:"query,omitempty"`
	// Header is the name of the header to put it in. The default, with neither,
	// is "Authorization: Bearer VALUE"; any other header holds the bare value.
	Header string `yaml:"header,omitempty" json:"header,omitempty"`
}

// WebSocketExpect is what one message must be. With neither jq nor text any
// message will do.
type WebSocketExpect struct {
	// JQ is a jq expression on the message as JSON; it must give true, such as
	// .type == "pong".
	JQ string `yaml:"jq,omitempty" json:"jq,omitempty"`
	// Text is a text that the message must contain.
	Text string `yaml:"text,omitempty" json:"text,omitempty"`
	// Within is how long the message may take; default the check's timeout.
	Within probe.Duration `yaml:"within,omitempty" json:"within,omitempty"`
}

const (
	defaultMaxMessage   = 16 << 20
	largestMaxMessage   = 1 << 30
	defaultSettle       = 100 * time.Millisecond
	defaultCloseTimeout = time.Second
)

// Validate implements Settings.
func (w *WebSocket) Validate(env probe.Env) []probe.Problem {
	return w.compile(env, newScope(env.Net, 64+8*w.Sessions))
}

// compile prepares the check. Its texts may refer to what s knows, and what its
// steps capture is added to that.
func (w *WebSocket) compile(env probe.Env, s *scope) []probe.Problem {
	from := *s // url and headers are sent before any step captures something
	options, bad := w.options(env, s)
	for i, s := range w.Subprotocols {
		if !isToken(s) || slices.Contains(w.Subprotocols[:i], s) {
			bad = append(bad, probe.Problem{
				Path: fmt.Sprintf("subprotocols[%d]", i),
				Text: strconv.Quote(s) + " is no subprotocol or comes twice, want different names such as graphql-transport-ws",
			})
		}
	}
	if w.Method != "" && !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodOptions}, w.Method) {
		bad = append(bad, probe.Problem{Path: "method", Text: strconv.Quote(w.Method) + ", want GET, POST, PUT or OPTIONS"})
	}
	own, more := w.headers(env)
	bad = append(bad, more...)
	a := address{url: w.URL, headers: own, conn: w.Connection, schemes: webSocketSchemes(), adapt: w.adapt(env)}
	out, more := compileOutgoing(env, a, &from)
	bad = append(bad, more...)
	if out == nil {
		return bad
	}
	past, more := w.past(env, a, &from)
	if bad = append(bad, more...); len(bad) > 0 {
		return bad
	}
	if w.Sessions > 1 {
		out.target = out.target.Ungated()
	}
	first := w.request(out.target, out.fields).Secret(w.secretName(env.Auth))
	switch {
	case !out.fixed():
		options.Prepare, options.Credential = w.prepare(out, past), env.Auth
	case past != nil:
		options.Bypass = w.request(past.target, past.fields)
	}
	w.prober = wsprobe.New(env.Net, first, options)
	if w.Hold > 0 {
		w.holder = wsprobe.NewHolder(w.prober, time.Duration(w.Hold), time.Duration(w.PingEvery))
	}
	w.endpoint = probe.Endpoint{
		URL: out.shown(), Host: out.target.Addr, WebSocket: true,
		Repeatable: !w.sends() && (w.Method == "" || w.Method == http.MethodGet),
	}
	return nil
}

// request compiles a handshake.
func (w *WebSocket) request(target *probe.Target, fields []probe.Field) *wsprobe.Request {
	q := wsprobe.NewRequest(target, fields, w.Subprotocols)
	if w.Method != "" {
		q = q.WithMethod(w.Method)
	}
	return q
}

func webSocketSchemes() []string { return []string{"wss", "ws", "https", "http"} }

// Probe implements Settings.
func (w *WebSocket) Probe(ctx context.Context) probe.Outcome {
	if w.holder != nil {
		return w.holder.Probe(ctx)
	}
	return w.prober.Probe(ctx)
}

// Sitting returns a Prober that probes as w does and then waits to see what
// becomes of a held connection, and how much longer that may take at most. It is
// nil if w holds none.
func (w *WebSocket) Sitting() (p Prober, more time.Duration) {
	if w.holder == nil {
		return nil, 0
	}
	return sitting{w.holder}, 4*time.Duration(w.Hold) + holdSlack
}

// holdSlack is for the handshakes of held connections.
const holdSlack = 30 * time.Second

type sitting struct{ h *wsprobe.Holder }

// Probe implements Prober.
func (s sitting) Probe(ctx context.Context) probe.Outcome { return s.h.Sit(ctx) }

// Close ends the held connection, if there is one, and waits until it is gone.
// It implements io.Closer, and must be called when the check is not used any more.
func (w *WebSocket) Close() error {
	if w.holder == nil {
		return nil
	}
	return w.holder.Close()
}

// Endpoint implements Settings.
func (w *WebSocket) Endpoint() probe.Endpoint { return w.endpoint }

// options compiles what to do with the open WebSocket.
func (w *WebSocket) options(env probe.Env, s *scope) (o wsprobe.Options, bad []probe.Problem) {
	o = wsprobe.Options{
		Ping:       w.Ping == nil || *w.Ping,
		Close:      time.Duration(w.CloseTimeout),
		MaxMessage: uint64(max(w.MaxMessage, 0)),
		SlowerThan: time.Duration(w.SlowerThan),
	}
	if !o.Ping && len(w.Expect)+len(w.Steps) == 0 {
		o.Settle = defaultSettle
	}
	if w.Settle != nil {
		o.Settle = time.Duration(*w.Settle)
	}
	if w.MaxMessage < 0 || w.MaxMessage > largestMaxMessage {
		bad = append(bad, probe.Problem{Path: "max_message", Text: fmt.Sprintf("%d, want a number of bytes from 1 to %d", w.MaxMessage, largestMaxMessage)})
	}
	if o.Close == 0 {
		o.Close = defaultCloseTimeout
	}
	if o.MaxMessage == 0 {
		o.MaxMessage = defaultMaxMessage
	}
	for _, s := range w.Send {
		o.Send = append(o.Send, wsprobe.Message{Data: []byte(s)})
	}
	for i, s := range w.SendBinary {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			bad = append(bad, probe.Problem{Path: fmt.Sprintf("send_binary[%d]", i), Text: strconv.Quote(s) + " is not hex: " + err.Error()})
		}
		o.Send = append(o.Send, wsprobe.Message{Binary: true, Data: b})
	}
	for i, e := range w.Expect {
		match, err := e.match(env.Net)
		if err != nil {
			bad = append(bad, probe.Problem{Path: fmt.Sprintf("expect[%d]", i), Text: err.Error()})
		}
		o.Expect = append(o.Expect, wsprobe.Expect{Match: match, Within: time.Duration(e.Within)})
	}
	vars := s.vars // of all its messages: not what its own steps capture
	bad = append(bad, w.steps(env.Net, s, &o)...)
	bad = append(bad, w.plural(env.Net, vars, &o)...)
	return o, bad
}

// match compiles what a message must be.
func (e WebSocketExpect) match(net *probe.Network) (func(context.Context, []byte) string, error) {
	switch {
	case e.JQ != "" && e.Text != "":
		return nil, errors.New("jq and text are both set, want one of them")
	case e.Text != "":
		return func(_ context.Context, msg []byte) string {
			if strings.Contains(string(msg), e.Text) {
				return ""
			}
			return "a message that contains " + strconv.Quote(e.Text)
		}, nil
	case e.JQ == "":
		return func(context.Context, []byte) string { return "" }, nil
	}
	expr, err := compileJQ(net, e.JQ)
	if err != nil {
		return nil, err
	}
	want := "jq " + strconv.Quote(e.JQ) + " to be true"
	return func(ctx context.Context, msg []byte) string {
		v, err := decodeJSON(msg)
		if err != nil {
			return want + ", the message is not JSON"
		}
		if seen, ok := expr.holds(ctx, v); !ok {
			return want + ", " + seen
		}
		return ""
	}, nil
}

// isToken tells whether s is an HTTP token (RFC 9110 §5.6.2).
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
