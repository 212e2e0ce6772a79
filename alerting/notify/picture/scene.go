package picture

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

const (
	mostPoints  = 120
	usualStep   = time.Minute // where two results do not tell
	leastPoints = 10          // as wide as this many slots is any picture
)

// scene is what is to be drawn, in time and latency.
type scene struct {
	points   []point // by time
	step     time.Duration
	from, to time.Time     // of the axis
	top      time.Duration // of the axis
	limit    time.Duration
	measured bool // there is a latency to show
	counts   [gap + 1]int
}

// point is a result or a gap.
type point struct {
	at      time.Time
	mark    mark
	latency time.Duration
	slots   int // of a gap
}

// mark is how a result was.
type mark int

const (
	up mark = iota
	degraded
	down
	unknown
	gap
)

func (m mark) String() string {
	return [...]string{"up", "degraded", "down", "unknown", "missed"}[m]
}

func markOf(s probe.Status) mark {
	switch s {
	case probe.Up:
		return up
	case probe.Degraded:
		return degraded
	case probe.Down:
		return down
	default:
		return unknown
	}
}

// newScene arranges entries. It has no points if no entry is a result.
func newScene(entries []checks.Entry, limit time.Duration) scene {
	s := scene{limit: max(0, limit)}
	var results []time.Time
	for _, e := range entries {
		switch {
		case e.Result != nil:
			s.points = append(s.points, point{at: e.Result.Slot, mark: markOf(e.Result.Status), latency: e.Result.Latency})
			results = append(results, e.Result.Slot)
		case e.Gap != nil:
			s.points = append(s.points, point{at: e.Gap.From, mark: gap, slots: max(1, e.Gap.Slots)})
		}
	}
	if len(results) == 0 {
		return scene{}
	}
	slices.SortStableFunc(s.points, func(a, b point) int { return a.at.Compare(b.at) })
	slices.SortFunc(results, time.Time.Compare)
	s.step = usual(results)
	s.fit()
	return s
}

// usual returns the median time between two results.
func usual(results []time.Time) time.Duration {
	var steps []time.Duration
	for k := 1; k < len(results); k++ {
		if d := results[k].Sub(results[k-1]); d > 0 {
			steps = append(steps, d)
		}
	}
	if len(steps) == 0 {
		return usualStep
	}
	slices.Sort(steps)
	return max(steps[len(steps)/2], time.Millisecond)
}

// fit leaves out what is too old, and finds the ends of the axes.
func (s *scene) fit() {
	last := s.points[len(s.points)-1].at
	oldest := last.Add(-(mostPoints - 1) * min(s.step, 365*24*time.Hour))
	s.points = slices.DeleteFunc(s.points, func(p point) bool { return p.at.Before(oldest) })
	s.points = s.points[max(0, len(s.points)-mostPoints):]
	first := s.points[0].at
	if few := last.Add(-(leastPoints - 1) * s.step); first.After(few) {
		first = few
	}
	s.from, s.to = first.Add(-s.step/2), last.Add(s.step/2)
	slowest := s.limit
	for _, p := range s.points {
		s.counts[p.mark] += max(1, p.slots)
		if p.mark <= degraded {
			slowest = max(slowest, p.latency)
			s.measured = s.measured || p.latency > 0
		}
	}
	s.top = max(time.Millisecond, slowest+slowest/8)
}

// x returns where t is between from and to: 0 to 1.
func (s *scene) x(t time.Time) float64 {
	return min(1, max(0, float64(t.Sub(s.from))/float64(s.to.Sub(s.from))))
}

// latencies returns the ticks of the latency axis above 0: at most 4, at 1, 2
// or 5 times a power of ten.
func (s *scene) latencies() []time.Duration {
	if !s.measured && s.limit == 0 {
		return nil
	}
	step := time.Microsecond
	for k := 0; s.top/step > 4; k++ {
		if step = step * 2; k%3 == 1 {
			step = step / 4 * 5 // 1, 2, 5, 10
		}
	}
	var ticks []time.Duration
	for t := step; t <= s.top; t += step {
		ticks = append(ticks, t)
	}
	return ticks
}

// times returns the ticks of the time axis, at most 7, and how to write them.
func (s *scene) times() (ticks []time.Time, layout string) {
	steps := []time.Duration{
		time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond,
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	}
	span := s.to.Sub(s.from)
	step := steps[len(steps)-1]
	for step < span/6 {
		step *= 2 // of days
	}
	for _, d := range steps {
		if span/d <= 6 {
			step = d
			break
		}
	}
	switch {
	case step >= 24*time.Hour:
		layout = "Jan 2"
	case span > 24*time.Hour:
		layout = "Jan 2 15:04"
	case step >= time.Minute:
		layout = "15:04"
	case step >= time.Second:
		layout = "15:04:05"
	default:
		layout = "05.000"
	}
	for t := s.from.UTC().Truncate(step); !t.After(s.to) && len(ticks) < 8; t = t.Add(step) {
		if !t.Before(s.from) {
			ticks = append(ticks, t)
		}
	}
	return ticks, layout
}

// duration writes a latency: 240 ms, 2.41 s.
func duration(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatFloat(float64(d.Round(10*time.Microsecond))/1e6, 'f', -1, 64) + " ms"
	}
	return strconv.FormatFloat(d.Round(10*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
}

// legend says how many results were of each mark.
func (m mark) legend(n int) string { return fmt.Sprintf("%d %s", n, m) }
