package cloudmontest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/label"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// descriptor is a metric descriptor and how it came to be.
type descriptor struct {
	*metric.MetricDescriptor
	explicit bool      // by CreateMetricDescriptor, not by a first write
	visible  time.Time // before that, reads and rule 7 do not know it
}

func (d *descriptor) has(key string) bool {
	return slices.ContainsFunc(d.GetLabels(), func(l *label.LabelDescriptor) bool { return l.GetKey() == key })
}

// descriptorFor returns the descriptor that ts must agree with, or one made up
// from it when there is none: rules 7, 9 and 14.
func (s *Server) descriptorFor(ts *monitoringpb.TimeSeries) (*descriptor, *broken) {
	t, vt := ts.GetMetric().GetType(), valueType(ts.GetPoints()[0])
	kind := ts.GetMetricKind()
	if declared := ts.GetValueType(); declared != metric.MetricDescriptor_VALUE_TYPE_UNSPECIFIED && declared != vt {
		return nil, invalid(9, "Value type for metric %s must be %s, but is %s.", t, declared, vt)
	}
	d := s.descriptors[t]
	if d == nil {
		if kind == metric.MetricDescriptor_METRIC_KIND_UNSPECIFIED {
			kind = metric.MetricDescriptor_GAUGE
		}
		if b := kindAndType(t, kind, vt); b != nil {
			return nil, b
		}
		if len(s.descriptors) >= s.opts.MaxDescriptors {
			return nil, &broken{rule: 14, code: codes.ResourceExhausted, text: "Your metric descriptor quota has been exhausted."}
		}
		return &descriptor{MetricDescriptor: &metric.MetricDescriptor{Type: t, MetricKind: kind, ValueType: vt}}, nil
	}
	if kind != metric.MetricDescriptor_METRIC_KIND_UNSPECIFIED && kind != d.GetMetricKind() {
		return nil, invalid(9, "Metric kind for metric %s must be %s, but is %s.", t, d.GetMetricKind(), kind)
	}
	if vt != d.GetValueType() {
		return nil, invalid(9, "Value type for metric %s must be %s, but is %s.", t, d.GetValueType(), vt)
	}
	if d.explicit && !s.opts.Lenient && !d.visible.After(s.opts.Now()) {
		for k := range ts.GetMetric().GetLabels() {
			if !d.has(k) {
				return nil, invalid(7, "Unrecognized metric label: %q is no label of metric %s.", k, t)
			}
		}
	}
	return d, nil
}

func kindAndType(t string, kind metric.MetricDescriptor_MetricKind, vt metric.MetricDescriptor_ValueType) *broken {
	if kind != metric.MetricDescriptor_GAUGE && kind != metric.MetricDescriptor_CUMULATIVE {
		return invalid(9, "Metric kind for metric %s must be GAUGE or CUMULATIVE, but is %s.", t, kind)
	}
	if kind == metric.MetricDescriptor_CUMULATIVE && vt == metric.MetricDescriptor_BOOL {
		return invalid(9, "Metric kind for metric %s must be GAUGE for BOOL values, but is %s.", t, kind)
	}
	return nil
}

// keep stores what a successful write adds to the descriptor.
func (s *Server) keep(d *descriptor, ts *monitoringpb.TimeSeries) *descriptor {
	s.descriptors[d.GetType()] = d
	for _, k := range slices.Sorted(maps.Keys(ts.GetMetric().GetLabels())) {
		if !d.has(k) {
			d.Labels = append(d.Labels, &label.LabelDescriptor{Key: k})
		}
	}
	if d.Unit == "" {
		d.Unit = ts.GetUnit()
	}
	if d.Description == "" {
		d.Description = ts.GetDescription()
	}
	return d
}

