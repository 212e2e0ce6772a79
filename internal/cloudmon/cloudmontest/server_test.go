package cloudmontest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/api/iterator"
	"google.golang.org/genproto/googleapis/api/label"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const gaugeType = "custom.googleapis.com/t/g"

func TestFaults(t *testing.T) {
	tests := []struct {
		name    string
		fault   Fault
		want    codes.Code
		written bool
	}{
		{"fail next", Fault{Code: codes.Unavailable}, codes.Unavailable, false},
		{"quota", Fault{Code: codes.ResourceExhausted}, codes.ResourceExhausted, false},
		{"credentials", Fault{Code: codes.Unauthenticated}, codes.Unauthenticated, false},
		{"write, then fail", Fault{Code: codes.Internal, Written: true}, codes.Internal, true},
		{"past the deadline", Fault{Delay: time.Minute}, codes.DeadlineExceeded, false},
		{"write, then past the deadline", Fault{Delay: time.Minute, Written: true}, codes.DeadlineExceeded, true},
		{"slow", Fault{Delay: time.Millisecond}, codes.OK, true},
		{"dropped connection", Fault{Drop: true}, codes.Unavailable, false},
		{"write, then dropped connection", Fault{Drop: true, Written: true}, codes.Unavailable, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, c := start(t, Options{})
			s.Inject(1, tt.fault)
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if tt.want != codes.DeadlineExceeded {
				ctx = t.Context()
			}
			err := c.CreateTimeSeries(ctx, &monitoringpb.CreateTimeSeriesRequest{
				Name: "projects/test", TimeSeries: []*monitoringpb.TimeSeries{gauge("g", 1, now.Add(-time.Minute))},
			})
			if status.Code(err) != tt.want {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if got := len(s.Points(gaugeType, nil)) == 1; got != tt.written {
				t.Errorf("written %v, want %v", got, tt.written)
			}
			if err := write(t, c, gauge("g", 1, now)); err != nil {
				t.Errorf("the write after the fault: %v", err)
			}
			if v := s.Violations(); len(v) != 0 {
				t.Errorf("violations %v, want none: faults are no violations", v)
			}
		})
	}
}

func TestFailOneSeries(t *testing.T) {
	s, c := start(t, Options{})
	s.Inject(1, Fault{Code: codes.Internal, Series: []int{1}})
	err := write(t, c, gauge("a", 1, now), gauge("b", 1, now), gauge("c", 1, now))
	if sum := summary(err); status.Code(err) != codes.Internal || sum.GetSuccessPointCount() != 2 || sum.GetErrors()[0].GetStatus().GetCode() != int32(codes.Internal) {
		t.Errorf("error %v, summary %v", err, summary(err))
	}
	if got := strings.Join(s.Metrics(), " "); got != "custom.googleapis.com/t/a custom.googleapis.com/t/c" {
		t.Errorf("written: %s", got)
	}
}

func TestInjectUntilClear(t *testing.T) {
	s, c := start(t, Options{})
	s.Inject(-1, Fault{Code: codes.Unauthenticated, All: true})
	for range 3 {
		if err := write(t, c, gauge("g", 1, now)); status.Code(err) != codes.Unauthenticated {
			t.Errorf("error %v, want Unauthenticated", err)
		}
	}
	d := &metric.MetricDescriptor{Type: gaugeType, MetricKind: metric.MetricDescriptor_GAUGE, ValueType: metric.MetricDescriptor_INT64}
	if _, err := c.CreateMetricDescriptor(t.Context(), &monitoringpb.CreateMetricDescriptorRequest{Name: "projects/test", MetricDescriptor: d}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("descriptor: error %v, want Unauthenticated", err)
	}
	s.Clear()
	if err := write(t, c, gauge("g", 1, now)); err != nil {
		t.Error(err)
	}
	asked := 0
	s.Chaos(func() *Fault {
		asked++
		return &Fault{Code: codes.Aborted}
	})
	if err := write(t, c, gauge("g", 1, now)); status.Code(err) != codes.Aborted || asked != 1 {
		t.Errorf("error %v after %d questions, want Aborted after 1", err, asked)
	}
}

