package checks

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks/probe"
)

// TestReleasedEntries: what released versions have stored decodes for ever, by both
// ways. The file is never written again: a new format gets a file of its own.
func TestReleasedEntries(t *testing.T) {
	const file = "testdata/entries.v1.json"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := func(minute, nano int) time.Time { return time.Date(2026, 11, 21, 3, minute, 0, nano, time.UTC) }
	want := [][]Entry{
		{
			{V: 1, Result: &Result{
				Check: `live <a> & "b" ü`, Kind: "websocket", Group: "ws", Location: "eu-west",
				Slot: at(12, 0), Start: at(12, 123456789), Duration: 1253000001, Latency: 41 * time.Millisecond,
				Status: probe.Degraded, Class: probe.NotFound, Stage: probe.StageHTTP,
				Reason: `wss://app.test/ws: upgrade answered 404 Not Found, want 101; body {"detail":"Not Found"}`,
				Tally:  map[probe.Class]int{probe.NotFound: 2, probe.OK: 1}, Tries: 3,
				Phases: probe.Phases{
					DNS: 1000001, Connect: 2000002, TLS: 3000003, FirstByte: 4000004, Body: 5000005,
					Upgrade: 6000006, Message: 7000007, Ping: 8000008, Close: 9000009,
				},
				Measures: map[string]float64{"big": 1e21, probe.MeasureCertDays: 61.25, "negative": -2e-9, "zero": 0},
				Facts:    map[string]string{FactCause: "route_missing: no such route", "version": "1.4.2"},
			}},
			{V: 1, Result: &Result{
				Check: "api", Kind: "health", Location: "local", Slot: at(13, 0), Start: at(13, 0),
				Duration: 12 * time.Millisecond, Status: probe.Up, Class: probe.OK,
			}},
			{V: 1, Tick: &Tick{At: at(13, 500_000_000)}},
		},
		{
			{V: 1, Gap: &Gap{Check: "api", Location: "local", From: at(14, 0), To: at(16, 0), Slots: 3, Reason: "the monitor was suspended"}},
			{V: 1, Gap: &Gap{Location: "local", From: at(17, 0), To: at(17, 0), Slots: 40, Reason: "the process was not running"}},
			{V: 1, Command: &Command{At: at(18, 0), Name: "acknowledge", Author: "ann@example.test", Args: map[string]string{"incident": "ws-20261121T0312"}}},
			{V: 1, Command: &Command{At: at(19, 0), Name: "config"}},
		},
	}
	messages := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	if len(messages) != len(want) {
		t.Fatalf("%s has %d messages, want %d", file, len(messages), len(want))
	}
	for i, m := range messages {
		got, err := DecodeEntries(m)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if d := cmp.Diff(want[i], got); d != "" {
			t.Errorf("message %d (-want +got):\n%s", i, d)
		}
		var plain []Entry
		if err := json.Unmarshal(m, &plain); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if d := cmp.Diff(want[i], plain); d != "" {
			t.Errorf("message %d by encoding/json (-want +got):\n%s", i, d)
		}
	}
	if _, ok := decodeCanonical(messages[0]); !ok {
		t.Error("the quick way does not read results of version 1")
	}
}
