package cloudmon

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTask(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := openTask(dir)
	if err != nil || first.id == "" || !first.isNew {
		t.Fatalf("first: %+v, %v", first, err)
	}
	if _, err := openTask(dir); err == nil || !strings.Contains(err.Error(), "in use by another process: two cannot write the same series") {
		t.Errorf("while it is open: %v", err)
	}
	first.close()
	second, err := openTask(dir)
	if err != nil || second.id != first.id || second.isNew {
		t.Errorf("second: %+v, %v: want the id %s", second, err, first.id)
	}
	second.close()
	other, err := openTask(t.TempDir())
	if err != nil || other.id == first.id {
		t.Errorf("in another directory: %+v, %v: want another id", other, err)
	}
	other.close()
	for _, bad := range []string{"", "\n", "a\xff", strings.Repeat("x", 2000)} {
		if err := os.WriteFile(filepath.Join(dir, taskFile), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := openTask(dir)
		if err != nil || !again.isNew && len(bad) < 2000 {
			t.Fatalf("with %.10q in the file: %+v, %v: want a new id", bad, again, err)
		}
		again.close()
		b, err := os.ReadFile(filepath.Join(dir, taskFile))
		if got := strings.TrimSpace(string(b)); err != nil || again.isNew && got != again.id {
			t.Errorf("the file holds %q, %v, want %q", got, err, again.id)
		}
	}
	if _, err := openTask(filepath.Join(dir, taskFile)); err == nil || !strings.Contains(err.Error(), "open task id: ") {
		t.Errorf("in a file: %v", err)
	}
}

// Garbage in the store is an error and never a panic.
func FuzzState(f *testing.F) {
	c := NewCounters(Latency{"distribution", "distribution"}, nil)
	for _, e := range benchEntries(3) {
		c.Fold(e)
	}
	b, err := (&state{V: stateVersion, Task: "t", Counters: c}).encode(gzip.NewWriter(io.Discard))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("garbage"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		s := state{Counters: NewCounters(Latency{"distribution", "distribution"}, nil)}
		if s.decode(b) != nil {
			return
		}
		if s.Counters != nil {
			s.Counters.Fold(result("check", time.Now(), "ok"))
			s.Counters.Roll(time.Now())
			s.Counters.Snapshot()
		}
	})
}

func BenchmarkState10000Checks(b *testing.B) {
	c := NewCounters(Latency{"mean", "distribution"}, nil)
	for _, e := range benchEntries(10_000) {
		c.Fold(e)
	}
	s := state{V: stateVersion, Counters: c}
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed)
	b.ReportAllocs()
	for b.Loop() {
		out, err := s.encode(z)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(out)), "bytes")
	}
}
