package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/replay/replaytest"
)

// memory is a Source, and a notify.Store, without a disk.
type memory struct {
	*replaytest.Month
	extra   []checks.Entry // after the month
	records []notify.Record
	encoded []Batch // of the month, without entries
	data    [][]byte
}

// encode makes the month's batches once: that is most of the work of the tests.
func (m *memory) encode() error {
	if m.encoded != nil {
		return nil
	}
	return m.Each(func(seq uint64, at time.Time, _ []checks.Entry, data []byte) error {
		m.encoded = append(m.encoded, Batch{Seq: seq, At: at})
		m.data = append(m.data, slices.Clone(data))
		return nil
	})
}

func (m *memory) Scan(_ context.Context, since time.Time, f func(uint64, time.Time, []byte) error) error {
	last, end := uint64(0), time.Time{}
	err := m.encode()
	for i, b := range m.encoded {
		if last, end = b.Seq, b.At; err == nil && !b.At.Before(since) {
			err = f(b.Seq, b.At, m.data[i])
		}
	}
	for i, e := range m.extra {
		var b []byte
		if err == nil {
			b, err = checks.EncodeEntries(nil, []checks.Entry{e})
		}
		if err == nil {
			err = f(last+uint64(i)+1, end, b)
		}
	}
	return err
}

func (m *memory) List(_ context.Context, prefix ...string) (list []notify.Record, err error) {
	for _, r := range m.records {
		if len(r.Key) > len(prefix) && slices.Equal(r.Key[:len(prefix)], prefix) {
			list = append(list, r)
		}
	}
	return list, nil
}

func (m *memory) Commit(_ context.Context, writes ...notify.Write) error {
	for _, w := range writes {
		m.records = slices.DeleteFunc(m.records, func(r notify.Record) bool { return slices.Equal(r.Key, w.Key) })
		if w.Value != nil {
			m.records = append(m.records, notify.Record{Key: w.Key, Value: w.Value})
		}
	}
	return nil
}

func (m *memory) Watch(context.Context, []string, func(notify.Record) error) error {
	return errors.ErrUnsupported
}

func (m *memory) Evidence(_ context.Context, check string) (*probe.Evidence, error) {
	return &probe.Evidence{V: 1, Check: check, Reason: "as seen"}, nil
}

func (m *memory) config() Config { return Config{Rules: m.Rules, Subjects: m.Subjects} }

// newMemory returns two days of eight checks, with what a monitor decided.
func newMemory(t *testing.T) *memory {
	t.Helper()
	m := &memory{Month: replaytest.New(2, 8)}
	list, err := m.Decide()
	if err != nil || len(list) < 5 {
		t.Fatalf("%d incidents, %v; want at least 5", len(list), err)
	}
	for _, i := range list {
		m.put(t, i, "incident", i.ID)
	}
	return m
}

