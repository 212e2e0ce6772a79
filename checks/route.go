package checks

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// Route asks an HTTP route and judges its answer: status, header fields, body.
type Route struct {
	// URL is what to ask: http:// or https://, or a path behind the base URL.
	URL string `yaml:"url" json:"url"`
	// Method is the HTTP method; default GET. Only GET and HEAD are repeated
	// to confirm a failure.
	Method string `yaml:"method,omitempty" json:"method,omitempty"`
	// Headers are request header fields; they win over the configured defaults.
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"`
	// Body is the request body, sent as it is.
	Body string `yaml:"body,omitempty" json:"body,omitempty"`
	// JSON is a request body that is written as YAML and sent as JSON, with that
	// Content-Type.
	JSON probe.JSON `yaml:"json,omitempty" json:"json,omitempty"`

	probe.Connection `yaml:",inline"`

	// Status is what is accepted, such as 200, 2xx or 200-299; default 2xx.
	Status probe.List `yaml:"status,omitempty" json:"status,omitempty"`
	// Contains are texts that must be in the body.
	Contains probe.List `yaml:"contains,omitempty" json:"contains,omitempty"`
	// Matches are regular expressions (RE2) that the body must match.
	Matches probe.List `yaml:"matches,omitempty" json:"matches,omitempty"`
	// NotMatches are regular expressions that the body must not match.
	NotMatches probe.List `yaml:"not_matches,omitempty" json:"not_matches,omitempty"`
	// ResponseHeaders are response header fields that must be there, and the
	// regular expressions that one of their values must match.
	ResponseHeaders map[string]string `yaml:"response_headers,omitempty" json:"response_headers,omitempty"`
	// Conditions are jq expressions on the body, as JSON, that must give true.
	Conditions probe.List `yaml:"conditions,omitempty" json:"conditions,omitempty"`
	// Redirects says what to do with a redirect: refuse (the default) makes it
	// a failure unless status accepts it, follow goes there. Credentials are
	// not sent to another host.
	Redirects string `yaml:"redirects,omitempty" json:"redirects,omitempty"`
	// MaxRedirects is how many redirects are followed; default 10.
	MaxRedirects int `yaml:"max_redirects,omitempty" json:"max_redirects,omitempty"`
	// SlowerThan is the latency above which a good answer is degraded.
	SlowerThan probe.Duration `yaml:"slower_than,omitempty" json:"slower_than,omitempty"`
	// MaxBody is the most bytes of the decoded body; default 1048576.
	MaxBody int `yaml:"max_body,omitempty" json:"max_body,omitempty"`

	http       *httpCheck
	matches    []*regexp.Regexp
	notMatches []*regexp.Regexp
	headers    []headerCondition
	conditions []*jq
}

type headerCondition struct {
	name string
	re   *regexp.Regexp
}

// Validate compiles the settings.
func (r *Route) Validate(env probe.Env) []probe.Problem { return r.compile(env, nil) }

