package web

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// checkData is what check.html shows.
type checkData struct {
	frame
	Places   []placeView
	Evidence *evidenceView
}

type placeView struct {
	rowView
	Phases   []Fact
	Measures []Fact
	Facts    []Fact
	Points   []pointView // newest first
}

type pointView struct {
	At, Status, Class, Latency, Note string

	Maintenance bool
}

// check shows one check with everything known of it.
func (h *Server) check(w http.ResponseWriter, r *http.Request) {
	defer h.render(r)()
	now := time.Now()
	list := named(h.o.checks(), r.PathValue("name"))
	if len(list) == 0 {
		noCheck(w, r)
		return
	}
	var d checkData
	windows := h.o.windows()
	h.o.State.view(list, now, func(rows []row, _ []alerting.Incident) {
		for _, row := range rows {
			d.Places = append(d.Places, h.o.State.newPlaceView(row, windows, now))
		}
	})
	d.Evidence = h.evidence(r, list[0], now)
	d.frame = h.frame(list[0].Name+": "+string(d.Places[0].Status), below, now)
	h.html(w, http.StatusOK, h.templates.check, d)
}

func noCheck(w http.ResponseWriter, r *http.Request) {
	http.Error(w, fmt.Sprintf("No check is named %q.", r.PathValue("name")), http.StatusNotFound)
}

func (s *State) newPlaceView(r row, windows []alerting.Window, now time.Time) placeView {
	v := placeView{rowView: newRowView(r, windows, below, now)}
	if r.track == nil {
		return v
	}
	l := r.track.last
	v.Phases, v.Measures, v.Facts = phases(l.Phases), measures(l.Measures), sorted(l.Facts)
	ps := s.points(r.track, r.maintained(windows))
	for i := range ps {
		p := ps[len(ps)-1-i]
		pv := pointView{At: clock(p.Slot, now), Status: p.Status, Class: string(p.Class), Latency: latency(p.LatencyMS), Maintenance: p.Maintenance}
		if p.Slots > 0 {
			pv.Note = fmt.Sprintf("%d runs missed", p.Slots)
		}
		v.Points = append(v.Points, pv)
	}
	return v
}

func (h *Server) evidence(r *http.Request, c checks.Check, now time.Time) *evidenceView {
	if h.o.Evidence == nil {
		return nil
	}
	e, err := h.o.Evidence(r.Context(), c.Name)
	if err != nil {
		h.o.Log.Warn("evidence not read", "check", c.Name, "err", err)
		return &evidenceView{Err: err.Error()}
	}
	return newEvidenceView(e, now)
}

// evidenceView is what was seen on the wire, in the words of the page.
type evidenceView struct {
	*probe.Evidence
	At     string
	TLS    []Fact
	Phases []Fact
	Facts  []Fact
	Frames []frameView
	Err    string // why there is none to show
}

type frameView struct {
	At, What, Header, Text, Err string
}

func newEvidenceView(e *probe.Evidence, now time.Time) *evidenceView {
	if e == nil {
		return nil
	}
	v := &evidenceView{Evidence: e, At: when(e.Slot, now), Phases: phases(e.Phases), Facts: sorted(e.Facts)}
	if t := e.TLS; t != nil {
		for _, f := range []Fact{
			{Name: "version", Value: t.Version},
			{Name: "cipher", Value: t.Cipher},
			{Name: "ALPN", Value: t.ALPN},
			{Name: "subject", Value: t.Subject},
			{Name: "issuer", Value: t.Issuer},
			{Name: "names", Value: strings.Join(t.Names, ", ")},
			{Name: "valid from", Value: date(t.NotBefore)},
			{Name: "valid to", Value: date(t.NotAfter)},
			{Name: "error", Value: t.Err, Bad: true},
		} {
			if f.Value != "" {
				v.TLS = append(v.TLS, f)
			}
		}
	}
	for _, f := range e.Frames {
		what := opcode(f.Op) + ", " + strconv.FormatUint(f.Len, 10) + " bytes"
		if f.Code != 0 {
			what += ", code " + strconv.Itoa(f.Code)
		}
		if !f.Fin {
			what += ", not final"
		}
		v.Frames = append(v.Frames, frameView{brief(f.At), what, f.Header, f.Text, f.Err})
	}
	return v
}

// opcode names the opcodes of RFC 6455 §5.2.
func opcode(op byte) string {
	switch op {
	case 0:
		return "continuation"
	case 1:
		return "text"
	case 2:
		return "binary"
	case 8:
		return "close"
	case 9:
		return "ping"
	case 10:
		return "pong"
	default:
		return fmt.Sprintf("reserved opcode %d", op)
	}
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// phases lists the steps that were reached, in their order.
func phases(p probe.Phases) []Fact {
	var fs []Fact
	for _, s := range []struct {
		name string
		d    time.Duration
	}{
		{"dns", p.DNS},
		{"connect", p.Connect},
		{"tls", p.TLS},
		{"first byte", p.FirstByte},
		{"body", p.Body},
		{"upgrade", p.Upgrade},
		{"message", p.Message},
		{"ping", p.Ping},
		{"close", p.Close},
	} {
		if s.d != 0 {
			fs = append(fs, Fact{Name: s.name, Value: latency(max(ms(s.d), 0.001))})
		}
	}
	return fs
}

func measures(m map[string]float64) []Fact {
	var fs []Fact
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fs = append(fs, Fact{Name: name, Value: strconv.FormatFloat(m[name], 'g', 6, 64)})
	}
	return fs
}

func sorted(m map[string]string) []Fact {
	var fs []Fact
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fs = append(fs, Fact{Name: name, Value: m[name]})
	}
	return fs
}
