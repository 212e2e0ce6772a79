package alerting

import (
	"iter"
	"maps"
)

// culprits yields the checks that the findings of i that hold are about and that
// have not recovered, in no certain order; one that is in several of them comes
// several times.
func (e *Engine) culprits(i *Incident) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		if i.Group == stormKey {
			for _, m := range e.incidents { // in any order: of 10,000 each bad result would sort them
				if m.Storm != i.ID {
					continue
				}
				for c := range e.culprits(m) {
					if !yield(c) {
						return
					}
				}
			}
			return
		}
		for _, f := range i.Findings {
			if f.Holds() && !e.feeding(i.Group, f, yield) {
				return
			}
		}
	}
}

// feeding yields the checks that feed a finding and have not recovered; if all
// have, those that fed it.
func (e *Engine) feeding(key string, f Finding, yield func(int32) bool) bool {
	w, t := e.topic(key, f)
	some := false
	pass := func(recovered bool) bool {
		for k := w.sets[t.lo].lo; k < w.sets[t.hi-1].hi; k++ {
			p := &w.pairs[k]
			if p.run == nil || !p.run.Fed || !recovered && p.streak >= w.recover {
				continue
			}
			if some = true; !yield(p.check) {
				return false
			}
		}
		return true
	}
	if t != nil && (!pass(false) || !some && !pass(true)) {
		return false
	}
	if some {
		return true
	}
	for _, name := range f.Checks {
		if c, ok := e.index[name]; ok && !yield(c) {
			return false
		}
	}
	return true
}

// describe brings up to date what an incident says of its checks as a whole.
func (e *Engine) describe(i *Incident) {
	if i.Group == monitorKey {
		return
	}
	seen := map[int32]bool{}
	var labels map[string]string
	for c := range e.culprits(i) {
		if seen[c] {
			continue
		}
		own := e.subjects[c].Labels
		if len(seen) == 0 {
			labels = maps.Clone(own)
			if i.Version > 0 {
				labels = maps.Clone(i.Labels)
			}
		}
		maps.DeleteFunc(labels, func(k, v string) bool { return own[k] != v })
		seen[c] = true
	}
	if len(seen) == 0 {
		return
	}
	i.Failing, i.Of = len(seen), e.size(i)
	if i.Labels = labels; len(labels) == 0 {
		i.Labels = nil
	}
}

// size is how many checks the group of i has; for one that is named after a
// rule, how many the rule looks at.
func (e *Engine) size(i *Incident) int {
	if n, ok := e.sizes[i.Group]; ok || i.Group == stormKey {
		return n
	}
	for _, f := range i.Findings {
		if w, t := e.topic(i.Group, f); t != nil {
			return int(w.sets[t.hi-1].hi - w.sets[t.lo].lo)
		}
	}
	return 0
}
