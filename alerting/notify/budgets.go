package notify

import (
	"slices"
	"time"

	"github.com/tripline/tripline/alerting"
)

// Budgets says where the error budgets stood at the newest full minute.
func (e *Evaluator) Budgets() []alerting.Budget {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.budgets)
}

// lookAtBudgets asks the engine where they stand, once a minute of the log.
func (e *Evaluator) lookAtBudgets() {
	if minute := e.at.Truncate(time.Minute); !minute.Equal(e.budgeted) {
		e.budgeted = minute
		e.setBudgets()
	}
}

func (e *Evaluator) setBudgets() {
	list := e.engine.Budgets()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.budgets = list
}

// Begun returns the maintenance windows that people have begun, those that have
// ended of late included.
func (e *Evaluator) Begun() []alerting.Window {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.begun)
}

func (e *Evaluator) setBegun() {
	list := e.engine.Begun()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.begun = list
}
