package alerting

// Reasons to be quiet that are only a moment's.
const (
	gathering  = "gathering"
	recovering = "recovering"
	waits      = "waits for the verdict on "
)

// quiet says why people are not told of an incident for now; "" if they are.
func (e *Engine) quiet(i *Incident) string {
	if i.Storm != "" {
		if s := e.incidents[stormKey]; s != nil && s.ID == i.Storm {
			return "part of " + i.Storm
		}
		i.Storm = ""
	}
	if i.Group == stormKey && i.Told == 0 {
		if settle := stormSettle.Milliseconds(); e.awaits(i.Opened.UnixMilli()+settle, settle) {
			return gathering
		}
	}
	why := e.excused(i)
	if why == "" && i.Told == 0 && i.Group != stormKey && i.Group != monitorKey && e.crowded() {
		e.join(i)
		return "part of " + i.Storm
	}
	return why
}

// excused says why all checks that an incident is about are excused; "" if not
// all of them are. One about which nothing is bad just now stays as it is.
func (e *Engine) excused(i *Incident) string {
	if i.Group == monitorKey {
		for _, q := range e.silences {
			if q.Select.isGroup(monitorKey) && q.active(e.clock) {
				return q.text
			}
		}
		return ""
	}
	why, some := "", false
	for c := range e.culprits(i) {
		some = true
		reason := e.excuse(c, i)
		if reason == "" {
			return ""
		}
		if why == "" || reason == i.Quiet || why != i.Quiet && reason < why { // whatever the order
			why = reason
		}
	}
	if !some {
		return i.Quiet
	}
	return why
}

// excuse says why people are not told of a check for now; "" if they are.
func (e *Engine) excuse(c int32, i *Incident) string {
	for _, q := range e.silences {
		if q.covers[c] && q.active(e.clock) {
			return q.text
		}
	}
	for k := range e.windows {
		if w := &e.windows[k]; w.covers[c] && w.open(e.clock) {
			return w.text()
		}
	}
	if i.Told > 0 || i.Group == stormKey {
		return ""
	}
	if why := e.needed(c, i); why != "" || i.Quiet == "" || !e.recovers(c) {
		return why
	}
	return recovering
}

// recovers tells whether the newest results of a check are good: what people
// have not been told of by now they need not be, unless it fails again.
func (e *Engine) recovers(c int32) bool {
	good := false
	for _, ref := range e.checks[c].refs {
		if p := &e.watches[ref.watch].pairs[ref.pair]; p.run != nil && p.run.Fed {
			if good = p.streak > 0; !good {
				return false
			}
		}
	}
	return good
}
