// Package ruletest tries rules out on results that are written down: a series
// of results for each check, and the incidents that should come of them. It
// knows no YAML and no files; internal/config reads those.
package ruletest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// Point is one slot of a series.
type Point struct {
	Status   probe.Status
	Class    probe.Class
	Latency  time.Duration
	Measures map[string]float64
	Gap      bool // nothing ran
}

const (
	mostPoints = 100_000 // of a series
	usual      = 100 * time.Millisecond
)

// ParseSeries reads a series such as
//
//	up x10, down(not_found) x3, up@2.5s x5, gap x2, unknown, up{queue=7}
//
// Each step is a status: up, degraded, down, unknown, or gap where no slot ran.
// A class may follow in parentheses (default: down unavailable, degraded slow,
// unknown own_network), a latency after @ (of what is up or degraded; default 100ms), measures
// in braces, and how many slots after x.
func ParseSeries(text string) ([]Point, error) {
	var list []Point
	for n, step := range split(text) {
		p, times, err := parseStep(strings.TrimSpace(step))
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", n+1, err)
		}
		if len(list)+times > mostPoints {
			return nil, fmt.Errorf("step %d: more than %d slots", n+1, mostPoints)
		}
		for range times {
			list = append(list, p)
		}
	}
	return list, nil
}

// split splits at commas outside braces.
func split(text string) (steps []string) {
	from, inside := 0, false
	for i, c := range text {
		switch {
		case c == '{':
			inside = true
		case c == '}':
			inside = false
		case c == ',' && !inside:
			steps = append(steps, text[from:i])
			from = i + 1
		}
	}
	return append(steps, text[from:])
}

const want = "want one such as up x10, down(not_found) x3, up@2.5s, up{queue=7}, unknown, gap x2"

func parseStep(text string) (p Point, times int, err error) {
	if text == "" {
		return p, 0, errors.New("nothing here, " + want)
	}
	word, rest := cutWord(text)
	p, ok := point(word)
	if !ok {
		return p, 0, fmt.Errorf("%q begins with %q, %s", text, word, want)
	}
	times = 1
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		var part string
		switch rest[0] {
		case '(':
			if part, rest, ok = strings.Cut(rest[1:], ")"); !ok {
				return p, 0, fmt.Errorf("%q lacks a closing parenthesis", text)
			}
			err = p.setClass(probe.Class(strings.TrimSpace(part)))
		case '@':
			part, rest = cutWord(rest[1:])
			err = p.setLatency(part)
		case '{':
			if part, rest, ok = strings.Cut(rest[1:], "}"); !ok {
				return p, 0, fmt.Errorf("%q lacks a closing brace", text)
			}
			err = p.setMeasures(part)
		case 'x':
			part, rest = cutWord(rest[1:])
			if times, err = strconv.Atoi(part); err != nil || times < 1 || times > mostPoints {
				err = fmt.Errorf("x%s, want a number of slots from 1 to %d", part, mostPoints)
			}
		default:
			err = fmt.Errorf("%q was not understood, %s", rest, want)
		}
		if err != nil {
			return p, 0, err
		}
	}
	return p, times, nil
}

// cutWord splits text after its letters, digits, dots, minuses and underscores.
func cutWord(text string) (word, rest string) {
	end := strings.IndexFunc(text, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' && c != 'µ'
	})
	if end < 0 {
		return text, ""
	}
	return text[:end], text[end:]
}

func point(word string) (Point, bool) {
	switch word {
	case "up":
		return Point{Status: probe.Up, Class: probe.OK, Latency: usual}, true
	case "degraded":
		return Point{Status: probe.Degraded, Class: probe.Slow, Latency: usual}, true
	case "down":
		return Point{Status: probe.Down, Class: probe.Unavailable}, true
	case "unknown":
		return Point{Status: probe.Unknown, Class: probe.OwnNetwork}, true
	case "gap":
		return Point{Gap: true}, true
	}
	return Point{}, false
}

func (p *Point) setClass(c probe.Class) error {
	if p.Gap {
		return errors.New("a gap has no class")
	}
	if !known(c) {
		return fmt.Errorf("%q is no class, want one such as not_found, connect_refused, tls_expired, unavailable", c)
	}
	switch own := c.Status(); {
	case p.Status == probe.Degraded && own != probe.Unknown: // a blip has the class of its first attempt
	case own != p.Status:
		return fmt.Errorf("class %s means %s, not %s", c, own, p.Status)
	}
	if p.Class = c; c.Status() == probe.Down {
		p.Latency = usual // of the re-probe that was good
	}
	if p.Status == probe.Down {
		p.Latency = 0
	}
	return nil
}

func (p *Point) setLatency(text string) error {
	if p.Status != probe.Up && p.Status != probe.Degraded {
		return errors.New("only what is up or degraded has a latency")
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > time.Hour {
		return fmt.Errorf("@%s, want a latency such as @2.5s, at most 1h", text)
	}
	p.Latency = d
	return nil
}

func (p *Point) setMeasures(text string) error {
	if p.Gap {
		return errors.New("a gap has no measures")
	}
	p.Measures = map[string]float64{}
	for pair := range strings.SplitSeq(text, ",") {
		name, number, ok := strings.Cut(pair, "=")
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if name = strings.TrimSpace(name); !ok || name == "" || err != nil || v-v != 0 {
			return fmt.Errorf("measure %q, want name=number", strings.TrimSpace(pair))
		}
		p.Measures[name] = v
	}
	return nil
}

// known tells whether c is of the closed list.
func known(c probe.Class) bool {
	return c == probe.OK || c.Status() == probe.Unknown || alerting.InGroup(string(c), c, true)
}
