package notify

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Undelivered is an incident that somebody else should tell.
type Undelivered struct {
	Incident string
	Because  string // in one line, such as "slack has not delivered for 5m: POST slack.com: status 503"
}

// Undelivered lists the incidents of which the Desk has had something to tell
// for so long, or has given it up, in the order of their ids. What has ended
// after people were told that it began is none of them: nobody need be woken.
func (d *Desk) Undelivered(after time.Duration) []Undelivered {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.queue == nil {
		return nil
	}
	var list []Undelivered
	now := time.Now()
	for _, j := range d.queue.jobs {
		if !j.want.Open() && j.told.Version > 0 {
			continue
		}
		switch {
		case j.dead != nil && j.want.Version > j.told.Version && j.want.Version <= j.dead.Version:
			list = append(list, Undelivered{j.id, fmt.Sprintf("%s gave up: %s", d.Name, j.dead.Reason)})
		case d.queue.open[j.id] != nil && j.behind() && now.Sub(j.since) >= after:
			list = append(list, Undelivered{j.id, fmt.Sprintf("%s has not delivered for %s: %s",
				d.Name, probe.Duration(after), cmp.Or(j.err, "no answer yet"))})
		}
	}
	slices.SortFunc(list, func(a, b Undelivered) int { return cmp.Compare(a.Incident, b.Incident) })
	return list
}
