package wsprobe

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// inquiry finds out why the attempt that x was came to o. beside returns the
// attempts that were made at the same time.
func (p *Prober) inquiry(x *exchange, o probe.Outcome, beside func() []probe.Outcome) probe.Inquiry {
	return func(ctx context.Context, thrifty bool) func([]probe.Outcome) probe.Diagnosis {
		first := x.seen(p.req, o, p.net.Redactor())
		sib, note := &Siblings{}, ""
		var found []netip.Addr
		if x.conn != nil {
			found = x.conn.Found()
		}
		switch end, limited := ctx.Deadline(); {
		case first.Class.Status() == probe.Unknown, limited && time.Until(end) < leastTime:
		case thrifty:
			sib, note = p.learn(ctx, first, found)
		default:
			p.askAll(ctx, p.plan(first, false, found, sib))
			p.noteVersions(sib, time.Now())
		}
		sib.Beside = asSeen(beside(), &first)
		now := time.Now()
		sib.Versions = p.reported(now)
		if good := p.past.good.Load(); good != 0 {
			sib.LastGood = now.Sub(time.Unix(0, good))
		}
		return func(later []probe.Outcome) probe.Diagnosis {
			return p.conclude(first, *sib, later, note)
		}
	}
}

// conclude takes later attempts at the same as what they are: the same upgrade
// again.
func (p *Prober) conclude(first Seen, sib Siblings, later []probe.Outcome, note string) probe.Diagnosis {
	sib.Again = append(append([]Seen(nil), sib.Again...), asSeen(later, &first)...)
	d := probe.Diagnosis{Causes: Diagnose(first, sib), Asked: sib.list(&first)}
	if note != "" && len(d.Asked) > 0 {
		d.Asked = append(d.Asked, probe.Question{What: note})
	}
	return redacted(d, p.net.Redactor())
}

// asSeen makes of other attempts at what first was what is known of them without
// their bytes.
func asSeen(others []probe.Outcome, first *Seen) (list []Seen) {
	for _, o := range others {
		s := Seen{Class: o.Class, Stage: o.Stage, Reason: o.Reason}
		if o.Class == first.Class && o.Stage == first.Stage {
			s.Status = first.Status
		}
		switch o.Stage {
		case "", probe.StageSession, probe.StageFlow, probe.StageClose, probe.StageTime:
			s.Status = http.StatusSwitchingProtocols
		}
		list = append(list, s)
	}
	return list
}

// redacted makes lines without secrets of what was seen.
func redacted(d probe.Diagnosis, r *probe.Redactor) probe.Diagnosis {
	for i := range d.Causes {
		for j, e := range d.Causes[i].Evidence {
			d.Causes[i].Evidence[j] = r.Line(e)
		}
	}
	for i, a := range d.Asked {
		d.Asked[i].What, d.Asked[i].Answer = r.Line(a.What), r.Line(a.Answer)
	}
	return d
}

// Explain is the inquiry for what another kind of check came to: it asks
// nothing, and says what can be said without. It is nil where that is nothing:
// what is not about the way to the application is that kind's own matter.
func Explain(o probe.Outcome, t *probe.Target, r *probe.Redactor) probe.Inquiry {
	switch o.Stage {
	case probe.StageDNS, probe.StageConnect, probe.StageTLS, probe.StageHandshake:
	default:
		switch o.Class {
		case probe.SchemeMismatch, probe.TLSClientCert, probe.RateLimited, probe.BadGateway, probe.Unavailable, probe.GatewayTimeout:
		default:
			return nil
		}
	}
	first := Seen{Host: t.URL.Hostname(), Path: t.URL.Path, Secure: t.Secure, Class: o.Class, Stage: o.Stage, Reason: o.Reason, Took: o.Phases.FirstByte}
	return func(context.Context, bool) func([]probe.Outcome) probe.Diagnosis {
		return func([]probe.Outcome) probe.Diagnosis {
			return redacted(probe.Diagnosis{Causes: Diagnose(first, Siblings{})}, r)
		}
	}
}

// list says what was asked and answered.
func (s *Siblings) list(first *Seen) (list []probe.Question) {
	for _, q := range []struct {
		what   string
		answer *Seen
	}{
		{"the same upgrade past the proxies", s.Bypass},
		{"a plain GET of this path", s.Get},
		{"a plain GET of a path that cannot exist", s.GetRandom},
		{"an upgrade of a path that cannot exist", s.UpRandom},
		{"an upgrade with version 99", s.Version},
		{"with the slash at the end toggled", s.Slash},
		{"with an Origin", s.WithOrigin},
		{"without the credential", s.NoCredential},
		{"without subprotocols", s.NoProtocol},
		{"with GET", s.WithGet},
		{healthPath, s.Health},
	} {
		if q.answer == nil {
			continue
		}
		asked := probe.Question{What: q.what, Answer: q.answer.short(), Same: sameAnswer(first, q.answer) && alike(first, q.answer) || q.answer.Status == 0 && first.Status == 0 && q.answer.Class == first.Class}
		if q.answer == s.Health && q.answer.Status != 0 && !asked.Same {
			asked.Answer = strings.TrimSpace(asked.Answer + " " + clip(strings.Join(strings.Fields(q.answer.Body), " "), 80))
		}
		list = append(list, asked)
	}
	if n := len(s.Beside); n > 0 {
		list = append(list, probe.Question{What: fmt.Sprintf("the other %d sessions", n), Answer: tally(s.Beside)})
	}
	if n := len(s.Again); n > 0 {
		asked := probe.Question{What: "the same again, " + times(n), Answer: tally(s.Again)}
		asked.Same = !slices.ContainsFunc(s.Again, func(a Seen) bool { // good enough: the status
			return a.short() != first.short() || !alike(first, &a)
		})
		list = append(list, asked)
	}
	return list
}

// alike tells whether what first came to says as much of an answer with the same
// status: what fails after the 101 is not in the answer.
func alike(first, answer *Seen) bool { return !first.opened() || answer.Class == first.Class }

// short is a status, or what came instead of one.
func (s *Seen) short() string {
	switch {
	case s.Status != 0:
		return fmt.Sprint(s.Status)
	case s.Class == probe.OK:
		return "ok"
	}
	return string(s.Class)
}

func times(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// tally counts answers in the order in which they first came: 3 x 404, 2 x 101.
func tally(list []Seen) string {
	var order []string
	n := map[string]int{}
	for i := range list {
		a := list[i].short()
		if at := list[i].At; at != "" {
			a += " (" + at + ")"
		}
		if n[a] == 0 {
			order = append(order, a)
		}
		n[a]++
	}
	if len(order) == 1 {
		return order[0]
	}
	for i, a := range order {
		order[i] = fmt.Sprintf("%d x %s", n[a], a)
	}
	return strings.Join(order, ", ")
}
