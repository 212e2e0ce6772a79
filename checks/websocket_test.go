package checks

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/checks/probe"
)

// wsServer accepts what carries the right token, Origin and subprotocol, greets,
// and echoes.
func wsServer(t *testing.T) *url.URL {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("token") != "good token" && r.Header.Get("Authorization") != "Bearer good token" && r.Header.Get("X-Token") != "good token" {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"v1.chat"}, OriginPatterns: []string{"app.example.com"}})
		if err != nil {
			return
		}
		defer c.CloseNow() //nolint:errcheck // closed or not
		_ = c.Write(ctx, websocket.MessageText, []byte(`{"type":"hello","env":"`+r.Header.Get("X-Env")+`"}`))
		for {
			kind, b, err := c.Read(ctx)
			if err != nil || c.Write(ctx, kind, b) != nil {
				return
			}
		}
	}))
	t.Cleanup(func() { cancel(); s.Close() })
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func wsSettings(t *testing.T, text string) *WebSocket {
	t.Helper()
	var w WebSocket
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&w); err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return &w
}

func TestWebSocket(t *testing.T) {
	base := wsServer(t)
	for _, c := range []struct {
		name, yaml string
		want       probe.Class
		reason     string
	}{
		{"token in the query", "{url: '/ws?x=1', token: {value: good token, query: token}}", probe.OK, ""},
		{"bearer token", "{url: /ws, token: {value: good token}}", probe.OK, ""},
		{"token in another header", "{url: /ws, token: {value: good token, header: X-Token}}", probe.OK, ""},
		{"no token", "{url: /ws}", probe.Auth, "/ws: upgrade answered 401 Unauthorized, want 101; body who are you"},
		{"another method", "{url: /ws, token: {value: good token}, method: POST}", probe.UpgradeRefused, "405 Method Not Allowed"},
		{"origin", "{url: /ws, token: {value: good token}, origin: https://app.example.com}", probe.OK, ""},
		{"another origin", "{url: /ws, token: {value: good token}, origin: https://evil.example.com}", probe.Forbidden, ""},
		{"subprotocol", "{url: /ws, token: {value: good token}, subprotocols: v1.chat}", probe.OK, ""},
		{"another subprotocol", "{url: /ws, token: {value: good token}, subprotocols: [v2.chat, v3.chat]}", probe.Subprotocol, `101 without Sec-WebSocket-Protocol, want one of ["v2.chat" "v3.chat"]`},
		{
			"send and expect", `{url: /ws, token: {value: good token}, headers: {X-Env: staging}, send: ['{"type":"ping","n":1}', plain], send_binary: "01 02",
				expect: [{jq: '.type == "hello" and .env == "staging"'}, {jq: .n == 1, within: 2s}, {text: pla}, {}]}`,
			probe.OK, "",
		},
		{
			"expect something else", `{url: /ws, token: {value: good token}, expect: [{jq: '.type == "welcome"'}]}`, probe.BadPayload,
			`message 1 is not what was expected: {"type":"hello","env":"default"}; want jq ".type == \"welcome\"" to be true, .type is "hello"`,
		},
		{"expect JSON", `{url: /ws, token: {value: good token}, send: nothing like it, expect: [{}, {jq: .ok}]}`, probe.BadPayload, `want jq ".ok" to be true, the message is not JSON`},
		{"expect more", `{url: /ws, token: {value: good token}, expect: [{}, {text: more, within: 1s}]}`, probe.NoReply, "expected message 2 of 2 did not come in"},
		{"slow", "{url: /ws, token: {value: good token}, slower_than: 1ns}", probe.Slow, "slower_than is 1ns"},
		{"without ping", "{url: /ws, token: {value: good token}, ping: false, settle: 20ms}", probe.OK, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := wsSettings(t, c.yaml)
			env := probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{UserAgent: "Tripline/test"}), BaseURL: base, Headers: map[string]string{"X-Env": "default"}}
			if bad := w.Validate(env); len(bad) > 0 {
				t.Fatal(bad)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			o := w.Probe(ctx)
			if o.Class != c.want || !strings.Contains(o.Reason, c.reason) {
				t.Errorf("got %s %q, want %s with %q", o.Class, o.Reason, c.want, c.reason)
			}
			if strings.Contains(o.Reason, "good") && strings.Contains(o.Reason, "token=g") {
				t.Errorf("the token is in %q", o.Reason)
			}
			e := w.Endpoint()
			if !e.WebSocket || e.Host != base.Host || !strings.HasPrefix(e.URL, "ws://"+base.Host+"/ws") || strings.Contains(e.URL, "good") || e.Repeatable != (len(w.Send) == 0 && w.Method == "") {
				t.Errorf("endpoint %+v", e)
			}
		})
	}
}

func TestWebSocketProblems(t *testing.T) {
	for _, c := range []struct {
		yaml string
		want []probe.Problem
	}{
		{"{url: ftp://x/ws}", []probe.Problem{{Path: "url", Text: `"ftp://x/ws" has scheme "ftp", want wss:// or ws:// or https:// or http://`}}},
		{"{url: /ws}", []probe.Problem{{Path: "url", Text: `"/ws" is only a path and no base URL is configured, want wss:// or ws:// or https:// or http://`}}},
		{
			"{url: ws://x/ws, headers: {Sec-WebSocket-Protocol: a}}",
			[]probe.Problem{{Path: "headers.Sec-WebSocket-Protocol", Text: "this header belongs to the handshake and cannot be set; for Sec-WebSocket-Protocol use subprotocols"}},
		},
		{
			"{url: ws://x/ws, origin: app.example.com, max_message: -1, subprotocols: [a, a, b c]}",
			[]probe.Problem{
				{Path: "max_message", Text: "-1, want a number of bytes from 1 to 1073741824"},
				{Path: "subprotocols[1]", Text: `"a" is no subprotocol or comes twice, want different names such as graphql-transport-ws`},
				{Path: "subprotocols[2]", Text: `"b c" is no subprotocol or comes twice, want different names such as graphql-transport-ws`},
				{Path: "origin", Text: `"app.example.com" is no origin, want one such as https://app.example.com, without a path`},
			},
		},
		{"{url: ws://x/ws, token: {value: ''}}", []probe.Problem{{Path: "token.value", Text: "the token is empty"}}},
		{"{url: ws://x/ws, token: {value: v, query: q, header: h}}", []probe.Problem{{Path: "token", Text: "query and header are both set, want one of them"}}},
		{"{url: 'ws://x/ws?q=1', token: {value: v, query: q}}", []probe.Problem{{Path: "token.query", Text: `the url has a parameter "q" already`}}},
		{
			"{url: '', send_binary: xyz, expect: [{jq: '.['}, {jq: ., text: x}]}",
			[]probe.Problem{
				{Path: "send_binary[0]", Text: `"xyz" is not hex: encoding/hex: invalid byte: U+0078 'x'`},
				{Path: "expect[0]", Text: `".[" is no jq expression: unexpected EOF`},
				{Path: "expect[1]", Text: "jq and text are both set, want one of them"},
				{Path: "url", Text: "there is no URL, want wss:// or ws:// or https:// or http://"},
			},
		},
	} {
		w := wsSettings(t, c.yaml)
		got := w.Validate(probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{})})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s\n%s", c.yaml, diff)
		}
	}
}
