package alerting

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
)

// player steps entries and returns what people are told, one line each.
type player struct {
	e   *Engine
	seq uint64
	all []Change
}

func (p *player) step(entry checks.Entry) (told []string) {
	p.seq++
	for _, c := range p.e.Step(p.seq, entry) {
		p.all = append(p.all, c)
		if c.Incident.Tells() {
			told = append(told, string(c.Event)+" "+c.Incident.Group)
		}
	}
	return told
}

func (p *player) results(after time.Duration, of string, names ...string) (told []string) {
	for k, n := range names {
		told = append(told, p.step(*result(n, "", base().Add(after).Add(time.Duration(k)*time.Millisecond), rune(of[k%len(of)])))...)
	}
	return told
}

func (p *player) tick(after time.Duration) []string {
	return p.step(checks.Entry{V: 1, Tick: &checks.Tick{At: base().Add(after)}})
}

func (p *player) command(t *testing.T, after time.Duration, name string, args ...string) []string {
	t.Helper()
	c := checks.Command{At: base().Add(after), Name: name, Author: "ada", Args: map[string]string{}}
	for k := 0; k < len(args); k += 2 {
		c.Args[args[k]] = args[k+1]
	}
	if err := p.e.Refuse(c); err != nil {
		t.Fatal(err)
	}
	return p.step(checks.Entry{V: 1, Command: &c})
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("%s (-want +told):\n%s", what, diff)
	}
}

func single(n int) (names []string, lines []line) {
	for k := range n {
		names = append(names, fmt.Sprintf("c%03d", k))
		lines = append(lines, line{check: names[k]})
	}
	return names, lines
}

func newPlay(rule Rule, policy Incidents, list []Subject) *player {
	e := NewEngine([]Rule{rule}, list)
	e.SetPolicy(policy.Policy())
	return &player{e: e}
}

// TestStorm fails 500 checks at once: ten are told one by one, the others in
// one message, which comes when the engine says that it wants to see time pass.
func TestStorm(t *testing.T) {
	names, lines := single(500)
	p := newPlay(downRule(1), Incidents{}, subjects(lines))
	if got := p.results(0, "5", names...); len(got) != 10 {
		t.Fatalf("told at once: %v, want 10", got)
	}
	due := p.e.Due()
	if d := due.Sub(base()); d <= 0 || d > 2*time.Second {
		t.Fatalf("due after %s", d)
	}
	want(t, "the rest", p.step(checks.Entry{V: 1, Tick: &checks.Tick{At: due}}), "released storm")
	storm := p.all[len(p.all)-1].Incident
	f := storm.Findings[0]
	if f.Total != 490 || len(f.Checks) != 50 || f.More != 440 || storm.Severity != Page || !strings.Contains(f.Reason, "server_error 490") {
		t.Errorf("storm %+v", f)
	}
	told := 11
	for k := range 10 {
		told += len(p.results(time.Duration(k+1)*time.Minute, "5", names...))
	}
	if told != 11 {
		t.Errorf("%d messages while all fails, want 11", told)
	}
	var resolves []string
	for k := range 3 {
		resolves = append(resolves, p.results(time.Duration(k+20)*time.Minute, ".", names...)...)
	}
	if n := len(resolves); n != 11 || resolves[n-1] != "resolved storm" {
		t.Errorf("resolves %v, want 10 and the storm", resolves)
	}
	if open := p.e.Open(); len(open) > 0 {
		t.Errorf("%d still open", len(open))
	}
	if got := p.results(time.Hour, "5", names[0]); len(got) != 1 || got[0] != "opened c000" {
		t.Errorf("an hour later: %v", got)
	}
}

