package cloudmontest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// series is what was written of one time series.
type series struct {
	metric   string
	labels   map[string]string
	resource *monitoredres.MonitoredResource
	desc     *descriptor
	points   []*monitoringpb.Point // oldest first
}

func (s *series) last() *monitoringpb.Point { return s.points[len(s.points)-1] }

// broken is a rule that one series or a whole request breaks.
type broken struct {
	rule int
	code codes.Code
	text string
}

func invalid(rule int, format string, args ...any) *broken {
	return &broken{rule: rule, code: codes.InvalidArgument, text: fmt.Sprintf(format, args...)}
}

// CreateTimeSeries writes what keeps the rules. When some series do not, the
// others are written and the error carries a CreateTimeSeriesSummary.
func (s *Server) CreateTimeSeries(ctx context.Context, req *monitoringpb.CreateTimeSeriesRequest) (*emptypb.Empty, error) {
	f := s.nextFault(true)
	err := s.suffer(ctx, f, func() error { return s.write(ctx, req, f) })
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// CreateServiceTimeSeries refuses everything: it is for Google's own services.
func (s *Server) CreateServiceTimeSeries(context.Context, *monitoringpb.CreateTimeSeriesRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return nil, s.refuse(invalid(5, "CreateServiceTimeSeries does not accept user-defined metrics."))
}

func (s *Server) refuse(b *broken) error {
	s.violations = append(s.violations, Violation{Rule: b.rule, Text: b.text})
	return status.Error(b.code, b.text)
}

func (s *Server) write(ctx context.Context, req *monitoringpb.CreateTimeSeriesRequest, f Fault) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil { // the caller has gone, and may have made the next call already
		return status.FromContextError(ctx.Err()).Err()
	}
	s.calls++
	if b := s.project(req.GetName()); b != nil {
		return s.refuse(b)
	}
	if b := ruleCall(ctx, "projects/"+s.opts.Project); b != nil {
		return s.refuse(b)
	}
	if b := ruleSize(len(req.GetTimeSeries())); b != nil {
		return s.refuse(b)
	}
	seen := map[string]bool{}
	failed := map[int]*broken{}
	for i, ts := range req.GetTimeSeries() {
		if len(f.Series) > 0 && slices.Contains(f.Series, i) {
			failed[i] = &broken{code: f.Code, text: "injected: " + f.Code.String()}
			continue
		}
		if b := s.writeOne(i, ts, seen); b != nil {
			failed[i] = b
			if b.rule != 0 {
				s.violations = append(s.violations, Violation{Rule: b.rule, Text: b.text, Series: s.tell(ts)})
			}
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return partial(req.GetTimeSeries(), failed)
}

// writeOne writes one series or says which rule it breaks. An exact repeat of
// the newest point is answered as the order error that it is, with rule 0: it
// is what a client must do when it does not know whether a write happened.
func (s *Server) writeOne(i int, ts *monitoringpb.TimeSeries, seen map[string]bool) *broken {
	for _, rule := range []func(int, *monitoringpb.TimeSeries) *broken{
		ruleMetricType, ruleLabels, ruleResource, ruleOnePoint,
	} {
		if b := rule(i, ts); b != nil {
			return b
		}
	}
	k := key(ts)
	if seen[k] {
		return invalid(3, "Duplicate TimeSeries encountered. Only one point can be written per TimeSeries per request.")
	}
	seen[k] = true
	p := ts.GetPoints()[0]
	d, b := s.descriptorFor(ts)
	if b != nil {
		return b
	}
	now := s.opts.Now()
	old := s.series[k]
	for _, rule := range []func() *broken{
		func() *broken { return ruleAge(i, p, now) },
		func() *broken { return ruleInterval(i, d, p) },
		func() *broken { return ruleDistribution(i, p) },
	} {
		if b := rule(); b != nil {
			return b
		}
	}
	if old != nil {
		if proto.Equal(old.last(), p) {
			s.repeats++
			return &broken{code: codes.InvalidArgument, text: textOrder}
		}
		if b := ruleOrder(d, old.last(), p, s.opts.SamplingPeriod); b != nil {
			return b
		}
		if b := ruleReset(d, old.last(), p); b != nil {
			return b
		}
	} else if b := s.ceiling(ts, now); b != nil {
		return b
	}
	d = s.keep(d, ts)
	if old == nil {
		old = &series{metric: ts.GetMetric().GetType(), labels: ts.GetMetric().GetLabels(), resource: ts.GetResource(), desc: d}
		s.series[k] = old
	}
	if keep := s.opts.Keep; keep > 0 && len(old.points) >= keep {
		old.points = old.points[:copy(old.points, old.points[len(old.points)-keep+1:])]
	}
	old.points = append(old.points, p)
	return nil
}

// ceiling is rule 14 for series: a resource may have so many active ones. For
// the resource "global" the limit holds for each metric type.
func (s *Server) ceiling(ts *monitoringpb.TimeSeries, now time.Time) *broken {
	if len(s.series) < s.opts.MaxSeries {
		return nil
	}
	res, n := resourceKey(ts.GetResource()), 0
	for _, old := range s.series {
		if resourceKey(old.resource) == res && now.Sub(old.last().GetInterval().GetEndTime().AsTime()) < 24*time.Hour &&
			(ts.GetResource().GetType() != "global" || old.metric == ts.GetMetric().GetType()) {
			n++
		}
	}
	if n < s.opts.MaxSeries {
		return nil
	}
	return &broken{rule: 14, code: codes.ResourceExhausted, text: "Monitored resource has too many time series (custom metrics)."}
}

// partial builds the answer to a request of which some series failed: the
// counts are in the summary, which series they were only in prose.
func partial(all []*monitoringpb.TimeSeries, failed map[int]*broken) error {
	code := failed[slices.Min(slices.Collect(maps.Keys(failed)))].code
	byText := map[string][]int{}
	byCode := map[codes.Code]int32{}
	for i, b := range failed {
		if b.code == codes.InvalidArgument {
			code = b.code
		}
		byText[b.text] = append(byText[b.text], i)
		byCode[b.code]++
	}
	summary := &monitoringpb.CreateTimeSeriesSummary{
		TotalPointCount:   int32(len(all)),
		SuccessPointCount: int32(len(all) - len(failed)),
	}
	for _, c := range slices.Sorted(maps.Keys(byCode)) {
		summary.Errors = append(summary.Errors, &monitoringpb.CreateTimeSeriesSummary_Error{
			Status: status.New(c, "").Proto(), PointCount: byCode[c],
		})
	}
	var prose []string
	for _, text := range slices.Sorted(maps.Keys(byText)) {
		at := byText[text]
		sort.Ints(at)
		ts := all[at[0]]
		prose = append(prose, fmt.Sprintf("timeSeries[%s] (example metric.type=%q, metric.labels=%v): write for resource=%s%v failed with: %s",
			ranges(at), ts.GetMetric().GetType(), ts.GetMetric().GetLabels(), ts.GetResource().GetType(), ts.GetResource().GetLabels(), text))
	}
	st, err := status.New(code, "One or more TimeSeries could not be written: "+strings.ToValidUTF8(strings.Join(prose, "; "), "?")).WithDetails(summary)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return st.Err()
}

// ranges writes sorted positions as the service does: 0-31,40.
func ranges(at []int) string {
	var out []string
	for i := 0; i < len(at); {
		j := i
		for j+1 < len(at) && at[j+1] == at[j]+1 {
			j++
		}
		if i == j {
			out = append(out, strconv.Itoa(at[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", at[i], at[j]))
		}
		i = j + 1
	}
	return strings.Join(out, ",")
}

func (s *Server) tell(ts *monitoringpb.TimeSeries) string {
	text := fmt.Sprintf("%s points %v", key(ts), ts.GetPoints())
	if old := s.series[key(ts)]; old != nil {
		text += fmt.Sprintf(" newest %v", old.last())
	}
	return text
}

func key(ts *monitoringpb.TimeSeries) string {
	return ts.GetMetric().GetType() + labelKey(ts.GetMetric().GetLabels()) + resourceKey(ts.GetResource())
}

func resourceKey(r *monitoredres.MonitoredResource) string {
	return r.GetType() + labelKey(r.GetLabels())
}

// labelKey leaves empty values out: a label that is empty is a label that is absent.
func labelKey(labels map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if labels[k] != "" {
			fmt.Fprintf(&b, "|%q=%q", k, labels[k])
		}
	}
	return b.String() + "|"
}

// ruleCall is rule 4: the client sends the routing header, and never waits for ever.
func ruleCall(ctx context.Context, name string) *broken {
	md, _ := metadata.FromIncomingContext(ctx)
	want := "name=" + strings.ReplaceAll(name, "/", "%2F")
	if got := strings.Join(md.Get("x-goog-request-params"), ","); got != want {
		return invalid(4, "Routing header x-goog-request-params is %q, want %q.", got, want)
	}
	if _, ok := ctx.Deadline(); !ok {
		return invalid(4, "The call has no deadline.")
	}
	return nil
}
