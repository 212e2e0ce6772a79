package notify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memStore is a Store in memory that keeps the contract to the letter, and
// fails when told to.
type memStore struct {
	mu      sync.Mutex
	rev     uint64
	records map[string]Record
	history []Record // every change, in order
	changed chan struct{}
	commits int

	// before and after are asked around every commit; an error is returned
	// instead of success. What after refuses was stored nevertheless.
	before, after func([]Write) error
}

func newMemStore() *memStore {
	return &memStore{records: map[string]Record{}, changed: make(chan struct{})}
}

func path(key []string) string { return strings.Join(key, "\x00") }

func (s *memStore) Commit(ctx context.Context, writes ...Write) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	if len(writes) == 0 || len(writes) > 900 {
		return fmt.Errorf("%d writes in a commit, want 1 to 900", len(writes))
	}
	seen, size := map[string]bool{}, 0
	for _, w := range writes {
		if size += len(path(w.Key)) + len(w.Value); size > 512<<10 {
			return fmt.Errorf("more than 512 KiB in a commit of %d writes", len(writes))
		}
		k := path(w.Key)
		if seen[k] {
			return fmt.Errorf("two writes of %q in a commit", w.Key)
		}
		seen[k] = true
	}
	if s.before != nil {
		if err := s.before(writes); err != nil {
			return err
		}
	}
	for _, w := range writes {
		if w.Rev != nil && *w.Rev != s.records[path(w.Key)].Rev {
			return fmt.Errorf("%q has revision %d, want %d: %w", w.Key, s.records[path(w.Key)].Rev, *w.Rev, ErrConflict)
		}
	}
	for _, w := range writes {
		s.rev++
		r := Record{Key: slices.Clone(w.Key), Value: slices.Clone(w.Value), Rev: s.rev}
		if w.Value == nil {
			delete(s.records, path(w.Key))
		} else {
			s.records[path(w.Key)] = r
		}
		s.history = append(s.history, r)
	}
	close(s.changed)
	s.changed = make(chan struct{})
	if s.after != nil {
		return s.after(writes)
	}
	return nil
}

func below(key, prefix []string) bool {
	return len(key) > len(prefix) && slices.Equal(key[:len(prefix)], prefix)
}

func (s *memStore) list(prefix []string) []Record {
	var list []Record
	for _, r := range s.records {
		if below(r.Key, prefix) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Record) int { return cmp.Compare(path(a.Key), path(b.Key)) })
	return list
}

func (s *memStore) List(ctx context.Context, prefix ...string) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list(prefix), ctx.Err()
}

func (s *memStore) Watch(ctx context.Context, prefix []string, f func(Record) error) error {
	s.mu.Lock()
	todo, n := append(s.list(prefix), Record{}), len(s.history)
	s.mu.Unlock()
	for {
		for _, r := range todo {
			if len(r.Key) == 0 || below(r.Key, prefix) {
				if err := f(r); err != nil {
					return err
				}
			}
		}
		s.mu.Lock()
		changed := s.changed
		todo = slices.Clone(s.history[n:])
		n += len(todo)
		s.mu.Unlock()
		if len(todo) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// want puts an incident into the outbox of a notifier.
func (s *memStore) want(t *testing.T, notifier string, incidents ...alerting.Incident) {
	t.Helper()
	for _, i := range incidents {
		b, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), Write{Key: []string{keyOutbox, notifier, i.ID}, Value: b}); err != nil {
			t.Fatal(err)
		}
	}
}

// stored reads a record; ok is false if there is none.
func stored[T any](t *testing.T, s *memStore, key ...string) (v T, ok bool) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[path(key)]
	if !ok {
		return v, false
	}
	if err := json.Unmarshal(r.Value, &v); err != nil {
		t.Fatalf("%q: %v", key, err)
	}
	return v, true
}

// failing returns a hook for commits that write a record of this kind.
func failing(kind string, err error) func([]Write) error {
	return func(writes []Write) error {
		for _, w := range writes {
			if w.Key[0] == kind {
				return err
			}
		}
		return nil
	}
}

var errDisk = errors.New("no space left on device")

// logger writes to the log of the test.
func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// logged is a logger whose lines can be read.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// opened is an incident as it begins at a moment.
func opened(id string, at time.Time) alerting.Incident {
	return alerting.Incident{
		V: alerting.IncidentVersion, ID: id, Group: id, Severity: alerting.Page, Version: 1,
		Since: at, LastBad: at, Changed: "opened",
		Findings: []alerting.Finding{{
			Rule: "ws-404", Kind: "rate", Severity: alerting.Page, Checks: []string{id},
			Class: probe.NotFound, Reason: "GET wss://gw.example.com/ws: upgrade answered 404",
			Figure: 1, Threshold: 0, Unit: "share", Bad: 3, Total: 3, Since: at, LastBad: at,
			Text: "not_found 3 of 3 attempts in 5m, limit 0 %", Runbook: "https://runbooks.example.com/ws",
		}},
	}
}

// then is i one version later.
func then(i alerting.Incident, changed string, at time.Time) alerting.Incident {
	i.Version++
	i.Changed, i.LastBad = changed, at
	i.Findings = slices.Clone(i.Findings)
	return i
}

// resolved is i one version later, at its end.
func resolved(i alerting.Incident, lastBad, at time.Time) alerting.Incident {
	i = then(i, "resolved after "+lastBad.Sub(i.Since).String(), lastBad)
	i.Ended = at
	for k := range i.Findings {
		i.Findings[k].Cleared = at
	}
	return i
}
