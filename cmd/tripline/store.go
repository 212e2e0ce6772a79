package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/journal"
)

// state lets notify keep its records in the journal: the same operations under
// the names that notify declares.
type state struct{ *journal.State }

// Commit implements notify.Store.
func (s state) Commit(ctx context.Context, writes ...notify.Write) error {
	changes := make([]journal.Change, len(writes))
	for i, w := range writes {
		changes[i] = journal.Change{Key: journal.NewKey(w.Key...), Value: w.Value, Expect: w.Rev}
	}
	_, err := s.State.Commit(ctx, changes...)
	if errors.Is(err, journal.ErrConflict) {
		return fmt.Errorf("%w: %w", notify.ErrConflict, err)
	}
	return err
}

// List implements notify.Store.
func (s state) List(ctx context.Context, prefix ...string) ([]notify.Record, error) {
	kvs, err := s.State.List(ctx, journal.NewKey(prefix...))
	records := make([]notify.Record, len(kvs))
	for i, kv := range kvs {
		records[i] = record(kv)
	}
	return records, err
}

// Watch implements notify.Store.
func (s state) Watch(ctx context.Context, prefix []string, f func(notify.Record) error) error {
	return s.State.Watch(ctx, journal.NewKey(prefix...), func(_ context.Context, kv journal.KV) error {
		return f(record(kv))
	})
}

func record(kv journal.KV) notify.Record {
	return notify.Record{Key: kv.Key.Segments(), Value: kv.Value, Rev: kv.Revision}
}

// entryLog lets the views follow the journal's log under the names they declare.
type entryLog struct{ *journal.Log[checks.Entry] }

// Follow implements notify.Log.
func (l entryLog) Follow(ctx context.Context, from uint64, f func(ctx context.Context, seq uint64, entries []checks.Entry) error) error {
	return l.Log.Follow(ctx, from, func(ctx context.Context, b journal.Batch[checks.Entry]) error {
		return f(ctx, b.Seq, b.Entries)
	})
}

// decodeEntries is checks.DecodeEntries in the journal's words.
func decodeEntries(b []byte) ([]checks.Entry, error) {
	entries, err := checks.DecodeEntries(b)
	if _, newer := errors.AsType[*checks.NewerError](err); newer {
		return nil, fmt.Errorf("%w: %w", journal.ErrNewer, err)
	}
	return entries, err
}

// overflow makes one gap of entries that found no room in memory while the
// disk took none.
func overflow(dropped []checks.Entry) checks.Entry {
	g := checks.Gap{Reason: "the disk took no entries and memory was full"}
	for _, e := range dropped {
		at := e.Time()
		switch {
		case e.Gap != nil:
			g.Slots += e.Gap.Slots
			g.Location = e.Gap.Location
			if g.From.IsZero() || e.Gap.From.Before(g.From) {
				g.From = e.Gap.From
			}
		case e.Result != nil:
			g.Slots++
			g.Location = e.Result.Location
			at = e.Result.Slot
		}
		if g.From.IsZero() || at.Before(g.From) {
			g.From = at
		}
		if at.After(g.To) {
			g.To = at
		}
	}
	return checks.Entry{V: checks.ResultVersion, Gap: &g}
}

// evidenceStore keeps the newest evidence of each check in the journal.
type evidenceStore struct{ *journal.Journal }

// put stores e.
func (s evidenceStore) put(ctx context.Context, e *probe.Evidence) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("evidence of %q: %w", e.Check, err)
	}
	place := strconv.FormatInt(e.Slot.Unix()%evidencePlaces, 10)
	return s.PutEvidence(ctx, journal.NewKey(e.Check, e.Location, place), b)
}

// evidencePlaces is how many records of one check are kept: each takes the
// place of one of an earlier slot, since the engine holds every key in memory.
// A prime, so that slots of any usual interval go round through all places.
const evidencePlaces = 17

// newest returns the newest evidence of a check; nil if there is none.
func (s evidenceStore) newest(ctx context.Context, check string) (*probe.Evidence, error) {
	b, _, err := s.NewestEvidence(ctx, journal.NewKey(check))
	if errors.Is(err, journal.ErrNotFound) {
		return nil, nil //nolint:nilnil // no evidence is an ordinary answer
	}
	if err != nil {
		return nil, err
	}
	var e probe.Evidence
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("evidence of %q: %w", check, err)
	}
	return &e, nil
}
