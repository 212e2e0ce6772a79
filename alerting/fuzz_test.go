package alerting

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// fuzzLog makes a log of bytes: most are the result of one check, the others
// do something to time, or say something that people may say.
func fuzzLog(data []byte) []checks.Entry {
	const letters = "....XXx5cdcdm~s?g-.."
	var log []checks.Entry
	now := base()
	names := []line{{check: "a", group: "ws"}, {check: "b", group: "ws"}, {check: "c"}, {check: "d"}}
	data = data[:min(len(data), 600)]
	for k := 0; k < len(data); k++ {
		b := data[k]
		n, c := int(b>>2), names[b&3]
		switch {
		case n < 3*len(letters):
			if e := result(c.check, c.group, now.Add(time.Duration(b&3)*2*time.Second), rune(letters[n%len(letters)])); e != nil {
				log = append(log, *e)
			}
		case n == 60: // the next minute
			now = now.Truncate(time.Minute).Add(time.Minute)
			log = append(log, checks.Entry{V: 1, Tick: &checks.Tick{At: now}})
		case n == 61:
			now = now.Add([]time.Duration{time.Hour, -time.Hour, 10 * time.Minute, -30 * time.Second}[b&3])
		case n == 62:
			log = append(log, checks.Entry{V: 1, Gap: &checks.Gap{
				Check: []string{"", "a", "c", "x"}[b&3], Location: "local",
				From: now.Add(-time.Duration(b) * time.Second), To: now.Add(10 * time.Minute), Reason: "asleep",
			}})
		case b&3 == 0:
			log = append(log, checks.Entry{V: 1, Command: &checks.Command{At: now, Name: "config"}})
		default:
			var more [2]byte
			k += copy(more[:], data[k+1:])
			log = append(log, checks.Entry{V: 1, Command: fuzzCommand(now, b&3, more)})
		}
		if n%5 == 0 {
			now = now.Add(30 * time.Second)
		}
	}
	return log
}

// fuzzCommand makes a command, which may make sense.
func fuzzCommand(now time.Time, what byte, more [2]byte) *checks.Command {
	choose := func(b byte, list ...string) string { return list[int(b)%len(list)] }
	c := &checks.Command{At: now, Author: choose(more[1], "ada", "", "\x00\u202e"), Args: map[string]string{
		"id":       choose(more[0]>>6, "s", "s", "m", strings.Repeat("x", 300)),
		"incident": choose(more[0], newestIncident, newestIncident, newestIncident, "", "none"),
	}}
	switch what {
	case 1:
		c.Name = choose(more[0], CommandAcknowledge, CommandSilenceEnd, CommandMaintenanceEnd, "", "unheard of")
	case 2:
		c.Name = CommandSilence
	case 3:
		c.Name = CommandMaintenance
		c.Args["until_green"] = choose(more[0]>>5, "true", "false", "maybe")
	}
	if what > 1 {
		c.Args["for"] = choose(more[0], "5m", "30m", "2h", "31d", "1s", "1ms", "", "-1h", "0s", "999999999h", "1e9d", "soon")
		c.Args["check"] = choose(more[1], "", "a", "?", "*", "[", "[a-", "x", "\\")
		c.Args["group"] = choose(more[1]>>3, "", "", "ws", "c", "storm", monitorKey)
		c.Args["kind"] = choose(more[1]>>5, "", "", "websocket", "\n")
		c.Args["label"] = choose(more[1]>>6, "", "", "env=prod", "=,=,a=b,")
		c.Args["why"] = choose(more[0]>>3, "", "a deployment", "\n")
	}
	if more[1] == 255 {
		c.Args = nil
	}
	switch more[0] {
	case 255:
		c.At = time.Time{}
	case 254:
		c.At = now.AddDate(9000, 0, 0)
	case 253:
		c.At = now.Add(-30 * time.Minute)
	}
	return c
}

// newestIncident stands for the id of the newest open incident.
const newestIncident = "newest"

// named puts the newest open incident in for newestIncident.
func named(e *Engine, c *checks.Command) {
	if open := e.Open(); c != nil && c.Args["incident"] == newestIncident && len(open) > 0 {
		c.Args["incident"] = open[len(open)-1].ID
	}
}

func fuzzRules(choice byte) []Rule {
	rules, _ := everything()
	rules[3].Rate.MinFailures = 2
	var out []Rule
	for k, r := range rules {
		if choice>>k&1 == 0 {
			out = append(out, r)
		}
	}
	return out
}

// fuzzPolicy makes a policy; that of 0 does nothing.
func fuzzPolicy(choice byte) (p Policy) {
	p.StormGroups, p.StormWithin = int(choice&3), int64(1+4*(choice>>2&1))*time.Minute.Milliseconds()
	if n := int(choice >> 3 & 3); n > 0 {
		p.Reopens, p.FlapWithin = n, 30*time.Minute.Milliseconds()
	}
	if choice>>5&1 == 1 {
		p.Remind = 10 * time.Minute.Milliseconds()
	}
	if choice>>6&1 == 1 {
		p.Windows = []Window{{Name: "w", Select: Select{Group: "ws"}, For: 7 * time.Minute, Starts: hourly{10}}}
	}
	return p
}