// TestStormGrows tells of a storm again as it grows, once in a while.
func TestStormGrows(t *testing.T) {
	names, lines := single(60)
	n := 1
	p := newPlay(downRule(1), Incidents{Storm: StormPolicy{Groups: &n}}, subjects(lines))
	want(t, "first", p.results(0, "5", names[:3]...), "opened c000")
	want(t, "settled", p.tick(2*time.Second), "released storm")
	want(t, "more", append(p.results(10*time.Second, "5", names[3:20]...), p.tick(50*time.Second)...))
	want(t, "a minute later", p.tick(62*time.Second), "grew storm")
	if f := p.all[len(p.all)-1].Incident.Findings[0]; f.Total != 19 {
		t.Errorf("the storm has %d incidents, want 19", f.Total)
	}
	want(t, "nothing new", p.tick(5*time.Minute))
}

// TestFlapping breaks and heals a check each second for an hour.
func TestFlapping(t *testing.T) {
	rule := downRule(1)
	rule.RecoverAfter = 1
	list := subjects([]line{{check: "a"}})
	list[0].Interval = time.Second
	p := newPlay(rule, Incidents{}, list)
	var told []string
	for k := range 3600 {
		told = append(told, p.results(time.Duration(k)*time.Second, string("5."[k%2]), "a")...)
	}
	want(t, "an hour", told, "opened a", "resolved a", "opened a", "resolved a", "opened a", "resolved a", "opened a")
	open := p.e.Open()
	if len(open) != 1 || open[0].Reopened != 3 || !strings.Contains(open[0].Title(), "a (flapping)") {
		t.Fatalf("open: %+v", open)
	}
	want(t, "calm", p.tick(89*time.Minute))
	want(t, "calm for half an hour", p.tick(91*time.Minute), "resolved a")
	if got := p.all[len(p.all)-1].Incident.Title(); !strings.Contains(got, "calm for 30m") {
		t.Errorf("the end says %q", got)
	}
}

func TestReminders(t *testing.T) {
	p := newPlay(downRule(1), Incidents{RemindAfter: 60 * minute}, subjects([]line{{check: "a"}}))
	p.results(0, "5", "a")
	var at []int
	for k := range 200 * 60 {
		if got := p.tick(time.Duration(k) * time.Minute); len(got) > 0 {
			at = append(at, k/60)
		}
	}
	if diff := cmp.Diff([]int{1, 3, 7, 15, 31, 55, 79, 103, 127, 151, 175, 199}, at); diff != "" {
		t.Errorf("hours of reminders (-want +got):\n%s", diff)
	}
	last := p.all[len(p.all)-1].Incident
	if last.Changed != "still open after 199h" || last.Reminders != 12 {
		t.Errorf("the last says %q", last.Changed)
	}
	want(t, "acknowledged", p.command(t, 200*time.Hour, CommandAcknowledge, "incident", last.ID), "acknowledged a")
	want(t, "no reminder", p.tick(400*time.Hour))
}

// TestNeeds lets a parent and 20 children fail and recover in any order: people
// are told of the parent, and of children that fail without it.
func TestNeeds(t *testing.T) {
	names, lines := single(21)
	list := subjects(lines)
	for k := range list[1:] {
		list[k+1].Needs = []string{names[0]}
	}
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		off := 0
		p := newPlay(downRule(1), Incidents{Storm: StormPolicy{Groups: &off}}, list)
		var told []string
		minute := func(k int, letter string, some []string) {
			for n, c := range rnd.Perm(len(some)) {
				at := time.Duration(k)*time.Minute + time.Duration(n)*time.Second
				told = append(told, p.results(at, letter, some[c])...)
			}
		}
		minute(0, ".", names)
		minute(1, "5", names)
		minute(2, "5", names)
		want(t, fmt.Sprint(seed, ": all fail"), told, "opened c000")
		told = nil
		back, stay := 3, []string{names[7], names[8]}
		var well []string
		for _, n := range names {
			if n != stay[0] && n != stay[1] {
				well = append(well, n)
			}
		}
		for k := range 4 {
			minute(back+2*k, ".", well)
			minute(back+2*k+1, "5", stay)
		}
		if len(told) != 3 || told[0] != "resolved c000" {
			t.Fatalf("%d: two children stay down: %v", seed, told)
		}
		told = nil
		for k := range 3 {
			minute(20+k, ".", names)
		}
		if len(told) != 2 {
			t.Fatalf("%d: all recover: %v", seed, told)
		}
		if open := p.e.Open(); len(open) > 0 {
			t.Fatalf("%d: still open: %v", seed, open[0].Title())
		}
	}
}

