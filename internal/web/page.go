package web

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

//go:embed page.html check.html incident.html parts.html style.css page.js
var files embed.FS

const (
	styleCSS = "style.css"
	pageJS   = "page.js"
	// foldAbove is how many checks the page shows one by one; of more, those
	// that are up are only counted, unless ?all is asked for.
	foldAbove = 200
	// recentIncidents is how many ended incidents the page shows.
	recentIncidents = 10
)

type templates struct{ page, check, incident *template.Template }

func parseTemplates() templates {
	parse := func(name string) *template.Template {
		return template.Must(template.New(name).ParseFS(files, name, "parts.html"))
	}
	return templates{page: parse("page.html"), check: parse("check.html"), incident: parse("incident.html")}
}

// frame is what every page has around its content.
type frame struct {
	Title       string
	Root        string // where links begin
	Now         string
	Version     string
	Environment string
}

// Links are relative, so that the pages work behind a proxy that puts a path
// before theirs.
const (
	onTop = "./"  // of the page of all checks
	below = "../" // of the others
)

func (h *Server) frame(title, root string, now time.Time) frame {
	return frame{Title: title, Root: root, Now: clock(now, time.Time{}), Version: h.o.Version, Environment: h.o.Environment}
}

// pageData is what page.html shows.
type pageData struct {
	frame
	Mood      string // class of the headline: up, degraded, down, unknown
	Headline  string
	Counts    counts
	Problems  []string
	Warnings  []string
	Open      []incidentView
	Recent    []incidentView
	Groups    []groupView
	Folded    bool
	Budgets   []alerting.Budget
	Notifiers []notifierView
	Facts     []Fact
}

type groupView struct {
	Name   string
	Counts counts
	Rows   []rowView
	Hidden int // checks that are up and not in Rows
}

// rowView is a row in the words of the page.
type rowView struct {
	row
	ID, Link  string
	Since     string
	LastRun   string
	Ago       string
	LatencyIs string
	From      string // the location, if there are several
	Missed    string // slots without a run since the last result
	Bars      []bar
	Veil      string // over the bars that are in maintenance, as an SVG path
	Words     string
}

type incidentView struct {
	alerting.Incident
	Since, Ended, For string
	Link              string
	Findings          []findingView
}

type findingView struct {
	alerting.Finding
	Links   []link
	Cleared string
	Guide   string // the runbook, if it is a web address
}

type link struct{ Text, To string }

type notifierView struct {
	Notifier
	Good bool
	Told string
}

// page shows everything at a glance.
func (h *Server) page(w http.ResponseWriter, r *http.Request) {
	defer h.render(r)()
	now := time.Now()
	var p pageData
	windows := h.o.windows()
	h.o.State.view(h.o.checks(), now, func(rows []row, incidents []alerting.Incident) {
		p = newPage(rows, incidents, windows, r.URL.Query().Has("all"), now)
	})
	p.Problems, p.Warnings, p.Budgets = h.problems(), h.warnings(), worstBudgets(h.budgets())
	if h.o.Notifiers != nil {
		for _, n := range h.o.Notifiers() {
			p.Notifiers = append(p.Notifiers, notifierView{n, n.State == "ok", when(n.Told, now)})
		}
	}
	if h.o.Facts != nil {
		p.Facts = h.o.Facts()
	}
	p.headline()
	p.frame = h.frame(p.Headline, onTop, now)
	h.html(w, http.StatusOK, h.templates.page, p)
}

// newPage puts the worst groups and checks first, and keeps the order of the
// configuration otherwise.
func newPage(rows []row, incidents []alerting.Incident, windows []alerting.Window, all bool, now time.Time) pageData {
	var p pageData
	index := map[string]int{}
	fold := len(rows) > foldAbove && !all
	for _, r := range rows {
		i, ok := index[r.Group]
		if !ok {
			i = len(p.Groups)
			index[r.Group] = i
			p.Groups = append(p.Groups, groupView{Name: r.Group})
		}
		g := &p.Groups[i]
		g.Counts.add(r.Status)
		p.Counts.add(r.Status)
		if fold && r.Status == probe.Up {
			g.Hidden++
			p.Folded = true
			continue
		}
		g.Rows = append(g.Rows, newRowView(r, windows, onTop, now))
	}
	for _, g := range p.Groups {
		slices.SortStableFunc(g.Rows, func(a, b rowView) int { return cmp.Compare(urgency(a.Status), urgency(b.Status)) })
	}
	slices.SortStableFunc(p.Groups, func(a, b groupView) int { return cmp.Compare(a.Counts.urgency(), b.Counts.urgency()) })
	for _, i := range incidents {
		switch {
		case i.Open():
			p.Open = append(p.Open, newIncidentView(i, onTop, now))
		case len(p.Recent) < recentIncidents:
			p.Recent = append(p.Recent, newIncidentView(i, onTop, now))
		}
	}
	return p
}

