package wsprobe

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tripline/tripline/checks/probe"
)

// classStatus returns the class of an answer to an upgrade that is not 101.
func classStatus(status int) probe.Class {
	switch {
	case status >= 200 && status < 300:
		return probe.UpgradeIgnored
	case status >= 300 && status < 400:
		return probe.Redirected
	}
	switch status {
	case http.StatusUnauthorized:
		return probe.Auth
	case http.StatusForbidden:
		return probe.Forbidden
	case http.StatusNotFound, http.StatusGone:
		return probe.NotFound
	case http.StatusTooManyRequests:
		return probe.RateLimited
	case http.StatusInternalServerError:
		return probe.ServerError
	case http.StatusNotImplemented:
		return probe.UpgradeRefused
	case http.StatusBadGateway, 520, 521, 523, 525, 526, 530: // 52x, 530: Cloudflare about its origin
		return probe.BadGateway
	case http.StatusServiceUnavailable:
		return probe.Unavailable
	case http.StatusGatewayTimeout, 522, 524:
		return probe.GatewayTimeout
	}
	if status >= 500 && status < 600 {
		return probe.ServerError
	}
	return probe.UpgradeRefused
}

// check101 judges a 101 answer to the handshake with the given key and
// offered subprotocols (RFC 6455 §4.1, "the client MUST validate"). The class
// is OK when it is right; the text says what was seen and what was wanted.
func check101(resp *http.Response, key string, offered []string, r *probe.Redactor) (probe.Class, string) {
	h := resp.Header
	with := func(name string) string { return "101 with " + headerText(h, name, r) }
	if resp.Proto != "HTTP/1.1" {
		return probe.Bad101, fmt.Sprintf("101 in %s, an upgrade needs HTTP/1.1", resp.Proto)
	}
	if !hasToken(h["Upgrade"], "websocket") {
		return probe.Bad101, with("Upgrade") + ", want Upgrade: websocket"
	}
	if !hasToken(h["Connection"], "upgrade") {
		// net/http drops "Connection: close": the header may have been there
		return probe.Bad101, with("Connection") + ", want Connection: Upgrade"
	}
	if want, got := acceptKey(key), h.Get("Sec-Websocket-Accept"); got != want {
		return probe.BadAccept, with("Sec-Websocket-Accept") + ", want " + strconv.Quote(want) +
			" for this handshake's key"
	}
	if len(h["Sec-Websocket-Extensions"]) > 0 {
		return probe.Bad101, with("Sec-Websocket-Extensions") + ", and no extension was offered"
	}
	got := h["Sec-Websocket-Protocol"]
	switch {
	case len(got) == 0 && len(offered) == 0:
		return probe.OK, ""
	case len(got) == 0:
		return probe.Subprotocol, fmt.Sprintf("101 without Sec-WebSocket-Protocol, want one of %q", offered)
	case len(offered) == 0:
		return probe.Subprotocol, with("Sec-Websocket-Protocol") + ", and no subprotocol was asked for"
	case len(got) > 1 || !slices.Contains(offered, got[0]):
		return probe.Subprotocol, with("Sec-Websocket-Protocol") + fmt.Sprintf(", want one of %q", offered)
	}
	return probe.OK, ""
}

// hasToken tells whether a comma-separated header holds token in any case
// (RFC 9110 §5.6.1).
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.Trim(t, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// headerText names a header and its value for people.
func headerText(h http.Header, name string, r *probe.Redactor) string {
	shown := headerName(name)
	if v := h[name]; len(v) > 0 {
		return shown + " " + r.Quote([]byte(strings.Join(v, ", ")), 120)
	}
	return "no usable " + shown + " header"
}

// headerName spells a canonical header name as RFCs do.
func headerName(canonical string) string {
	return strings.Replace(strings.Replace(canonical, "Websocket", "WebSocket", 1), "Www", "WWW", 1)
}

// acceptKey is the Sec-WebSocket-Accept that belongs to key (RFC 6455 §4.2.2).
func acceptKey(key string) string {
	var b [24 + 36]byte
	sum := sha1.Sum(append(append(b[:0], key...), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// closedError says that the server sent a close frame.
type closedError struct {
	code   int // 1005: none
	reason string
}

func (e *closedError) Error() string {
	s := "the server closed"
	if e.code == 1005 {
		return s + " without a code"
	}
	s += " with " + strconv.Itoa(e.code)
	if name := closeName(e.code); name != "" {
		s += " (" + name + ")"
	}
	if e.reason != "" {
		s += " " + strconv.Quote(e.reason)
	}
	return s
}

// closeName is what a close code means (RFC 6455 §7.4.1 and the IANA registry).
func closeName(code int) string {
	switch code {
	case 1000:
		return "normal"
	case 1001:
		return "going away"
	case 1002:
		return "protocol error"
	case 1003:
		return "data of this type not accepted"
	case 1007:
		return "inconsistent data"
	case 1008:
		return "policy violation"
	case 1009:
		return "message too big"
	case 1010:
		return "extension wanted"
	case 1011:
		return "internal error"
	case 1012:
		return "service restart"
	case 1013:
		return "try again later"
	case 1014:
		return "bad gateway"
	case 3000:
		return "unauthorized"
	case 3003:
		return "forbidden"
	}
	return ""
}

// authCodes are the close codes that mean credentials by registry (1008, 3000,
// 3003) or by wide custom (4401, 4403).
func authCodes() []int { return []int{1008, 3000, 3003, 4401, 4403} }

// classClose returns the class of a close frame that came before the session
// had done its work.
func classClose(code int, auth []int) probe.Class {
	switch {
	case slices.Contains(auth, code):
		return probe.AuthClosed
	case code == 1009:
		return probe.MessageTooBig
	}
	return probe.ClosedEarly
}

// refusal tells whether a message says that the application refuses: a JSON
// object that calls itself an error, or socket.io's CONNECT_ERROR packet
// ("44", socket.io protocol v5 §4).
func refusal(payload []byte) bool {
	p := bytes.TrimSpace(payload)
	if bytes.HasPrefix(p, []byte("44")) && bytes.ContainsAny(p, "{\"") {
		return true
	}
	if len(p) == 0 || p[0] != '{' {
		return false
	}
	var o map[string]json.RawMessage
	if json.Unmarshal(p, &o) != nil {
		return false
	}
	for _, name := range []string{"type", "event", "status", "kind", "op"} {
		var s string
		if json.Unmarshal(o[name], &s) == nil {
			switch strings.ToLower(s) {
			case "error", "connection_error", "connect_error", "auth_error", "unauthorized", "forbidden",
				"exception", "failure", "failed", "fail", "denied", "rejected":
				return true
			}
		}
	}
	for _, name := range []string{"error", "errors"} {
		switch string(o[name]) {
		case "", "null", "false", `""`, "[]", "{}", "0":
		default:
			return true
		}
	}
	for _, name := range []string{"ok", "success"} {
		if string(o[name]) == "false" {
			return true
		}
	}
	return false
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}