// TestNeedsWaits bounds how long a child waits for the verdict on its parent.
func TestNeedsWaits(t *testing.T) {
	list := subjects([]line{{check: "a"}, {check: "b"}})
	list[1].Needs = []string{"a"}
	p := newPlay(downRule(1), Incidents{}, list)
	want(t, "waits", p.results(0, "5", "b"))
	if due := p.e.Due(); !due.Equal(base().Add(time.Minute)) {
		t.Errorf("due %s", due)
	}
	want(t, "59 s", p.tick(59*time.Second))
	want(t, "60 s", p.tick(60*time.Second), "released b")
	p = newPlay(downRule(1), Incidents{}, list)
	want(t, "waits", p.results(0, "5", "b"))
	want(t, "the parent is up", p.results(10*time.Second, ".", "a"), "released b")
	// A parent that no rule tells of does not keep its children quiet for ever.
	p = newPlay(Rule{Name: "b", Select: Select{Name: "b"}, Down: &DownRule{}}, Incidents{}, list)
	want(t, "down", p.results(0, "55", "a", "b"))
	want(t, "9 m", p.tick(9*time.Minute))
	want(t, "10 m", p.tick(10*time.Minute), "released b")
}

// TestNeedsRunsLessOften wants that what a child was while its parent was down
// is no news when the parent is back: the child must have run since.
func TestNeedsRunsLessOften(t *testing.T) {
	list := subjects([]line{{check: "a"}, {check: "b"}})
	list[1].Needs, list[1].Interval = []string{"a"}, 5*time.Minute
	for _, c := range []struct {
		b    string        // what b comes to after 5 minutes; none: it does not run
		told []string      // then
		last time.Duration // when it is told if it does not run
	}{
		{b: "."},
		{b: "5", told: []string{"released b"}},
		{last: 12 * time.Minute}, // two intervals after the first good slot of a
	} {
		p := newPlay(downRule(1), Incidents{}, list)
		want(t, "both fail", p.results(0, "5", "a", "b"), "opened a")
		want(t, "a still fails", p.results(time.Minute, "5", "a"))
		want(t, "a is back", slices.Concat(p.results(2*time.Minute, ".", "a"), p.results(3*time.Minute, ".", "a"), p.results(4*time.Minute, ".", "a")), "resolved a")
		if got := p.e.Open()[0].Quiet; got != "a is back, b has not run since" {
			t.Errorf("quiet %q", got)
		}
		if c.b != "" {
			want(t, "b "+c.b, p.results(5*time.Minute, c.b, "b"), c.told...)
			continue
		}
		want(t, "before", p.tick(c.last-time.Second))
		if due := p.e.Due(); !due.Equal(base().Add(c.last)) {
			t.Errorf("due %s, want after %s", due, c.last)
		}
		want(t, "two intervals", p.tick(c.last), "released b")
	}
}

func TestSilence(t *testing.T) {
	list := subjects([]line{{check: "a"}, {check: "b"}})
	p := newPlay(downRule(1), Incidents{}, list)
	want(t, "before", p.results(0, "5", "a"), "opened a")
	want(t, "both", p.command(t, time.Minute, CommandSilence, "id", "s1", "for", "10m", "check", "*", "why", "deploy"))
	if i := p.e.Open()[0]; i.Quiet != "silence by ada until 03:11:00 UTC: deploy" {
		t.Errorf("quiet %q", i.Quiet)
	}
	var told []string
	for k := range 3 {
		told = append(told, p.results(time.Duration(2+k)*time.Minute, ".5", "a", "b")...)
	}
	want(t, "what was told before is told resolved", told, "resolved a")
	want(t, "not over", p.tick(10*time.Minute))
	want(t, "over", p.tick(11*time.Minute), "released b")
	if got := p.all[len(p.all)-1].Incident.Changed; got != "opened 8m59s ago, not told until now: silence by ada until 03:11:00 UTC: deploy" &&
		!strings.HasPrefix(got, "opened 9m ago") && !strings.HasPrefix(got, "opened 8m59s ago") {
		t.Errorf("it says %q", got)
	}
	want(t, "once", p.tick(12*time.Minute))
	if got := p.e.Silences(); len(got) > 0 {
		t.Errorf("still there: %v", got)
	}
}