// compile is Validate for a step of a flow: s is what its texts may refer to; nil
// means that they are plain.
func (r *Route) compile(env probe.Env, s *scope) []probe.Problem {
	var problems, more []probe.Problem
	problem := func(path, format string, args ...any) {
		problems = append(problems, probe.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	follow := 0
	switch r.Redirects {
	case "", "refuse":
		if r.MaxRedirects != 0 {
			problem("max_redirects", "redirects are not followed, want redirects: follow or no max_redirects")
		}
	case "follow":
		if follow = r.MaxRedirects; follow == 0 {
			follow = 10
		}
		if follow < 1 || follow > mostRedirects {
			problem("max_redirects", "%d is out of range, want 1 to %d", follow, mostRedirects)
		}
	default:
		problem("redirects", "%q is no choice, want refuse or follow", r.Redirects)
	}
	r.http, more = compileHTTP(env, httpSettings{
		url: r.URL, method: r.Method, headers: r.Headers, body: r.Body, json: r.JSON, conn: r.Connection,
		status: r.Status, slowerThan: r.SlowerThan, maxBody: r.MaxBody, redirects: follow, scope: s,
	})
	problems = append(more, problems...)
	if r.Body+string(r.JSON) != "" && (r.Method == "" || r.Method == http.MethodGet || r.Method == http.MethodHead) {
		problem("body", "a body needs a method that sends one, want method: POST, PUT, PATCH or DELETE")
	}
	ofBody := len(r.Contains)+len(r.Matches)+len(r.NotMatches)+len(r.Conditions) > 0
	if r.Method == http.MethodHead && ofBody {
		problem("method", "the answer to HEAD has no body for conditions on it")
	}
	r.conditions, more = compileAll(env.Net, "conditions", r.Conditions, s.names()...)
	problems = append(problems, more...)
	r.matches, more = compileRegexps(env.Net, "matches", r.Matches)
	problems = append(problems, more...)
	r.notMatches, more = compileRegexps(env.Net, "not_matches", r.NotMatches)
	problems = append(problems, more...)
	r.headers = nil
	for _, name := range slices.Sorted(maps.Keys(r.ResponseHeaders)) {
		re, err := compileRegexp(env.Net, r.ResponseHeaders[name])
		if err != nil {
			problem("response_headers."+name, "%s", err)
		}
		r.headers = append(r.headers, headerCondition{http.CanonicalHeaderKey(name), re})
	}
	if r.http != nil {
		r.http.keepBody = ofBody
	}
	return problems
}

func compileRegexps(n *probe.Network, path string, list probe.List) (all []*regexp.Regexp, problems []probe.Problem) {
	for i, text := range list {
		re, err := compileRegexp(n, text)
		if err != nil {
			problems = append(problems, probe.Problem{Path: fmt.Sprintf("%s[%d]", path, i), Text: err.Error()})
		}
		all = append(all, re)
	}
	return all, problems
}

// Endpoint tells what is probed.
func (r *Route) Endpoint() probe.Endpoint { return r.http.endpoint() }

// Probe asks the route once.
func (r *Route) Probe(ctx context.Context) probe.Outcome { return r.probeWith(ctx, nil, nil) }

// probeWith asks the route once with the values of a flow. then says what is wrong
// with an answer that is good as far as r is concerned; nil: nothing is.
func (r *Route) probeWith(ctx context.Context, v *wsprobe.Vars, then func(context.Context, *answer) string) probe.Outcome {
	return r.http.probeWith(ctx, v, func(ctx context.Context, a *answer, _ *probe.Outcome) string {
		reason := r.judge(ctx, a, v)
		if reason == "" && then != nil && r.http.status.has(a.StatusCode) {
			reason = then(ctx, a)
		}
		return reason
	})
}

func (r *Route) judge(ctx context.Context, a *answer, v *wsprobe.Vars) string {
	for _, h := range r.headers {
		values := a.Header.Values(h.name)
		if len(values) == 0 {
			return fmt.Sprintf("the header field %s is missing, want a match of %q", h.name, h.re)
		}
		if !slices.ContainsFunc(values, h.re.MatchString) {
			return fmt.Sprintf("the header field %s is %q, want a match of %q", h.name, strings.Join(values, ", "), h.re)
		}
	}
	if reason := r.judgeText(a.body); reason != "" {
		return reason
	}
	if len(r.conditions) == 0 {
		return ""
	}
	doc, err := decodeJSON(a.body)
	if err != nil {
		return notJSON(r.http.net.Redactor(), a.body, err)
	}
	for _, c := range r.conditions {
		if seen, ok := c.holds(ctx, doc, values(c.vars, v)...); !ok {
			return fmt.Sprintf("condition %s does not hold: %s", c.text, seen)
		}
	}
	return ""
}

func (r *Route) judgeText(body []byte) string {
	clean := r.http.net.Redactor()
	begins := func() string { return "; it begins " + clean.Quote(body, 60) }
	for _, text := range r.Contains {
		if !bytes.Contains(body, []byte(text)) {
			return fmt.Sprintf("the body does not contain %q", text) + begins()
		}
	}
	for _, re := range r.matches {
		if !re.Match(body) {
			return fmt.Sprintf("the body does not match %q", re) + begins()
		}
	}
	for _, re := range r.notMatches {
		if at := re.FindIndex(body); at != nil {
			return fmt.Sprintf("the body matches %q, want no match: %s", re, quoteAt(clean, body, at[0], at[1]))
		}
	}
	return ""
}

// quoteAt quotes the beginning of body[from:to] if no part of it is a secret: it
// may begin or end inside one.
func quoteAt(r *probe.Redactor, body []byte, from, to int) string {
	const most, around = 60, 16 << 10
	part := body[from:min(to, from+most)]
	if !strings.Contains(r.String(string(body[max(0, from-around):min(len(body), to+around)])), string(part)) {
		return "a text with a secret in it"
	}
	return r.Quote(body[from:to], most)
}
