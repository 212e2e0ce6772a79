package alerting

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestNothingFlapsBecauseTheClockWasAhead wants that a year in which the clock
// was for a minute is forgotten once it is back.
func TestNothingFlapsBecauseTheClockWasAhead(t *testing.T) {
	rule := downRule(1)
	rule.RecoverAfter = 1
	list := subjects([]line{{check: "a"}, {check: "b"}})
	list[1].Needs = []string{"a"}
	p := newPlay(rule, Incidents{}, list)
	const year = 365 * 24 * time.Hour
	for _, n := range []string{"a", "b"} {
		p.results(year, "5", n)
		p.results(year+time.Minute, ".", n)
	}
	p.tick(0)
	p.results(time.Minute, ".", "a")
	for k := range 8 {
		at := time.Duration(k+1) * 2 * time.Hour
		want(t, "fails, and a does not", p.results(at, "5.", "b", "a"), "released b")
		want(t, "is back", p.results(at+time.Minute, ".", "b"), "resolved b")
	}
}

// TestFlappingBound lets the checks of a group fail and recover by chance for
// two days, with silences, maintenance windows and restarts in between, and
// counts what people are told by the policy alone: no more openings than it
// allows, of each finding once, and of each end once.
func TestFlappingBound(t *testing.T) {
	const seeds = 25
	rules := []Rule{
		{Name: "down", Severity: Page, Down: &DownRule{Slots: 1}, RecoverAfter: 1},
		{Name: "long", Severity: Page, Down: &DownRule{Slots: 3}},
		{Name: "any", Severity: Ticket, Rate: &Rate{Of: "any", Over: 10 * minute, Above: share("20%")}, RecoverAfter: 2},
	}
	lines := []line{{check: "a", group: "g"}, {check: "b", group: "g"}, {check: "c", group: "g"}}
	most := 0
	for seed := range uint64(seeds) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		reopens := 1 + rnd.IntN(4)
		settings := Incidents{Flapping: FlappingPolicy{Reopens: &reopens}}
		policy := settings.Policy()
		fresh := func() *Engine {
			e := NewEngine(rules, subjects(lines))
			e.SetPolicy(policy)
			return e
		}
		p := &player{e: fresh()}
		var up, down [3]int // how long it is well and bad on average, in slots
		for k := range up {
			up[k], down[k] = 1+rnd.IntN(1<<rnd.IntN(7)), 1+rnd.IntN(1<<rnd.IntN(4))
		}
		bad := [3]bool{}
		for slot := range 2 * 24 * 60 {
			at := time.Duration(slot) * time.Minute
			for k, l := range lines {
				mean := up[k]
				if bad[k] {
					mean = down[k]
				}
				if rnd.IntN(mean) == 0 {
					bad[k] = !bad[k]
				}
				bad[k] = bad[k] && slot < 40*60 // and the end
				p.step(*result(l.check, "", base().Add(at).Add(time.Duration(k)*time.Second), map[bool]rune{true: '5', false: '.'}[bad[k]]))
			}
			p.tick(at + 59*time.Second)
			if n := rnd.IntN(200); n < 2 {
				p.command(t, at+59*time.Second, []string{CommandSilence, CommandMaintenance}[n], "id", fmt.Sprint(slot), "for", "20m", "group", "g")
			} else if n == 2 {
				p.restart(t, fresh())
			}
		}
		if open := p.e.Open(); len(open) > 0 {
			t.Fatalf("%d: still open: %+v", seed, open)
		}
		most = max(most, judgeFlapping(t, seed, policy, len(rules), p.all))
	}
	if most == 0 {
		t.Error("nothing was told")
	}
}

// restart goes on with another engine, from a checkpoint.
func (p *player) restart(t *testing.T, next *Engine) {
	t.Helper()
	var b bytes.Buffer
	if err := p.e.Checkpoint(&b); err != nil {
		t.Fatal(err)
	}
	if err := next.Restore(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	open := p.e.Open()
	p.e = next
	p.all = append(p.all, p.e.Adopt(open)...)
}

// judgeFlapping returns how many incidents were told.
func judgeFlapping(t *testing.T, seed uint64, policy Policy, rules int, all []Change) int {
	t.Helper()
	tellings, ends := map[string]int{}, map[string]int{}
	var resolving, flapping []time.Time // openings that were told
	for _, c := range all {
		i := c.Incident
		if ends[i.ID] > 0 {
			t.Fatalf("%d: %s after its end: %s", seed, i.ID, i.Changed)
		}
		if !i.Open() {
			ends[i.ID]++
		}
		if !i.Tells() {
			continue
		}
		if tellings[i.ID]++; tellings[i.ID] == 1 {
			if i.Reopened > 0 {
				flapping = append(flapping, i.Opened)
			} else {
				resolving = append(resolving, i.Opened)
			}
		}
		if tellings[i.ID] > rules+1 {
			t.Fatalf("%d: %s is told %d times: %s", seed, i.ID, tellings[i.ID], i.Changed)
		}
	}
	for id := range tellings {
		if ends[id] != 1 {
			t.Fatalf("%d: %s has %d ends", seed, id, ends[id])
		}
	}
	for k := policy.Reopens; k < len(resolving); k++ {
		if d := resolving[k].Sub(resolving[k-policy.Reopens]).Milliseconds(); d < policy.FlapWithin-time.Minute.Milliseconds() {
			t.Fatalf("%d: %d incidents within %d min, none of which flaps", seed, policy.Reopens+1, d/60000)
		}
	}
	for k := 1; k < len(flapping); k++ {
		if d := flapping[k].Sub(flapping[k-1]).Milliseconds(); d < policy.calm() {
			t.Fatalf("%d: one that flaps %d min after another", seed, d/60000)
		}
	}
	return len(tellings)
}
