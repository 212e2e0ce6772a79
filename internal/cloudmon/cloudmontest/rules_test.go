package cloudmontest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	monitoring "cloud.google.com/go/monitoring/apiv3/v2"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/distribution"
	"google.golang.org/genproto/googleapis/api/label"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The tests' moment; the server's clock stands there.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func start(t *testing.T, o Options) (*Server, *monitoring.MetricClient) {
	t.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return now }
	}
	s, endpoint := Start(t, o)
	return s, Client(t, strings.TrimPrefix(endpoint, "http://"))
}

func interval(start, end time.Time) *monitoringpb.TimeInterval {
	v := &monitoringpb.TimeInterval{EndTime: timestamppb.New(end)}
	if !start.IsZero() {
		v.StartTime = timestamppb.New(start)
	}
	return v
}

func intValue(n int64) *monitoringpb.TypedValue {
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_Int64Value{Int64Value: n}}
}

func distValue(d *distribution.Distribution) *monitoringpb.TypedValue {
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DistributionValue{DistributionValue: d}}
}

// gauge is a series that keeps all rules.
func gauge(name string, n int64, end time.Time) *monitoringpb.TimeSeries {
	return &monitoringpb.TimeSeries{
		Metric: &metric.Metric{Type: "custom.googleapis.com/t/" + name, Labels: map[string]string{"check": "api"}},
		Resource: &monitoredres.MonitoredResource{Type: "generic_task", Labels: map[string]string{
			"project_id": "test", "location": "global", "namespace": "n", "job": "j", "task_id": "1",
		}},
		MetricKind: metric.MetricDescriptor_GAUGE,
		Points:     []*monitoringpb.Point{{Interval: interval(time.Time{}, end), Value: intValue(n)}},
	}
}

func cumulative(name string, n int64, start, end time.Time) *monitoringpb.TimeSeries {
	ts := gauge(name, n, end)
	ts.MetricKind = metric.MetricDescriptor_CUMULATIVE
	ts.Points[0].Interval = interval(start, end)
	return ts
}

func dist(d *distribution.Distribution) *monitoringpb.TimeSeries {
	ts := gauge("dist", 0, now)
	ts.Points[0].Value = distValue(d)
	return ts
}

func with(ts *monitoringpb.TimeSeries, change func(*monitoringpb.TimeSeries)) *monitoringpb.TimeSeries {
	change(ts)
	return ts
}

func write(t *testing.T, c *monitoring.MetricClient, ts ...*monitoringpb.TimeSeries) error {
	t.Helper()
	return c.CreateTimeSeries(t.Context(), &monitoringpb.CreateTimeSeriesRequest{Name: "projects/test", TimeSeries: ts})
}

func summary(err error) *monitoringpb.CreateTimeSeriesSummary {
	for _, d := range status.Convert(err).Details() {
		if s, ok := d.(*monitoringpb.CreateTimeSeriesSummary); ok {
			return s
		}
	}
	return nil
}

func explicit(bounds ...float64) *distribution.Distribution_BucketOptions {
	return &distribution.Distribution_BucketOptions{Options: &distribution.Distribution_BucketOptions_ExplicitBuckets{
		ExplicitBuckets: &distribution.Distribution_BucketOptions_Explicit{Bounds: bounds},
	}}
}

