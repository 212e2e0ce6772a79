package checks

import (
	"context"
	"maps"
	"strings"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// content compiles what the body is, and the header fields with its type.
func (s httpSettings) content() (*messageTemplate, map[string]string, []probe.Problem) {
	path, text, escape, headers := "body", s.body, (func(string) string)(nil), s.headers
	if len(s.json) > 0 {
		if s.body != "" {
			return nil, headers, []probe.Problem{{Path: "json", Text: "body and json are both set, want one of them"}}
		}
		path, text, escape = "json", string(s.json), escapeJSON
		headers = withDefault(headers, "Content-Type", "application/json")
	}
	if s.scope == nil {
		return &messageTemplate{text: text}, headers, nil
	}
	t, err := parseTemplate(text, s.scope.vars, escape)
	if err != nil {
		return nil, headers, []probe.Problem{{Path: path, Text: err.Error()}}
	}
	return t, headers, nil
}

// withDefault returns headers with one more, unless it is among them.
func withDefault(headers map[string]string, name, value string) map[string]string {
	for have := range headers {
		if strings.EqualFold(have, name) {
			return headers
		}
	}
	all := map[string]string{name: value}
	maps.Copy(all, headers)
	return all
}

// sending returns c with the request of an attempt.
func (c *httpCheck) sending(t *probe.Target, method string, fields []probe.Field, body string) *httpCheck {
	d := *c
	d.request = probe.NewRequest(t, method, fields, []byte(body))
	if c.out.cred != nil {
		d.request.Secret = c.out.cred.Name()
	}
	d.what = method + " " + c.net.Redactor().String(t.String())
	if len(d.what) > 150 {
		d.what = d.what[:147] + "..."
	}
	return &d
}

// probeWith is probe with the values of a flow.
func (c *httpCheck) probeWith(ctx context.Context, v *wsprobe.Vars, judge judge) (o probe.Outcome) {
	if c.out.fixed() && c.body.t == nil {
		return c.once(ctx, judge)
	}
	again := false
	f := c.out.cred.Use(ctx, func(t probe.Token) (refused bool) {
		d, err := c.filled(v, t)
		if err != nil {
			f := &probe.Failure{Class: probe.BadPayload, Stage: probe.StageFlow, Reason: err.Error()}
			o = f.Outcome(c.what, c.net.Redactor(), nil)
			return false
		}
		o = d.once(ctx, judge)
		if refused = wsprobe.Refused(o.Class); refused && again {
			o = wsprobe.SecondTry(o)
		}
		again = true
		return refused
	})
	if f != nil {
		o = f.Outcome(c.what, c.net.Redactor(), func() *probe.Evidence { return c.evidence(&answer{request: c.request}) })
	}
	return o
}

// filled returns c with the request of an attempt with the values v and t.
func (c *httpCheck) filled(v *wsprobe.Vars, t probe.Token) (*httpCheck, error) {
	target, fields, err := c.out.fill(v, t)
	if err != nil {
		return nil, err
	}
	body, err := c.body.execute(v)
	if err != nil {
		return nil, err
	}
	return c.sending(target, c.request.Method, fields, body), nil
}
