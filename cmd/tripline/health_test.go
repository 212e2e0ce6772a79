package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks"
)

// TestStuckViews writes to the log of a monitor none of whose views runs: after
// a while /health names each of them, and no longer one that goes on.
func TestStuckViews(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeBatches(t, filepath.Join(dir, "data"), 0, time.Now().UTC(), checks.EncodeEntries)
	m := openMonitor(t, dir, fmt.Sprintf(`version: 1
data: {dir: %q}
checks:
  - {name: api, health: {url: "http://127.0.0.1:1/health"}}
cloud_monitoring: {project: some-project}
`, filepath.Join(dir, "data")))
	now := time.Now()
	titles := func(after time.Duration) []string {
		t.Helper()
		var list []string
		for _, p := range m.health.problemsAt(now.Add(after)) {
			title, _, ok := strings.Cut(p, ": no entry seen for ")
			if !ok || !strings.HasSuffix(p, " behind the log") {
				t.Errorf("problem %q, want only views that stand still", p)
			}
			list = append(list, title)
		}
		return list
	}
	want := func(after time.Duration, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, titles(after)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", after, diff)
		}
	}
	want(0)
	want(time.Hour) // what an earlier process wrote is no reason

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.log.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	m.log.Append(checks.Entry{V: checks.ResultVersion, Tick: &checks.Tick{At: now.UTC()}}, true)
	waitFor(t, patience, "the entry", func() bool { return m.log.Last() >= m.firstSeq })
	const begin = 2 * time.Hour
	want(begin)
	want(begin + stuckLimit)
	want(begin+stuckLimit+time.Second, "the rules", "the page", "/metrics", "the terminal")
	m.page.Apply(m.log.Last(), nil)
	want(begin+exportStuckLimit+time.Second, "the rules", "/metrics", "the terminal", "the export to Cloud Monitoring")
	behind := m.self(t.Context()).ViewBehind // the first batch is of an earlier process
	if diff := cmp.Diff(map[string]uint64{"alerting": 2, "page": 0, "metrics": 1, "terminal": 1, "cloudmon": 2}, behind); diff != "" {
		t.Errorf("batches behind (-want +got):\n%s", diff)
	}
}

// openMonitor builds a monitor of a config file in dir; nothing of it runs.
func openMonitor(t *testing.T, dir, text string) *monitor {
	t.Helper()
	file := filepath.Join(dir, "config.yaml")
	writeFile(t, file, text)
	out := &syncBuffer{}
	p := program{stdout: out, stderr: out, lookup: func(string) (string, bool) { return "", false }}
	cfg, err := configFlag{file}.load(p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	m, err := newMonitor(ctx, p, cfg, slog.New(slog.NewTextHandler(out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	m.reloader = newReloader(m, p, configFlag{file}, false)
	t.Cleanup(func() {
		if err := m.journal.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of the monitor:\n%s", out)
		}
	})
	return m
}
