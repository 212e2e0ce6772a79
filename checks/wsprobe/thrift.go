package wsprobe

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// What nobody asked for is kept within these limits for each host:port, over
// all checks of it.
const (
	mostAsked = 8 // in any window
	perWindow = 5 * time.Minute
	// mostAtOnce leaves some for the failure that follows: a deployment that
	// goes wrong shows several in a row.
	mostAtOnce = 5
	// busyTime is how long a host that says 503, and not until when, is left alone.
	busyTime = 30 * time.Second
)

// host is what is known of one host:port, and what it cost. All checks of the
// host share one; it is made when the first of them fails.
type host struct {
	turn  chan struct{} // held by who uses the rest
	spent []time.Time   // when requests were made, within the window
	quiet time.Time     // nothing is asked before: the host wants less
	// recovered is when it was asked last for its version after a failure.
	recovered time.Time
	known     []known
}

// known is a failure that was looked into.
type known struct {
	at    time.Time
	name  string // the Host that was asked
	first Seen
	sib   Siblings
}

// learn asks within the limits, unless a failure like first was looked into
// already: then its answers are good for this one too. note says so.
func (p *Prober) learn(ctx context.Context, first Seen, found []netip.Addr) (sib *Siblings, note string) {
	sib = &Siblings{}
	p.past.failed.Store(true)
	h := p.host(ctx)
	if h == nil {
		return sib, ""
	}
	defer h.release()
	now, name := time.Now(), probe.FieldValue(p.req.own, "Host")
	if k := h.find(first, name, now); k != nil {
		sib = k.sibFor(first)
		sib.Age = now.Sub(k.at)
		if p.past.good.Load() > k.at.UnixNano() && h.take(1, now) == 1 { // it was over: perhaps another version brought it back
			sib.Health = nil
			p.askAll(ctx, []question{p.healthy(sib)})
			p.noteVersions(sib, time.Now())
		}
		return sib, k.note(first, now)
	}
	plan := p.plan(first, true, found, sib)
	plan = plan[:h.take(min(len(plan), mostAtOnce), now)]
	if len(plan) > 0 {
		p.askAll(ctx, plan)
		p.noteVersions(sib, time.Now())
		if more := p.more(first, found, sib); len(more) > 0 {
			p.askAll(ctx, more[:h.take(len(more), now)])
			p.noteVersions(&Siblings{HealthAgain: sib.HealthAgain}, time.Now())
		}
		h.known = append(h.known, known{now, name, first, *sib})
	}
	h.heed(first, sib, now)
	return sib, ""
}

// more lists what else to ask where the first answers may be those of two
// servers that serve by turns.
func (p *Prober) more(first Seen, found []netip.Addr, sib *Siblings) []question {
	own, again := p.versionSource(), p.repeats(2, first, found, sib)
	healthyToo := question{p.healthy(sib).request, nil, &sib.HealthAgain}
	switch {
	case sib.helped(): // or another server answered
		return append(again, healthyToo)
	case versionsAt(p.net, own.Addr, own.Host).from(own).unsteady(time.Now()):
		return []question{healthyToo, healthyToo}
	case len(found) > 1:
		return again
	}
	return nil
}

// host waits for the turn to ask p's host; nil if ctx ends before. The caller
// releases it.
func (p *Prober) host(ctx context.Context) *host {
	h, _ := probe.Shared(p.net, "diagnosis:"+p.req.target.Addr, func() (*host, error) {
		return &host{turn: make(chan struct{}, 1)}, nil
	})
	select {
	case h.turn <- struct{}{}:
		return h
	case <-ctx.Done():
		return nil
	}
}

func (h *host) release() { <-h.turn }

// recovery is the inquiry for the first good probe after a failure: it asks only
// which version serves now, to have it when the next failure comes.
func (p *Prober) recovery(ctx context.Context, _ bool) func([]probe.Outcome) probe.Diagnosis {
	nothing := func([]probe.Outcome) probe.Diagnosis { return probe.Diagnosis{} }
	h := p.host(ctx)
	if h == nil {
		return nothing
	}
	defer h.release()
	now := time.Now()
	if now.Sub(h.recovered) < recoveryPause || h.take(1, now) == 0 {
		return nothing
	}
	h.recovered = now
	sib := &Siblings{}
	p.askAll(ctx, []question{p.healthy(sib)})
	p.noteVersions(sib, time.Now())
	return nothing
}

// recoveryPause is the least time between two such questions to a host.
const recoveryPause = 30 * time.Second

// take returns how many of n requests may be made now, and counts them.
func (h *host) take(n int, now time.Time) int {
	if now.Before(h.quiet) {
		return 0
	}
	h.spent = slices.DeleteFunc(h.spent, func(t time.Time) bool { return now.Sub(t) >= perWindow })
	n = min(n, mostAsked-len(h.spent))
	for range n {
		h.spent = append(h.spent, now)
	}
	return n
}

// heed makes the host be left alone for a while if an answer asks for it.
func (h *host) heed(first Seen, sib *Siblings, now time.Time) {
	for _, a := range append(sib.all(), &first) {
		wait := time.Duration(0)
		switch a.Status {
		case http.StatusTooManyRequests:
			wait = perWindow
		case http.StatusServiceUnavailable:
			wait = busyTime
		default:
			continue
		}
		if until := now.Add(min(max(probe.RetryAfter(a.Header, now), wait), time.Hour)); until.After(h.quiet) {
			h.quiet = until
		}
	}
}

// find returns a failure like first that was looked into within the window.
func (h *host) find(first Seen, name string, now time.Time) *known {
	h.known = slices.DeleteFunc(h.known, func(k known) bool { return now.Sub(k.at) >= perWindow })
	var alike *known
	for i := range h.known {
		k := &h.known[i]
		if k.name != name || !k.like(&first) {
			continue
		}
		if k.first.Path == first.Path {
			return k
		}
		alike = k
	}
	return alike
}

// like tells whether b failed as k did.
func (k *known) like(b *Seen) bool {
	a := &k.first
	return a.Class == b.Class && a.Stage == b.Stage && a.Secure == b.Secure &&
		a.Credential == b.Credential && a.Origin == b.Origin && slices.Equal(a.Offered, b.Offered) &&
		(a.Status == 0 && b.Status == 0 || sameAnswer(a, b))
}

// sibFor returns the answers that are good for first: for another path those
// about the host alone.
func (k *known) sibFor(first Seen) *Siblings {
	s := k.sib
	if k.first.Path != first.Path {
		s = Siblings{Get: s.Get, GetRandom: s.GetRandom, UpRandom: s.UpRandom, Version: s.Version, Health: s.Health}
	}
	return &s
}

func (k *known) note(first Seen, now time.Time) string {
	ago := now.Sub(k.at).Round(time.Second)
	if k.first.Path != first.Path {
		return fmt.Sprintf("(asked %s ago for %s, which fails alike)", ago, clip(k.first.Path, 100))
	}
	return fmt.Sprintf("(asked %s ago)", ago)
}
