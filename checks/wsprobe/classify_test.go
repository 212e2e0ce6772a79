package wsprobe

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tripline/tripline/checks/probe"
)

// The example of RFC 6455 §1.3.
const (
	rfcKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	rfcAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

func answer(t *testing.T, head string) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n")), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestCheck101(t *testing.T) {
	const good = "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: " + rfcAccept
	for _, c := range []struct {
		name, head string
		offered    []string
		want       probe.Class
		text       string
	}{
		{"good", good, nil, probe.OK, ""},
		{"any case, token lists", "HTTP/1.1 101 x\nupgrade: WebSocket\nCONNECTION: keep-alive ,UPGRADE\nsec-websocket-accept: " + rfcAccept, nil, probe.OK, ""},
		{"two headers", strings.Replace(good, "Connection: Upgrade", "Connection: keep-alive\nConnection: upgrade", 1), nil, probe.OK, ""},
		{"HTTP/1.0", strings.Replace(good, "1.1", "1.0", 1), nil, probe.Bad101, "101 in HTTP/1.0, an upgrade needs HTTP/1.1"},
		{"no Upgrade", strings.Replace(good, "Upgrade: websocket\n", "", 1), nil, probe.Bad101, "101 with no usable Upgrade header, want Upgrade: websocket"},
		{"h2c", strings.Replace(good, "websocket", "h2c", 1), nil, probe.Bad101, `101 with Upgrade "h2c", want Upgrade: websocket`},
		{"no Connection", strings.Replace(good, "Connection: Upgrade\n", "", 1), nil, probe.Bad101, "101 with no usable Connection header, want Connection: Upgrade"},
		{"Connection: close", strings.Replace(good, "Connection: Upgrade", "Connection: close", 1), nil, probe.Bad101, "101 with no usable Connection header, want Connection: Upgrade"},
		{"no accept", strings.Replace(good, "Sec-WebSocket-Accept: "+rfcAccept, "X: y", 1), nil, probe.BadAccept, `101 with no usable Sec-WebSocket-Accept header, want "` + rfcAccept + `" for this handshake's key`},
		{"wrong accept", strings.Replace(good, rfcAccept, "AAAA", 1), nil, probe.BadAccept, `101 with Sec-WebSocket-Accept "AAAA", want "` + rfcAccept + `" for this handshake's key`},
		{"extension", good + "\nSec-WebSocket-Extensions: permessage-deflate", nil, probe.Bad101, `101 with Sec-WebSocket-Extensions "permessage-deflate", and no extension was offered`},
		{"subprotocol unasked", good + "\nSec-WebSocket-Protocol: x", nil, probe.Subprotocol, `101 with Sec-WebSocket-Protocol "x", and no subprotocol was asked for`},
		{"subprotocol missing", good, []string{"a", "b"}, probe.Subprotocol, `101 without Sec-WebSocket-Protocol, want one of ["a" "b"]`},
		{"another subprotocol", good + "\nSec-WebSocket-Protocol: c", []string{"a", "b"}, probe.Subprotocol, `101 with Sec-WebSocket-Protocol "c", want one of ["a" "b"]`},
		{"both subprotocols", good + "\nSec-WebSocket-Protocol: a, b", []string{"a", "b"}, probe.Subprotocol, `101 with Sec-WebSocket-Protocol "a, b", want one of ["a" "b"]`},
		{"subprotocol chosen", good + "\nSec-WebSocket-Protocol: b", []string{"a", "b"}, probe.OK, ""},
		{"the version line comes first", "HTTP/1.0 101 x\nSec-WebSocket-Extensions: y", nil, probe.Bad101, "101 in HTTP/1.0, an upgrade needs HTTP/1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			class, text := check101(answer(t, c.head), rfcKey, c.offered, nil) //nolint:bodyclose // answer closes it
			if class != c.want || text != c.text {
				t.Errorf("got %s %q, want %s %q", class, text, c.want, c.text)
			}
		})
	}
}

