package cloudmon

import (
	"context"
	"slices"
	"strings"
	"time"

	monitoring "cloud.google.com/go/monitoring/apiv3/v2"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/distribution"
	"google.golang.org/genproto/googleapis/api/label"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/genproto/googleapis/api/monitoredres"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// connect makes the client if there is none, and tells whether there is one.
func (x *Exporter) connect(ctx context.Context) bool {
	if x.client != nil {
		return true
	}
	opts, err := x.cfg.clientOptions()
	if err == nil {
		x.client, err = monitoring.NewMetricClient(ctx, opts...)
	}
	if err != nil {
		x.problem("connect to Cloud Monitoring (credentials come from credentials_file, GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account)", err)
		x.client = nil
	}
	return err == nil
}

// metrics returns a sample without a value of every metric that this config
// exports for sure.
func (x *Exporter) metrics() []Sample {
	var out []Sample
	for _, m := range Metrics() {
		var used bool
		switch m.Name {
		case nameLatency:
			used = x.cfg.Latency.PerCheck == latencyDistribution
		case nameLatencyMean:
			used = x.cfg.Latency.PerCheck == latencyMean
		case nameGroupLatency:
			used = x.cfg.Latency.PerGroup == latencyDistribution
		case nameGroupMean:
			used = x.cfg.Latency.PerGroup == latencyMean
		case nameOpenFindings:
			used = x.o.Findings != nil
		default:
			used = m.Name != nameRecorded
		}
		if used {
			out = append(out, Sample{Metric: &m})
		}
	}
	return out
}

// describe creates the descriptors of the samples' metrics that were not
// created by this process: without one a metric has no unit and no name to
// show. It is an upsert. Writing goes on without it: the first write creates a
// descriptor of the right kind.
func (x *Exporter) describe(work context.Context, samples []Sample) {
	if time.Now().Before(x.describeAgain) {
		return
	}
	for _, s := range samples {
		if x.described[s.Metric.Name] {
			continue
		}
		ctx, cancel := context.WithTimeout(work, x.pace.deadline)
		_, err := x.client.CreateMetricDescriptor(ctx, &monitoringpb.CreateMetricDescriptorRequest{
			Name: "projects/" + x.cfg.Project, MetricDescriptor: x.descriptor(s.Metric),
		})
		cancel()
		if err != nil && status.Code(err) != codes.InvalidArgument {
			x.problem("create metric descriptors", err)
			x.describeAgain = time.Now().Add(x.pace.cycle)
			return
		}
		if err != nil { // there is one of another kind, and it stays so
			x.problem("create metric descriptor "+x.metricType(s.Metric), err)
		}
		x.described[s.Metric.Name] = true
	}
	x.describeAgain = time.Time{}
}

func (x *Exporter) metricType(m *Metric) string { return x.cfg.Prefix + "/" + m.Name }

func (x *Exporter) descriptor(m *Metric) *metric.MetricDescriptor {
	d := &metric.MetricDescriptor{
		Type: x.metricType(m), MetricKind: m.kind(), ValueType: m.valueType(),
		Unit: m.Unit, Description: m.Help, DisplayName: "Tripline: " + strings.ToLower(m.Display[:1]) + m.Display[1:],
	}
	for _, k := range m.Labels {
		d.Labels = append(d.Labels, &label.LabelDescriptor{Key: k, ValueType: label.LabelDescriptor_STRING})
	}
	return d
}

func (m *Metric) kind() metric.MetricDescriptor_MetricKind {
	if m.Kind == Cumulative {
		return metric.MetricDescriptor_CUMULATIVE
	}
	return metric.MetricDescriptor_GAUGE
}

func (m *Metric) valueType() metric.MetricDescriptor_ValueType {
	switch m.Type {
	case Int:
		return metric.MetricDescriptor_INT64
	case DistributionType:
		return metric.MetricDescriptor_DISTRIBUTION
	}
	return metric.MetricDescriptor_DOUBLE
}

// series makes time series of samples, each with one point that ends at end.
func (x *Exporter) series(samples []Sample, end time.Time) []*monitoringpb.TimeSeries {
	resource := &monitoredres.MonitoredResource{Type: "generic_task", Labels: map[string]string{
		"project_id": x.cfg.Project, "location": x.cfg.Location, "namespace": x.cfg.Namespace, "job": x.cfg.Job, "task_id": x.task.id,
	}}
	endTime := timestamppb.New(end)
	out := make([]*monitoringpb.TimeSeries, 0, len(samples))
	for _, s := range samples {
		labels := make(map[string]string, len(s.Labels))
		for i, v := range s.Labels {
			labels[s.Metric.Labels[i]] = v
		}
		interval := &monitoringpb.TimeInterval{EndTime: endTime}
		if s.Metric.Kind == Cumulative {
			interval.StartTime = timestamppb.New(time.UnixMilli(s.StartMS))
		}
		out = append(out, &monitoringpb.TimeSeries{
			Metric: &metric.Metric{Type: x.metricType(s.Metric), Labels: labels}, Resource: resource,
			MetricKind: s.Metric.kind(), ValueType: s.Metric.valueType(), Unit: s.Metric.Unit,
			Points: []*monitoringpb.Point{{Interval: interval, Value: s.value()}},
		})
	}
	return slices.Clip(out)
}

func (s *Sample) value() *monitoringpb.TypedValue {
	switch s.Metric.Type {
	case Int:
		return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_Int64Value{Int64Value: s.Int}}
	case DistributionType:
		return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DistributionValue{DistributionValue: s.Distribution.proto()}}
	}
	return &monitoringpb.TypedValue{Value: &monitoringpb.TypedValue_DoubleValue{DoubleValue: s.Double}}
}

func (d *Distribution) proto() *distribution.Distribution {
	return &distribution.Distribution{
		Count: d.Count, Mean: d.Mean, SumOfSquaredDeviation: d.SumOfSquaredDeviation, BucketCounts: d.Buckets,
		BucketOptions: &distribution.Distribution_BucketOptions{Options: &distribution.Distribution_BucketOptions_ExponentialBuckets{
			ExponentialBuckets: &distribution.Distribution_BucketOptions_Exponential{
				NumFiniteBuckets: finiteBuckets, GrowthFactor: bucketGrowth(), Scale: bucketScale,
			},
		}},
	}
}
