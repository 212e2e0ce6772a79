package alerting

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tripline/tripline/checks/probe"
)

// The values of Measure.Stat besides mean.
const (
	statLast = "last"
	statMin  = "min"
	statMax  = "max"
)

// Number is a number that is compared with recorded ones: 1000, -0.5, or a
// percentage such as 33%, which is 0.33.
type Number float64

// ParseNumber reads a number.
func ParseNumber(s string) (Number, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	number = strings.TrimRight(number, " ")
	if percent {
		number += "e-2" // dividing by 100 would round
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) || strings.ContainsAny(number, "xXpP_") {
		return 0, fmt.Errorf("%q is no number, want one such as 1000, 0.5 or 33%%", s)
	}
	return Number(f), nil
}

// MarshalText writes n in all its digits.
func (n Number) MarshalText() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(n), 'g', -1, 64), nil
}

// UnmarshalText reads what ParseNumber reads.
func (n *Number) UnmarshalText(b []byte) error {
	v, err := ParseNumber(string(b))
	if err != nil {
		return err
	}
	*n = v
	return nil
}

func (m *Measure) stat() string {
	if m.Stat == "" && m.Over > 0 {
		return statMean
	}
	return cmp.Or(m.Stat, statLast)
}

// limit returns what is compared with, and whether it must be exceeded.
func (m *Measure) limit() (limit float64, above bool) {
	if m.Above != nil {
		return float64(*m.Above), true
	}
	if m.Below != nil {
		return float64(*m.Below), false
	}
	return math.Inf(1), true
}

// least returns how many values a window of so many slots must hold.
func (m *Measure) least(slots int64) int {
	switch {
	case m.stat() == statLast:
		return 1
	case m.MinSamples > 0:
		return m.MinSamples
	}
	return int(min(slots, defaultSamples))
}

// series are the values of a window, or for last the newest one.
type series struct {
	Points []point `json:"p"` // by slot
}

// point is one value, or what those of a slice of the window come to.
type point struct {
	Slot int64   `json:"s"` // the first one
	N    int     `json:"n"`
	V    float64 `json:"v"` // the last, the sum, the least or the greatest
}

// measure counts what a result of c recorded, and judges the figure.
func (w *watch) measure(values *series, c *check, s *sample) {
	if s.verdict == neutral || s.result == nil {
		return
	}
	s.verdict, s.down = neutral, false
	v, ok := s.result.Measures[w.Measure.Of]
	if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	g := &w.shapes[w.shapeFor(c.interval)]
	values.add(w.Measure.stat(), g, s.slot, v)
	n, figure := values.figure(w.Measure.stat(), c.last-g.over)
	if n < w.Measure.least(g.slots()) {
		return
	}
	limit, above := w.Measure.limit()
	if s.verdict = good; above && figure > limit || !above && figure < limit {
		s.verdict = bad
		s.class = probe.OK
		s.reason = fmt.Sprintf("%s is %s", w.Measure.Of, w.Measure.text(v))
	}
}

func (s *series) add(stat string, g *geometry, slot int64, v float64) {
	if stat == statLast {
		if len(s.Points) == 0 || slot >= s.Points[0].Slot {
			s.Points = append(s.Points[:0], point{slot, 1, v})
		}
		return
	}
	s.drop(slot - g.over)
	k := floorDiv(slot, g.width)
	i, found := slices.BinarySearchFunc(s.Points, k, func(p point, k int64) int { return cmp.Compare(floorDiv(p.Slot, g.width), k) })
	if !found {
		if len(s.Points) > g.n {
			s.Points = slices.Delete(s.Points, 0, 1) // the clock was set
			i = max(0, i-1)
		}
		s.Points = slices.Insert(s.Points, i, point{slot, 1, v})
		return
	}
	p := &s.Points[i]
	p.N++
	switch stat {
	case statMin:
		p.V = min(p.V, v)
	case statMax:
		p.V = max(p.V, v)
	default:
		p.V = plus(p.V, v)
	}
}

// drop removes the points up to a slot.
func (s *series) drop(slot int64) {
	n := 0
	for n < len(s.Points) && s.Points[n].Slot <= slot {
		n++
	}
	s.Points = slices.Delete(s.Points, 0, n)
}

