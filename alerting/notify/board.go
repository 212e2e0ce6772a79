package notify

import (
	"cmp"
	"slices"

	"github.com/tripline/tripline/alerting"
)

// Position returns how far the Evaluator has come in the log.
func (e *Evaluator) Position() Position {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.position
}

// Ready is closed once the stored incidents are loaded and the rules agree with
// them: before that Incidents is not complete.
func (e *Evaluator) Ready() <-chan struct{} { return e.ready }

// Incidents returns all incidents that are kept, by their beginning.
func (e *Evaluator) Incidents() []alerting.Incident {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]alerting.Incident, 0, len(e.incidents))
	for _, i := range e.incidents {
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b alerting.Incident) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// Open returns the incidents that have not ended, by their beginning.
func (e *Evaluator) Open() []alerting.Incident {
	return slices.DeleteFunc(e.Incidents(), func(i alerting.Incident) bool { return !i.Open() })
}

// Subscribe returns a channel of every incident that changes from now on, and
// a function that ends it. A reader that falls more than 256 changes behind
// finds the channel closed: it subscribes again and reads Incidents.
func (e *Evaluator) Subscribe() (<-chan alerting.Incident, func()) {
	feed := make(chan alerting.Incident, 256)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.feeds[feed] = true
	return feed, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.feeds[feed] {
			delete(e.feeds, feed)
			close(feed)
		}
	}
}

// show makes stored incidents visible.
func (e *Evaluator) show(parts []part) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range parts {
		i := p.incident
		e.routes[i.ID] = p.names
		e.incidents[i.ID] = i
		for feed := range e.feeds {
			select {
			case feed <- i:
			default:
				delete(e.feeds, feed)
				close(feed)
			}
		}
	}
}