// Every rule about one series: it alone fails, the other one is written, and
// the answer tells both.
func TestSeriesRules(t *testing.T) {
	many := map[string]string{}
	for i := range 31 {
		many[fmt.Sprintf("l%d", i)] = "v"
	}
	labels := func(m map[string]string) func(*monitoringpb.TimeSeries) {
		return func(ts *monitoringpb.TimeSeries) { ts.Metric.Labels = m }
	}
	typ := func(s string) func(*monitoringpb.TimeSeries) {
		return func(ts *monitoringpb.TimeSeries) { ts.Metric.Type = s }
	}
	resource := func(k, v string) func(*monitoringpb.TimeSeries) {
		return func(ts *monitoringpb.TimeSeries) {
			ts.Resource.Labels = maps.Clone(ts.Resource.Labels)
			ts.Resource.Labels[k] = v
		}
	}
	attachment, err := anypb.New(wrapperspb.String("x"))
	if err != nil {
		t.Fatal(err)
	}
	minute := time.Minute
	tests := []struct {
		name   string
		rule   int
		before []*monitoringpb.TimeSeries // written first, one by one
		bad    *monitoringpb.TimeSeries
		code   codes.Code
		text   string
	}{
		{name: "metric of a Google service", rule: 5, bad: with(gauge("g", 1, now), typ("compute.googleapis.com/x")), text: "metric.type"},
		{name: "metric without a path", rule: 5, bad: with(gauge("g", 1, now), typ("custom.googleapis.com/")), text: "metric.type"},
		{name: "metric with a space", rule: 5, bad: with(gauge("g", 1, now), typ("custom.googleapis.com/a b")), text: "URL-formatted"},
		{name: "metric too long", rule: 5, bad: with(gauge("g", 1, now), typ("custom.googleapis.com/"+strings.Repeat("x", 200))), text: "200 characters"},
		{name: "label key with a dash", rule: 6, bad: with(gauge("g", 1, now), labels(map[string]string{"a-b": "x"})), text: `invalid key "a-b"`},
		{name: "label key with a digit first", rule: 6, bad: with(gauge("g", 1, now), labels(map[string]string{"1a": "x"})), text: "invalid key"},
		{name: "label key reserved", rule: 6, bad: with(gauge("g", 1, now), labels(map[string]string{"__a": "x"})), text: "invalid key"},
		{name: "label key too long", rule: 6, bad: with(gauge("g", 1, now), labels(map[string]string{strings.Repeat("k", 101): "x"})), text: "invalid key"},
		{name: "label value too long", rule: 6, bad: with(gauge("g", 1, now), labels(map[string]string{"a": strings.Repeat("v", 1025)})), text: "1024 characters"},
		{name: "too many labels", rule: 6, bad: with(gauge("g", 1, now), labels(many)), text: "maximum is 30"},
		{name: "label unknown to the descriptor", rule: 7, bad: with(gauge("known", 1, now), labels(map[string]string{"other": "x"})), text: "Unrecognized metric label"},
		{name: "resource not writable", rule: 8, bad: with(gauge("g", 1, now), func(ts *monitoringpb.TimeSeries) { ts.Resource.Type = "cloud_run_revision" }), text: "Metrics cannot be written to cloud_run_revision. See "},
		{name: "resource label empty", rule: 8, bad: with(with(gauge("g", 1, now), resource("task_id", "")), resource("namespace", "")), text: "The set of resource labels is incomplete. Missing labels: (namespace task_id)."},
		{name: "resource label unknown", rule: 8, bad: with(gauge("g", 1, now), resource("zone", "a")), text: `no label "zone"`},
		{name: "no point", rule: 9, bad: with(gauge("g", 1, now), func(ts *monitoringpb.TimeSeries) { ts.Points = nil }), text: "Only one point"},
		{name: "two points", rule: 9, bad: with(gauge("g", 1, now), func(ts *monitoringpb.TimeSeries) { ts.Points = append(ts.Points, ts.Points[0]) }), text: "Only one point"},
		{name: "no value", rule: 9, bad: with(gauge("g", 1, now), func(ts *monitoringpb.TimeSeries) { ts.Points[0].Value = nil }), text: "value is empty"},
		{name: "string value", rule: 9, bad: with(gauge("g", 1, now), func(ts *monitoringpb.TimeSeries) {
			ts.Points[0].Value = &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_StringValue{StringValue: "x"}}
		}), text: "STRING"},
		{name: "declared value type", rule: 9, bad: with(gauge("g", 1, now), func(ts *monitoringpb.TimeSeries) { ts.ValueType = metric.MetricDescriptor_DOUBLE }), text: "must be DOUBLE, but is INT64"},
		{
			name: "kind of the descriptor", rule: 9, before: []*monitoringpb.TimeSeries{cumulative("g", 1, now.Add(-2*minute), now.Add(-minute))},
			bad: gauge("g", 2, now), text: "Metric kind for metric custom.googleapis.com/t/g must be CUMULATIVE, but is GAUGE.",
		},
		{
			name: "value type of the descriptor", rule: 9, before: []*monitoringpb.TimeSeries{gauge("g", 1, now.Add(-minute))},
			bad: with(gauge("g", 2, now), func(ts *monitoringpb.TimeSeries) {
				ts.Points[0].Value = &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: 1}}
			}), text: "must be INT64, but is DOUBLE",
		},
		{name: "kind DELTA", rule: 9, bad: with(gauge("g", 1, now), func(ts *monitoringpb.TimeSeries) { ts.MetricKind = metric.MetricDescriptor_DELTA }), text: "GAUGE or CUMULATIVE"},
		{name: "cumulative BOOL", rule: 9, bad: with(cumulative("g", 1, now.Add(-minute), now), func(ts *monitoringpb.TimeSeries) {
			ts.Points[0].Value = &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_BoolValue{BoolValue: true}}
		}), text: "must be GAUGE for BOOL"},
		{name: "no end time", rule: 10, bad: with(gauge("g", 1, now), func(ts *monitoringpb.TimeSeries) { ts.Points[0].Interval = nil }), text: "end_time is required"},
		{name: "too old", rule: 10, bad: gauge("g", 1, now.Add(-25*time.Hour-time.Second)), text: "more than 25h10s in the past"},
		{name: "in the future", rule: 10, bad: gauge("g", 1, now.Add(5*minute+time.Second)), text: "5m into the future"},
		{name: "gauge with a start", rule: 11, bad: with(gauge("g", 1, now), func(ts *monitoringpb.TimeSeries) { ts.Points[0].Interval = interval(now.Add(-minute), now) }), text: "must be equal to the end time"},
		{name: "cumulative without a start", rule: 11, bad: with(cumulative("c", 1, now, now), func(ts *monitoringpb.TimeSeries) { ts.Points[0].Interval = interval(time.Time{}, now) }), text: "The start time must be before the end time"},
		{name: "cumulative start at end", rule: 11, bad: cumulative("c", 1, now, now), text: "for the non-gauge metric 'custom.googleapis.com/t/c'"},
		{
			name: "new start inside the old interval", rule: 11, before: []*monitoringpb.TimeSeries{cumulative("c", 5, now.Add(-2*minute), now.Add(-minute))},
			bad: cumulative("c", 1, now.Add(-minute), now), text: "older start/end time",
		},
		{
			name: "value decreases", rule: 11, before: []*monitoringpb.TimeSeries{cumulative("c", 5, now.Add(-2*minute), now.Add(-minute))},
			bad: cumulative("c", 4, now.Add(-2*minute), now), text: "less than that of the most recent point",
		},
		{
			name: "same end, other value", rule: 12, before: []*monitoringpb.TimeSeries{gauge("g", 1, now)},
			bad: gauge("g", 2, now), text: "Points must be written in order.",
		},
		{
			name: "older end", rule: 12, before: []*monitoringpb.TimeSeries{gauge("g", 1, now)},
			bad: gauge("g", 1, now.Add(-minute)), text: "Points must be written in order.",
		},
		{
			name: "too frequent", rule: 12, before: []*monitoringpb.TimeSeries{gauge("g", 1, now.Add(-9*time.Second))},
			bad: gauge("g", 1, now), text: "more frequently than the maximum sampling period configured for the metric",
		},
		{name: "buckets do not add up", rule: 13, bad: dist(&distribution.Distribution{Count: 3, BucketOptions: explicit(1), BucketCounts: []int64{1, 1}}), text: "add up"},
		{name: "negative bucket", rule: 13, bad: dist(&distribution.Distribution{Count: 0, BucketOptions: explicit(1), BucketCounts: []int64{-1, 1}}), text: "negative"},
		{name: "negative count", rule: 13, bad: dist(&distribution.Distribution{Count: -1}), text: "negative"},
		{name: "mean of nothing", rule: 13, bad: dist(&distribution.Distribution{Mean: 1}), text: "absent when count is 0"},
		{name: "range of nothing", rule: 13, bad: dist(&distribution.Distribution{Range: &distribution.Distribution_Range{}}), text: "absent when count is 0"},
		{name: "range reversed", rule: 13, bad: dist(&distribution.Distribution{Count: 1, Range: &distribution.Distribution_Range{Min: 2, Max: 1}}), text: "reverse"},
		{name: "mean not finite", rule: 13, bad: dist(&distribution.Distribution{Count: 1, Mean: math.NaN()}), text: "not finite"},
		{name: "more counts than buckets", rule: 13, bad: dist(&distribution.Distribution{Count: 3, BucketOptions: explicit(1), BucketCounts: []int64{1, 1, 1}}), text: "too many buckets"},
		{name: "bounds not increasing", rule: 13, bad: dist(&distribution.Distribution{BucketOptions: explicit(1, 1)}), text: "strictly increasing"},
		{name: "too many buckets", rule: 13, bad: dist(&distribution.Distribution{BucketOptions: &distribution.Distribution_BucketOptions{Options: &distribution.Distribution_BucketOptions_LinearBuckets{
			LinearBuckets: &distribution.Distribution_BucketOptions_Linear{NumFiniteBuckets: 199, Width: 1},
		}}}), text: "too many buckets"},
		{name: "linear width", rule: 13, bad: dist(&distribution.Distribution{BucketOptions: &distribution.Distribution_BucketOptions{Options: &distribution.Distribution_BucketOptions_LinearBuckets{
			LinearBuckets: &distribution.Distribution_BucketOptions_Linear{NumFiniteBuckets: 1},
		}}}), text: "linear buckets"},
		{name: "growth factor", rule: 13, bad: dist(&distribution.Distribution{BucketOptions: &distribution.Distribution_BucketOptions{Options: &distribution.Distribution_BucketOptions_ExponentialBuckets{
			ExponentialBuckets: &distribution.Distribution_BucketOptions_Exponential{NumFiniteBuckets: 1, GrowthFactor: 1, Scale: 1},
		}}}), text: "growth factor"},
		{name: "exemplars out of order", rule: 13, bad: dist(&distribution.Distribution{Count: 2, Exemplars: []*distribution.Distribution_Exemplar{{Value: 2}, {Value: 1}}}), text: "increasing order"},
		{name: "attachments of one type", rule: 13, bad: dist(&distribution.Distribution{Count: 1, Exemplars: []*distribution.Distribution_Exemplar{{Attachments: []*anypb.Any{attachment, attachment}}}}), text: "two attachments"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, c := start(t, Options{})
			_, err := c.CreateMetricDescriptor(t.Context(), &monitoringpb.CreateMetricDescriptorRequest{
				Name: "projects/test", MetricDescriptor: &metric.MetricDescriptor{
					Type: "custom.googleapis.com/t/known", MetricKind: metric.MetricDescriptor_GAUGE, ValueType: metric.MetricDescriptor_INT64,
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, ts := range tt.before {
				if err := write(t, c, ts); err != nil {
					t.Fatal(err)
				}
			}
			err = write(t, c, tt.bad, gauge("good", 7, now))
			if got := status.Code(err); got != codes.InvalidArgument || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("error %v, want InvalidArgument with %q", err, tt.text)
			}
			if v := s.Violations(); len(v) != 1 || v[0].Rule != tt.rule {
				t.Errorf("violations %v, want one of rule %d", v, tt.rule)
			}
			if p := s.Points("custom.googleapis.com/t/good", nil); len(p) != 1 || p[0].Int != 7 {
				t.Errorf("the other series has %v, want its point", p)
			}
			if sum := summary(err); sum.GetTotalPointCount() != 2 || sum.GetSuccessPointCount() != 1 || len(sum.GetErrors()) != 1 ||
				sum.GetErrors()[0].GetPointCount() != 1 || sum.GetErrors()[0].GetStatus().GetCode() != int32(codes.InvalidArgument) {
				t.Errorf("summary %v, want 1 of 2 written and one error", sum)
			}
		})
	}
}

