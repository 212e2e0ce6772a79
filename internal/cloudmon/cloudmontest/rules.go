package cloudmontest

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/genproto/googleapis/api/metric"
	"google.golang.org/grpc/codes"
)

// The rules, by number:
//
//	 1  the name is projects/{id} of a project that exists
//	 2  1 to 200 series a request
//	 3  no series twice in a request
//	 4  routing header and deadline are set
//	 5  metric type: a prefix for users, legal characters, length
//	 6  label keys and values: characters, length, number, UTF-8
//	 7  labels are those of the descriptor
//	 8  resource: of a writable type, all its labels and no others, none empty
//	 9  exactly one point, with a value, of the descriptor's kind and type
//	10  end time: set, at most 25 h old, at most 5 min ahead
//	11  interval: GAUGE a moment; CUMULATIVE start before end, start constant
//	    or after the newest end, value not decreasing without a new start
//	12  end after the newest end, by the sampling period at least
//	13  DISTRIBUTION: consistent, finite, at most 200 buckets
//	14  ceilings on active series and on descriptors
const (
	maxSeries      = 200
	maxTypeLen     = 200
	maxLabels      = 30
	maxKeyLen      = 100
	maxValueLen    = 1024
	maxBuckets     = 200
	maxAge         = 25 * time.Hour
	maxAhead       = 5 * time.Minute
	leastStep      = time.Millisecond
	reservedPrefix = "__"
)

const (
	textOrder = "Points must be written in order. One or more of the points specified had an older start/end time than the most recent point."
	textOften = "One or more points were written more frequently than the maximum sampling period configured for the metric."
)

// project is rule 1.
func (s *Server) project(name string) *broken {
	id, ok := strings.CutPrefix(name, "projects/")
	if !ok || id == "" || strings.Contains(id, "/") {
		return invalid(1, "Name %q is invalid, it must be of the form projects/[PROJECT_ID_OR_NUMBER].", name)
	}
	if id != s.opts.Project {
		return &broken{rule: 1, code: codes.NotFound, text: "Project " + id + " could not be found."}
	}
	return nil
}

func ruleSize(n int) *broken {
	if n < 1 {
		return invalid(2, "Field timeSeries must not be empty.")
	}
	if n > maxSeries {
		return invalid(2, "Field timeSeries had an invalid value: %d TimeSeries in one request; the maximum is %d.", n, maxSeries)
	}
	return nil
}

func ruleMetricType(i int, ts *monitoringpb.TimeSeries) *broken {
	t := ts.GetMetric().GetType()
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_./-", r)
	}
	path := ""
	for _, p := range []string{"custom.googleapis.com/", "external.googleapis.com/", "workload.googleapis.com/"} {
		if rest, ok := strings.CutPrefix(t, p); ok {
			path = rest
		}
	}
	if path == "" || len(t) > maxTypeLen || strings.ContainsFunc(t, func(r rune) bool { return !legal(r) }) ||
		strings.Contains(t, "//") || strings.HasSuffix(t, "/") {
		return invalid(5, "Field timeSeries[%d].metric.type had an invalid value of %q: The metric type must be a URL-formatted string with a domain and non-empty path, at most %d characters long.", i, t, maxTypeLen)
	}
	return nil
}

func ruleLabels(i int, ts *monitoringpb.TimeSeries) *broken {
	labels := ts.GetMetric().GetLabels()
	if len(labels) > maxLabels {
		return invalid(6, "Field timeSeries[%d].metric.labels had %d entries; the maximum is %d.", i, len(labels), maxLabels)
	}
	for k, v := range labels {
		if !legalKey(k) {
			return invalid(6, "Field timeSeries[%d].metric.labels had an invalid key %q.", i, k)
		}
		if utf8.RuneCountInString(v) > maxValueLen || !utf8.ValidString(v) {
			return invalid(6, "Field timeSeries[%d].metric.labels[%q] had an invalid value: it must be valid UTF-8 of at most %d characters.", i, k, maxValueLen)
		}
	}
	return nil
}

