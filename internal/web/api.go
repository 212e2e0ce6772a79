package web

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
)

func (o Options) checks() []checks.Check {
	if o.Checks == nil {
		return nil
	}
	return o.Checks()
}

func (o Options) windows() []alerting.Window {
	if o.Windows == nil {
		return nil
	}
	return o.Windows()
}

// health answers whether the monitor itself is well; what it sees of its
// targets is in the counts and changes nothing.
func (h *Server) health(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	answer := struct {
		Status      string `json:"status"` // "ok" or "failing"
		Version     string `json:"version"`
		Timestamp   string `json:"timestamp"`
		Environment string `json:"environment"`
		Uptime      int64  `json:"uptime_s"`
		Checks      counts `json:"checks"`
		Incidents   int    `json:"incidents_open"`
		Connections struct {
			Active int `json:"active"`
		} `json:"connections"`
		Problems []string `json:"problems"`
		Warnings []string `json:"warnings,omitempty"`
	}{
		Status: "ok", Version: h.o.Version, Timestamp: now.UTC().Format(time.RFC3339), Environment: h.o.Environment,
		Uptime: int64(now.Sub(h.o.Started).Seconds()), Problems: []string{},
	}
	answer.Connections.Active = h.live.active()
	h.o.State.view(h.o.checks(), now, func(rows []row, incidents []alerting.Incident) {
		for _, r := range rows {
			answer.Checks.add(r.Status)
		}
		for _, i := range incidents {
			if i.Open() {
				answer.Incidents++
			}
		}
	})
	answer.Warnings = h.warnings()
	status := http.StatusOK
	if problems := h.problems(); len(problems) > 0 {
		answer.Status, answer.Problems, status = "failing", problems, http.StatusServiceUnavailable
	}
	h.json(w, status, answer)
}

func (h *Server) problems() []string {
	if h.o.Problems == nil {
		return nil
	}
	return h.o.Problems()
}

func (h *Server) warnings() []string {
	if h.o.Warnings == nil {
		return nil
	}
	return h.o.Warnings()
}

// apiChecks answers all checks with their newest results.
func (h *Server) apiChecks(w http.ResponseWriter, r *http.Request) {
	defer h.render(r)()
	var answer struct {
		Checks []row `json:"checks"`
	}
	h.o.State.view(h.o.checks(), time.Now(), func(rows []row, _ []alerting.Incident) { answer.Checks = rows })
	h.json(w, http.StatusOK, answer)
}

// apiCheck answers one check, with its history and its newest result as the
// log has it.
func (h *Server) apiCheck(w http.ResponseWriter, r *http.Request) {
	type place struct {
		row
		Result *checks.Result `json:"result,omitempty"`
	}
	var answer struct {
		Places []place `json:"places"` // one for each location it is probed from
	}
	list, windows := named(h.o.checks(), r.PathValue("name")), h.o.windows()
	h.o.State.view(list, time.Now(), func(rows []row, _ []alerting.Incident) {
		for _, row := range rows {
			p := place{row: row}
			if row.track != nil {
				last := row.track.last
				p.History, p.Result = h.o.State.points(row.track, row.maintained(windows)), &last
			}
			answer.Places = append(answer.Places, p)
		}
	})
	if len(list) == 0 {
		noCheck(w, r)
		return
	}
	h.json(w, http.StatusOK, answer)
}

// apiIncidents answers the open incidents and the newest that have ended.
func (h *Server) apiIncidents(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Incidents []alerting.Incident `json:"incidents"`
	}{[]alerting.Incident{}}
	h.o.State.view(nil, time.Now(), func(_ []row, incidents []alerting.Incident) {
		answer.Incidents = append(answer.Incidents, incidents...)
	})
	h.json(w, http.StatusOK, answer)
}

func named(list []checks.Check, name string) []checks.Check {
	for _, c := range list {
		if c.Name == name {
			return []checks.Check{c}
		}
	}
	return nil
}

func (h *Server) json(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		h.o.Log.Error("answer not encoded", "err", err)
		http.Error(w, "The answer cannot be written as JSON; the log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // to a client who may be gone
}

// render waits until few enough answers are in memory; the caller calls what
// it returns when its own is written.
func (h *Server) render(r *http.Request) (done func()) {
	select {
	case h.renders <- struct{}{}:
		return func() { <-h.renders }
	case <-r.Context().Done():
		return func() {}
	}
}