// headline says the most important thing in one line.
func (p *pageData) headline() {
	n := len(p.Open)
	switch {
	case n == 1:
		p.Mood, p.Headline = "down", "1 incident open: "+p.Open[0].Group
	case n > 1:
		p.Mood, p.Headline = "down", fmt.Sprintf("%d incidents open", n)
	case p.Counts.Down > 0:
		p.Mood, p.Headline = "down", p.Counts.String()
	case p.Counts.Degraded > 0:
		p.Mood, p.Headline = "degraded", p.Counts.String()
	case p.Counts.Unknown > 0 || p.Counts.Total == 0 || len(p.Problems) > 0:
		p.Mood, p.Headline = "unknown", p.Counts.String()
	default:
		p.Mood, p.Headline = "up", p.Counts.String()
	}
	if len(p.Problems) > 0 {
		p.Headline += "; the monitor itself has a problem"
	}
	p.Headline = strings.ToUpper(p.Headline[:1]) + p.Headline[1:]
}

func newRowView(r row, windows []alerting.Window, root string, now time.Time) rowView {
	v := rowView{
		row: r, ID: "check-" + r.Name, Link: root + checkLink(r.Name), LatencyIs: latency(r.LatencyMS),
		LastRun: clock(r.LastRun, now), Words: "no runs yet",
	}
	if r.several {
		v.From = r.Location
	}
	if !r.LastRun.IsZero() {
		v.Ago = brief(now.Sub(r.LastRun)) + " ago"
	}
	if !r.Since.IsZero() {
		v.Since = fmt.Sprintf("since %s (%s)", clock(r.Since, now), brief(now.Sub(r.Since)))
		if r.AtLeast {
			v.Since = "for at least " + brief(now.Sub(r.Since))
		}
	}
	if t := r.track; t != nil {
		v.Bars, v.Veil, v.Words = t.picture(r.maintained(windows))
		if g := t.gap; g != nil && g.To.After(t.last.Slot) {
			v.Missed = "no run at " + clock(g.From, now)
			if g.To.After(g.From) {
				v.Missed = fmt.Sprintf("no run from %s to %s", clock(g.From, now), clock(g.To, now))
			}
			v.Missed += ": " + g.Reason
		}
	}
	return v
}

func newIncidentView(i alerting.Incident, root string, now time.Time) incidentView {
	v := incidentView{Incident: i, Link: root + incidentLink(i.ID), Since: clock(i.Since, now), Ended: clock(i.Ended, now), For: brief(now.Sub(i.Since))}
	if !i.Open() {
		v.For = brief(i.Outage())
	}
	for _, f := range i.Findings {
		fv := findingView{Finding: f, Cleared: clock(f.Cleared, now)}
		if u, err := url.Parse(f.Runbook); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
			fv.Guide = f.Runbook
		}
		for _, name := range f.Checks[:min(len(f.Checks), 5)] {
			fv.Links = append(fv.Links, link{name, root + checkLink(name)})
		}
		fv.More += len(f.Checks) - len(fv.Links)
		v.Findings = append(v.Findings, fv)
	}
	return v
}

func checkLink(name string) string { return "checks/" + url.PathEscape(name) }

// when says how long ago t was.
func when(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return clock(t, now) + " (" + brief(now.Sub(t)) + " ago)"
}

func (h *Server) html(w http.ResponseWriter, status int, t *template.Template, data any) {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		h.o.Log.Error("page not made", "page", t.Name(), "err", err)
		http.Error(w, "The page cannot be made; the log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // to a client who may be gone
}

// static answers an embedded file.
func (h *Server) static(contentType, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		b, err := files.ReadFile(name)
		if err != nil { // a name that is not embedded
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(b)
	}
}
