package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/config"
)

type notifyTestCmd struct {
	configFlag
	Name     string `arg:"" help:"The name of the notifier."`
	Severity string `enum:"page,ticket" default:"ticket" help:"Severity of the test message: ticket or page. A page wakes people."`
}

// Run makes one attempt each to tell an incident that opens and one that
// resolves, and prints what came of them: whether credential and channel are
// good. It makes them past outbox, routes and limit, which are those of the
// monitor that runs, so that it works beside one and without one.
func (c notifyTestCmd) Run(ctx context.Context, p program) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	n, err := findNotifier(cfg, c.Name)
	if err != nil {
		return &exitError{exitCannot, err}
	}
	log := slog.New(slog.NewTextHandler(p.stderr, nil))
	desk := &notify.Desk{Name: n.Name, Notifier: n.Settings.Notifier(notify.Env{Out: p.stdout, Zone: time.Local, Log: log})}
	i := testIncident(time.Now().UTC().Truncate(time.Second), alerting.Severity(c.Severity))
	fmt.Fprintf(p.stdout, "notifier %s (%s), incident %s\n", n.Name, n.Kind, i.ID)
	told, err := try(ctx, p, cfg, desk, i, nil)
	if err != nil && !unknownOutcome(err) {
		return &exitError{code: exitDown}
	}
	pause(ctx, n.Limit.Pause())
	if _, again := try(ctx, p, cfg, desk, testResolved(i), told); err != nil || again != nil {
		return &exitError{code: exitDown}
	}
	return nil
}

// findNotifier returns a notifier that is on.
func findNotifier(cfg *config.Config, name string) (config.Notifier, error) {
	var names []string
	for _, n := range cfg.Notifiers {
		if n.Name == name && n.Off != "" {
			return n, fmt.Errorf("notifier %q is off: %s", name, n.Off)
		}
		if n.Name == name {
			return n, nil
		}
		names = append(names, n.Name)
	}
	return config.Notifier{}, fmt.Errorf("no notifier is named %q, there are: %s", name, cmp.Or(strings.Join(names, ", "), "none"))
}

// unknownOutcome tells whether an attempt may have arrived in spite of err: what
// it opened is resolved then.
func unknownOutcome(err error) bool {
	_, permanent := errors.AsType[*notify.PermanentError](err)
	_, later := errors.AsType[*notify.LaterError](err)
	return !permanent && !later
}

// try makes one attempt and prints what came of it.
func try(ctx context.Context, p program, cfg *config.Config, desk *notify.Desk, i alerting.Incident, told *notify.Receipt) (*notify.Receipt, error) {
	begun := time.Now()
	receipt, err := desk.Try(ctx, notify.Message{Incident: i}, told)
	took := time.Since(begun).Round(time.Millisecond)
	receipt.V, receipt.Incident, receipt.Version = notify.ReceiptVersion, i.ID, i.Version
	if err != nil {
		receipt.Version, receipt.Pending, receipt.Attempts = 0, true, directLookup
		wait := ""
		if later, ok := errors.AsType[*notify.LaterError](err); ok {
			wait = fmt.Sprintf(" (try again in %s)", later.After.Round(time.Second))
		}
		fmt.Fprintf(p.stdout, "%s: not told after %s: %s%s\n", i.Changed, took, cfg.Redact.String(err.Error()), wait)
		return &receipt, err
	}
	fmt.Fprintf(p.stdout, "%s: told in %s%s\n", i.Changed, took, idText(cfg, receipt.IDs))
	return &receipt, nil
}

// idText lists the ids of what was told, without secrets.
func idText(cfg *config.Config, ids map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(ids)) {
		if v := ids[k]; cfg.Redact.String(v) == v {
			fmt.Fprintf(&b, ", %s %s", k, v)
		}
	}
	return b.String()
}

// testIncident is an incident that says that it is none.
func testIncident(now time.Time, severity alerting.Severity) alerting.Incident {
	return alerting.Incident{
		V: alerting.IncidentVersion, ID: "test-" + now.Format("20060102T150405Z"), Group: "TEST", Severity: severity, Version: 1,
		Since: now, Opened: now, LastBad: now, Changed: "opened",
		Findings: []alerting.Finding{{
			Rule: "notify-test", Kind: "test", Severity: severity, Checks: []string{"test"}, Class: probe.OK, Since: now, LastBad: now,
			Text: "this is a message of tripline notify-test, nothing is broken",
		}},
	}
}

// testResolved is the end of a test incident.
func testResolved(i alerting.Incident) alerting.Incident {
	i.Version, i.Ended, i.Changed = 2, i.Since.Add(time.Second), "resolved"
	i.Findings = slices.Clone(i.Findings)
	i.Findings[0].Cleared, i.Findings[0].ClearedBy = i.Ended, "end of the test"
	return i
}
