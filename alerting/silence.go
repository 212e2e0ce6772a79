package alerting

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Silence keeps people from being told of some checks for a while. What is
// found meanwhile is told when it ends, if it still holds. With Maintenance it
// is a maintenance window that somebody has begun.
type Silence struct {
	ID          string    `json:"id"`
	Maintenance bool      `json:"maintenance,omitempty"`
	Select      Select    `json:"select,omitzero"`
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
	UntilGreen  bool      `json:"until_green,omitempty"` // it ends before when what was bad in it and all its other checks are good
	By          string    `json:"by"`
	Why         string    `json:"why,omitempty"`

	// Goods counts, by check, the good results in a row since it began, if it
	// ends with them.
	Goods map[string]int `json:"goods,omitempty"`
	// Bad says that there was a bad result since: before a deployment all is good too.
	Bad bool `json:"bad,omitempty"`
}

// silence is a Silence with the checks that it covers.
type silence struct {
	Silence
	covers []bool
	text   string
}

func (e *Engine) covering(q Silence) *silence {
	q.Goods = maps.Clone(q.Goods)
	what := "silence"
	if q.Maintenance {
		what = "maintenance"
	}
	s := &silence{Silence: q, covers: e.covers(q.Select), text: fmt.Sprintf("%s by %s until %s", what, q.By, clock(q.Until, q.From))}
	if q.Why != "" {
		s.text += ": " + q.Why
	}
	return s
}

// covers tells of each check whether s selects it.
func (e *Engine) covers(s Select) []bool {
	list := make([]bool, len(e.subjects))
	for i, c := range e.subjects {
		list[i] = s.Matches(*c)
	}
	return list
}

func (q *silence) active(ms int64) bool {
	return q.From.UnixMilli() <= ms && ms < q.Until.UnixMilli()
}

// isGroup tells whether s selects a group, and by nothing else.
func (s Select) isGroup(group string) bool {
	return s.Group == group && s.Kind == "" && s.Name == "" && len(s.Labels) == 0
}

// remembered is for how long a maintenance window that has ended is known:
// results of its time may still come, and people look back at them.
const remembered = 24 * time.Hour

// expire forgets what has ended, and notes when the next of it does.
func (e *Engine) expire() {
	e.silences = slices.DeleteFunc(e.silences, func(q *silence) bool {
		until := q.Until
		if q.Maintenance {
			until = until.Add(remembered)
		}
		return until.UnixMilli() <= e.clock
	})
	for _, q := range e.silences {
		if q.active(e.clock) {
			e.wakeAt(q.Until.UnixMilli())
		}
	}
	for k := range e.windows {
		e.wakeAt(e.windows[k].turn(e.clock))
	}
}

// silence adds a silence or a maintenance window.
func (e *Engine) silence(q Silence) {
	e.silences = append(e.silences, e.covering(q))
	e.wake = 0
}

// endSilence ends a silence or a maintenance window.
func (e *Engine) endSilence(q *silence) {
	q.Until = at(max(e.clock, q.From.UnixMilli()))
	e.wake = 0
}

// Silences returns the silences and the begun maintenance windows that last, in
// the order in which they were made.
func (e *Engine) Silences() (list []Silence) {
	for _, q := range e.silences {
		if q.active(e.clock) {
			s := q.Silence
			s.Goods = nil
			list = append(list, s)
		}
	}
	return list
}

func (e *Engine) findSilence(id string, maintenance bool) *silence {
	for _, q := range e.silences {
		if q.ID == id && q.Maintenance == maintenance && q.active(e.clock) {
			return q
		}
	}
	return nil
}
