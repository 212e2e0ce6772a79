package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/internal/replay"
)

// TestExplainToldNobody says why nobody was told of an incident.
func TestExplainToldNobody(t *testing.T) {
	for quiet, want := range map[string]string{
		"": "\ntold:\n    nobody: no notifier was to tell it\n",
		"silence by ada until 01:01:00 UTC: deploy": "\ntold:\n    nobody: silence by ada until 01:01:00 UTC: deploy\n",
	} {
		var out strings.Builder
		i := alerting.Incident{ID: "ws-1", Group: "ws", Severity: alerting.Page, Since: time.Unix(1e9, 0), LastBad: time.Unix(1e9, 0), Quiet: quiet}
		if err := printExplanation(&out, replay.Explanation{Incident: i}, false); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("quiet %q:\n%s\nwant %q", quiet, out.String(), want)
		}
	}
}
