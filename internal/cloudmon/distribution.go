package cloudmon

import (
	"math"
	"slices"
)

// The buckets of latency distributions: four to each doubling from 1/1024 s to
// 64 s. A quantile read from them is at most 19 % off, usually a few. The
// bounds are those of Prometheus' native histograms of schema 2.
const (
	bucketsPerDoubling = 4
	finiteBuckets      = 64
	bucketScale        = 1.0 / 1024 // s, the lowest bound
)

func bucketGrowth() float64 { return math.Exp2(1.0 / bucketsPerDoubling) }

// Bounds returns the bounds between the buckets of a Distribution, in
// seconds. Bucket 0 lies below the first of them; bucket i reaches from bound
// i-1 (included) to bound i; the last one has no upper bound.
func Bounds() []float64 {
	b := make([]float64, finiteBuckets+1)
	for i := range b {
		b[i] = bucketScale * math.Exp2(float64(i)/bucketsPerDoubling)
	}
	return b
}

// Distribution is a histogram of latencies in seconds.
type Distribution struct {
	Count                 int64
	Mean                  float64
	SumOfSquaredDeviation float64
	Buckets               []int64 // as Bounds says; empty ones at the end are left out
}

// dist is a distribution that grows. The fields are those of its stored form.
type dist struct {
	N       int64   `json:"n"`
	Mean    float64 `json:"mean"`
	M2      float64 `json:"m2"`
	Buckets []int64 `json:"b"` // those above the highest that was ever hit may be missing
	Since   int64   `json:"since"`
	Changed int64   `json:"changed"`
}

func newDist(since int64) *dist {
	return &dist{Since: since}
}

// observe adds v by Welford's method (Knuth, The Art of Computer Programming,
// vol. 2, 3rd ed., p. 232), as the Distribution message prescribes.
func (d *dist) observe(v float64, bounds []float64) {
	i, at := slices.BinarySearch(bounds, v)
	if at {
		i++
	}
	if i >= len(d.Buckets) {
		d.Buckets = append(d.Buckets, make([]int64, i+1-len(d.Buckets))...)
	}
	d.Buckets[i]++
	d.N++
	delta := v - d.Mean
	d.Mean += delta / float64(d.N)
	d.M2 += delta * (v - d.Mean)
}

func (d *dist) snapshot() *Distribution {
	n := len(d.Buckets)
	for n > 0 && d.Buckets[n-1] == 0 {
		n--
	}
	return &Distribution{Count: d.N, Mean: d.Mean, SumOfSquaredDeviation: d.M2, Buckets: slices.Clone(d.Buckets[:n])}
}

// valid tells whether a stored distribution can be used.
func (d *dist) valid() bool {
	var sum int64
	for _, n := range d.Buckets {
		if n < 0 {
			return false
		}
		sum += n
	}
	return len(d.Buckets) <= finiteBuckets+2 && sum == d.N && d.M2 >= 0
}