// figure returns the statistic of the points after a slot, and of how many
// values it is.
func (s *series) figure(stat string, after int64) (n int, v float64) {
	for _, p := range s.Points {
		switch {
		case p.Slot <= after && stat != statLast:
			continue
		case n == 0, stat == statLast:
			v = p.V
		case stat == statMin:
			v = min(v, p.V)
		case stat == statMax:
			v = max(v, p.V)
		default:
			v = plus(v, p.V)
		}
		n += p.N
	}
	if stat == statMean && n > 0 {
		v /= float64(n)
	}
	return n, v
}

// plus adds numbers that targets report: whatever these are, the sum can be
// stored, which an infinite one cannot.
func plus(a, b float64) float64 { return max(-math.MaxFloat64, min(a+b, math.MaxFloat64)) }

// stepBack moves the points back in time: the clock was set to slot.
func (s *series) stepBack(slot int64) {
	if len(s.Points) == 0 {
		return
	}
	if by := s.Points[len(s.Points)-1].Slot - (slot - 1); by > 0 {
		for i := range s.Points {
			s.Points[i].Slot -= by
		}
	}
}

// restore makes series of a stored form whatever it is.
func (s *series) restore(g *geometry) (kept series) {
	if s == nil || len(s.Points) > g.n+1 || !slices.IsSortedFunc(s.Points, func(a, b point) int { return cmp.Compare(a.Slot, b.Slot) }) {
		return kept
	}
	for _, p := range s.Points {
		if p.N < 1 || p.Slot < 0 || p.Slot > math.MaxInt64/2 {
			return kept
		}
	}
	return series{slices.Clone(s.Points)}
}

// countMeasure computes the figure of a finding: the worst of the checks that
// fed it.
func (e *Engine) countMeasure(w *watch, t *topic, f *Finding, slot int64) {
	m := w.Measure
	limit, above := m.limit()
	f.Figure, f.Threshold, f.Unit = limit, limit, m.Of
	f.Bad, f.Total, f.Class, f.Confirmed = len(f.Checks)+f.More, int(w.sets[t.hi-1].hi-w.sets[t.lo].lo), "", 0
	which, samples := "", 0
	for i := w.sets[t.lo].lo; i < w.sets[t.hi-1].hi; i++ {
		p := &w.pairs[i]
		if p.run == nil || !p.run.Fed {
			continue
		}
		n, v := w.series[i].figure(m.stat(), min(slot, e.checks[p.check].last)-w.shape(p).over)
		if n > 0 && (which == "" || above && v > f.Figure || !above && v < f.Figure) {
			f.Figure, which, samples, f.Reason = v, e.checks[p.check].name, n, p.run.Reason
		}
	}
	if m.stat() == statLast {
		f.Reason = "" // says no more than the figure
	}
	f.Text = m.sentence(f, which, samples)
}

func (m *Measure) sentence(f *Finding, which string, samples int) string {
	s := m.Of + " " + m.text(f.Figure)
	if m.stat() != statLast {
		s = fmt.Sprintf("%s %s %s of %s in %s", m.Of, m.stat(), m.text(f.Figure), plural(samples, "value"), m.Over)
	}
	if f.Bad > 1 && which != "" {
		s += " (" + which + ")"
	}
	if m.Above != nil {
		s += ", alerts above "
	} else {
		s += ", alerts below "
	}
	s += m.text(f.Threshold)
	if f.Bad > 1 {
		s += ", " + strconv.Itoa(f.Bad) + " of " + plural(f.Total, "check")
	}
	return s
}

// text formats a value for people.
func (m *Measure) text(v float64) string {
	if m.Of == probe.MeasureCertLeft {
		return percent(round4(v))
	}
	switch {
	case math.Abs(v) >= 1e15: // its digits fill a screen
		return strconv.FormatFloat(v, 'g', 4, 64)
	case math.Abs(v) >= 1e6:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(round4(v), 'f', -1, 64)
}

func round4(f float64) float64 { return math.Round(f*1e4) / 1e4 }
