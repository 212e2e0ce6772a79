package alerting

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
)

// everything is a log in which every kind of rule has something to say.
func everything() ([]Rule, []line) {
	rules := []Rule{
		notFound("0%"),
		downRule(2),
		{Name: "conn", By: "check", Rate: &Rate{Of: "connection_failure", Over: 10 * minute, AtLeast: share("20%"), MinFailures: 2, ClearBelow: share("15%")}},
		{Name: "all", By: "all", Severity: Page, RecoverAfter: 2, Rate: &Rate{Of: "any", Over: 3 * minute, Above: share("30%"), MinFailures: 4}},
		{Name: "slow", Latency: &Latency{Above: 2 * minute / 60, Over: 5 * minute}},
		{Name: "median", Latency: &Latency{Stat: "p50", Above: 2 * minute / 60, Over: 5 * minute, ClearBelow: minute / 60}},
		{Name: "uptime", Rate: &Rate{Of: "down", Over: 24 * 60 * minute, Above: share("10%"), MinFailures: 3}},
		{Name: "self", Unknown: &UnknownRule{}},
	}
	lines := []line{
		{"a", "ws", "..X.x..5XX......ssss......ccc......?g?.............."},
		{"b", "ws", "...XX..........s.sss......ddd......................."},
		{"c", "", ".X...XX.X~~.m.............ccccccc....gggg??........."},
		{"d", "", "........x.x.x.x.x.x.......5................X........"},
		{"e", "", "............................c....-----.............."},
	}
	return rules, lines
}

func run1(e *Engine, from uint64, log []checks.Entry) (all []Change) {
	for n, entry := range log {
		if seq := uint64(n) + 1; seq >= from {
			all = append(all, e.Step(seq, entry)...)
		}
	}
	return all
}

func TestSameEntriesSameChanges(t *testing.T) {
	rules, lines := everything()
	log := entries(lines)
	want := run1(NewEngine(rules, subjects(lines)), 1, log)
	judgeChanges(t, want)
	kinds := map[string]int{}
	for _, c := range want {
		kinds[string(c.Event)]++
		for _, f := range c.Incident.Findings {
			kinds[f.Rule]++
		}
	}
	for _, k := range []string{"opened", "grew", "resolved", "404", "down", "conn", "all", "slow", "median", "uptime", "self"} {
		if kinds[k] == 0 {
			t.Errorf("nothing about %s in this log", k)
		}
	}
	if diff := cmp.Diff(want, run1(NewEngine(rules, subjects(lines)), 1, log)); diff != "" {
		t.Errorf("the second time (-first +second):\n%s", diff)
	}
	shuffled := slices.Clone(subjects(lines))
	slices.Reverse(shuffled)
	if diff := cmp.Diff(want, run1(NewEngine(rules, shuffled), 1, log)); diff != "" {
		t.Errorf("with the checks in another order:\n%s", diff)
	}
}

func checkpoint(e *Engine) ([]byte, error) {
	var b bytes.Buffer
	err := e.Checkpoint(&b)
	return b.Bytes(), err
}

// TestRestartAnywhere stops and starts again after every entry.
func TestRestartAnywhere(t *testing.T) {
	rules, lines := everything()
	log := entries(lines)
	want := run1(NewEngine(rules, subjects(lines)), 1, log)
	e := NewEngine(rules, subjects(lines))
	var got, told []Change
	for n, entry := range log {
		b, err := checkpoint(e)
		if err != nil {
			t.Fatal(err)
		}
		e = NewEngine(rules, subjects(lines))
		if err := e.Restore(b); err != nil {
			t.Fatal(err)
		}
		if n%10 == 0 {
			again, err := checkpoint(e)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, again) {
				t.Fatalf("entry %d: the checkpoint changed by restoring it:\n%s", n, cmp.Diff(string(b), string(again)))
			}
		}
		if extra := e.Adopt(stored(told)); len(extra) > 0 {
			t.Fatalf("entry %d: adopting what is stored made %v", n, titles(extra))
		}
		changes := e.Step(uint64(n)+1, entry)
		got, told = append(got, changes...), append(told, changes...)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-without +with restarts):\n%s", diff)
	}
}

