package alerting

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

const (
	mostOver    = 31 * 24 * time.Hour // the log is not kept for longer
	mostRecover = 1000
	mostSlots   = 1000
	mostName    = 100
)

// problems collects what is wrong with a rule.
type problems []probe.Problem

func (p *problems) add(path, format string, args ...any) {
	*p = append(*p, probe.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
}

// Validate returns everything that is wrong with the rule for these checks:
// also settings that could never or would always make a finding, and selectors
// that match nothing.
func (r *Rule) Validate(subjects []Subject) []probe.Problem {
	var p problems
	if r.Name == "" {
		p.add("name", "missing: messages and the stored state need one")
	} else if len(r.Name) > mostName {
		p.add("name", "%d bytes, want at most %d", len(r.Name), mostName)
	}
	if r.Severity != "" && r.Severity != Page && r.Severity != Ticket {
		p.add("severity", "%q is no severity, want page or ticket", r.Severity)
	}
	if !slices.Contains([]string{"", byCheck, byGroup, byAll}, r.By) {
		p.add("by", "%q, want check, group or all", r.By)
	}
	if r.RecoverAfter < 0 || r.RecoverAfter > mostRecover {
		p.add("recover_after", "%d, want 1 to %d good results in a row", r.RecoverAfter, mostRecover)
	}
	p.runbook(r.Runbook)
	selected := p.selected(r.Select, subjects)
	p.keys(r, subjects)
	p.kinds(r, divide(r, selected))
	return p
}

// scope is the selected checks and the sets that figures are computed over.
type scope struct {
	subjects []Subject
	sets     [][]Subject
}

// divide divides the selected checks into sets.
func divide(r *Rule, selected []Subject) scope {
	s := scope{subjects: selected}
	index := map[string]int{}
	for _, c := range selected {
		_, of := r.keys(c)
		k, ok := index[of]
		if !ok {
			k = len(s.sets)
			index[of] = k
			s.sets = append(s.sets, nil)
		}
		s.sets[k] = append(s.sets[k], c)
	}
	return s
}

func (p *problems) kinds(r *Rule, s scope) {
	var set []string
	if r.Rate != nil {
		set = append(set, "rate")
		p.rate(r.Rate, s)
	}
	if r.Latency != nil {
		set = append(set, "latency")
		p.latency(r.Latency, s)
	}
	if r.Down != nil {
		set = append(set, "down")
		if n := r.Down.Slots; n < 0 || n > mostSlots {
			p.add("down.slots", "%d, want 1 to %d slots in a row", n, mostSlots)
		}
	}
	if r.Unknown != nil {
		set = append(set, "unknown")
		p.unknown(r.Unknown, s)
	}
	switch len(set) {
	case 0:
		p.add("", "no kind of rule, want one of rate, latency, down, unknown")
	case 1:
	default:
		p.add("", "%s at once, want one of them: make a rule of each", strings.Join(set, " and "))
	}
}

func (p *problems) runbook(s string) {
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		p.add("runbook", "this is no URL of a page, want one such as https://example.com/runbooks/websocket")
	case u.User != nil:
		p.add("runbook", "the URL holds credentials, and is part of every message: want it without")
	}
}

