package cloudmon

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// stateVersion is the version of the stored form of the exporter's state.
const stateVersion = 1

// state is what the exporter stores: all of it at once, so that position and
// counters never disagree. Times are Unix milliseconds.
type state struct {
	V       int    `json:"v"`
	Task    string `json:"task"` // whose series these are
	Seq     uint64 `json:"seq"`  // of the newest batch that was folded in part or whole
	Skip    int    `json:"skip"` // how many of its entries were
	End     int64  `json:"end"`  // of the open minute
	LastEnd int64  `json:"last"` // newest end time that was written, or was about to be
	Folded  bool   `json:"folded,omitempty"`

	Since    int64 `json:"since"` // start of the counts below
	Written  int64 `json:"written"`
	Rejected int64 `json:"rejected"`
	Dropped  int64 `json:"dropped"`

	Counters *Counters `json:"counters"`
}

// encode returns the stored form: JSON, compressed since most of it repeats.
func (s *state) encode(z *gzip.Writer) ([]byte, error) {
	var b bytes.Buffer
	z.Reset(&b)
	if err := json.NewEncoder(z).Encode(s); err != nil {
		return nil, fmt.Errorf("encode export state: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("encode export state: %w", err)
	}
	return b.Bytes(), nil
}

// decode reads what encode wrote into s, whose Counters must be new ones.
func (s *state) decode(b []byte) error {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("decode export state of %d bytes: %w", len(b), err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		return fmt.Errorf("decode export state of %d bytes: %w", len(b), err)
	}
	var v struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(plain, &v); err != nil {
		return fmt.Errorf("decode export state of %d bytes: %w", len(b), err)
	}
	if v.V > stateVersion {
		return fmt.Errorf("decode export state: %w", &checks.NewerError{Seen: v.V, Known: stateVersion})
	}
	if err := json.Unmarshal(plain, s); err != nil {
		return fmt.Errorf("decode export state of %d bytes: %w", len(b), err)
	}
	return nil
}

// The stored form of Counters.
type (
	countersState struct {
		Open   int64          `json:"open"`
		Checks []checkState   `json:"checks,omitempty"`
		Groups []groupState   `json:"groups,omitempty"`
		Missed []missedState  `json:"missed,omitempty"`
		Seen   []findingState `json:"seen,omitempty"`
	}
	checkState struct {
		Check    string           `json:"check"`
		Kind     string           `json:"kind"`
		Group    string           `json:"group"`
		Location string           `json:"loc"`
		Changed  int64            `json:"changed"`
		Classes  []classState     `json:"classes,omitempty"`
		Up       *gauge           `json:"up,omitempty"`
		Mean     mean             `json:"mean,omitzero"`
		Dist     *dist            `json:"dist,omitempty"`
		Recorded map[string]gauge `json:"rec,omitempty"`
	}
	countState struct {
		N       int64 `json:"n"`
		Since   int64 `json:"since"`
		Changed int64 `json:"changed"`
	}
	classState struct {
		Class probe.Class `json:"class"`
		countState
	}
	groupState struct {
		Group    string `json:"group"`
		Location string `json:"loc"`
		Changed  int64  `json:"changed"`
		Mean     mean   `json:"mean,omitzero"`
		Dist     *dist  `json:"dist,omitempty"`
	}
	missedState struct {
		Check    string `json:"check"`
		Location string `json:"loc"`
		countState
	}
	findingState struct {
		Finding
		Changed int64 `json:"changed"`
	}
)

func (n *counted) state() countState { return countState{n.n, n.since, n.changed} }

// MarshalJSON returns the stored form, for an exporter that keeps its counters
// across restarts.
func (c *Counters) MarshalJSON() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := countersState{Open: c.open}
	for _, t := range c.order {
		k := checkState{
			Check: t.key.check, Kind: t.key.kind, Group: t.key.group, Location: t.key.location,
			Changed: t.changed, Up: t.up, Mean: t.mean, Dist: t.dist,
		}
		for _, n := range t.classes {
			k.Classes = append(k.Classes, classState{n.class, n.state()})
		}
		for _, r := range t.recorded {
			if k.Recorded == nil {
				k.Recorded = map[string]gauge{}
			}
			k.Recorded[r.name] = r.gauge
		}
		s.Checks = append(s.Checks, k)
	}
	for _, k := range sortedKeys(c.groups) {
		g := c.groups[k]
		s.Groups = append(s.Groups, groupState{k.name, k.location, g.changed, g.mean, g.dist})
	}
	for _, k := range sortedKeys(c.missed) {
		s.Missed = append(s.Missed, missedState{k.name, k.location, c.missed[k].state()})
	}
	for f, n := range c.seen {
		s.Seen = append(s.Seen, findingState{f, n.changed})
	}
	return json.Marshal(s)
}

// UnmarshalJSON restores what MarshalJSON returned into new counters. What
// the present settings for latency do not keep is left out.
func (c *Counters) UnmarshalJSON(b []byte) error {
	var s countersState
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = s.Open
	for _, k := range s.Checks {
		if err := c.restoreCheck(k); err != nil {
			return err
		}
	}
	for _, k := range s.Groups {
		if g := c.groups[groupKey{k.Group, k.Location}]; g != nil {
			g.changed = k.Changed
			var err error
			if g.mean, g.dist, err = restoreLatency(c.latency.PerGroup, k.Mean, k.Dist); err != nil {
				return fmt.Errorf("group %q: %w", k.Group, err)
			}
		}
	}
	for _, k := range s.Missed {
		m := c.start(labelValue(k.Check), labelValue(k.Location))
		m.n, m.since, m.changed = k.N, k.Since, k.Changed
		c.missed[groupKey{k.Check, k.Location}] = m
	}
	for _, f := range s.Seen {
		m := c.start(labelValue(f.Rule), labelValue(f.Group), labelValue(f.Severity))
		m.changed = f.Changed
		c.seen[f.Finding] = m
	}
	return nil
}

func (c *Counters) restoreCheck(k checkState) error {
	t := c.track(checkKey{k.Check, k.Kind, k.Group, k.Location})
	t.changed, t.up = k.Changed, k.Up
	var err error
	if t.mean, t.dist, err = restoreLatency(c.latency.PerCheck, k.Mean, k.Dist); err != nil {
		return fmt.Errorf("check %q: %w", k.Check, err)
	}
	for _, n := range k.Classes {
		if n.N < 0 {
			return fmt.Errorf("check %q: %d attempts of class %q, want 0 or more", k.Check, n.N, n.Class)
		}
		c.count(t, n.Class, 0)
		last := t.classes[len(t.classes)-1]
		last.n, last.since, last.changed = n.N, n.Since, n.Changed
	}
	for name, g := range k.Recorded {
		t.recorded = append(t.recorded, recorded{name, c.recordedMetric(name), g})
	}
	return nil
}

func restoreLatency(keep string, m mean, d *dist) (mean, *dist, error) {
	if d != nil && !d.valid() {
		return mean{}, nil, fmt.Errorf("latency distribution of %d is inconsistent", d.N)
	}
	if keep != latencyMean {
		m = mean{}
	}
	if keep != latencyDistribution {
		d = nil
	}
	return m, d, nil
}

func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMS(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}
