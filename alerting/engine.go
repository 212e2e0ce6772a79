package alerting

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Engine steps rules over the entries of the log. It is not safe for
// concurrent use.
//
// After a restart: NewEngine, Restore with the newest checkpoint, Step with
// the entries after it as far as their changes are stored, Adopt with the
// stored incidents, and on with Step.
type Engine struct {
	watches   []watch              // in the order of the rules
	checks    []check              // by name
	index     map[string]int32     // of checks, by name
	incidents map[string]*Incident // the open ones, by key
	opened    map[string]int64     // by key: when the newest incident was opened
	blind     *blindness           // nil: no rule asks for it
	seq       uint64               // of the newest entry
	restored  uint64               // entries up to this one are in the checkpoint
	now       int64                // time of the newest entry
	touched   []touch              // incidents that this step concerns
	scratch   []uint32
}

// check is what the engine knows of a check.
type check struct {
	name      string
	location  string
	host      int32 // index in blindness.hosts, -1: none
	websocket bool
	attempts  uint16
	interval  int64
	last      int64    // newest slot
	seen      [4]int64 // slots of the newest results
	network   int64    // since when it has failed with dns and connect classes only, 0: it does not
	refs      []ref
}

// ref says where the state of one rule about one check is.
type ref struct{ watch, pair int32 }

type kind uint8

const (
	kindRate kind = iota
	kindLatency
	kindDown
	kindUnknown
)

func (k kind) String() string { return [...]string{"rate", "latency", "down", "unknown"}[k] }

// watch is a rule with what it has seen. Its pairs are in the order of their
// topics, sets and names, so each topic and each set is a piece of the slice.
type watch struct {
	Rule
	kind    kind
	over    int64 // length of the window
	recover int16
	shapes  []geometry // of the windows over checks of different intervals
	pairs   []pair
	sets    []set
	topics  []topic
}

// pair is what a rule knows of one check.
type pair struct {
	check, set int32
	streak     int16  // good results in a row; below 0: bad ones
	shape      uint16 // of win, index in watch.shapes
	floor      int64  // slots up to this one no longer count
	win        window
	run        *run // nil while nothing is bad
}

// set is a set of checks over which a figure is computed.
type set struct {
	topic   int32
	lo, hi  int32 // its pairs
	tripped bool
	pending int32 // checks that fed it and have not recovered
}

// topic is what a finding is about: a rule and an incident's key. Its finding
// holds while one of its sets is tripped.
type topic struct {
	key     string
	lo, hi  int32 // its sets
	tripped int
	figured int64 // when the figure was computed
}