func (m *memory) put(t *testing.T, v any, key ...string) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = m.Commit(t.Context(), notify.Write{Key: key, Value: b})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func backtested(t *testing.T, s Source, o Options) Report {
	t.Helper()
	r, err := Backtest(t.Context(), s, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func verdicts(r Report) string {
	return fmt.Sprintf("%d same, %d only live, %d only now, %d differ, %d aside", r.Count(Same), r.Count(OnlyLive), r.Count(OnlyNow), r.Count(Differs), r.Aside)
}

func TestBacktest(t *testing.T) {
	m := newMemory(t)
	stored := len(m.records)
	all := backtested(t, m, Options{Config: m.config()})
	if got, want := verdicts(all), fmt.Sprintf("%d same, 0 only live, 0 only now, 0 differ, 0 aside", stored); got != want {
		t.Errorf("the same rules: %s, want %s", got, want)
	}
	if want := 2 * 8 * 24 * 60; all.Results != want || all.Batches != want || all.AsItRan || len(all.Notes) > 0 {
		t.Errorf("%d results in %d batches, as it ran %t, notes %q; want %d of each and nothing else", all.Results, all.Batches, all.AsItRan, all.Notes, want)
	}
	if last := backtested(t, m, Options{Config: m.config(), Since: 12 * time.Hour}); last.Count(Same) != len(last.Incidents) || len(last.Incidents) >= stored || len(last.Decisions) >= len(all.Decisions) {
		t.Errorf("of the last hours: %s, %d decisions of %d", verdicts(last), len(last.Decisions), len(all.Decisions))
	}

	// Without its rules nothing is decided, and with one more there is more.
	if none := backtested(t, m, Options{Config: Config{Subjects: m.Subjects}}); none.Count(OnlyLive) != stored || len(none.Decisions) > 0 {
		t.Errorf("without rules: %s", verdicts(none))
	}

	// What is stored otherwise differs, by name.
	i := *all.Incidents[0].Live
	i.Severity, i.Findings = "loud", slices.Clone(i.Findings)
	i.Findings[0].Bad += 5
	m.put(t, i, "incident", i.ID)
	r := backtested(t, m, Options{Config: m.config()})
	if r.Count(Differs) != 1 || len(r.Incidents[0].Fields) != 2 || !strings.HasPrefix(r.Incidents[0].Fields[0], "findings[0].bad: live ") {
		t.Errorf("one was changed: %s, %q", verdicts(r), r.Incidents[0].Fields)
	}
}

// TestEras changes the rules in the middle, as a reload does: with what was in
// force the replay decides the same, and without it says why it may not.
func TestEras(t *testing.T) {
	m := newMemory(t)
	m.records = nil
	at := time.Date(2026, 10, 2, 1, 0, 0, 0, time.UTC)
	before, after := m.config(), m.config()
	after.Rules = slices.Clone(after.Rules[2:])
	half := uint64(m.Days * m.N * 24 * 60 / 2)
	live := New(before, []Era{{After: half, At: at, Config: after}})
	if err := Each(t.Context(), m, time.Time{}, func(b Batch) error { live.Step(b.Seq, b.Entries); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, i := range live.Newest {
		m.put(t, i, "incident", i.ID)
	}
	m.extra = []checks.Entry{{V: 1, Command: &checks.Command{At: at, Name: "config", Args: map[string]string{"changes": "rules removed"}}}}

	unknown := backtested(t, m, Options{Config: after})
	if unknown.AsItRan || len(unknown.Notes) != 1 || !strings.Contains(unknown.Notes[0], "the config changed at 2026-10-02 01:00:00 UTC (rules removed)") || unknown.Count(Same) == len(unknown.Incidents) {
		t.Errorf("nothing is known: %s, notes %q", verdicts(unknown), unknown.Notes)
	}
	for _, e := range []struct {
		config Config
		era    Era
	}{{before, Era{Restart: true}}, {after, Era{After: half, At: at}}, {after, Era{After: 2 * half, At: at.Add(time.Hour), Restart: true}}} {
		if err := Remember(t.Context(), m, e.config, e.era, 1); err != nil {
			t.Fatal(err)
		}
	}
	known := backtested(t, m, Options{Config: after})
	if !known.AsItRan || len(known.Notes) > 0 || known.Count(Same) != len(live.Newest) || len(known.Incidents) != len(live.Newest) {
		t.Errorf("what was in force is known: %s, want %d same; notes %q", verdicts(known), len(live.Newest), known.Notes)
	}
	if r := backtested(t, m, Options{Config: after, Throughout: true}); r.AsItRan || verdicts(r) != verdicts(unknown) {
		t.Errorf("throughout: %s, want %s", verdicts(r), verdicts(unknown))
	}

	// When the log has lost its beginning, so have the eras; the one that it begins in stays.
	for first, want := range []string{"before 2026", "2026", "2026"} {
		if err := Remember(t.Context(), m, before, Era{After: 3*half + uint64(first), At: at.Add(time.Duration(first+2) * time.Hour)}, half+uint64(first)); err != nil {
			t.Fatal(err)
		}
		list, err := Eras(t.Context(), m)
		if err != nil || len(list) == 0 {
			t.Fatalf("%d eras, %v; want %s", len(list), err, want)
		}
		if zero := list[0].After == 0; zero != (first == 0) {
			t.Errorf("the log begins at %d, the first era after %d", half+uint64(first), list[0].After)
		}
		if !reflect.DeepEqual(list[len(list)-1].Config.encode(), before.encode()) {
			t.Error("a config does not come back as it was")
		}
	}
	// The log was moved away: what was in force after numbers that are yet to come says nothing of them.
	if err := Remember(t.Context(), m, before, Era{After: 3, At: at.Add(10 * time.Hour), Restart: true}, 1); err != nil {
		t.Fatal(err)
	}
	if list, err := Eras(t.Context(), m); err != nil || len(list) != 1 || list[0].After != 3 {
		t.Errorf("after the log was moved away: %d eras, %v, want one, after 3", len(list), err)
	}
	m.put(t, Era{V: EraVersion + 1}, keyEra, "x")
	if _, err := Backtest(t.Context(), m, Options{}); err == nil || !strings.Contains(err.Error(), "newer Tripline") {
		t.Errorf("an era of a newer version: %v", err)
	}
}

// TestConfigComesBack checks that everything rules can say survives storage.
func TestConfigComesBack(t *testing.T) {
	m := replaytest.New(1, 8)
	c := Config{Rules: m.Rules, Subjects: m.Subjects}
	c.Subjects[0].Labels = map[string]string{"a": "b"}
	var back Config
	if err := json.Unmarshal(c.encode(), &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c, back); d != "" {
		t.Error(d)
	}
}

// TestRemote reads through a Handler what is there.
func TestRemote(t *testing.T) {
	m := newMemory(t)
	m.put(t, notify.Receipt{V: 1, Version: 2}, "receipt", "slack", "x")
	m.put(t, "secret", "checkpoint", "a", "0")
	srv := httptest.NewServer(Handler(m, slog.New(slog.DiscardHandler)))
	defer srv.Close()
	r := NewRemote(srv.URL, "token")
	defer r.Close()
	if pid, err := r.PID(t.Context()); err != nil || pid == 0 {
		t.Errorf("process %d, %v", pid, err)
	}
	want := backtested(t, m, Options{Config: m.config()})
	if d := cmp.Diff(want, backtested(t, r, Options{Config: m.config()})); d != "" {
		t.Errorf("through the handler: %s", d)
	}
	id := want.Incidents[0].ID
	here, err := Explain(t.Context(), m, id)
	if err != nil {
		t.Fatal(err)
	}
	there, err := Explain(t.Context(), r, id[:len(id)-1])
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(here, there); d != "" || len(here.Samples) == 0 || here.Evidence == nil {
		t.Errorf("%d samples, evidence %v; through the handler: %s", len(here.Samples), here.Evidence, d)
	}
	if _, err := r.List(t.Context(), "checkpoint"); err == nil || !strings.Contains(err.Error(), "status 404") {
		t.Errorf("records that are not served: %v", err)
	}
	if err := r.Scan(t.Context(), time.Time{}, func(uint64, time.Time, []byte) error { return errPast }); !errors.Is(err, errPast) {
		t.Errorf("a reader that has enough: %v", err)
	}
	srv.Close()
	if err := r.Scan(t.Context(), time.Time{}, func(uint64, time.Time, []byte) error { return nil }); err == nil {
		t.Error("no error of a server that is gone")
	}
}

func TestExplain(t *testing.T) {
	m := &memory{Month: replaytest.New(1, 4)}
	day := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	i := alerting.Incident{
		V: 1, ID: "group-0-x", Group: "group-0", Since: day.Add(2 * time.Hour), Ended: day.Add(3 * time.Hour),
		Findings: []alerting.Finding{{Rule: "r", Since: day.Add(2 * time.Hour), Checks: []string{"check-03"}}},
	}
	m.put(t, i, "incident", i.ID)
	m.put(t, alerting.Incident{V: 1, ID: "group-0-y", Since: day}, "incident", "group-0-y")
	m.put(t, notify.Receipt{V: 1, Incident: i.ID, Version: 2}, "receipt", "slack", i.ID)
	m.put(t, i, "outbox", "pager", i.ID)
	m.put(t, notify.Dead{V: 1, Incident: i.ID, Reason: "no such channel"}, "dead", "slack", i.ID)
	x, err := Explain(t.Context(), m, i.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Told) != 2 || x.Told[0].Notifier != "pager" || x.Told[0].Receipt != nil || x.Told[1].Receipt.Version != 2 || x.Told[1].Dead.Reason != "no such channel" {
		t.Errorf("told: %+v", x.Told)
	}
	// The hour and five minutes on both sides, of the group's four checks, each once a minute.
	if n := len(x.Samples); n < 4*68 || n > 4*71 || x.Samples[0].At.Before(day.Add(114*time.Minute)) || x.Samples[n-1].At.After(day.Add(185*time.Minute)) {
		t.Errorf("%d samples from %s to %s", n, x.Samples[0].At, x.Samples[n-1].At)
	}
	for id, want := range map[string]string{
		"z":       "no incident \"z\"; the newest are\n    group-0-x\n    group-0-y",
		"":        "no incident \"\"; the newest are",
		"group-0": "\"group-0\" is the beginning of 2 incidents, want one of them:\n    group-0-x\n    group-0-y",
	} {
		if _, err := Explain(t.Context(), m, id); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", id, err, want)
		}
	}
}

func TestEachEnds(t *testing.T) {
	m := &memory{Month: replaytest.New(1, 8)}
	if err := Each(t.Context(), m, time.Time{}, func(Batch) error { return errPast }); !errors.Is(err, errPast) {
		t.Errorf("f's error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := Each(ctx, m, time.Time{}, func(Batch) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("the end of the context: %v", err)
	}
	m = &memory{Month: replaytest.New(0, 8)}
	m.extra = []checks.Entry{{V: checks.ResultVersion + 1, Tick: &checks.Tick{}}}
	if err := Each(t.Context(), m, time.Time{}, func(Batch) error { return nil }); err == nil || !strings.Contains(err.Error(), "newer Tripline") {
		t.Errorf("an entry of a newer version: %v", err)
	}
}

// FuzzLine checks that a line of the log that is accepted is what is sent.
func FuzzLine(f *testing.F) {
	f.Add([]byte(`{"seq":1,"at":2,"entries":[{"v":1}]}` + "\n"))
	f.Add([]byte(`{"seq":1,"at":,"entries":}` + "\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		seq, at, data, ok := parseLine(line)
		if again := fmt.Sprintf(`{"seq":%d,"at":%d,"entries":%s}`+"\n", seq, at.UnixNano(), data); ok && len(again) > len(line) {
			t.Errorf("%q was read as %q", line, again)
		}
	})
}
