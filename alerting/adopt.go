package alerting

import (
	"cmp"
	"slices"
	"time"
)

// noLongerWatched is why findings end whose rule or checks are gone.
const noLongerWatched = "no longer watched"

// Adopt makes the engine agree with the stored incidents, all of them: they are
// the truth about what people were told. It is called once after a restart,
// when all entries whose changes are stored have been stepped again, and
// returns what people must be told because of it.
//
// An incident that is open in the store stays open under its id and version,
// even if the engine knows nothing of it, until its checks have recovered. One
// that has ended there is over. One that only the engine knows of is told.
// Findings whose rule or checks are gone end.
func (e *Engine) Adopt(stored []Incident) []Change {
	stored = slices.Clone(stored)
	slices.SortFunc(stored, func(a, b Incident) int {
		return cmp.Or(cmp.Compare(b2i(a.Open()), b2i(b.Open())), a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	told := map[string]bool{}
	for _, s := range stored {
		if s.Open() {
			s = s.clone()
			s.modern()
			e.adoptOpen(s, told)
		} else {
			e.adoptEnded(s)
		}
		told[s.ID] = true
	}
	for _, i := range e.sorted() {
		if !told[i.ID] {
			i.Version, i.Told, i.ToldAt, i.Storm = 0, 0, time.Time{}, ""
			e.touch(i)
		}
	}
	e.connect()
	e.gathered()
	e.dropOrphans(e.now)
	e.moved = true
	return e.changes()
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// adoptEnded forgets an incident that people were told is over, although the
// rules of today would not have ended it.
func (e *Engine) adoptEnded(s Incident) {
	i := e.incidents[s.Group]
	if i == nil || i.ID != s.ID {
		return
	}
	for _, f := range i.Findings {
		e.forget(s.Group, f)
	}
	delete(e.incidents, s.Group)
}

// forget ends a finding without a word.
func (e *Engine) forget(key string, f Finding) {
	if f.Kind == kindBlind && e.blind != nil {
		b := e.blind
		b.told, b.active = false, false
		for k := range b.hosts {
			b.hosts[k].Counted = false
		}
		return
	}
	w, t := e.topic(key, f)
	if t == nil {
		return
	}
	for k := t.lo; k < t.hi; k++ {
		if s := &w.sets[k]; s.tripped {
			e.release(w, s, e.now)
		}
	}
}

// topic returns what a finding is about, nil if that is gone.
func (e *Engine) topic(key string, f Finding) (*watch, *topic) {
	for k := range e.watches {
		w := &e.watches[k]
		if w.Name != f.Rule || w.kind.String() != f.Kind {
			continue
		}
		t, ok := slices.BinarySearchFunc(w.topics, key, func(t topic, key string) int { return cmp.Compare(t.key, key) })
		if ok {
			return w, &w.topics[t]
		}
	}
	return nil, nil
}

// adoptOpen makes s the open incident of its group, together with what the
// engine has found besides.
func (e *Engine) adoptOpen(s Incident, told map[string]bool) {
	ours := e.incidents[s.Group]
	if ours != nil && told[ours.ID] && ours.ID != s.ID { // two open ones in the store: the newer goes on
		for k := range ours.Findings {
			if f := &ours.Findings[k]; f.Holds() {
				f.Cleared, f.ClearedBy = later(at(e.now), f.LastBad), "goes on as "+s.ID
			}
		}
		e.endIfClear(ours, e.now, "goes on as "+s.ID)
		ours = nil
	}
	i := &s
	e.incidents[s.Group] = i
	e.opened[s.Group] = max(e.opened[s.Group], s.Since.UnixMilli())
	if ours != nil {
		e.merge(i, ours)
	}
	e.resumeAll(i)
}

// resumeAll makes the checks of all findings that hold part of them again, as
// far as the state of their rules is lost.
func (e *Engine) resumeAll(i *Incident) {
	for k := range i.Findings {
		if f := &i.Findings[k]; f.Holds() {
			e.resume(i.Group, f)
		}
	}
}

// merge adds to a stored incident what the engine's own one has found since.
func (e *Engine) merge(i, ours *Incident) {
	for _, f := range ours.Findings {
		if k := i.index(f.Rule, f.Kind); k >= 0 {
			f.Untold = i.Findings[k].Untold
			i.Findings[k] = f
		} else if f.Holds() {
			i.Findings = append(i.Findings, f)
			t := e.touch(i)
			t.news = append(t.news, len(i.Findings)-1)
		}
	}
	i.LastBad = later(i.LastBad, ours.LastBad)
	if ours.Severity == Page && i.Severity != Page {
		i.Severity = Page
		e.touch(i).worse = true
	}
}

// resume makes the checks of a stored finding part of it again: they must
// recover from now on.
func (e *Engine) resume(key string, f *Finding) {
	if f.Kind == kindBlind {
		e.resumeBlind(f)
		return
	}
	w, t := e.topic(key, *f)
	if t == nil || t.tripped > 0 {
		return
	}
	for n := t.lo; n < t.hi; n++ {
		s := &w.sets[n]
		for k := s.lo; k < s.hi; k++ {
			p := &w.pairs[k]
			if !slices.Contains(f.Checks, e.checks[p.check].name) {
				continue
			}
			p.streak = 0
			p.run = &run{Since: f.Since.UnixMilli(), Last: f.LastBad.UnixMilli(), Reason: f.Reason}
			if f.Class != "" {
				p.run.Classes = []classCount{{f.Class, 1}}
			}
			w.feed(p)
			s.tripped = true
		}
		if s.tripped {
			t.tripped++
			if s.budget != nil {
				e.connectBudget(w, s)
			}
		}
	}
}

func (e *Engine) resumeBlind(f *Finding) {
	b := e.blind
	if b == nil || e.watches[b.watch].Name != f.Rule || b.told {
		return
	}
	for _, name := range f.Checks {
		if k, ok := e.index[name]; ok && e.checks[k].host >= 0 {
			h := &b.hosts[e.checks[k].host]
			h.Counted, h.Good = true, 0
			b.told = true
		}
	}
}

// Reconfigure goes on with other rules and checks, at a time. Windows, streaks
// and findings of rules and checks that are still the same are kept; what is
// gone is no longer watched, which people are told.
func (e *Engine) Reconfigure(rules []Rule, subjects []Subject, at time.Time) []Change {
	next := NewEngine(rules, subjects)
	next.SetPolicy(e.policy)
	next.load(e.snapshot())
	next.restored = e.restored
	*e = *next
	for _, i := range e.sorted() {
		e.resumeAll(i)
	}
	e.dropOrphans(at.UnixMilli())
	e.moved = true
	return e.changes()
}

// dropOrphans ends the findings that nothing can clear any more.
func (e *Engine) dropOrphans(now int64) {
	for _, i := range e.sorted() {
		gone := false
		for k := range i.Findings {
			f := &i.Findings[k]
			if f.Holds() && !e.alive(i.Group, *f) {
				f.Cleared, f.ClearedBy = later(at(now), f.LastBad), noLongerWatched
				gone = true
			}
		}
		if gone {
			e.endIfClear(i, now, "resolved: "+noLongerWatched)
		}
	}
}

func (e *Engine) alive(key string, f Finding) bool {
	switch f.Kind {
	case kindBlind:
		return e.blind != nil && e.blind.told && e.watches[e.blind.watch].Name == f.Rule
	case kindStorm:
		return e.members > 0
	}
	_, t := e.topic(key, f)
	return t != nil && t.tripped > 0
}

// sorted returns the open incidents by their beginning.
func (e *Engine) sorted() []*Incident {
	list := make([]*Incident, 0, len(e.incidents))
	for _, i := range e.incidents {
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b *Incident) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return list
}