// selected returns the checks that s selects; if there are none it says which
// part of the selector matches none.
func (p *problems) selected(s Select, subjects []Subject) []Subject {
	if _, err := path.Match(s.Name, ""); err != nil {
		p.add("select.name", "%q is no pattern: a bracket is open or a backslash at the end", s.Name)
		return nil
	}
	var list []Subject
	for _, c := range subjects {
		if s.matches(c) {
			list = append(list, c)
		}
	}
	if len(list) > 0 || len(subjects) == 0 {
		return list
	}
	found := false
	part := func(path string, one Select, format string, args ...any) {
		if !slices.ContainsFunc(subjects, one.matches) {
			p.add(path, format, args...)
			found = true
		}
	}
	if s.Kind != "" {
		part("select.kind", Select{Kind: s.Kind}, "no check is of kind %q, there are %s", s.Kind, names(subjects, func(c Subject) string { return c.Kind }))
	}
	if s.Group != "" {
		part("select.group", Select{Group: s.Group}, "no check is in group %q, there are %s", s.Group, names(subjects, Subject.group))
	}
	if s.Name != "" {
		part("select.name", Select{Name: s.Name}, "no check has a name like %q, there are %s", s.Name, names(subjects, func(c Subject) string { return c.Name }))
	}
	for _, k := range sortedKeys(s.Labels) {
		part("select.labels."+k, Select{Labels: map[string]string{k: s.Labels[k]}}, "no check has the label %s: %q%s", k, s.Labels[k],
			labelHint(subjects, k))
	}
	if !found {
		p.add("select", "no check matches all of it, only parts")
	}
	return nil
}

func labelHint(subjects []Subject, label string) string {
	values := names(subjects, func(c Subject) string { return c.Labels[label] })
	if values == "" {
		return ", nor any label of that name"
	}
	return ", there are " + values
}

// names lists the different values of the checks, the first ten.
func names(subjects []Subject, of func(Subject) string) string {
	const most = 10
	var list []string
	for _, c := range subjects {
		if s := of(c); s != "" && !slices.Contains(list, s) {
			list = append(list, s)
		}
		if len(list) > most {
			break
		}
	}
	if len(list) > most {
		return strings.Join(list[:most], ", ") + ", ..."
	}
	return strings.Join(list, ", ")
}

// keys finds incidents that would mix: those of a rule or of the monitor with
// those of a group of the same name.
func (p *problems) keys(r *Rule, subjects []Subject) {
	key := ""
	switch {
	case r.Unknown != nil:
		key = monitorKey
	case r.by() == byAll:
		key = r.Name
	}
	if key == "" || !slices.ContainsFunc(subjects, func(c Subject) bool { return c.group() == key }) {
		return
	}
	if r.Unknown != nil {
		p.add("", "findings about the monitor gather in the incident %q, and a group of checks has that name: give the group another one", key)
	} else {
		p.add("name", "with by: all the incident is named after the rule, and a group of checks is named %q too: want another name", key)
	}
}

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

// over judges the length of a window. fallback is its default, 0 if it must be given.
func (p *problems) over(path string, over probe.Duration, s scope, fallback time.Duration) {
	switch d := time.Duration(over); {
	case d == 0 && fallback > 0:
	case d <= 0:
		p.add(path, "missing, want the length of the window, such as 5m")
	case d > mostOver:
		p.add(path, "%s is longer than the log is kept, want at most 31d", over)
	default:
		var longer []Subject
		for _, c := range s.subjects {
			if c.Interval > d {
				longer = append(longer, c)
			}
		}
		if len(longer) > 0 {
			p.add(path, "%s is shorter than the time between two runs of %s, %s: want at least that", over,
				someOf(longer), probe.Duration(longer[0].Interval))
		}
	}
}

// someOf names the first of some checks.
func someOf(list []Subject) string {
	s := strconv.Quote(list[0].Name)
	if n := len(list) - 1; n > 0 {
		s += " and " + strconv.Itoa(n) + " more"
	}
	return s
}

// holds complains of a count that the windows of a set can never reach.
func (p *problems) holds(path string, want int, over probe.Duration, s scope, each func(Subject) int) {
	if over <= 0 {
		return
	}
	for _, set := range s.sets {
		most := 0
		for _, c := range set {
			most += int(slotsIn(over, c)) * each(c)
		}
		if most < want {
			p.add(path, "%d, but %s of %s holds at most %d, so this would never trip", want, over, someOf(set), most)
			return
		}
	}
}

func slotsIn(over probe.Duration, c Subject) int64 {
	g := newGeometry(millis(time.Duration(over), time.Minute), millis(c.Interval, time.Minute), mostExact)
	return g.slots()
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

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
