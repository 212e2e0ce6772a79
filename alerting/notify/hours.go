package notify

import (
	"fmt"
	"strings"
	"time"
)

// Hours are times of the week in one time zone. The zero value is all of them.
//
// They are written as days and times of day, once or several times, and a time
// zone: "Mon-Fri 09:00-18:00 Europe/Berlin", "Mon-Fri 18:00-09:00, Sat, Sun UTC".
// Times without days are of every day, days without times are whole days, a
// time that ends before it begins ends on the next day, and without a zone they
// are in UTC. Where clocks change, the clock on the wall counts.
type Hours struct {
	text  string
	zone  *time.Location
	spans []hoursSpan
}

// hoursSpan is one time of day on some days of the week.
type hoursSpan struct {
	days     [7]bool // by time.Weekday: the day on which it begins
	from, to int     // minutes since midnight; to is on the next day if it is not after from
}

const dayMinutes = 24 * 60

// IsZero tells whether h is all hours.
func (h Hours) IsZero() bool { return h.text == "" }

// String returns h as it was written.
func (h Hours) String() string { return h.text }

// MarshalText returns h as it was written.
func (h Hours) MarshalText() ([]byte, error) { return []byte(h.text), nil }

// Contain tells whether t is within h.
func (h Hours) Contain(t time.Time) bool {
	if h.IsZero() {
		return true
	}
	t = t.In(h.zone)
	today, minute := t.Weekday(), t.Hour()*60+t.Minute()
	yesterday := (today + 6) % 7
	for _, s := range h.spans {
		switch {
		case s.to > s.from:
			if s.days[today] && minute >= s.from && minute < s.to {
				return true
			}
		case s.days[today] && minute >= s.from, s.days[yesterday] && minute < s.to:
			return true
		}
	}
	return false
}

// UnmarshalText reads hours.
func (h *Hours) UnmarshalText(b []byte) error {
	text := string(b)
	parsed, err := parseHours(text)
	if err != nil {
		return fmt.Errorf("%q %w, want hours such as Mon-Fri 09:00-18:00 Europe/Berlin", cut(text, 100), err)
	}
	*h = parsed
	return nil
}

func parseHours(text string) (Hours, error) {
	h := Hours{text: text, zone: time.UTC}
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' })
	if n := len(words); n > 0 && isZone(words[n-1]) {
		zone, err := time.LoadLocation(words[n-1])
		if err != nil {
			return h, fmt.Errorf("names the time zone %q, which there is not", words[n-1])
		}
		h.zone, words = zone, words[:n-1]
	}
	if len(words) == 0 {
		return h, fmt.Errorf("names neither days nor times")
	}
	var days *[7]bool // that wait for their times
	for _, word := range words {
		if strings.Contains(word, ":") {
			from, to, err := parseTimes(word)
			if err != nil {
				return h, err
			}
			if days == nil {
				days = &[7]bool{true, true, true, true, true, true, true}
			}
			h.spans = append(h.spans, hoursSpan{*days, from, to})
			days = nil
			continue
		}
		if days == nil {
			days = &[7]bool{}
		}
		if err := parseDays(word, days); err != nil {
			return h, err
		}
	}
	if days != nil {
		h.spans = append(h.spans, hoursSpan{*days, 0, dayMinutes})
	}
	return h, nil
}

// isZone tells whether the last word of hours is meant as a time zone: it is
// neither days nor times.
func isZone(word string) bool {
	return !strings.Contains(word, ":") && parseDays(word, &[7]bool{}) != nil
}

// parseDays adds a day such as Mon, or a row of them such as Fri-Mon.
func parseDays(word string, days *[7]bool) error {
	first, last, row := strings.Cut(word, "-")
	from, ok := weekday(first)
	to := from
	if ok && row {
		to, ok = weekday(last)
	}
	if !ok {
		return fmt.Errorf("has %q, which is neither days nor times", word)
	}
	for d := from; ; d = (d + 1) % 7 {
		days[d] = true
		if d == to {
			return nil
		}
	}
}

func weekday(word string) (time.Weekday, bool) {
	for d := range time.Weekday(7) {
		if name := d.String(); strings.EqualFold(word, name) || strings.EqualFold(word, name[:3]) {
			return d, true
		}
	}
	return 0, false
}

// parseTimes reads times such as 09:00-18:00, in minutes since midnight.
func parseTimes(word string) (from, to int, err error) {
	first, last, _ := strings.Cut(word, "-")
	from, ok := parseClock(first)
	to, ok2 := parseClock(last)
	switch {
	case !ok || !ok2 || from == dayMinutes:
		return 0, 0, fmt.Errorf("has %q, which is no time from and to such as 09:00-18:00", word)
	case from == to:
		return 0, 0, fmt.Errorf("has %q, which is no time at all or all of it: all of it is 00:00-24:00", word)
	}
	return from, to, nil
}

// parseClock reads a time of day from 00:00 to 24:00.
func parseClock(s string) (minutes int, ok bool) {
	if s == "24:00" {
		return dayMinutes, true
	}
	if len(s) == len("9:00") {
		s = "0" + s
	}
	t, err := time.Parse("15:04", s)
	if err != nil {
		return 0, false
	}
	return t.Hour()*60 + t.Minute(), true
}
