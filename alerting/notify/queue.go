package notify

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tripline/tripline/alerting"
)

// The bounds of the wait between two attempts for one incident, and of what a
// LaterError may ask for.
const (
	MinRetry = time.Second
	MaxRetry = 5 * time.Minute
)

// settle is how long an open incident with old news must stand unchanged before
// it is told: while a log of weeks is read again, incidents open and resolve
// within moments, and nobody wants to hear of them.
const settle = time.Minute

// queue decides what a Desk does next. It holds no lock and starts nothing.
type queue struct {
	expire time.Duration
	pause  time.Duration   // from one attempt to the next at least
	jobs   map[string]*job // every incident that the outbox or a receipt names
	open   map[string]*job // those with something to tell or to repeat, the ones at work included
	busy   int
	paused time.Time // no attempt before this moment: the receiver wants it
	free   time.Time // nor before this one: the limit
}

// job is what a queue knows of one incident.
type job struct {
	id     string
	want   alerting.Incident // the newest state, without findings once there is nothing more to tell of it
	told   Receipt           // Pending: an attempt since may have arrived
	tried  bool              // there is a receipt
	marked bool              // the stored receipt says Pending
	dead   *Dead             // the version that was given up; nil if none
	loaded bool              // dead was made by an earlier run of the program
	letter bool              // a dead letter is stored
	why    string            // Message.Because
	tries  []Attempt         // the newest, oldest first; never changed in place
	unkept bool              // tries are not stored
	err    string            // of the newest attempt; "" if it told
	seen   time.Time         // when want became known
	since  time.Time         // since when there has been something to tell
	fails  int               // in a row, on this version
	due    time.Time         // no attempt before this moment
	busy   bool
	gone   bool // its outbox entry was deleted
}

func newQueue(expire, pause time.Duration) *queue {
	return &queue{expire: expire, pause: pause, jobs: map[string]*job{}, open: map[string]*job{}}
}

func (q *queue) job(id string) *job {
	j := q.jobs[id]
	if j == nil {
		j = &job{id: id}
		q.jobs[id] = j
	}
	return j
}

// wanted takes the newest state of an incident.
func (q *queue) wanted(i alerting.Incident, now time.Time) {
	j := q.job(i.ID)
	if j.dead != nil && j.loaded && i.Open() {
		j.dead = nil // somebody started the program anew, perhaps with a better credential
	}
	j.loaded, j.gone = false, false
	if i.Version <= j.want.Version && j.want.ID != "" {
		return
	}
	waited := j.want.ID != "" && j.behind()
	j.want, j.seen, j.due, j.fails = i, now, now, 0
	if !waited {
		j.since = now
		if j.told.Pending && !j.told.Waiting.IsZero() { // since before a restart
			j.since = j.told.Waiting
		}
	}
	if i.Open() && now.Sub(newsTime(i)) > q.expire {
		j.due = now.Add(settle)
	}
	switch {
	case j.behind():
		q.open[j.id] = j
	case j.repeats():
		if again := j.told.At.Add(j.told.Again); again.After(j.due) {
			j.due = again
		}
		q.open[j.id] = j
	case !j.busy:
		delete(q.open, j.id)
	}
}

// behind tells whether there is something to tell.
func (j *job) behind() bool {
	return j.want.Version > j.told.Version && (j.dead == nil || j.want.Version > j.dead.Version) && !j.hushed()
}

// hushed tells whether people are not to hear of the incident for now, and know
// nothing of it.
func (j *job) hushed() bool {
	return j.want.Quiet != "" && j.told.Version == 0 && !j.told.Pending
}

// repeats tells whether what was told is to be told again (Receipt.Again).
func (j *job) repeats() bool {
	return j.told.Again > 0 && j.want.Version == j.told.Version && j.want.Open()
}

// forgotten takes that the outbox entry of an incident was deleted.
func (q *queue) forgotten(id string) {
	j := q.jobs[id]
	if j == nil {
		return
	}
	if j.busy {
		j.gone = true
		return
	}
	delete(q.jobs, id)
	delete(q.open, id)
}

