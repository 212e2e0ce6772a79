package prom

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/cloudmon"
)

var update = flag.Bool("update", false, "rewrite docs/metrics.md")

func TestTable(t *testing.T) {
	const file = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(file, []byte(Table()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Table(), string(b)); diff != "" {
		t.Errorf("docs/metrics.md is not what the code says, run go test ./internal/prom -update (-want +got):\n%s", diff)
	}
}

// scrape asks the handler as Prometheus does, for the protobuf format, which
// alone carries native histograms.
func scrape(t *testing.T, h http.Handler) map[string]*dto.MetricFamily {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v: %s", res.StatusCode, err, b)
	}
	families := map[string]*dto.MetricFamily{}
	r := strings.NewReader(string(b))
	for {
		f := &dto.MetricFamily{}
		if err := protodelim.UnmarshalFrom(r, f); errors.Is(err, io.EOF) {
			return families
		} else if err != nil {
			t.Fatal(err)
		}
		families[f.GetName()] = f
	}
}

func TestScrape(t *testing.T) {
	counters := cloudmon.NewCounters(cloudmon.Latency{PerCheck: "mean", PerGroup: "distribution"}, nil)
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	counters.Roll(at)
	for i, class := range []probe.Class{probe.OK, probe.OK, probe.NotFound, probe.OK} {
		r := checks.Result{
			Check: `we"ird`, Kind: "websocket", Group: "g", Location: "local", Slot: at.Add(time.Duration(i) * time.Second),
			Start: at.Add(time.Duration(i) * time.Second), Status: class.Status(), Class: class,
			Measures: map[string]float64{"ping_rtt": 0.25},
		}
		if class == probe.OK {
			r.Latency = 100 * time.Millisecond
		}
		counters.Fold(checks.Entry{V: 1, Result: &r})
	}
	self := Self{
		Version: "1.2.3", SlotsKept: 4, SlotsMissed: 2, ViewBehind: map[string]uint64{"alerting": 3},
		Budgets: []Budget{{Rule: "slo", Group: "g", Remaining: -0.5, Burn: map[string]float64{"1h": 14.5, "6h": 3}}},
		Outbox:  []Outbox{{Name: "slack", Depth: 1, Attempts: 5, Failures: 4, Told: 1, Dead: 1}},
	}
	got := scrape(t, New(counters, func(context.Context) Self { return self }, slog.New(slog.DiscardHandler)))

	value := func(name string, labels map[string]string) float64 {
		t.Helper()
	metrics:
		for _, m := range got[name].GetMetric() {
			for _, l := range m.GetLabel() {
				if want, ok := labels[l.GetName()]; ok && want != l.GetValue() {
					continue metrics
				}
			}
			switch {
			case m.GetCounter() != nil:
				return m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				return m.GetGauge().GetValue()
			default:
				return m.GetHistogram().GetSampleSum()
			}
		}
		t.Errorf("%s %v is not there", name, labels)
		return -1
	}
	for _, tt := range []struct {
		name   string
		labels map[string]string
		want   float64
	}{
		{"tripline_check_count_total", map[string]string{"check": `we"ird`, "class": "ok"}, 3},
		{"tripline_check_count_total", map[string]string{"class": "not_found"}, 1},
		{"tripline_up", nil, 1},
		{"tripline_recorded_ping_rtt_seconds", nil, 0.25},
		{"tripline_heartbeat", nil, 1},
		{"tripline_build_info", map[string]string{"version": "1.2.3"}, 1},
		{"tripline_slots_total", map[string]string{"outcome": "kept"}, 4},
		{"tripline_slots_total", map[string]string{"outcome": "missed"}, 2},
		{"tripline_view_behind_batches", map[string]string{"view": "alerting"}, 3},
		{"tripline_outbox_depth", map[string]string{"notifier": "slack"}, 1},
		{"tripline_delivery_failures_total", nil, 4},
		{"tripline_dead_letters", nil, 1},
		{"tripline_slo_budget_remaining_ratio", map[string]string{"rule": "slo", "group": "g", "check": ""}, -0.5},
		{"tripline_slo_burn_rate", map[string]string{"window": "1h"}, 14.5},
		{"tripline_slo_burn_rate", map[string]string{"window": "6h"}, 3},
		{"tripline_healthy", nil, 0},
	} {
		if v := value(tt.name, tt.labels); v != tt.want {
			t.Errorf("%s %v = %v, want %v", tt.name, tt.labels, v, tt.want)
		}
	}
	h := got["tripline_group_latency_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 3 || h.GetSchema() != 2 || h.GetSampleSum() < 0.299 || h.GetSampleSum() > 0.301 {
		t.Errorf("native histogram %v, want three observations of 0.1 s", h)
	}
	// 0.1 s lies in (2^(-14/4), 2^(-13/4)] = (0.088, 0.105].
	if spans := h.GetPositiveSpan(); len(spans) != 1 || spans[0].GetOffset() != -13 {
		t.Errorf("buckets %v, want one at -13", spans)
	}
}

// Every row of the tables is scraped in some configuration.
func TestEveryRowIsScraped(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	self := Self{
		ViewBehind: map[string]uint64{"alerting": 0}, Outbox: []Outbox{{Name: "slack"}},
		Budgets: []Budget{{Rule: "slo", Burn: map[string]float64{"1h": 1}}}, Exporter: cloudmon.Health{}.Samples(),
	}
	got := map[string]bool{}
	for _, l := range []cloudmon.Latency{{PerCheck: "mean", PerGroup: "distribution"}, {PerCheck: "distribution", PerGroup: "mean"}} {
		counters := cloudmon.NewCounters(l, func() map[cloudmon.Finding]int { return map[cloudmon.Finding]int{{Rule: "404"}: 1} })
		counters.Roll(at)
		counters.Fold(checks.Entry{V: 1, Gap: &checks.Gap{Check: "api", From: at, To: at, Slots: 1}})
		counters.Fold(checks.Entry{V: 1, Result: &checks.Result{
			Check: "api", Slot: at, Start: at, Status: probe.Up, Class: probe.OK, Latency: time.Millisecond, Measures: map[string]float64{"sessions": 1},
		}})
		for name := range scrape(t, New(counters, func(context.Context) Self { return self }, slog.New(slog.DiscardHandler))) {
			got[name] = true
		}
	}
	want := 0
	for line := range strings.Lines(Table()) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || !strings.Contains(line, prefix) {
			continue
		}
		want++
		name := strings.Trim(cells[1], " `")
		if !strings.HasPrefix(name, prefix) {
			name = strings.Trim(cells[2], " `")
		}
		if stem, some := strings.CutSuffix(name, "*"); some {
			name = stem + "sessions"
		}
		if !got[name] {
			t.Errorf("%s is in the table and not on /metrics", name)
		}
	}
	if all := len(cloudmon.Metrics()) + len(own()); want != all {
		t.Errorf("%d rows, want %d", want, all)
	}
}
