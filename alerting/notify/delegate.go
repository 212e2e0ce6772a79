package notify

import (
	"context"
	"fmt"
	"slices"
)

// maxBecause is how long the reason of a delegation may be, in bytes.
const maxBecause = 2 << 10

// Delegate makes a notifier tell an incident, from its newest version to its
// end, whatever its route, and returns whether it is to tell it. The reason is
// kept and is part of what it tells. It does nothing if the notifier is to tell
// the incident already. It hands over nothing that is no longer kept, nor what
// is quiet: that is to be asked for again. It waits until what was committed has
// been stepped again.
func (e *Evaluator) Delegate(ctx context.Context, incident, notifier, because string) (handed bool, err error) {
	answer := make(chan bool, 1)
	err = e.between(ctx, func(ctx context.Context) error {
		e.mu.Lock()
		i, kept := e.incidents[incident]
		e.mu.Unlock()
		already := slices.Contains(e.routes[incident], notifier)
		answer <- already || kept && i.Quiet == ""
		if already || !kept || i.Quiet != "" {
			return nil
		}
		e.tells(incident, notifier, cut(clean(because, false), maxBecause/6))
		// Not by way of a change: of a version that says nothing new there is none.
		if err := e.advance(ctx, e.writes(i, []string{notifier}), e.next, 0); err != nil {
			return fmt.Errorf("commit that %s is to tell %s: %w", notifier, incident, err)
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	return <-answer, nil
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