func TestClassStatus(t *testing.T) {
	for status, want := range map[int]probe.Class{
		200: probe.UpgradeIgnored, 204: probe.UpgradeIgnored, 301: probe.Redirected, 307: probe.Redirected,
		400: probe.UpgradeRefused, 401: probe.Auth, 403: probe.Forbidden, 404: probe.NotFound, 405: probe.UpgradeRefused,
		410: probe.NotFound, 426: probe.UpgradeRefused, 429: probe.RateLimited,
		500: probe.ServerError, 501: probe.UpgradeRefused, 502: probe.BadGateway, 503: probe.Unavailable, 504: probe.GatewayTimeout,
		507: probe.ServerError, 522: probe.GatewayTimeout, 525: probe.BadGateway, 999: probe.UpgradeRefused,
	} {
		if got := classStatus(status); got != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
	}
}

func TestClassClose(t *testing.T) {
	for code, want := range map[int]probe.Class{
		1000: probe.ClosedEarly, 1001: probe.ClosedEarly, 1005: probe.ClosedEarly, 1008: probe.AuthClosed,
		1009: probe.MessageTooBig, 1011: probe.ClosedEarly, 1012: probe.ClosedEarly, 1013: probe.ClosedEarly,
		3000: probe.AuthClosed, 3003: probe.AuthClosed, 4000: probe.ClosedEarly, 4401: probe.AuthClosed, 4403: probe.AuthClosed,
	} {
		if got := classClose(code, authCodes()); got != want {
			t.Errorf("%d: got %s, want %s", code, got, want)
		}
	}
	for _, c := range []struct {
		err  closedError
		want string
	}{
		{closedError{1012, "testbed"}, `the server closed with 1012 (service restart) "testbed"`},
		{closedError{1005, ""}, "the server closed without a code"},
		{closedError{4007, ""}, "the server closed with 4007"},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestRefusal(t *testing.T) {
	for in, want := range map[string]bool{
		`{"type":"error","code":"token_invalid"}`:    true,
		` {"type": "connection_error"}`:              true,
		`{"error":"nope"}`:                           true,
		`{"errors":[{"message":"x"}]}`:               true,
		`{"ok":false}`:                               true,
		`44/private,{"message":"not authorized"}`:    true,
		`44{"message":"not authorized"}`:             true,
		`{"type":"pong"}`:                            false,
		`{"error":null,"errors":[],"ok":true}`:       false,
		`{"type":"agent_started","status":"ok"}`:     false,
		`0{"sid":"x","pingInterval":25000}`:          false,
		`40{"sid":"x"}`:                              false,
		`440`:                                        false,
		`<html>oops</html>`:                          false,
		`"error"`:                                    false,
		``:                                           false,
		"\x20\x02\x00\x00":                           false,
		`{"type":"error"`:                            false,
		`{"type":["error"],"error":{},"errors":"" }`: false,
	} {
		if got := refusal([]byte(in)); got != want {
			t.Errorf("%s: got %v, want %v", in, got, want)
		}
	}
}

// FuzzClose: any payload of a close frame is judged, and what is said of it is one line.
func FuzzClose(f *testing.F) {
	for _, s := range []string{"", "\x03", "\x03\xe8", "\x03\xe8bye", "\x0f\xa1token expired", "\x00\x00", "\xff\xff\xff", "\x03\xee", "\x03\xf1\xc3\x28"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		code, reason := closeCode(payload)
		if code < 0 || code > 65535 || len(payload) < 2 && reason != "" {
			t.Errorf("%x: code %d, reason %q", payload, code, reason)
		}
		err := &closedError{code: code, reason: reason}
		if text := err.Error(); strings.ContainsAny(text, "\r\n") || !utf8.ValidString(text) {
			t.Errorf("%x: %q", payload, text)
		}
		switch class := classClose(code, authCodes()); class {
		case probe.AuthClosed, probe.MessageTooBig, probe.ClosedEarly:
		default:
			t.Errorf("%x: class %s", payload, class)
		}
	})
}
