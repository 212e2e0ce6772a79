// Package notify tells people of incidents. The Evaluator follows the log and
// commits what the rules found together with what each notifier is to tell (the
// outbox); one Desk per notifier reads its part of the outbox, delivers and
// keeps receipts. Both forget nothing over a crash.
//
// To add a notifier write one file with a settings struct (YAML tags, Validate,
// Notifier) whose Notify makes one attempt, its test, and the lines in
// notifiers.go. Decide only which answers are a *PermanentError and which carry
// a delay (*LaterError): a notifier has no retry, no queue and no state on disk.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Message is what a notifier is to tell: the newest state of one incident.
type Message struct {
	Incident alerting.Incident
	Evidence *probe.Evidence // what was seen on the wire, newest of the incident; nil if there is none
	Link     string          // URL of the incident on the page; "" if the page has no address
	Because  string          // why this notifier tells it in place of another, in one line; "" if it does not
}

// ReceiptVersion is the version of the stored form of receipts and dead letters.
const ReceiptVersion = 1

// Receipt says how far one notifier has told one incident.
type Receipt struct {
	V        int       `json:"v"`
	Incident string    `json:"incident"`
	Version  int       `json:"version"` // newest incident version known to be told; 0 for none
	At       time.Time `json:"at,omitzero"`

	// IDs is whatever the notifier needs to find its messages again, such as a
	// channel and a message id. A Desk only keeps it.
	IDs map[string]string `json:"ids,omitempty"`

	// Pending says that an attempt to tell a newer version was begun and its
	// outcome is not known: it may have been told, or not.
	Pending bool `json:"pending,omitempty"`

	// Waiting is since when there has been something to tell, while Pending.
	Waiting time.Time `json:"waiting,omitzero"`

	// Again asks for the same version to be told again after this time, for as
	// long as the incident is open and nothing newer is there to tell: for
	// receivers that forget what is not repeated. News that fail are tried again
	// no later either. 0 means never; less than MinRetry means MinRetry.
	Again time.Duration `json:"again,omitempty"`

	// Attempts counts the attempts since the last delivery; in a receipt of a
	// delivery, how many it took.
	Attempts int `json:"attempts,omitempty"`
}

// Notifier makes one attempt to tell people the newest state of one incident.
//
// Attempts for one incident never overlap, those for several may. told is the
// receipt of what was told before, nil if no attempt was ever made. When
// told.Pending is set an earlier attempt may have arrived: a notifier that can
// find out does so before it tells anything again. The receipt that Notify
// returns needs only its IDs and Again; the rest is the Desk's. IDs returned
// with an error, which say what was reached before it, are in told of the next
// attempt.
//
// A repeat, which Again asks for, has the version that told has. It is tried
// again after whatever error, and what it returns is not stored: the receipt of
// the version stays.
//
// A notifier that also hears from people is a Listener, one that must remember
// what it is about to do an Intender.
//
// A *PermanentError ends the attempts for this version. A *LaterError names the
// wait. Any other error is tried again, with Pending set.
type Notifier interface {
	Notify(ctx context.Context, now Message, told *Receipt) (Receipt, error)
}

// Listener is a notifier that also hears from people: what they want done it
// hands to Env.Command.
type Listener interface {
	// Run hears until ctx ends, or until it cannot help to go on.
	Run(ctx context.Context) error
	// Trouble says why nobody is heard; "" if all is well.
	Trouble() string
}

// Intender is a notifier that has something to remember of an attempt whose
// outcome may never be known: the IDs that Intent returns are stored before the
// first attempt for a version, and are in told of the next one if that one does
// not come to a receipt.
type Intender interface {
	Intent(told *Receipt) map[string]string
}

// PermanentError says that trying again cannot help: the credential or the
// channel is wrong. The version is given up, which is recorded and shown.
type PermanentError struct{ Err error }

func (e *PermanentError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *PermanentError) Unwrap() error { return e.Err }

// LaterError says that nothing was told and that the receiver wants to be left
// alone for a while. It holds up the whole notifier, since what is limited is
// the channel and not one incident. After is taken as at least MinRetry and at
// most MaxRetry.
type LaterError struct {
	After time.Duration
	Err   error
}

func (e *LaterError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *LaterError) Unwrap() error { return e.Err }

// Record is one stored record.
type Record struct {
	Key   []string
	Value []byte // nil if the record was deleted
	Rev   uint64
}

// Write is one change to a record.
type Write struct {
	Key   []string
	Value []byte  // nil deletes
	Rev   *uint64 // the revision that the record must have, 0 if it must not exist; nil for any
}

// ErrConflict says that a record did not have the wanted revision, so that
// nothing of the commit was stored.
var ErrConflict = errors.New("the record was changed by another writer")

// The most that one Commit may have: writes, and bytes in their keys and
// values. The store's own limit is 512 KiB; the rest is for how it escapes keys.
const (
	maxWrites   = 900
	maxBytes    = 448 << 10
	maxIncident = 128 << 10 // one incident, stored once and once more for everyone who tells it
)

// size is how many bytes w adds to a commit at most.
func (w Write) size() int {
	n := len(w.Value)
	for _, k := range w.Key {
		n += 3*len(k) + 1
	}
	return n
}

// Store is the durable state that this package needs.
type Store interface {
	// Commit stores all writes or none. errors.Is(err, ErrConflict) tells that
	// a Rev did not hold; after any other error it is not known whether the
	// writes were stored. There are at most 900 writes of 512 KiB together.
	Commit(ctx context.Context, writes ...Write) error
	// List returns the records strictly below prefix.
	List(ctx context.Context, prefix ...string) ([]Record, error)
	// Watch calls f with the current records below prefix, then with a Record
	// that has no key, then with every change. It blocks until ctx ends or f
	// returns an error.
	Watch(ctx context.Context, prefix []string, f func(Record) error) error
}

// The first segments of the keys. outbox, receipt and dead are followed by the
// notifier's name and the incident's id, attempt by these the other way round,
// incident by the id alone.
const (
	keyIncident   = "incident"
	keyOutbox     = "outbox"
	keyReceipt    = "receipt"
	keyDead       = "dead"
	keyAttempt    = "attempt"
	keyEvaluator  = "evaluator"
	keyCheckpoint = "checkpoint"
)

// Dead is a version of an incident that a notifier gave up telling.
type Dead struct {
	V        int       `json:"v"`
	Incident string    `json:"incident"`
	Version  int       `json:"version"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
}

// decode reads the value of a record, which must not be of a newer version than
// known.
func decode[T any](r Record, known int) (T, error) {
	var v T
	var head struct {
		V int `json:"v"`
	}
	err := json.Unmarshal(r.Value, &head)
	if err == nil && head.V > known {
		err = &checks.NewerError{Seen: head.V, Known: known}
	}
	if err == nil {
		err = json.Unmarshal(r.Value, &v)
	}
	if err != nil {
		return v, fmt.Errorf("stored record %q: %w", r.Key, err)
	}
	return v, nil
}