func legalKey(k string) bool {
	if k == "" || len(k) > maxKeyLen || strings.HasPrefix(k, reservedPrefix) || k[0] >= '0' && k[0] <= '9' {
		return false
	}
	return strings.Trim(k, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}

// resourceLabels returns the labels of a resource type that users may write to.
func resourceLabels(typ string) []string {
	switch typ {
	case "generic_task":
		return []string{"project_id", "location", "namespace", "job", "task_id"}
	case "generic_node":
		return []string{"project_id", "location", "namespace", "node_id"}
	case "global":
		return []string{"project_id"}
	case "gce_instance":
		return []string{"project_id", "instance_id", "zone"}
	case "k8s_cluster":
		return []string{"project_id", "location", "cluster_name"}
	case "k8s_node":
		return []string{"project_id", "location", "cluster_name", "node_name"}
	case "k8s_pod":
		return []string{"project_id", "location", "cluster_name", "namespace_name", "pod_name"}
	case "k8s_container":
		return []string{"project_id", "location", "cluster_name", "namespace_name", "pod_name", "container_name"}
	case "gae_instance":
		return []string{"project_id", "module_id", "version_id", "instance_id", "location"}
	case "aws_ec2_instance":
		return []string{"project_id", "instance_id", "region", "aws_account"}
	}
	return nil
}

func ruleResource(_ int, ts *monitoringpb.TimeSeries) *broken {
	r := ts.GetResource()
	want := resourceLabels(r.GetType())
	if want == nil {
		return invalid(8, "Metrics cannot be written to %s. See https://cloud.google.com/monitoring/custom-metrics/creating-metrics#which-resource for a list of writable resource types.", r.GetType())
	}
	var missing []string
	for _, k := range want {
		if r.GetLabels()[k] == "" {
			missing = append(missing, k)
		}
	}
	if len(missing) > 0 {
		return invalid(8, "The set of resource labels is incomplete. Missing labels: (%s).", strings.Join(missing, " "))
	}
	for k, v := range r.GetLabels() {
		if !slices.Contains(want, k) {
			return invalid(8, "The resource %s has no label %q.", r.GetType(), k)
		}
		if utf8.RuneCountInString(v) > maxValueLen || !utf8.ValidString(v) {
			return invalid(8, "The resource label %q had an invalid value: it must be valid UTF-8 of at most %d characters.", k, maxValueLen)
		}
	}
	return nil
}

func ruleOnePoint(i int, ts *monitoringpb.TimeSeries) *broken {
	if n := len(ts.GetPoints()); n != 1 {
		return invalid(9, "Field timeSeries[%d].points had an invalid value: Only one point can be written per TimeSeries per request, got %d.", i, n)
	}
	switch ts.GetPoints()[0].GetValue().GetValue().(type) {
	case nil:
		return invalid(9, "Field timeSeries[%d].points[0].value is empty.", i)
	case *monitoringpb.TypedValue_StringValue:
		return invalid(9, "Field timeSeries[%d].points[0].value had an invalid value: STRING values cannot be written.", i)
	}
	return nil
}

func valueType(p *monitoringpb.Point) metric.MetricDescriptor_ValueType {
	switch p.GetValue().GetValue().(type) {
	case *monitoringpb.TypedValue_BoolValue:
		return metric.MetricDescriptor_BOOL
	case *monitoringpb.TypedValue_Int64Value:
		return metric.MetricDescriptor_INT64
	case *monitoringpb.TypedValue_DoubleValue:
		return metric.MetricDescriptor_DOUBLE
	case *monitoringpb.TypedValue_DistributionValue:
		return metric.MetricDescriptor_DISTRIBUTION
	}
	return metric.MetricDescriptor_VALUE_TYPE_UNSPECIFIED
}

func ruleAge(i int, p *monitoringpb.Point, now time.Time) *broken {
	if p.GetInterval().GetEndTime() == nil {
		return invalid(10, "Field timeSeries[%d].points[0].interval.end_time is required.", i)
	}
	end := p.GetInterval().GetEndTime().AsTime()
	const text = "Field timeSeries[%d].points[0].interval.end_time had an invalid value of %q: Data points cannot be written more than %s."
	if now.Sub(end) > maxAge {
		return invalid(10, text, i, end.Format(time.RFC3339Nano), "25h10s in the past")
	}
	if end.Sub(now) > maxAhead {
		return invalid(10, text, i, end.Format(time.RFC3339Nano), "5m into the future")
	}
	return nil
}

func ruleInterval(i int, d *descriptor, p *monitoringpb.Point) *broken {
	start, end := p.GetInterval().GetStartTime(), p.GetInterval().GetEndTime().AsTime()
	const text = "Field timeSeries[%d].points[0].interval.start_time had an invalid value of %q: The start time must be %s the end time (%s) for the %s metric '%s'."
	at := ""
	if start != nil {
		at = start.AsTime().Format(time.RFC3339Nano)
	}
	if d.GetMetricKind() == metric.MetricDescriptor_GAUGE {
		if start != nil && !start.AsTime().Equal(end) {
			return invalid(11, text, i, at, "equal to", end.Format(time.RFC3339Nano), "gauge", d.GetType())
		}
		return nil
	}
	if start == nil || !start.AsTime().Before(end) {
		return invalid(11, text, i, at, "before", end.Format(time.RFC3339Nano), "non-gauge", d.GetType())
	}
	return nil
}

// ruleReset is the part of rule 11 that looks at the newest point.
func ruleReset(d *descriptor, last, p *monitoringpb.Point) *broken {
	if d.GetMetricKind() != metric.MetricDescriptor_CUMULATIVE {
		return nil
	}
	was, is := last.GetInterval().GetStartTime().AsTime(), p.GetInterval().GetStartTime().AsTime()
	if !is.Equal(was) {
		if is.Before(last.GetInterval().GetEndTime().AsTime().Add(leastStep)) {
			return invalid(11, textOrder)
		}
		return nil
	}
	if decreases(last.GetValue(), p.GetValue()) {
		return invalid(11, "The value of the cumulative metric '%s' is less than that of the most recent point with the same start time.", d.GetType())
	}
	return nil
}

func decreases(was, is *monitoringpb.TypedValue) bool {
	if is.GetInt64Value() < was.GetInt64Value() || is.GetDoubleValue() < was.GetDoubleValue() {
		return true
	}
	a, b := was.GetDistributionValue(), is.GetDistributionValue()
	if b.GetCount() < a.GetCount() {
		return true
	}
	for i, n := range a.GetBucketCounts() {
		if n > 0 && (i >= len(b.GetBucketCounts()) || b.GetBucketCounts()[i] < n) {
			return true
		}
	}
	return false
}

func ruleOrder(_ *descriptor, last, p *monitoringpb.Point, period time.Duration) *broken {
	step := p.GetInterval().GetEndTime().AsTime().Sub(last.GetInterval().GetEndTime().AsTime())
	if step <= 0 {
		return invalid(12, textOrder)
	}
	if step < period {
		return invalid(12, textOften)
	}
	return nil
}