// fuzzChecks are the checks that the logs are about, some of which may need others.
func fuzzChecks(choice byte) []Subject {
	list := subjects([]line{{"a", "ws", ""}, {"b", "ws", ""}, {"c", "", ""}, {"d", "", ""}})
	if choice>>7 == 1 {
		list[1].Needs, list[3].Needs = []string{"c"}, []string{"b", "a"}
	}
	return list
}

func FuzzEngine(f *testing.F) {
	_, lines := everything()
	for n, l := range lines {
		f.Add(byte(1<<n), byte(0), uint16(20), []byte(l.slots))
	}
	var minutes []byte
	for k := range 40 {
		for c := range byte(4) {
			minutes = append(minutes, byte(4+k*7%80)<<2|c)
		}
		minutes = append(minutes, 60<<2)
	}
	f.Add(byte(0), byte(0), uint16(77), minutes)
	f.Add(byte(255), byte(255), uint16(0), []byte{})
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		data := make([]byte, 500)
		for k := range data {
			if data[k] = byte(rnd.Uint32()); rnd.IntN(6) == 0 {
				data[k] = 60 << 2
			}
		}
		f.Add(byte(seed), byte(rnd.Uint32()), uint16(rnd.Uint32()), data)
	}
	f.Fuzz(func(t *testing.T, choice, policy byte, cut uint16, data []byte) {
		rules, log, list := fuzzRules(choice), fuzzLog(data), fuzzChecks(policy)
		e := NewEngine(rules, list)
		e.SetPolicy(fuzzPolicy(policy))
		var all []Change
		var half *Engine // goes on from a checkpoint
		blamed := map[string]bool{}
		for n, entry := range log {
			if n == int(cut)%(len(log)+1) {
				half = restored(t, e, all)
			}
			if r := entry.Result; r != nil && r.Class != probe.OK || entry.Gap != nil || r != nil && r.Latency > 2*time.Second {
				blame(blamed, entry)
			}
			named(e, entry.Command)
			step := func(e *Engine) []Change {
				if c := entry.Command; c != nil {
					_ = e.Refuse(*c) // must not panic, nor change anything
				}
				changes := e.Step(uint64(n)+1, entry)
				if entry.Command == nil || entry.Command.Name != "config" {
					return changes
				}
				e.SetPolicy(fuzzPolicy(policy ^ byte(n)))
				return append(changes, e.Reconfigure(fuzzRules(choice^byte(n)), list[n%3:], entry.Command.At)...)
			}
			changes := step(e)
			all = append(all, changes...)
			if half != nil {
				if other := step(half); len(changes)+len(other) > 0 && !reflect.DeepEqual(changes, other) {
					t.Fatalf("entry %d after a restart at %d (-without +with):\n%s", n, int(cut)%(len(log)+1), cmp.Diff(changes, other))
				}
			}
			if len(changes) > 0 || n%16 == 0 {
				judgeEngine(t, e, blamed)
			}
		}
		all = append(all, recover1(e, len(log), list)...)
		judgeChanges(t, all)
		judgeEngine(t, e, blamed)
		if open := e.Open(); len(open) > 0 {
			t.Fatalf("still open when all have recovered: %s", open[0].Title())
		}
		if got := e.Reconfigure(nil, nil, base()); len(got) > 0 {
			t.Fatalf("nothing was open, and yet: %v", titles(got))
		}
	})
}

// blame notes who has given a reason for a finding.
func blame(blamed map[string]bool, e checks.Entry) {
	switch {
	case e.Result != nil:
		blamed[e.Result.Check] = true
	case e.Gap.Check != "":
		blamed[e.Gap.Check] = true
	default:
		for _, n := range []string{"a", "b", "c", "d"} {
			blamed[n] = true
		}
	}
}

// restored is an engine with the state of e, that agrees with the incidents
// that all changes so far have left.
func restored(t *testing.T, e *Engine, all []Change) *Engine {
	t.Helper()
	var (
		rules []Rule
		list  []Subject
	)
	for _, w := range e.watches {
		rules = append(rules, w.Rule)
	}
	for _, s := range e.subjects {
		list = append(list, *s)
	}
	b, err := checkpoint(e)
	if err != nil {
		t.Fatal(err)
	}
	half := NewEngine(rules, list)
	half.SetPolicy(e.policy)
	if err := half.Restore(b); err != nil {
		t.Fatal(err)
	}
	if again, err := checkpoint(half); err != nil || !bytes.Equal(b, again) {
		t.Fatalf("the checkpoint changed by restoring it: %v\n%s", err, cmp.Diff(string(b), string(again)))
	}
	newest := map[string]Incident{}
	for _, c := range all {
		newest[c.Incident.ID] = c.Incident
	}
	if extra := half.Adopt(slices.Collect(maps.Values(newest))); len(extra) > 0 {
		t.Fatalf("adopting what is stored made %v: %s", titles(extra), extra[0].Incident.Changed)
	}
	return half
}

