package alerting

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/tripline/tripline/checks"
)

// CheckpointVersion is the version of the stored form of an engine's state.
const CheckpointVersion = 1

// snapshot is all that an engine knows, by names instead of places.
type snapshot struct {
	V         int              `json:"v"`
	Seq       uint64           `json:"seq"`
	Now       int64            `json:"now,omitempty"`
	Tick      int64            `json:"tick,omitempty"`
	Opened    map[string]int64 `json:"opened,omitempty"`
	Incidents []Incident       `json:"incidents,omitempty"`
	Checks    []checkState     `json:"checks,omitempty"`
	Rules     []ruleState      `json:"rules,omitempty"`
	Blind     *blindState      `json:"blind,omitempty"`

	Clock    int64              `json:"clock,omitempty"`
	Silences []Silence          `json:"silences,omitempty"`
	Openings map[string][]int64 `json:"openings,omitempty"`
	Recent   []int64            `json:"recent,omitempty"`
	Gusty    int64              `json:"gusty,omitempty"`
}

type checkState struct {
	Name     string  `json:"name"`
	Location string  `json:"loc,omitempty"`
	Seen     []int64 `json:"seen"`
	Last     int64   `json:"last"`
	Network  int64   `json:"network,omitempty"`
	Down     int64   `json:"down,omitempty"`
	Verdict  int64   `json:"verdict,omitempty"`
	Back     int64   `json:"back,omitempty"`
	Trouble  bool    `json:"trouble,omitempty"`
}

type ruleState struct {
	Name    string           `json:"name"`
	Of      string           `json:"of"` // what the state is about: with another it means nothing
	Pairs   []pairState      `json:"pairs,omitempty"`
	Budgets []budgetState    `json:"budgets,omitempty"`
	Figured map[string]int64 `json:"figured,omitempty"` // by key
}

type pairState struct {
	Check  string       `json:"c"`
	Streak int16        `json:"s,omitempty"`
	Floor  int64        `json:"f,omitempty"`
	Window *windowState `json:"w,omitempty"`
	Series *series      `json:"v,omitempty"`
	Run    *run         `json:"r,omitempty"`
}

type budgetState struct {
	Set   string         `json:"set,omitempty"`
	Pair  int8           `json:"pair"`
	Floor int64          `json:"floor,omitempty"`
	Since int64          `json:"since,omitempty"`
	Rings []*windowState `json:"rings,omitempty"`
}

type windowState struct {
	Width int64       `json:"w"`
	Last  int64       `json:"l"`
	Phase uint32      `json:"p,omitempty"`
	Cells [][5]uint32 `json:"c"` // from the oldest to the last: how many cells of bad, good, unknown, latency
}

type blindState struct {
	Hosts   []host `json:"hosts"`
	Row     int    `json:"row,omitempty"`
	Active  bool   `json:"active,omitempty"`
	Figured int64  `json:"figured,omitempty"`
}

// Checkpoint writes the state of the engine to w, for Restore, in small pieces:
// of many checks it is several megabytes. The same state makes the same bytes.
func (e *Engine) Checkpoint(w io.Writer) error {
	if err := e.write(&checkpointWriter{w: w}); err != nil {
		return fmt.Errorf("encode checkpoint at %d: %w", e.seq, err)
	}
	return nil
}

// write writes a snapshot as encoding/json would, without ever having it all.
func (e *Engine) write(w *checkpointWriter) error {
	w.open(e.head())
	w.list("checks", len(e.checks), func(k int) (any, bool) { return e.checkState(k), true })
	w.raw(`,"rules":[`)
	for k := range e.watches {
		if k > 0 {
			w.raw(",")
		}
		rule := &e.watches[k]
		w.open(rule.state())
		w.list("pairs", len(rule.pairs), func(p int) (any, bool) { return e.pairState(rule, p) })
		if n := rule.budgets(); n > 0 {
			w.list("budgets", n, func(n int) (any, bool) { return e.budgetState(rule, n) })
		}
		w.raw("}")
	}
	w.raw("]}")
	return w.err
}

