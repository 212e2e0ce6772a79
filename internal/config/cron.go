package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/tripline/tripline/checks"
)

const wantCron = "want five fields: minute hour day month weekday, such as 30 3 * * 1-5"

// parseCron reads the five fields of crontab(5), which mean their hours in zone. The parser
// panics on some texts ("TZ=UTC"), and both it and Next are only called behind
// recover.
func parseCron(text string, zone *time.Location) (sched checks.Schedule, err error) {
	switch {
	case strings.HasPrefix(text, "@every"):
		return nil, fmt.Errorf("%q is no cron schedule, want the key every: instead, such as every: 5m", text)
	case strings.HasPrefix(text, "@"):
		return nil, fmt.Errorf("%q is no cron schedule, %s", text, wantCron)
	case strings.Contains(text, "TZ="):
		return nil, fmt.Errorf("%q names a time zone, want it beside cron, such as timezone: Europe/Berlin", text)
	}
	defer func() {
		if p := recover(); p != nil {
			sched, err = nil, fmt.Errorf("%q is no cron schedule (%v), %s", text, p, wantCron)
		}
	}()
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	parsed, err := parser.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no cron schedule (%w), %s", text, err, wantCron)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("%q is no cron schedule, %s", text, wantCron)
	}
	spec.Location = zone
	s := cronSchedule{spec}
	if s.Next(reference()).IsZero() {
		return nil, fmt.Errorf("%q never comes: no such day exists, want one that does", text)
	}
	return s, nil
}

// location reads a time zone; none means UTC.
func location(name string) (*time.Location, error) {
	if name == "" {
		return time.UTC, nil
	}
	if name == "Local" { // what the schedules do with it is not what it says
		return nil, errors.New("\"Local\" is another zone on each machine, want a name such as UTC or Europe/Berlin")
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("%q is no time zone, want a name such as UTC or Europe/Berlin", name)
	}
	return loc, nil
}

// cronSchedule is a cron schedule whose Next cannot panic.
type cronSchedule struct{ spec *cron.SpecSchedule }

// Next returns the first time after t, and the zero time for never.
func (s cronSchedule) Next(t time.Time) (next time.Time) {
	defer func() {
		if recover() != nil {
			next = time.Time{}
		}
	}()
	return s.spec.Next(t)
}

// reference is when schedules are judged at: a fixed time, so that a file is
// right or wrong whatever the day.
func reference() time.Time { return time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC) }

// between returns the least and the most time between two slots of s: seen
// over the next hundred of them, and those of a week (a check each minute of
// the working hours pauses at the weekend).
func between(s checks.Schedule) (least, most time.Duration) {
	at := s.Next(reference())
	week := at.AddDate(0, 0, 8)
	for n := 0; n < 100 || n < 12_000 && at.Before(week); n++ {
		next := s.Next(at)
		if next.IsZero() {
			break
		}
		d := next.Sub(at)
		if most = max(most, d); least == 0 || d < least {
			least = d
		}
		at = next
	}
	return least, most
}
