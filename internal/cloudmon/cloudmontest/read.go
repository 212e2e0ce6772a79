package cloudmontest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/distribution"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Point is one written point. Start is zero for a gauge; of the values the one
// of the series' type is set.
type Point struct {
	Start, End   time.Time
	Int          int64
	Double       float64
	Distribution *distribution.Distribution
}

// Series is one written time series.
type Series struct {
	Metric   string // type
	Labels   map[string]string
	Resource map[string]string
	Points   []Point // oldest first
}

// Last returns the newest point.
func (s Series) Last() Point { return s.Points[len(s.Points)-1] }

// Series returns the series of a metric type whose metric and resource labels
// have all the given values, sorted by labels.
func (s *Server) Series(metricType string, labels map[string]string) []Series {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Series
	for _, k := range slices.Sorted(maps.Keys(s.series)) {
		old := s.series[k]
		if old.metric != metricType || !matches(old, labels) {
			continue
		}
		v := Series{Metric: old.metric, Labels: old.labels, Resource: old.resource.GetLabels()}
		for _, p := range old.points {
			v.Points = append(v.Points, point(p))
		}
		out = append(out, v)
	}
	return out
}

// Points returns the points, oldest first, of the one series that Series would
// return; nil when it would return none or several.
func (s *Server) Points(metricType string, labels map[string]string) []Point {
	all := s.Series(metricType, labels)
	if len(all) != 1 {
		return nil
	}
	return all[0].Points
}

func matches(s *series, labels map[string]string) bool {
	for k, v := range labels {
		if s.labels[k] != v && s.resource.GetLabels()[k] != v {
			return false
		}
	}
	return true
}

func point(p *monitoringpb.Point) Point {
	out := Point{
		End: p.GetInterval().GetEndTime().AsTime(), Int: p.GetValue().GetInt64Value(),
		Double: p.GetValue().GetDoubleValue(), Distribution: p.GetValue().GetDistributionValue(),
	}
	if t := p.GetInterval().GetStartTime(); t != nil {
		out.Start = t.AsTime()
	}
	return out
}

// Metrics returns the types of all descriptors, sorted.
func (s *Server) Metrics() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.descriptors))
}

// Descriptor returns the descriptor of a metric type; nil if there is none.
func (s *Server) Descriptor(metricType string) *metric.MetricDescriptor {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.descriptors[metricType]; d != nil {
		return proto.CloneOf(d.MetricDescriptor)
	}
	return nil
}

// Violations returns every rule that was broken so far, in order.
func (s *Server) Violations() []Violation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// Repeats returns how many points were exact repeats of the newest one. They
// are answered with an order error and are no violations.
func (s *Server) Repeats() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repeats
}

// Calls returns how many CreateTimeSeries requests got as far as being judged.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// ListTimeSeries returns the points in the interval, newest first. It
// understands filters of the form key = "value" joined with AND, for
// metric.type, metric.labels.*, resource.type and resource.labels.*.
func (s *Server) ListTimeSeries(_ context.Context, req *monitoringpb.ListTimeSeriesRequest) (*monitoringpb.ListTimeSeriesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.project(req.GetName()); b != nil {
		return nil, status.Error(b.code, b.text)
	}
	want, err := filter(req.GetFilter())
	if err != nil {
		return nil, err
	}
	if req.GetInterval().GetEndTime() == nil {
		return nil, status.Error(codes.InvalidArgument, "Field interval.end_time is required.")
	}
	from, to := req.GetInterval().GetStartTime().AsTime(), req.GetInterval().GetEndTime().AsTime()
	out := &monitoringpb.ListTimeSeriesResponse{}
	for _, k := range slices.Sorted(maps.Keys(s.series)) {
		old := s.series[k]
		if !want(old) {
			continue
		}
		ts := &monitoringpb.TimeSeries{
			Metric:     &metric.Metric{Type: old.metric, Labels: old.labels},
			Resource:   old.resource,
			MetricKind: old.desc.GetMetricKind(), ValueType: old.desc.GetValueType(), Unit: old.desc.GetUnit(),
		}
		for _, p := range slices.Backward(old.points) {
			if end := p.GetInterval().GetEndTime().AsTime(); !end.Before(from) && !end.After(to) {
				ts.Points = append(ts.Points, p)
			}
		}
		if len(ts.Points) > 0 {
			out.TimeSeries = append(out.TimeSeries, ts)
		}
	}
	return out, nil
}

func filter(text string) (func(*series) bool, error) {
	want := map[string]string{}
	for part := range strings.SplitSeq(text, " AND ") {
		k, v, ok := strings.Cut(part, "=")
		v, err := strconv.Unquote(strings.TrimSpace(v))
		if !ok || err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "Field filter had an invalid value of %q: want key = \"value\".", text)
		}
		want[strings.TrimSpace(k)] = v
	}
	if want["metric.type"] == "" {
		return nil, status.Errorf(codes.InvalidArgument, "Field filter had an invalid value of %q: it must name one metric.type.", text)
	}
	return func(s *series) bool {
		for k, v := range want {
			var got string
			switch group, name, _ := strings.Cut(strings.Replace(k, ".label.", ".labels.", 1), ".labels."); group {
			case "metric.type":
				got = s.metric
			case "resource.type":
				got = s.resource.GetType()
			case "metric":
				got = s.labels[name]
			case "resource":
				got = s.resource.GetLabels()[name]
			}
			if got != v {
				return false
			}
		}
		return true
	}, nil
}
