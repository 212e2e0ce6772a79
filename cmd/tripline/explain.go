package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/replay"
)

type explainCmd struct {
	configFlag
	dataFlag
	ID   string `arg:"" help:"The incident's id, or the beginning of it." placeholder:"INCIDENT"`
	All  bool   `help:"Print every result. Otherwise good ones in a row are one line."`
	JSON bool   `name:"json" help:"One JSON object."`
}

// Run prints what is behind an incident.
func (c explainCmd) Run(ctx context.Context, p program) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	s, err := c.open(ctx, p, cfg)
	if err != nil {
		return err
	}
	x, err := replay.Explain(ctx, s, c.ID)
	if err = errors.Join(err, s.Close()); err != nil {
		if _, unknown := errors.AsType[*replay.UnknownIncidentError](err); unknown {
			return &exitError{exitCannot, err}
		}
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(x)
	}
	return printExplanation(p.stdout, x, c.All)
}

func printExplanation(w io.Writer, x replay.Explanation, all bool) error {
	var b strings.Builder
	i := x.Incident
	end := "open"
	if !i.Open() {
		end = "to " + moment(i.Ended)
	}
	fmt.Fprintf(&b, "%s  %s  group %s  %s %s UTC\n", i.ID, i.Severity, i.Group, moment(i.Since), end)
	fmt.Fprintf(&b, "bad from %s to %s (%s); version %d: %s\n\n", moment(i.Since), moment(i.LastBad), short(i.Outage()), i.Version, i.Changed)
	for _, f := range i.Findings {
		printFinding(&b, f)
	}
	fmt.Fprintf(&b, "\nresults of its checks (UTC):\n")
	if err := printSamples(&b, x.Samples, all); err != nil {
		return err
	}
	fmt.Fprintf(&b, "\ntold:\n")
	for _, t := range x.Told {
		fmt.Fprintf(&b, "    %s: %s\n", t.Notifier, delivery(t, i))
	}
	if len(x.Told) == 0 {
		fmt.Fprintf(&b, "    nobody: %s\n", cmp.Or(i.Quiet, "no notifier was to tell it"))
	}
	if e := x.Evidence; e != nil {
		fmt.Fprintf(&b, "\nnewest evidence of %s, %s UTC: %s\n    %s\n", e.Check, moment(e.Slot), e.Class, e.Reason)
		for _, text := range []string{e.Request, e.Head, e.Body} {
			for line := range strings.Lines(text) {
				fmt.Fprintf(&b, "    | %s\n", strings.TrimRight(line, "\r\n"))
			}
		}
		if e.Curl != "" {
			fmt.Fprintf(&b, "    %s\n", e.Curl)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printFinding(b *strings.Builder, f alerting.Finding) {
	state := "holds"
	if !f.Holds() {
		state = "cleared " + moment(f.Cleared) + ", " + f.ClearedBy
	}
	fmt.Fprintf(b, "%s (%s, %s): %s\n", f.Rule, f.Kind, f.Severity, f.Text)
	fmt.Fprintf(b, "    figure %s, threshold %s; bad %d of %d, %d unknown; since %s; %s\n",
		figure(f.Figure, f.Unit), figure(f.Threshold, f.Unit), f.Bad, f.Total, f.Unknown, moment(f.Since), state)
	names := strings.Join(f.Checks, ", ")
	if f.More > 0 {
		names += fmt.Sprintf(" and %d more", f.More)
	}
	fmt.Fprintf(b, "    fed by %s\n", names)
	if f.Runbook != "" {
		fmt.Fprintf(b, "    runbook %s\n", f.Runbook)
	}
}

// figure prints a figure in its unit.
func figure(v float64, unit string) string {
	if unit == "share" {
		return alerting.Share(v).String()
	}
	return strings.TrimSpace(fmt.Sprintf("%.4g %s", v, unit))
}

// printSamples prints a line for each result that is not up and for each gap;
// of good ones in a row, only how many, unless all are wanted.
func printSamples(b *strings.Builder, list []replay.Sample, all bool) error {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	good := 0
	flush := func() {
		if good > 0 {
			fmt.Fprintf(t, "    \t\tup\t%d results\n", good)
			good = 0
		}
	}
	for _, s := range list {
		switch {
		case s.Gap != nil:
			flush()
			fmt.Fprintf(t, "    %s\t%s\tgap\tto %s, %d slots\t%s\n", moment(s.At), cmp.Or(s.Gap.Check, "all checks"), moment(s.Gap.To), s.Gap.Slots, s.Gap.Reason)
		case s.Result.Status == probe.Up && !all:
			good++
		default:
			flush()
			r := s.Result
			fmt.Fprintf(t, "    %s\t%s\t%s\t%s\t%s\t%s\n", moment(s.At), r.Check, r.Status, r.Class, short(r.Duration.Truncate(time.Microsecond)), r.Reason)
		}
	}
	flush()
	if len(list) == 0 {
		fmt.Fprintln(t, "    none: the log does not reach back so far")
	}
	return t.Flush()
}

// delivery says how far a notifier has told an incident.
func delivery(t replay.Told, i alerting.Incident) string {
	var parts []string
	switch r := t.Receipt; {
	case r == nil:
		parts = append(parts, fmt.Sprintf("nothing yet, version %d waits", i.Version))
	case r.Pending:
		parts = append(parts, fmt.Sprintf("version %d told; an attempt at a newer one was begun, %d so far", r.Version, r.Attempts))
	default:
		parts = append(parts, fmt.Sprintf("version %d of %d at %s", r.Version, i.Version, moment(r.At)))
		if r.Attempts > 1 {
			parts = append(parts, fmt.Sprintf("after %d attempts", r.Attempts))
		}
	}
	if d := t.Dead; d != nil {
		parts = append(parts, fmt.Sprintf("version %d given up at %s: %s", d.Version, moment(d.At), d.Reason))
	}
	return strings.Join(parts, ", ")
}
