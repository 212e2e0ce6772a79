package notify

import (
	"encoding/json"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

func TestHours(t *testing.T) {
	for _, c := range []struct {
		hours string
		in    []string // in UTC
		out   []string
	}{
		{
			"Mon-Fri 09:00-18:00 Europe/Berlin", // UTC+1 in winter, UTC+2 in summer
			[]string{"2026-11-23T08:00:00Z", "2026-11-27T16:59:59Z", "2026-07-01T07:00:00Z"},
			[]string{"2026-11-23T07:59:59Z", "2026-11-27T17:00:00Z", "2026-11-21T10:00:00Z", "2026-07-01T16:00:00Z"},
		},
		{
			"Mon-Fri 18:00-09:00, Sat, Sun",
			[]string{"2026-11-23T18:00:00Z", "2026-11-24T08:59:00Z", "2026-11-28T08:59:00Z", "2026-11-28T12:00:00Z", "2026-11-22T23:59:00Z"},
			[]string{"2026-11-23T08:59:00Z", "2026-11-23T09:00:00Z", "2026-11-24T09:00:00Z"},
		}, // Monday morning is not Sunday's night
		{"9:00-12:30", []string{"2026-11-21T09:00:00Z", "2026-11-22T12:29:00Z"}, []string{"2026-11-21T12:30:00Z", "2026-11-21T08:59:00Z"}},
		{"fri-monday 00:00-24:00 UTC", []string{"2026-11-27T00:00:00Z", "2026-11-30T23:59:59Z"}, []string{"2026-12-01T00:00:00Z", "2026-11-26T23:59:59Z"}},
		{"Sun 01:00-04:00 America/New_York", // the clock goes from 02:00 to 03:00 on 8 March 2026
			[]string{"2026-03-08T06:30:00Z", "2026-03-08T07:30:00Z"}, []string{"2026-03-08T08:00:00Z", "2026-03-08T05:59:00Z"}},
		{"", []string{"2026-11-21T09:00:00Z"}, nil},
	} {
		var h Hours
		if c.hours != "" {
			if err := h.UnmarshalText([]byte(c.hours)); err != nil {
				t.Errorf("%q: %v", c.hours, err)
				continue
			}
		}
		for _, text := range slices.Concat(c.in, c.out) {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := h.Contain(at), slices.Contains(c.in, text); got != want {
				t.Errorf("%q contain %s: %t, want %t", c.hours, text, got, want)
			}
		}
		if b, err := json.Marshal(h); err != nil || string(b) != `"`+c.hours+`"` {
			t.Errorf("%q is written %s, %v", c.hours, b, err)
		}
	}
}

func TestHoursErrors(t *testing.T) {
	const want = ", want hours such as Mon-Fri 09:00-18:00 Europe/Berlin"
	for text, problem := range map[string]string{
		"":                          `"" names neither days nor times`,
		"UTC":                       `"UTC" names neither days nor times`,
		"Mon-Fri 09:00-18:00 Mars":  `"Mon-Fri 09:00-18:00 Mars" names the time zone "Mars", which there is not`,
		"Mon-Fry 09:00-18:00":       `"Mon-Fry 09:00-18:00" has "Mon-Fry", which is neither days nor times`,
		"Mon 09:00":                 `"Mon 09:00" has "09:00", which is no time from and to such as 09:00-18:00`,
		"Mon 09:00-25:00":           `"Mon 09:00-25:00" has "09:00-25:00", which is no time from and to such as 09:00-18:00`,
		"Mon 24:00-09:00":           `"Mon 24:00-09:00" has "24:00-09:00", which is no time from and to such as 09:00-18:00`,
		"09:00-09:00":               `"09:00-09:00" has "09:00-09:00", which is no time at all or all of it: all of it is 00:00-24:00`,
		"9-18 Europe/Berlin":        `"9-18 Europe/Berlin" has "9-18", which is neither days nor times`,
		"Mon-Fri 09:00-18:00 Local": "",
	} {
		var h Hours
		err := h.UnmarshalText([]byte(text))
		switch {
		case problem == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case problem != "" && (err == nil || err.Error() != problem+want):
			t.Errorf("%q:\n got %v\nwant %s", text, err, problem+want)
		}
	}
}

func FuzzHours(f *testing.F) {
	f.Add("Mon-Fri 09:00-18:00 Europe/Berlin", int64(0))
	f.Add("Sat, Sun 22:00-6:00", int64(1e9))
	f.Fuzz(func(t *testing.T, text string, at int64) {
		var h, again Hours
		if h.UnmarshalText([]byte(text)) != nil {
			return
		}
		b, err := h.MarshalText()
		if err == nil {
			err = again.UnmarshalText(b)
		}
		if when := time.Unix(at, 0); err != nil || h.Contain(when) != again.Contain(when) {
			t.Errorf("%q is written %q: %v", text, b, err)
		}
	})
}

func TestRouteDue(t *testing.T) {
	t0 := time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC) // a Monday
	base := alerting.Incident{Group: "ws", Severity: alerting.Page, Since: t0.Add(-time.Hour), Opened: t0, Labels: map[string]string{"team": "web", "env": "live"}}
	var hours Hours
	if err := hours.UnmarshalText([]byte("Mon-Fri 09:00-18:00 Europe/Berlin")); err != nil {
		t.Fatal(err)
	}
	quarter := Route{EscalateAfter: probe.Duration(15 * time.Minute)}
	taken := base
	taken.Acknowledged = &alerting.Acknowledgement{At: t0, By: "anna"}
	old := base
	old.Opened = time.Time{}
	storm := alerting.Incident{Group: alerting.StormGroup, Severity: alerting.Page, Since: t0, Opened: t0, Parts: []alerting.Part{
		{Group: "ws", Severity: alerting.Page, Labels: map[string]string{"team": "web"}},
		{Group: "api", Severity: alerting.Ticket, Labels: map[string]string{"team": "back"}},
	}}
	large := storm
	large.MoreParts = true
	tickets := large
	tickets.Severity = alerting.Ticket
	to := func(group string) []string { return []string{group} }
	team := func(name string) map[string]string { return map[string]string{"team": name} }
	held := base // opened quietly, told later
	held.ToldAt = t0.Add(10 * time.Minute)
	for name, c := range map[string]struct {
		route Route
		i     alerting.Incident
		after time.Duration
		want  bool
	}{
		"a storm by name":                    {Route{When: When{Groups: to("storm")}}, storm, 0, true},
		"a storm by the group of a part":     {Route{When: When{Groups: to("api")}}, storm, 0, true},
		"a storm of other groups":            {Route{When: When{Groups: to("db")}}, storm, 0, false},
		"a storm by the labels of a part":    {Route{When: When{Labels: team("back")}}, storm, 0, true},
		"group and labels of another part":   {Route{When: When{Groups: to("ws"), Labels: team("back")}}, storm, 0, false},
		"severity of another part":           {Route{When: When{Groups: to("api"), Severity: alerting.Page}}, storm, 0, false},
		"severity of the part":               {Route{When: When{Groups: to("api"), Severity: alerting.Ticket}}, storm, 0, true},
		"a storm after hours":                {Route{When: When{Groups: to("api"), Hours: hours}}, storm, 9 * time.Hour, false},
		"a storm of more than is listed":     {Route{When: When{Groups: to("db"), Labels: team("data")}}, large, 0, true},
		"a large storm of pages":             {Route{When: When{Groups: to("db"), Severity: alerting.Page}}, large, 0, true},
		"a large storm of tickets":           {Route{When: When{Groups: to("db"), Severity: alerting.Page}}, tickets, 0, false},
		"a large storm on standby":           {Route{Standby: true}, large, 0, false},
		"a large storm that is not yet late": {quarter, large, 0, false},

		"all":              {Route{}, base, 0, true},
		"standby":          {Route{Standby: true}, base, 0, false},
		"severity":         {Route{When: When{Severity: alerting.Page}}, base, 0, true},
		"other severity":   {Route{When: When{Severity: alerting.Ticket}}, base, 0, false},
		"group":            {Route{When: When{Groups: []string{"api", "ws"}}}, base, 0, true},
		"other group":      {Route{When: When{Groups: []string{"api"}}}, base, 0, false},
		"labels":           {Route{When: When{Labels: map[string]string{"team": "web"}}}, base, 0, true},
		"other label":      {Route{When: When{Labels: map[string]string{"team": "web", "env": "test"}}}, base, 0, false},
		"no such label":    {Route{When: When{Labels: map[string]string{"tier": ""}}}, base, 0, false},
		"hours":            {Route{When: When{Hours: hours}}, base, 0, true},
		"after hours":      {Route{When: When{Hours: hours}}, base, 9 * time.Hour, false},
		"too early":        {quarter, base, 15*time.Minute - time.Second, false},
		"escalated":        {quarter, base, 15 * time.Minute, true},
		"acknowledged":     {quarter, taken, time.Hour, false},
		"told just now":    {quarter, held, 15 * time.Minute, false},
		"told long ago":    {quarter, held, 25 * time.Minute, true},
		"of an old record": {quarter, old, 0, true},
	} {
		if got := c.route.Due(c.i, t0.Add(c.after)); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

// escalation routes to slack at once, and to pager after five minutes.
func escalation(i alerting.Incident, at time.Time) []string {
	names := []string{"slack"}
	if (Route{EscalateAfter: probe.Duration(5 * time.Minute)}).Due(i, at) {
		names = append(names, "pager")
	}
	return names
}

func evaluateRoute(t *testing.T, log *memLog, store Store, route func(alerting.Incident, time.Time) []string) *evaluation {
	rules := newRules()
	e := &evaluation{done: make(chan error, 1), rules: rules}
	e.Evaluator = NewEvaluator(EvaluatorConfig{Engine: rules, Log: log, Store: store, Logger: logger(t), Route: route})
	e.run(t)
	return e
}

// Recipients grow when an escalation falls due, at a tick, and stay until the
// end. An incident that ends before tells nobody else.
func TestEscalation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(6000, 0)
		log, store := newMemLog(), newMemStore()
		e := evaluateRoute(t, log, store, escalation)
		log.append(entries(t0, "a- b-")...)
		log.append(entries(t0.Add(2*time.Minute), "b+")...)
		log.append(tick(t0.Add(4 * time.Minute))...)
		log.append(tick(t0.Add(5 * time.Minute))...)
		log.append(tick(t0.Add(6 * time.Minute))...)
		log.append(entries(t0.Add(7*time.Minute), "a+")...)
		synctest.Wait()
		want := []string{"slack a@6000 v1", "slack b@6000 v1", "slack b@6000 v2", "pager a@6000 v1", "slack a@6000 v1", "pager a@6000 v2", "slack a@6000 v2"}
		if diff := cmp.Diff(want, store.told()); diff != "" {
			t.Errorf("outbox (-want +got):\n%s", diff)
		}
		e.stop(t)
		e = evaluateRoute(t, log, store, escalation)
		if diff := cmp.Diff(want, store.told()); diff != "" {
			t.Errorf("outbox after a restart (-want +got):\n%s", diff)
		}
		e.stop(t)
	})
}

