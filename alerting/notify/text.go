package notify

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// clean makes s fit to be shown: valid UTF-8, without control characters and
// without those that turn the direction of text, which could make a name read
// as something else. Newlines stay when lines is set and become spaces
// otherwise.
func clean(s string, lines bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' && lines:
			return r
		case r == '\n', r == '\t':
			return ' '
		case r == '\u2028', r == '\u2029': // line and paragraph separator
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\uFEFF':
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// severity is the severity of i, "resolved" once it has ended, as titles begin.
func severity(i alerting.Incident) string {
	if !i.Open() {
		return "resolved"
	}
	return string(i.Severity)
}

// length is how long i was bad, such as 4m.
func length(i alerting.Incident) string {
	return probe.Duration(i.Outage().Round(time.Second)).String()
}

// span says from when to when i was bad, such as "03:10:00–03:14:00 UTC (4m)",
// with the date in front of each end that is not on the day of now.
func span(i alerting.Incident, now time.Time, zone *time.Location) string {
	from, to := i.Since.In(zone), i.LastBad.In(zone)
	s := clock(from, now.In(zone)) + "–" + clock(to, now.In(zone))
	if !i.LastBad.After(i.Since) {
		return clock(from, now.In(zone)) + " " + from.Format("MST") + " (one slot)"
	}
	return s + " " + to.Format("MST") + " (" + length(i) + ")"
}

func clock(t, now time.Time) string {
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// reason is what was seen by the newest finding that holds, or by the newest
// of all; "" if there is none.
func reason(i alerting.Incident) string {
	var newest *alerting.Finding
	for k := range i.Findings {
		f := &i.Findings[k]
		if newest == nil || f.Holds() && !newest.Holds() || f.Holds() == newest.Holds() && f.LastBad.After(newest.LastBad) {
			newest = f
		}
	}
	if newest == nil {
		return ""
	}
	return newest.Reason
}

// excerpt quotes evidence: the request line, the status line, the beginning of
// the body, how it ended.
func excerpt(ev *probe.Evidence) string {
	if ev == nil {
		return ""
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s", ev.URL)
	if ev.Request != "" {
		line("> %s", firstLine(ev.Request))
	}
	if ev.Head != "" {
		line("< %s", firstLine(ev.Head))
	}
	for _, a := range ev.Addresses {
		if a.Err != "" {
			line("%s: %s", a.IP, a.Err)
		}
	}
	if ev.TLS != nil && ev.TLS.Err != "" {
		line("TLS: %s", ev.TLS.Err)
	}
	if ev.End != "" {
		line("%s", ev.End)
	}
	if body := strings.TrimSpace(ev.Body); body != "" {
		line("\n%s", body)
	}
	return strings.TrimSpace(b.String())
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimRight(s, "\r")
}
