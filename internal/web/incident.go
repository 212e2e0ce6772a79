package web

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/tripline/tripline/alerting"
)

// Attempt is one attempt to tell people of an incident.
type Attempt struct {
	At       time.Time `json:"at"`
	Notifier string    `json:"notifier"`
	Version  int       `json:"version"` // of the incident
	TookMS   float64   `json:"took_ms"`
	Told     bool      `json:"told"`
	Error    string    `json:"error,omitempty"`    // why it was not told
	GivenUp  bool      `json:"given_up,omitempty"` // this version is not tried again
}

// incidentData is what incident.html shows.
type incidentData struct {
	frame
	Incident incidentView
	Attempts []attemptView // newest first
	Err      string        // why there are none to show
}

type attemptView struct {
	Attempt
	At, Took, Result string
}

// incident shows one incident with everything that was done to tell it.
func (h *Server) incident(w http.ResponseWriter, r *http.Request) {
	defer h.render(r)()
	i, ok := h.find(w, r)
	if !ok {
		return
	}
	now := time.Now()
	d := incidentData{frame: h.frame(i.Title(), below, now), Incident: newIncidentView(i, below, now)}
	attempts, err := h.attempts(r, i.ID)
	if err != nil {
		d.Err = err.Error()
	}
	for k := range attempts {
		a := attempts[len(attempts)-1-k]
		v := attemptView{Attempt: a, At: clock(a.At, now), Took: latency(max(a.TookMS, 0.001)), Result: "told"}
		switch {
		case a.GivenUp:
			v.Result = "given up"
		case !a.Told:
			v.Result = "not told"
		}
		d.Attempts = append(d.Attempts, v)
	}
	h.html(w, http.StatusOK, h.templates.incident, d)
}

// apiIncident answers one incident and the newest attempts to tell it, oldest first.
func (h *Server) apiIncident(w http.ResponseWriter, r *http.Request) {
	i, ok := h.find(w, r)
	if !ok {
		return
	}
	answer := struct {
		alerting.Incident
		Attempts []Attempt `json:"attempts"`
	}{i, []Attempt{}}
	attempts, err := h.attempts(r, i.ID)
	if err != nil {
		http.Error(w, "The attempts cannot be read: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	answer.Attempts = append(answer.Attempts, attempts...)
	h.json(w, http.StatusOK, answer)
}

// find returns the incident that r asks for, or answers that there is none.
func (h *Server) find(w http.ResponseWriter, r *http.Request) (found alerting.Incident, ok bool) {
	id := r.PathValue("id")
	h.o.State.view(nil, time.Now(), func(_ []row, incidents []alerting.Incident) {
		for _, i := range incidents {
			if i.ID == id {
				found, ok = i, true
			}
		}
	})
	if !ok {
		http.Error(w, fmt.Sprintf("No incident has the id %q.", id), http.StatusNotFound)
	}
	return found, ok
}

func (h *Server) attempts(r *http.Request, id string) ([]Attempt, error) {
	if h.o.Attempts == nil {
		return nil, nil
	}
	list, err := h.o.Attempts(r.Context(), id)
	if err != nil {
		h.o.Log.Warn("attempts not read", "incident", id, "err", err)
	}
	return list, err
}

func incidentLink(id string) string { return "incidents/" + url.PathEscape(id) }
