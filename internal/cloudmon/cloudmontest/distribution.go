package cloudmontest

import (
	"math"
	"slices"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/distribution"
)

// ruleDistribution is rule 13.
func ruleDistribution(i int, p *monitoringpb.Point) *broken {
	v, ok := p.GetValue().GetValue().(*monitoringpb.TypedValue_DistributionValue)
	if !ok {
		return nil
	}
	bad := func(why string) *broken {
		return invalid(13, "Field timeSeries[%d].points[0].distributionValue had an invalid value: %s.", i, why)
	}
	d := v.DistributionValue
	if d.GetCount() < 0 || !finite(d.GetMean(), d.GetSumOfSquaredDeviation()) || d.GetSumOfSquaredDeviation() < 0 {
		return bad("count, mean or sum of squared deviation is negative or not finite")
	}
	if d.GetCount() == 0 && (d.GetMean() != 0 || d.GetSumOfSquaredDeviation() != 0 || d.GetRange() != nil) {
		return bad("mean, sum of squared deviation and range must be absent when count is 0")
	}
	if r := d.GetRange(); r != nil && (!finite(r.GetMin(), r.GetMax()) || r.GetMin() > r.GetMax()) {
		return bad("range is not finite or in reverse order")
	}
	n, why := buckets(d.GetBucketOptions())
	if why != "" {
		return bad(why)
	}
	if n > maxBuckets || len(d.GetBucketCounts()) > n {
		return bad("too many buckets")
	}
	var sum int64
	for _, c := range d.GetBucketCounts() {
		if c < 0 {
			return bad("a bucket count is negative")
		}
		sum += c
	}
	if (n > 0 || len(d.GetBucketCounts()) > 0) && sum != d.GetCount() {
		return bad("the bucket counts do not add up to count")
	}
	return ruleExemplars(d.GetExemplars(), bad)
}

func ruleExemplars(ex []*distribution.Distribution_Exemplar, bad func(string) *broken) *broken {
	for i, e := range ex {
		if !finite(e.GetValue()) || i > 0 && e.GetValue() < ex[i-1].GetValue() {
			return bad("exemplars must be finite and in increasing order")
		}
		var types []string
		for _, a := range e.GetAttachments() {
			types = append(types, a.GetTypeUrl())
		}
		slices.Sort(types)
		if len(slices.Compact(slices.Clone(types))) != len(types) {
			return bad("an exemplar has two attachments of one type")
		}
	}
	return nil
}

// buckets returns how many buckets the options make, and what is wrong with them.
func buckets(o *distribution.Distribution_BucketOptions) (n int, why string) {
	switch b := o.GetOptions().(type) {
	case nil:
		return 0, ""
	case *distribution.Distribution_BucketOptions_LinearBuckets:
		l := b.LinearBuckets
		if l.GetNumFiniteBuckets() <= 0 || l.GetWidth() <= 0 || !finite(l.GetWidth(), l.GetOffset()) {
			return 0, "linear buckets must have a positive number and width"
		}
		return int(l.GetNumFiniteBuckets()) + 2, ""
	case *distribution.Distribution_BucketOptions_ExponentialBuckets:
		e := b.ExponentialBuckets
		if e.GetNumFiniteBuckets() <= 0 || e.GetGrowthFactor() <= 1 || e.GetScale() <= 0 || !finite(e.GetGrowthFactor(), e.GetScale()) {
			return 0, "exponential buckets must have a positive number and scale and a growth factor over 1"
		}
		return int(e.GetNumFiniteBuckets()) + 2, ""
	case *distribution.Distribution_BucketOptions_ExplicitBuckets:
		bounds := b.ExplicitBuckets.GetBounds()
		for i, v := range bounds {
			if !finite(v) || i > 0 && v <= bounds[i-1] {
				return 0, "explicit bounds must be finite and strictly increasing"
			}
		}
		if len(bounds) == 0 {
			return 0, "explicit buckets must have a bound"
		}
		return len(bounds) + 1, ""
	}
	return 0, "bucket options of an unknown kind"
}

func finite(v ...float64) bool {
	for _, f := range v {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return false
		}
	}
	return true
}
