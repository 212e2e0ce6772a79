package web

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// row is one check at one place, as the page and the API show it.
type row struct {
	Name      string       `json:"name"`
	Kind      string       `json:"kind"`
	Group     string       `json:"group"`
	URL       string       `json:"url,omitempty"`
	Location  string       `json:"location,omitempty"`
	Interval  float64      `json:"interval_s,omitempty"`
	Status    probe.Status `json:"status"`
	Class     probe.Class  `json:"class,omitempty"`
	Stage     probe.Stage  `json:"stage,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Since     time.Time    `json:"since,omitzero"`
	AtLeast   bool         `json:"since_at_least,omitempty"` // it may have begun before Since
	LastRun   time.Time    `json:"last_run,omitzero"`
	LatencyMS float64      `json:"latency_ms,omitempty"`
	History   []point      `json:"history,omitempty"`

	labels  map[string]string
	several bool // there is a row for another location too

	track *track // nil before the first result; read only while the State is locked
}

// point is one cell of the history.
type point struct {
	Slot      time.Time   `json:"slot"`
	Status    string      `json:"status"` // of a check, or "gap"
	Class     probe.Class `json:"class,omitempty"`
	LatencyMS float64     `json:"latency_ms,omitempty"`
	Slots     uint32      `json:"slots,omitempty"` // of a gap

	Maintenance bool `json:"maintenance,omitempty"` // it is in a maintenance window
}

// view calls f, while s is locked, with one row for each of list and place.
func (s *State) view(list []checks.Check, now time.Time, f func([]row, []alerting.Incident)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f(s.rows(list, now), s.incidents)
}

func (s *State) rows(list []checks.Check, now time.Time) []row {
	rows := make([]row, 0, len(list))
	for _, c := range list {
		places := s.names[c.Name]
		if len(places) == 0 {
			rows = append(rows, newRow(c, nil, now))
		}
		for _, at := range places {
			r := newRow(c, s.tracks[at], now)
			r.several = len(places) > 1
			rows = append(rows, r)
		}
	}
	return rows
}

func newRow(c checks.Check, t *track, now time.Time) row {
	r := row{Name: c.Name, Kind: c.Kind, Group: c.Group, URL: c.Endpoint.URL, Location: c.Location, labels: c.Labels, track: t}
	if r.Group == "" {
		r.Group = c.Name
	}
	if t == nil || t.last.Check == "" {
		_, interval := slotAfter(c, now)
		r.Interval = interval.Seconds()
		r.Status, r.Reason = probe.Unknown, "no result yet"
		return r
	}
	l := &t.last
	r.Location, r.Status, r.Class, r.Stage, r.Reason = l.Location, l.Status, l.Class, l.Stage, l.Reason
	r.Since, r.AtLeast, r.LastRun, r.LatencyMS = t.since, t.atLeast, l.Start, ms(l.Latency)
	due, interval := slotAfter(c, l.Slot)
	r.Interval = interval.Seconds()
	if interval > 0 && now.Sub(due) > interval+30*time.Second { // it would have ended, and be in the log
		quiet := now.Sub(l.Start.Add(l.Duration))
		r.Reason = fmt.Sprintf("no result for %s, want one every %s; the last was %s", brief(quiet), brief(interval), l.Status)
		r.Status, r.Class, r.Stage, r.LatencyMS = probe.Unknown, "", "", 0
		r.Since, r.AtLeast = l.Start, false
	}
	return r
}

// slotAfter returns the first slot of c after t and the time between two slots
// about then; 0 if it has none. A schedule may pause, over the night say: that
// is no interval.
func slotAfter(c checks.Check, t time.Time) (first time.Time, interval time.Duration) {
	if c.Schedule == nil {
		return first, 0
	}
	if first = c.Schedule.Next(t); first.IsZero() {
		return first, 0
	}
	second := c.Schedule.Next(first)
	if second.IsZero() {
		return first, 0
	}
	interval = second.Sub(first)
	if third := c.Schedule.Next(second); !third.IsZero() {
		interval = min(interval, third.Sub(second))
	}
	return first, interval
}

// maintained returns what tells which times are in one of the windows.
func (r row) maintained(windows []alerting.Window) func(time.Time) bool {
	return alerting.Maintained(windows, alerting.Subject{Name: r.Name, Kind: r.Kind, Group: r.Group, Labels: r.labels})
}

// points returns the history of t, oldest first. maintained may be nil.
func (s *State) points(t *track, maintained func(time.Time) bool) []point {
	var ps []point
	t.history(func(c cell) {
		p := point{Slot: time.UnixMilli(c.slot()).UTC(), Status: c.mark.String()}
		p.Maintenance = maintained != nil && maintained(p.Slot)
		if c.mark == markGap {
			p.Slots = c.value
		} else {
			p.LatencyMS = float64(c.value) / 1000
			if int(c.class) < len(s.classes) {
				p.Class = s.classes[c.class]
			}
		}
		ps = append(ps, p)
	})
	return ps
}

// History returns the newest results and gaps of a check, oldest first, at the
// place with the newest result; at most 60. Of results it has slot, status,
// class and latency, of gaps the first slot and the number.
func (s *State) History(check string) []checks.Entry {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var t *track
	for _, at := range s.names[check] {
		if other := s.tracks[at]; t == nil || other.last.Slot.After(t.last.Slot) {
			t = other
		}
	}
	if t == nil {
		return nil
	}
	var list []checks.Entry
	for _, p := range s.points(t, nil) {
		e := checks.Entry{V: checks.ResultVersion}
		if p.Status == markGap.String() {
			e.Gap = &checks.Gap{Check: check, Location: t.last.Location, From: p.Slot, To: p.Slot, Slots: int(p.Slots)}
		} else {
			e.Result = &checks.Result{
				Check: check, Location: t.last.Location, Slot: p.Slot, Start: p.Slot,
				Status: probe.Status(p.Status), Class: p.Class, Latency: time.Duration(p.LatencyMS * float64(time.Millisecond)),
			}
		}
		list = append(list, e)
	}
	return list
}

// bar is one run of equal cells in the picture of a history, as an SVG path.
// The marks differ in height too, not in colour alone.
type bar struct {
	Mark mark
	Path string
}

// picture draws the history of t, newest at the right edge of 60 units, and
// says it in words; veil covers the cells that are in maintenance.
func (t *track) picture(maintained func(time.Time) bool) (bars []bar, veil, words string) {
	x := historyLen - int(min(t.n, historyLen))
	var counts [markGap + 1]int
	var paths [markGap + 1]strings.Builder
	var covers strings.Builder
	covered := 0
	var run mark
	length := 0
	draw := func() {
		if length > 0 {
			top, height := run.extent()
			fmt.Fprintf(&paths[run], "M%d %dh%dv%dh-%dz", x-length, top, length, height, length)
		}
		length = 0
	}
	t.history(func(c cell) {
		if c.mark != run {
			draw()
		}
		run = c.mark
		length++
		if maintained != nil && maintained(time.UnixMilli(c.slot())) {
			fmt.Fprintf(&covers, "M%d 0h1v10h-1z", x)
			covered++
		}
		x++
		counts[c.mark]++
	})
	draw()
	var said []string
	for m := range markGap + 1 {
		if counts[m] > 0 {
			bars = append(bars, bar{m, paths[m].String()})
			said = append(said, fmt.Sprintf("%d %s", counts[m], m))
		}
	}
	words = "last runs: " + strings.Join(said, ", ")
	if covered > 0 {
		words += fmt.Sprintf("; %d of them in maintenance", covered)
	}
	return bars, covers.String(), words
}

// extent is where a mark is drawn on a height of 10 units.
func (m mark) extent() (top, height int) {
	switch m {
	case markUp:
		return 5, 5
	case markDegraded:
		return 3, 7
	case markDown:
		return 0, 10
	case markUnknown:
		return 4, 3
	default:
		return 9, 1
	}
}

// counts are numbers of checks by status.
type counts struct {
	Total    int `json:"total"`
	Up       int `json:"up"`
	Degraded int `json:"degraded"`
	Down     int `json:"down"`
	Unknown  int `json:"unknown"`
}

func (c *counts) add(s probe.Status) {
	c.Total++
	switch s {
	case probe.Up:
		c.Up++
	case probe.Degraded:
		c.Degraded++
	case probe.Down:
		c.Down++
	default:
		c.Unknown++
	}
}

// urgency orders statuses, the worst first.
func urgency(s probe.Status) int {
	return slices.Index([]probe.Status{probe.Down, probe.Degraded, probe.Unknown, probe.Up}, s)
}

// urgency is that of the worst status among them.
func (c counts) urgency() int {
	for i, n := range []int{c.Down, c.Degraded, c.Unknown} {
		if n > 0 {
			return i
		}
	}
	return 3
}

// String says what is not up, or that all is.
func (c counts) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		word string
	}{{c.Down, "down"}, {c.Degraded, "degraded"}, {c.Unknown, "unknown"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.word))
		}
	}
	switch {
	case c.Total == 0:
		return "no checks"
	case len(parts) == 0:
		return fmt.Sprintf("all %d up", c.Total)
	}
	return strings.Join(parts, ", ") + fmt.Sprintf(" of %d", c.Total)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// clock formats t for people: the time of day, with the date if it is not now's.
func clock(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	t, now = t.UTC(), now.UTC()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05")
	}
	return t.Format("2006-01-02 15:04:05")
}

// brief formats d for people, with two units at most.
func brief(d time.Duration) string {
	two := func(big time.Duration, bigName string, small time.Duration, smallName string) string {
		d := d.Round(small)
		if rest := d % big / small; rest != 0 {
			return fmt.Sprintf("%d%s %d%s", d/big, bigName, rest, smallName)
		}
		return fmt.Sprintf("%d%s", d/big, bigName)
	}
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return two(time.Minute, "m", time.Second, "s")
	case d < 48*time.Hour:
		return two(time.Hour, "h", time.Minute, "m")
	default:
		return two(24*time.Hour, "d", time.Hour, "h")
	}
}

// latency formats a latency in milliseconds for people.
func latency(v float64) string {
	switch {
	case v == 0:
		return ""
	case v < 10:
		return fmt.Sprintf("%.1f ms", v)
	case v < 10_000:
		return fmt.Sprintf("%.0f ms", v)
	default:
		return fmt.Sprintf("%.1f s", v/1000)
	}
}
