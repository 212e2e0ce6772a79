package replay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
)

// Options say what to replay.
type Options struct {
	Config Config
	// Throughout uses Config for the whole log, even if the monitor ran with it
	// last. Otherwise Config, if it is the one that the monitor ran with last,
	// is taken to mean: whatever was in force.
	Throughout bool
	Since      time.Duration // what to report, before the end of the log; 0 means all
	Progress   func(at time.Time, results int)
	// Starts reads when a maintenance window of a stored config begins; nil
	// leaves these windows out.
	Starts func(alerting.Window) (checks.Schedule, error)
}

// Report is what a replay came to.
type Report struct {
	From      time.Time    `json:"from"` // of the log
	To        time.Time    `json:"to"`
	Batches   int          `json:"batches"`
	Results   int          `json:"results"`
	AsItRan   bool         `json:"as_it_ran"` // with the configs that were in force
	Notes     []string     `json:"notes"`     // what limits the comparison
	Decisions []Decision   `json:"decisions"`
	Incidents []Comparison `json:"incidents"` // by their beginning
	Aside     int          `json:"aside"`     // incidents that are not compared, which a note explains
}

// Count returns how many incidents have a verdict.
func (r Report) Count(v Verdict) (n int) {
	for _, c := range r.Incidents {
		if c.Verdict == v {
			n++
		}
	}
	return n
}

// Backtest steps the rules over the log of s again and compares.
func Backtest(ctx context.Context, s Source, o Options) (Report, error) {
	before, err := incidents(ctx, s)
	if err != nil {
		return Report{}, err
	}
	all, err := Eras(ctx, s)
	if err != nil {
		return Report{}, err
	}
	b := backtest{options: o, eras: all}
	if err := b.open(); err != nil {
		return Report{}, err
	}
	b.report.AsItRan = !o.Throughout && len(all) > 0 && all[len(all)-1].Hash == o.Config.Hash()
	if err := Each(ctx, s, time.Time{}, b.batch); err != nil {
		return Report{}, err
	}
	if b.replay == nil {
		return Report{Notes: []string{"the log is empty"}}, nil
	}
	b.replay.End()
	after, err := incidents(ctx, s)
	if err != nil {
		return Report{}, err
	}
	b.finish(before, after)
	return b.report, nil
}

// open gives the windows of the stored configs their schedules.
func (b *backtest) open() error {
	if b.options.Starts == nil {
		return nil
	}
	for k := range b.eras {
		windows := b.eras[k].Config.Policy.Windows
		for n := range windows {
			starts, err := b.options.Starts(windows[n])
			if err != nil {
				return fmt.Errorf("maintenance window %q of the config of %s: %w", windows[n].Name, stamp(b.eras[k].At), err)
			}
			windows[n].Starts = starts
		}
	}
	return nil
}

// incidents returns the stored incidents, by id.
func incidents(ctx context.Context, s lister) (map[string]alerting.Incident, error) {
	records, err := s.List(ctx, "incident")
	if err != nil {
		return nil, err
	}
	list := make(map[string]alerting.Incident, len(records))
	for _, r := range records {
		i, err := alerting.DecodeIncident(r.Value)
		if err != nil {
			return nil, err
		}
		list[i.ID] = i
	}
	return list, nil
}

type backtest struct {
	options Options
	eras    []Era
	replay  *Replay
	report  Report
	broken  int
}

func (b *backtest) batch(x Batch) error {
	if b.replay == nil {
		b.begin(x)
	}
	if x.Bad != nil {
		b.broken++
		return nil
	}
	b.replay.Step(x.Seq, x.Entries)
	b.report.Batches++
	for _, e := range x.Entries {
		if e.Result != nil {
			b.report.Results++
		}
		if e.Command != nil && e.Command.Name == "config" {
			b.configChanged(e.Command.At, e.Command.Args["changes"])
		}
		if at := e.Time(); !at.IsZero() {
			if e.Result != nil {
				at = e.Result.Slot
			}
			if b.report.From.IsZero() || at.Before(b.report.From) {
				b.report.From = at
			}
			b.report.To = later(b.report.To, at)
		}
	}
	if b.options.Progress != nil && x.Seq%1024 == 0 {
		b.options.Progress(b.report.To, b.report.Results)
	}
	return nil
}

// begin chooses the config that the replay begins with.
func (b *backtest) begin(x Batch) {
	if !b.report.AsItRan {
		b.replay = New(b.options.Config, nil)
		return
	}
	k := 0 // the era that the first batch is in
	for k+1 < len(b.eras) && b.eras[k+1].After < x.Seq {
		k++
	}
	if first := b.eras[k]; first.After >= x.Seq {
		b.note("the config before %s is not known: decisions before it may differ", stamp(first.At))
	}
	b.replay = New(b.eras[k].Config, b.eras[k+1:])
}

func (b *backtest) note(format string, args ...any) {
	b.report.Notes = append(b.report.Notes, fmt.Sprintf(format, args...))
}

// configChanged notes a change of the config that the replay cannot follow.
func (b *backtest) configChanged(at time.Time, what string) {
	known := slices.ContainsFunc(b.eras, func(e Era) bool { return e.At.Equal(at) })
	if b.report.AsItRan && known {
		return
	}
	b.note("the config changed at %s (%s): live decisions before it may differ", stamp(at), what)
}

// finish compares, and keeps what Since asks for.
func (b *backtest) finish(before, after map[string]alerting.Incident) {
	r := &b.report
	if b.broken > 0 {
		b.note("%d batches do not decode and were passed over", b.broken)
	}
	from := time.Time{}
	if b.options.Since > 0 {
		from = r.To.Add(-b.options.Since)
	}
	for _, d := range b.replay.Decisions {
		if !d.At.Before(from) {
			r.Decisions = append(r.Decisions, d)
		}
	}
	older, forgotten := 0, 0
	gone := forgottenOf(b.replay.Newest, r.To)
	for _, c := range compare(b.replay.Newest, before, after) {
		switch i := c.incident(); {
		case !within(*i, from):
		case c.Verdict == OnlyNow && gone[c.ID]:
			forgotten++
		case c.Verdict != Same && b.older(*i, before):
			older++
		default:
			r.Incidents = append(r.Incidents, c)
		}
	}
	r.Aside = older + forgotten
	if older > 0 {
		b.note("%d incidents are not compared: they, or another of their group, opened before the log begins at %s", older, stamp(r.From))
	}
	if forgotten > 0 {
		b.note("%d incidents are not compared: the monitor does not keep them so long", forgotten)
	}
}

// older tells whether what happened to i depends on what is no longer in the log.
func (b *backtest) older(i alerting.Incident, live map[string]alerting.Incident) bool {
	for _, l := range live {
		if l.Group == i.Group && l.Since.Before(b.report.From) && within(l, i.Since) {
			return true
		}
	}
	return i.Since.Before(b.report.From)
}

// forgottenOf returns the incidents that the live run would have deleted by now.
func forgottenOf(incidents map[string]alerting.Incident, now time.Time) map[string]bool {
	list := make([]alerting.Incident, 0, len(incidents))
	for _, i := range incidents {
		list = append(list, i)
	}
	return notify.Outdated(list, now)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// stamp is a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }
