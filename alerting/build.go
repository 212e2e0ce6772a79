package alerting

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// NewEngine returns an engine that has seen nothing. It keeps the subjects,
// which must not change any more. The rules have been
// validated; of what is wrong with them nevertheless, nothing comes.
func NewEngine(rules []Rule, subjects []Subject) *Engine {
	e := &Engine{
		index:     make(map[string]int32, len(subjects)),
		incidents: map[string]*Incident{},
		opened:    map[string]int64{},
		openings:  map[string][]int64{},
	}
	kept := make([]Subject, 0, len(subjects))
	e.subjects = make([]*Subject, 0, len(subjects))
	e.checks = make([]check, 0, len(subjects))
	sorted := make([]*Subject, len(subjects))
	for i := range subjects {
		sorted[i] = &subjects[i]
	}
	slices.SortStableFunc(sorted, func(a, b *Subject) int { return cmp.Compare(a.Name, b.Name) })
	for _, s := range sorted {
		if _, twice := e.index[s.Name]; twice {
			continue
		}
		e.index[s.Name] = int32(len(kept))
		kept = append(kept, *s)
		e.subjects = append(e.subjects, s)
		e.checks = append(e.checks, check{
			name: s.Name, location: s.Location, host: -1, websocket: s.WebSocket, canaries: s.Canaries,
			attempts: uint16(max(1, min(s.Attempts, 1000))), interval: millis(s.Interval, time.Minute),
		})
	}
	e.survey()
	for _, r := range rules {
		e.watch(r, kept)
	}
	e.refer()
	return e
}

// refer tells each check where the rules keep their state about it.
func (e *Engine) refer() {
	n := make([]int, len(e.checks))
	for _, w := range e.watches {
		for _, p := range w.pairs {
			n[p.check]++
		}
	}
	for i := range e.checks {
		e.checks[i].refs = make([]ref, 0, n[i])
	}
	for w := range e.watches {
		for p := range e.watches[w].pairs {
			c := &e.checks[e.watches[w].pairs[p].check]
			c.refs = append(c.refs, ref{int32(w), int32(p)})
		}
	}
}

// millis returns d in milliseconds, or otherwise if d is not positive.
func millis(d, otherwise time.Duration) int64 {
	if d < time.Millisecond {
		d = otherwise
	}
	return d.Milliseconds()
}

// watch adds a rule with the checks that it selects.
func (e *Engine) watch(r Rule, subjects []Subject) {
	w := watch{Rule: r, recover: int16(min(r.recoverAfter(), math.MaxInt16))}
	switch {
	case r.Rate != nil:
		w.kind, w.over = kindRate, millis(time.Duration(r.Rate.Over), time.Minute)
	case r.Latency != nil:
		w.kind, w.over = kindLatency, millis(time.Duration(r.Latency.Over), time.Minute)
	case r.Down != nil:
		w.kind = kindDown
	case r.Unknown != nil:
		w.kind, w.over = kindUnknown, millis(time.Duration(r.Unknown.Over), defaultUnknownOver)
	case r.SLO != nil:
		w.kind, w.over = kindSLO, anHour
	case r.Measure != nil:
		w.kind, w.over = kindMeasure, millis(time.Duration(r.Measure.Over), time.Minute)
	case r.Absent != nil:
		w.kind = kindAbsent
	default:
		return
	}
	type member struct {
		key, set, name string
		check          int32
	}
	var members []member
	for i, s := range subjects {
		if r.Select.Matches(s) {
			key, of := r.keys(s)
			members = append(members, member{key, of, s.Name, int32(i)})
		}
	}
	slices.SortFunc(members, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.set, b.set), cmp.Compare(a.name, b.name))
	})
	w.pairs = make([]pair, len(members))
	for i, m := range members {
		n := int32(len(w.topics))
		if n == 0 || w.topics[n-1].key != m.key {
			w.topics = append(w.topics, topic{key: m.key, lo: int32(len(w.sets)), hi: int32(len(w.sets))})
			n++
		}
		t := &w.topics[n-1]
		if t.lo == t.hi || members[i-1].set != m.set {
			w.sets = append(w.sets, set{topic: n - 1, lo: int32(i)})
			t.hi++
		}
		w.sets[len(w.sets)-1].hi = int32(i) + 1
		w.pairs[i] = pair{check: m.check, set: int32(len(w.sets)) - 1, shape: w.shapeFor(e.checks[m.check].interval)}
	}
	switch w.kind {
	case kindSLO:
		w.newBudgets(e.checks)
	case kindMeasure:
		w.series = make([]series, len(w.pairs))
	case kindRate, kindLatency, kindDown, kindUnknown, kindAbsent:
	}
	e.watches = append(e.watches, w)
	if w.kind == kindUnknown && e.blind == nil {
		e.blind = newBlindness(len(e.watches)-1, r, subjects, e.checks)
	}
}

// keys returns the key of the incident that a finding of r about s belongs to,
// and the set of checks that its figure is computed over.
func (r *Rule) keys(s Subject) (key, of string) {
	key = s.group()
	if r.by() == byAll {
		key = r.Name
	}
	if r.Unknown != nil {
		key = monitorKey
	}
	switch r.by() {
	case byCheck:
		return key, s.Name
	case byAll:
		return key, ""
	}
	return key, s.group()
}

// shapeFor returns the index of the geometry for checks of an interval.
func (w *watch) shapeFor(interval int64) uint16 {
	most := mostExact
	if w.kind == kindLatency && w.Latency.percentile() > 0 {
		most = mostRanked
	}
	i := slices.IndexFunc(w.shapes, func(g geometry) bool { return g.interval == max(interval, 1) })
	if i < 0 && len(w.shapes) <= math.MaxUint16 {
		i = len(w.shapes)
		w.shapes = append(w.shapes, newGeometry(w.over, interval, most))
	}
	return uint16(max(i, 0))
}

func (w *watch) shape(p *pair) *geometry { return &w.shapes[p.shape] }
