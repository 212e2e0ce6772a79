package config

import (
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/schedule"
)

// The ranges of what a file may say about time.
const (
	leastEvery   = time.Second
	mostEvery    = 31 * 24 * time.Hour
	leastTimeout = 10 * time.Millisecond
	mostTimeout  = time.Hour
	mostConfirm  = 10
)

// judgeTiming reports values of the mapping n that are out of range. It is
// false if one of them is wrong.
func (l *loader) judgeTiming(n *yaml.Node, every, timeout *probe.Duration, confirm *int) bool {
	duration := func(key string, d *probe.Duration, least, most time.Duration) {
		if v := l.below(n, key); v != nil && d != nil && (time.Duration(*d) < least || time.Duration(*d) > most) {
			l.fail(v, "%s: %s, want %s to %s", key, d, text(least), text(most))
		}
	}
	duration("every", every, leastEvery, mostEvery)
	duration("timeout", timeout, leastTimeout, mostTimeout)
	if v := l.below(n, "confirm"); v != nil && confirm != nil && (*confirm < 0 || *confirm > mostConfirm) {
		l.fail(v, "confirm: %d, want 0 to %d re-probes", *confirm, mostConfirm)
	}
	for _, key := range []string{"every", "timeout", "confirm"} {
		if _, v := l.find(n, key); v != nil && l.bad[v] {
			return false
		}
	}
	return true
}

// timing decides when a check runs and how long its attempts may take. The
// schedule is nil when something about it is wrong; most is the most time
// between two of its slots.
func (l *loader) timing(n, at *yaml.Node, what string, c *Check, mayRepeat bool) (s checks.Schedule, f fit, most time.Duration, when string) {
	good := l.judgeTiming(n, c.Every, c.Timeout, c.Confirm)
	s, interval, most, when := l.slots(n, what, c)
	if !good || s == nil || !l.goodDefaults {
		return nil, f, 0, ""
	}
	f = fit{interval: interval, confirm: unset}
	if d := either(c.Timeout, l.file.Defaults.Timeout); d != nil {
		f.timeout = time.Duration(*d)
	}
	switch {
	case c.Confirm != nil:
		f.confirm = *c.Confirm
	case !mayRepeat:
		f.confirm = 0
	case l.file.Defaults.Confirm != nil:
		f.confirm = *l.file.Defaults.Confirm
	}
	f = f.choose()
	if problem := f.problem(); problem != "" {
		for _, key := range []string{"cron", "every", "timeout", "confirm"} { // the last of them that is here
			if v := l.below(n, key); v != nil {
				at = v
			}
		}
		l.fail(at, "%s: %s", what, problem)
	}
	return s, f, most, when
}

// slots returns the schedule of a check, the least and the most time between
// its slots, and what to call it.
func (l *loader) slots(n *yaml.Node, what string, c *Check) (s checks.Schedule, least, most time.Duration, when string) {
	cron, zone := l.below(n, "cron"), l.below(n, "timezone")
	switch {
	case cron == nil && zone != nil:
		l.fail(zone, "%s: timezone without cron, want both or neither", what)
		return nil, 0, 0, ""
	case cron == nil:
		if _, v := l.find(n, "cron"); v != nil {
			return nil, 0, 0, ""
		}
		every := defaultEvery
		if d := either(c.Every, l.file.Defaults.Every); d != nil {
			every = time.Duration(*d)
		}
		return schedule.Every(every, c.Name), every, every, "every " + text(every)
	case c.Every != nil:
		key, _ := l.find(n, "every")
		l.fail(key, "%s: every and cron at once, want one of them", what)
		return nil, 0, 0, ""
	}
	e := l.cron(c.Cron, c.Timezone)
	if e.err != nil {
		if e.zone && zone != nil {
			cron = zone
		}
		l.fail(cron, "%s: %s", what, e.err)
		return nil, 0, 0, ""
	}
	when = "cron " + c.Cron
	if c.Timezone != "" {
		when += " " + c.Timezone
	}
	return e.schedule, e.interval, e.longest, when
}

// cronEntry is a cron schedule that checks share.
type cronEntry struct {
	schedule checks.Schedule
	interval time.Duration // the least between two slots
	longest  time.Duration // the most
	err      error
	zone     bool // err is about the time zone
}

func (l *loader) cron(text, zone string) cronEntry {
	key := [2]string{text, zone}
	if e, ok := l.crons[key]; ok {
		return e
	}
	var e cronEntry
	if loc, err := location(zone); err != nil {
		e.err, e.zone = err, true
	} else if s, err := parseCron(text, loc); err != nil {
		e.err = err
	} else {
		e.schedule = s
		e.interval, e.longest = between(s)
	}
	l.crons[key] = e
	return e
}

func either[T any](own, fallback *T) *T {
	if own != nil {
		return own
	}
	return fallback
}

// judgeDefaults reports what is wrong with the timing of all checks.
func (l *loader) judgeDefaults() {
	l.goodDefaults = true
	if n := l.at("defaults"); n != nil {
		d := l.file.Defaults
		l.goodDefaults = !l.bad[n] && l.judgeTiming(n, d.Every, d.Timeout, d.Confirm)
	}
}