// However the program ends at whichever commit, the same people are told in
// the end.
func TestEscalationCrashes(t *testing.T) {
	t0 := time.Unix(6000, 0)
	batches := [][]checks.Entry{
		entries(t0, "a- b-"), entries(t0.Add(2*time.Minute), "b+ c-"), tick(t0.Add(5 * time.Minute)),
		append(entries(t0.Add(6*time.Minute), "a-"), tick(t0.Add(6*time.Minute))...), tick(t0.Add(8 * time.Minute)),
		entries(t0.Add(9*time.Minute), "a+"), entries(t0.Add(10*time.Minute), "c+"),
	}
	last := func(s *memStore) map[string]string {
		newest := map[string]string{}
		for _, r := range s.list([]string{keyOutbox}) {
			newest[r.Key[1]+" "+r.Key[2]] = string(r.Value)
		}
		return newest
	}
	run := func(t *testing.T, dieAt int, stored bool) (map[string]string, int) {
		var result map[string]string
		commits := 0
		synctest.Test(t, func(t *testing.T) {
			store := newMemStore()
			dead := false
			die := func(after bool) func([]Write) error {
				return func([]Write) error {
					dead = dead || store.commits == dieAt && after == stored
					if dead {
						return errDisk
					}
					return nil
				}
			}
			store.before, store.after = die(false), die(true)
			log := newMemLog(batches...)
			e := evaluateRoute(t, log, store, escalation)
			_ = e.kill() // that it failed is the point
			store.before, store.after = nil, nil
			e = evaluateRoute(t, log, store, escalation)
			e.stop(t)
			result, commits = last(store), store.commits
		})
		return result, commits
	}
	want, commits := run(t, -1, false)
	if len(want) != 5 { // a and c by both, b by slack
		t.Fatalf("%d outbox entries, want 5: %v", len(want), want)
	}
	for n := 1; n <= commits; n++ {
		for _, stored := range []bool{false, true} {
			got, _ := run(t, n, stored)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("crash at commit %d, stored %t (-want +got):\n%s", n, stored, diff)
			}
		}
	}
}

