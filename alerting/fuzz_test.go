package alerting

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// fuzzLog makes a log of bytes: most are the result of one check, the others
// do something to time.
func fuzzLog(data []byte) []checks.Entry {
	const letters = "....XXx5cdcdm~s?g-.."
	var log []checks.Entry
	now := base()
	names := []line{{check: "a", group: "ws"}, {check: "b", group: "ws"}, {check: "c"}, {check: "d"}}
	for _, b := range data[:min(len(data), 600)] {
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
		default:
			log = append(log, checks.Entry{V: 1, Command: &checks.Command{At: now}})
		}
		if n%5 == 0 {
			now = now.Add(30 * time.Second)
		}
	}
	return log
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

func FuzzEngine(f *testing.F) {
	_, lines := everything()
	for n, l := range lines {
		f.Add(byte(1<<n), uint16(20), []byte(l.slots))
	}
	var minutes []byte
	for k := range 40 {
		for c := range byte(4) {
			minutes = append(minutes, byte(4+k*7%80)<<2|c)
		}
		minutes = append(minutes, 60<<2)
	}
	f.Add(byte(0), uint16(77), minutes)
	f.Add(byte(255), uint16(0), []byte{})
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		data := make([]byte, 500)
		for k := range data {
			data[k] = byte(rnd.Uint32())
		}
		f.Add(byte(seed), uint16(rnd.Uint32()), data)
	}
	watchedChecks := subjects([]line{{"a", "ws", ""}, {"b", "ws", ""}, {"c", "", ""}, {"d", "", ""}})
	f.Fuzz(func(t *testing.T, choice byte, cut uint16, data []byte) {
		rules, log := fuzzRules(choice), fuzzLog(data)
		e := NewEngine(rules, watchedChecks)
		var all []Change
		var half *Engine // goes on from a checkpoint
		blamed := map[string]bool{}
		for n, entry := range log {
			if n == int(cut)%(len(log)+1) {
				half = restored(t, e)
			}
			if r := entry.Result; r != nil && r.Class != probe.OK || entry.Gap != nil || r != nil && r.Latency > 2*time.Second {
				blame(blamed, entry)
			}
			step := func(e *Engine) []Change {
				changes := e.Step(uint64(n)+1, entry)
				if entry.Command == nil {
					return changes
				}
				return e.Reconfigure(fuzzRules(choice^byte(n)), watchedChecks[n%3:], entry.Command.At)
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
		all = append(all, recover1(e, len(log), watchedChecks)...)
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

// restored is an engine with the state of e.
func restored(t *testing.T, e *Engine) *Engine {
	t.Helper()
	var (
		rules []Rule
		list  []Subject
	)
	for _, w := range e.watches {
		rules = append(rules, w.Rule)
	}
	for _, c := range e.checks {
		for _, s := range subjects([]line{{"a", "ws", ""}, {"b", "ws", ""}, {"c", "", ""}, {"d", "", ""}}) {
			if s.Name == c.name {
				list = append(list, s)
			}
		}
	}
	b, err := checkpoint(e)
	if err != nil {
		t.Fatal(err)
	}
	half := NewEngine(rules, list)
	if err := half.Restore(b); err != nil {
		t.Fatal(err)
	}
	if again, err := checkpoint(half); err != nil || !bytes.Equal(b, again) {
		t.Fatalf("the checkpoint changed by restoring it: %v\n%s", err, cmp.Diff(string(b), string(again)))
	}
	return half
}

// recover1 lets everything be good for a while, at the end of all times seen.
func recover1(e *Engine, seq int, list []Subject) (all []Change) {
	now := base()
	for _, c := range e.checks {
		now = later(now, at(c.last))
	}
	for k := range 60 {
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
		if _, err := checkpoint(e); err != nil && !json.Valid(data) {
			t.Fatal(err)
		}
	})
}
