package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tripline/tripline/internal/cloudmon/cloudmontest"
)

// TestEveryMetric runs the program twice, with the two ways in which latency is
// exported: every name of docs/metrics.md is on /metrics, but for the latencies
// that are exported the other way.
func TestEveryMetric(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\|.*?`(tripline_[a-z_]+)\\*?`").FindAllStringSubmatch(string(table), -1) {
		want[m[1]] = true
	}
	if len(want) < 25 {
		t.Fatalf("%d names in docs/metrics.md, want more", len(want))
	}
	delete(want, "tripline_slots_missed_total") // none is missed here; see internal/prom
	_, endpoint := cloudmontest.Start(t, cloudmontest.Options{})
	tg := newTarget(t)
	tg.mode.Store("404")
	dir := t.TempDir()
	for latency, absent := range map[string][]string{
		"{per_check: mean, per_group: distribution}": {"tripline_latency_seconds", "tripline_group_latency_mean_seconds"},
		"{per_check: distribution, per_group: mean}": {"tripline_latency_mean_seconds", "tripline_group_latency_seconds"},
	} {
		listen := freePort(t)
		writeFile(t, filepath.Join(dir, "config.yaml"), fmt.Sprintf(`version: 1
data: {dir: data}
http: {listen: %q}
defaults: {base_url: %q, every: 1s, timeout: 500ms, confirm: 0}
cloud_monitoring: {project: test, endpoint: %q, latency: %s}
checks:
  - {name: api, health: {url: /health, record: {connections_active: .connections.active}}}
  - {name: live, websocket: {url: /ws}}
rules:
  - {name: ws-404, select: {kind: websocket}, severity: page, rate: {of: not_found, over: 1m, above: 0%%}}
  - {name: slo, slo: {objective: 99%%}}
notify: [{name: console, log: {}}]
`, listen, tg.URL, endpoint, latency))
		p := start(t, dir, nil, "run")
		var missing []string
		complete := func() bool {
			_, body := get(t, "http://"+listen+"/metrics")
			missing = nil
			for name := range want {
				if !strings.Contains(body, "\n"+name) {
					missing = append(missing, name)
				}
			}
			slices.Sort(missing)
			return slices.Equal(missing, slices.Sorted(slices.Values(absent)))
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("with latency %s /metrics lacked %q", latency, missing)
			}
		})
		waitFor(t, patience, "all but "+strings.Join(absent, " and "), complete)
		p.stop()
	}
}
