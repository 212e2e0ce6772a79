package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/journal"
)

// TestStartOnAnOddLog starts a monitor on a log of which nothing is kept any
// more, and on one whose newest batch does not decode: neither makes it wait.
func TestStartOnAnOddLog(t *testing.T) {
	slot := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	for _, c := range []struct {
		name    string
		write   func(t *testing.T, dir string)
		newest  time.Time
		wantLog uint64 // the newest batch
	}{
		{"expired", func(t *testing.T, dir string) {
			writeBatches(t, dir, 100*time.Millisecond, slot, checks.EncodeEntries)
		}, time.Time{}, 1},
		{"poisoned", func(t *testing.T, dir string) {
			writeBatches(t, dir, 0, slot, checks.EncodeEntries)
			writeBatches(t, dir, 0, slot.Add(time.Second), func(dst []byte, _ []checks.Entry) ([]byte, error) {
				return append(dst, "no entries"...), nil
			})
		}, slot, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c.write(t, filepath.Join(dir, "data"))
			m := openMonitor(t, dir, fmt.Sprintf(`version: 1
data: {dir: %q}
checks:
  - {name: api, health: {url: "http://127.0.0.1:1/health"}}
`, filepath.Join(dir, "data")))
			newest, seen, err := m.logEnd(t.Context())
			if err != nil || !newest.Equal(c.newest) || !seen["api"].Equal(c.newest) || m.log.Last() != c.wantLog {
				t.Errorf("the end of the log of %d batches is %s, with %v: %v; want %s, of %d", m.log.Last(), newest, seen, err, c.newest, c.wantLog)
			}
		})
	}
}

// writeBatches adds one batch with the result of a slot to the log in dir. With
// keep it waits until none of the log is kept any more.
func writeBatches(t *testing.T, dir string, keep time.Duration, slot time.Time, encode func([]byte, []checks.Entry) ([]byte, error)) {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: dir, MaxAge: keep, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	log, err := journal.NewLog(t.Context(), j, journal.LogOptions[checks.Entry]{Encode: encode, Decode: decodeEntries})
	if err != nil {
		t.Fatal(err)
	}
	before := log.Last()
	log.Append(checks.Entry{V: checks.ResultVersion, Result: &checks.Result{Check: "api", Location: "local", Slot: slot, Start: slot}}, true)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	waitFor(t, patience, "the batch", func() bool { return log.Last() > before })
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	waitFor(t, patience, "the batch to expire", func() bool {
		first, err := log.First(t.Context())
		return keep == 0 || err == nil && first > log.Last()
	})
}
