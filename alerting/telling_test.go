package alerting

import (
	"bytes"
	"flag"
	"fmt"
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

var (
	manyLogs = flag.Int("series", 25, "how many random logs TestTelling makes")
	firstLog = flag.Uint64("series-from", 0, "the seed of the first of them")
)

// hourly is a schedule with a start in each hour.
type hourly struct{ minute int }

func (h hourly) Next(t time.Time) time.Time {
	next := t.Truncate(time.Hour).Add(time.Duration(h.minute) * time.Minute)
	for !next.After(t) {
		next = next.Add(time.Hour)
	}
	return next
}

// world is a random set of checks, rules and policies, with a log about them.
type world struct {
	seed     uint64
	rnd      *rand.Rand
	subjects []Subject
	rules    []Rule
	policy   Policy
	log      []checks.Entry
	mood     []string
	ids      int
}

func newWorld(seed uint64) *world {
	w := &world{seed: seed, rnd: rand.New(rand.NewPCG(seed, 7))}
	n := 3 + w.rnd.IntN(8)
	for k := range n {
		s := Subject{
			Name: fmt.Sprintf("c%d", k), Kind: "route", Host: fmt.Sprintf("h%d", k), Interval: time.Minute,
			Labels: map[string]string{"env": []string{"prod", "test"}[w.rnd.IntN(2)]},
		}
		if w.rnd.IntN(3) == 0 {
			s.Group = "shared"
		}
		for p := range k {
			if w.rnd.IntN(2*n) == 0 {
				s.Needs = append(s.Needs, fmt.Sprintf("c%d", p))
			}
		}
		w.subjects = append(w.subjects, s)
		w.mood = append(w.mood, ".")
	}
	if seed%2 == 0 { // of every second world some run less often
		often := rand.New(rand.NewPCG(seed, 8))
		for k := range w.subjects {
			w.subjects[k].Interval *= time.Duration(1 + often.IntN(3))
		}
	}
	w.rules = []Rule{{Name: "down", Severity: Page, RecoverAfter: 1 + w.rnd.IntN(3), Down: &DownRule{Slots: 1 + w.rnd.IntN(2)}}}
	if w.rnd.IntN(2) == 0 {
		w.rules = append(w.rules, Rule{Name: "any", RecoverAfter: 1 + w.rnd.IntN(3), Rate: &Rate{Of: "any", Over: 10 * minute, Above: share("30%"), MinFailures: 3}})
	}
	if w.rnd.IntN(3) == 0 {
		w.rules = append(w.rules, Rule{Name: "slow", RecoverAfter: 1 + w.rnd.IntN(3), Latency: &Latency{Stat: []string{"mean", "p50"}[seed%2], Above: probe.Duration(2 * time.Second), Over: 3 * minute}})
	}
	if w.rnd.IntN(3) == 0 {
		w.policy.StormGroups, w.policy.StormWithin = 1+w.rnd.IntN(3), int64(1+4*w.rnd.IntN(2))*time.Minute.Milliseconds()
	}
	if w.rnd.IntN(2) == 0 {
		w.policy.Reopens, w.policy.FlapWithin = 1+w.rnd.IntN(3), 30*time.Minute.Milliseconds()
	}
	if w.rnd.IntN(2) == 0 {
		w.policy.Remind = 10 * time.Minute.Milliseconds()
	}
	if w.rnd.IntN(3) == 0 {
		w.policy.Windows = []Window{{Name: "w", Select: w.choose(), For: 7 * time.Minute, Starts: hourly{w.rnd.IntN(60)}}}
	}
	for k := range 120 {
		w.minute(k, true)
	}
	for k := range 120 {
		w.minute(120+k, false)
	}
	return w
}

// choose selects some checks.
func (w *world) choose() Select {
	switch w.rnd.IntN(4) {
	case 0:
		return Select{Labels: map[string]string{"env": "prod"}}
	case 1:
		return Select{Group: w.subjects[w.rnd.IntN(len(w.subjects))].group()}
	case 2:
		return Select{Name: "c*"}
	}
	return Select{Name: w.subjects[w.rnd.IntN(len(w.subjects))].Name}
}

// minute adds a slot of each check. After the troubles all is good.
func (w *world) minute(k int, troubles bool) {
	start := base().Add(time.Duration(k) * time.Minute)
	together := troubles && w.rnd.IntN(25) == 0
	for n, s := range w.subjects {
		switch {
		case !troubles:
			w.mood[n] = "."
		case together:
			w.mood[n] = "5"
		case w.rnd.IntN(12) == 0:
			w.mood[n] = []string{".", ".", "5", "5.", "5..", "55?g.", "x", "s", "s."}[w.rnd.IntN(9)]
		}
		slot := start.Add(time.Duration(n) * 5 * time.Second)
		letter := w.mood[n][w.rnd.IntN(len(w.mood[n]))]
		if e := result(s.Name, s.Group, slot, rune(letter)); e != nil && k%int(s.Interval/time.Minute) == 0 {
			if e.Result != nil && letter == '5' {
				e.Result.Duration = time.Duration(w.rnd.IntN(20)) * time.Second
			}
			w.log = append(w.log, *e)
			if l := len(w.log); l > 1 && w.rnd.IntN(20) == 0 {
				w.log[l-1], w.log[l-2] = w.log[l-2], w.log[l-1]
			}
		}
		if troubles && w.rnd.IntN(40) == 0 {
			w.command(slot)
		}
	}
	w.log = append(w.log, checks.Entry{V: 1, Tick: &checks.Tick{At: start.Add(59 * time.Second)}})
}

func (w *world) command(at time.Time) {
	c := checks.Command{At: at, Author: "ada", Args: map[string]string{}}
	switch w.rnd.IntN(6) {
	case 0:
		c.Name, c.Args["incident"] = CommandAcknowledge, "newest" // filled in when it is open
	case 1, 2, 3:
		w.ids++
		c.Name = []string{CommandSilence, CommandMaintenance}[w.rnd.IntN(2)]
		c.Args["id"], c.Args["for"] = fmt.Sprint(w.ids), fmt.Sprintf("%dm", 1+w.rnd.IntN(30))
		s := w.choose()
		c.Args["group"], c.Args["check"] = s.Group, s.Name
		if s.Labels != nil {
			c.Args["label"] = "env=prod"
		}
		if c.Name == CommandMaintenance && w.rnd.IntN(2) == 0 {
			c.Args["until_green"] = "true"
		}
	default:
		c.Name = []string{CommandSilenceEnd, CommandMaintenanceEnd}[w.rnd.IntN(2)]
		c.Args["id"] = fmt.Sprint(1 + w.rnd.IntN(max(1, w.ids)))
	}
	w.log = append(w.log, checks.Entry{V: 1, Command: &c})
}

func (w *world) engine(p Policy, subjects []Subject) *Engine {
	e := NewEngine(w.rules, subjects)
	e.SetPolicy(p)
	return e
}

// witness knows, in the plainest way, what people may be told, and judges.
type witness struct {
	t        *testing.T
	w        *world
	now      time.Time
	silences []Silence
	results  map[string][]*checks.Result // in the order of the log, unknown ones left out
	told     map[string]map[string]bool  // by incident: what people have been told
	newest   map[string]Incident
	changed  map[string]time.Time // when that came, by incident
	loudest  map[string]Severity  // that people have been told of, by incident
	taken    map[string]bool      // whether people have been told that somebody has taken it on
	first    []time.Time          // tellings of an incident for the first time
}

func (v *witness) fail(format string, args ...any) {
	v.t.Helper()
	v.t.Fatalf("seed %d, %s: %s", v.w.seed, v.now.Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func (v *witness) see(entry checks.Entry) {
	known := entry.Time()
	if r := entry.Result; r != nil {
		known = known.Add(r.Duration)
		list := v.results[r.Check]
		if r.Status != probe.Unknown && (len(list) == 0 || r.Slot.After(list[len(list)-1].Slot)) {
			v.results[r.Check] = append(list, r)
		}
	}
	v.now = later(v.now, known)
	c := entry.Command
	if c == nil {
		return
	}
	switch c.Name {
	case CommandSilence, CommandMaintenance:
		if q, err := newSilence(c); err == nil {
			v.silences = append(v.silences, q)
		}
	case CommandSilenceEnd, CommandMaintenanceEnd:
		for k, q := range v.silences {
			if q.ID == c.Args["id"] && q.Maintenance == (c.Name == CommandMaintenanceEnd) && q.Until.After(v.now) {
				v.silences[k].Until = v.now
			}
		}
	}
}

func (v *witness) subject(name string) Subject {
	for _, s := range v.w.subjects {
		if s.Name == name {
			return s
		}
	}
	v.fail("no check %q", name)
	return Subject{}
}

// covered tells whether a silence or window is in force; green says whether
// those that may have ended early count.
func (v *witness) covered(s Subject, green bool) bool {
	for _, q := range v.silences {
		if q.Select.Matches(s) && !q.From.After(v.now) && q.Until.After(v.now) && (green || !q.UntilGreen) {
			return true
		}
	}
	for _, p := range v.w.policy.Windows {
		start := p.Starts.Next(v.now.Add(-p.For))
		if p.Select.Matches(s) && !start.After(v.now) {
			return true
		}
	}
	return false
}

// down tells since when a check is down; zero if it is not.
func (v *witness) down(name string) (since time.Time) {
	for _, r := range v.results[name] {
		if r.Status != probe.Down {
			since = time.Time{}
		} else if since.IsZero() {
			since = r.Slot
		}
	}
	return since
}

func (v *witness) ancestors(s Subject) (list []string) {
	for _, p := range s.Needs {
		list = append(list, p)
		list = append(list, v.ancestors(v.subject(p))...)
	}
	return list
}

// needsDown tells whether something that s needs is freshly down.
func (v *witness) needsDown(s Subject) bool {
	return slices.ContainsFunc(v.ancestors(s), func(p string) bool {
		since := v.down(p)
		return !since.IsZero() && v.now.Sub(since) < 10*v.subject(p).Interval
	})
}

// stale tells whether s has not run since something that it needs was well
// again, within two intervals of that. bad says what was not well.
func (v *witness) stale(s Subject, bad func(*checks.Result) bool) bool {
	var own time.Time
	if list := v.results[s.Name]; len(list) > 0 {
		own = list[len(list)-1].Slot
	}
	return slices.ContainsFunc(v.ancestors(s), func(p string) bool {
		list := v.results[p]
		k := len(list)
		for k > 0 && !bad(list[k-1]) {
			k--
		}
		return 0 < k && k < len(list) && own.Before(list[k].Slot) && v.now.Before(list[k].Slot.Add(2*s.Interval))
	})
}

func isDown(r *checks.Result) bool { return r.Status == probe.Down }

// mayNeed tells whether something that s needs had a bad result of late, so
// that it may be in a finding.
func (v *witness) mayNeed(s Subject) bool {
	return slices.ContainsFunc(v.ancestors(s), func(p string) bool {
		list := v.results[p]
		return slices.ContainsFunc(list[max(0, len(list)-3):], troubled)
	})
}

// troubled tells whether a result can be bad for a rule.
func troubled(r *checks.Result) bool { return r.Class != probe.OK || r.Latency > 2*time.Second }

// holding lists the checks of the findings that hold, except those of some kinds.
func holding(i Incident, except ...string) (names []string) {
	for _, f := range i.Findings {
		if f.Holds() && !slices.Contains(except, f.Kind) {
			names = append(names, f.Checks...)
		}
	}
	return names
}

// judge looks at one change.
func (v *witness) judge(c Change) {
	i := c.Incident
	was, known := v.newest[i.ID]
	v.newest[i.ID], v.changed[i.ID] = i, v.now
	switch {
	case i.Version != was.Version+1:
		v.fail("%s: version %d after %d", i.ID, i.Version, was.Version)
	case (c.Event == Opened) == known:
		v.fail("%s: %s, known before: %t", i.ID, c.Event, known)
	case (c.Event == Resolved) == i.Open():
		v.fail("%s: %s, open: %t", i.ID, c.Event, i.Open())
	case known && !was.Open():
		v.fail("%s: %s after its end", i.ID, c.Event)
	case c.Event == Reminded && (!i.Tells() || i.Acknowledged != nil):
		v.fail("%s: a reminder that nobody gets", i.ID)
	case was.Told > 0 && i.Told == 0:
		v.fail("%s: it was told and is not", i.ID)
	}
	if !i.Tells() {
		if c.Event == Resolved && was.Told > 0 {
			v.fail("%s was told and its end is not", i.ID)
		}
		return
	}
	told := v.told[i.ID]
	first := told == nil && i.Group != stormKey
	if told == nil {
		if c.Event == Resolved {
			v.fail("%s: people are told of the end of what they never heard of", i.ID)
		}
		told = map[string]bool{}
		v.told[i.ID] = told
		if i.Group != stormKey {
			v.first = append(v.first, v.now)
		}
	} else if c.Event == Opened || c.Event == Released {
		v.fail("%s is told again: %s", i.ID, i.Changed)
	}
	news := c.Event != Grew || i.Group == stormKey
	for _, f := range i.Findings {
		news = news || !told[f.Rule]
		told[f.Rule] = true
	}
	if key := string(c.Event) + " "; c.Event == Resolved || c.Event == Acknowledged {
		news = !told[key]
		told[key] = true
	}
	news = news || i.Severity != was.Severity
	if !news {
		v.fail("%s: %s says nothing new: %s", i.ID, c.Event, i.Changed)
	}
	v.loudest[i.ID] = i.Severity
	v.taken[i.ID] = i.Acknowledged != nil
	if c.Event != Resolved && c.Event != Acknowledged {
		v.cause(c, first)
	}
}

// cause wants a check that fails and that nothing excuses; what it needs excuses
// it only before people hear of it first.
func (v *witness) cause(c Change, first bool) {
	i := c.Incident
	for _, name := range holding(i) {
		s := v.subject(name)
		list := v.results[name]
		fails := slices.ContainsFunc(list[max(0, len(list)-10):], troubled)
		if fails && !v.covered(s, false) && (!first || !v.needsDown(s) && !v.stale(s, isDown)) {
			return
		}
	}
	v.fail("%s %s without a cause: %s, of %v", c.Event, i.ID, i.Changed, holding(i))
}

// overdue finds what people should have been told by now.
func (v *witness) overdue(e *Engine) {
	for _, i := range e.Open() {
		for _, f := range i.Findings {
			if f.Holds() && i.Told > 0 && i.Quiet == "" && i.Group != stormKey && !v.told[i.ID][f.Rule] {
				v.fail("%s: people were not told of %s", i.ID, f.Text)
			}
		}
		names := holding(i, "latency") // which a check that is down may have recovered from
		pages := slices.ContainsFunc(i.Findings, func(f Finding) bool { return f.Holds() && f.Severity == Page })
		if i.Told > 0 && i.Quiet == "" && pages && v.loudest[i.ID] != Page {
			v.fail("%s: it is a page, and people were told of a %s", i.ID, v.loudest[i.ID])
		}
		if i.Told > 0 && i.Quiet == "" && i.Acknowledged != nil && !v.taken[i.ID] {
			v.fail("%s: people were not told that %s has taken it on", i.ID, i.Acknowledged.By)
		}
		v.reminded(i)
		switch {
		case i.Told > 0 || len(names) == 0 || v.now.Sub(i.Opened) <= time.Minute+time.Second:
			continue
		case i.Storm != "":
			v.stands(e, i, pages)
			continue
		case i.Group == stormKey:
			var all []string
			for _, m := range e.Open() {
				if m.Storm == i.ID {
					all = append(all, holding(m, "latency")...)
				}
			}
			names = all
		}
		for _, name := range names {
			if s := v.subject(name); !v.covered(s, true) && !v.mayNeed(s) && !v.stale(s, troubled) && v.down(name) != (time.Time{}) {
				v.fail("%s is open since %s, %s fails, and nobody was told: quiet %q", i.ID, i.Opened.Format(time.TimeOnly), name, i.Quiet)
			}
		}
	}
}

// stands wants that the storm that an incident is part of says what the incident
// would: as loudly, and to the same people.
func (v *witness) stands(e *Engine, i Incident, pages bool) {
	s := e.incidents[stormKey]
	if s == nil || s.ID != i.Storm {
		v.fail("%s is part of a storm that is no more", i.ID)
	}
	excused := func(name string) bool {
		c := v.subject(name)
		return v.covered(c, true) || v.mayNeed(c) || v.stale(c, troubled) || v.down(name).IsZero()
	}
	if names := holding(i, "latency"); s.Told > 0 && s.Quiet == "" && pages && v.loudest[s.ID] != Page && !slices.ContainsFunc(names, excused) {
		v.fail("%s is a page and part of %s, and people were told of a %s", i.ID, s.ID, v.loudest[s.ID])
	}
	if part := (Part{i.Group, i.Severity, i.Labels}); !slices.ContainsFunc(v.newest[s.ID].Parts, func(p Part) bool { return reflect.DeepEqual(p, part) }) {
		v.fail("%s is part of %s, which has of it only %v", i.ID, s.ID, s.Parts)
	}
}

// reminded wants as many reminders as are due after 10, 30, 70 ... minutes,
// while something is down and nobody has taken it on. What people have been told
// something of at this tick, they are reminded of at the next one.
func (v *witness) reminded(i Incident) {
	if v.w.policy.Remind == 0 || i.Told == 0 || i.Quiet != "" || i.Acknowledged != nil || i.Group == stormKey ||
		v.changed[i.ID].Equal(v.now) {
		return
	}
	due := 0
	for passed, step := v.now.Sub(i.ToldAt), 10*time.Minute; passed >= step; step *= 2 {
		passed -= step
		due++
	}
	for _, name := range holding(i, "latency") {
		if list := v.results[name]; i.Reminders != due && list[len(list)-1].Status == probe.Down {
			v.fail("%s: told at %s, %s is down, and people were reminded %d times, want %d", i.ID, i.ToldAt.Format(time.TimeOnly), name, i.Reminders, due)
		}
	}
}

// acknowledged wants that people hear of it when somebody takes on an incident,
// unless it is quiet.
func (v *witness) acknowledged(c *checks.Command, before []Incident, changes []Change) {
	k := slices.IndexFunc(before, func(i Incident) bool { return i.ID == c.Args["incident"] })
	if k < 0 {
		return
	}
	was := before[k]
	n := slices.IndexFunc(changes, func(ch Change) bool { return ch.Incident.ID == was.ID })
	switch {
	case was.Acknowledged != nil && was.Quiet == "" && n >= 0 && changes[n].Event == Acknowledged: // else it is what the silence hid
		v.fail("%s was acknowledged twice", was.ID)
	case was.Acknowledged != nil:
	case n < 0 || changes[n].Incident.Acknowledged == nil:
		v.fail("%s was acknowledged, and nothing comes of it", was.ID)
	case was.Told > 0 && changes[n].Incident.Quiet == "" && !changes[n].Incident.Tells():
		v.fail("%s was acknowledged, and nobody is told", was.ID)
	}
}

// TestTelling makes random logs and wants that every message has a cause, that
// nothing is told twice and nothing is left untold, that all that was told is
// told resolved, that keeping quiet changes nothing else, and that a restart
// anywhere changes nothing at all.
func TestTelling(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(*manyLogs) {
		telling(t, newWorld(*firstLog+seed), seen)
	}
	for _, seed := range []uint64{
		419,  // what cleared in a maintenance window and came again after it was not told
		3780, // a reminder fell due as a maintenance window began
	} {
		telling(t, newWorld(seed), seen)
	}
	for _, what := range []string{
		"opened", "grew", "acknowledged", "reminded", "hushed", "released", "resolved", "quiet resolved", "storm", "flapping",
		"silence", "maintenance", "is down", "waits", "part of", "down", "any", "slow",
	} {
		if seen[what] < max(1, *manyLogs/50) {
			t.Errorf("%d times %s in %d logs: they prove little", seen[what], what, *manyLogs)
		}
	}
}

func telling(t *testing.T, w *world, seen map[string]int) {
	t.Helper()
	for _, r := range w.rules {
		if p := r.Validate(w.subjects); len(p) > 0 {
			t.Fatalf("seed %d: rule %s: %v", w.seed, r.Name, p)
		}
	}
	v := &witness{t: t, w: w, results: map[string][]*checks.Result{}, changed: map[string]time.Time{}, told: map[string]map[string]bool{}, newest: map[string]Incident{}, loudest: map[string]Severity{}, taken: map[string]bool{}}
	e := w.engine(w.policy, w.subjects)
	plain := w.engine(Policy{Reopens: w.policy.Reopens, FlapWithin: w.policy.FlapWithin}, alone(w.subjects))
	var again *Engine // restored somewhere
	for n := range w.log {
		entry := w.log[n]
		if c := entry.Command; c != nil && c.Args["incident"] == "newest" {
			if open := e.Open(); len(open) > 0 {
				c.Args["incident"] = open[len(open)-1].ID
			}
		}
		v.see(entry)
		if w.rnd.IntN(60) == 0 {
			again = w.restart(t, e, v)
		}
		before := e.Open()
		changes := e.Step(uint64(n)+1, entry)
		if c := entry.Command; c != nil && c.Name == CommandAcknowledge {
			v.acknowledged(c, before, changes)
		}
		if again != nil {
			if other := again.Step(uint64(n)+1, entry); len(changes)+len(other) > 0 && !reflect.DeepEqual(changes, other) {
				v.fail("after a restart (-without +with):\n%s", cmp.Diff(changes, other))
			}
		}
		for _, c := range changes {
			note(seen, c)
			v.judge(c)
		}
		if entry.Command != nil {
			entry = checks.Entry{V: 1, Command: &checks.Command{At: entry.Command.At, Name: "config"}}
		}
		if a, b := course(plain.Step(uint64(n)+1, entry)), course(changes); !slices.Equal(a, b) {
			v.fail("what opens and resolves (-without +with quiet):\n%s", cmp.Diff(a, b))
		}
		if entry.Tick != nil {
			v.overdue(e)
		}
	}
	for id, i := range v.newest {
		if i.Open() {
			v.fail("%s is open when all is good", id)
		}
	}
	v.storms()
}

// storms wants no more incidents told for the first time within a while than the policy has.
func (v *witness) storms() {
	p := v.w.policy
	for k, at := range v.first {
		if n := k + p.StormGroups; p.StormGroups > 0 && n < len(v.first) && v.first[n].Sub(at) < time.Duration(p.StormWithin)*time.Millisecond {
			v.fail("%d incidents were told one by one from %s to %s", p.StormGroups+1, at.Format(time.TimeOnly), v.first[n].Format(time.TimeOnly))
		}
	}
}

// restart returns an engine in the state of e that agrees with what is stored.
func (w *world) restart(t *testing.T, e *Engine, v *witness) *Engine {
	t.Helper()
	var b bytes.Buffer
	if err := e.Checkpoint(&b); err != nil {
		t.Fatal(err)
	}
	again := w.engine(w.policy, w.subjects)
	if err := again.Restore(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	var stored []Incident
	for _, i := range v.newest {
		stored = append(stored, i)
	}
	if extra := again.Adopt(stored); len(extra) > 0 {
		v.fail("adopting what is stored made %v: %s", titles(extra), extra[0].Incident.Changed)
	}
	return again
}

// alone returns the checks as if none needed another.
func alone(subjects []Subject) []Subject {
	list := slices.Clone(subjects)
	for k := range list {
		list[k].Needs = nil
	}
	return list
}

// course lists what opens and resolves.
func course(changes []Change) (list []string) {
	for _, c := range changes {
		if c.Incident.Group != stormKey && (c.Event == Opened || c.Event == Resolved) {
			list = append(list, string(c.Event)+" "+c.Incident.ID)
		}
	}
	slices.Sort(list)
	return list
}

func note(seen map[string]int, c Change) {
	seen[string(c.Event)]++
	if c.Incident.Group == stormKey {
		seen["storm"]++
	}
	for _, f := range c.Incident.Findings {
		seen[f.Rule]++
	}
	if c.Incident.Reopened > 0 {
		seen["flapping"]++
	}
	if c.Event == Resolved && !c.Incident.Tells() {
		seen["quiet resolved"]++
	}
	for _, what := range []string{"silence", "maintenance", "is down", "waits", "part of"} {
		if strings.Contains(c.Incident.Quiet, what) {
			seen[what]++
		}
	}
}
