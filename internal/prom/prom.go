// Package prom answers /metrics for Prometheus: the figures that go to Cloud
// Monitoring under the same names and labels (native histograms for
// distributions), and those of the monitor itself. It is the only package that
// knows Prometheus.
//
// The figures of checks are those of cloudmon.Counters: to add one, add it
// there. A figure of the monitor itself is a field of Self and a line in own.
package prom

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tripline/tripline/internal/cloudmon"
)

// Self is how the monitor itself does. Counts are since the start of the process.
type Self struct {
	Version string
	Healthy bool // no problem is shown on /health

	SlotsKept, SlotsLate, SlotsMissed, SlotsShed uint64
	WorstLateness                                time.Duration // of the last minute
	InFlight                                     int

	LogPending int // entries that are not yet durable
	LogDropped uint64
	Poisoned   int
	ViewBehind map[string]uint64 // batches of the log that a view has not seen, by view

	Outbox  []Outbox
	Budgets []Budget

	DiskFree, DiskUsed int64 // bytes

	Exporter []cloudmon.Sample // how the export to Cloud Monitoring does; none while it is off
}

// Outbox is how one notifier does.
type Outbox struct {
	Name                     string
	Depth                    int           // incidents with something to tell
	Oldest                   time.Duration // how long the oldest of them has waited
	Told, Attempts, Failures uint64
	Dead                     int // given up and not told since
}

// Budget is where the error budget of one SLO stands.
type Budget struct {
	Rule, Group, Check string             // check is empty unless each has its own
	Remaining          float64            // share of the budget; below 0 it is overspent
	Burn               map[string]float64 // rate by window, such as 1h
}

// answerTime bounds one scrape; maxScrapes how many may be under way.
const (
	answerTime = 10 * time.Second
	maxScrapes = 3
)

// New returns the handler of /metrics. counters must be fed by the caller;
// self is asked at each scrape.
func New(counters *cloudmon.Counters, self func(context.Context) Self, log *slog.Logger) http.Handler {
	registry := prometheus.NewRegistry() // our own: what libraries put into the global one is none of our users' business
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&collector{counters: counters, self: self},
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), Timeout: answerTime, MaxRequestsInFlight: maxScrapes,
	})
}

// collector makes the figures of one scrape.
type collector struct {
	counters *cloudmon.Counters
	self     func(context.Context) Self
}

// Describe says nothing, which makes the collector unchecked: which recorded
// numbers there are is known at the scrape only.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime) //nolint:forbidigo // the interface hands none down
	defer cancel()
	self := c.self(ctx)
	for _, s := range append(c.counters.Snapshot(), self.Exporter...) {
		out <- metric(s)
	}
	for _, f := range own() {
		desc := prometheus.NewDesc(prefix+f.name, f.help, f.labels, nil)
		f.values(self, func(v float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, f.kind, v, labels...)
		})
	}
}

// prefix begins all names.
const prefix = "tripline_"

// name is how Prometheus calls a metric: underscores for slashes, the unit and
// _total at the end where its conventions want them.
func name(m *cloudmon.Metric) string {
	n := prefix + strings.ReplaceAll(m.Name, "/", "_")
	if m.Unit == "s" && !strings.HasSuffix(n, "_seconds") {
		n += "_seconds"
	}
	if m.Kind == cloudmon.Cumulative && m.Type == cloudmon.Int {
		n += "_total"
	}
	return n
}

// metric makes a Prometheus metric of one sample.
func metric(s cloudmon.Sample) prometheus.Metric {
	desc := prometheus.NewDesc(name(s.Metric), s.Metric.Help, s.Metric.Labels, nil)
	if s.Metric.Type == cloudmon.DistributionType {
		return histogram(desc, s)
	}
	v := s.Double
	if s.Metric.Type == cloudmon.Int {
		v = float64(s.Int)
	}
	var m prometheus.Metric
	var err error
	switch {
	case s.Metric.Kind == cloudmon.Cumulative && s.StartMS > 0:
		m, err = prometheus.NewConstMetricWithCreatedTimestamp(desc, prometheus.CounterValue, v, time.UnixMilli(s.StartMS), s.Labels...)
	case s.Metric.Kind == cloudmon.Cumulative: // it has not begun
		m, err = prometheus.NewConstMetric(desc, prometheus.CounterValue, v, s.Labels...)
	default:
		m, err = prometheus.NewConstMetric(desc, prometheus.GaugeValue, v, s.Labels...)
	}
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return m
}

// Buckets of a native histogram of schema 2 are four to each doubling: bucket
// k reaches to 2^(k/4) s. cloudmon.Bounds are the same bounds from 2^-10 s on,
// so bucket i there is bucket i-40 here; what lies below is the zero bucket.
const (
	schema      = 2
	firstBucket = 40
)

func histogram(desc *prometheus.Desc, s cloudmon.Sample) prometheus.Metric {
	d := s.Distribution
	positive := map[int]int64{}
	var zero uint64
	for i, n := range d.Buckets {
		switch {
		case n == 0:
		case i == 0:
			zero = uint64(n)
		default:
			positive[i-firstBucket] = n
		}
	}
	m, err := prometheus.NewConstNativeHistogram(desc, uint64(d.Count), d.Mean*float64(d.Count), positive, nil, zero,
		schema, cloudmon.Bounds()[0], time.UnixMilli(s.StartMS), s.Labels...)
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return m
}
