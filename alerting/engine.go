package alerting

import (
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
	tick      int64                // time of the newest tick
	scratch   []uint32

	// What is done with incidents: see tell.go.
	policy   Policy
	subjects []*Subject        // of checks
	needs    map[int32][]int32 // the checks that one needs, and those that they need
	kin      map[int32]*kin    // the checks that others need, or that need others
	sizes    map[string]int    // of groups, in checks
	clock    int64             // newest time that an entry was known at, which only a set clock takes back
	silences []*silence        // in the order in which they were made
	windows  []calendar
	openings map[string][]int64 // by key: when its newest incidents were opened, while that can be flapping
	recent   []int64            // when people were told of the newest incidents, for storms
	members  int                // open incidents that are part of the storm
	gusty    int64              // when people were last told of the storm
	wake     int64              // when time alone may change who is told
	moved    bool               // something may have, besides
	ticked   bool               // this step is a tick
}

// check is what the engine knows of a check.
type check struct {
	name      string
	location  string
	host      int32 // index in blindness.hosts, -1: none
	websocket bool
	canaries  bool // what fails is not this machine's network
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
	kindSLO
	kindMeasure
	kindAbsent
)

func (k kind) String() string {
	return [...]string{"rate", "latency", "down", "unknown", "slo", "measure", "absent"}[k]
}

// watch is a rule with what it has seen. Its pairs are in the order of their
// topics, sets and names, so each topic and each set is a piece of the slice.
type watch struct {
	Rule
	kind    kind
	over    int64 // length of the window
	recover int16
	shapes  []geometry // of the windows over checks of different intervals
	pairs   []pair
	series  []series // of a measure rule, one for each pair
	sets    []set
	topics  []topic
}

// pair is what a rule knows of one check.
type pair struct {
	check, set int32
	streak     int16  // good results in a row; below 0: bad ones
	shape      uint16 // of win, index in watch.shapes
	floor      int64  // slots up to this one no longer count; of an absent rule the newest with a result
	win        window
	run        *run // nil while nothing is bad
}

// set is a set of checks over which a figure is computed.
type set struct {
	topic   int32
	lo, hi  int32 // its pairs
	tripped bool
	pending int32   // checks that fed it and have not recovered
	budget  *budget // of an SLO
}

// topic is what a finding is about: a rule and an incident's key. Its finding
// holds while one of its sets is tripped.
type topic struct {
	key     string
	lo, hi  int32 // its sets
	tripped int
	figured int64 // when the figure was computed
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
	e.advance(entry)
	switch {
	case entry.Result != nil:
		e.stepResult(entry.Result)
	case entry.Gap != nil:
		e.stepGap(entry.Gap)
	case entry.Tick != nil:
		e.stepTick(entry.Tick)
	case entry.Command != nil:
		e.stepCommand(entry.Command)
	}
	return e.changes()
}

// Seq returns the sequence number of the newest entry stepped.
func (e *Engine) Seq() uint64 { return e.seq }

// Rewind makes Step take entries from after seq on, with all that is known:
// the log has lost its end, and others will bear those numbers.
func (e *Engine) Rewind(seq uint64) {
	e.seq, e.restored = min(e.seq, seq), min(e.restored, seq)
}

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
	good := r.Status != probe.Down
	well := good
	for _, ref := range c.refs {
		if w := &e.watches[ref.watch]; !e.excluded(w, c, slot) {
			s := w.judge(c, r)
			well = well && (s.verdict != bad || w.kind != kindRate)
			if w.kind == kindMeasure {
				w.measure(&w.series[ref.pair], c, &s)
			}
			e.take(w, &w.pairs[ref.pair], c, s, order != late)
		}
	}
	if order != late && r.Status != probe.Unknown {
		e.remember(e.index[r.Check], good, well, slot)
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
		if b := w.sets[p.set].budget; b != nil {
			b.stepBack(slot)
		}
		if w.kind == kindMeasure {
			w.series[ref.pair].stepBack(slot)
		}
		if p.win.cells != nil {
			if k := floorDiv(slot, w.shape(p).width); p.win.last >= k {
				p.win.move(k - 1 - p.win.last)
			}
		}
	}
}