// stored returns the newest version of each incident, as a store would.
func stored(changes []Change) []Incident {
	newest := map[string]Incident{}
	for _, c := range changes {
		newest[c.Incident.ID] = c.Incident
	}
	var list []Incident
	for _, i := range newest {
		list = append(list, i)
	}
	return list
}

func titles(changes []Change) (list []string) {
	for _, c := range changes {
		list = append(list, fmt.Sprintf("%s %s v%d %s", c.Event, c.Incident.ID, c.Incident.Version, c.Incident.Title()))
	}
	return list
}

// TestCrashAnywhere loses the state since a checkpoint, while people were told
// of what came after it, and steps those entries again.
func TestCrashAnywhere(t *testing.T) {
	rules, lines := everything()
	log := entries(lines)
	checkpoints := [][]byte{nil}
	var told [][]Change
	e := NewEngine(rules, subjects(lines))
	for n, entry := range log {
		told = append(told, e.Step(uint64(n)+1, entry))
		b, err := checkpoint(e)
		if err != nil {
			t.Fatal(err)
		}
		checkpoints = append(checkpoints, b)
	}
	for at := 0; at < len(log); at += 13 {
		for _, lost := range []int{1, 30, at} {
			crashAt(t, rules, lines, log, checkpoints, told, at, min(lost, at))
		}
	}
}

func crashAt(t *testing.T, rules []Rule, lines []line, log []checks.Entry, checkpoints [][]byte, told [][]Change, at, lost int) {
	t.Helper()
	e := NewEngine(rules, subjects(lines))
	if b := checkpoints[at-lost]; b != nil {
		if err := e.Restore(b); err != nil {
			t.Fatal(err)
		}
	}
	all := slices.Concat(told[:at]...)
	for n := at - lost; n < at; n++ {
		again := e.Step(uint64(n)+1, log[n])
		if len(again)+len(told[n]) == 0 {
			continue
		}
		if diff := cmp.Diff(told[n], again); diff != "" {
			t.Errorf("crash at %d, %d lost: stepping %d again (-told +again):\n%s", at, lost, n, diff)
		}
	}
	all = append(all, e.Adopt(stored(all))...)
	for n := at; n < len(log); n++ {
		all = append(all, e.Step(uint64(n)+1, log[n])...)
	}
	if diff := cmp.Diff(slices.Concat(told...), all); diff != "" {
		t.Errorf("crash at %d, %d lost (-want +got):\n%s", at, lost, diff)
	}
}

// TestStateIsLostAnywhere starts with nothing but the stored incidents: those
// that are open are resolved in the end, once.
func TestStateIsLostAnywhere(t *testing.T) {
	rules, lines := everything()
	log := entries(lines)
	var told []Change
	first := NewEngine(rules, subjects(lines))
	for n := range log {
		if n%5 == 0 {
			e := NewEngine(rules, subjects(lines))
			all := slices.Concat(told, e.Adopt(stored(told)), run1(e, uint64(n)+1, log))
			judgeChanges(t, all)
			for id, end := range summary(all) {
				if end != "resolved" {
					t.Errorf("state lost at %d: %s is left %s", n, id, end)
				}
			}
		}
		told = append(told, first.Step(uint64(n)+1, log[n])...)
	}
}

// summary says for each incident what came last.
func summary(changes []Change) map[string]string {
	last := map[string]string{}
	for _, c := range changes {
		if last[c.Incident.ID] = "open"; c.Event == Resolved {
			last[c.Incident.ID] = "resolved"
		}
	}
	return last
}

