package journal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestScan reads what Follow reads, of a log that was written before and goes on being written.
func TestScan(t *testing.T) {
	dir := t.TempDir()
	j := open(t, Options{Dir: dir})
	l := newLog(t, j, LogOptions[entry]{})
	if err := l.Scan(t.Context(), time.Time{}, func(uint64, time.Time, []byte) error { return errEnough }); err != nil {
		t.Fatalf("an empty log: %v", err)
	}
	stop := background(t, l.Run)
	const n = 3000
	for i := range n {
		l.Append(entry{ID: i, Pad: strings.Repeat("x", i%700)}, i%10 == 0)
		if i%100 == 0 {
			eventually(t, "written", func() bool { return l.Health().Pending == 0 })
		}
	}
	eventually(t, "all written", func() bool { return l.Health().Pending == 0 })
	_, followed := collected(t, l, 1, n)

	scanned := func(meanwhile bool) (batches []Batch[entry]) {
		t.Helper()
		err := l.Scan(t.Context(), time.Time{}, func(seq uint64, at time.Time, data []byte) error {
			entries, err := decodeJSON[entry](data)
			batches = append(batches, Batch[entry]{Seq: seq, Time: at, Entries: entries})
			if seq == 1 && meanwhile {
				l.Append(entry{ID: n}, true) // comes too late
				eventually(t, "written while it is read", func() bool { return l.Health().Pending == 0 })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return batches
	}
	if d := cmp.Diff(followed, scanned(true)); d != "" {
		t.Errorf("scanned, against followed:\n%s", d)
	}

	// From a time on, be it of few batches or of most.
	for _, at := range []int{5, len(followed) / 2, len(followed) - 3} {
		since, found := followed[at].Time, false
		err := l.Scan(t.Context(), since, func(seq uint64, at time.Time, _ []byte) error {
			found = found || at.Equal(since)
			if !found && at.After(since) {
				return fmt.Errorf("batch %d of %s comes before the one of %s", seq, at, since)
			}
			return nil
		})
		if err != nil || !found {
			t.Errorf("since %s: found %t, %v", since, found, err)
		}
	}
	if err := l.Scan(t.Context(), time.Now().Add(time.Hour), func(uint64, time.Time, []byte) error { return errEnough }); err != nil {
		t.Errorf("since a time to come: %v", err)
	}

	// f's error, the end of the context and of the journal end it at once.
	if err := l.Scan(t.Context(), time.Time{}, func(uint64, time.Time, []byte) error { return errEnough }); !errors.Is(err, errEnough) {
		t.Errorf("f's error: got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := l.Scan(ctx, time.Time{}, func(uint64, time.Time, []byte) error { cancel(); return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: got %v", err)
	}
	if err := errors.Join(stop(), j.Close()); err != nil {
		t.Fatal(err)
	}
	if err := l.Scan(t.Context(), time.Time{}, func(uint64, time.Time, []byte) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("closed journal: got %v, want ErrClosed", err)
	}
	j = open(t, Options{Dir: dir})
	l = newLog(t, j, LogOptions[entry]{})
	if got := scanned(false); len(got) != len(followed)+1 || got[len(got)-1].Entries[0].ID != n {
		t.Errorf("after a restart: %d batches, want %d", len(got), len(followed)+1)
	}
}

func TestScanBackup(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "unexpected EOF",
		"nonsense":             "archive: invalid archive stream",
		"NATSARC1":             "unexpected EOF",
		"NATSARC1\x00\x00\x00": "archive: invalid archive stream",
		"NATSARC1\x03\x00\x05\x00\xff\xff\xff\xff\x00log": fmt.Sprintf("message 5 of %d bytes, want at most 1 MiB", 127|127<<7|127<<14|127<<21),
		"NATSARC1\x03\x00\x05\x00\x04logab":               "archive: invalid archive stream",
		"NATSARC1\x03\x00\x05\x00\x02logab":               "unexpected EOF",
	} {
		err := scanBackup(strings.NewReader(text), func(logMessage) error { return nil })
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// TestExisting opens a journal to look at it: its limits stay, and nothing is made where there is none.
func TestExisting(t *testing.T) {
	if _, err := Open(t.Context(), Options{Dir: t.TempDir(), Existing: true}); err == nil || !strings.Contains(err.Error(), "there is none") {
		t.Errorf("an empty directory: got %v", err)
	}
	dir := t.TempDir()
	j := open(t, Options{Dir: dir, MaxAge: 90 * 24 * time.Hour})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, Options{Dir: dir, Existing: true})
	s, err := j.engine.js.Stream(t.Context(), streamLog)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().Config.MaxAge; got != 90*24*time.Hour {
		t.Errorf("the log keeps entries for %s, want the 90 days that it was made with", got)
	}
}
