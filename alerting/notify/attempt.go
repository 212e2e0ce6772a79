package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// outcome is what an attempt came to.
type outcome struct {
	err    error   // nil: told
	dead   *Dead   // the version is given up
	asked  bool    // the notifier was asked at all
	told   Receipt // what is known now; Pending: something may have arrived
	tried  bool
	marked bool // the stored receipt says Pending
	tries  []Attempt
	unkept bool // tries are not stored
}

// attempt makes one attempt for j, a copy of a job, and stores what it comes to.
func (d *Desk) attempt(ctx context.Context, j job) outcome {
	o := outcome{told: j.told, tried: j.tried, marked: j.marked, tries: j.tries, unkept: j.unkept}
	expire := orDefault(d.Expire, defaultExpire)
	if !j.want.Open() && time.Since(j.want.Ended) > expire {
		o.err = fmt.Errorf("not told within %s of its end", expire)
		d.note(j, &o, Attempt{At: time.Now().UTC(), GivenUp: true})
		d.giveUp(ctx, j.want, &o)
		return o
	}
	o.told.V, o.told.Incident, o.told.Attempts = ReceiptVersion, j.id, j.told.Attempts+1
	if !o.marked && !j.repeats() {
		intent := o.told
		intent.Pending, intent.Waiting = true, j.since.UTC()
		if n, ok := d.Notifier.(Intender); ok {
			intent.IDs = n.Intent(&o.told)
			o.told.IDs = intent.IDs
		}
		if err := d.Store.Commit(ctx, d.write(keyReceipt, j.id, intent)); err != nil {
			o.err = fmt.Errorf("store that %s is about to be told: %w", j.id, err)
			o.told.Attempts--
			return o
		}
		o.marked = true
	}
	var told *Receipt
	if j.tried {
		t := j.told
		told = &t
	}
	o.tried, o.asked = true, true
	m := d.message(ctx, j.want)
	m.Because = j.why
	begun := time.Now()
	rec, err := d.Try(ctx, m, told)
	o.err = err
	_, permanent := errors.AsType[*PermanentError](err)
	if !j.repeats() {
		d.note(j, &o, Attempt{At: begun.UTC(), Took: time.Since(begun), GivenUp: permanent})
	}
	if err == nil {
		d.delivered(ctx, j, rec, &o)
		return o
	}
	if rec.IDs != nil && !j.repeats() {
		d.reached(ctx, rec.IDs, &o)
	}
	_, later := errors.AsType[*LaterError](err)
	switch {
	case j.repeats():
	case permanent:
		d.giveUp(ctx, j.want, &o)
	case !later:
		o.told.Pending = true
	}
	level := slog.LevelDebug // once is enough while a channel is down
	if o.told.Attempts == 1 || o.dead != nil {
		level = slog.LevelWarn
	}
	d.Log.Log(ctx, level, "not told", "notifier", d.Name, "incident", j.id, "version", j.want.Version,
		"attempt", o.told.Attempts, "given_up", o.dead != nil, "err", err)
	return o
}

// Try makes one attempt past the outbox, within the deadline of an attempt:
// nothing is stored, and the limit is not looked at. A panic in a notifier ends
// the attempt and not the program. It may be called whether the Desk runs or not.
func (d *Desk) Try(ctx context.Context, m Message, told *Receipt) (rec Receipt, err error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(d.Timeout, defaultTimeout))
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("notifier %s panicked: %v", d.Name, p)
		}
	}()
	return d.Notifier.Notify(ctx, m, told)
}

