package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// needsRounds is how often all of TestNeeds break and recover, some 12 s each.
var needsRounds = flag.Int("needs-rounds", 2, "rounds of TestNeeds")

// TestNeeds breaks a check and twenty others that need it, in a random order,
// and mends them in another one. What breaks while the first is down is told
// only if it outlasts that, and whatever is told is resolved, also if that
// comes while the first is down.
func TestNeeds(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	const parent = "gateway"
	var children []string
	for i := range 20 {
		children = append(children, fmt.Sprintf("child-%c", 'a'+i))
	}
	s := newFamily(t, parent, children...)
	incidents := map[string]alerting.Incident{} // that were told, by id
	for range *needsRounds {
		before := map[string]tally{}
		for _, g := range slices.Concat(children, []string{parent}) {
			before[g] = s.told(g)
		}
		rnd.Shuffle(len(children), func(i, k int) { children[i], children[k] = children[k], children[i] })
		earlyShort, earlyLong, within, outlast, some := children[:2], children[2:4], children[4:12], children[12:16], children[16:]
		shake := func(every int, groups ...string) {
			for _, k := range rnd.Perm(len(groups)) {
				s.fail(every, groups[k])
				<-time.After(time.Duration(rnd.Int64N(int64(60 * time.Millisecond))))
			}
		}
		told := func(n tally, groups ...string) {
			t.Helper()
			for _, g := range groups {
				want := before[g].plus(n)
				waitFor(t, patience, fmt.Sprintf("%s to be told as %+v", g, want), func() bool { return s.told(g) == want })
			}
		}

		shake(1, slices.Concat(earlyShort, earlyLong)...)
		told(onlyOpened(), earlyShort...)
		told(onlyOpened(), earlyLong...)
		shake(1, slices.Concat([]string{parent}, some)...) // whichever is seen first
		told(onlyOpened(), parent)
		shake(1, slices.Concat(within, outlast)...)
		s.waitQuiet(true, slices.Concat(within, outlast)...)

		shake(0, slices.Concat(earlyShort, within)...) // while the parent is down
		told(onceResolved(), earlyShort...)
		waitFor(t, patience, "the end of what nobody was told of", func() bool {
			for _, g := range within {
				if _, open := s.quiet(g); open {
					return false
				}
			}
			return true
		})
		told(tally{}, within...)
		told(tally{}, outlast...)
		shake(0, slices.Concat([]string{parent}, some)...)
		told(onceResolved(), parent)
		told(onlyOpened(), outlast...)
		shake(0, slices.Concat(outlast, earlyLong)...)
		told(onceResolved(), earlyLong...)
		told(onceResolved(), outlast...)
		waitFor(t, patience, "the end of all", func() bool { return len(openIncidents(t, s.listen)) == 0 })
		told(tally{}, within...)
		for _, g := range some {
			waitFor(t, patience, "the resolve of what was told of "+g, func() bool {
				n := s.told(g)
				return n == before[g] || n == before[g].plus(onceResolved())
			})
		}
		for _, m := range s.slack.Roots() {
			id, _ := m.Metadata.EventPayload["incident"].(string)
			incidents[id] = endedIncident(t, s.listen, id)
		}
	}
	s.runs(2, parent)
	s.p.wantStopped()
	if _, _, open := s.pd.counts(); open > 0 {
		t.Errorf("%d alerts are open, want none", open)
	}
	wantExcused(t, incidents, parent, readLog(t, s.dir))
}

// wantExcused fails the test if people were first told of an incident at a
// moment at which the check that it needs was in trouble, as the log says.
func wantExcused(t *testing.T, told map[string]alerting.Incident, parent string, entries []checks.Entry) {
	t.Helper()
	well := map[int64]bool{} // by the clock of the log, in ms
	var clock int64
	good, failing, down := 0, false, false // failing is in an incident, down may be a timeout
	for _, e := range entries {
		known := e.Time().UnixMilli()
		if r := e.Result; r != nil {
			known += r.Duration.Milliseconds()
			switch {
			case r.Check != parent || r.Status == probe.Unknown:
			case r.Class == probe.Unavailable:
				good, failing, down = 0, true, true
			case r.Status == probe.Down:
				down = true
			default:
				good++
				failing, down = failing && good < shopRecover, false
			}
		}
		clock = max(clock, known)
		well[clock] = well[clock] || !failing && !down
	}
	for id, i := range told {
		if at := i.ToldAt.UnixMilli(); i.Group != parent && !well[at] {
			t.Errorf("people were told of %s at %s, while %s was down", id, i.ToldAt, parent)
		}
	}
	t.Logf("%d incidents told", len(told))
}
