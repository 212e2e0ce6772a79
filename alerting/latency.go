package alerting

import (
	"slices"
	"time"
)

const statMean = "mean"

// percentile returns which one is compared, 0 for the mean.
func (l *Latency) percentile() int {
	switch l.Stat {
	case "p50":
		return 50
	case "p95":
		return 95
	case "p99":
		return 99
	}
	return 0
}

// needs returns how many results a percentile needs to be one: with fewer than
// 20 the 95th is simply the largest.
func (l *Latency) needs() int {
	if q := l.percentile(); q > 0 {
		return 100 / (100 - q)
	}
	return 1
}

// least returns how many results a window of so many slots must hold.
func (l *Latency) least(slots int64) int {
	if l.MinSamples > 0 {
		return max(l.MinSamples, l.needs())
	}
	return max(l.needs(), int(min(slots, defaultSamples)))
}

const defaultSamples = 3

// rank returns the place of the percentile among n results, from 1 on: the
// nearest rank.
func (l *Latency) rank(n int) int { return (l.percentile()*n + 99) / 100 }

// exceeds judges n results, of which slower exceed the limit and which took
// total tenths of a millisecond together. A percentile is over the limit
// exactly if fewer results than its rank are within it.
func (l *Latency) exceeds(n, slower int, total uint64) bool {
	if l.percentile() > 0 {
		return n-slower < l.rank(n)
	}
	return n > 0 && mean(n, total) > float64(l.Above)
}

// mean returns the mean in nanoseconds.
func mean(n int, total uint64) float64 {
	return float64(total) * float64(100*time.Microsecond) / float64(n)
}

// latency adds up the windows of pairs, slid to the time now.
func (w *watch) latency(lo, hi int32, now int64) (n, slower int, total uint64) {
	x := w.sum(lo, hi, now)
	for i := lo; i < hi; i++ {
		if lat := w.pairs[i].win.lat; lat != nil {
			total += lat.total
		}
	}
	return x.known(), int(x.bad), total
}

// within tells whether the figure of t is low enough to clear.
func (e *Engine) within(w *watch, t *set, now int64) bool {
	l := w.Latency
	n, slower, total := w.latency(t.lo, t.hi, now)
	switch {
	case n == 0:
		return false
	case l.ClearBelow <= 0:
		return !l.exceeds(n, slower, total)
	case l.percentile() == 0:
		return mean(n, total) < float64(l.ClearBelow)
	}
	below := 0
	for _, v := range e.samples(w, t.lo, t.hi) {
		if time.Duration(v)*100*time.Microsecond < time.Duration(l.ClearBelow) {
			below++
		}
	}
	return below >= l.rank(n)
}

// samples collects the latencies in the windows of pairs. The slice is used
// again by the next call.
func (e *Engine) samples(w *watch, lo, hi int32) []uint32 {
	e.scratch = e.scratch[:0]
	for i := lo; i < hi; i++ {
		p := &w.pairs[i]
		p.win.each(w.shape(p), func(_ int64, x cell, latency uint32) {
			n := uint32(x.bad) + uint32(x.good) // 1, unless slots are closer than the interval says
			for range n {
				e.scratch = append(e.scratch, latency/n)
			}
		})
	}
	return e.scratch
}

// statistic returns the figure of a topic's tripped sets, in seconds.
func (e *Engine) statistic(w *watch, t *topic, n int, total uint64) float64 {
	l := w.Latency
	if n == 0 {
		return 0
	}
	if l.percentile() == 0 {
		return mean(n, total) / float64(time.Second)
	}
	var all []uint32
	for i := t.lo; i < t.hi; i++ {
		if s := &w.sets[i]; s.tripped {
			all = append(all, e.samples(w, s.lo, s.hi)...)
		}
	}
	slices.Sort(all)
	return float64(all[min(l.rank(len(all)), len(all))-1]) / 1e4
}
