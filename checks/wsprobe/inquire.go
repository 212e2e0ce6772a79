package wsprobe

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// inquiry finds out why the attempt that x was came to o.
func (p *Prober) inquiry(x *exchange, o probe.Outcome) probe.Inquiry {
	return func(ctx context.Context, thrifty bool) func([]probe.Outcome) probe.Diagnosis {
		first := x.seen(p.req, o, p.net.Redactor())
		sib, note := &Siblings{}, ""
		switch end, limited := ctx.Deadline(); {
		case first.Class.Status() == probe.Unknown, limited && time.Until(end) < leastTime:
		case thrifty:
			sib, note = p.learn(ctx, first)
		default:
			p.askAll(ctx, p.plan(first, false, sib), sib)
		}
		return func(later []probe.Outcome) probe.Diagnosis {
			return p.conclude(first, *sib, later, note)
		}
	}
}

// conclude takes later attempts at the same as what they are: the same upgrade
// again.
func (p *Prober) conclude(first Seen, sib Siblings, later []probe.Outcome, note string) probe.Diagnosis {
	again := append([]Seen(nil), sib.Again...)
	for _, o := range later {
		s := Seen{Class: o.Class, Stage: o.Stage, Reason: o.Reason}
		switch o.Stage {
		case "", probe.StageSession, probe.StageFlow, probe.StageClose, probe.StageTime:
			s.Status = http.StatusSwitchingProtocols
		}
		again = append(again, s)
	}
	sib.Again = again
	d := probe.Diagnosis{Causes: Diagnose(first, sib), Asked: sib.list(&first)}
	if note != "" && len(d.Asked) > 0 {
		d.Asked = append(d.Asked, note)
	}
	r := p.net.Redactor()
	for i := range d.Causes {
		for j, e := range d.Causes[i].Evidence {
			d.Causes[i].Evidence[j] = r.Line(e)
		}
	}
	for i, a := range d.Asked {
		d.Asked[i] = r.Line(a)
	}
	return d
}

// list says what was asked and answered, a line each.
func (s *Siblings) list(first *Seen) (lines []string) {
	for _, q := range []struct {
		what   string
		answer *Seen
	}{
		{"the same upgrade past the proxies", s.Bypass},
		{"the same path without upgrade", s.Get},
		{"an upgrade on a path that cannot exist", s.UpRandom},
		{"that path without upgrade", s.GetRandom},
		{"an upgrade with version 99", s.Version},
		{"the upgrade with the slash at the end toggled", s.Slash},
		{"the upgrade with an Origin", s.WithOrigin},
		{"the upgrade without the credential", s.NoCredential},
		{"the upgrade without subprotocols", s.NoProtocol},
		{healthPath, s.Health},
	} {
		if q.answer == nil {
			continue
		}
		line := q.what + ": " + q.answer.short()
		switch {
		case sameAnswer(first, q.answer):
			line += ", the same answer"
		case q.answer == s.Health && q.answer.Status != 0:
			line += " " + clip(strings.Join(strings.Fields(q.answer.Body), " "), 80)
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	if n := len(s.Again); n > 0 {
		lines = append(lines, fmt.Sprintf("the same upgrade again, %s: %s", times(n), tally(s.Again)))
	}
	return lines
}

// short is a status, or what came instead of one.
func (s *Seen) short() string {
	switch {
	case s.Status == http.StatusSwitchingProtocols:
		return "101, accepted"
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

// tally counts answers in the order in which they first came: 3x 404, 2x 101, accepted.
func tally(list []Seen) string {
	var order []string
	n := map[string]int{}
	for i := range list {
		a := list[i].short()
		if list[i].Status == 0 || list[i].Status == http.StatusSwitchingProtocols {
			a = strings.TrimSuffix(a, ", accepted")
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
