package alerting

import (
	"math"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Incidents says what becomes of incidents that come too many at once, too
// often, or last too long.
type Incidents struct {
	// Storm gathers incidents that open at once.
	Storm StormPolicy `yaml:"storm,omitempty" json:"storm,omitzero"`
	// Flapping keeps an incident open whose group breaks again and again.
	Flapping FlappingPolicy `yaml:"flapping,omitempty" json:"flapping,omitzero"`
	// RemindAfter is how long after it was told people are reminded of an
	// incident that is open and that nobody has acknowledged; the time doubles
	// with every reminder, up to 24h. Default 0: never.
	RemindAfter probe.Duration `yaml:"remind_after,omitempty" json:"remind_after,omitempty"`
}

// StormPolicy gathers incidents that open at once: when people were told of so
// many within a while, the further ones become part of one incident, "storm".
// Its message, which comes within 3 s, lists them; it is told again as they get
// more, at most once in the time of within, and resolves when all of them have.
type StormPolicy struct {
	// Groups is how many incidents are told one by one. Default 10, 0 for any number.
	Groups *int `yaml:"groups,omitempty" json:"groups,omitempty"`
	// Within is how long a while is. Default 1m.
	Within probe.Duration `yaml:"within,omitempty" json:"within,omitempty"`
}

// FlappingPolicy keeps an incident open whose group breaks again and again,
// until nothing was bad for half of the time of within; for all of it if
// reopens is 1.
type FlappingPolicy struct {
	// Reopens is how many incidents must follow a first one. Default 3, 0 for never.
	Reopens *int `yaml:"reopens,omitempty" json:"reopens,omitempty"`
	// Within is the time in which they do. Default 1h.
	Within probe.Duration `yaml:"within,omitempty" json:"within,omitempty"`
}

// Validate returns everything that is wrong with the settings.
func (s *Incidents) Validate() []probe.Problem {
	var p problems
	count := func(path string, n *int) {
		if n != nil && (*n < 0 || *n > 1000) {
			p.add(path, "%d, want 0 to 1000", *n)
		}
	}
	period := func(path string, d probe.Duration, least, most time.Duration) {
		if d != 0 && (time.Duration(d) < least || time.Duration(d) > most) {
			p.add(path, "%s, want %s to %s", d, probe.Duration(least), probe.Duration(most))
		}
	}
	count("storm.groups", s.Storm.Groups)
	period("storm.within", s.Storm.Within, time.Second, time.Hour)
	count("flapping.reopens", s.Flapping.Reopens)
	period("flapping.within", s.Flapping.Within, time.Minute, 24*time.Hour)
	period("remind_after", s.RemindAfter, time.Minute, mostRemind)
	return p
}

// Policy returns the settings with their defaults, and without windows.
func (s *Incidents) Policy() Policy {
	or := func(n *int, otherwise int) int {
		if n == nil {
			return otherwise
		}
		return *n
	}
	return Policy{
		StormGroups: or(s.Storm.Groups, 10), StormWithin: millis(time.Duration(s.Storm.Within), time.Minute),
		Reopens: or(s.Flapping.Reopens, 3), FlapWithin: millis(time.Duration(s.Flapping.Within), time.Hour),
		Remind: time.Duration(s.RemindAfter).Milliseconds(),
	}
}

// Policy is what an Engine does with incidents. Times are milliseconds. The
// zero Policy does nothing.
type Policy struct {
	StormGroups int // so many are told one by one, 0: any number
	StormWithin int64
	Reopens     int // so many reopenings are flapping, 0: none are
	FlapWithin  int64
	Remind      int64 // 0: never
	Windows     []Window
}

const never = math.MaxInt64

// SetPolicy replaces what is done with incidents, from the next entry on. A new
// engine has the zero Policy.
func (e *Engine) SetPolicy(p Policy) {
	e.policy = p
	e.windows = make([]calendar, len(p.Windows))
	for k, w := range p.Windows {
		e.windows[k] = calendar{Window: w, covers: e.covers(w.Select)}
	}
	e.wake = 0
}