// quietRules say what a test has put into their changes.
type quietRules struct {
	*ruleOfThumb
	quiet map[time.Time]string // by entry time: the reason from then on
	now   string
	told  map[string]int // by incident
}

func (r *quietRules) Step(seq uint64, e checks.Entry) []alerting.Change {
	changes := r.ruleOfThumb.Step(seq, e)
	if why, ok := r.quiet[e.Time()]; ok {
		r.now = why
		for id, i := range r.Open {
			i = then(i, "quiet: "+why, e.Time())
			r.Open[id] = i
			changes = append(changes, alerting.Change{Incident: i})
		}
	}
	for k := range changes {
		i := &changes[k].Incident
		i.Quiet = r.now
		if i.Quiet == "" || !i.Open() && r.told[i.ID] > 0 { // the end of what was told is told
			r.told[i.ID] = i.Version
		}
		i.Told = r.told[i.ID]
	}
	return changes
}

// While an incident is quiet nobody new is told of it.
func TestQuietTellsNobodyNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(6000, 0)
		at := func(minute int) time.Time { return t0.Add(time.Duration(minute) * time.Minute) }
		rules := &quietRules{newRules(), map[time.Time]string{at(1): "silenced", at(10): "", at(11): "storm"}, "", map[string]int{}}
		log, store := newMemLog(), newMemStore()
		e := &evaluation{done: make(chan error, 1)}
		e.Evaluator = NewEvaluator(EvaluatorConfig{Engine: rules, Log: log, Store: store, Logger: logger(t), Route: escalation})
		e.run(t)
		log.append(entries(at(0), "a-")...)
		log.append(tick(at(1))...)
		log.append(entries(at(2), "b-")...) // opens quietly
		log.append(entries(at(3), "c-")...) // and ends so
		log.append(entries(at(4), "c+")...)
		log.append(tick(at(7))...)  // the escalation of a would be due
		log.append(tick(at(10))...) // no longer quiet
		log.append(tick(at(11))...)
		log.append(entries(at(12), "a+ b+")...) // the resolve goes to whoever was told
		synctest.Wait()
		want := []string{
			"slack a@6000 v1", // then silenced
			"pager a@6000 v3", "pager b@6120 v2", "slack a@6000 v3", "slack b@6120 v2",
			"pager a@6000 v5", "pager b@6120 v4", "slack a@6000 v5", "slack b@6120 v4",
		}
		got := store.told()
		for k := 0; k < len(got); k += 4 { // the order within a step follows a map
			slices.Sort(got[min(k+1, len(got)):min(k+5, len(got))])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("outbox (-want +got):\n%s", diff)
		}
		e.stop(t)
	})
}

