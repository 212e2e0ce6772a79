package cloudmon

import (
	"slices"
	"strings"
)

// Kind says how the values of a metric follow each other.
type Kind string

// The kinds. A cumulative value counts from the start time of its sample on.
const (
	Gauge      Kind = "gauge"
	Cumulative Kind = "cumulative"
)

// Type says what a value is.
type Type string

// The types of values.
const (
	Int              Type = "int"
	Double           Type = "double"
	DistributionType Type = "distribution"
)

// Metric describes one metric. Cloud Monitoring knows it as the configured
// prefix, a slash and Name.
type Metric struct {
	Name    string
	Kind    Kind
	Type    Type
	Unit    string // UCUM, as Cloud Monitoring wants it
	Display string
	Help    string
	Labels  []string
}

// The names of the metrics. Recorded numbers are recorded/<name>.
const (
	nameCheckCount   = "check_count"
	nameSlotsMissed  = "slots_missed"
	nameUp           = "up"
	nameLatency      = "latency"
	nameLatencyMean  = "latency_mean"
	nameGroupLatency = "group_latency"
	nameGroupMean    = "group_latency_mean"
	nameRecorded     = "recorded/"
	nameOpenFindings = "open_findings"
	nameHeartbeat    = "heartbeat"
	nameLag          = "exporter/lag"
	namePoints       = "exporter/points"
)

// Metrics describes all metrics there are, in the order of the documentation.
// The entry "recorded/" stands for one metric per recorded number: its name
// follows the slash and decides the unit.
func Metrics() []Metric {
	check := []string{"check", "kind", "group", "location"}
	group := []string{"group", "location"}
	return []Metric{
		{
			nameCheckCount, Cumulative, Int, "{attempt}", "Check attempts",
			"Scheduled attempts by class; re-probes are not counted. class is ok or what went wrong first.",
			[]string{"check", "kind", "group", "class", "location"},
		},
		{
			nameSlotsMissed, Cumulative, Int, "{slot}", "Missed slots",
			"Slots that passed without a run. check is empty when all checks were concerned.",
			[]string{"check", "location"},
		},
		{
			nameUp, Gauge, Int, "1", "Up",
			"1 when the newest verdict is up or degraded, 0 when it is down. No point while it is unknown.",
			check,
		},
		{
			nameLatency, Cumulative, DistributionType, "s", "Latency",
			"Time to the last byte (HTTP) or to the accepted upgrade (WebSocket) of good attempts, by check. Only with latency.per_check: distribution.",
			check,
		},
		{
			nameLatencyMean, Gauge, Double, "s", "Mean latency",
			"Mean latency of the good attempts of one minute, by check. Only with latency.per_check: mean.",
			check,
		},
		{
			nameGroupLatency, Cumulative, DistributionType, "s", "Group latency",
			"Latency of good attempts, by group. Only with latency.per_group: distribution.",
			group,
		},
		{
			nameGroupMean, Gauge, Double, "s", "Mean group latency",
			"Mean latency of the good attempts of one minute, by group. Only with latency.per_group: mean.",
			group,
		},
		recordedMetric(""),
		{
			nameOpenFindings, Gauge, Int, "{finding}", "Open findings",
			"Findings that hold at present.",
			[]string{"rule", "group", "severity"},
		},
		{
			nameHeartbeat, Gauge, Int, "1", "Heartbeat",
			"Always 1. Alert on its absence: it means that the monitor or its export is dead.",
			nil,
		},
		{
			nameLag, Gauge, Double, "s", "Export lag",
			"How long after its end the newest minute was exported.",
			nil,
		},
		{
			namePoints, Cumulative, Int, "{point}", "Exported points",
			"Points by what became of them: written, rejected (never accepted as they are), dropped (refused or too old; counters catch up with the next point).",
			[]string{"outcome"},
		},
	}
}

// recordedMetric describes the recorded number of the given (legal) name.
func recordedMetric(name string) Metric {
	display := "Recorded number"
	if name != "" {
		display = strings.ReplaceAll(name, "_", " ")
		display = strings.ToUpper(display[:1]) + display[1:]
	}
	return Metric{
		nameRecorded + name, Gauge, Double, recordedUnit(name), display,
		"A number that a check records, such as connections_active, certificate_days_left or ping_rtt: the newest one.",
		[]string{"check", "kind", "group", "location"},
	}
}

// recordedUnit tells the unit from how a name ends.
func recordedUnit(name string) string {
	switch words := strings.Split(name, "_"); {
	case strings.HasSuffix(name, "_days_left"), words[len(words)-1] == "days":
		return "d"
	case name == "ping_rtt", words[len(words)-1] == "seconds":
		return "s"
	case words[len(words)-1] == "ms":
		return "ms"
	case words[len(words)-1] == "bytes":
		return "By"
	case slices.Contains(words, "connections"):
		return "{connection}"
	}
	return "1"
}

// Sample is the value of one time series at one moment.
type Sample struct {
	Metric *Metric
	Labels []string // values, in the order of Metric.Labels; do not change
	// StartMS is the moment (Unix, in ms) from which a cumulative value
	// counts. It changes when the value begins again at zero.
	StartMS int64
	// Fresh tells whether a gauge changed since the last Roll. Cumulative
	// values are always fresh.
	Fresh        bool
	Int          int64
	Double       float64
	Distribution *Distribution
}