// TestSilenceHidesNothing tells after a silence what became of an incident in
// it: that it is a page now, and that somebody has taken it on.
func TestSilenceHidesNothing(t *testing.T) {
	rule := Rule{Name: "any", Rate: &Rate{Of: "any", Over: 10 * minute, Above: share("0%")}}
	list := subjects([]line{{check: "a"}})
	p := newPlay(rule, Incidents{}, list)
	want(t, "before", p.results(0, "5", "a"), "opened a")
	p.command(t, time.Minute, CommandSilence, "id", "s1", "for", "10m", "check", "a")
	rule.Severity = Page
	p.e.Reconfigure([]Rule{rule}, list, base().Add(time.Minute))
	want(t, "in it", p.results(2*time.Minute, "5", "a"))
	want(t, "over", p.tick(11*time.Minute), "grew a")
	if i := p.newest(t, "a"); i.Changed != "now page" || i.Severity != Page {
		t.Errorf("a %s, it says %q", i.Severity, i.Changed)
	}
	p.command(t, 12*time.Minute, CommandSilence, "id", "s2", "for", "10m", "check", "a")
	want(t, "acknowledged in it", p.command(t, 13*time.Minute, CommandAcknowledge, "incident", p.e.Open()[0].ID))
	want(t, "over", p.tick(22*time.Minute), "acknowledged a")
	if i := p.newest(t, "a"); i.Changed != "acknowledged by ada" {
		t.Errorf("it says %q", i.Changed)
	}
	p.command(t, 23*time.Minute, CommandSilence, "id", "s3", "for", "10m", "check", "a")
	want(t, "nothing new", p.tick(33*time.Minute))
}

// TestPageThatPassedInASilence wakes nobody, until it comes again.
func TestPageThatPassedInASilence(t *testing.T) {
	list := subjects([]line{{check: "a", group: "web"}, {check: "b", group: "web"}})
	e := NewEngine([]Rule{{Name: "slow", Latency: &Latency{Above: 2 * minute / 60, Over: 30 * minute, MinSamples: 1}}, downRule(1)}, list)
	p := &player{e: e}
	step := func(minute int, check string, letter rune) []string {
		return p.step(*result(check, "web", base().Add(time.Duration(minute)*time.Minute), letter))
	}
	want(t, "slow", step(0, "a", 's'), "opened web")
	p.command(t, time.Minute, CommandSilence, "id", "s1", "for", "10m", "group", "web")
	want(t, "down", step(2, "b", '5'))
	for k := range 3 {
		want(t, "and up", step(3+k, "b", 's'))
	}
	want(t, "over", p.tick(11*time.Minute))
	want(t, "down again", step(12, "b", '5'), "grew web")
	if i := p.newest(t, "web"); i.Severity != Page {
		t.Errorf("a %s", i.Severity)
	}
}

