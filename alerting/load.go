package alerting

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// load takes over what a snapshot says about the rules and checks that e has.
func (e *Engine) load(s snapshot) {
	e.seq, e.now, e.tick = s.Seq, s.Now, s.Tick
	maps.Copy(e.opened, s.Opened)
	e.clock, e.recent, e.gusty, e.moved = cmp.Or(s.Clock, s.Now), s.Recent, s.Gusty, true
	e.wake = 0
	maps.Copy(e.openings, s.Openings)
	for _, q := range s.Silences {
		e.silences = append(e.silences, e.covering(q))
	}
	for _, i := range s.Incidents {
		if i.Open() {
			i = i.clone()
			i.modern()
			e.incidents[i.Group] = &i
		}
	}
	known := map[string]bool{}
	for _, st := range s.Checks {
		i, ok := e.index[st.Name]
		if !ok || st.Location != "" && e.checks[i].location != "" && st.Location != e.checks[i].location {
			continue
		}
		known[st.Name] = true
		c := &e.checks[i]
		copy(c.seen[:], st.Seen)
		c.last, c.network = st.Last, st.Network
		if p := e.kin[i]; p != nil {
			p.down, p.verdict, p.back, p.trouble = st.Down, st.Verdict, st.Back, st.Trouble
		}
	}
	for _, r := range s.Rules {
		k := slices.IndexFunc(e.watches, func(w watch) bool { return w.Name == r.Name && w.of() == r.Of })
		if k < 0 {
			continue
		}
		w := &e.watches[k]
		for _, st := range r.Pairs {
			if i := e.pair(k, st.Check); i >= 0 && known[st.Check] {
				p := &w.pairs[i]
				p.streak, p.floor, p.run = st.Streak, st.Floor, st.Run
				if w.kind == kindMeasure {
					w.series[i] = st.Series.restore(w.shape(p))
				}
				if st.Window != nil {
					p.win.restore(w.shape(p), st.Window)
				}
			}
		}
		e.loadBudgets(w, r.Budgets)
		for t := range w.topics {
			w.topics[t].figured = r.Figured[w.topics[t].key]
		}
	}
	e.connect()
	e.gathered()
	if s.Blind != nil && e.blind != nil {
		e.loadBlind(s.Blind)
	}
}

// pair returns where rule number k keeps what it knows of a check, -1 if it
// does not select it.
func (e *Engine) pair(k int, name string) int32 {
	i, ok := e.index[name]
	if !ok {
		return -1
	}
	for _, ref := range e.checks[i].refs {
		if int(ref.watch) == k {
			return ref.pair
		}
	}
	return -1
}

// connect makes the sets and topics agree with the pairs and the incidents.
func (e *Engine) connect() {
	for k := range e.watches {
		w := &e.watches[k]
		for t := range w.topics {
			w.topics[t].tripped = 0
		}
		for n := range w.sets {
			s := &w.sets[n]
			s.tripped, s.pending = false, 0
			holds := e.holds(w.topics[s.topic].key, w.Name, w.kind.String())
			for i := s.lo; i < s.hi; i++ {
				p := &w.pairs[i]
				if p.run == nil || !p.run.Fed {
					continue
				}
				if p.run.Fed = holds; !holds {
					continue
				}
				s.tripped = true
				if p.streak < w.recover {
					s.pending++
				}
			}
			if s.tripped {
				w.topics[s.topic].tripped++
			}
			if s.budget != nil {
				e.connectBudget(w, s)
			}
		}
	}
}

// holds tells whether the open incident of key has a finding that holds.
func (e *Engine) holds(key, rule, kind string) bool {
	i := e.incidents[key]
	if i == nil {
		return false
	}
	k := i.index(rule, kind)
	return k >= 0 && i.Findings[k].Holds()
}

func (e *Engine) loadBlind(s *blindState) {
	b := e.blind
	b.told = e.holds(monitorKey, e.watches[b.watch].Name, kindBlind)
	b.active, b.row, b.figured = s.Active && b.told, s.Row, s.Figured
	for _, st := range s.Hosts {
		k := slices.IndexFunc(b.hosts, func(h host) bool { return strings.EqualFold(h.Name, st.Name) })
		if k < 0 {
			continue
		}
		st.within, st.Counted = b.hosts[k].within, st.Counted && b.told
		b.hosts[k] = st
		if st.Failing {
			b.failing++
		}
	}
	for k := range e.watches {
		for p := range e.watches[k].pairs {
			if r := e.watches[k].pairs[p].run; r != nil && r.Suspect {
				b.suspects = append(b.suspects, ref{int32(k), int32(p)})
			}
		}
	}
}