// checkpointWriter writes JSON objects of which only one list is large. After
// an error it does nothing more.
type checkpointWriter struct {
	w   io.Writer
	err error
}

// open writes the object v without its end. It must have at least one field.
func (w *checkpointWriter) open(v any) {
	b := w.encode(v)
	w.write(b[:max(0, len(b)-1)])
}

// list writes a field with those of n elements that at returns.
func (w *checkpointWriter) list(name string, n int, at func(int) (any, bool)) {
	w.raw(`,"` + name + `":[`)
	first := true
	for k := range n {
		v, some := at(k)
		if !some {
			continue
		}
		if !first {
			w.raw(",")
		}
		first = false
		w.write(w.encode(v))
	}
	w.raw("]")
}

func (w *checkpointWriter) encode(v any) []byte {
	b, err := json.Marshal(v)
	w.err = cmp.Or(w.err, err)
	return b
}

func (w *checkpointWriter) raw(s string) { w.write([]byte(s)) }

func (w *checkpointWriter) write(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
}

// Restore gives a new engine the state of a Checkpoint. Rules and checks may
// have changed in between: what still means the same is kept. Findings of
// those that are gone stay until Adopt ends them. The error is a
// *checks.NewerError if the checkpoint is of a version that this program does
// not know. After an error the engine is as it was.
func (e *Engine) Restore(checkpoint []byte) error {
	var v struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(checkpoint, &v); err != nil {
		return fmt.Errorf("decode checkpoint: %w", err)
	}
	if v.V > CheckpointVersion {
		return fmt.Errorf("checkpoint: %w", &checks.NewerError{Seen: v.V, Known: CheckpointVersion})
	}
	var s snapshot
	if err := json.Unmarshal(checkpoint, &s); err != nil {
		return fmt.Errorf("decode checkpoint: %w", err)
	}
	e.load(s)
	e.restored = s.Seq
	return nil
}

// DecodeIncident reads a stored incident. The error is a *checks.NewerError if
// it is of a version that this program does not know.
func DecodeIncident(b []byte) (Incident, error) {
	var i Incident
	if err := json.Unmarshal(b, &i); err != nil {
		return Incident{}, fmt.Errorf("decode incident: %w", err)
	}
	if i.V > IncidentVersion {
		return Incident{}, fmt.Errorf("incident %s: %w", i.ID, &checks.NewerError{Seen: i.V, Known: IncidentVersion})
	}
	return i, nil
}

// of says what the state of a watch is about.
func (w *watch) of() string {
	over := time.Duration(w.over) * time.Millisecond
	switch w.kind {
	case kindRate:
		return fmt.Sprintf("rate of %s over %s, degraded is bad: %t", w.Rate.Of, over, w.Rate.DegradedIsBad)
	case kindLatency:
		return fmt.Sprintf("latency above %s over %s, percentile: %t", w.Latency.Above, over, w.Latency.percentile() > 0)
	case kindUnknown:
		return fmt.Sprintf("unknown over %s", over)
	case kindSLO:
		return fmt.Sprintf("slo over %s, events: %t, degraded is bad: %t", w.SLO.window(), w.SLO.events(), w.SLO.DegradedIsBad)
	case kindMeasure:
		return fmt.Sprintf("%s of %s over %s", w.Measure.stat(), w.Measure.Of, over)
	case kindDown, kindAbsent:
	}
	return w.kind.String()
}

// snapshot returns all that the engine knows.
func (e *Engine) snapshot() snapshot {
	s := e.head()
	for k := range e.checks {
		s.Checks = append(s.Checks, e.checkState(k))
	}
	for k := range e.watches {
		w := &e.watches[k]
		r := w.state()
		for p := range w.pairs {
			if st, some := e.pairState(w, p); some {
				r.Pairs = append(r.Pairs, st)
			}
		}
		for n := range w.budgets() {
			if st, some := e.budgetState(w, n); some {
				r.Budgets = append(r.Budgets, st)
			}
		}
		s.Rules = append(s.Rules, r)
	}
	return s
}