func TestRequestRules(t *testing.T) {
	batch := func(n int) []*monitoringpb.TimeSeries {
		var all []*monitoringpb.TimeSeries
		for i := range n {
			all = append(all, gauge(fmt.Sprintf("g%d", i), 1, now))
		}
		return all
	}
	tests := []struct {
		name string
		rule int
		code codes.Code
		req  *monitoringpb.CreateTimeSeriesRequest
	}{
		{"no project form", 1, codes.InvalidArgument, &monitoringpb.CreateTimeSeriesRequest{Name: "test", TimeSeries: batch(1)}},
		{"unknown project", 1, codes.NotFound, &monitoringpb.CreateTimeSeriesRequest{Name: "projects/other", TimeSeries: batch(1)}},
		{"empty", 2, codes.InvalidArgument, &monitoringpb.CreateTimeSeriesRequest{Name: "projects/test"}},
		{"201", 2, codes.InvalidArgument, &monitoringpb.CreateTimeSeriesRequest{Name: "projects/test", TimeSeries: batch(201)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, c := start(t, Options{})
			err := c.CreateTimeSeries(t.Context(), tt.req)
			if status.Code(err) != tt.code {
				t.Errorf("error %v, want %v", err, tt.code)
			}
			if v := s.Violations(); len(v) != 1 || v[0].Rule != tt.rule {
				t.Errorf("violations %v, want one of rule %d", v, tt.rule)
			}
			if m := s.Metrics(); len(m) != 0 {
				t.Errorf("written: %v, want nothing", m)
			}
		})
	}
	t.Run("200", func(t *testing.T) {
		s, c := start(t, Options{})
		if err := write(t, c, batch(200)...); err != nil || len(s.Violations()) > 0 {
			t.Errorf("error %v, violations %v", err, s.Violations())
		}
	})
}

