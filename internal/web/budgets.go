package web

import (
	"net/http"
	"slices"

	"github.com/tripline/tripline/alerting"
)

// shownBudgets is how many error budgets the page shows.
const shownBudgets = 20

func (h *Server) budgets() []alerting.Budget {
	if h.o.Budgets == nil {
		return nil
	}
	return h.o.Budgets()
}

// apiBudgets answers with all error budgets.
func (h *Server) apiBudgets(w http.ResponseWriter, _ *http.Request) {
	list := h.budgets()
	if list == nil {
		list = []alerting.Budget{}
	}
	h.json(w, http.StatusOK, struct {
		Budgets []alerting.Budget `json:"budgets"`
	}{list})
}

// worstBudgets are those of which the least is left.
func worstBudgets(list []alerting.Budget) []alerting.Budget {
	slices.SortStableFunc(list, func(a, b alerting.Budget) int {
		switch {
		case a.Remaining < b.Remaining:
			return -1
		case a.Remaining > b.Remaining:
			return 1
		}
		return 0
	})
	return list[:min(len(list), shownBudgets)]
}
