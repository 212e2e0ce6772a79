package notify

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tripline/tripline/alerting"
)

// The stored forms of the first release decode for ever. The fixtures are never
// made anew: a change of a format gets a version and a fixture of its own.
func TestRecordsOfVersion1(t *testing.T) {
	at := func(minute, second int) time.Time { return time.Date(2026, 11, 21, 12, minute, second, 0, time.UTC) }
	const id = "ws-20261121T120000Z-0a1b2c3d"
	fixture(t, "receipt", ReceiptVersion, Receipt{
		V: 1, Incident: id, Version: 3, At: at(3, 0).Add(500 * time.Millisecond), IDs: map[string]string{"channel": "C012345", "ts": "1795262580.000100"},
		Pending: true, Waiting: at(2, 0), Again: time.Minute, Attempts: 2,
	})
	fixture(t, "dead", ReceiptVersion, Dead{
		V: 1, Incident: id, Version: 2, Reason: "POST https://hooks.example.com/***: status 410, want 200", At: at(4, 0),
	})
	fixture(t, "attempts", attemptVersion, attemptRecord{V: 1, Tries: []Attempt{
		{At: at(1, 0), Notifier: "slack", Version: 1, Took: 1500 * time.Millisecond, Err: "status 503, want 200"},
		{At: at(1, 30), Notifier: "slack", Version: 1, Took: 250 * time.Millisecond},
		{At: at(4, 0), Notifier: "slack", Version: 2, Took: 90 * time.Millisecond, Err: "status 410, want 200", GivenUp: true},
	}})
	fixture(t, "position", positionVersion, position{V: 1, Seq: 4711, N: 3, Writer: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Commit: 42})
	fixture(t, "checkpoint-head", checkpointVersion, checkpointHead{
		V: 1, Generation: "b", Pieces: 2, Sum: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", Next: 4700, At: at(0, 0),
	})
	fixture(t, "order", alerting.IncidentVersion, order{
		Incident: alerting.Incident{
			V: 1, ID: id, Group: "ws", Severity: alerting.Page, Version: 2, Since: at(0, 0), LastBad: at(2, 0),
			Findings: []alerting.Finding{{Rule: "404", Kind: "rate", Severity: alerting.Page, Checks: []string{"live"}, Text: "not_found 3 of 3 attempts"}},
		},
		Because: "fallback of pager, which told nobody for 5m",
	})
}

// fixture decodes a fixture as what is stored is decoded. Fields that are newer
// than the fixture are zero.
func fixture[T any](t *testing.T, name string, known int, want T) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".v1.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode[T](Record{Key: []string{name}, Value: b}, known)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