func TestMaintenance(t *testing.T) {
	list := subjects([]line{{check: "a"}, {check: "b"}})
	e := NewEngine([]Rule{downRule(1)}, list)
	e.SetPolicy(Policy{Windows: []Window{{Name: "nightly", Select: Select{Name: "a"}, For: 10 * time.Minute, Starts: hourly{5}}}})
	p := &player{e: e}
	want(t, "outside", p.results(4*time.Minute, ".5", "a", "b"), "opened b")
	want(t, "inside", p.results(6*time.Minute, "55", "a", "b"))
	a := &e.checks[0]
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{4 * time.Minute, false}, {5 * time.Minute, true}, {14*time.Minute + 59*time.Second, true}, {15 * time.Minute, false}} {
		if got := e.maintained(a, base().Add(c.after).UnixMilli()); got != c.want {
			t.Errorf("maintained after %s: %t", c.after, got)
		}
	}
	if e.maintained(&e.checks[1], base().Add(6*time.Minute).UnixMilli()) {
		t.Error("b is not in the window")
	}
	want(t, "at its end", p.tick(15*time.Minute), "released a")
	for k := range 3 {
		p.results(time.Duration(16+k)*time.Minute, ".", "a", "b")
	}
	// One that ends when all its checks are good again: not before something was bad.
	p.command(t, 16*time.Minute, CommandMaintenance, "id", "m1", "for", "30m", "until_green", "true")
	for k := range 4 {
		p.results(time.Duration(17+k)*time.Minute, ".", "a", "b")
	}
	if got := e.Silences(); len(got) != 1 {
		t.Errorf("before the deploy there are %v, want the window", got)
	}
	want(t, "a deploy", p.results(21*time.Minute, "55", "a", "b"))
	for k := range 3 {
		want(t, "recovers", p.results(time.Duration(22+k)*time.Minute, ".", "a", "b"))
	}
	if got := e.Silences(); len(got) > 0 {
		t.Errorf("still there: %v", got)
	}
	if at := base().Add(21 * time.Minute).UnixMilli(); !e.maintained(a, at) {
		t.Error("it is forgotten what was in the window")
	}
	within := Maintained(e.Begun(), list[0])
	for _, c := range []struct {
		after time.Duration
		want  bool
	}{{15 * time.Minute, false}, {20 * time.Minute, true}, {23 * time.Minute, true}, {25 * time.Minute, false}, {20 * time.Minute, true}} {
		if within == nil || within(base().Add(c.after)) != c.want {
			t.Errorf("in the window that ended when all was well, after %s: want %t", c.after, c.want)
		}
	}
	if Maintained([]Window{{Name: "other", Select: Select{Name: "b"}}}, list[0]) != nil {
		t.Error("a is in the window of b")
	}
	want(t, "after it", p.results(26*time.Minute, "5", "b"), "opened b")
}

func TestRefuse(t *testing.T) {
	p := newPlay(downRule(1), Incidents{}, subjects([]line{{check: "a", group: "web"}}))
	for _, c := range []struct {
		name, args, want string
	}{
		{CommandAcknowledge, "incident=x", `no incident "x" is open, and no other is`},
		{CommandSilence, "id=1 group=web", "silence: for is missing, want how long, such as 2h"},
		{CommandSilence, "id=1 for=2h", "silence: of what is missing, want a group, a check, a kind or a label"},
		{CommandSilence, "id=2 for=2h group=wbe", `silence: no check is in group "wbe", there are web`},
		{CommandSilence, "id=1 for=2h check=[", `silence: check: "[" is no pattern: a bracket is open or a backslash at the end`},
		{CommandSilence, "id=1 for=2h label=x", `silence: label: "x", want NAME=VALUE`},
		{CommandSilence, "id=1 for=2h label=team=a,env=x,team=b", "silence: label: no check has team=a and team=b at once, want one of them"},
		{CommandSilence, "id=1 for=60d group=web", "silence: for: 60d, want up to 31d"},
		{CommandSilence, "id=1 for=1h group=web until_green=true", "silence: until_green is for maintenance only"},
		{CommandSilenceEnd, "id=1", `no silence "1" lasts, and no other does`},
		{CommandMaintenanceEnd, "id=1", `no maintenance "1" lasts, and no other does`},
		{"nonsense", "", `no command is named "nonsense"`},
	} {
		cmd := checks.Command{At: base(), Name: c.name, Args: map[string]string{}}
		for a := range strings.FieldsSeq(c.args) {
			k, v, _ := strings.Cut(a, "=")
			cmd.Args[k] = v
		}
		err := p.e.Refuse(cmd)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s %s: %v, want %s", c.name, c.args, err, c.want)
		}
		if strings.Contains(c.want, "no check is in") {
			continue // in the log it would count: the checks may be others when that is read again
		}
		if got := p.step(checks.Entry{V: 1, Command: &cmd}); len(got) > 0 {
			t.Errorf("%s %s: told %v", c.name, c.args, got)
		}
	}
	p.step(*result("a", "web", base(), '5'))
	id := p.e.Open()[0].ID
	p.command(t, time.Minute, CommandAcknowledge, "incident", id)
	err := p.e.Refuse(checks.Command{Name: CommandAcknowledge, Args: map[string]string{"incident": id}})
	if want := "incident " + id + " was acknowledged by ada at 2026-11-21 03:01:00 UTC"; err == nil || err.Error() != want {
		t.Errorf("twice: %v, want %s", err, want)
	}
}

