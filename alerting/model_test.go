package alerting

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// model is a rate rule in the plainest way: it keeps every result and counts
// them anew each time.
type model struct {
	over    time.Duration
	rate    *Rate
	recover int
	seen    map[string][]*modelResult // by check
	state   map[string]*modelCheck
	tripped map[string]bool // by set
}

type modelResult struct {
	slot               time.Time
	bad, good, unknown int
}

type modelCheck struct {
	set         string
	floor, last time.Time
	streak      int
	run, fed    bool
}

func (m *model) counts(set string, now time.Time) (bad, known, unknown int) {
	for name, c := range m.state {
		if c.set != set {
			continue
		}
		for _, r := range m.seen[name] {
			if r.slot.After(now.Add(-m.over)) && r.slot.After(c.floor) {
				bad, known, unknown = bad+r.bad, known+r.bad+r.good, unknown+r.unknown
			}
		}
	}
	return bad, known, unknown
}

// step returns what happens to the set of a check: "", "trips 2/7 1" or "clears".
func (m *model) step(name string, r *modelResult, recovers, fails bool) string {
	c := m.state[name]
	m.seen[name] = append(m.seen[name], r)
	m.seen[name] = m.seen[name][max(0, len(m.seen[name])-100):] // more than any window holds
	c.last = r.slot
	switch {
	case r.bad > 0:
		c.streak, c.run = 0, true
	case recovers:
		c.streak++
	case fails:
		c.streak = 0
	}
	bad, known, unknown := m.counts(c.set, r.slot)
	switch {
	case !m.tripped[c.set]:
		if c.streak >= m.recover {
			c.run = false
		}
		if r.bad == 0 || bad < max(1, m.rate.MinFailures) || !m.rate.exceeds(counts{uint32(bad), uint32(known - bad), 0}) {
			return ""
		}
		m.tripped[c.set] = true
		for _, o := range m.state {
			o.fed = o.fed || o.set == c.set && o.run
		}
		return fmt.Sprintf("trips %d/%d %d", bad, known, unknown)
	case r.bad > 0:
		c.fed = true
		return ""
	case !recovers || !c.fed:
		return ""
	}
	for _, o := range m.state {
		if o.set == c.set && o.fed && o.streak < m.recover {
			return ""
		}
	}
	if m.rate.ClearBelow != nil && float64(bad)/float64(max(1, known)) >= float64(*m.rate.ClearBelow) {
		return ""
	}
	m.clear(c.set, r.slot)
	return "clears"
}

func (m *model) clear(set string, now time.Time) {
	m.tripped[set] = false
	for name, o := range m.state {
		if o.set != set {
			continue
		}
		hasBad := slices.ContainsFunc(m.seen[name], func(r *modelResult) bool {
			return r.bad > 0 && r.slot.After(now.Add(-m.over)) && r.slot.After(o.floor)
		})
		if o.fed || hasBad {
			o.floor = o.last
		}
		o.run, o.fed = o.run && !o.fed, false
	}
}

// TestAgainstTheModel compares the engine with the model on random logs.
func TestAgainstTheModel(t *testing.T) {
	trips := 0
	for seed := range uint64(50) {
		trips += againstTheModel(t, seed)
	}
	if trips < 200 {
		t.Errorf("only %d trips in all: these logs prove little", trips)
	}
}

func againstTheModel(t *testing.T, seed uint64) (trips int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 3))
	groups := []string{"ws", "ws", "api"}
	var lines []line
	for k := range 5 {
		lines = append(lines, line{check: string(rune('a' + k)), group: groups[rnd.IntN(3)]})
	}
	rule := Rule{
		Name: "rate", By: []string{"check", "group", "all"}[rnd.IntN(3)], RecoverAfter: 1 + rnd.IntN(4),
		Rate: &Rate{Of: []string{"any", "not_found", "connection_failure"}[rnd.IntN(3)], Over: minute * []probe.Duration{3, 7, 20, 60}[rnd.IntN(4)], MinFailures: rnd.IntN(4)},
	}
	limit := Share([]float64{0, 0.1, 0.25, 0.5}[rnd.IntN(4)])
	if rule.Rate.Above = &limit; limit > 0 && rnd.IntN(2) == 0 {
		rule.Rate.Above, rule.Rate.AtLeast = nil, &limit
		if rnd.IntN(2) == 0 {
			below := limit / 2
			rule.Rate.ClearBelow = &below
		}
	}
	list := subjects(lines)
	e := NewEngine([]Rule{rule}, list)
	m := &model{over: time.Duration(rule.Rate.Over), rate: rule.Rate, recover: rule.RecoverAfter, seen: map[string][]*modelResult{}, state: map[string]*modelCheck{}, tripped: map[string]bool{}}
	open := map[string]int{} // sets that are tripped, by key
	keyOf := map[string]string{}
	for _, s := range list {
		key, set := rule.keys(s)
		m.state[s.Name] = &modelCheck{set: set}
		keyOf[set] = key
	}
	letters := strings.Repeat(".", 8+rnd.IntN(20)) + "XXx5cm~?g-"
	mood := make([]string, len(lines)) // a check is well, or has an outage
	for k := range 180 {
		for n, l := range lines {
			if rnd.IntN(15) == 0 {
				mood[n] = []string{letters, "XXXXX.x", "ccc?", "5555.", "........"}[rnd.IntN(5)]
			}
			if mood[n] == "" {
				mood[n] = letters
			}
			slot := base().Add(time.Duration(k)*time.Minute + time.Duration(n)*2*time.Second)
			entry := result(l.check, l.group, slot, rune(mood[n][rnd.IntN(len(mood[n]))]))
			if entry == nil {
				continue
			}
			var got string
			changes := e.Step(uint64(k*10+n)+1, *entry)
			what, key := m.stepEntry(entry), keyOf[m.state[l.check].set]
			switch { // the incident opens with the first set of its key, and ends with the last
			case what == "clears":
				if open[key]--; open[key] == 0 {
					got = "resolved"
				}
			case what != "":
				trips++
				if open[key]++; open[key] == 1 {
					got = "opened " + what
				}
			}
			var seen string
			for _, c := range changes {
				seen = string(c.Event)
				if f := c.Incident.Findings[0]; c.Event == Opened {
					seen += fmt.Sprintf(" trips %d/%d %d", f.Bad, f.Total, f.Unknown)
				}
			}
			if got != seen {
				t.Fatalf("seed %d, %s by %s over %s, above %v, at least %v, slot %d of %s: engine %q, model %q",
					seed, rule.Rate.Of, rule.By, rule.Rate.Over, rule.Rate.Above, rule.Rate.AtLeast, k, l.check, seen, got)
			}
		}
	}
	return trips
}

// stepEntry puts an entry into the terms of the model.
func (m *model) stepEntry(entry *checks.Entry) string {
	if g := entry.Gap; g != nil {
		m.seen[g.Check] = append(m.seen[g.Check], &modelResult{slot: g.From, unknown: 1})
		m.state[g.Check].last = g.From
		return ""
	}
	r := &modelResult{slot: entry.Result.Slot}
	for class, n := range entry.Result.Attempts() {
		switch {
		case class.Status() == probe.Unknown:
			r.unknown += n
		case InGroup(m.rate.Of, class, true):
			r.bad += n
		default:
			r.good += n
		}
	}
	s := entry.Result.Status
	return m.step(entry.Result.Check, r, s == probe.Up || s == probe.Degraded, s == probe.Down)
}
