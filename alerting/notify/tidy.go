package notify

import (
	"context"
	"slices"
	"time"

	"github.com/tripline/tripline/alerting"
)

// keepAtMost is how many resolved incidents are kept, apart from those younger
// than keepAtLeast: their end may not have been told everywhere yet.
const (
	keepAtMost  = 1000
	keepAtLeast = 2 * defaultExpire
)

// tidy deletes resolved incidents that are too old or too many, and everything
// that concerns an incident that is no longer kept. A failure is logged; the
// next tidying finds the rest.
func (e *Evaluator) tidy(ctx context.Context) {
	e.tidied = e.at
	old := outdated(e.Incidents(), e.at, e.keep)
	var writes []Write
	for id := range old {
		writes = append(writes, Write{Key: []string{keyIncident, id}})
	}
	for _, kind := range []string{keyOutbox, keyReceipt, keyDead, keyAttempt} {
		records, err := e.store.List(ctx, kind)
		if err != nil {
			e.logger.Error("old incidents not deleted", "err", err)
			return
		}
		for _, r := range records {
			id := r.Key[len(r.Key)-1]
			if kind == keyAttempt {
				id = r.Key[1]
			}
			e.mu.Lock()
			_, kept := e.incidents[id]
			e.mu.Unlock()
			if !kept || old[id] {
				writes = append(writes, Write{Key: r.Key})
			}
		}
	}
	for some := range slices.Chunk(writes, maxWrites) {
		if err := e.store.Commit(ctx, some...); err != nil {
			e.logger.Error("old incidents not deleted", "err", err)
			return
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range old {
		delete(e.incidents, id)
		delete(e.routes, id)
		delete(e.because, id)
	}
}

// defaultKeep is how long resolved incidents are kept.
const defaultKeep = 30 * 24 * time.Hour

// Outdated selects the incidents that an Evaluator with default settings has
// deleted at the time now.
func Outdated(incidents []alerting.Incident, now time.Time) map[string]bool {
	return outdated(incidents, now, defaultKeep)
}

// outdated selects the incidents that need not be kept at the time now.
func outdated(incidents []alerting.Incident, now time.Time, keep time.Duration) map[string]bool {
	resolved := slices.DeleteFunc(slices.Clone(incidents), alerting.Incident.Open)
	slices.SortFunc(resolved, func(a, b alerting.Incident) int { return b.Ended.Compare(a.Ended) }) // newest first
	old := map[string]bool{}
	for n, i := range resolved {
		age := now.Sub(i.Ended)
		if age > max(keep, keepAtLeast) || n >= keepAtMost && age > keepAtLeast {
			old[i.ID] = true
		}
	}
	return old
}
