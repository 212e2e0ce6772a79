package config

import (
	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/internal/cloudmon"
)

// CloudMonitoring says how metrics go to Google Cloud Monitoring.
type CloudMonitoring struct {
	// OnlyIf is the name of an environment variable. Where that is unset or
	// empty nothing is exported, which is said at start.
	OnlyIf string `yaml:"only_if,omitempty"`

	cloudmon.Config `yaml:",inline"`
}

// Export is the export of metrics to Cloud Monitoring.
type Export struct {
	cloudmon.Config
	Off string // why it is off, such as "GCP_PROJECT is not set"; "" when on
}

func (l *loader) loadCloudMonitoring() {
	n := l.at("cloud_monitoring")
	if n == nil || n.Kind != yaml.MappingNode || l.bad[n] || l.file.CloudMonitoring == nil {
		return
	}
	key, body := l.find(l.root, "cloud_monitoring")
	const what = "cloud_monitoring"
	l.judgeOnlyIf(n, what, l.file.CloudMonitoring.OnlyIf)
	out := &Export{Config: l.file.CloudMonitoring.Config, Off: l.off[n]}
	l.cfg.CloudMonitoring = out
	if out.Off != "" {
		return
	}
	for _, p := range out.Validate() {
		l.problem(body, key, what, "", p)
	}
}

// estimate tells what exporting to Cloud Monitoring amounts to.
func (l *loader) estimate() {
	if m := l.cfg.CloudMonitoring; m == nil || m.Off != "" {
		return
	}
	planned := make([]cloudmon.Planned, len(l.cfg.Checks))
	for i, c := range l.cfg.Checks {
		planned[i] = cloudmon.Planned{Check: c.Name, Group: c.Group, Every: l.seen[i].Interval, Recorded: len(l.seen[i].Measures)}
	}
	l.cfg.cost = cloudmon.Estimate(l.cfg.CloudMonitoring.Config, planned).String()
}
