package alerting

import "time"

// mostRemind is the longest time between two reminders.
const mostRemind = 24 * time.Hour

// remind touches the incidents of which people are to be reminded.
func (e *Engine) remind() {
	if e.policy.Remind == 0 {
		return
	}
	for _, i := range e.sorted() {
		if i.Told > 0 && i.Quiet == "" && i.Acknowledged == nil && e.reminders(i) > i.Reminders && e.bites(i) {
			e.touch(i).reminded = true
		}
	}
}

// bites tells whether anything is bad just now: flapping incidents are open in
// between, too.
func (e *Engine) bites(i *Incident) bool {
	for range e.culprits(i) {
		return true
	}
	return false
}

// reminders returns how many reminders are due since people were told: the
// time between them doubles.
func (e *Engine) reminders(i *Incident) (n int) {
	passed, step := e.clock-i.ToldAt.UnixMilli(), e.policy.Remind
	for passed >= step {
		passed -= step
		step = min(2*step, mostRemind.Milliseconds())
		n++
	}
	return n
}
