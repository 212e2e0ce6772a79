package alerting

import (
	"slices"
	"strings"

	"github.com/tripline/tripline/checks/probe"
)

func (p *problems) rate(r *Rate, s scope) {
	p.of(r, s)
	p.over("rate.over", r.Over, s, 0)
	limit, ok := p.limit(r)
	if r.MinFailures < 0 {
		p.add("rate.min_failures", "%d, want at least 1", r.MinFailures)
	} else {
		p.holds("rate.min_failures", r.MinFailures, r.Over, s, func(c Subject) int {
			if r.Of == ofDown {
				return 1
			}
			return max(1, c.Attempts)
		})
	}
	if r.ClearBelow != nil && ok {
		switch {
		case *r.ClearBelow == 0:
			p.add("rate.clear_below", "nothing is below 0 %%, so the finding would never clear")
		case *r.ClearBelow > limit || r.AtLeast == nil && *r.ClearBelow == limit:
			p.add("rate.clear_below", "%s is not below the limit of %s", *r.ClearBelow, limit)
		}
	}
	if r.DegradedIsBad && r.Of != ofDown {
		p.add("rate.degraded_is_bad", "only of: down counts results, %q counts attempts", r.Of)
	}
}

// limit finds out which share is the limit.
func (p *problems) limit(r *Rate) (limit Share, ok bool) {
	switch {
	case r.Above != nil && r.AtLeast != nil:
		p.add("rate.at_least", "above and at_least at once, want one of them")
		return 0, false
	case r.Above != nil && *r.Above >= 1:
		p.add("rate.above", "nothing is above %s, so this would never trip, want less or at_least: 100%%", *r.Above)
		return 0, false
	case r.Above != nil && *r.Above >= 0:
		return *r.Above, true
	case r.AtLeast != nil && *r.AtLeast > 1:
		p.add("rate.at_least", "nothing is %s, so this would never trip", *r.AtLeast)
		return 0, false
	case r.AtLeast != nil && *r.AtLeast > 0:
		return *r.AtLeast, true
	case r.AtLeast != nil:
		p.add("rate.at_least", "everything is at least %s, so this would always trip, want above: 0%%", *r.AtLeast)
		return 0, false
	}
	p.add("rate", "no limit, want above: or at_least: with a share such as 1%%")
	return 0, false
}

func (p *problems) of(r *Rate, s scope) {
	switch {
	case r.Of == "":
		p.add("rate.of", "missing, want one of %s, or a class", strings.Join(groups(), ", "))
	case slices.Contains(groups(), r.Of) || countable(probe.Class(r.Of)):
	case stageOf(probe.Class(r.Of)) == probe.StageMonitor:
		p.add("rate.of", "%s says nothing about a target, want a rule of kind unknown for it", r.Of)
	default:
		p.add("rate.of", "%q is neither a group nor a class of failures, want one of %s, or a class such as forbidden", r.Of, strings.Join(groups(), ", "))
	}
	if len(s.subjects) > 0 && (r.Of == ofUpgradeRejected || r.Of == ofSession) && !slices.ContainsFunc(s.subjects, func(c Subject) bool { return c.WebSocket }) {
		p.add("rate.of", "only WebSocket checks have %s failures, and none is selected", r.Of)
	}
}

func (p *problems) latency(l *Latency, s scope) {
	stats := []string{"", statMean, "p50", "p95", "p99"}
	if !slices.Contains(stats, l.Stat) {
		p.add("latency.stat", "%q, want mean, p50, p95 or p99", l.Stat)
	}
	if l.Above <= 0 {
		p.add("latency.above", "missing, want a duration such as 2s")
	}
	p.over("latency.over", l.Over, s, 0)
	if l.ClearBelow < 0 || l.ClearBelow > 0 && l.ClearBelow >= l.Above {
		p.add("latency.clear_below", "%s is not below the limit of %s", l.ClearBelow, l.Above)
	}
	one := func(Subject) int { return 1 }
	if l.MinSamples < 0 {
		p.add("latency.min_samples", "%d, want at least 1", l.MinSamples)
	} else if l.MinSamples > 0 {
		p.holds("latency.min_samples", l.MinSamples, l.Over, s, one)
	}
	if l.percentile() == 0 {
		return
	}
	var few problems
	few.holds("latency.over", l.needs(), l.Over, s, one)
	if len(few) > 0 {
		p.add("latency.over", "%s needs %d results to mean anything: %s", l.Stat, l.needs(), few[0].Text)
	}
	for _, c := range s.subjects {
		if n := slotsIn(l.Over, c); l.Over > 0 && n > mostRanked {
			p.add("latency.over", "%s holds %d results of %q, percentiles keep at most %d: want a shorter window", l.Over, n, c.Name, mostRanked)
			break
		}
	}
}

func (p *problems) unknown(u *UnknownRule, s scope) {
	if u.Above != nil && *u.Above >= 1 {
		p.add("unknown.above", "nothing is above %s, so this would never trip", *u.Above)
	}
	p.over("unknown.over", u.Over, s, defaultUnknownOver)
	if u.MinResults < 0 {
		p.add("unknown.min_results", "%d, want at least 1", u.MinResults)
	} else {
		over := u.Over
		if over == 0 {
			over = probe.Duration(defaultUnknownOver)
		}
		p.holds("unknown.min_results", u.MinResults, over, s, func(Subject) int { return 1 })
	}
	if u.BlindHosts != 0 && u.BlindHosts < 2 {
		p.add("unknown.blind_hosts", "%d, want at least 2: a single host that fails says nothing about the monitor", u.BlindHosts)
	}
	if u.BlindShare != nil && *u.BlindShare == 0 {
		p.add("unknown.blind_share", "0 %%, want a share such as 50%%")
	}
}
