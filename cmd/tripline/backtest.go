package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/config"
	"github.com/tripline/tripline/internal/replay"
)

type backtestCmd struct {
	configFlag
	dataFlag
	Since      probe.Duration `help:"What to report, before the end of the log. The whole log is replayed in any case." placeholder:"30d"`
	Throughout bool           `help:"Use the config for the whole log, also where the monitor ran with another."`
	JSON       bool           `name:"json" help:"One JSON object with every decision and every incident of both runs."`
}

// replayGC lets a replay leave more behind: with the monitor's own setting much
// of its time goes into collecting (docs/performance.md).
const replayGC = 200

// Run replays the log and prints what the rules decide, and what is different
// from what they decided live.
func (c backtestCmd) Run(ctx context.Context, p program) error {
	collect(replayGC)
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	s, err := c.open(ctx, p, cfg)
	if err != nil {
		return err
	}
	report, err := replay.Backtest(ctx, s, replay.Options{
		Starts: config.Starts,
		Config: ruleset(cfg), Throughout: c.Throughout, Since: time.Duration(c.Since), Progress: p.progress(),
	})
	p.clearProgress()
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetEscapeHTML(false)
		return enc.Encode(report)
	}
	return printReport(p.stdout, report)
}

// ruleset is the part of a config that decides.
func ruleset(cfg *config.Config) replay.Config {
	return replay.Config{Rules: cfg.Rules, Subjects: cfg.Subjects, Policy: cfg.Policy}
}

// progress returns what shows on a terminal how far a replay has come; nil if
// there is no terminal.
func (p program) progress() func(time.Time, int) {
	if !p.terminal {
		return nil
	}
	var shown time.Time
	return func(at time.Time, results int) {
		if now := time.Now(); now.Sub(shown) > 200*time.Millisecond {
			shown = now
			fmt.Fprintf(p.stderr, "\r\x1b[K%d results, up to %s", results, at.UTC().Format("2006-01-02 15:04"))
		}
	}
}

func (p program) clearProgress() {
	if p.terminal {
		fmt.Fprint(p.stderr, "\r\x1b[K")
	}
}

func printReport(w io.Writer, r replay.Report) error {
	with := "with this config throughout"
	if r.AsItRan {
		with = "with what was in force"
	}
	fmt.Fprintf(w, "replayed %d results in %d batches from %s to %s, %s\n\n", r.Results, r.Batches, moment(r.From), moment(r.To), with)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, d := range r.Decisions {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", moment(d.At), d.Event, d.Incident.Severity, d.Incident.ID, why(d))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, c := range r.Incidents {
		if c.Verdict == replay.Same {
			continue
		}
		i := cmp.Or(c.Now, c.Live)
		end := "open"
		if !i.Open() {
			end = moment(i.Ended)
		}
		fmt.Fprintf(w, "%s: %s, %s to %s\n", c.Verdict, c.ID, moment(i.Since), end)
		if c.Verdict != replay.Differs {
			for _, f := range i.Findings {
				fmt.Fprintf(w, "    %s: %s\n", f.Rule, f.Text)
			}
		}
		for _, f := range c.Fields {
			fmt.Fprintf(w, "    %s\n", f)
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	_, err := fmt.Fprintf(w, "%d decisions about %d incidents: %d same, %d only live, %d only now, %d differ\n", len(r.Decisions), len(r.Incidents),
		r.Count(replay.Same), r.Count(replay.OnlyLive), r.Count(replay.OnlyNow), r.Count(replay.Differs))
	return err
}

// why says what a decision came of: the sentences of the findings that hold,
// with figure, counts and threshold, or how it ended.
func why(d replay.Decision) string {
	if d.Event != alerting.Opened {
		return d.Incident.Changed
	}
	text := ""
	for _, f := range d.Incident.Findings {
		if text != "" {
			text += "; "
		}
		text += f.Text
	}
	return text
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }
