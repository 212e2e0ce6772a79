package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/journal"
)

// While the log takes no entries the rules see nothing and the outbox cannot be
// relied on: the monitor is blind and mute. People are told of that directly,
// past the log and the outbox, once at its beginning and once at its end.
const (
	directAfter   = 10 * time.Second // how long the log must be stuck to be told
	directWell    = 5 * time.Second  // how long it must then be well
	directTimeout = 15 * time.Second // of the one attempt of each notifier
	directLookup  = 100              // attempts claimed, so that a look-up that does not work is done without
	directGroup   = "monitor"
)

// direct decides what is told directly. The zero value is that of a log that is
// well.
type direct struct {
	told    *alerting.Incident // what people know; nil if that is nothing
	well    time.Time          // since when the log is well again; zero while it is stuck
	dropped uint64             // of the log when it was told
}

// step takes the state of the log at now and returns what is to be told, nil if
// that is nothing.
func (d *direct) step(now time.Time, h journal.LogHealth) *alerting.Incident {
	stuck := !h.StuckSince.IsZero()
	switch {
	case d.told == nil && stuck && now.Sub(h.StuckSince) >= directAfter:
		d.told, d.dropped = directIncident(now, h), h.Dropped
		return d.told
	case d.told == nil:
		return nil
	case stuck:
		d.well = time.Time{}
		return nil
	case d.well.IsZero():
		d.well = now
	}
	if now.Sub(d.well) < directWell {
		return nil
	}
	over := d.end(h)
	*d = direct{}
	return over
}

// directIncident is the incident of a log that is stuck.
func directIncident(now time.Time, h journal.LogHealth) *alerting.Incident {
	since := h.StuckSince.UTC()
	return &alerting.Incident{
		V: alerting.IncidentVersion, ID: directGroup + "-log-" + since.Format("20060102T150405Z"), Group: directGroup,
		Severity: alerting.Page, Version: 1, Since: since, LastBad: now.UTC(), Changed: "opened",
		Findings: []alerting.Finding{{
			Rule: directGroup, Kind: "log", Severity: alerting.Page, Since: since, LastBad: now.UTC(), Unit: "entries",
			Text: fmt.Sprintf("the log takes no entries since %s UTC, %d wait in memory: no alert is told until it does",
				since.Format(time.TimeOnly), h.Pending),
			Reason: fmt.Sprint(h.Err),
		}},
	}
}

// end is what people are told when the log is well.
func (d *direct) end(h journal.LogHealth) *alerting.Incident {
	i := *d.told
	i.Version, i.LastBad, i.Ended = 2, d.well.UTC(), d.well.UTC()
	f := i.Findings[0]
	f.LastBad, f.Cleared, f.ClearedBy = i.LastBad, i.Ended, "the log takes entries again"
	f.Text = "the log took no entries; nothing was lost"
	if lost := h.Dropped - d.dropped; lost > 0 {
		f.Text = fmt.Sprintf("the log took no entries; %d found no room in memory and are a gap", lost)
	}
	i.Findings = []alerting.Finding{f}
	i.Changed = "resolved after " + probe.Duration(i.Outage().Round(time.Second)).String()
	return &i
}

// tellDirectly watches the log until ctx ends.
func (m *monitor) tellDirectly(ctx context.Context) error {
	var d direct
	for pause(ctx, time.Second) {
		if i := d.step(time.Now(), m.log.Health()); i != nil {
			m.desks.tell(ctx, *i)
		}
	}
	return nil
}