// TestShared keeps the labels that all failing checks have, and how many fail.
func TestShared(t *testing.T) {
	list := subjects([]line{{check: "a", group: "web"}, {check: "b", group: "web"}, {check: "c", group: "web"}})
	list[0].Labels = map[string]string{"team": "front", "env": "prod", "az": "1"}
	list[1].Labels = map[string]string{"team": "front", "env": "test", "az": "1"}
	p := newPlay(Rule{Name: "404", By: "check", Rate: &Rate{Of: "not_found", Over: 5 * minute, Above: share("0%")}}, Incidents{}, list)
	p.step(*result("a", "web", base(), 'X'))
	i := p.all[0].Incident
	if diff := cmp.Diff(list[0].Labels, i.Labels); diff != "" || i.Part() != "1 check of 3" {
		t.Errorf("one fails: %q, labels (-want +got):\n%s", i.Part(), diff)
	}
	p.step(*result("b", "web", base().Add(time.Second), 'X'))
	p.command(t, time.Minute, CommandAcknowledge, "incident", i.ID)
	i = p.all[len(p.all)-1].Incident
	if diff := cmp.Diff(map[string]string{"team": "front", "az": "1"}, i.Labels); diff != "" || i.Part() != "2 checks of 3" {
		t.Errorf("two fail: %q, labels (-want +got):\n%s", i.Part(), diff)
	}
}

// TestStormThatFlapsIsAcknowledged checks that a storm nothing of which fails
// just now still says of how many checks it is.
func TestStormThatFlapsIsAcknowledged(t *testing.T) {
	lines := []line{{"a", "", "X...X......"}, {"b", "", "X...X......"}}
	e := NewEngine([]Rule{downRule(1)}, subjects(lines))
	e.SetPolicy(Policy{StormGroups: 1, StormWithin: time.Minute.Milliseconds(), Reopens: 1, FlapWithin: time.Hour.Milliseconds()})
	log := entries(lines)
	run1(e, 1, log)
	id := ""
	for _, i := range e.Open() {
		if i.Group == stormKey {
			id = i.ID
		}
	}
	got := e.Step(uint64(len(log))+1, checks.Entry{V: 1, Command: &checks.Command{
		At: base().Add(20 * time.Minute), Name: CommandAcknowledge, Author: "ada", Args: map[string]string{"incident": id},
	}})
	if len(got) != 1 || got[0].Event != Acknowledged || !got[0].Incident.Tells() {
		t.Fatalf("acknowledging %q of %d open incidents gives %v", id, len(e.Open()), titles(got))
	}
	if f := got[0].Incident.Findings[0]; !slices.Equal(f.Checks, []string{"b"}) || !strings.HasPrefix(f.Text, "1 incident of 1 check,") {
		t.Errorf("%v: %s", f.Checks, f.Text)
	}
}
