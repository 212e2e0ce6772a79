package alerting

import (
	"fmt"
	"slices"
)

// reopened notes that the incident of a key is opened at a slot, and returns how
// often that happened of late, besides the first time, if it is flapping; else 0.
func (e *Engine) reopened(key string, slot int64) int {
	p := e.policy
	if p.Reopens == 0 || key == stormKey {
		return 0
	}
	list := slices.DeleteFunc(e.openings[key], func(t int64) bool { return t > slot || t <= slot-p.FlapWithin })
	list = append(list, slot)
	if n := len(list) - p.Reopens - 1; n > 0 {
		list = slices.Delete(list, 0, n)
	}
	e.openings[key] = list
	if len(list) <= p.Reopens {
		return 0
	}
	return p.Reopens
}

// calm is how long nothing may be bad until flapping is over: longer than the
// breaks between the incidents that make it.
func (p Policy) calm() int64 { return p.FlapWithin / int64(min(max(p.Reopens, 1), 2)) }

// flaps tells whether an incident stays open though nothing is bad, and notes
// until when.
func (e *Engine) flaps(i *Incident) bool {
	if i.Reopened == 0 || e.policy.Reopens == 0 {
		return false
	}
	return e.awaits(e.calmAt(i), e.policy.calm()+setBack.Milliseconds())
}

// calmAt is when an incident none of whose findings holds has been calm for long enough.
func (e *Engine) calmAt(i *Incident) int64 {
	last := i.LastBad
	for _, f := range i.Findings {
		last = later(last, f.Cleared)
	}
	return last.UnixMilli() + e.policy.calm()
}

// calmed ends an incident that has flapped and is calm, or waits for that.
func (e *Engine) calmed(i *Incident) bool {
	if i.Reopened == 0 || slices.ContainsFunc(i.Findings, Finding.Holds) {
		return false
	}
	if e.flaps(i) {
		return false
	}
	e.endIfClear(i, e.clock, "resolved: calm for "+span(at(e.policy.calm()).Sub(at(0))))
	return true
}

func (e *Engine) flapText(i *Incident) string {
	return fmt.Sprintf("%s within %s; it resolves after %s without a failure", plural(i.Reopened, "reopening"),
		span(at(e.policy.FlapWithin).Sub(at(0))), span(at(e.policy.calm()).Sub(at(0))))
}
