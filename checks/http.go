package checks

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

const (
	defaultMaxBody = 1 << 20
	largestMaxBody = 64 << 20
	mostRedirects  = 100
	// errorBodyWait is how long the body of an answer that has failed by its
	// status already is waited for.
	errorBodyWait = time.Second
)

// httpSettings are the settings that the HTTP kinds have in common.
type httpSettings struct {
	url, method, body string
	json              probe.JSON // instead of body
	headers           map[string]string
	conn              probe.Connection
	status            probe.List
	slowerThan        probe.Duration
	maxBody           int
	redirects         int    // most that are followed; 0 refuses them
	scope             *scope // of templates in url, headers, body and json; nil: they are plain text
}

// httpCheck is httpSettings, compiled.
type httpCheck struct {
	net      *probe.Network
	request  *probe.Request // of an attempt; before there is one, without its values
	out      *outgoing
	body     *messageTemplate
	what     string // for reasons: GET https://x/health
	status   statusSet
	slower   time.Duration
	maxBody  int
	follow   int
	keepBody bool // judge needs all of it
}

func compileHTTP(env probe.Env, s httpSettings) (*httpCheck, []probe.Problem) {
	c := &httpCheck{net: env.Net, slower: time.Duration(s.slowerThan), maxBody: s.maxBody, follow: s.redirects}
	var problems []probe.Problem
	problem := func(path, format string, args ...any) {
		problems = append(problems, probe.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	method := s.method
	switch {
	case method == "":
		method = http.MethodGet
	case !httpguts.ValidHeaderFieldName(method) || method != strings.ToUpper(method),
		method == http.MethodConnect, method == http.MethodTrace:
		problem("method", "%q is no method that can be probed, want GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS", method)
	}
	if c.maxBody < 0 || c.maxBody > largestMaxBody {
		problem("max_body", "%d is out of range, want 1 to %d bytes", c.maxBody, largestMaxBody)
	} else if c.maxBody == 0 {
		c.maxBody = defaultMaxBody
	}
	var more []probe.Problem
	c.status, more = parseStatuses(s.status)
	problems = append(problems, more...)

	body, headers, more := s.content()
	problems = append(problems, more...)
	c.body = body
	c.out, more = compileOutgoing(env, address{url: s.url, headers: headers, conn: s.conn, schemes: []string{"http", "https"}}, s.scope)
	if problems = append(problems, more...); len(problems) > 0 {
		return nil, problems
	}
	return c.sending(c.out.target, method, c.out.fields, body.text), nil
}

func (c *httpCheck) endpoint() probe.Endpoint {
	m := c.request.Method
	return probe.Endpoint{
		URL: c.out.shown(), Host: c.out.target.Addr,
		Repeatable: m == http.MethodGet || m == http.MethodHead,
	}
}

// answer is a complete answer whose status is accepted or not.
type answer struct {
	*probe.Response
	request *probe.Request // of the last hop
	body    []byte
	hops    []string      // URLs that were redirected to
	before  time.Duration // latency of the hops before the last
}

// judge adds what it finds in an answer to the outcome and returns why the
// answer is not good: "" if it is.
type judge func(ctx context.Context, a *answer, o *probe.Outcome) (reason string)

// probe makes one attempt, and a second one if the credential is refused and
// there is a new one to be had.
func (c *httpCheck) probe(ctx context.Context, judge judge) probe.Outcome {
	return c.probeWith(ctx, nil, judge)
}

func (c *httpCheck) once(ctx context.Context, judge judge) probe.Outcome {
	a, failed := c.ask(ctx)
	if failed != nil {
		return *failed
	}
	defer a.Close()
	o := probe.Outcome{Class: probe.OK, Measures: a.Conn.CertMeasures()}
	if !c.status.has(a.StatusCode) {
		c.refuse(ctx, a, judge, &o)
	} else {
		body, f := a.ReadBody(c.maxBody, c.keepBody)
		a.body = body
		if f != nil {
			return f.Outcome(c.whatAt(a.hops), c.net.Redactor(), func() *probe.Evidence { return c.evidence(a) })
		}
		c.accept(ctx, a, judge, &o)
	}
	o.Phases = a.Conn.Phases
	if o.Class.Status() == probe.Up || o.Class.Status() == probe.Degraded {
		o.Latency = a.before + a.Latency()
	}
	if o.Reason != "" {
		o.Reason = c.net.Redactor().Line(c.whatAt(a.hops) + ": " + o.Reason)
	}
	class, stage, reason := o.Class, o.Stage, o.Reason
	o.Evidence = func() *probe.Evidence {
		e := c.evidence(a)
		a.Conn.Describe(e)
		e.Class, e.Stage, e.Reason = class, stage, reason
		return e.Bound()
	}
	o.Inquiry = wsprobe.Explain(o, a.request.Target, c.net.Redactor())
	return o
}

// accept judges an answer whose status is accepted.
func (c *httpCheck) accept(ctx context.Context, a *answer, judge judge, o *probe.Outcome) {
	if o.Reason = judge(ctx, a, o); o.Reason != "" {
		o.Class, o.Stage = probe.ConditionFailed, probe.StageCondition
		if ctx.Err() == context.Canceled {
			o.Class, o.Stage = probe.Interrupted, probe.StageMonitor
		}
		return
	}
	latency := a.before + a.Latency()
	broken := a.Conn.FamilyBroken()
	switch {
	case c.slower > 0 && latency > c.slower:
		o.Class, o.Stage = probe.Slow, probe.StageTime
		o.Reason = fmt.Sprintf("took %s, want at most %s", latency.Round(time.Millisecond), probe.Duration(c.slower))
		if broken != "" {
			o.Reason += "; " + broken
		}
	case broken != "":
		o.Class, o.Stage, o.Reason = probe.FamilyBroken, probe.StageConnect, broken
	}
}

// refuse names an answer whose status is not accepted. Its body is evidence,
// and may tell measures and facts, but cannot change the verdict much: it is not
// waited for long.
func (c *httpCheck) refuse(ctx context.Context, a *answer, judge judge, o *probe.Outcome) {
	_ = a.Conn.SetReadDeadline(time.Now().Add(errorBodyWait)) // fails only if closed, which reading tells
	a.body, _ = a.ReadBody(c.maxBody, c.keepBody)
	o.Class, o.Stage = statusClass(a.StatusCode), probe.StageHTTP
	o.Reason = fmt.Sprintf("status %d, want %s", a.StatusCode, c.status.text)
	switch o.Class {
	case probe.Redirected:
		if l := a.Header.Get("Location"); l != "" {
			o.Reason = fmt.Sprintf("status %d to %s, want %s", a.StatusCode, l, c.status.text)
		}
	case probe.RateLimited, probe.Unavailable:
		o.RetryAfter = probe.RetryAfter(a.Header, time.Now())
	case probe.UnexpectedStatus:
		if class, stage, reason := probe.ClassifyBadRequest(a.StatusCode, a.body); class != "" {
			o.Class, o.Stage, o.Reason = class, stage, reason
		}
	}
	judge(ctx, a, o) // for measures and facts: the verdict stands
}

// ask sends the request, and follows redirects if wanted, up to a response head.
func (c *httpCheck) ask(ctx context.Context) (*answer, *probe.Outcome) {
	a := &answer{request: c.request}
	fail := func(f *probe.Failure) *probe.Outcome {
		o := f.Outcome(c.whatAt(a.hops), c.net.Redactor(), func() *probe.Evidence { return c.evidence(a) })
		o.Inquiry = wsprobe.Explain(o, a.request.Target, c.net.Redactor())
		return &o
	}
	for {
		resp, f := c.net.Exchange(ctx, a.request)
		if f != nil {
			return nil, fail(f)
		}
		a.Response = resp
		next := c.next(resp)
		if next == "" {
			return a, nil
		}
		redirect := func(class probe.Class, reason string) (*answer, *probe.Outcome) {
			f := resp.Conn.Fail(class, probe.StageHTTP, reason, nil)
			resp.Close()
			return nil, fail(f)
		}
		if len(a.hops) == c.follow {
			return redirect(probe.TooManyRedirects, fmt.Sprintf("%d redirects, want at most %d; the last is to %s", len(a.hops)+1, c.follow, next))
		}
		u, err := a.request.Target.URL.Parse(next)
		if err != nil {
			return redirect(probe.Redirected, fmt.Sprintf("status %d to %q, which is no URL", resp.StatusCode, next))
		}
		q, err := c.net.Redirect(a.request, resp.StatusCode, u)
		if err != nil {
			return redirect(probe.Redirected, fmt.Sprintf("status %d to %s cannot be followed: %v", resp.StatusCode, next, err))
		}
		a.before += resp.Latency()
		resp.Close()
		a.request, a.hops = q, append(a.hops, c.net.Redactor().URL(u))
	}
}

// next returns where a response redirects to, if that is to be followed.
func (c *httpCheck) next(resp *probe.Response) string {
	if c.follow == 0 {
		return ""
	}
	switch resp.StatusCode {
	case 301, 302, 303, 307, 308:
		return resp.Header.Get("Location")
	}
	return ""
}

// whatAt names the request in reasons, with where it was redirected to.
func (c *httpCheck) whatAt(hops []string) string {
	if len(hops) == 0 {
		return c.what
	}
	last := hops[len(hops)-1]
	return c.what + " -> " + last[:min(len(last), 100)]
}

func (c *httpCheck) evidence(a *answer) *probe.Evidence {
	r := c.net.Redactor()
	q := a.request
	e := &probe.Evidence{
		URL:     q.Target.String(),
		Request: r.Head(q.Head(), 2<<10),
		Curl:    probe.CurlLine(r, q.Target, q.Method, q.Fields, len(q.Body) > 0),
	}
	if len(a.body) > 0 {
		e.Body = r.Excerpt(a.body, 2<<10)
	}
	if len(a.hops) > 0 {
		e.Facts = map[string]string{"redirects": strconv.Itoa(len(a.hops))}
		for i, h := range a.hops[:min(len(a.hops), 10)] {
			e.Facts["redirect_"+strconv.Itoa(i+1)] = h[:min(len(h), 200)]
		}
	}
	return e
}
