package notify

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Attempt is one attempt of a notifier to tell a version of an incident.
// Repeats (Receipt.Again) are none.
type Attempt struct {
	At       time.Time     `json:"at"`
	Notifier string        `json:"notifier"`
	Version  int           `json:"version"`
	Took     time.Duration `json:"took"`               // in ns
	Err      string        `json:"err,omitempty"`      // "" if it told
	GivenUp  bool          `json:"given_up,omitempty"` // the version is not tried again
}

// keptTries is how many attempts of one notifier are kept for an incident.
const keptTries = 50

// attemptRecord is the stored form of the attempts of one notifier.
type attemptRecord struct {
	V     int       `json:"v"`
	Tries []Attempt `json:"tries"`
}

const attemptVersion = 1

// note adds an attempt for j to what is kept. It is stored with whatever is
// stored next, or when the Desk stops: an attempt alone is not worth a commit.
func (d *Desk) note(j job, o *outcome, a Attempt) {
	a.Notifier, a.Version = d.Name, j.want.Version
	if o.err != nil {
		a.Err = cut(clean(o.err.Error(), false), 300)
	}
	kept := o.tries[max(0, len(o.tries)+1-keptTries):]
	o.tries, o.unkept = append(slices.Clone(kept), a), true
}

func (d *Desk) keep(incident string, tries []Attempt) Write {
	return Write{Key: []string{keyAttempt, incident, d.Name}, Value: encode(attemptRecord{attemptVersion, tries})}
}

// keepAll stores the attempts that are not stored yet, when the Desk stops.
func (d *Desk) keepAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	d.mu.Lock()
	defer d.mu.Unlock()
	const some = 20 // of at most 50 attempts of some 600 bytes each
	var writes []Write
	for _, j := range d.queue.jobs {
		if j.unkept {
			writes = append(writes, d.keep(j.id, j.tries))
		}
	}
	for w := range slices.Chunk(writes, some) {
		if err := d.Store.Commit(ctx, w...); err != nil {
			d.Log.Warn("attempts not stored", "notifier", d.Name, "err", err)
			return
		}
	}
}

// loadTries reads the attempts of earlier runs.
func (d *Desk) loadTries(ctx context.Context, q *queue) error {
	records, err := d.Store.List(ctx, keyAttempt)
	if err != nil {
		return err
	}
	for _, r := range records {
		if len(r.Key) != 3 || r.Key[2] != d.Name {
			continue
		}
		a, err := decode[attemptRecord](r, attemptVersion)
		if err != nil {
			return err
		}
		if j := q.jobs[r.Key[1]]; j != nil {
			j.tries = a.Tries
		}
	}
	return nil
}

// Attempts returns the newest attempts to tell an incident, oldest first, as
// far as they are known to this Desk.
func (d *Desk) Attempts(incident string) []Attempt {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue == nil || d.queue.jobs[incident] == nil {
		return nil
	}
	return d.queue.jobs[incident].tries
}

// StoredAttempts returns the stored attempts of all notifiers to tell an
// incident, oldest first. Those of notifiers that run are up to date in their
// Desk.
func StoredAttempts(ctx context.Context, store Store, incident string) ([]Attempt, error) {
	records, err := store.List(ctx, keyAttempt, incident)
	if err != nil {
		return nil, err
	}
	var all []Attempt
	for _, r := range records {
		a, err := decode[attemptRecord](r, attemptVersion)
		if err != nil {
			return nil, err
		}
		all = append(all, a.Tries...)
	}
	slices.SortStableFunc(all, func(a, b Attempt) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Notifier, b.Notifier)) })
	return all, nil
}