// head returns a snapshot without checks and rules, which are much.
func (e *Engine) head() snapshot {
	s := snapshot{
		V: CheckpointVersion, Seq: e.seq, Now: e.now, Tick: e.tick, Opened: e.opened, Incidents: e.Open(),
		Clock: e.clock, Openings: e.openings, Recent: slices.Clone(e.recent), Gusty: e.gusty,
	}
	for _, q := range e.silences {
		q := q.Silence
		q.Goods = maps.Clone(q.Goods)
		s.Silences = append(s.Silences, q)
	}
	if b := e.blind; b != nil {
		st := &blindState{Active: b.active, Row: b.row, Figured: b.figured}
		for _, h := range b.hosts {
			if h.Failing || h.Counted || h.Good > 0 {
				st.Hosts = append(st.Hosts, h)
			}
		}
		s.Blind = st
	}
	return s
}

func (e *Engine) checkState(k int) checkState {
	c := &e.checks[k]
	s := checkState{Name: c.name, Location: c.location, Seen: slices.Clone(c.seen[:]), Last: c.last, Network: c.network}
	if p := e.kin[int32(k)]; p != nil {
		s.Down, s.Verdict, s.Back, s.Trouble = p.down, p.verdict, p.back, p.trouble
	}
	return s
}

// state returns what a rule knows, without its pairs.
func (w *watch) state() ruleState {
	r := ruleState{Name: w.Name, Of: w.of()}
	for _, t := range w.topics {
		if t.tripped > 0 && t.figured != 0 {
			if r.Figured == nil {
				r.Figured = map[string]int64{}
			}
			r.Figured[t.key] = t.figured
		}
	}
	return r
}

// pairState is false if there is nothing to keep of a pair, as budgetState of
// a set.
func (e *Engine) pairState(w *watch, n int) (pairState, bool) {
	p := &w.pairs[n]
	s := pairState{Check: e.checks[p.check].name, Streak: p.streak, Floor: p.floor, Run: p.run}
	if p.win.cells != nil {
		s.Window = p.win.state(w.shape(p))
	}
	if w.kind == kindMeasure && len(w.series[n].Points) > 0 {
		s.Series = &w.series[n]
	}
	return s, s.Series != nil || s.Streak != 0 || s.Floor != 0 || s.Window != nil || s.Run != nil
}

func (w *window) state(g *geometry) *windowState {
	s := &windowState{Width: g.width, Last: w.last, Phase: w.phase, Cells: [][5]uint32{}}
	w.each(g, func(_ int64, x cell, latency uint32) {
		c := [5]uint32{1, uint32(x.bad), uint32(x.good), uint32(x.unknown), latency}
		if n := len(s.Cells); n > 0 && [4]uint32(s.Cells[n-1][1:]) == [4]uint32(c[1:]) {
			s.Cells[n-1][0]++
			return
		}
		s.Cells = append(s.Cells, c)
	})
	return s
}

// restore fills an empty window. Of another division it takes what fits.
func (w *window) restore(g *geometry, s *windowState) {
	n := int64(0)
	for _, c := range s.Cells {
		n += int64(c[0])
	}
	if s.Width < 1 || n > max(mostRanked, int64(g.n)) || s.Last < 0 || s.Last > math.MaxInt64/2 {
		return // not what state writes
	}
	same := s.Width == g.width && n <= int64(g.n)
	if same {
		w.cells = g.cells()
		w.first, w.last, w.phase = s.Last-n+1, s.Last, s.Phase
	}
	k := s.Last - n
	for _, c := range s.Cells {
		x := cell{clamp(c[1]), clamp(c[2]), clamp(c[3])}
		for range c[0] {
			k++
			switch {
			case x == cell{}:
			case same:
				w.put(w.index(k), x, c[4])
			default:
				w.add(g, k*s.Width+int64(s.Phase), x, c[4], false)
			}
		}
	}
}

func clamp(n uint32) uint16 { return uint16(min(n, math.MaxUint16)) }
