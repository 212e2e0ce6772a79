package wsprobe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

const (
	// siblingTime bounds each of the further requests; they are made at once.
	siblingTime = 2500 * time.Millisecond
	// leastTime is what there must be for them: in less, silence means nothing.
	leastTime = 500 * time.Millisecond
)

// healthPath is what is asked for what the service says of itself.
const healthPath = "/health"

// question is one further request and where its answer belongs.
type question struct {
	request *Request
	into    **Seen
	among   *[]Seen // if into is nil
}

// askAll makes the requests of plan at once, each on a fresh connection and for
// at most 2.5 s. What says nothing about the target is left out.
func (p *Prober) askAll(ctx context.Context, plan []question) {
	answers := make([]Seen, len(plan))
	var wg sync.WaitGroup
	for i, q := range plan {
		wg.Go(func() { answers[i] = p.ask(ctx, q.request) })
	}
	wg.Wait()
	for i, q := range plan {
		switch {
		case answers[i].Class.Status() == probe.Unknown:
		case q.into != nil:
			*q.into = &answers[i]
		default:
			*q.among = append(*q.among, answers[i])
		}
	}
}

// plan lists what to ask, the most telling first. It is empty where the answer
// could not help (names, connections, TLS, an open WebSocket) or is not welcome
// (429). thrifty means that nobody asked for it.
func (p *Prober) plan(first Seen, thrifty bool, found []netip.Addr, sib *Siblings) []question {
	q := p.req
	again := p.repeats(5, first, found, sib)
	get := question{plain(q.target, q.own), &sib.Get, nil}
	healthy := p.healthy(sib)
	switch {
	case first.Class == probe.NoPong: // does the process live?
		return []question{healthy, again[0]}
	case first.Stage != probe.StageHandshake && first.Stage != probe.StageHTTP && first.Stage != probe.StageUpgrade:
		return nil
	}
	healthyToo := question{healthy.request, nil, &sib.HealthAgain}
	switch first.Class {
	case probe.RateLimited, probe.SchemeMismatch, probe.TLSClientCert:
		return nil
	case probe.Unavailable, probe.BadGateway, probe.GatewayTimeout: // more load does not help it
		if !thrifty {
			return []question{healthy, get, again[0], again[1]}
		}
		if first.Header.Get("Retry-After") != "" {
			return nil
		}
		return []question{healthy}
	}
	u := q.target.URL
	nowhere := p.at(noSuchPath(u.Path), q.secretQuery())
	var plan []question
	add := func(into **Seen, r *Request) { plan = append(plan, question{r, into, nil}) }
	if p.opt.Bypass != nil {
		add(&sib.Bypass, p.opt.Bypass)
	}
	plan = append(plan, get)
	add(&sib.UpRandom, q.with(nowhere, q.own, q.offered))
	version := func() { add(&sib.Version, compile(q.method, q.target, q.own, q.offered, "99")) }
	origin := func() {
		if !first.Origin {
			fields := append(slices.Clone(q.own), probe.Field{Name: "Origin", Value: ownOrigin(q.target)})
			add(&sib.WithOrigin, q.with(q.target, fields, q.offered))
		}
	}
	if first.Class == probe.Forbidden { // the Origin tells more than the version
		version, origin = origin, version
	}
	version()
	plan = append(plan, healthy)
	if !thrifty { // else the re-probes of a failed run do that
		plan = append(plan, again[:2]...)
	}
	add(&sib.Slash, q.with(p.at(toggleSlash(u.Path), u.RawQuery), q.own, q.offered))
	origin()
	if r := p.withoutCredential(); r != nil {
		add(&sib.NoCredential, r)
	}
	if q.method != http.MethodGet {
		add(&sib.WithGet, q.WithMethod(http.MethodGet))
	}
	if len(q.offered) > 0 {
		add(&sib.NoProtocol, q.with(q.target, q.own, nil))
	}
	add(&sib.GetRandom, plain(nowhere, q.own))
	if !thrifty {
		plan = append(append(plan, again[2:]...), healthyToo, healthyToo)
	}
	return plan
}

// repeats are n times the same upgrade; where the host has several addresses, on
// one after the other, that of the first attempt last.
func (p *Prober) repeats(n int, first Seen, found []netip.Addr, sib *Siblings) []question {
	own := slices.IndexFunc(found, func(ip netip.Addr) bool { return ip.String() == first.At })
	list := make([]question, n)
	for i := range list {
		q := p.req
		if len(found) > 1 {
			q = q.at(found[(own+1+i)%len(found)])
		}
		list[i] = question{q, nil, &sib.Again}
	}
	return list
}

// ownOrigin is the Origin of pages of the target itself.
func ownOrigin(t *probe.Target) string {
	if t.Secure {
		return "https://" + t.Host
	}
	return "http://" + t.Host
}

