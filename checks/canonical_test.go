package checks

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks/probe"
)

// fullEntry is a result with every field set, so that a new field that the
// decoder does not know is found.
func fullEntry(t testing.TB) Entry {
	at := time.Date(2026, 11, 21, 3, 12, 45, 123456000, time.UTC)
	r := Result{
		Check: "live <a> & \"b\" \\ ü", Kind: "websocket", Group: "ws", Location: "local", Slot: at.Truncate(time.Minute), Start: at,
		Duration: 1234567, Latency: 1200000, Status: probe.Down, Class: probe.NotFound, Stage: probe.StageHTTP,
		Reason: `upgrade answered 404 Not Found, want 101; body {"detail":"Not Found"}`,
		Tally:  map[probe.Class]int{probe.NotFound: 2, probe.OK: 1}, Tries: 3,
		Phases:   probe.Phases{DNS: 1, Connect: 2, TLS: 3, FirstByte: 4, Body: 5, Upgrade: 6, Message: 7, Ping: 8, Close: 9},
		Measures: map[string]float64{"a": 1.5, "b": -2e-9, "c": 0, "d": 1e21}, Facts: map[string]string{"server": "nginx"},
	}
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("Result.%s is not set in this test, and perhaps not known to decodeCanonical", v.Type().Field(i).Name)
		}
	}
	return Entry{V: ResultVersion, Result: &r}
}

func TestCanonical(t *testing.T) {
	full := fullEntry(t)
	bare := Result{Check: "api", Kind: "health", Location: "eu", Slot: full.Result.Slot, Start: full.Result.Slot, Status: probe.Up, Class: probe.OK}
	late := bare
	late.Phases.Close = 7
	for name, entries := range map[string][]Entry{
		"none":    {},
		"full":    {full},
		"several": {{V: 1, Result: &bare}, full, {V: 1, Tick: &Tick{At: full.Result.Start}}, {V: 1, Result: &late}},
	} {
		b, err := EncodeEntries(nil, entries)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := decodeCanonical(b)
		if !ok {
			t.Errorf("%s: not read: %s", name, b)
		}
		if d := cmp.Diff(entries, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// FuzzCanonical checks that what decodeCanonical accepts encoding/json accepts
// too and reads the same.
func FuzzCanonical(f *testing.F) {
	full, err := EncodeEntries(nil, []Entry{fullEntry(f), {V: 1, Tick: &Tick{At: time.Unix(0, 0).UTC()}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	const result = `[{"v":1,"result":{"check":"a","kind":"b","loc":"c","slot":"2024-02-29T23:59:59Z","start":"2024-02-29T23:59:59.5Z","dur":1,"status":"up","class":"ok"`
	for _, text := range []string{
		`[]`, `[{"v":1,"tick":{"at":"2026-02-30T00:00:00Z"}}]`, `[{"v":01,"tick":{"at":"2026-02-28T00:00:00.000000001Z"}}]`,
		`[{"v":1,"gap":{"loc":"x","from":"2026-02-28T00:00:00Z","to":"2026-02-28T00:00:00Z","slots":1,"reason":"r"}}]`, `null`, `[null]`,
		`[{"v":1,"tick":{"at":"2026-02-28T24:00:00Z"}}]`, `[{"v":-0,"tick":{"at":"0000-01-01T00:00:00.1234567890Z"}}]`,
		result + `}}]`, result + `,"tally":{}}}]`, result + `,"tally":{"ok":1,"ok":2}}}]`, result + `,"phases":{"dns":1,"close":2}}}]`,
		result + `,"phases":{}}}]`, result + `,"phases":{,"dns":1}}}]`, result + `,"measures":{"a":-0.5E+3,"b":00}}}]`, result + `,"measures":{"a":1e999}}}]`,
		result + `,"reason":"\u003c\u003d\u003e\u0026\ud800 ü"}}]`, result + "," + `"reason":"` + "\xff\"}}]", result + `,"reason":"a\"`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := decodeCanonical(b)
		if !ok {
			return
		}
		var want []Entry
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatalf("accepted, but encoding/json says %v: %s", err, b)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %s", b, cmp.Diff(want, got))
		}
	})
}

func BenchmarkDecodeEntries(b *testing.B) {
	full := fullEntry(b)
	r := *full.Result
	r.Check, r.Status, r.Class, r.Stage, r.Reason, r.Tally, r.Tries, r.Measures, r.Facts = "checkout-17", probe.Up, probe.OK, "", "", nil, 0, nil, nil
	data, err := EncodeEntries(nil, []Entry{{V: 1, Result: &r}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("canonical", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeEntries(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var entries []Entry
			if err := json.Unmarshal(data, &entries); err != nil {
				b.Fatal(err)
			}
		}
	})
}
