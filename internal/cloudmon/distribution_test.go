package cloudmon

import (
	"math"
	"testing"
)

func TestBounds(t *testing.T) {
	b := Bounds()
	if len(b) != finiteBuckets+1 || b[0] != 1.0/1024 || math.Abs(b[len(b)-1]-64) > 1e-9 || math.Abs(b[40]-1) > 1e-12 {
		t.Errorf("bounds %v, want 65 from 1/1024 to 64", b)
	}
	for i := range b[1:] {
		if g := b[i+1] / b[i]; math.Abs(g-bucketGrowth()) > 1e-12 {
			t.Errorf("bound %d grows by %v, want %v", i+1, g, bucketGrowth())
		}
	}
}

// Each value falls into the bucket whose bounds hold it, and the message that
// is made of them is consistent.
func FuzzDistribution(f *testing.F) {
	f.Add(0.001, 0.02, 1.0)
	f.Add(1.0/1024, 64.0, 65.0)
	f.Add(1e-9, 9.2e9, 0.5)
	bounds := Bounds()
	f.Fuzz(func(t *testing.T, a, b, c float64) {
		d := newDist(0)
		var values []float64
		for _, v := range []float64{a, b, c} {
			if !(v > 0 && v < 9.3e9) { // what a Duration in seconds can be
				continue
			}
			values = append(values, v)
			before := append([]int64(nil), d.Buckets...)
			d.observe(v, bounds)
			for i, n := range d.Buckets {
				if i < len(before) && n == before[i] || i >= len(before) && n == 0 {
					continue
				}
				if i > 0 && v < bounds[i-1] || i < len(bounds) && v >= bounds[i] {
					t.Errorf("%v is in bucket %d", v, i)
				}
			}
		}
		s := d.snapshot()
		var sum, mean, m2 float64
		for _, v := range values {
			sum += v
		}
		if len(values) > 0 {
			mean = sum / float64(len(values))
		}
		for _, v := range values {
			m2 += (v - mean) * (v - mean)
		}
		if !d.valid() || s.Count != int64(len(values)) || math.Abs(s.Mean-mean) > 1e-9*(1+mean) || math.Abs(s.SumOfSquaredDeviation-m2) > 1e-6*(1+m2) {
			t.Errorf("%+v of %v, want mean %v and squared deviation %v", s, values, mean, m2)
		}
		if n := len(s.Buckets); n > 0 && s.Buckets[n-1] == 0 {
			t.Errorf("buckets %v end in a zero", s.Buckets)
		}
	})
}