// CreateMetricDescriptor creates or updates: labels are added and never
// removed, kind and value type cannot change.
func (s *Server) CreateMetricDescriptor(ctx context.Context, req *monitoringpb.CreateMetricDescriptorRequest) (*metric.MetricDescriptor, error) {
	var out *metric.MetricDescriptor
	err := s.suffer(ctx, s.nextFault(false), func() (err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		out, err = s.createDescriptor(req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (s *Server) createDescriptor(req *monitoringpb.CreateMetricDescriptorRequest) (*metric.MetricDescriptor, error) {
	in := req.GetMetricDescriptor()
	if b := s.project(req.GetName()); b != nil {
		return nil, s.refuse(b)
	}
	labels := map[string]string{}
	for _, l := range in.GetLabels() {
		labels[l.GetKey()] = ""
	}
	as := &monitoringpb.TimeSeries{Metric: &metric.Metric{Type: in.GetType(), Labels: labels}}
	if b := ruleMetricType(0, as); b != nil {
		return nil, s.refuse(b)
	}
	if b := ruleLabels(0, as); b != nil {
		return nil, s.refuse(b)
	}
	if b := kindAndType(in.GetType(), in.GetMetricKind(), in.GetValueType()); b != nil {
		return nil, s.refuse(b)
	}
	next := &descriptor{MetricDescriptor: proto.CloneOf(in), explicit: true, visible: s.opts.Now().Add(s.opts.DescriptorDelay)}
	next.Name = req.GetName() + "/metricDescriptors/" + in.GetType()
	if old := s.descriptors[in.GetType()]; old != nil {
		if old.GetMetricKind() != in.GetMetricKind() {
			return nil, s.refuse(invalid(9, "Metric kind for metric %s must be %s, but is %s.", in.GetType(), old.GetMetricKind(), in.GetMetricKind()))
		}
		if old.GetValueType() != in.GetValueType() {
			return nil, s.refuse(invalid(9, "Value type for metric %s must be %s, but is %s.", in.GetType(), old.GetValueType(), in.GetValueType()))
		}
		for _, l := range old.GetLabels() {
			if !next.has(l.GetKey()) {
				next.Labels = append(next.Labels, l)
			}
		}
		next.visible = old.visible
	} else if len(s.descriptors) >= s.opts.MaxDescriptors {
		return nil, s.refuse(&broken{rule: 14, code: codes.ResourceExhausted, text: "Your metric descriptor quota has been exhausted."})
	}
	s.descriptors[in.GetType()] = next
	for _, old := range s.series {
		if old.metric == in.GetType() {
			old.desc = next
		}
	}
	return proto.CloneOf(next.MetricDescriptor), nil
}

// GetMetricDescriptor returns one descriptor.
func (s *Server) GetMetricDescriptor(_ context.Context, req *monitoringpb.GetMetricDescriptorRequest) (*metric.MetricDescriptor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, t, _ := strings.Cut(req.GetName(), "/metricDescriptors/")
	d := s.descriptors[t]
	if d == nil || d.visible.After(s.opts.Now()) {
		return nil, status.Errorf(codes.NotFound, "Could not find descriptor for metric '%s'.", t)
	}
	return proto.CloneOf(d.MetricDescriptor), nil
}

// ListMetricDescriptors returns all descriptors, in one page.
func (s *Server) ListMetricDescriptors(context.Context, *monitoringpb.ListMetricDescriptorsRequest) (*monitoringpb.ListMetricDescriptorsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &monitoringpb.ListMetricDescriptorsResponse{}
	for _, t := range slices.Sorted(maps.Keys(s.descriptors)) {
		if d := s.descriptors[t]; !d.visible.After(s.opts.Now()) {
			out.MetricDescriptors = append(out.MetricDescriptors, proto.CloneOf(d.MetricDescriptor))
		}
	}
	return out, nil
}

// DeleteMetricDescriptor removes a descriptor and all its series.
func (s *Server) DeleteMetricDescriptor(_ context.Context, req *monitoringpb.DeleteMetricDescriptorRequest) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, t, _ := strings.Cut(req.GetName(), "/metricDescriptors/")
	if s.descriptors[t] == nil {
		return nil, status.Errorf(codes.NotFound, "Could not find descriptor for metric '%s'.", t)
	}
	delete(s.descriptors, t)
	maps.DeleteFunc(s.series, func(_ string, old *series) bool { return old.metric == t })
	return &emptypb.Empty{}, nil
}
