package ruletest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Suite is some rules, the checks they look at, what is done with incidents,
// and what is expected of all that.
type Suite struct {
	Rules    []alerting.Rule
	Subjects []alerting.Subject
	Policy   alerting.Policy
	Cases    []Case
}

// Case is one test.
type Case struct {
	Name     string
	Line     int                // in its file
	Begin    time.Time          // of the first slot, which all checks have in common; zero: Begin
	Input    map[string][]Point // by check
	Commands []Command
	Expect   []Expected
}

// Command is what a person says in a case, before the results of its time.
type Command struct {
	checks.Command               // without its time
	At             time.Duration // after the first slot
	Group          string        // whose open incident an acknowledgement is for: ids are known only then
	Line           int
}

// Begin is when a case begins that does not say when: a Monday, far from any
// change of the clocks.
func Begin() time.Time { return time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC) }

// Run runs a case and returns what is wrong, for people; nothing if all is
// as expected.
func (s Suite) Run(c Case) []string {
	if c.Begin.IsZero() {
		c.Begin = Begin()
	}
	// Checks without input do not take part: they would be absent.
	s.Subjects = slices.DeleteFunc(slices.Clone(s.Subjects), func(sub alerting.Subject) bool { return len(c.Input[sub.Name]) == 0 })
	r := run{begin: c.Begin, known: map[string]*incident{}, engine: alerting.NewEngine(s.Rules, s.Subjects)}
	r.engine.SetPolicy(s.Policy)
	for _, ev := range s.events(c) {
		r.wait(ev.entry.Time())
		if ev.command == nil || r.obeys(ev.command, ev.entry.Command) {
			r.step(ev.entry)
		}
	}
	return append(r.refused, difference(c.Expect, r.incidents)...)
}

// run is a case that is under way.
type run struct {
	begin     time.Time
	engine    *alerting.Engine
	seq       uint64
	now       time.Time // of the newest entry
	incidents []*incident
	known     map[string]*incident // the same, by id
	refused   []string             // commands that had no effect
}

func (r *run) step(e checks.Entry) {
	r.seq++
	r.now = e.Time()
	at := r.now.Sub(r.begin)
	for _, ch := range r.engine.Step(r.seq, e) {
		i := r.known[ch.Incident.ID]
		if i == nil {
			i = &incident{group: ch.Incident.Group, opened: at}
			r.known[ch.Incident.ID] = i
			r.incidents = append(r.incidents, i)
		}
		i.note(ch, at)
	}
}

// wait lets time pass until the next entry. As with the monitor, the rules get
// a tick whenever time alone may change who is told.
func (r *run) wait(next time.Time) {
	for due := r.engine.Due(); !due.IsZero() && due.Before(next); {
		at := due
		if r.now.After(at) {
			at = r.now
		}
		r.step(checks.Entry{V: checks.ResultVersion, Tick: &checks.Tick{At: at}})
		if due = r.engine.Due(); !due.After(at) {
			return
		}
	}
}

// obeys completes a command and tells whether it has an effect.
func (r *run) obeys(c *Command, as *checks.Command) bool {
	err := fmt.Errorf("no incident of group %q is open", c.Group)
	if c.Group != "" {
		for _, i := range r.engine.Open() {
			if i.Group == c.Group {
				as.Args = map[string]string{"incident": i.ID}
				err = nil
			}
		}
	}
	if c.Group == "" || err == nil {
		err = r.engine.Refuse(*as)
	}
	if err != nil {
		r.refused = append(r.refused, fmt.Sprintf("line %d: %s at %s: %s", c.Line, c.Name, probe.Duration(c.At), err))
	}
	return err == nil
}

// event is an entry, with the command that it comes of if it is one.
type event struct {
	entry   checks.Entry
	command *Command
}

// events makes the log of a case: commands, results and gaps by time, and a
// tick each minute.
func (s Suite) events(c Case) []event {
	var list []event
	for k := range c.Commands {
		as := c.Commands[k].Command
		as.At = c.Begin.Add(c.Commands[k].At)
		list = append(list, event{checks.Entry{V: checks.ResultVersion, Command: &as}, &c.Commands[k]})
	}
	for _, sub := range s.Subjects {
		list = append(list, series(sub, c.Input[sub.Name], c.Begin)...)
	}
	end := c.Begin.Add(s.End(c))
	for at := c.Begin.Add(30 * time.Second); at.Before(end); at = at.Add(time.Minute) {
		list = append(list, event{entry: checks.Entry{V: checks.ResultVersion, Tick: &checks.Tick{At: at}}})
	}
	slices.SortStableFunc(list, func(a, b event) int { return a.entry.Time().Compare(b.entry.Time()) })
	return list
}

// End is how long after the first slot of a case its last one is.
func (s Suite) End(c Case) (end time.Duration) {
	for _, sub := range s.Subjects {
		if n := len(c.Input[sub.Name]); n > 0 {
			end = max(end, time.Duration(n-1)*interval(sub))
		}
	}
	return end
}

// year is how long a case may be at most: it has a tick for each of its minutes.
const year = 366 * 24 * time.Hour

// MostSlots is how many slots of a check fit into the longest case, a year.
func MostSlots(s alerting.Subject) int { return int(year/interval(s)) + 1 }

func interval(s alerting.Subject) time.Duration { return cmp.Or(max(s.Interval, 0), time.Minute) }

// series makes the results and gaps of one check.
func series(sub alerting.Subject, points []Point, begin time.Time) (list []event) {
	for k := 0; k < len(points); k++ {
		slot := begin.Add(time.Duration(k) * interval(sub))
		e := checks.Entry{V: checks.ResultVersion}
		if points[k].Gap {
			from := k
			for k+1 < len(points) && points[k+1].Gap {
				k++
			}
			to := begin.Add(time.Duration(k) * interval(sub))
			e.Gap = &checks.Gap{Check: sub.Name, Location: location(sub), From: slot, To: to, Slots: k - from + 1, Reason: "gap in the test"}
		} else {
			e.Result = result(sub, points[k], slot)
		}
		list = append(list, event{entry: e})
	}
	return list
}

func location(s alerting.Subject) string { return cmp.Or(s.Location, "local") }

// result makes a result that is known as soon as it begins: the times of a test
// are those of its slots.
func result(s alerting.Subject, p Point, slot time.Time) *checks.Result {
	r := &checks.Result{
		Check: s.Name, Kind: s.Kind, Group: s.Group, Location: location(s), Slot: slot, Start: slot,
		Latency: p.Latency, Status: p.Status, Class: p.Class, Measures: p.Measures,
	}
	if p.Status != probe.Up {
		r.Reason = fmt.Sprintf("%s in the test", p.Class)
	}
	return r
}
