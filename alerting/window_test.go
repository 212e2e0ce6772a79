package alerting

import (
	"math/rand/v2"
	"testing"
)

// TestWindowIsExact compares windows with lists of all that was added, at
// random times and in a random order.
func TestWindowIsExact(t *testing.T) {
	const second = 1000
	type added struct {
		slot int64
		x    cell
		lat  uint32
	}
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		interval := []int64{1, 7, 60, 300}[rnd.IntN(4)] * second
		over := interval * int64(1+rnd.IntN(80))
		if rnd.IntN(3) == 0 {
			over += rnd.Int64N(interval)
		}
		g := newGeometry(over, interval, mostExact)
		phase := rnd.Int64N(interval)
		var (
			w      window
			all    []added
			newest int64
			now    int64
		)
		for k := range int64(300) {
			if rnd.IntN(10) == 0 {
				continue // a slot without a result
			}
			a := added{slot: 1_700_000_000_000/interval*interval + phase + k*interval, x: cell{uint16(rnd.IntN(3)), uint16(rnd.IntN(3)), uint16(rnd.IntN(2))}, lat: rnd.Uint32N(1000)}
			late := rnd.IntN(8) == 0
			if late {
				a.slot -= interval * rnd.Int64N(5)
			}
			newest = max(newest, a.slot)
			if !w.add(&g, a.slot, a.x, a.lat, false) && a.slot > max(now, newest)-over+g.width {
				t.Fatalf("seed %d: slot %d was refused, the newest is %d, the window %d long", seed, a.slot, newest, over)
			}
			all = append(all, a)
			now = max(now, newest+rnd.Int64N(interval))
			w.slide(&g, now)
			if !judgeWindow(t, &w, &g, func(f func(int64, cell, uint32)) {
				for _, a := range all {
					f(a.slot, a.x, a.lat)
				}
			}, now) {
				t.Fatalf("seed %d, slot %d, interval %d, over %d", seed, k, interval, over)
			}
		}
	}
}

// judgeWindow compares the sums of w with what each gives. Slices may leave
// out up to one of them.
func judgeWindow(t *testing.T, w *window, g *geometry, each func(func(int64, cell, uint32)), now int64) bool {
	t.Helper()
	var most, least counts
	var total uint64
	each(func(slot int64, x cell, lat uint32) {
		c := counts{uint32(x.bad), uint32(x.good), uint32(x.unknown)}
		if slot > now-g.over {
			most.plus(c)
			total += uint64(lat)
		}
		if slot > now-g.over+g.width {
			least.plus(c)
		}
	})
	switch {
	case g.exact() && w.sum != most:
		t.Errorf("counted %+v, want %+v", w.sum, most)
	case g.exact() && w.lat != nil && w.lat.total != total:
		t.Errorf("latencies %d, want %d", w.lat.total, total)
	case w.sum.bad > most.bad || w.sum.good > most.good || w.sum.unknown > most.unknown:
		t.Errorf("counted %+v, want at most %+v", w.sum, most)
	case w.sum.bad < least.bad || w.sum.good < least.good || w.sum.unknown < least.unknown:
		t.Errorf("counted %+v, want at least %+v", w.sum, least)
	default:
		return true
	}
	return false
}

func TestWindowRestoresFromItsState(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		g := newGeometry(int64(1+rnd.IntN(100))*60_000, 60_000, mostExact)
		var w window
		slot := int64(1_700_000_000_000)
		for range rnd.IntN(150) {
			slot += 60_000 * int64(1+rnd.IntN(3))
			w.add(&g, slot, cell{bad: uint16(rnd.IntN(2)), good: 1}, rnd.Uint32N(3), true)
		}
		if w.cells == nil {
			continue
		}
		if rnd.IntN(4) == 0 {
			w.slide(&g, slot+int64(rnd.IntN(120))*60_000)
		}
		if rnd.IntN(4) == 0 {
			w.move(int64(rnd.IntN(200) - 100))
		}
		var again window
		again.restore(&g, w.state(&g))
		if again.sum != w.sum || again.first != w.first || again.last != w.last {
			t.Fatalf("seed %d: %+v %d..%d, restored as %+v %d..%d", seed, w.sum, w.first, w.last, again.sum, again.first, again.last)
		}
		for k := w.first; k <= w.last; k++ {
			if w.cells[w.index(k)] != again.cells[again.index(k)] {
				t.Fatalf("seed %d: cell %d differs", seed, k)
			}
		}
	}
}

func TestWindowSaturates(t *testing.T) {
	g := newGeometry(60_000, 60_000, mostExact)
	var w window
	for range 3 {
		w.add(&g, 60_000, cell{bad: 40_000, good: 65_535}, 4_000_000_000, false)
	}
	if w.sum.bad != 65_535 || w.lat.total != 1<<32-1 {
		t.Errorf("%+v, latencies %d", w.sum, w.lat.total)
	}
	w.slide(&g, 600_000)
	if w.sum != (counts{}) || w.lat.total != 0 {
		t.Errorf("%+v, latencies %d left over", w.sum, w.lat.total)
	}
}