// Rule 3: the second of two equal series fails, the first is written.
func TestDuplicate(t *testing.T) {
	s, c := start(t, Options{})
	err := write(t, c, gauge("g", 1, now), gauge("g", 2, now))
	if !strings.Contains(fmt.Sprint(err), "Duplicate TimeSeries encountered. Only one point can be written per TimeSeries per request.") {
		t.Errorf("error %v", err)
	}
	if v := s.Violations(); len(v) != 1 || v[0].Rule != 3 {
		t.Errorf("violations %v, want one of rule 3", v)
	}
	if p := s.Points("custom.googleapis.com/t/g", nil); len(p) != 1 || p[0].Int != 1 {
		t.Errorf("points %v, want the first", p)
	}
}

// Rule 4 can only be broken past the real client, or by taking its default deadline away.
func TestCallRules(t *testing.T) {
	t.Run("no deadline", func(t *testing.T) {
		s, c := start(t, Options{})
		c.CallOptions.CreateTimeSeries = nil
		if err := write(t, c, gauge("g", 1, now)); status.Code(err) != codes.InvalidArgument {
			t.Errorf("error %v, want InvalidArgument", err)
		}
		if v := s.Violations(); len(v) != 1 || v[0].Rule != 4 {
			t.Errorf("violations %v, want one of rule 4", v)
		}
	})
	t.Run("no routing header", func(t *testing.T) {
		s, endpoint := Start(t, Options{})
		conn, err := grpc.NewClient(strings.TrimPrefix(endpoint, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = monitoringpb.NewMetricServiceClient(conn).CreateTimeSeries(ctx, &monitoringpb.CreateTimeSeriesRequest{
			Name: "projects/test", TimeSeries: []*monitoringpb.TimeSeries{gauge("g", 1, now)},
		})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("error %v, want InvalidArgument", err)
		}
		if v := s.Violations(); len(v) != 1 || v[0].Rule != 4 {
			t.Errorf("violations %v, want one of rule 4", v)
		}
	})
}

// Invalid UTF-8 never leaves a real client: the protobuf library refuses it,
// and the whole request with it.
func TestInvalidUTF8(t *testing.T) {
	s, c := start(t, Options{})
	ts := gauge("g", 1, now)
	ts.Metric.Labels["check"] = "a\xff"
	if err := write(t, c, ts, gauge("good", 1, now)); err == nil || !strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("error %v, want one about UTF-8", err)
	}
	if len(s.Metrics()) != 0 {
		t.Error("something was written")
	}
	if b := ruleLabels(0, ts); b == nil || b.rule != 6 {
		t.Errorf("rule 6 says %v, want a violation", b)
	}
}

