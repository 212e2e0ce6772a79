package ruletest

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

func TestParseSeries(t *testing.T) {
	up := Point{Status: probe.Up, Class: probe.OK, Latency: 100 * time.Millisecond}
	for text, want := range map[string][]Point{
		"up":         {up},
		" up x2 ,up": {up, up, up},
		"up@2.5s":    {{Status: probe.Up, Class: probe.OK, Latency: 2500 * time.Millisecond}},
		"up{a=1, b=-2e3}@1s x2": {
			{Status: probe.Up, Class: probe.OK, Latency: time.Second, Measures: map[string]float64{"a": 1, "b": -2000}},
			{Status: probe.Up, Class: probe.OK, Latency: time.Second, Measures: map[string]float64{"a": 1, "b": -2000}},
		},
		"down(not_found), down": {{Status: probe.Down, Class: probe.NotFound}, {Status: probe.Down, Class: probe.Unavailable}},
		"degraded, degraded(not_found)": {
			{Status: probe.Degraded, Class: probe.Slow, Latency: usual}, {Status: probe.Degraded, Class: probe.NotFound, Latency: usual},
		},
		"unknown(late), gap x2": {{Status: probe.Unknown, Class: probe.Late}, {Gap: true}, {Gap: true}},
	} {
		got, err := ParseSeries(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q: %s", text, d)
		}
	}
	for text, want := range map[string]string{
		"":                     "step 1: nothing here",
		"up,":                  "step 2: nothing here",
		"upx2":                 `step 1: "upx2" begins with "upx2", want one such as`,
		"up x":                 "step 1: x, want a number of slots from 1 to 100000",
		"up x100000, up":       "step 2: more than 100000 slots",
		"up x99999999999999":   "want a number of slots",
		"up(not_found)":        "class not_found means down, not up",
		"down(slow)":           "class slow means degraded, not down",
		"down(nonsense)":       `"nonsense" is no class`,
		"degraded(late)":       "class late means unknown, not degraded",
		"down(not_found":       "lacks a closing parenthesis",
		"down@1s":              "only what is up or degraded has a latency",
		"up@fast":              "@fast, want a latency such as @2.5s",
		"up@-1s":               "want a latency",
		"up{queue}":            `measure "queue", want name=number`,
		"up{queue=NaN}":        `measure "queue=NaN", want name=number`,
		"up{queue=1":           "lacks a closing brace",
		"gap{a=1}":             "a gap has no measures",
		"gap(ok)":              "a gap has no class",
		"up!":                  `"!" was not understood`,
		"up x2 and down":       `"and down" was not understood`,
		strings.Repeat("(", 9): `begins with ""`,
	} {
		if _, err := ParseSeries(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

// FuzzSeries checks that no text makes the parser panic or hang, and that what
// it accepts can be run.
func FuzzSeries(f *testing.F) {
	for _, text := range []string{"up x10, down(not_found) x3, up@2.5s, gap x2, unknown", "up{queue=7,a=1e9} x2", "degraded(not_found)@1s", "up x", "((", "up{"} {
		f.Add(text)
	}
	suite := Suite{
		Subjects: []alerting.Subject{{Name: "a", Kind: "websocket", WebSocket: true, Interval: time.Minute}},
		Rules: []alerting.Rule{
			{Name: "down", Down: &alerting.DownRule{}},
			{Name: "slow", Latency: &alerting.Latency{Above: probe.Duration(time.Second), Over: probe.Duration(time.Hour)}},
		},
	}
	f.Fuzz(func(t *testing.T, text string) {
		points, err := ParseSeries(text)
		if err != nil {
			return
		}
		if len(points) == 0 || len(points) > mostPoints {
			t.Fatalf("%q: %d slots", text, len(points))
		}
		c := Case{Input: map[string][]Point{"a": points[:min(len(points), 500)]}}
		if a, b := suite.Run(c), suite.Run(c); !reflect.DeepEqual(a, b) {
			t.Errorf("%q: %q, and again %q", text, a, b)
		}
	})
}
