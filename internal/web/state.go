package web

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// historyLen is how many runs of each check are kept for the page, at 12 bytes.
const historyLen = 60

// State is what the pages show: the newest result of every check with a short
// history, and the incidents. It lives in memory and is rebuilt by replaying
// the end of the log. It also feeds the readers of /live.
type State struct {
	mu        sync.RWMutex
	seq       uint64
	tracks    map[place]*track
	names     map[string][]place // by check
	classes   []probe.Class      // cells hold an index into it
	incidents []alerting.Incident
	readers   map[*reader]struct{}
}

// place is a check seen from one location.
type place struct{ check, location string }

// track is what is known of one check at one place.
type track struct {
	last    checks.Result
	since   time.Time   // slot of the first result with last's status
	atLeast bool        // the status may be older: the log was not read that far back
	gap     *checks.Gap // the newest; nil if there was none
	cells   []cell      // a ring once it is full; it grows with the history
	n       uint64      // cells ever written
}

// cell is one run, or one row of slots without runs.
type cell struct {
	second uint32 // of the slot, Unix time
	milli  uint16 // and its milliseconds
	mark   mark
	class  uint8
	value  uint32 // latency in microseconds; of gaps the number of slots, 0 if unknown
}

func newCell(slot time.Time, m mark) cell {
	return cell{second: uint32(slot.Unix()), milli: uint16(slot.Nanosecond() / 1e6), mark: m}
}

// slot returns the slot in Unix milliseconds.
func (c cell) slot() int64 { return int64(c.second)*1000 + int64(c.milli) }

// mark is what a cell shows: the four statuses, and slots without a run.
type mark uint8

const (
	markUp mark = iota
	markDegraded
	markDown
	markUnknown
	markGap
)

func markOf(s probe.Status) mark {
	switch s {
	case probe.Up:
		return markUp
	case probe.Degraded:
		return markDegraded
	case probe.Down:
		return markDown
	default:
		return markUnknown
	}
}

func (m mark) String() string {
	return [...]string{"up", "degraded", "down", "unknown", "gap"}[m]
}

// NewState makes a State that knows nothing yet.
func NewState() *State {
	return &State{tracks: map[place]*track{}, names: map[string][]place{}, readers: map[*reader]struct{}{}}
}

// Apply takes the entries of one batch of the log, in the order of the log.
// A batch whose seq is not higher than the last one's changes nothing.
func (s *State) Apply(seq uint64, entries []checks.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.seq {
		return
	}
	s.seq = seq
	for _, e := range entries {
		switch {
		case e.Result != nil:
			s.result(e.Result)
		case e.Gap != nil:
			s.gap(e.Gap)
		}
	}
	s.publish(liveEntries{Type: "entries", Seq: seq, Entries: entries})
}

// Seq returns the position of the newest batch that was applied, 0 if none was.
func (s *State) Seq() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.seq
}

// Incidents sets the incidents to show: the open ones and the newest of those
// that have ended.
func (s *State) Incidents(list []alerting.Incident) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.incidents = slices.Clone(list)
	slices.SortStableFunc(s.incidents, func(a, b alerting.Incident) int { return b.Since.Compare(a.Since) })
	s.publish(liveIncidents{Type: "incidents", Incidents: s.incidents})
}

func (s *State) result(r *checks.Result) {
	t := s.track(place{r.Check, r.Location})
	switch {
	case t.last.Check == "":
		t.since, t.atLeast = r.Slot, true
	case t.last.Status != r.Status:
		t.since, t.atLeast = r.Slot, false
	}
	t.last = *r
	c := newCell(r.Slot, markOf(r.Status))
	c.class, c.value = s.class(r.Class), uint32(min(r.Latency.Microseconds(), 1<<32-1))
	t.add(c)
}

func (s *State) gap(g *checks.Gap) {
	c := newCell(g.From, markGap)
	if g.Check != "" {
		c.value = uint32(min(g.Slots, 1<<32-1))
		t := s.track(place{g.Check, g.Location})
		t.gap = g
		t.add(c)
		return
	}
	for at, t := range s.tracks { // the number is that of all checks together
		if at.location == g.Location {
			t.gap = g
			t.add(c)
		}
	}
}

func (s *State) track(at place) *track {
	t := s.tracks[at]
	if t == nil {
		t = &track{}
		s.tracks[at] = t
		s.names[at.check] = append(s.names[at.check], at)
		slices.SortFunc(s.names[at.check], func(a, b place) int { return cmp.Compare(a.location, b.location) })
	}
	return t
}

// class returns the index of c in s.classes; the list is closed and short.
func (s *State) class(c probe.Class) uint8 {
	i := slices.Index(s.classes, c)
	if i < 0 {
		i = len(s.classes)
		if i > 255 {
			return 255
		}
		s.classes = append(s.classes, c)
	}
	return uint8(i)
}

func (t *track) add(c cell) {
	if len(t.cells) < historyLen {
		if len(t.cells) == cap(t.cells) {
			t.cells = append(make([]cell, 0, min(max(4, 2*len(t.cells)), historyLen)), t.cells...)
		}
		t.cells = append(t.cells, c)
	} else {
		t.cells[t.n%historyLen] = c
	}
	t.n++
}

// history calls f for each cell, oldest first.
func (t *track) history(f func(cell)) {
	for i := t.n - min(t.n, historyLen); i < t.n; i++ {
		f(t.cells[i%historyLen])
	}
}
