package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/internal/web"
)

// shownAttempts is how many attempts the page and the API show of an incident.
const shownAttempts = 50

// attempts lists the newest attempts to tell an incident, oldest first: those
// of the desks that run from memory, and those of notifiers that are no more.
func (d *desks) attempts(ctx context.Context, incident string) ([]web.Attempt, error) {
	all, err := notify.StoredAttempts(ctx, d.store, incident)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	all = slices.DeleteFunc(all, func(a notify.Attempt) bool { return d.running[a.Notifier] != nil })
	for _, r := range d.running {
		all = append(all, r.desk.Attempts(incident)...)
	}
	slices.SortStableFunc(all, func(a, b notify.Attempt) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Notifier, b.Notifier))
	})
	shown := make([]web.Attempt, 0, shownAttempts)
	for _, a := range all[max(0, len(all)-shownAttempts):] {
		shown = append(shown, web.Attempt{
			At: a.At, Notifier: a.Notifier, Version: a.Version, TookMS: float64(a.Took) / float64(time.Millisecond),
			Told: a.Err == "", Error: a.Err, GivenUp: a.GivenUp,
		})
	}
	return shown, nil
}