func TestCeilings(t *testing.T) {
	t.Run("series", func(t *testing.T) {
		clock := now
		s, c := start(t, Options{MaxSeries: 2, Now: func() time.Time { return clock }})
		if err := write(t, c, gauge("a", 1, now), gauge("b", 1, now)); err != nil {
			t.Fatal(err)
		}
		err := write(t, c, gauge("c", 1, now))
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "Monitored resource has too many time series (custom metrics).") {
			t.Errorf("error %v", err)
		}
		if sum := summary(err); sum.GetErrors()[0].GetStatus().GetCode() != int32(codes.ResourceExhausted) {
			t.Errorf("summary %v", sum)
		}
		if v := s.Violations(); len(v) != 1 || v[0].Rule != 14 {
			t.Errorf("violations %v, want one of rule 14", v)
		}
		clock = now.Add(24*time.Hour + time.Minute)
		if err := write(t, c, gauge("c", 1, clock)); err != nil {
			t.Errorf("after the others went out of use: %v", err)
		}
	})
	t.Run("descriptors", func(t *testing.T) {
		s, c := start(t, Options{MaxDescriptors: 1})
		err := write(t, c, gauge("a", 1, now), gauge("b", 1, now))
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "Your metric descriptor quota has been exhausted") {
			t.Errorf("error %v", err)
		}
		_, err = c.CreateMetricDescriptor(t.Context(), &monitoringpb.CreateMetricDescriptorRequest{
			Name: "projects/test", MetricDescriptor: &metric.MetricDescriptor{Type: "custom.googleapis.com/t/c", MetricKind: metric.MetricDescriptor_GAUGE, ValueType: metric.MetricDescriptor_INT64},
		})
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("error %v, want ResourceExhausted", err)
		}
		if v := s.Violations(); len(v) != 2 || v[0].Rule != 14 || v[1].Rule != 14 {
			t.Errorf("violations %v, want two of rule 14", v)
		}
	})
}

