package ruletest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
)

// TestRun checks who is told of what: the policy, what checks need, and what
// people say.
func TestRun(t *testing.T) {
	suite := Suite{
		Rules: []alerting.Rule{{Name: "down", Severity: alerting.Page, RecoverAfter: 1, Down: &alerting.DownRule{}}},
		Subjects: []alerting.Subject{
			{Name: "a", Kind: "route", Interval: time.Minute, Needs: []string{"c"}},
			{Name: "b", Kind: "route", Interval: time.Minute},
			{Name: "c", Kind: "route", Interval: time.Minute},
		},
		Policy: alerting.Policy{
			StormGroups: 1, StormWithin: time.Minute.Milliseconds(), Remind: 10 * time.Minute.Milliseconds(),
			Windows: []alerting.Window{{Name: "first", Select: alerting.Select{Name: "b"}, For: 5 * time.Minute, Starts: daily{}}},
		},
	}
	silence := Command{At: 2 * time.Minute, Line: 3, Command: checks.Command{
		Name: alerting.CommandSilence, Author: "ada", Args: map[string]string{"id": "s", "check": "*", "for": "10m"},
	}}
	end := Command{At: 6 * time.Minute, Line: 4, Command: checks.Command{Name: alerting.CommandSilenceEnd, Args: map[string]string{"id": "s"}}}
	ack := func(at time.Duration) Command {
		return Command{At: at, Group: "a", Line: 5, Command: checks.Command{Name: alerting.CommandAcknowledge, Author: "ada"}}
	}
	never, whenever := &Told{}, &Told{Ever: true}
	for name, c := range map[string]struct {
		input    map[string]string
		begin    time.Time
		commands []Command
		expect   []Expected
		want     []string // the beginnings of what is wrong
	}{
		"a silence": {
			input: map[string]string{"a": "up x3, down x2, up x3, down x8"}, commands: []Command{silence},
			expect: []Expected{{Group: "a", Opened: 8 * time.Minute, Told: &Told{Ever: true, At: new(12 * time.Minute)}, Quiet: "silence by ada"}},
		},
		"its end": {
			input: map[string]string{"a": "up x3, down x8"}, commands: []Command{silence, end},
			expect: []Expected{{Group: "a", Opened: 3 * time.Minute, Told: &Told{Ever: true, At: new(6 * time.Minute)}}},
		},
		"an end too early": {
			input: map[string]string{"a": "up x3, down x8"}, commands: []Command{end},
			expect: []Expected{{Group: "a", Opened: 3 * time.Minute}},
			want:   []string{`line 4: silence-end at 6m: no silence "s" lasts, and no other does`},
		},
		"acknowledged": {
			input: map[string]string{"a": "up, down x30"}, commands: []Command{ack(2 * time.Minute)},
			expect: []Expected{{Group: "a", Opened: time.Minute, Told: whenever, Reminders: new(0)}},
		},
		"acknowledged before": {
			input: map[string]string{"a": "up, down x30"}, commands: []Command{ack(time.Minute)},
			expect: []Expected{{Group: "a", Opened: time.Minute, Reminders: new(1)}},
			want:   []string{`line 5: acknowledge at 1m: no incident of group "a" is open`},
		},
		"a window": {
			input: map[string]string{"b": "up, down x2, up x5"}, begin: Begin().Add(-time.Minute),
			expect: []Expected{{Group: "b", Opened: time.Minute, Resolved: new(3 * time.Minute), Told: never, Quiet: "maintenance first"}},
		},
		"what nobody is told of need not be expected": {
			input:  map[string]string{"b": "up, down x2, up x5, down, up"},
			expect: []Expected{{Group: "b", Opened: 8 * time.Minute, Resolved: new(9 * time.Minute), Told: whenever}},
		},
		"told by mistake": {
			input:  map[string]string{"b": "up x8, down, up"},
			expect: []Expected{{Group: "b", Opened: 8 * time.Minute, Resolved: new(9 * time.Minute), Told: never, Quiet: "maintenance"}},
			want:   []string{"line 0: told, quiet of group b:"},
		},
		"a parent": {
			input: map[string]string{"a": "up x8, down, up x3", "c": "up x8, down, up x3"},
			expect: []Expected{
				{Group: "a", Opened: 8 * time.Minute, Resolved: new(9 * time.Minute), Told: never, Quiet: "c is down"},
				{Group: "c", Opened: 8 * time.Minute, Resolved: new(9 * time.Minute), Told: whenever},
			},
		},
		"a storm": {
			input: map[string]string{"a": "up x8, down x3", "b": "up x8, down x3"},
			expect: []Expected{
				{Group: "a", Opened: 8 * time.Minute, Told: &Told{Ever: true, At: new(8 * time.Minute)}},
				{Group: "b", Opened: 8 * time.Minute, Told: never, Quiet: "part of storm"},
				{Group: "storm", Opened: 8 * time.Minute, Told: &Told{Ever: true, At: new(8*time.Minute + 1500*time.Millisecond)}},
			},
		},
		"a storm that was not expected": {
			input:  map[string]string{"a": "up x8, down x3", "b": "up x8, down x3"},
			expect: []Expected{{Group: "a", Opened: 8 * time.Minute}},
			want:   []string{"not expected: group storm, opened 8m, open at the end, page, findings storm, told 8m1.5s, quiet: gathering"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := Case{Begin: c.begin, Commands: c.commands, Expect: c.expect, Input: map[string][]Point{}}
			for check, text := range c.input {
				points, err := ParseSeries(text)
				if err != nil {
					t.Fatal(err)
				}
				x.Input[check] = points
			}
			got := suite.Run(x)
			for k, text := range got {
				text, _, _ = strings.Cut(text, "\n")
				got[k] = text
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("wrong (-want +got):\n%s", d)
			}
		})
	}
}

// daily begins at midnight.
type daily struct{}

func (daily) Next(t time.Time) time.Time { return t.Truncate(24 * time.Hour).Add(24 * time.Hour) }
