package replay

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks/probe"
)

// The stored forms of the first release decode for ever. The fixtures are never
// made anew: a change of a format gets a version and a fixture of its own.
func TestRecordsOfVersion1(t *testing.T) {
	m := newMemory(t)
	m.records = nil
	for file, key := range map[string][]string{"era": {keyEra, "x"}, "ruleset": {keyConfig, "f7993a4a842e"}} {
		b, err := os.ReadFile("testdata/" + file + ".v1.json")
		if err != nil {
			t.Fatal(err)
		}
		m.records = append(m.records, notify.Record{Key: key, Value: b})
	}
	got, err := Eras(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	none := alerting.Share(0)
	want := []Era{{
		V: 1, After: 4711, At: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Restart: true, Hash: "f7993a4a842e",
		Config: Config{
			Rules: []alerting.Rule{
				{
					Name: "404", Severity: alerting.Page, RecoverAfter: 3, Select: alerting.Select{Kind: "websocket"},
					Rate: &alerting.Rate{Of: "not_found", Over: probe.Duration(5 * time.Minute), Above: &none},
				},
				{Name: "down", Severity: alerting.Ticket, RecoverAfter: 1, Down: &alerting.DownRule{Slots: 2}},
			},
			Subjects: []alerting.Subject{{
				Name: "live", Kind: "websocket", Group: "ws", Host: "example.com:443", Location: "local", Labels: map[string]string{"team": "a"},
				WebSocket: true, Interval: time.Minute, Longest: time.Minute, Measures: []string{"ping_rtt"},
			}},
		},
	}}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("eras (-want +got):\n%s", diff)
	}
}
