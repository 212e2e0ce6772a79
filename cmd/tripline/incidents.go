package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os/user"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// commandTime bounds how long a command may take to become durable and to be
// seen by the rules.
const commandTime = 10 * time.Second

// tellRules puts a command of a person into the log, unless the rules can say
// already that it would have no effect, and waits until they have seen it.
func (m *monitor) tellRules(ctx context.Context, name string, args map[string]string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	c := checks.Command{At: time.Now().UTC(), Name: name, Author: clip(args["author"], 100), Args: args}
	delete(args, "author")
	if id := args["incident"]; id != "" && name == alerting.CommandSilence { // a button of Slack
		group, err := m.groupOf(id)
		if err != nil {
			return "", err
		}
		args["group"] = group
	}
	if name == alerting.CommandSilence || name == alerting.CommandMaintenance {
		args["id"] = name[:1] + "-" + strings.ToLower(rand.Text()[:6])
	}
	var refused error
	if err := m.evaluator.View(ctx, func() { refused = m.engine.Refuse(c) }); err != nil {
		return "", fmt.Errorf("%s: the rules are not ready: %w", name, err)
	}
	if refused != nil {
		return "", refused
	}
	seen := m.log.Last()
	m.log.Append(checks.Entry{V: checks.ResultVersion, Command: &c}, true)
	done := false
	for !done {
		if !pause(ctx, 20*time.Millisecond) {
			return "", fmt.Errorf("%s: taken, and not yet durable after %s: the disk is slow or full", name, commandTime)
		}
		if m.evaluator.Position().Seq <= seen {
			continue
		}
		if err := m.evaluator.View(ctx, func() { done = m.obeyed(c) }); err != nil {
			return "", err
		}
	}
	return m.answer(c), nil
}

// groupOf returns the group of an open incident.
func (m *monitor) groupOf(id string) (string, error) {
	for _, i := range m.evaluator.Open() {
		if i.ID == id {
			return i.Group, nil
		}
	}
	return "", fmt.Errorf("no incident %q is open", id)
}

// obeyed tells whether the rules have done what a command said.
func (m *monitor) obeyed(c checks.Command) bool {
	lasts := slices.ContainsFunc(m.engine.Silences(), func(s alerting.Silence) bool { return s.ID == c.Args["id"] })
	switch c.Name {
	case alerting.CommandSilence, alerting.CommandMaintenance:
		return lasts
	case alerting.CommandSilenceEnd, alerting.CommandMaintenanceEnd:
		return !lasts
	}
	return m.engine.Refuse(c) != nil // somebody has acknowledged it, or it has ended
}

func (m *monitor) answer(c checks.Command) string {
	switch c.Name {
	case alerting.CommandAcknowledge:
		return "acknowledged " + c.Args["incident"]
	case alerting.CommandSilence:
		s := "silence " + c.Args["id"] + " for " + c.Args["for"]
		if c.Args["incident"] != "" {
			s += ", of the group " + c.Args["group"]
		}
		return s
	case alerting.CommandMaintenance:
		return "maintenance " + c.Args["id"] + " for " + c.Args["for"]
	}
	return c.Args["id"] + " ended"
}

