package alerting

import (
	"cmp"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// blindness tells when the monitor's own network is the likeliest reason for
// failures: many hosts begin to fail at once, with dns and connect classes.
//
// Until that is known some hosts have failed already. The first one is told at
// once. Another one that follows with no host answering in between is a
// suspect: what it would open waits for the next answer from anywhere, or for
// its own next failure.
type blindness struct {
	watch    int // the unknown rule
	share    float64
	least    int
	hosts    []host
	failing  int   // hosts
	row      int   // hosts that began to fail since any answered
	suspect  bool  // the result at hand is of a suspect
	suspects []ref // what waits
	active   bool  // new findings of these classes are held
	told     bool  // its finding holds
	figured  int64 // when its figure was computed
}

// host is one name or address that is probed, whatever the port.
type host struct {
	Name    string `json:"name"`
	Failing bool   `json:"failing,omitempty"`
	Counted bool   `json:"counted,omitempty"` // it began to fail together with others
	Since   int64  `json:"since,omitempty"`   // when it began to fail
	Good    int    `json:"good,omitempty"`    // other results in a row since
	within  int64  // how much earlier others may have begun for it to be at once
}

const atOnce = 2 * time.Minute

// newBlindness finds the hosts of the checks that the unknown rule selects and
// that no canaries vouch for, and notes for each check which one is its own.
func newBlindness(watch int, r Rule, subjects []Subject, list []check) *blindness {
	b := &blindness{watch: watch, share: 0.5, least: cmp.Or(r.Unknown.BlindHosts, 3)}
	if r.Unknown.BlindShare != nil {
		b.share = float64(*r.Unknown.BlindShare)
	}
	index := map[string]int32{}
	for i, s := range subjects {
		name := hostName(s.Host)
		if name == "" || s.Canaries || !r.Select.Matches(s) {
			continue
		}
		k, ok := index[name]
		if !ok {
			k = int32(len(b.hosts))
			index[name] = k
			b.hosts = append(b.hosts, host{Name: name})
		}
		list[i].host = k
		b.hosts[k].within = max(b.hosts[k].within, list[i].atOnce())
	}
	return b
}

// hostName returns a host without its port.
func hostName(s string) string {
	if h, _, err := net.SplitHostPort(s); err == nil {
		s = h
	}
	return strings.ToLower(strings.Trim(s, "[]"))
}

// atOnce is how long ago a check may have begun to fail to be part of
// something that is happening now.
func (c *check) atOnce() int64 { return max(atOnce.Milliseconds(), 2*c.interval) }

// see notes what a result of c says about the network, unless it is late or
// unknown and so tells nothing. Neither does a check that has been failing for
// long: it may be one closed port.
func (e *Engine) see(c *check, r *checks.Result, slot int64, telling bool) {
	b := e.blind
	if b.suspect = false; !telling {
		return
	}
	fails := r.Status == probe.Down && isNetwork(r.Class)
	switch {
	case !fails:
		c.network = 0
	case c.network == 0:
		c.network = slot
	}
	if c.host < 0 {
		return
	}
	h := &b.hosts[c.host]
	enough := int(e.watches[b.watch].recover)
	switch {
	case !fails:
		b.row = 0
		news := h.Failing
		if h.Failing {
			h.Failing = false
			b.failing--
		}
		if h.Good < enough {
			h.Good++
			news = news || h.Counted && h.Good == enough
		}
		if news {
			e.judgeBlind(slot)
		}
		if len(b.suspects) > 0 {
			e.openSuspects()
		}
	case h.Failing:
		h.Good = 0
		if b.told && h.Counted {
			e.markBlind(slot)
		}
	case slot-c.network <= c.atOnce():
		h.Failing, h.Since, h.Good = true, c.network, 0
		b.failing++
		b.row++
		e.judgeBlind(slot)
	}
	b.suspect = fails && c.network == slot && b.row > 1 && len(b.hosts) >= b.least
}

// openSuspects makes the findings that have waited: the network is there.
func (e *Engine) openSuspects() {
	b := e.blind
	slices.SortFunc(b.suspects, func(x, y ref) int { return cmp.Or(cmp.Compare(x.watch, y.watch), cmp.Compare(x.pair, y.pair)) })
	for _, ref := range b.suspects {
		w := &e.watches[ref.watch]
		p := &w.pairs[ref.pair]
		if p.run == nil || !p.run.Suspect {
			continue
		}
		p.run.Suspect = false
		if t := &w.sets[p.set]; !t.tripped && !p.run.Held && w.feeds(p) && w.trips(t, p.run.Last) {
			e.trip(w, t, p.run.Last)
		}
	}
	b.suspects = b.suspects[:0]
}

// judgeBlind looks at all hosts whenever one has begun or ceased to fail.
func (e *Engine) judgeBlind(slot int64) {
	b := e.blind
	if b.failing < b.least && !b.active && !b.told {
		return
	}
	failing, all, notBack := 0, 0, 0
	for i := range b.hosts {
		h := &b.hosts[i]
		fresh := h.Failing && (h.Counted || slot-h.Since <= h.within)
		if fresh {
			failing++
		}
		if fresh || !h.Failing { // one that failed before tells nothing either way
			all++
		}
		if h.Counted && (h.Failing || h.Good < int(e.watches[b.watch].recover)) {
			notBack++
		}
	}
	enough := func(n int) bool { return n >= b.least && float64(n) >= b.share*float64(all) }
	if b.active = enough(failing); b.active {
		e.hold(slot)
		e.raiseBlind(slot, failing, all)
		return
	}
	if b.told && !enough(notBack) {
		for i := range b.hosts {
			b.hosts[i].Counted = false
		}
		b.told = false
		e.clear(monitorKey, e.watches[b.watch].Name, kindBlind, slot, "the hosts answer again")
	}
}

// hold counts the hosts that began to fail together, and marks what has gone
// wrong on them so that it is forgotten once they answer again.
func (e *Engine) hold(slot int64) {
	news := false
	for i := range e.blind.hosts {
		if h := &e.blind.hosts[i]; h.Failing && !h.Counted && slot-h.Since <= h.within {
			h.Counted, news = true, true
		}
	}
	if !news {
		return
	}
	for i := range e.checks {
		c := &e.checks[i]
		if !e.blind.concerns(c) {
			continue
		}
		for _, ref := range c.refs {
			w := &e.watches[ref.watch]
			if p := &w.pairs[ref.pair]; w.kind != kindUnknown && p.run != nil && !p.run.Fed {
				p.run.Held, p.run.Suspect = true, false
			}
		}
	}
}

// concerns tells whether c fails on a host that fails together with others.
func (b *blindness) concerns(c *check) bool {
	return c.network != 0 && c.host >= 0 && b.hosts[c.host].Failing && b.hosts[c.host].Counted
}

// raiseBlind makes the one finding that stands for all that are held.
func (e *Engine) raiseBlind(slot int64, failing, all int) {
	b := e.blind
	w := &e.watches[b.watch]
	if !b.told {
		since := slot
		for i := range b.hosts {
			if b.hosts[i].Counted && b.hosts[i].Failing {
				since = min(since, b.hosts[i].Since)
			}
		}
		b.told, b.figured = true, 0
		e.add(monitorKey, Finding{Rule: w.Name, Kind: kindBlind, Since: at(since), LastBad: at(slot)}, slot)
	}
	f := e.markBlind(slot)
	if f == nil || slot >= b.figured && slot < b.figured+1000 {
		return
	}
	b.figured = slot
	f.Bad, f.Total = failing, all
	f.Figure, f.Threshold, f.Unit = float64(failing), max(float64(b.least), b.share*float64(all)), "hosts"
	f.Reason = "hosts began to fail at once, with dns and connect classes; new findings of these classes are held"
	f.Checks, f.More = f.Checks[:0], 0
	for i := range e.checks { // by name
		switch c := &e.checks[i]; {
		case !b.concerns(c):
		case len(f.Checks) < mostChecks:
			f.Checks = append(f.Checks, c.name)
		default:
			f.More++
		}
	}
	f.Text = w.sentence(f)
}

// markBlind notes that the hosts still fail.
func (e *Engine) markBlind(slot int64) *Finding {
	w := &e.watches[e.blind.watch]
	i := e.incidents[monitorKey]
	if i == nil {
		return nil
	}
	k := i.index(w.Name, kindBlind)
	if k < 0 {
		return nil
	}
	e.mark(i, &i.Findings[k], w, w.severity(), slot)
	return &i.Findings[k]
}
