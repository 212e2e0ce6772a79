package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

const (
	maxChanges     = 900       // in one commit; the server refuses 1,000
	maxCommitBytes = 512 << 10 // keys and values of one commit
	maxKeyBytes    = 1024      // escaped; the server refuses 4 KiB
	maxRounds      = 10        // of a commit that keeps meeting others

	// hdrCommit names the commit that stored a record, so that a commit whose answer got lost can find out what became of it.
	hdrCommit = "Tripline-Commit"
)

// ErrConflict is what a *ConflictError is.
var ErrConflict = errors.New("conflict")

// ConflictError says that a key did not have the revision that a Change expected. Nothing of the commit was stored.
type ConflictError struct {
	Key        Key
	Want, Have uint64 // revisions; 0: no record
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("commit: %s is at revision %d, want %d", e.Key, e.Have, e.Want)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// State is a set of records by key, changed in all-or-nothing commits. A record has a revision, which grows with every change
// anywhere in the state.
type State struct{ j *Journal }

// State returns the state of j.
func (j *Journal) State() *State { return &State{j} }

// Change is what a commit does to one key.
type Change struct {
	Key    Key
	Value  []byte  // nil deletes the record
	Expect *uint64 // the revision the record must have, 0 if there must be none; nil: any
}

// KV is a record, or in Watch its deletion.
type KV struct {
	Key      Key
	Value    []byte // nil: deleted
	Revision uint64
}

// Commit makes all changes or none, and returns the revision of each. The answer comes after fsync. At most 900 changes and
// 512 KiB, each key once. If a key does not have the revision expected of it, the error is a *ConflictError.
//
// Commit finds out what became of a request whose answer was lost. Only when ctx ends first is the outcome unknown; repeating
// a commit with its Expect is then safe: it is a conflict if the first went through.
func (s *State) Commit(ctx context.Context, changes ...Change) ([]uint64, error) {
	size, err := checkChanges(changes)
	if err != nil {
		return nil, err
	}
	// It is staged and then stored.
	if err := s.j.room(probeBytes + 2*int64(size)); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	c := commit{id: rand.Text(), changes: changes, expect: make([]*uint64, len(changes))}
	for i := range changes {
		c.expect[i] = changes[i].Expect
	}
	for range maxRounds {
		var last uint64
		if last, err = s.send(ctx, &c); err == nil {
			return c.revisions(last), nil
		}
		if !conflict(err) && !unanswered(err) {
			return nil, fmt.Errorf("commit of %d changes, first %s: %w", len(changes), changes[0].Key, err)
		}
		if unanswered(err) {
			if repairErr := s.j.repair(ctx); repairErr != nil {
				return nil, fmt.Errorf("commit of %d changes, first %s: %w: %w", len(changes), changes[0].Key, repairErr, err)
			}
		}
		stored, settleErr := s.settle(ctx, &c)
		if settleErr != nil {
			return nil, settleErr
		}
		if stored > 0 {
			return c.revisions(stored), nil
		}
	}
	return nil, fmt.Errorf("commit of %d changes, first %s: given up after %d attempts: %w", len(changes), changes[0].Key, maxRounds, err)
}

// checkChanges returns how many bytes the changes are.
func checkChanges(changes []Change) (int, error) {
	if len(changes) == 0 || len(changes) > maxChanges {
		return 0, fmt.Errorf("commit: %d changes, want 1 to %d", len(changes), maxChanges)
	}
	bytes := 0
	seen := make(map[Key]struct{}, len(changes))
	for _, c := range changes {
		if c.Key.IsZero() {
			return 0, errors.New("commit: change without a key")
		}
		if n := len(c.Key.escaped); n > maxKeyBytes {
			return 0, fmt.Errorf("commit: key %.40s...: %d bytes escaped, want at most %d", c.Key, n, maxKeyBytes)
		}
		if _, twice := seen[c.Key]; twice {
			return 0, fmt.Errorf("commit: key %s is changed twice", c.Key)
		}
		seen[c.Key] = struct{}{}
		bytes += len(c.Key.escaped) + len(c.Value)
	}
	if bytes > maxCommitBytes {
		return 0, fmt.Errorf("commit: %d bytes in %d changes, want at most %d", bytes, len(changes), maxCommitBytes)
	}
	return bytes, nil
}

// commit is a commit on its way.
type commit struct {
	id      string // in the header of all its records
	attempt int
	changes []Change
	expect  []*uint64 // like Change.Expect, but 0 is replaced by the revision of a deletion marker where there is one
}

func (c *commit) revisions(last uint64) []uint64 {
	revs := make([]uint64, len(c.changes))
	for i := range revs {
		revs[i] = last - uint64(len(revs)-1-i)
	}
	return revs
}

// send makes one attempt and returns the sequence of the last record.
func (s *State) send(ctx context.Context, c *commit) (uint64, error) {
	e, err := s.j.current(ctx)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.j.opts.answer)
	defer cancel()
	c.attempt++
	last := len(c.changes) - 1
	for i, ch := range c.changes {
		m := &nats.Msg{Subject: ch.Key.subject(rootCtrl), Data: ch.Value, Header: nats.Header{hdrCommit: {c.id}}}
		if ch.Value == nil {
			m.Header.Set(hdrOperation, opPurge)
			m.Header.Set(hdrTTL, s.j.opts.markerTTL.String())
		}
		if c.expect[i] != nil {
			m.Header.Set(hdrExpectLastSubject, strconv.FormatUint(*c.expect[i], 10))
		}
		if last > 0 { // a single change needs no batch, and is a third of the work without one
			m.Header[hdrBatchID] = []string{c.id + strconv.Itoa(c.attempt)}
			m.Header[hdrBatchSequence] = []string{strconv.Itoa(i + 1)}
		}
		if i < last {
			if err := e.nc.PublishMsg(m); err != nil {
				return 0, err
			}
			continue
		}
		if last > 0 {
			m.Header[hdrBatchCommit] = []string{"1"}
		}
		return e.publish(ctx, m)
	}
	return 0, nil
}

