package wsprobe

import (
	"context"
	"maps"

	"github.com/tripline/tripline/checks/probe"
)

// Prepare makes the handshake of one attempt, and the one that goes past the
// proxies (nil if there is none).
type Prepare func(v *Vars, t probe.Token) (req, bypass *Request, err error)

// Secret says that the header field or query parameter of that name holds a
// credential, for siblings without it. It returns q.
func (q *Request) Secret(name string) *Request {
	q.secret = name
	return q
}

// with returns p with the handshake of one attempt.
func (p *Prober) with(v *Vars, t probe.Token) (*Prober, error) {
	req, bypass, err := p.opt.Prepare(v, t)
	if err != nil {
		return nil, err
	}
	q := *p
	q.req, q.opt.Bypass = req, bypass
	return &q, nil
}

// unprepared is the failure of a value, such as a captured one, that does not fit
// into a handshake.
func unprepared(err error) *probe.Failure {
	return &probe.Failure{Class: probe.BadPayload, Stage: probe.StageFlow, Reason: err.Error(), Err: err}
}

// prepared makes an attempt with p as it is for that, and a second one if the
// credential is refused and there is a new one to be had.
func (p *Prober) prepared(ctx context.Context, v *Vars, try func(*Prober) (probe.Outcome, *exchange)) (o probe.Outcome, x *exchange) {
	captured, again := maps.Clone(v.Captured), false
	fail := func(f *probe.Failure) {
		x = &exchange{q: p.req}
		o = f.Outcome(p.req.target.String(), p.net.Redactor(), func() *probe.Evidence { return x.evidence(p.req, p.net.Redactor()) })
	}
	f := p.opt.Credential.Use(ctx, func(t probe.Token) (refused bool) {
		if again {
			v.Captured = maps.Clone(captured) // what the first one captured is no more
		}
		q, err := p.with(v, t)
		if err != nil {
			fail(unprepared(err))
			return false
		}
		o, x = try(q)
		if refused = Refused(o.Class); refused && again {
			o = SecondTry(o)
		}
		again = true
		return refused
	})
	if f != nil {
		fail(f)
	}
	return o, x
}

// Refused tells whether a target that ends an attempt with c may want another
// credential.
func Refused(c probe.Class) bool {
	return c == probe.Auth || c == probe.Forbidden || c == probe.AuthClosed
}

// SecondTry says that a new credential was refused as well.
func SecondTry(o probe.Outcome) probe.Outcome { return o.Noted("with a new credential as well") }
