package cloudmon

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// idleAfter is how long a cumulative series goes on without a change. Until
// then its point is repeated every minute, since a reader takes a pause for a
// slope; after it the series ends, and begins anew at zero if its time comes
// again. Removed checks end the same way.
const idleAfter = 25 * time.Hour

// Finding names what open findings are counted by.
type Finding struct {
	Rule     string `json:"rule"`
	Group    string `json:"group"`
	Severity string `json:"severity"`
}

// Counters folds the entries of the log into the values of the metrics. It is
// the same for all exporters; its methods may be called from any goroutine.
type Counters struct {
	latency  Latency
	findings func() map[Finding]int // nil: none are exported
	bounds   []float64
	metrics  map[string]*Metric

	mu     sync.Mutex
	open   int64 // beginning of the current interval, Unix ms
	checks map[checkKey]*tracked
	order  []*tracked // in the order of their first result
	groups map[groupKey]*grouped
	missed map[groupKey]*counted
	seen   map[Finding]*counted // findings that were open lately
	// configured are the checks that have gauges; nil: all.
	configured map[checkKey]bool
}

type checkKey struct{ check, kind, group, location string }

// groupKey names a group, or a check, at one location.
type groupKey struct{ name, location string }

// counted is a number that only grows, until it begins again.
type counted struct {
	labels  []string
	n       int64
	since   int64 // Unix ms
	changed int64 // beginning of the interval in which it last grew
}

// mean is the mean of an interval; last is that of the interval before.
type mean struct {
	Sum  float64 `json:"sum,omitempty"`
	N    int64   `json:"n,omitempty"`
	Last float64 `json:"last,omitempty"`
	Has  bool    `json:"has,omitempty"`
}

type gauge struct {
	V     float64 `json:"v"`
	Fresh bool    `json:"fresh,omitempty"`
}

// tracked is what is known of one check at one location.
type tracked struct {
	key      checkKey
	labels   []string
	classes  []classCount
	up       *gauge
	mean     mean
	dist     *dist
	recorded []recorded
	group    *grouped
	changed  int64
}

type classCount struct {
	class probe.Class
	*counted
}

type recorded struct {
	name   string
	metric *Metric
	gauge
}

type grouped struct {
	key     groupKey
	labels  []string
	mean    mean
	dist    *dist
	changed int64
}

// NewCounters returns counters that keep latency as l says. findings, if not
// nil, returns how many findings hold at present; it must not block. Roll says
// when the first interval begins, and should be called before the first Fold.
func NewCounters(l Latency, findings func() map[Finding]int) *Counters {
	c := &Counters{
		latency: l, findings: findings, bounds: Bounds(), metrics: map[string]*Metric{},
		checks: map[checkKey]*tracked{}, groups: map[groupKey]*grouped{}, missed: map[groupKey]*counted{}, seen: map[Finding]*counted{},
	}
	for _, m := range Metrics() {
		c.metrics[m.Name] = &m
	}
	return c
}

// Configure says which checks there are. Those that are no longer there, or are
// now of another kind, group or location, show no gauge from then on, whatever
// of theirs is still to come; what they counted goes when it is idle. Until the
// first call all checks are taken for configured.
func (c *Counters) Configure(list []checks.Check) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.configured = make(map[checkKey]bool, len(list))
	groups := map[groupKey]bool{}
	for i := range list {
		k := &list[i]
		group := cmp.Or(k.Group, k.Name)
		c.configured[checkKey{k.Name, k.Kind, group, k.Location}] = true
		groups[groupKey{group, k.Location}] = true
	}
	for _, t := range c.order {
		if !c.configured[t.key] {
			t.up, t.mean, t.recorded = nil, mean{}, nil
		}
	}
	for key, g := range c.groups {
		if !groups[key] {
			g.mean = mean{}
		}
	}
}

// Fold adds one entry.
func (c *Counters) Fold(e checks.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case e.Result != nil:
		c.result(e.Result)
	case e.Gap != nil && e.Gap.Slots > 0:
		key := groupKey{e.Gap.Check, e.Gap.Location}
		m := c.missed[key]
		if m == nil {
			m = c.start(labelValue(key.name), labelValue(key.location))
			c.missed[key] = m
		}
		m.add(int64(e.Gap.Slots), c.open)
	}
}

// start begins a count. Its first millisecond is after the end of every point
// that was written, so that a series that begins again is legal.
func (c *Counters) start(labels ...string) *counted {
	return &counted{labels: labels, since: c.open + 1}
}

func (n *counted) add(k, now int64) {
	n.n += k
	n.changed = now
}

