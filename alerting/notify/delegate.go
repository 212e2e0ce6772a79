package notify

import (
	"context"
	"slices"

	"github.com/tripline/tripline/alerting"
)

// maxBecause is how long the reason of a delegation may be, in bytes.
const maxBecause = 2 << 10

// Delegate makes a notifier tell an incident, from its newest version to its
// end, whatever its route. The reason is kept and is part of what it tells. It
// does nothing if the notifier is to tell the incident already, or if that is
// no longer kept. It waits until what was committed has been stepped again.
func (e *Evaluator) Delegate(ctx context.Context, incident, notifier, because string) error {
	return e.between(ctx, func(ctx context.Context) error {
		e.mu.Lock()
		i, kept := e.incidents[incident]
		e.mu.Unlock()
		if !kept || slices.Contains(e.routes[incident], notifier) {
			return nil
		}
		e.tells(incident, notifier, cut(clean(because, false), maxBecause/6))
		return e.commitHere(ctx, []alerting.Change{{Incident: i}})
	})
}

// tells notes that a notifier has an outbox entry for an incident, or is about to.
func (e *Evaluator) tells(incident, notifier, because string) {
	names := append(slices.Clone(e.routes[incident]), notifier)
	slices.Sort(names)
	e.routes[incident] = slices.Compact(names)
	if because == "" {
		return
	}
	if e.because[incident] == nil {
		e.because[incident] = map[string]string{}
	}
	e.because[incident][notifier] = because
}