// healthy asks the health path.
func (p *Prober) healthy(sib *Siblings) question {
	return question{plain(p.at(healthPath, p.req.secretQuery()), p.req.own), &sib.Health, nil}
}

// withoutCredential is the same upgrade without what looks like a credential;
// nil if nothing does.
func (p *Prober) withoutCredential() *Request {
	q := p.req
	if !q.credential() {
		return nil
	}
	var query []string
	for param := range strings.SplitSeq(q.target.URL.RawQuery, "&") {
		if name, _, _ := strings.Cut(param, "="); !q.secretName(name) {
			query = append(query, param)
		}
	}
	fields := slices.DeleteFunc(slices.Clone(q.own), func(f probe.Field) bool { return q.secretName(f.Name) })
	return q.with(p.at(q.target.URL.Path, strings.Join(query, "&")), fields, q.offered)
}

// at returns the target with another path and query on the same host.
func (p *Prober) at(path, query string) *probe.Target {
	u := *p.req.target.URL
	u.Path, u.RawPath, u.RawQuery = path, "", query
	if t, err := p.net.Redirected(p.req.target, &u); err == nil {
		return t
	}
	return p.req.target // a host that was right before is right now
}

// noSuchPath returns a path that cannot exist beside p: under the same prefix,
// since proxies route by prefix.
func noSuchPath(p string) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return path.Join("/", path.Dir(strings.TrimSuffix(p, "/")), "no-such-path-"+hex.EncodeToString(b[:]))
}

func toggleSlash(p string) string {
	if t, had := strings.CutSuffix(p, "/"); had {
		return t
	}
	return p + "/"
}

// ask sends one request and says what came of it.
func (p *Prober) ask(ctx context.Context, q *Request) Seen {
	ctx, cancel := context.WithTimeout(ctx, siblingTime)
	defer cancel()
	x, f := handshake(ctx, p.net, q)
	if x.conn != nil {
		defer x.conn.Close()
	}
	o := probe.Outcome{Class: probe.OK, Stage: probe.StageUpgrade}
	if f != nil {
		o = f.Outcome(q.target.String(), p.net.Redactor(), nil)
	} else {
		newSession(ctx, p.net, x, maxControl).leave(1000)
	}
	return x.seen(q, o, p.net.Redactor())
}

// seen makes plain data of an exchange that ended with o.
func (x *exchange) seen(q *Request, o probe.Outcome, r *probe.Redactor) Seen {
	s := Seen{
		Host: q.target.URL.Hostname(), Path: r.String(q.target.URL.RequestURI()), Secure: q.target.Secure, Offered: q.offered,
		Credential: q.credential(), Origin: q.has("Origin"),
		Class: o.Class, Stage: o.Stage, Reason: o.Reason, Took: o.Phases.FirstByte,
		Detail: x.detail, Code: x.code, Idle: x.idle,
	}
	if x.conn != nil && (q.pinned || len(x.conn.Found()) > 1) {
		s.At = x.conn.IP().String()
	}
	if x.resp != nil {
		s.Status, s.Header = x.resp.StatusCode, make(http.Header, len(x.resp.Header))
		for name, values := range x.resp.Header {
			s.Header[name] = []string{r.Line(strings.Join(values, ", "))}
		}
		s.Body = r.Excerpt(x.body, maxBody)
	}
	for i := range x.frames.seen {
		if f := &x.frames.seen[i]; f.h.op == opText || f.h.op == opBinary {
			s.Texts = append(s.Texts, r.Excerpt(x.frames.text[f.from:f.to], keptText))
		}
	}
	return s
}

// has tells whether the request has a header field of that name.
func (q *Request) has(name string) bool {
	return slices.ContainsFunc(q.fields, func(f probe.Field) bool { return strings.EqualFold(f.Name, name) })
}

// credential tells whether something in the request looks like one: by the
// names of headers and query parameters.
func (q *Request) credential() bool {
	for name := range q.target.URL.Query() {
		if q.secretName(name) {
			return true
		}
	}
	return slices.ContainsFunc(q.own, func(f probe.Field) bool { return q.secretName(f.Name) })
}

// secretQuery is the query with only the parameter of the credential in it, as a
// header with one is sent to all paths too.
func (q *Request) secretQuery() string {
	for param := range strings.SplitSeq(q.target.URL.RawQuery, "&") {
		if name, _, _ := strings.Cut(param, "="); q.secret != "" && strings.EqualFold(name, q.secret) {
			return param
		}
	}
	return ""
}

func (q *Request) secretName(name string) bool {
	return looksSecret(name) || q.secret != "" && strings.EqualFold(name, q.secret)
}

func looksSecret(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"auth", "token", "cookie", "key", "jwt", "secret", "session", "ticket"}, func(s string) bool {
		return strings.Contains(name, s)
	})
}