// NewEngine returns an engine that has seen nothing. The rules have been
// validated; of what is wrong with them nevertheless, nothing comes.
func NewEngine(rules []Rule, subjects []Subject) *Engine {
	e := &Engine{
		index:     make(map[string]int32, len(subjects)),
		incidents: map[string]*Incident{},
		opened:    map[string]int64{},
	}
	kept := make([]Subject, 0, len(subjects))
	e.checks = make([]check, 0, len(subjects))
	for _, s := range slices.SortedStableFunc(slices.Values(subjects), func(a, b Subject) int { return cmp.Compare(a.Name, b.Name) }) {
		if _, twice := e.index[s.Name]; twice {
			continue
		}
		e.index[s.Name] = int32(len(kept))
		kept = append(kept, s)
		e.checks = append(e.checks, check{
			name: s.Name, location: s.Location, host: -1, websocket: s.WebSocket,
			attempts: uint16(max(1, min(s.Attempts, 1000))), interval: millis(s.Interval, time.Minute),
		})
	}
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
	default:
		return
	}
	type member struct {
		key, set, name string
		check          int32
	}
	var members []member
	for i, s := range subjects {
		if r.Select.matches(s) {
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

// Step takes the next entry of the log, with the sequence number of the batch
// that it is part of, and returns the incidents that people must be told about
// because of it, at most one version of each. An entry whose number is below
// the newest one, or in the restored checkpoint, has been stepped and is skipped.
func (e *Engine) Step(seq uint64, entry checks.Entry) []Change {
	if seq < e.seq || seq != 0 && seq <= e.restored {
		return nil
	}
	e.seq = seq
	if t := entry.Time(); sane(t) {
		e.now = t.UnixMilli()
	}
	switch {
	case entry.Result != nil:
		e.stepResult(entry.Result)
	case entry.Gap != nil:
		e.stepGap(entry.Gap)
	}
	return e.changes()
}

// Seq returns the sequence number of the newest entry stepped.
func (e *Engine) Seq() uint64 { return e.seq }

// sane tells whether t can be a slot: times far off would only do harm.
func sane(t time.Time) bool { return t.Year() >= 1971 && t.Year() <= 9000 }

func (e *Engine) find(name, location string) *check {
	i, ok := e.index[name]
	if !ok {
		return nil
	}
	c := &e.checks[i]
	if c.location != "" && location != c.location {
		return nil
	}
	return c
}

func (e *Engine) stepResult(r *checks.Result) {
	c := e.find(r.Check, r.Location)
	if c == nil || !sane(r.Slot) {
		return
	}
	slot := r.Slot.UnixMilli()
	order := c.arrive(slot)
	switch order {
	case repeated:
		return
	case steppedBack:
		e.stepBack(c, slot)
	case inOrder, late:
	}
	if e.blind != nil {
		e.see(c, r, slot, order != late && r.Status != probe.Unknown)
	}
	for _, ref := range c.refs {
		w := &e.watches[ref.watch]
		e.take(w, &w.pairs[ref.pair], c, w.judge(c, r), order != late)
	}
}

type arrival uint8

const (
	inOrder arrival = iota
	late            // a newer one has come before
	repeated
	steppedBack // the clock was set back
)

// arrive remembers slot and tells how it comes after the ones before.
func (c *check) arrive(slot int64) arrival {
	a := inOrder
	switch {
	case slices.Contains(c.seen[:], slot):
		return repeated
	case slot > c.last:
		c.last = slot
	case c.last-slot <= max(2*time.Minute.Milliseconds(), 2*c.interval):
		a = late
	default:
		a = steppedBack
		c.last = slot
		c.seen = [4]int64{}
	}
	copy(c.seen[1:], c.seen[:3])
	c.seen[0] = slot
	return a
}

// stepBack moves what is known of c back in time with the clock: as if the
// slots so far had been just before slot.
func (e *Engine) stepBack(c *check, slot int64) {
	for _, ref := range c.refs {
		w := &e.watches[ref.watch]
		p := &w.pairs[ref.pair]
		p.floor = min(p.floor, slot-1)
		if p.win.cells != nil {
			if k := floorDiv(slot, w.shape(p).width); p.win.last >= k {
				p.win.move(k - 1 - p.win.last)
			}
		}
	}
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

// stepGap counts the slots of a gap as unknown.
func (e *Engine) stepGap(g *checks.Gap) {
	if !sane(g.From) || !sane(g.To) || g.To.Before(g.From) {
		return
	}
	from, to := g.From.UnixMilli(), g.To.UnixMilli()
	if g.Check != "" {
		if c := e.find(g.Check, g.Location); c != nil {
			e.miss(c, from, to, g.Reason)
		}
		return
	}
	for i := range e.checks {
		c := &e.checks[i]
		if c.location != "" && c.location != g.Location {
			continue
		}
		first := from // the first slot of c in the gap, if its phase is known
		if c.last > 0 {
			if off := (c.last - from) % c.interval; off >= 0 {
				first += off
			} else {
				first += off + c.interval
			}
		}
		if first <= to {
			e.miss(c, first, to, g.Reason)
		}
	}
}

// miss counts the slots of c from the first to the last one as unknown.
func (e *Engine) miss(c *check, from, to int64, reason string) {
	for _, ref := range c.refs {
		w := &e.watches[ref.watch]
		if w.kind == kindDown {
			continue
		}
		p := &w.pairs[ref.pair]
		g := w.shape(p)
		first := max(from, p.floor+1, to-g.over+1)
		slot := from + (first-from+c.interval-1)/c.interval*c.interval
		if slot > to {
			continue
		}
		for slot <= to { // cell by cell
			end := min((floorDiv(slot, g.width)+1)*g.width, to+1)
			n := (end-slot-1)/c.interval + 1
			x := cell{unknown: uint16(min(n*int64(c.attempts), math.MaxUint16))}
			if w.kind == kindUnknown {
				x = cell{bad: uint16(min(n, math.MaxUint16))}
			}
			p.win.add(g, slot, x, 0, false)
			slot += n * c.interval
		}
		if w.kind == kindUnknown {
			e.bad(w, p, c, sample{slot: slot - c.interval, verdict: bad, class: probe.Missed, reason: reason})
		}
	}
}
