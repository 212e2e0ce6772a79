package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Explanation is what there is behind an incident.
type Explanation struct {
	Incident alerting.Incident `json:"incident"`
	Samples  []Sample          `json:"samples"` // by time
	Told     []Told            `json:"told"`    // by notifier
	Evidence *probe.Evidence   `json:"evidence,omitempty"`
}

// Sample is one entry that counts for an incident: a result of one of its
// checks, or a gap.
type Sample struct {
	At     time.Time      `json:"at"` // slot of the result, beginning of the gap
	Result *checks.Result `json:"result,omitempty"`
	Gap    *checks.Gap    `json:"gap,omitempty"`
}

// Told says how far one notifier has told an incident.
type Told struct {
	Notifier string          `json:"notifier"`
	Receipt  *notify.Receipt `json:"receipt,omitempty"` // nil if nothing was told yet
	Dead     *notify.Dead    `json:"dead,omitempty"`    // what was given up
}

const (
	aroundIncident = 5 * time.Minute // of results before and after it that are shown
	writtenLate    = 15 * time.Minute
	newestIDs      = 10
)

// UnknownIncidentError says that an id names no incident, or several.
type UnknownIncidentError struct {
	ID    string
	Match []string // the incidents that begin with it; if there are none,
	Known []string // the newest ones, newest first
}

func (e *UnknownIncidentError) Error() string {
	switch {
	case len(e.Match) > 0:
		return fmt.Sprintf("%q is the beginning of %d incidents, want one of them:\n    %s", e.ID, len(e.Match), strings.Join(e.Match, "\n    "))
	case len(e.Known) == 0:
		return fmt.Sprintf("no incident %q: there are no incidents", e.ID)
	}
	return fmt.Sprintf("no incident %q; the newest are\n    %s", e.ID, strings.Join(e.Known, "\n    "))
}

// Explain gathers what is behind the incident whose id begins with id. The
// error is an *UnknownIncidentError if that is none, or more than one.
func Explain(ctx context.Context, s Source, id string) (Explanation, error) {
	all, err := incidents(ctx, s)
	if err != nil {
		return Explanation{}, err
	}
	var x Explanation
	if x.Incident, err = find(all, id); err != nil {
		return x, err
	}
	if x.Samples, err = samples(ctx, s, x.Incident); err != nil {
		return x, err
	}
	if x.Told, err = told(ctx, s, x.Incident.ID); err != nil {
		return x, err
	}
	x.Evidence, err = evidence(ctx, s, x.Samples)
	return x, err
}

func find(all map[string]alerting.Incident, id string) (alerting.Incident, error) {
	if i, ok := all[id]; ok {
		return i, nil
	}
	list := make([]alerting.Incident, 0, len(all))
	for _, i := range all {
		list = append(list, i)
	}
	slices.SortFunc(list, func(a, b alerting.Incident) int { return cmp.Or(b.Since.Compare(a.Since), cmp.Compare(a.ID, b.ID)) })
	unknown := &UnknownIncidentError{ID: id}
	var match alerting.Incident
	for n, i := range list {
		if strings.HasPrefix(i.ID, id) && id != "" {
			match = i
			unknown.Match = append(unknown.Match, i.ID)
		}
		if n < newestIDs {
			unknown.Known = append(unknown.Known, i.ID)
		}
	}
	if len(unknown.Match) == 1 {
		return match, nil
	}
	unknown.Match = unknown.Match[:min(len(unknown.Match), 4*newestIDs)]
	return alerting.Incident{}, unknown
}

var errPast = errors.New("past the incident")

// samples reads the results of the checks of i from a little before it to a
// little after it.
func samples(ctx context.Context, s Source, i alerting.Incident) ([]Sample, error) {
	from := i.Since
	names := map[string]bool{}
	for _, f := range i.Findings {
		if f.Since.Before(from) {
			from = f.Since
		}
		for _, name := range f.Checks {
			names[name] = true
		}
	}
	from = from.Add(-aroundIncident)
	to := i.Ended.Add(aroundIncident)
	concerns := func(check, group string) bool { return names[check] || check == "" || group == i.Group }
	within := func(a, b time.Time) bool { return !b.Before(from) && (i.Open() || !a.After(to)) }
	var list []Sample
	err := Each(ctx, s, from, func(b Batch) error {
		if !i.Open() && b.At.After(to.Add(writtenLate)) {
			return errPast
		}
		for _, e := range b.Entries {
			switch {
			case e.Result != nil && concerns(e.Result.Check, e.Result.GroupOrCheck()) && within(e.Result.Slot, e.Result.Slot):
				list = append(list, Sample{At: e.Result.Slot, Result: e.Result})
			case e.Gap != nil && concerns(e.Gap.Check, "") && within(e.Gap.From, e.Gap.To):
				list = append(list, Sample{At: e.Gap.From, Gap: e.Gap})
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errPast) {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b Sample) int { return a.At.Compare(b.At) })
	return list, nil
}

// told reads who is to tell an incident, and how far each has come.
func told(ctx context.Context, s Source, id string) ([]Told, error) {
	list := map[string]*Told{}
	for _, kind := range []string{"outbox", "receipt", "dead"} {
		records, err := s.List(ctx, kind)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			if len(r.Key) != 3 || r.Key[2] != id {
				continue
			}
			t := list[r.Key[1]]
			if t == nil {
				t = &Told{Notifier: r.Key[1]}
				list[r.Key[1]] = t
			}
			switch kind {
			case "receipt":
				t.Receipt = new(notify.Receipt)
				err = decode(r, t.Receipt, &t.Receipt.V)
			case "dead":
				t.Dead = new(notify.Dead)
				err = decode(r, t.Dead, &t.Dead.V)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	var out []Told
	for _, t := range list {
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b Told) int { return cmp.Compare(a.Notifier, b.Notifier) })
	return out, nil
}

// evidence returns the newest evidence of the check that failed last.
func evidence(ctx context.Context, s Source, list []Sample) (*probe.Evidence, error) {
	for _, x := range slices.Backward(list) {
		if r := x.Result; r != nil && r.Status != probe.Up && r.Status != probe.Unknown {
			return s.Evidence(ctx, r.Check)
		}
	}
	return nil, nil //nolint:nilnil // no evidence is an ordinary answer
}