// settle finds out, after an attempt that met a conflict or had no answer, whether the commit is stored after all (it returns
// the sequence of its last record), cannot be stored (a *ConflictError), or should be tried again (0).
func (s *State) settle(ctx context.Context, c *commit) (uint64, error) {
	for i, ch := range c.changes {
		r, err := s.record(ctx, ch.Key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return 0, fmt.Errorf("commit of %d changes, first %s: outcome unknown: %w", len(c.changes), c.changes[0].Key, err)
		}
		if r.header.Get(hdrCommit) == c.id {
			return r.seq + uint64(len(c.changes)-1-i), nil
		}
		if ch.Expect == nil {
			continue
		}
		have := r.seq
		if r.deleted() {
			have = 0
		}
		if have != *ch.Expect {
			return 0, &ConflictError{Key: ch.Key, Want: *ch.Expect, Have: have}
		}
		c.expect[i] = &r.seq
	}
	return 0, nil
}

// record reads what is stored for k, be it only a deletion marker. Without anything, the record is zero and the error ErrNotFound.
func (s *State) record(ctx context.Context, k Key) (r record, err error) {
	err = s.j.try(ctx, func(ctx context.Context, e *engine) error {
		r, err = e.readLast(ctx, streamCtrl, k.subject(rootCtrl))
		return err
	})
	return r, err
}

// Get returns the value of k and its revision, or an error that wraps ErrNotFound.
func (s *State) Get(ctx context.Context, k Key) ([]byte, uint64, error) {
	r, err := s.record(ctx, k)
	if err == nil && r.deleted() {
		err = ErrNotFound
	}
	if err != nil {
		return nil, 0, fmt.Errorf("get %s: %w", k, err)
	}
	return r.data, r.seq, nil
}

// List returns all records whose keys have prefix and at least one segment more, the one that was changed longest ago first.
// A commit is in it whole or not at all.
func (s *State) List(ctx context.Context, prefix Key) ([]KV, error) {
	var kvs []KV
	at := make(map[Key]int)
	_, err := s.scan(ctx, s.j.try, prefix, 1, func(kv KV) error {
		if i, ok := at[kv.Key]; ok {
			kvs[i].Value = nil // changed while we were reading; the newer comes now
		}
		at[kv.Key] = len(kvs)
		kvs = append(kvs, kv)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	kept := kvs[:0]
	for _, kv := range kvs {
		if kv.Value != nil {
			kept = append(kept, kv)
		}
	}
	return kept, nil
}

// retry runs an operation on the engine until it has an answer.
type retry func(ctx context.Context, op func(ctx context.Context, e *engine) error) error

// scan calls f with every record and deletion marker below prefix from the revision from on, until there are no more. It
// returns the revision to go on from. read is how hard to try: Journal.try or insist.
func (s *State) scan(ctx context.Context, read retry, prefix Key, from uint64, f func(KV) error) (uint64, error) {
	for more := true; more; {
		var records []record
		err := read(ctx, func(ctx context.Context, e *engine) (err error) {
			records, more, err = e.readFrom(ctx, streamCtrl, prefix.filter(rootCtrl), from)
			return err
		})
		if err != nil {
			return from, err
		}
		for _, r := range records {
			from = r.seq + 1
			kv := KV{Key: Key{r.subject[len(rootCtrl)+1:]}, Value: r.data, Revision: r.seq}
			if r.deleted() {
				kv.Value = nil
			}
			if err := f(kv); err != nil {
				return from, err
			}
		}
	}
	return from, nil
}