// An incident that opens and ends within one batch is told to whom it would
// have been told had anybody looked in between.
func TestOpenedAndEndedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, store := newMemLog(append(entries(time.Unix(6000, 0), "a-"), entries(time.Unix(6001, 0), "a+")...)), newMemStore()
		e := evaluateRoute(t, log, store, escalation)
		if diff := cmp.Diff([]string{"slack a@6000 v2"}, store.told()); diff != "" {
			t.Errorf("outbox (-want +got):\n%s", diff)
		}
		e.stop(t)
	})
}

func TestDelegate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(6000, 0)
		log, store := newMemLog(entries(t0, "a-")), newMemStore()
		e := evaluate(t, log, store)
		for range 2 {
			delegate(t, e, "a@6000", "backup", "slack has not delivered for 5m: <no>\nanswer", true)
		}
		delegate(t, e, "a@6000", "slack", "it is told already", true)
		delegate(t, e, "unknown", "slack", "there is none", false)
		e.stop(t)
		e = evaluate(t, log, store)
		log.append(entries(t0.Add(time.Minute), "a+")...)
		synctest.Wait()
		want := []string{"slack a@6000 v1", "backup a@6000 v1", "backup a@6000 v2", "slack a@6000 v2"}
		if diff := cmp.Diff(want, store.told()); diff != "" {
			t.Errorf("outbox (-want +got):\n%s", diff)
		}
		for name, want := range map[string]string{"backup": "slack has not delivered for 5m: <no> answer", "slack": ""} {
			if o, _ := stored[order](t, store, keyOutbox, name, "a@6000"); o.Because != want || o.Open() {
				t.Errorf("%s: because %q, want %q", name, o.Because, want)
			}
		}
		e.stop(t)
	})
}