// listSilences lists the silences and the maintenance windows that last.
func (m *monitor) listSilences(ctx context.Context) (string, error) {
	var list []alerting.Silence
	var open map[string]time.Time
	err := m.evaluator.View(ctx, func() { list, open = m.engine.Silences(), m.engine.Maintenance() })
	if err != nil {
		return "", err
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range list {
		what := "silence"
		if s.Maintenance {
			what = "maintenance"
		}
		until := s.Until.Format("2006-01-02 15:04:05") + " UTC"
		if s.UntilGreen {
			until += ", or until green"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\tuntil %s\tby %s\t%s\n", s.ID, what, s.Select, until, s.By, s.Why)
	}
	for _, c := range m.config().Policy.Windows {
		if until, ok := open[c.Name]; ok {
			fmt.Fprintf(w, "%s\tmaintenance\t%s\tuntil %s UTC\tby the config\n", c.Name, c.Select, until.Format("2006-01-02 15:04:05"))
		}
	}
	_ = w.Flush() // a strings.Builder cannot fail
	return cmp.Or(strings.TrimRight(b.String(), "\n"), "no silences, no maintenance"), nil
}

// alarm is how often it is looked whether the rules want to see time pass.
const alarm = 250 * time.Millisecond

// wakeRules writes a tick whenever time alone may change who is told: when a
// silence ends, say. Ticks of every minute would do, but later.
func (m *monitor) wakeRules(ctx context.Context) error {
	look := time.NewTicker(alarm)
	defer look.Stop()
	var seen uint64 // position after which the last tick was written
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		if seen != 0 && m.evaluator.Position().Seq <= seen {
			continue
		}
		var due time.Time
		if err := m.evaluator.View(ctx, func() { due = m.engine.Due() }); err != nil {
			continue // ctx has ended
		}
		if now := time.Now().UTC(); !due.IsZero() && !due.After(now) {
			seen = m.log.Last()
			m.log.Append(checks.Entry{V: checks.ResultVersion, Tick: &checks.Tick{At: now}}, true)
		}
	}
}

// byFlag says who does something.
type byFlag struct {
	By string `help:"Who does this. Default: the user that runs the command." placeholder:"NAME"`
}

func (f byFlag) name() string {
	if f.By != "" {
		return f.By
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

// selectFlags say which checks something is for.
type selectFlags struct {
	Group string   `help:"Checks of this group." placeholder:"GROUP"`
	Check string   `help:"Checks with a name like this; * stands for any characters." placeholder:"PATTERN"`
	Kind  string   `help:"Checks of this kind." placeholder:"KIND"`
	Label []string `help:"Checks with this label; may be repeated." placeholder:"NAME=VALUE"`
}

func (f selectFlags) args(by byFlag, d probe.Duration, why string) map[string]string {
	return map[string]string{
		"author": by.name(), "for": d.String(), "why": why,
		"group": f.Group, "check": f.Check, "kind": f.Kind, "label": strings.Join(f.Label, ","),
	}
}

type ackCmd struct {
	Incident string `arg:"" help:"Id of the incident, as messages and the page show it."`
	byFlag
	configFlag
}

// Run acknowledges an incident at the running monitor.
func (c ackCmd) Run(ctx context.Context, p program) error {
	return c.command(ctx, p, alerting.CommandAcknowledge, map[string]string{"incident": c.Incident, "author": c.name()})
}

type silenceCmd struct {
	Add  silenceAddCmd  `cmd:"" help:"Tell nobody of some checks for a while. What is bad by then is told when it ends."`
	List silenceListCmd `cmd:"" help:"List the silences and the maintenance windows that last."`
	End  silenceEndCmd  `cmd:"" help:"End a silence."`
}

type silenceAddCmd struct {
	selectFlags
	For probe.Duration `required:"" help:"How long, such as 2h." placeholder:"DURATION"`
	Why string         `help:"Why, for people." placeholder:"TEXT"`
	byFlag
	configFlag
}

// Run adds a silence at the running monitor.
func (c silenceAddCmd) Run(ctx context.Context, p program) error {
	return c.command(ctx, p, alerting.CommandSilence, c.args(c.byFlag, c.For, c.Why))
}

type silenceListCmd struct{ configFlag }

// Run lists what lasts.
func (c silenceListCmd) Run(ctx context.Context, p program) error {
	return c.command(ctx, p, "silence-list", map[string]string{})
}

type silenceEndCmd struct {
	ID string `arg:"" help:"Id of the silence."`
	byFlag
	configFlag
}

// Run ends a silence at the running monitor.
func (c silenceEndCmd) Run(ctx context.Context, p program) error {
	return c.command(ctx, p, alerting.CommandSilenceEnd, map[string]string{"id": c.ID, "author": c.name()})
}

type maintenanceCmd struct {
	Start maintenanceStartCmd `cmd:"" help:"Begin a maintenance window, of all checks unless some are named: they run and count, and people are told of what broke only if it still is at the end."`
	End   maintenanceEndCmd   `cmd:"" help:"End a maintenance window that somebody has begun."`
}

type maintenanceStartCmd struct {
	selectFlags
	For        probe.Duration `required:"" help:"How long at most, such as 10m." placeholder:"DURATION"`
	UntilGreen bool           `help:"End it as soon as something was bad and all its checks are good again, as often in a row as the rules want for recovery."`
	Why        string         `help:"Why, for people." placeholder:"TEXT"`
	byFlag
	configFlag
}

// Run begins a maintenance window at the running monitor.
func (c maintenanceStartCmd) Run(ctx context.Context, p program) error {
	args := c.args(c.byFlag, c.For, c.Why)
	if c.UntilGreen {
		args["until_green"] = "true"
	}
	return c.command(ctx, p, alerting.CommandMaintenance, args)
}

type maintenanceEndCmd struct {
	ID string `arg:"" help:"Id of the window, as start and silence list print it."`
	byFlag
	configFlag
}

// Run ends a maintenance window at the running monitor.
func (c maintenanceEndCmd) Run(ctx context.Context, p program) error {
	return c.command(ctx, p, alerting.CommandMaintenanceEnd, map[string]string{"id": c.ID, "author": c.name()})
}
