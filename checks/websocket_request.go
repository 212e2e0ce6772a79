package checks

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// prepare makes the handshakes of single attempts.
func (w *WebSocket) prepare(out, past *outgoing) wsprobe.Prepare {
	handshake := func(out *outgoing, v *wsprobe.Vars, t probe.Token) (*wsprobe.Request, error) {
		if out == nil {
			return nil, nil
		}
		target, fields, err := out.fill(v, t)
		if err != nil {
			return nil, err
		}
		return w.request(target, fields).Secret(w.secretName(out.cred)), nil
	}
	return func(v *wsprobe.Vars, t probe.Token) (req, bypass *wsprobe.Request, err error) {
		if req, err = handshake(out, v, t); err == nil {
			bypass, err = handshake(past, v, t)
		}
		return req, bypass, err
	}
}

// secretName is where the credential is; "" if there is none.
func (w *WebSocket) secretName(auth *probe.Credential) string {
	switch {
	case auth != nil:
		return auth.Name()
	case w.Token == nil:
		return ""
	case w.Token.Query != "":
		return w.Token.Query
	}
	return w.Token.Header
}

// adapt puts ws for http, and the token of the query, into a resolved URL.
func (w *WebSocket) adapt(env probe.Env) func(*url.URL) *url.URL {
	return func(u *url.URL) *url.URL {
		c := *u
		c.Scheme = wsScheme(c.Scheme)
		if t := w.Token; t != nil && t.Query != "" && t.Value != "" {
			param := url.QueryEscape(t.Query) + "=" + url.QueryEscape(t.Value)
			if c.RawQuery != "" {
				param = c.RawQuery + "&" + param
			}
			c.RawQuery = param
			env.Net.Redactor().Add(t.Value, url.QueryEscape(t.Value))
		}
		return &c
	}
}

// past compiles the handshake that is sent past the proxies; nil if none is wanted.
func (w *WebSocket) past(env probe.Env, a address, s *scope) (*outgoing, []probe.Problem) {
	if w.Bypass == "" {
		return nil, nil
	}
	b, err := probe.ResolveURL(nil, w.Bypass, webSocketSchemes()...)
	if err != nil {
		return nil, []probe.Problem{{Path: "bypass", Text: err.Error()}}
	}
	adapt := a.adapt
	a.adapt = func(u *url.URL) *url.URL {
		to := *adapt(u)
		to.Scheme, to.Host = wsScheme(b.Scheme), b.Host
		if strings.Trim(b.Path, "/") != "" {
			to.Path, to.RawPath = b.Path, b.RawPath
		}
		return &to
	}
	if a.conn.Proxy = ""; a.conn.TLS != nil {
		t := *a.conn.TLS
		t.ServerName = ""
		a.conn.TLS = &t
	}
	past, bad := compileOutgoing(env, a, s)
	if past == nil {
		return nil, []probe.Problem{{Path: "bypass", Text: bad[0].Text}}
	}
	return past, nil // other problems are those of the check
}

// wsScheme returns ws for http and wss for https.
func wsScheme(scheme string) string {
	switch scheme {
	case "http":
		return "ws"
	case "https":
		return "wss"
	}
	return scheme
}

// headers returns the headers to send: the configured ones, Origin and the
// token. Those that belong to the handshake cannot be set.
func (w *WebSocket) headers(env probe.Env) (map[string]string, []probe.Problem) {
	var bad []probe.Problem
	own := make(map[string]string, len(w.Headers)+2)
	for name, value := range w.Headers {
		lower := strings.ToLower(name)
		if lower == "upgrade" || strings.HasPrefix(lower, "sec-websocket-") {
			bad = append(bad, probe.Problem{
				Path: "headers." + name,
				Text: "this header belongs to the handshake and cannot be set; for Sec-WebSocket-Protocol use subprotocols",
			})
		}
		own[name] = value
	}
	if w.Origin != "" {
		o, err := url.Parse(w.Origin)
		if err != nil || w.Origin != "null" && (o.Scheme == "" || o.Host == "" || o.Path != "" || o.RawQuery != "") {
			bad = append(bad, probe.Problem{Path: "origin", Text: strconv.Quote(w.Origin) + " is no origin, want one such as https://app.example.com, without a path"})
		}
		own["Origin"] = w.Origin
	}
	t := w.Token
	switch {
	case t == nil:
	case env.Auth != nil:
		bad = append(bad, probe.Problem{Path: "token", Text: "token and auth are both set, want one of them"})
	case t.Value == "":
		bad = append(bad, probe.Problem{Path: "token.value", Text: "the token is empty"})
	case t.Query != "" && t.Header != "":
		bad = append(bad, probe.Problem{Path: "token", Text: "query and header are both set, want one of them"})
	case t.Query != "":
		if u, err := url.Parse(w.URL); err == nil && u.Query().Has(t.Query) {
			bad = append(bad, probe.Problem{Path: "token.query", Text: "the url has a parameter " + strconv.Quote(t.Query) + " already"})
		}
	case t.Header != "" && !strings.EqualFold(t.Header, "Authorization"):
		own[t.Header] = t.Value
		env.Net.Redactor().Add(t.Value)
	default:
		own["Authorization"] = "Bearer " + t.Value
		env.Net.Redactor().Add(t.Value)
	}
	return own, bad
}