func (c *Counters) result(r *checks.Result) {
	key := checkKey{r.Check, r.Kind, r.GroupOrCheck(), r.Location}
	t := c.checks[key]
	if t == nil {
		t = c.track(key)
	}
	t.changed, t.group.changed = c.open, c.open
	if r.Tally == nil {
		c.count(t, r.Class, 1)
	}
	for class, n := range r.Tally {
		if n > 0 {
			c.count(t, class, n)
		}
	}
	if c.configured != nil && !c.configured[key] {
		return
	}
	switch r.Status {
	case probe.Up, probe.Degraded:
		t.setUp(1)
	case probe.Down:
		t.setUp(0)
	case probe.Unknown:
		t.up = nil
	}
	if r.Latency > 0 {
		c.observe(t, r.Latency.Seconds())
	}
	for name, v := range r.Measures {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			c.record(t, name, v)
		}
	}
}

func (c *Counters) track(key checkKey) *tracked {
	t := &tracked{key: key, labels: []string{labelValue(key.check), labelValue(key.kind), labelValue(key.group), labelValue(key.location)}}
	gk := groupKey{key.group, key.location}
	if t.group = c.groups[gk]; t.group == nil {
		t.group = &grouped{key: gk, labels: []string{labelValue(gk.name), labelValue(gk.location)}}
		c.groups[gk] = t.group
	}
	c.checks[key] = t
	c.order = append(c.order, t)
	return t
}

func (c *Counters) count(t *tracked, class probe.Class, n int) {
	for _, k := range t.classes {
		if k.class == class {
			k.add(int64(n), c.open)
			return
		}
	}
	k := classCount{class, c.start(t.labels[0], t.labels[1], t.labels[2], labelValue(string(class)), t.labels[3])}
	k.add(int64(n), c.open)
	t.classes = append(t.classes, k)
}

func (t *tracked) setUp(v float64) {
	if t.up == nil {
		t.up = &gauge{}
	}
	t.up.V, t.up.Fresh = v, true
}

func (c *Counters) observe(t *tracked, seconds float64) {
	for _, l := range [...]struct {
		keep string
		mean *mean
		dist **dist
	}{{c.latency.PerCheck, &t.mean, &t.dist}, {c.latency.PerGroup, &t.group.mean, &t.group.dist}} {
		switch l.keep {
		case latencyMean:
			l.mean.Sum += seconds
			l.mean.N++
		case latencyDistribution:
			if *l.dist == nil {
				*l.dist = newDist(c.open + 1)
			}
			(*l.dist).observe(seconds, c.bounds)
			(*l.dist).Changed = c.open
		}
	}
}

func (c *Counters) record(t *tracked, name string, v float64) {
	for i := range t.recorded {
		if r := &t.recorded[i]; r.name == name {
			r.V, r.Fresh = v, true
			return
		}
	}
	t.recorded = append(t.recorded, recorded{name, c.recordedMetric(name), gauge{v, true}})
}

func (c *Counters) recordedMetric(name string) *Metric {
	m := recordedMetric(metricName(name))
	if c.metrics[m.Name] == nil {
		c.metrics[m.Name] = &m
	}
	return c.metrics[m.Name]
}

// Roll ends an interval, and the next one begins at from: gauges are no longer
// fresh, means begin again, series that were idle too long end, and a series
// that is first seen from now on starts after from.
func (c *Counters) Roll(from time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = from.UnixMilli()
	oldest := from.Add(-idleAfter).UnixMilli()
	c.order = slices.DeleteFunc(c.order, func(t *tracked) bool {
		t.roll(oldest)
		if t.changed >= oldest {
			return false
		}
		delete(c.checks, t.key)
		return true
	})
	for key, g := range c.groups {
		g.mean.roll()
		if g.dist != nil && g.dist.Changed < oldest {
			g.dist = nil
		}
		if g.changed < oldest {
			delete(c.groups, key)
		}
	}
	for key, m := range c.missed {
		if m.changed < oldest {
			delete(c.missed, key)
		}
	}
	for f, n := range c.seen {
		if n.changed < oldest {
			delete(c.seen, f)
		}
	}
}

func (t *tracked) roll(oldest int64) {
	t.mean.roll()
	if t.up != nil {
		t.up.Fresh = false
	}
	for i := range t.recorded {
		t.recorded[i].Fresh = false
	}
	t.classes = slices.DeleteFunc(t.classes, func(k classCount) bool { return k.changed < oldest })
	if t.dist != nil && t.dist.Changed < oldest {
		t.dist = nil
	}
}

func (m *mean) roll() {
	if m.N > 0 {
		m.Last, m.Has = m.Sum/float64(m.N), true
	}
	m.Sum, m.N = 0, 0
}
