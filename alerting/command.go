package alerting

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// The commands that an engine knows. It takes no notice of others.
//
//	acknowledge      incident
//	silence          id, for, why, and one or more of group, check, kind, label
//	silence-end      id
//	maintenance      id, for, until_green, why, and the same, or none for all checks
//	maintenance-end  id
const (
	CommandAcknowledge    = "acknowledge"
	CommandSilence        = "silence"
	CommandSilenceEnd     = "silence-end"
	CommandMaintenance    = "maintenance"
	CommandMaintenanceEnd = "maintenance-end"
)

// stepCommand does what a person said. What cannot be done is not: Refuse has
// said so before it came into the log.
func (e *Engine) stepCommand(c *checks.Command) {
	switch c.Name {
	case CommandAcknowledge:
		if i := e.byID(c.Args["incident"]); i != nil && i.Acknowledged == nil {
			i.Acknowledged = &Acknowledgement{At: c.At.UTC(), By: author(c)}
			e.touch(i).acked = true
		}
	case CommandSilence, CommandMaintenance:
		if q, err := newSilence(c); err == nil && e.findSilence(q.ID, q.Maintenance) == nil {
			e.silence(q)
		}
	case CommandSilenceEnd, CommandMaintenanceEnd:
		if q := e.findSilence(c.Args["id"], c.Name == CommandMaintenanceEnd); q != nil {
			e.endSilence(q)
		}
	}
}

func author(c *checks.Command) string { return cmp.Or(clip(c.Author), "somebody") }

func (e *Engine) byID(id string) *Incident {
	for _, i := range e.incidents {
		if i.ID == id {
			return i
		}
	}
	return nil
}

// Refuse says why a command would have no effect as things are; nil if it would.
func (e *Engine) Refuse(c checks.Command) error {
	switch c.Name {
	case CommandAcknowledge:
		return e.refuseAcknowledge(c.Args["incident"])
	case CommandSilence, CommandMaintenance:
		q, err := newSilence(&c)
		if err != nil {
			return err
		}
		if q.Select.isGroup(monitorKey) && !q.Maintenance {
			return nil
		}
		subjects := make([]Subject, len(e.subjects))
		for k, s := range e.subjects {
			subjects[k] = *s
		}
		var p problems
		if p.selected(q.Select, subjects); len(p) > 0 {
			return fmt.Errorf("%s: %s", c.Name, p[0].Text)
		}
		return nil
	case CommandSilenceEnd, CommandMaintenanceEnd:
		maintenance := c.Name == CommandMaintenanceEnd
		if e.findSilence(c.Args["id"], maintenance) != nil {
			return nil
		}
		var ids []string
		for _, q := range e.Silences() {
			if q.Maintenance == maintenance {
				ids = append(ids, q.ID)
			}
		}
		what := strings.TrimSuffix(c.Name, "-end")
		if len(ids) == 0 {
			return fmt.Errorf("no %s %q lasts, and no other does", what, c.Args["id"])
		}
		return fmt.Errorf("no %s %q lasts, there are %s", what, c.Args["id"], strings.Join(ids, ", "))
	}
	return fmt.Errorf("no command is named %q", c.Name)
}

func (e *Engine) refuseAcknowledge(id string) error {
	i := e.byID(id)
	switch {
	case i == nil && len(e.incidents) == 0:
		return fmt.Errorf("no incident %q is open, and no other is", id)
	case i == nil:
		var ids []string
		for _, i := range e.sorted() {
			ids = append(ids, i.ID)
		}
		return fmt.Errorf("no incident %q is open, there are %s", id, strings.Join(ids[:min(10, len(ids))], ", "))
	case i.Acknowledged != nil:
		return fmt.Errorf("incident %s was acknowledged by %s at %s", id, i.Acknowledged.By, clock(i.Acknowledged.At, time.Time{}))
	}
	return nil
}

// newSilence reads a command that makes a silence or a maintenance window.
func newSilence(c *checks.Command) (Silence, error) {
	q := Silence{
		ID: clip(c.Args["id"]), Maintenance: c.Name == CommandMaintenance, By: author(c), Why: clip(c.Args["why"]), From: c.At.UTC(),
		Select: Select{Group: c.Args["group"], Name: c.Args["check"], Kind: c.Args["kind"]},
	}
	if q.ID == "" {
		return q, fmt.Errorf("%s: it has no id", c.Name)
	}
	d, err := probe.ParseDuration(c.Args["for"])
	switch {
	case c.Args["for"] == "":
		return q, fmt.Errorf("%s: for is missing, want how long, such as 2h", c.Name)
	case err != nil:
		return q, fmt.Errorf("%s: for: %w", c.Name, err)
	case d <= 0 || time.Duration(d) > MostWindow:
		return q, fmt.Errorf("%s: for: %s, want up to %s", c.Name, d, probe.Duration(MostWindow))
	}
	q.Until = q.From.Add(time.Duration(d))
	if q.UntilGreen = c.Args["until_green"] == "true"; q.UntilGreen && !q.Maintenance {
		return q, errors.New("silence: until_green is for maintenance only")
	}
	if _, err := path.Match(q.Select.Name, ""); err != nil {
		return q, fmt.Errorf("%s: check: %q is no pattern: a bracket is open or a backslash at the end", c.Name, q.Select.Name)
	}
	if c.Args["label"] != "" {
		q.Select.Labels = map[string]string{}
		for _, l := range slices.Compact(strings.Split(c.Args["label"], ",")) {
			k, v, ok := strings.Cut(l, "=")
			if !ok || k == "" {
				return q, fmt.Errorf("%s: label: %q, want NAME=VALUE", c.Name, l)
			}
			if other, twice := q.Select.Labels[k]; twice && other != v {
				return q, fmt.Errorf("%s: label: no check has %s=%s and %s=%s at once, want one of them", c.Name, k, other, k, v)
			}
			q.Select.Labels[k] = v
		}
	}
	s := q.Select
	if !q.Maintenance && s.Group == "" && s.Name == "" && s.Kind == "" && len(s.Labels) == 0 {
		return q, errors.New("silence: of what is missing, want a group, a check, a kind or a label")
	}
	return q, nil
}
