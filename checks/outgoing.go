package checks

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// outgoing is where the requests of a check go and what they carry: the same
// each time, or with values of one attempt in it: those of the session, captured
// ones, a token.
type outgoing struct {
	net     *probe.Network
	target  *probe.Target // of fixed requests; else any place on the same host
	url     *messageTemplate
	resolve func(text string) (*url.URL, error)
	fields  []probe.Field
	values  []fieldValue
	cred    *probe.Credential
	known   *probe.Rotation
}

// fieldValue is a header field of which the value is a template.
type fieldValue struct {
	name string
	text *messageTemplate
}

// address is the setting that outgoing requests are made of.
type address struct {
	url     string
	headers map[string]string
	conn    probe.Connection
	schemes []string
	adapt   func(*url.URL) *url.URL // what becomes of the resolved URL; nil: nothing
}

// compileOutgoing compiles where to send requests. In texts that s is about
// templates are filled in; a nil s means that there are none.
func compileOutgoing(env probe.Env, a address, s *scope) (*outgoing, []probe.Problem) {
	out := &outgoing{net: env.Net, cred: env.Auth, known: s.secrets(), resolve: func(text string) (*url.URL, error) {
		u, err := probe.ResolveURL(env.BaseURL, text, a.schemes...)
		if err != nil || a.adapt == nil {
			return u, err
		}
		return a.adapt(u), nil
	}}
	u, err := out.resolve(a.url)
	t, own, bad := (*messageTemplate)(nil), a.headers, []probe.Problem(nil)
	if s != nil {
		if t, err = parseTemplate(a.url, s.vars, escapeURL); err == nil && t.t == nil {
			u, err = out.resolve(a.url)
		} else if err == nil {
			out.url = t
			u, err = out.sample(t, s)
		}
		own, bad = out.templates(a.headers, s)
	}
	if err != nil {
		return nil, append(bad, probe.Problem{Path: "url", Text: err.Error()})
	}
	target, more := env.Net.Target(u, a.conn)
	if bad = append(bad, more...); target == nil {
		return nil, bad
	}
	out.target = target
	out.fields, more = env.Net.Fields(target, env.Headers, own)
	bad = append(bad, more...)
	return out, append(bad, out.conflict(target, own)...)
}

// conflict reports a credential for which there is another one already.
func (out *outgoing) conflict(t *probe.Target, own map[string]string) (bad []probe.Problem) {
	c := out.cred
	if c == nil {
		return nil
	}
	for name := range own {
		if c.Holds(name) {
			bad = append(bad, probe.Problem{Path: "headers." + name, Text: "auth sets this field too, want one of them"})
		}
	}
	if t.BasicAuth != "" && c.Holds("Authorization") {
		bad = append(bad, probe.Problem{Text: "basic_auth (or a password in the URL) is set and auth too, want one of them"})
	}
	return bad
}

// templates compiles the values of header fields. It returns them with samples
// for the templates.
func (out *outgoing) templates(headers map[string]string, s *scope) (own map[string]string, bad []probe.Problem) {
	own = make(map[string]string, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value := headers[name]
		own[name] = value
		if !strings.Contains(value, "{{") {
			continue
		}
		t, err := parseTemplate(value, s.vars, nil)
		if err != nil {
			bad = append(bad, probe.Problem{Path: "headers." + name, Text: err.Error()})
			continue
		}
		own[name] = "x"
		out.values = append(out.values, fieldValue{name, t})
	}
	return own, bad
}

// sample resolves a URL with samples in it: the values of one attempt may change
// its path and query only.
func (out *outgoing) sample(t *messageTemplate, s *scope) (*url.URL, error) {
	var places [2]*url.URL
	for i, text := range [...]string{"x", "y"} {
		filled, err := t.execute(s.sample(text))
		if err != nil {
			return nil, err
		}
		if places[i], err = out.resolve(filled); err != nil {
			return nil, err
		}
	}
	a, b := places[0], places[1]
	if a.Scheme != b.Scheme || a.Host != b.Host || a.User.String() != b.User.String() {
		return nil, fmt.Errorf("%q: only the path and the query may hold {{, since the host of a check is always the same", t.text)
	}
	plain := *a
	plain.RawQuery = "" // no secret of a sample is one
	return &plain, nil
}

// fixed tells whether all requests are the same.
func (out *outgoing) fixed() bool { return out.url == nil && len(out.values) == 0 && out.cred == nil }

// shown is the URL for people.
func (out *outgoing) shown() string {
	if out.url == nil {
		return out.target.String()
	}
	u := out.target.URL
	text := out.url.text
	if strings.HasPrefix(text, "/") {
		return u.Scheme + "://" + u.Host + out.net.Redactor().String(text)
	}
	return out.net.Redactor().String(text)
}

// fill returns the target and the header fields of one attempt.
func (out *outgoing) fill(v *wsprobe.Vars, t probe.Token) (*probe.Target, []probe.Field, error) {
	fields := slices.Clone(out.fields)
	for _, f := range out.values {
		value, err := f.text.execute(v)
		if err != nil {
			return nil, nil, err
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, nil, fmt.Errorf("the header field %s would hold control characters", f.name)
		}
		out.known.AddHeader(f.name, value)
		i := slices.IndexFunc(fields, func(g probe.Field) bool { return strings.EqualFold(f.name, g.Name) })
		fields[i].Value = strings.TrimSpace(value) // it is there: Validate set a sample
	}
	u := out.target.URL
	if out.url != nil {
		text, err := out.url.execute(v)
		if err != nil {
			return nil, nil, err
		}
		if u, err = out.resolve(text); err != nil {
			return nil, nil, err
		}
		out.known.AddURL(u)
	}
	u, fields = out.cred.Put(t, u, fields)
	if u == out.target.URL {
		return out.target, fields, nil
	}
	target, err := out.net.Redirected(out.target, u)
	return target, fields, err
}

// escapeURL makes a value one that is only itself in a path and in a query.
func escapeURL(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