// delivered stores the receipt, however often that takes: only the end of ctx
// leaves it to the look-up of a later run. A repeat needs no receipt: after a
// crash it is merely early.
func (d *Desk) delivered(ctx context.Context, j job, rec Receipt, o *outcome) {
	o.told = Receipt{
		V: ReceiptVersion, Incident: j.id, Version: j.want.Version,
		At: time.Now().UTC(), IDs: rec.IDs, Again: rec.Again, Attempts: o.told.Attempts,
	}
	if j.repeats() {
		o.told.Attempts = 0
		return
	}
	writes := []Write{d.write(keyReceipt, j.id, o.told), d.keep(j.id, o.tries)}
	if j.letter {
		writes = append(writes, Write{Key: []string{keyDead, d.Name, j.id}})
	}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := d.Store.Commit(ctx, writes...)
		if err == nil {
			break
		}
		d.Log.Error("told, receipt not stored", "notifier", d.Name, "incident", j.id, "version", j.want.Version, "err", err)
		if !sleep(ctx, wait) {
			break
		}
	}
	if o.told.Attempts > 1 {
		d.Log.Info("told in the end", "notifier", d.Name, "incident", j.id, "version", j.want.Version, "attempts", o.told.Attempts)
	}
	o.marked, o.unkept = false, false
	o.told.Attempts = 0 // of the next version
}

// reached keeps the ids of what an attempt reached before its error.
func (d *Desk) reached(ctx context.Context, ids map[string]string, o *outcome) {
	o.told.IDs = ids
	half := o.told
	half.Pending = true
	if err := d.Store.Commit(ctx, d.write(keyReceipt, half.Incident, half), d.keep(half.Incident, o.tries)); err != nil {
		d.Log.Error("ids of an attempt not stored", "notifier", d.Name, "incident", half.Incident, "err", err)
		return
	}
	o.unkept = false
}

// giveUp stores o.err as the reason why the version of i is no longer tried.
func (d *Desk) giveUp(ctx context.Context, i alerting.Incident, o *outcome) {
	o.dead = &Dead{V: ReceiptVersion, Incident: i.ID, Version: i.Version, Reason: o.err.Error(), At: time.Now().UTC()}
	if err := d.Store.Commit(ctx, d.write(keyDead, i.ID, *o.dead), d.keep(i.ID, o.tries)); err != nil {
		d.Log.Error("dead letter not stored", "notifier", d.Name, "incident", i.ID, "err", err)
		return
	}
	o.unkept = false
}

func (d *Desk) write(kind, incident string, v any) Write {
	return Write{Key: []string{kind, d.Name, incident}, Value: encode(v)}
}

// message gathers what a message about i can show.
func (d *Desk) message(ctx context.Context, i alerting.Incident) Message {
	m := Message{Incident: i}
	if d.Link != nil {
		m.Link = d.Link(i)
	}
	if d.Evidence != nil {
		m.Evidence = d.evidence(ctx, i)
	}
	return m
}

// evidence looks for the newest evidence of a failure that belongs to i. It
// gives up soon: a message without evidence is better than a late one.
func (d *Desk) evidence(ctx context.Context, i alerting.Incident) *probe.Evidence {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, check := range suspects(i) {
		ev, err := d.Evidence(ctx, check)
		if err != nil {
			d.Log.Warn("evidence not read", "check", check, "err", err)
			continue
		}
		if ev == nil || ev.Class.Status() == probe.Up || !ev.Slot.IsZero() && ev.Slot.Before(i.Since) {
			continue
		}
		return ev
	}
	return nil
}

// suspects lists at most three checks whose evidence may show what is wrong:
// the first ones of the findings that hold, newest first, then of the others.
func suspects(i alerting.Incident) []string {
	findings := slices.Clone(i.Findings)
	slices.SortStableFunc(findings, func(a, b alerting.Finding) int {
		if a.Holds() != b.Holds() {
			if a.Holds() {
				return -1
			}
			return 1
		}
		return b.LastBad.Compare(a.LastBad)
	})
	var checks []string
	for _, f := range findings {
		for _, c := range f.Checks {
			if len(checks) < 3 && !slices.Contains(checks, c) {
				checks = append(checks, c)
			}
		}
	}
	return checks
}

// sleep waits for d and tells whether ctx lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