// A write that happened although the client was told otherwise: the repeat is
// an order error, and the client's only way to find out, so no violation.
func TestRepeat(t *testing.T) {
	s, c := start(t, Options{})
	s.Inject(1, Fault{Code: codes.Unavailable, Written: true})
	if err := write(t, c, gauge("g", 1, now)); status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
	err := write(t, c, gauge("g", 1, now))
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), textOrder) {
		t.Errorf("error %v, want the order error", err)
	}
	if len(s.Violations()) != 0 || s.Repeats() != 1 || len(s.Points(gaugeType, nil)) != 1 {
		t.Errorf("violations %v, %d repeats, points %v", s.Violations(), s.Repeats(), s.Points(gaugeType, nil))
	}
}

func TestClockSkew(t *testing.T) {
	skew := 10 * time.Minute
	s, c := start(t, Options{Now: func() time.Time { return time.Now().Add(-skew) }})
	if err := write(t, c, gauge("g", 1, time.Now())); status.Code(err) != codes.InvalidArgument {
		t.Errorf("error %v, want InvalidArgument: the point is ahead of the server's clock", err)
	}
	if v := s.Violations(); len(v) != 1 || v[0].Rule != 10 {
		t.Errorf("violations %v, want one of rule 10", v)
	}
}

func TestGoAway(t *testing.T) {
	s, c := start(t, Options{})
	begun := make(chan struct{}, 1)
	s.Chaos(func() *Fault {
		begun <- struct{}{}
		return &Fault{Delay: 100 * time.Millisecond}
	})
	answer := make(chan error, 1)
	go func() { answer <- write(t, c, gauge("g", 1, now.Add(-time.Minute))) }()
	<-begun
	s.Clear()
	s.GoAway()
	if err := <-answer; err != nil {
		t.Errorf("the call in progress: %v", err)
	}
	if err := write(t, c, gauge("g", 1, now)); err != nil {
		t.Errorf("the call after: %v", err)
	}
}

func TestDescriptors(t *testing.T) {
	s, c := start(t, Options{})
	create := func(d *metric.MetricDescriptor) error {
		_, err := c.CreateMetricDescriptor(t.Context(), &monitoringpb.CreateMetricDescriptorRequest{Name: "projects/test", MetricDescriptor: d})
		return err
	}
	d := func(kind metric.MetricDescriptor_MetricKind, unit string, keys ...string) *metric.MetricDescriptor {
		m := &metric.MetricDescriptor{Type: gaugeType, MetricKind: kind, ValueType: metric.MetricDescriptor_INT64, Unit: unit}
		for _, k := range keys {
			m.Labels = append(m.Labels, &label.LabelDescriptor{Key: k})
		}
		return m
	}
	if err := create(d(metric.MetricDescriptor_GAUGE, "1", "a")); err != nil {
		t.Fatal(err)
	}
	if err := create(d(metric.MetricDescriptor_GAUGE, "s", "b")); err != nil {
		t.Errorf("second time: %v", err)
	}
	got, err := c.GetMetricDescriptor(t.Context(), &monitoringpb.GetMetricDescriptorRequest{Name: "projects/test/metricDescriptors/" + gaugeType})
	if err != nil || got.GetUnit() != "s" || len(got.GetLabels()) != 2 {
		t.Errorf("descriptor %v, %v: want unit s and labels a and b", got, err)
	}
	if err := create(d(metric.MetricDescriptor_CUMULATIVE, "s")); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "must be GAUGE, but is CUMULATIVE") {
		t.Errorf("other kind: error %v", err)
	}
	ts := gauge("g", 1, now)
	ts.Metric.Labels, ts.Unit = map[string]string{"a": "x"}, "ms"
	if err := write(t, c, ts); err != nil {
		t.Fatal(err)
	}
	if u := s.Descriptor(gaugeType).GetUnit(); u != "s" {
		t.Errorf("unit %q after a write with another, want s: only an empty one is set by a write", u)
	}
	if err := c.DeleteMetricDescriptor(t.Context(), &monitoringpb.DeleteMetricDescriptorRequest{Name: "projects/test/metricDescriptors/" + gaugeType}); err != nil {
		t.Fatal(err)
	}
	if len(s.Series(gaugeType, nil)) != 0 || s.Descriptor(gaugeType) != nil {
		t.Error("the series outlived its descriptor")
	}
	// The next write brings it back as what the write looks like.
	ts.MetricKind = metric.MetricDescriptor_METRIC_KIND_UNSPECIFIED
	if err := write(t, c, ts); err != nil || s.Descriptor(gaugeType).GetMetricKind() != metric.MetricDescriptor_GAUGE || s.Descriptor(gaugeType).GetUnit() != "ms" {
		t.Errorf("auto-created %v, %v: want a GAUGE in ms", s.Descriptor(gaugeType), err)
	}
}