// What the rules allow: the edges of each of them.
func TestAllowed(t *testing.T) {
	s, c := start(t, Options{Lenient: true})
	_, err := c.CreateMetricDescriptor(t.Context(), &monitoringpb.CreateMetricDescriptorRequest{
		Name: "projects/test", MetricDescriptor: &metric.MetricDescriptor{
			Type: "custom.googleapis.com/t/known", MetricKind: metric.MetricDescriptor_GAUGE, ValueType: metric.MetricDescriptor_INT64,
			Labels: []*label.LabelDescriptor{{Key: "old"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	minute := time.Minute
	full := make([]int64, 200)
	for _, batch := range [][]*monitoringpb.TimeSeries{
		{gauge("known", 1, now), gauge("oldest", 1, now.Add(-25*time.Hour)), gauge("ahead", 1, now.Add(5*minute))},
		{cumulative("c", 5, now.Add(-3*minute), now.Add(-2*minute)), gauge("g", 1, now.Add(-10*time.Second))},
		{cumulative("c", 5, now.Add(-3*minute), now.Add(-minute)), gauge("g", 1, now)},
		{cumulative("c", 1, now.Add(-minute+time.Millisecond), now)},
		{with(gauge("start", 1, now), func(ts *monitoringpb.TimeSeries) { ts.Points[0].Interval = interval(now, now) })},
		{dist(&distribution.Distribution{Count: 0, BucketOptions: &distribution.Distribution_BucketOptions{Options: &distribution.Distribution_BucketOptions_LinearBuckets{
			LinearBuckets: &distribution.Distribution_BucketOptions_Linear{NumFiniteBuckets: 198, Width: 1},
		}}, BucketCounts: full})},
	} {
		if err := write(t, c, batch...); err != nil {
			t.Error(err)
		}
	}
	if v := s.Violations(); len(v) != 0 {
		t.Errorf("violations %v", v)
	}
}
