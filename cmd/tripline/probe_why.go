package main

import (
	"fmt"
	"strings"

	"github.com/tripline/tripline/checks/probe"
)

// reason is the reason without the URL, which is on top.
func (s *story) reason() string {
	text := strings.TrimPrefix(s.r.Reason, "GET ")
	return strings.TrimPrefix(text, s.e.URL+": ")
}

// verdict says what is wrong and what to do about it first.
func (s *story) verdict() {
	head := strings.ToUpper(string(s.r.Status))
	if s.r.Status == probe.Up {
		what := "answered"
		if strings.HasPrefix(s.e.URL, "ws") {
			what = "the WebSocket was open"
		}
		fmt.Fprintf(&s.b, "%s: %s after %s\n", head, what, short(s.r.Latency))
	} else {
		s.b.WriteString(wrap(fmt.Sprintf("%s, class %s: ", head, s.r.Class), "  ", s.reason()))
	}
	if list := s.e.Causes; len(list) > 0 {
		if list[0].Certainty != probe.Possible {
			s.b.WriteString(wrap(fmt.Sprintf("%s: ", list[0].Certainty), "  ", list[0].Text))
		}
		s.b.WriteString(wrap("next: ", "  ", list[0].Next))
		if alone(list) {
			s.b.WriteString(wrap("fix:  ", "  ", list[0].Fix))
		}
	}
	if days, ok := s.r.Measures[probe.MeasureCertDays]; ok && days < 14 && s.r.Status != probe.Down {
		fmt.Fprintf(&s.b, "The certificate ends in %.0f days.\n", days)
	}
}

// causes writes why it failed: the likely causes in full, but what stands in the
// verdict, and the others by name.
func (s *story) causes() {
	list := s.e.Causes
	s.asked()
	if len(list) == 0 {
		return
	}
	said := map[string]bool{s.r.Reason: true}
	seen := func(c probe.Cause, first, rest string) {
		for _, line := range c.Evidence {
			if !said[line] {
				said[line] = true
				s.b.WriteString(wrap(first, rest, line))
			}
		}
	}
	full := inFull(list)
	if alone(list) {
		seen(list[0], "\nWhy: ", "  ")
	} else {
		s.b.WriteString("\n" + whyTitle(list[:full]) + "\n")
		for i, c := range list[:full] {
			s.b.WriteString(wrap(fmt.Sprintf("%d. %s: ", i+1, c.Certainty), "   ", c.Text))
			seen(c, "   seen  ", "         ")
			s.b.WriteString(wrap("   test  ", "         ", c.Next))
			s.b.WriteString(wrap("   fix   ", "         ", c.Fix))
		}
	}
	if len(list) > full {
		var names []string
		for _, c := range list[full:] {
			names = append(names, strings.ReplaceAll(c.Name, "_", " "))
		}
		s.b.WriteString(wrap("Less likely: ", "   ", strings.Join(names, ", ")))
	}
}

// inFull is how many of the causes are worth more than their name.
func inFull(list []probe.Cause) int {
	n := 1
	for n < min(len(list), probeMaxCauses) && list[0].Certainty != probe.Proven && list[n].Certainty != probe.Unlikely {
		n++
	}
	return n
}

// alone tells whether the first cause is as good as certain.
func alone(list []probe.Cause) bool {
	return inFull(list) == 1 && list[0].Certainty != probe.Possible
}

// whyTitle says how far the causes can be told apart.
func whyTitle(list []probe.Cause) string {
	alike := 1
	for alike < len(list) && list[alike].Certainty == list[0].Certainty {
		alike++
	}
	switch {
	case len(list) == 1:
		return "Why:"
	case alike == 1 || list[0].Certainty != probe.Possible:
		return "Why, the likeliest first:"
	case alike == 2:
		return "Why (this probe cannot tell 1 and 2 apart; the tests can):"
	}
	return fmt.Sprintf("Why (this probe cannot tell 1 to %d apart; the tests can):", alike)
}

// byHand says how to repeat the request with curl.
func (s *story) byHand() {
	if s.e.Curl == "" {
		return
	}
	var notes []string
	if s.failed == atSession {
		notes = append(notes, "the handshake only: want 101, after which curl waits until its time is out")
	}
	if strings.Contains(s.e.Curl, "***") {
		notes = append(notes, "put the secrets in the place of ***")
	}
	note := ""
	if len(notes) > 0 {
		note = " (" + strings.Join(notes, "; ") + ")"
	}
	fmt.Fprintf(&s.b, "\nBy hand%s: %s\n", note, s.e.Curl)
}

// asked says what else was asked, that with the same answer first.
func (s *story) asked() {
	var same, other []string
	for _, q := range s.e.Asked {
		switch {
		case q.Same:
			same = append(same, q.What)
		case q.Answer == "":
			other = append(other, q.What)
		default:
			other = append(other, q.What+": "+q.Answer)
		}
	}
	if len(same)+len(other) > 0 {
		s.b.WriteByte('\n')
	}
	if len(same) > 0 {
		s.b.WriteString(wrap("The same answer to: ", "  ", strings.Join(same, "; ")+"."))
	}
	if len(other) > 0 {
		s.b.WriteString(wrap("Also asked: ", "  ", strings.Join(other, "; ")+"."))
	}
}

// oneLine makes one line of at most limit bytes of s.
func oneLine(s string, limit int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}

// wrap breaks text into lines of at most probeWidth characters where it has
// spaces. The first line begins with first, the others with rest.
func wrap(first, rest, text string) string {
	var b strings.Builder
	line := first
	empty := true // of words
	for word := range strings.FieldsSeq(text) {
		if !empty && len([]rune(line))+1+len([]rune(word)) > probeWidth {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	return b.String()
}