// delegate hands an incident over, or not.
func delegate(t *testing.T, e *evaluation, id, to, because string, want bool) {
	t.Helper()
	if handed, err := e.Delegate(t.Context(), id, to, because); err != nil || handed != want {
		t.Errorf("%s handed to %s: %t (%v), want %t", id, to, handed, err, want)
	}
}

// What is quiet is handed over once it no longer is, whether its newest version
// says anything new or not; until then nothing is noted.
func TestDelegateQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t0 := time.Unix(6000, 0)
		i := opened("a@6000", t0)
		i.Told, i.Version, i.Quiet = 1, 2, "silenced"
		log, store := newMemLog(), newMemStore()
		put := func(kind ...string) {
			t.Helper()
			if err := store.Commit(t.Context(), Write{Key: append(kind, i.ID), Value: encode(i)}); err != nil {
				t.Fatal(err)
			}
		}
		put(keyIncident)
		put(keyOutbox, "slack")
		e := evaluate(t, log, store)
		synctest.Wait()
		delegate(t, e, i.ID, "backup", "slack gave up", false)
		if _, there := stored[order](t, store, keyOutbox, "backup", i.ID); there {
			t.Error("the fallback is to tell what is quiet")
		}
		e.stop(t)

		i.Version, i.Quiet = 3, "" // no longer quiet, and nothing new
		put(keyIncident)
		e = evaluate(t, log, store)
		synctest.Wait()
		delegate(t, e, i.ID, "backup", "slack gave up", true)
		o, _ := stored[order](t, store, keyOutbox, "backup", i.ID)
		if o.Version != 3 || o.Because != "slack gave up" {
			t.Errorf("the fallback is to tell version %d because %q, want 3 and the reason", o.Version, o.Because)
		}
		e.stop(t)
		e = evaluate(t, log, store) // it is known after a restart
		synctest.Wait()
		commits := store.commits
		delegate(t, e, i.ID, "backup", "slack gave up", true)
		if store.commits != commits {
			t.Error("it was handed over again")
		}
		e.stop(t)
	})
}