// next returns an incident to attempt now and marks it as busy, or nil and how
// long nothing will be due (at most MaxRetry). News go before repeats, pages
// before tickets, storms before single incidents, which may be many, then
// whoever has been due the longest.
func (q *queue) next(now time.Time) (*job, time.Duration) {
	if wait := max(q.paused.Sub(now), q.free.Sub(now)); wait > 0 {
		return nil, wait
	}
	var best *job
	wait := MaxRetry
	for _, j := range q.open {
		switch {
		case j.busy:
		case j.due.After(now):
			wait = min(wait, j.due.Sub(now))
		case best == nil || j.before(best):
			best = j
		}
	}
	if best != nil {
		best.busy = true
		q.busy++
		q.free = now.Add(q.pause)
		return best, 0
	}
	return nil, wait
}

func (j *job) before(o *job) bool {
	if news := j.behind(); news != o.behind() {
		return news
	}
	if page := j.want.Severity == alerting.Page; page != (o.want.Severity == alerting.Page) {
		return page
	}
	if storm := j.want.Group == alerting.StormGroup; storm != (o.want.Group == alerting.StormGroup) {
		return storm
	}
	if !j.due.Equal(o.due) {
		return j.due.Before(o.due)
	}
	return j.id < o.id
}

// finished takes the outcome of the attempt for j.
func (q *queue) finished(j *job, o outcome, now time.Time) {
	j.busy = false
	q.busy--
	j.told, j.tried, j.marked, j.tries, j.unkept, j.err = o.told, o.tried, o.marked, o.tries, o.unkept, ""
	if o.err != nil {
		j.err = o.err.Error()
	}
	var later *LaterError
	switch {
	case o.err == nil:
		j.fails, j.due, j.dead, j.letter, j.since = 0, now, nil, false, j.seen
		if j.repeats() {
			j.due = now.Add(max(j.told.Again, MinRetry))
		}
		q.wake(now)
	case o.dead != nil:
		j.fails, j.due, j.dead, j.letter = 0, now, o.dead, true
	case errors.As(o.err, &later):
		j.due = now
		if until := now.Add(min(max(later.After, MinRetry), MaxRetry)); until.After(q.paused) {
			q.paused = until // and not before what another attempt was asked for
		}
	default:
		j.fails++
		j.due = now.Add(backoff(j.fails))
		// What is forgotten unless it is repeated must not be while there is news.
		if again := now.Add(max(j.told.Again, MinRetry)); j.told.Again > 0 && j.want.Open() && again.Before(j.due) {
			j.due = again
		}
	}
	if !j.behind() && !j.repeats() {
		delete(q.open, j.id)
		j.want = alerting.Incident{ID: j.id, Version: j.want.Version, Ended: j.want.Ended, Quiet: j.want.Quiet}
	}
	if j.gone {
		q.forgotten(j.id)
	}
}

// wake makes all that wait after a failure due: the channel works again.
func (q *queue) wake(now time.Time) {
	for _, j := range q.open {
		if j.fails > 0 && j.due.After(now) {
			j.due = now
		}
	}
}

// backoff is the wait after so many failures in a row: doubling from MinRetry
// to MaxRetry, with a quarter more or less by chance, so that several notifiers
// of one receiver do not come back in step.
func backoff(fails int) time.Duration {
	d := MinRetry << min(fails-1, 10)
	d += time.Duration((rand.Float64() - 0.5) * 0.5 * float64(d))
	return min(max(d, MinRetry), MaxRetry)
}

// newsTime is the moment that the newest news of an incident is about.
func newsTime(i alerting.Incident) time.Time {
	if !i.Open() {
		return i.Ended
	}
	t := i.Since
	later := func(u time.Time) {
		if u.After(t) {
			t = u
		}
	}
	later(i.LastBad)
	for _, f := range i.Findings {
		later(f.LastBad)
		later(f.Cleared)
	}
	return t
}
