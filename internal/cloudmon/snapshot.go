package cloudmon

import (
	"cmp"
	"maps"
	"slices"
)

// Snapshot returns all values as they are now, those of one check together.
func (c *Counters) Snapshot() []Sample {
	open := map[Finding]int{}
	if c.findings != nil {
		open = c.findings()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Sample, 0, 1+5*len(c.order)+2*len(c.groups))
	out = append(out, Sample{Metric: c.metrics[nameHeartbeat], Fresh: true, Int: 1})
	for _, t := range c.order {
		out = c.appendCheck(out, t)
	}
	for _, k := range sortedKeys(c.groups) {
		g := c.groups[k]
		out = g.mean.append(out, c.metrics[nameGroupMean], g.labels)
		out = g.dist.append(out, c.metrics[nameGroupLatency], g.labels)
	}
	for _, k := range sortedKeys(c.missed) {
		out = c.missed[k].append(out, c.metrics[nameSlotsMissed])
	}
	return c.appendFindings(out, open)
}

func sortedKeys[V any](m map[groupKey]V) []groupKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b groupKey) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.location, b.location))
	})
}

func (c *Counters) appendCheck(out []Sample, t *tracked) []Sample {
	for _, k := range t.classes {
		out = k.append(out, c.metrics[nameCheckCount])
	}
	if t.up != nil {
		out = append(out, Sample{Metric: c.metrics[nameUp], Labels: t.labels, Fresh: t.up.Fresh, Int: int64(t.up.V)})
	}
	out = t.mean.append(out, c.metrics[nameLatencyMean], t.labels)
	out = t.dist.append(out, c.metrics[nameLatency], t.labels)
	for _, r := range t.recorded {
		out = append(out, Sample{Metric: r.metric, Labels: t.labels, Fresh: r.Fresh, Double: r.V})
	}
	return out
}

// appendFindings adds the open findings, and a zero for those that were open
// lately: a gauge that just ends keeps its last value on a chart.
func (c *Counters) appendFindings(out []Sample, open map[Finding]int) []Sample {
	for f, n := range open {
		k := c.seen[f]
		if k == nil {
			k = &counted{labels: []string{labelValue(f.Rule), labelValue(f.Group), labelValue(f.Severity)}}
			c.seen[f] = k
		}
		if n > 0 {
			k.changed = c.open
		}
	}
	for _, f := range slices.SortedFunc(maps.Keys(c.seen), func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Severity, b.Severity))
	}) {
		out = append(out, Sample{Metric: c.metrics[nameOpenFindings], Labels: c.seen[f].labels, Fresh: true, Int: int64(open[f])})
	}
	return out
}

func (n *counted) append(out []Sample, m *Metric) []Sample {
	return append(out, Sample{Metric: m, Labels: n.labels, StartMS: n.since, Fresh: true, Int: n.n})
}

func (m *mean) append(out []Sample, metric *Metric, labels []string) []Sample {
	switch {
	case m.N > 0:
		return append(out, Sample{Metric: metric, Labels: labels, Fresh: true, Double: m.Sum / float64(m.N)})
	case m.Has:
		return append(out, Sample{Metric: metric, Labels: labels, Double: m.Last})
	}
	return out
}

func (d *dist) append(out []Sample, m *Metric, labels []string) []Sample {
	if d == nil {
		return out
	}
	return append(out, Sample{Metric: m, Labels: labels, StartMS: d.Since, Fresh: true, Distribution: d.snapshot()})
}