// recover1 lets everything be good for a while, at the end of all times seen.
func recover1(e *Engine, seq int, list []Subject) (all []Change) {
	now := later(base(), at(e.clock))
	for _, c := range e.checks {
		now = later(now, at(c.last))
	}
	for k := range 120 { // what flaps waits for its calm, and an hour more if the clock was set back
		for _, c := range list {
			all = append(all, e.Step(uint64(seq+k)+1, *result(c.Name, c.Group, now.Add(time.Duration(k+1)*time.Minute), '.'))...)
		}
	}
	return all
}

// judgeEngine checks what must hold inside at any time.
func judgeEngine(t *testing.T, e *Engine, blamed map[string]bool) {
	t.Helper()
	holding := map[string]bool{}
	for _, i := range e.Open() {
		for _, f := range i.Findings {
			if f.Holds() {
				holding[i.Group+"|"+f.Rule+"|"+f.Kind] = true
			}
			for _, c := range f.Checks {
				if !blamed[c] {
					t.Fatalf("%s blames %s, which was never bad", f.Text, c)
				}
			}
		}
	}
	for k := range e.watches {
		w := &e.watches[k]
		for _, tp := range w.topics {
			tripped := 0
			for n := tp.lo; n < tp.hi; n++ {
				s := w.sets[n]
				pending, fed := int32(0), false
				for i := s.lo; i < s.hi; i++ {
					p := &w.pairs[i]
					judgeSums(t, &p.win)
					if p.run != nil && p.run.Fed {
						if fed = true; p.streak < w.recover {
							pending++
						}
					}
				}
				if s.tripped != fed || s.tripped && s.pending != pending {
					t.Fatalf("rule %s, set %d: tripped %t, pending %d, want %t, %d", w.Name, n, s.tripped, s.pending, fed, pending)
				}
				if s.tripped {
					tripped++
				}
			}
			key := tp.key + "|" + w.Name + "|" + w.kind.String()
			if tp.tripped != tripped || holding[key] != (tripped > 0) {
				t.Fatalf("%s: %d sets tripped, counted %d, holds: %t", key, tripped, tp.tripped, holding[key])
			}
			delete(holding, key)
		}
	}
	if b := e.blind; b != nil && b.told {
		delete(holding, monitorKey+"|"+e.watches[b.watch].Name+"|"+kindBlind)
	}
	if e.members > 0 {
		delete(holding, stormKey+"|"+kindStorm+"|"+kindStorm)
	}
	if len(holding) > 0 {
		t.Fatalf("findings that nothing can clear: %v", holding)
	}
}

func judgeSums(t *testing.T, w *window) {
	t.Helper()
	var x counts
	var total uint64
	for k, c := range w.cells {
		x.plus(counts{uint32(c.bad), uint32(c.good), uint32(c.unknown)})
		if w.lat != nil {
			total += uint64(w.lat.cells[k])
		}
	}
	if x != w.sum || w.lat != nil && total != w.lat.total || w.cells != nil && (w.last-w.first >= int64(len(w.cells)) || w.first > w.last+1) {
		t.Fatalf("window %d..%d of %d cells: %+v, want %+v", w.first, w.last, len(w.cells), w.sum, x)
	}
}

// FuzzUnknown feeds what says nothing about the targets: only the unknown rule
// may open anything.
func FuzzUnknown(f *testing.F) {
	f.Add([]byte("?g?.?..g?g?g????"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, _ := everything()
		list := subjects([]line{{"a", "ws", ""}, {"b", "ws", ""}})
		e := NewEngine(rules, list)
		for n, b := range data {
			letter := "?g.~-"[int(b>>1)%5]
			c := list[b&1]
			entry := result(c.Name, c.Group, base().Add(time.Duration(n)*30*time.Second), rune(letter))
			if entry == nil {
				continue
			}
			for _, c := range e.Step(uint64(n)+1, *entry) {
				if c.Incident.Group != monitorKey {
					t.Fatalf("%s %s", c.Event, c.Incident.Title())
				}
			}
		}
	})
}

// FuzzRestore reads damaged checkpoints: it may refuse them, and must go on.
func FuzzRestore(f *testing.F) {
	rules, lines := everything()
	e := NewEngine(rules, subjects(lines))
	run1(e, 1, entries(lines)[:120])
	b, err := checkpoint(e)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"v":1,"rules":[{"name":"404","of":"rate of not_found over 5m0s, degraded is bad: false","pairs":[{"c":"a","w":{"w":60000,"l":9223372036854775807,"c":[[3,1,0,0,0]]}}]}],"checks":[{"name":"a","seen":[],"last":1}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e := NewEngine(rules, subjects(lines))
		if e.Restore(data) != nil {
			return
		}
		e.Adopt(nil)
		e.seq, e.restored = 0, 0
		run1(e, 1, entries(lines))
		for _, i := range e.Open() {
			i.Title()
			i.Lines()
		}
		if _, err := checkpoint(e); err != nil {
			t.Fatal(err)
		}
	})
}