func TestDescriptorDelay(t *testing.T) {
	clock := now
	_, c := start(t, Options{DescriptorDelay: time.Minute, Now: func() time.Time { return clock }})
	_, err := c.CreateMetricDescriptor(t.Context(), &monitoringpb.CreateMetricDescriptorRequest{
		Name: "projects/test", MetricDescriptor: &metric.MetricDescriptor{Type: gaugeType, MetricKind: metric.MetricDescriptor_GAUGE, ValueType: metric.MetricDescriptor_INT64},
	})
	if err != nil {
		t.Fatal(err)
	}
	get := func() codes.Code {
		_, err := c.GetMetricDescriptor(t.Context(), &monitoringpb.GetMetricDescriptorRequest{Name: "projects/test/metricDescriptors/" + gaugeType})
		return status.Code(err)
	}
	if got := get(); got != codes.NotFound {
		t.Errorf("at once: %v, want NotFound", got)
	}
	clock = clock.Add(time.Minute)
	if got := get(); got != codes.OK {
		t.Errorf("after the delay: %v, want OK", got)
	}
}

func TestListNewestFirst(t *testing.T) {
	s, c := start(t, Options{})
	for i := range int64(5) {
		if err := write(t, c, gauge("g", i, now.Add(time.Duration(i-5)*time.Minute)), gauge("h", i, now.Add(time.Duration(i-5)*time.Minute))); err != nil {
			t.Fatal(err)
		}
	}
	it := c.ListTimeSeries(t.Context(), &monitoringpb.ListTimeSeriesRequest{
		Name:   "projects/test",
		Filter: `metric.type = "` + gaugeType + `" AND metric.labels.check = "api" AND resource.labels.task_id = "1"`,
		Interval: &monitoringpb.TimeInterval{
			StartTime: timestamppb.New(now.Add(-4 * time.Minute)), EndTime: timestamppb.New(now.Add(-2 * time.Minute)),
		},
	})
	ts, err := it.Next()
	if err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, p := range ts.GetPoints() {
		got = append(got, p.GetValue().GetInt64Value())
	}
	if len(got) != 3 || got[0] != 3 || got[2] != 1 {
		t.Errorf("points %v, want 3 2 1", got)
	}
	if _, err := it.Next(); !errors.Is(err, iterator.Done) {
		t.Errorf("a second series: %v", err)
	}
	if p := s.Points(gaugeType, map[string]string{"task_id": "1"}); len(p) != 5 || p[0].Int != 0 {
		t.Errorf("Points %v, want 5, oldest first", p)
	}
	if got, err := c.ListMetricDescriptors(t.Context(), &monitoringpb.ListMetricDescriptorsRequest{Name: "projects/test"}).Next(); err != nil || got.GetType() != gaugeType {
		t.Errorf("first descriptor %v, %v", got, err)
	}
	for _, bad := range []string{``, `metric.type = x`, `resource.type = "global"`} {
		if _, err := c.ListTimeSeries(t.Context(), &monitoringpb.ListTimeSeriesRequest{Name: "projects/test", Filter: bad}).Next(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("filter %q: error %v, want InvalidArgument", bad, err)
		}
	}
}
