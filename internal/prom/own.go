package prom

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tripline/tripline/internal/cloudmon"
)

// figure is one metric of the monitor itself.
type figure struct {
	name   string
	kind   prometheus.ValueType
	help   string
	labels []string
	values func(Self, func(v float64, labels ...string))
}

// own are the metrics of the monitor itself, in the order of the documentation.
func own() []figure {
	one := func(f func(Self) float64) func(Self, func(float64, ...string)) {
		return func(s Self, put func(float64, ...string)) { put(f(s)) }
	}
	outbox := func(f func(Outbox) float64) func(Self, func(float64, ...string)) {
		return func(s Self, put func(float64, ...string)) {
			for _, o := range s.Outbox {
				put(f(o), o.Name)
			}
		}
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	notifier := []string{"notifier"}
	return []figure{
		{"build_info", gauge, "Always 1; the version is in the label.", []string{"version"}, func(s Self, put func(float64, ...string)) { put(1, s.Version) }},
		{"healthy", gauge, "1 while /health shows no problem of the monitor itself.", nil, one(func(s Self) float64 {
			if s.Healthy {
				return 1
			}
			return 0
		})},
		{"slots_total", counter, "Slots by what became of them: kept (started within 1 s), late, missed (a gap in the log), shed (those of missed for want of a worker).", []string{"outcome"}, func(s Self, put func(float64, ...string)) {
			put(float64(s.SlotsKept), "kept")
			put(float64(s.SlotsLate), "late")
			put(float64(s.SlotsMissed), "missed")
			put(float64(s.SlotsShed), "shed")
		}},
		{"lateness_worst_seconds", gauge, "Longest time from slot to start among the runs of the last minute.", nil, one(func(s Self) float64 { return s.WorstLateness.Seconds() })},
		{"runs_in_flight", gauge, "Runs that have not ended.", nil, one(func(s Self) float64 { return float64(s.InFlight) })},
		{"log_pending_entries", gauge, "Entries in memory that are not yet durable.", nil, one(func(s Self) float64 { return float64(s.LogPending) })},
		{"log_dropped_entries_total", counter, "Entries that became part of a gap, since the disk took none and memory was full.", nil, one(func(s Self) float64 { return float64(s.LogDropped) })},
		{"log_poisoned_batches", gauge, "Batches of the log that do not decode and are skipped.", nil, one(func(s Self) float64 { return float64(s.Poisoned) })},
		{"view_behind_batches", gauge, "Batches of the log that a view (alerting, page, metrics, terminal, cloudmon) has not seen.", []string{"view"}, func(s Self, put func(float64, ...string)) {
			for view, n := range s.ViewBehind {
				put(float64(n), view)
			}
		}},
		{"outbox_depth", gauge, "Incidents that a notifier has something to tell of.", notifier, outbox(func(o Outbox) float64 { return float64(o.Depth) })},
		{"outbox_oldest_seconds", gauge, "How long the oldest of them has waited.", notifier, outbox(func(o Outbox) float64 { return o.Oldest.Seconds() })},
		{"delivery_attempts_total", counter, "Attempts to tell.", notifier, outbox(func(o Outbox) float64 { return float64(o.Attempts) })},
		{"delivery_failures_total", counter, "Attempts that told nobody.", notifier, outbox(func(o Outbox) float64 { return float64(o.Failures) })},
		{"deliveries_total", counter, "Incident versions that were told.", notifier, outbox(func(o Outbox) float64 { return float64(o.Told) })},
		{"dead_letters", gauge, "Incident versions that were given up and not told since.", notifier, outbox(func(o Outbox) float64 { return float64(o.Dead) })},
		{"slo_budget_remaining_ratio", gauge, "Share of an SLO's error budget that is left; below 0 it is overspent. check is empty unless each check has its own.", []string{"rule", "group", "check"}, func(s Self, put func(float64, ...string)) {
			for _, b := range s.Budgets {
				put(b.Remaining, b.Rule, b.Group, b.Check)
			}
		}},
		{"slo_burn_rate", gauge, "How fast an SLO's error budget burns, over windows of 1h, 6h, 1d and 3d; at 1 it is spent at the end of the SLO's window.", []string{"rule", "group", "check", "window"}, func(s Self, put func(float64, ...string)) {
			for _, b := range s.Budgets {
				for window, rate := range b.Burn {
					put(rate, b.Rule, b.Group, b.Check, window)
				}
			}
		}},
		{"disk_free_bytes", gauge, "What may still be written to the disk of the data directory.", nil, one(func(s Self) float64 { return float64(s.DiskFree) })},
		{"disk_used_bytes", gauge, "What the data directory holds.", nil, one(func(s Self) float64 { return float64(s.DiskUsed) })},
	}
}

// Table is docs/metrics.md: all metrics, made of the code.
func Table() string {
	var b strings.Builder
	b.WriteString(`# Metrics

Made of the code by ` + "`go test ./internal/prom -update`" + `; a test keeps it true. Names in Cloud Monitoring stand below the
configured prefix (default ` + "`custom.googleapis.com/tripline`" + `), on the resource ` + "`generic_task`" + `. Units are UCUM.

## Of checks, in both

| Cloud Monitoring | Prometheus | kind | unit | labels | what it is |
| --- | --- | --- | --- | --- | --- |
`)
	for _, m := range cloudmon.Metrics() {
		n, p := m.Name, name(&m)
		if strings.HasSuffix(n, "/") {
			n, p = n+"*", p+"*"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s %s | `%s` | %s | %s |\n", n, p, m.Kind, m.Type, m.Unit, labels(m.Labels), m.Help)
	}
	b.WriteString(`
The exporter's own (` + "`exporter/...`" + `) are there when Cloud Monitoring is configured. In Prometheus, counts are since the start of
the process, except for the exporter's; in Cloud Monitoring they continue over restarts. ` + "`latency`" + ` of ` + "`cloud_monitoring`" + ` says which
of the latencies there are, in both; without it they are the mean of each check and the distribution of each group.

## Of the monitor itself, in Prometheus

| Prometheus | kind | labels | what it is |
| --- | --- | --- | --- |
`)
	for _, f := range own() {
		kind := "gauge"
		if f.kind == prometheus.CounterValue {
			kind = "counter"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", prefix+f.name, kind, labels(f.labels), f.help)
	}
	b.WriteString("\nBesides, the usual `go_*` and `process_*`.\n")
	return b.String()
}

func labels(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return "`" + strings.Join(list, "`, `") + "`"
}
