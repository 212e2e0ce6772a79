package alerting

import "math"

// Times are milliseconds since 1970 here, latencies tenths of a millisecond.

// The most slots that windows keep one by one.
const (
	mostExact  = 60
	mostRanked = 1440 // for percentiles
)

// geometry is how a window over a check is divided: n cells of width, which
// together are the window or, by rounding, slightly more.
type geometry struct {
	over, width, interval int64
	n                     int
	spare                 []cell
}

// newGeometry gives each slot its own cell while that needs at most most
// cells, else it cuts the window into 60 slices.
func newGeometry(over, interval int64, most int) geometry {
	g := geometry{over: max(over, 1), width: max(interval, 1), interval: max(interval, 1)}
	if n := g.slots(); n <= int64(most) {
		g.n = int(n)
		return g
	}
	g.width, g.n = (g.over-1)/mostExact+1, mostExact
	return g
}

// slots returns how many slots of the check the window holds.
func (g *geometry) slots() int64 { return (g.over-1)/g.interval + 1 }

func (g *geometry) exact() bool { return g.width == g.interval }

// cells returns the cells of a new window. They are allocated in pieces: 17
// windows of 60 fill a size class of Go's allocator, one by one they waste 6 %.
func (g *geometry) cells() []cell {
	if len(g.spare) < g.n {
		g.spare = make([]cell, 17*g.n)
	}
	c := g.spare[:g.n:g.n]
	g.spare = g.spare[g.n:]
	return c
}

// cell is what one slot or slice of one check came to.
type cell struct{ bad, good, unknown uint16 }

// counts are sums of cells.
type counts struct{ bad, good, unknown uint32 }

func (c counts) known() int { return int(c.bad) + int(c.good) }

func (c *counts) plus(o counts) {
	c.bad += o.bad
	c.good += o.good
	c.unknown += o.unknown
}

// window counts what the attempts of one check came to. It is a ring: cell
// number k, which holds the slots from k*width on, is at k modulo its length.
// Cells outside [first, last] are zero.
type window struct {
	cells       []cell // nil until something is counted
	lat         *latencies
	first, last int64
	sum         counts
	phase       uint32 // of slots within their cells, 0 for slices
}

// latencies are sums over cells; the number of results is that of the window.
type latencies struct {
	cells []uint32
	total uint64
}

// add counts x at slot. It is false, and nothing is counted, if the slot has
// left the window; unless force says that the slot is the newest, and so it is
// the window that is wrong.
func (w *window) add(g *geometry, slot int64, x cell, latency uint32, force bool) bool {
	k := floorDiv(slot, g.width)
	if w.cells == nil {
		w.cells = g.cells()
		w.last, w.first = k, k-int64(g.n)+1
	}
	switch {
	case k > w.last:
		w.drop(k - int64(g.n) + 1)
		w.last = k
	case k < w.first && !force:
		return false
	case k < w.first:
		w.move(k - 1 - w.last)
		w.drop(k - int64(g.n) + 1)
		w.last = k
	}
	if k == w.last && g.exact() {
		w.phase = uint32(slot - k*g.width)
	}
	w.put(w.index(k), x, latency)
	return true
}

func (w *window) put(i int, x cell, latency uint32) {
	c := &w.cells[i]
	w.sum.bad += uint32(increase(&c.bad, x.bad))
	w.sum.good += uint32(increase(&c.good, x.good))
	w.sum.unknown += uint32(increase(&c.unknown, x.unknown))
	if latency == 0 {
		return
	}
	if w.lat == nil {
		w.lat = &latencies{cells: make([]uint32, len(w.cells))}
	}
	latency = min(latency, math.MaxUint32-w.lat.cells[i])
	w.lat.cells[i] += latency
	w.lat.total += uint64(latency)
}

// increase adds to a count as much as it can hold and returns that.
func increase(c *uint16, by uint16) uint16 {
	by = min(by, math.MaxUint16-*c)
	*c += by
	return by
}

// slide drops what has left the window at the time now.
func (w *window) slide(g *geometry, now int64) {
	if w.cells == nil {
		return
	}
	oldest := floorDiv(now-g.over-int64(w.phase), g.width) + 1 // the first cell whose slot is after now-over
	w.drop(min(oldest, w.last+1))
}

// drop removes the cells below number k.
func (w *window) drop(k int64) {
	if k <= w.first {
		return
	}
	if k > w.last {
		w.empty()
	}
	for ; w.first < k && w.first <= w.last; w.first++ {
		i := w.index(w.first)
		c := &w.cells[i]
		w.sum.bad -= uint32(c.bad)
		w.sum.good -= uint32(c.good)
		w.sum.unknown -= uint32(c.unknown)
		*c = cell{}
		if w.lat != nil {
			w.lat.total -= uint64(w.lat.cells[i])
			w.lat.cells[i] = 0
		}
	}
	w.first = k
}

func (w *window) empty() {
	clear(w.cells)
	w.sum = counts{}
	if w.lat != nil {
		clear(w.lat.cells)
		w.lat.total = 0
	}
}

// restart forgets all that was counted. Later slots in the newest cell count.
func (w *window) restart() {
	w.empty()
	w.first = w.last
}

// move gives all cells new numbers, by higher: the clock was set.
func (w *window) move(by int64) {
	n := int64(len(w.cells))
	if n == 0 {
		return
	}
	old := *w
	w.cells = make([]cell, n)
	if old.lat != nil {
		w.lat = &latencies{cells: make([]uint32, n), total: old.lat.total}
	}
	w.first, w.last = old.first+by, old.last+by
	for k := range n {
		from, to := old.index(k), w.index(k+by)
		w.cells[to] = old.cells[from]
		if old.lat != nil {
			w.lat.cells[to] = old.lat.cells[from]
		}
	}
}

// each calls f with the slot (of a slice, its beginning) and the contents of
// every cell from the oldest on.
func (w *window) each(g *geometry, f func(slot int64, x cell, latency uint32)) {
	if w.cells == nil {
		return
	}
	for k := w.first; k <= w.last; k++ {
		i := w.index(k)
		var latency uint32
		if w.lat != nil {
			latency = w.lat.cells[i]
		}
		f(k*g.width+int64(w.phase), w.cells[i], latency)
	}
}

func (w *window) index(k int64) int {
	n := int64(len(w.cells))
	if k %= n; k < 0 {
		k += n
	}
	return int(k)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
