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

// stepped is a change with the position after it: that of the first n changes
// of batch seq.
type stepped struct {
	alerting.Change
	seq uint64
	n   int
}

// commit stores changes in pieces that fit one commit each; with the last of
// them all that was stepped is committed.
func (e *Evaluator) commit(ctx context.Context, changes []stepped) error {
	for n := 0; n < len(changes); {
		parts, took := e.piece(changes[n:])
		n += took
		seq, before := e.next, 0
		if n < len(changes) {
			seq, before = changes[n-1].seq, changes[n-1].n
		}
		var writes []Write
		for _, p := range parts {
			writes = append(writes, p.writes...)
		}
		if err := e.advance(ctx, writes, seq, before); err != nil {
			return fmt.Errorf("commit %d incident changes: %w", len(changes), err)
		}
		e.show(parts)
	}
	return nil
}

// advance stores writes with the position after the first n changes of batch seq.
func (e *Evaluator) advance(ctx context.Context, writes []Write, seq uint64, n int) error {
	err := e.put(ctx, writes, position{V: positionVersion, Seq: seq, N: n, Writer: e.writer, Commit: e.done.Commit + 1})
	e.broken = e.broken || err != nil
	return err
}

// part is the newest of the changes of one incident in a commit.
type part struct {
	incident alerting.Incident
	names    []string // who is to tell it
	writes   []Write
	bytes    int
}

// piece makes the writes of as many changes as fit one commit, and returns how
// many these are. Of several changes of one incident only the last is written,
// and the last one that people are to be told of, to all who are to tell one.
func (e *Evaluator) piece(changes []stepped) (parts []part, took int) {
	index := map[string]int{}
	count, bytes := 1, 0 // the position
	for _, c := range changes {
		id := c.Incident.ID
		k, again := index[id]
		if !again {
			k, parts = len(parts), append(parts, part{names: e.routes[id]})
		}
		p := part{incident: c.Incident, names: e.also(parts[k].names, c.Incident)}
		p.writes = overlay(parts[k].writes, e.writes(p.incident, readers(p.incident, p.names, parts[k].names)))
		for _, w := range p.writes {
			p.bytes += w.size()
		}
		count += len(p.writes) - len(parts[k].writes)
		bytes += p.bytes - parts[k].bytes
		if took > 0 && (count > maxWrites || bytes > maxBytes) {
			if !again {
				parts = parts[:k]
			}
			break
		}
		index[id], parts[k] = k, p
		took++
	}
	return parts, took
}

// overlay returns newer writes, with those older ones whose records they leave alone.
func overlay(older, newer []Write) []Write {
	all := slices.Clone(newer)
	for _, w := range older {
		if !slices.ContainsFunc(newer, func(n Write) bool { return slices.Equal(n.Key, w.Key) }) {
			all = append(all, w)
		}
	}
	return all
}

// order is a record of the outbox: an incident as one notifier is to tell it.
type order struct {
	alerting.Incident

	// Because says why this notifier is to tell it when that is not so by its
	// route.
	Because string `json:"because,omitempty"`
}

// writes makes the writes of one incident: the same for itself and for the
// outbox of everyone who is to tell it.
func (e *Evaluator) writes(i alerting.Incident, names []string) []Write {
	const other = 1<<10 + maxBecause // what else is in a write
	value := fit(i, min(maxIncident, maxBytes/(len(names)+1)-other))
	writes := []Write{{Key: []string{keyIncident, i.ID}, Value: value}}
	for _, name := range names {
		own := value
		if why := e.because[i.ID][name]; why != "" {
			own = fmt.Appendf(nil, `%s,"because":%s}`, value[:len(value)-1], encode(why))
		}
		writes = append(writes, Write{Key: []string{keyOutbox, name, i.ID}, Value: own})
	}
	return writes
}

// fit encodes i in at most limit bytes. What is too much loses names of checks
// first and findings then, from the end: people are told of it nevertheless.
func fit(i alerting.Incident, limit int) []byte {
	for names := 50; ; names /= 2 {
		b := encode(i)
		if len(b) <= limit || len(i.Findings) == 0 {
			return b
		}
		i.Findings = slices.Clone(i.Findings)
		switch {
		case names == 0 && len(i.Parts) > 0:
			i.Parts, i.MoreParts = i.Parts[:len(i.Parts)/2], true
			continue
		case names == 0:
			i.Findings = i.Findings[:len(i.Findings)/2]
		}
		for k := range i.Findings {
			f := &i.Findings[k]
			cut := min(names, len(f.Checks))
			f.Checks, f.More = f.Checks[:cut], f.More+len(f.Checks)-cut
		}
	}
}

// encode encodes plain data, which cannot fail.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// recipients names the notifiers that are to tell i at the time of the newest
// entry: those that are told of it already, who would otherwise never hear of
// its end, and those of its route.
func (e *Evaluator) recipients(i alerting.Incident) []string { return e.also(e.routes[i.ID], i) }

// also adds the route of i to names. What has ended, and what people are not to
// hear of for now, is told to nobody new.
func (e *Evaluator) also(names []string, i alerting.Incident) []string {
	if !i.Open() || i.Quiet != "" {
		return names
	}
	names = slices.Concat(names, e.route(i, e.at))
	slices.Sort(names)
	return slices.Compact(names)
}

// readers names those of names, who are to tell i, whose outbox gets this
// version of it: nobody's while it is quiet, and only the outbox of those who
// were not among the names before if it says nothing new.
func readers(i alerting.Incident, names, before []string) []string {
	switch {
	case i.Tells():
		return names
	case i.Quiet != "":
		return nil
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(before, name) })
}

// put stores writes and the position in one piece, however often that takes:
// the engine cannot step back. A commit whose answer was lost is recognised by
// its position.
func (e *Evaluator) put(ctx context.Context, writes []Write, to position) error {
	value := encode(to)
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