func TestRedelivery(t *testing.T) {
	rules, lines := everything()
	log := entries(lines)
	want := run1(NewEngine(rules, subjects(lines)), 1, log)
	e := NewEngine(rules, subjects(lines))
	var got []Change
	for n := range log {
		got = append(got, e.Step(uint64(n)+1, log[n])...)
		if log[n].Gap == nil {
			got = append(got, e.Step(uint64(n)+1, log[n])...) // a batch that comes twice in a row
		}
		for k := max(0, n-20); k < n; k++ {
			got = append(got, e.Step(uint64(k)+1, log[k])...)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	b, err := checkpoint(e)
	if err != nil {
		t.Fatal(err)
	}
	e = NewEngine(rules, subjects(lines))
	if err := e.Restore(b); err != nil {
		t.Fatal(err)
	}
	last := uint64(len(log))
	again := slices.Concat(run1(e, 1, log), e.Step(last, *result("a", "ws", base().Add(5*time.Hour), 'X')))
	if after, err := checkpoint(e); err != nil || len(again) > 0 || !bytes.Equal(b, after) {
		t.Errorf("entries that the checkpoint holds made %v and changed the state: %t", titles(again), !bytes.Equal(b, after))
	}
}

// TestStateIsLost starts with nothing but the stored incidents.
func TestStateIsLost(t *testing.T) {
	lines := []line{{"a", "ws", "XXX......."}, {"b", "ws", ".........."}}
	rules := []Rule{notFound("0%"), downRule(1)}
	log := entries(lines)
	told := run1(NewEngine(rules, subjects(lines)), 1, log[:6])
	e := NewEngine(rules, subjects(lines))
	if changes := e.Adopt(stored(told)); len(changes) > 0 {
		t.Fatalf("adopting made %v", titles(changes))
	}
	rest := run1(e, 7, log)
	if len(rest) != 1 || rest[0].Event != Resolved || rest[0].Incident.ID != told[0].Incident.ID || rest[0].Incident.Version != 2 {
		t.Errorf("the rest made %v, want %s resolved as version 2", titles(rest), told[0].Incident.ID)
	}
}

func TestStoredIncidentNobodyWatches(t *testing.T) {
	lines := []line{{"a", "ws", "XX"}, {"b", "", "XX"}, {"c", "", "XX"}}
	rules := []Rule{notFound("0%"), downRule(1)}
	told := run1(NewEngine(rules, subjects(lines)), 1, entries(lines))
	e := NewEngine(rules[:1], subjects(lines)[:2])
	got := e.Adopt(stored(told))
	if len(got) != 1 || got[0].Event != Resolved || got[0].Incident.Group != "c" || got[0].Incident.Changed != "resolved: no longer watched" {
		t.Errorf("got %v, want c resolved", titles(got))
	}
	if want := "[resolved] c, no longer watched: not_found 1 of 1 attempt (100 %) in 5m, limit 0 % (and 1 more)"; got[0].Incident.Title() != want {
		t.Errorf("title %q, want %q", got[0].Incident.Title(), want)
	}
	if open := e.Open(); len(open) != 2 || open[0].Findings[1].ClearedBy != "no longer watched" || !open[0].Findings[0].Holds() {
		t.Errorf("open: %+v", open)
	}
}

// TestRestartWithOtherRules steps entries again under rules that make
// something else of them, and adopts what the old ones had told.
func TestRestartWithOtherRules(t *testing.T) {
	lines := []line{{"a", "", "X...XX........"}, {"b", "", "5............."}}
	log := entries(lines)
	old := []Rule{notFound("0%"), downRule(2)}
	told := run1(NewEngine(old, subjects(lines)), 1, log[:18]) // a opened, resolved, opened again and grew
	next := []Rule{{Name: "any", Severity: Page, Rate: &Rate{Of: "any", Over: 5 * minute, Above: share("0%")}}, downRule(2)}
	e := NewEngine(next, subjects(lines))
	run1(e, 1, log[:18]) // recognised by position: nobody is told
	got := e.Adopt(stored(told))
	byGroup := map[string]Change{}
	for _, c := range got {
		byGroup[c.Incident.Group] = c
	}
	if c := byGroup["a"]; len(got) != 1 || c.Event != Grew || c.Incident.ID != told[len(told)-1].Incident.ID || c.Incident.Version != told[len(told)-1].Incident.Version+1 {
		t.Fatalf("adopting made %v after %v", titles(got), titles(told))
	}
	rest := run1(e, 19, log)
	if len(rest) != 1 || rest[0].Event != Resolved || rest[0].Incident.ID != byGroup["a"].Incident.ID {
		t.Errorf("the rest made %v", titles(rest))
	}
}

func TestAdoptTellsWhatOnlyTheEngineKnows(t *testing.T) {
	lines := []line{{"a", "", "XX"}}
	e := NewEngine([]Rule{notFound("0%")}, subjects(lines))
	want := run1(e, 1, entries(lines))
	got := e.Adopt(nil)
	if len(got) != 1 || got[0].Event != Opened || got[0].Incident.ID != want[0].Incident.ID || got[0].Incident.Version != 1 {
		t.Errorf("got %v, want %v", titles(got), titles(want))
	}
}

func TestAdoptTwoOpenIncidentsOfOneGroup(t *testing.T) {
	lines := []line{{"a", "", "XX"}}
	rules := []Rule{notFound("0%"), downRule(1)}
	told := run1(NewEngine(rules, subjects(lines)), 1, entries(lines))
	newer, older := told[0].Incident, told[0].Incident.clone()
	older.ID, older.Since = "a-older", older.Since.Add(-time.Hour)
	newer.Findings = newer.Findings[:1]
	e := NewEngine(rules, subjects(lines))
	got := e.Adopt([]Incident{newer, older})
	if len(got) != 1 || got[0].Event != Resolved || got[0].Incident.ID != "a-older" {
		t.Errorf("got %v, want the older one resolved", titles(got))
	}
	if open := e.Open(); len(open) != 1 || open[0].ID != newer.ID || !open[0].Findings[0].Holds() {
		t.Errorf("open: %+v", open)
	}
	judgeEngine(t, e, map[string]bool{"a": true})
}

func TestReconfigure(t *testing.T) {
	lines := []line{
		{"a", "ws", "X........."},
		{"b", "ws", ".........."},
		{"c", "", "X........."},
		{"d", "", "X........."},
	}
	rules := []Rule{notFound("0%"), downRule(1), {Name: "slow", Latency: &Latency{Above: 2 * minute / 60, Over: 5 * minute}}}
	log := entries(lines)
	at := base().Add(90 * time.Second)

	t.Run("nothing changed", func(t *testing.T) {
		e := NewEngine(rules, subjects(lines))
		want := run1(NewEngine(rules, subjects(lines)), 1, log)
		var got []Change
		for n, entry := range log {
			got = append(got, e.Step(uint64(n)+1, entry)...)
			got = append(got, e.Reconfigure(rules, subjects(lines), entry.Time())...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("changes (-want +got):\n%s", diff)
		}
	})
	t.Run("a check goes, a rule goes, one is renamed", func(t *testing.T) {
		e := NewEngine(rules, subjects(lines))
		run1(e, 1, log[:5])
		next := []Rule{rules[0], {Name: "outage", Severity: Page, Down: &DownRule{}}}
		got := e.Reconfigure(next, subjects(lines)[:3], at)
		if len(got) != 1 || got[0].Event != Resolved || got[0].Incident.Group != "d" || got[0].Incident.Ended != at || got[0].Incident.Version != 2 {
			t.Fatalf("got %v, want d resolved at %s", titles(got), at)
		}
		rest, _ := json.Marshal(titles(run1(e, 6, log)))
		if s := string(rest); strings.Count(s, "resolved ws") != 1 || strings.Count(s, "resolved c") != 1 || strings.Contains(s, "opened") {
			t.Errorf("the rest made %s", s)
		}
	})
	t.Run("a check changes its group", func(t *testing.T) {
		e := NewEngine(rules[:1], subjects(lines))
		run1(e, 1, log[:5])
		next := subjects(lines)
		next[0].Group = "chat"
		got := e.Reconfigure(rules[:1], next, at)
		if len(got) != 1 || got[0].Event != Resolved || got[0].Incident.Group != "ws" {
			t.Fatalf("got %v, want ws resolved", titles(got))
		}
		got = e.Step(100, *result("a", "chat", base().Add(2*time.Minute), 'X'))
		if len(got) != 1 || got[0].Event != Opened || got[0].Incident.Group != "chat" || !got[0].Incident.Since.Equal(base()) {
			t.Errorf("got %v, want chat opened with its true beginning", titles(got))
		}
	})
	t.Run("figures, severity and grouping of a rule change", func(t *testing.T) {
		e := NewEngine(rules[:1], subjects(lines))
		told := run1(e, 1, log[:5])
		next := notFound("10%")
		next.By, next.Severity, next.RecoverAfter = "check", Ticket, 2
		if got := e.Reconfigure([]Rule{next}, subjects(lines), at); len(got) > 0 {
			t.Fatalf("got %v", titles(got))
		}
		rest := run1(e, 6, log)
		if len(rest) != 3 || rest[0].Event != Resolved || rest[0].Incident.ID != told[0].Incident.ID || rest[0].Incident.Ended != base().Add(2*time.Minute) {
			t.Errorf("the rest made %v", titles(rest))
		}
	})
	t.Run("the window of a rule changes", func(t *testing.T) {
		e := NewEngine(rules[:1], subjects(lines))
		told := run1(e, 1, log[:5])
		next := notFound("0%")
		next.Rate.Over = 10 * minute
		if got := e.Reconfigure([]Rule{next}, subjects(lines), at); len(got) > 0 {
			t.Fatalf("got %v", titles(got))
		}
		rest := run1(e, 6, log)
		if len(told) != 3 || len(rest) != 3 || rest[0].Event != Resolved || rest[0].Incident.ID != told[0].Incident.ID || rest[0].Incident.Ended != base().Add(3*time.Minute) {
			t.Errorf("the rest made %v, want what was told resolved after three good results", titles(rest))
		}
	})
	t.Run("the interval of a check changes", func(t *testing.T) {
		e := NewEngine([]Rule{{Name: "n", Rate: &Rate{Of: "any", Over: 60 * minute, Above: share("0%"), MinFailures: 4}}}, subjects(lines))
		for k := range 3 {
			e.Step(1, *result("a", "ws", base().Add(time.Duration(k)*time.Minute), 'X'))
		}
		next := subjects(lines)
		next[0].Interval = 10 * time.Second
		e.Reconfigure([]Rule{e.watches[0].Rule}, next, at)
		got := e.Step(2, *result("a", "ws", base().Add(130*time.Second), 'X'))
		if len(got) != 1 || got[0].Incident.Findings[0].Bad != 4 {
			t.Errorf("got %v, want the fourth failure to open", titles(got))
		}
	})
}

func TestRestoreRefuses(t *testing.T) {
	e := NewEngine([]Rule{notFound("0%")}, subjects([]line{{"a", "", ""}}))
	var newer *checks.NewerError
	if err := e.Restore([]byte(`{"v":2,"rules":"something else"}`)); !errors.As(err, &newer) || newer.Seen != 2 || newer.Known != 1 {
		t.Errorf("newer: %v", err)
	}
	for _, bad := range []string{"", "{", `{"v":1,"rules":7}`} {
		if err := e.Restore([]byte(bad)); err == nil || !strings.HasPrefix(err.Error(), "decode checkpoint: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := DecodeIncident([]byte(`{"v":9,"id":"x"}`)); !errors.As(err, &newer) {
		t.Errorf("newer incident: %v", err)
	}
}

// TestFixtures reads what version 1 wrote. The files are never written again
// once released; a new version gets new ones.
func TestFixtures(t *testing.T) {
	rules, lines := everything()
	log := entries(lines)
	const stop = 45 // a and c are open
	e := NewEngine(rules, subjects(lines))
	told := run1(e, 1, log[:stop])
	if *update {
		b, err := checkpoint(e)
		if err != nil {
			t.Fatal(err)
		}
		i, err := json.Marshal(told[len(told)-1].Incident)
		if err != nil {
			t.Fatal(err)
		}
		write(t, "testdata/checkpoint.v1.json", b)
		write(t, "testdata/incident.v1.json", i)
	}
	i, err := DecodeIncident(read(t, "testdata/incident.v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(older(told[len(told)-1:])[0].Incident, i); diff != "" {
		t.Errorf("incident (-now +stored):\n%s", diff)
	}
	again := NewEngine(rules, subjects(lines))
	if err := again.Restore(read(t, "testdata/checkpoint.v1.json")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(older(run1(e, stop+1, log)), older(run1(again, stop+1, log))); diff != "" {
		t.Errorf("what follows (-now +from the stored checkpoint):\n%s", diff)
	}
}

// older leaves out of incidents what version 1 did not store at first.
func older(changes []Change) []Change {
	for n := range changes {
		i := &changes[n].Incident
		i.Opened, i.ToldAt, i.Told, i.Failing, i.Of, i.Event = time.Time{}, time.Time{}, 0, 0, 0, ""
		i.ToldSeverity, i.ToldTaken = "", false
	}
	return changes
}

var update = flag.Bool("update", false, "write the golden files anew")

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}
