package schedule

import (
	"cmp"
	"hash/fnv"
	"math"
	"math/bits"
	"slices"
	"time"

	"github.com/tripline/tripline/checks"
)

// Every is a schedule with one slot each period, from the Unix epoch on. Its
// phase within the period is a hash of name, in whole milliseconds: it is the
// same after a restart, on every machine and in every time zone, and checks of
// other names fall on other phases. A period below 1 ms has no slots.
func Every(period time.Duration, name string) checks.Schedule {
	if period < time.Millisecond {
		return every{}
	}
	phase, _ := bits.Mul64(hash(name), uint64(period)) // the hash as a fraction of 2^64
	return every{period: int64(period), phase: wholeMS(int64(phase))}
}

// every has a slot at phase + n*period after the Unix epoch, in nanoseconds.
type every struct{ period, phase int64 }

// Next implements checks.Schedule.
func (e every) Next(t time.Time) time.Time {
	n := e.next(t.UnixNano())
	if n == never {
		return time.Time{}
	}
	return at(n)
}

func (e every) next(t int64) int64 {
	if e.period == 0 {
		return never
	}
	k := (t - e.phase) / e.period
	if t < e.phase+k*e.period { // division rounds toward zero, we want down
		k--
	}
	return e.phase + (k+1)*e.period
}

// Spread evens out the phases of the checks in list that were made by Every:
// hashes alone come in clumps (of 1,000 checks in 10 s some 10 ms get six).
// Among checks of one period the n phases become a grid of n points, in the
// order of their hashes, so each check stays near its hash and one more or
// one less check moves the others by at most two gaps of the grid. It
// replaces Schedule fields in place and depends on nothing but list.
func Spread(list []checks.Check) {
	byPeriod := map[int64][]int{}
	for i, c := range list {
		if e, ok := c.Schedule.(every); ok && e.period > 0 {
			byPeriod[e.period] = append(byPeriod[e.period], i)
		}
	}
	for period, index := range byPeriod {
		slices.SortFunc(index, func(a, b int) int {
			return cmp.Or(cmp.Compare(hash(list[a].Name), hash(list[b].Name)), cmp.Compare(list[a].Name, list[b].Name))
		})
		n := int64(len(index))
		first, _ := bits.Mul64(hash(list[index[0]].Name), uint64(period))
		for rank, i := range index {
			r := int64(rank)
			phase := int64(first)%max(period/n, 1) + period/n*r + period%n*r/n
			list[i].Schedule = every{period: period, phase: wholeMS(phase % period)}
		}
	}
}

// never is the time of a slot that does not come.
const never = math.MaxInt64

func at(ns int64) time.Time { return time.Unix(0, ns).UTC() }

func wholeMS(ns int64) int64 { return ns - ns%int64(time.Millisecond) }

// hash is FNV-1a with the finalizer of MurmurHash3, since FNV alone leaves
// names that differ in the last letter close together.
func hash(name string) uint64 {
	f := fnv.New64a()
	_, _ = f.Write([]byte(name)) // cannot fail
	h := f.Sum64()
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
