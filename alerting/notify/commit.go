package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tripline/tripline/alerting"
)

// position is the committed position: all changes of the batches before Seq
// and the first N changes of batch Seq. Writer and Commit name the commit, so
// that one whose answer was lost is recognised.
type position struct {
	V      int    `json:"v"`
	Seq    uint64 `json:"seq"`
	N      int    `json:"n,omitempty"`
	Writer string `json:"writer"` // drawn by each Evaluator
	Commit uint64 `json:"commit"` // of all writers
}

const positionVersion = 1

// commit stores changes in pieces of at most maxWrites writes. at gives the
// position after the first n of them, end is the batch after the last.
func (e *Evaluator) commit(ctx context.Context, changes []alerting.Change, at func(n int) (uint64, int), end uint64) error {
	for n := 0; n < len(changes); {
		writes, latest, took := e.piece(changes[n:])
		n += took
		to := position{V: positionVersion, Seq: end, Writer: e.writer, Commit: e.done.Commit + 1}
		if n < len(changes) {
			to.Seq, to.N = at(n)
		}
		if err := e.put(ctx, writes, to); err != nil {
			e.broken = true
			return fmt.Errorf("commit %d incident changes: %w", len(changes), err)
		}
		e.show(latest)
	}
	return nil
}

// piece makes the writes of as many changes as fit one commit. Of several
// changes of one incident only the last is written.
func (e *Evaluator) piece(changes []alerting.Change) (writes []Write, latest []alerting.Incident, took int) {
	index := map[string]int{}
	size := 1 // the position
	for _, c := range changes {
		need := 1 + len(e.recipients(c.Incident))
		k, again := index[c.Incident.ID]
		if again {
			need -= 1 + len(e.recipients(latest[k]))
		}
		if size+need > maxWrites && took > 0 {
			break
		}
		size += need
		took++
		if again {
			latest[k] = c.Incident
			continue
		}
		index[c.Incident.ID] = len(latest)
		latest = append(latest, c.Incident)
	}
	for _, i := range latest {
		b, err := json.Marshal(i)
		if err != nil {
			panic(err) // plain data: cannot be
		}
		writes = append(writes, Write{Key: []string{keyIncident, i.ID}, Value: b})
		for _, name := range e.recipients(i) {
			writes = append(writes, Write{Key: []string{keyOutbox, name, i.ID}, Value: b})
		}
	}
	return writes, latest, took
}

// recipients names the notifiers that are to tell i: those of its route and
// those that were once to tell it, who would otherwise never hear of its end.
func (e *Evaluator) recipients(i alerting.Incident) []string {
	names := slices.Concat(e.routes[i.ID], e.route(i))
	slices.Sort(names)
	return slices.Compact(names)
}

// put stores writes and the position in one piece, however often that takes:
// the engine cannot step back. A commit whose answer was lost is recognised by
// its position.
func (e *Evaluator) put(ctx context.Context, writes []Write, to position) error {
	value, err := json.Marshal(to)
	if err != nil {
		panic(err) // plain data: cannot be
	}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		seen, rev, err := e.committed(ctx)
		switch {
		case err != nil:
		case seen == to:
			e.done = to
			return nil
		case seen != e.done:
			return fmt.Errorf("position is %+v, left at %+v: another program evaluates this log: %w", seen, e.done, ErrConflict)
		default:
			all := append(slices.Clone(writes), Write{Key: []string{keyEvaluator, "position"}, Value: value, Rev: &rev})
			if err = e.store.Commit(ctx, all...); err == nil {
				e.done = to
				return nil
			}
		}
		e.logger.Error("incident changes not stored", "err", err)
		if !sleep(ctx, wait) {
			return errors.Join(ctx.Err(), err)
		}
	}
}

// committed reads the stored position and its revision.
func (e *Evaluator) committed(ctx context.Context) (position, uint64, error) {
	records, err := e.store.List(ctx, keyEvaluator)
	if err != nil || len(records) == 0 {
		return position{}, 0, err
	}
	p, err := decode[position](records[0], positionVersion)
	return p, records[0].Rev, err
}
