package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/ruletest"
)

// TestCommand is what a person says in a test, with one of the commands.
type TestCommand struct {
	At             *probe.Duration  `yaml:"at"`                        // after the first slot, before what else comes then
	By             string           `yaml:"by,omitempty"`              // who
	Acknowledge    string           `yaml:"acknowledge,omitempty"`     // the group of the open incident
	Silence        *TestSilence     `yaml:"silence,omitempty"`         // of some checks
	SilenceEnd     string           `yaml:"silence-end,omitempty"`     // its id
	Maintenance    *TestMaintenance `yaml:"maintenance,omitempty"`     // of some checks, or all
	MaintenanceEnd string           `yaml:"maintenance-end,omitempty"` // its id
}

// TestSilence says what tripline silence add does.
type TestSilence struct {
	ID    string         `yaml:"id,omitempty"` // to end it by
	Group string         `yaml:"group,omitempty"`
	Check string         `yaml:"check,omitempty"`
	Kind  string         `yaml:"kind,omitempty"`
	Label probe.List     `yaml:"label,omitempty"` // NAME=VALUE
	For   probe.Duration `yaml:"for"`
	Why   string         `yaml:"why,omitempty"`
}

// TestMaintenance says what tripline maintenance start does.
type TestMaintenance struct {
	UntilGreen  bool `yaml:"until_green,omitempty"`
	TestSilence `yaml:",inline"`
}

func (s TestSilence) args(id string) map[string]string {
	args := map[string]string{
		"id": cmp.Or(s.ID, id), "group": s.Group, "check": s.Check, "kind": s.Kind,
		"label": strings.Join(s.Label, ","), "why": s.Why,
	}
	if s.For != 0 {
		args["for"] = s.For.String()
	}
	return args
}

// loadCommands reads the commands of a test, whose input is known by now.
func (t *tests) loadCommands(list *yaml.Node, commands []TestCommand, c *ruletest.Case) {
	ids := map[string]int{} // lines of silence id, maintenance id
	end := t.suite.End(*c)
	for _, points := range c.Input {
		if points == nil { // something is wrong with the series
			end = time.Duration(math.MaxInt64)
		}
	}
	for k, x := range commands {
		n := resolved(list.Content[k])
		if t.bad[n] {
			continue
		}
		key, value := t.word(n)
		if key == nil {
			continue
		}
		o := ruletest.Command{Line: n.Line, Command: checks.Command{Name: key.Value, Author: x.By}}
		switch at := t.below(n, "at"); {
		case x.At == nil:
			t.failOnce(key, "at is missing: how long after the first slot this is said, such as 5m")
		case time.Duration(*x.At) > end:
			t.failOnce(at, "at: %s, want 0s to %s, when the input ends", *x.At, probe.Duration(end))
		default:
			o.At = time.Duration(*x.At)
		}
		id := "command " + strconv.Itoa(k+1)
		switch o.Name {
		case alerting.CommandAcknowledge:
			o.Group = x.Acknowledge
			if keys := t.incidentKeys(t.suite.Subjects); !slices.Contains(keys, o.Group) {
				t.failOnce(value, "acknowledge: no group is named %q, want one of %s", short(o.Group), someOf(keys, 20))
			}
		case alerting.CommandSilence:
			if x.Silence != nil {
				o.Args = x.Silence.args(id)
			}
		case alerting.CommandMaintenance:
			if x.Maintenance != nil {
				o.Args = x.Maintenance.args(id)
				o.Args["until_green"] = strconv.FormatBool(x.Maintenance.UntilGreen)
			}
		case alerting.CommandSilenceEnd, alerting.CommandMaintenanceEnd:
			t.judgeEnd(value, o.Name, x.SilenceEnd+x.MaintenanceEnd, ids)
			o.Args = map[string]string{"id": x.SilenceEnd + x.MaintenanceEnd}
		}
		if id := o.Args["id"]; o.Name == alerting.CommandSilence || o.Name == alerting.CommandMaintenance {
			t.judgeSilence(key, value, o.Command)
			at := t.below(value, "id")
			if line, ok := ids[o.Name+" "+id]; ok && at != nil {
				t.failOnce(at, "%s: the id %q is taken in line %d, want another", o.Name, short(id), line)
			}
			if at != nil {
				ids[o.Name+" "+id] = n.Line
			}
		}
		c.Commands = append(c.Commands, o)
	}
}

// word returns the key of a command that says what is done, and its value; nil
// if there is not just one.
func (t *tests) word(n *yaml.Node) (key, value *yaml.Node) {
	words := []string{
		alerting.CommandAcknowledge, alerting.CommandSilence, alerting.CommandSilenceEnd,
		alerting.CommandMaintenance, alerting.CommandMaintenanceEnd,
	}
	for _, p := range t.pairs(n) {
		if !slices.Contains(words, p.key.Value) {
			continue
		}
		if key != nil {
			t.failOnce(p.key, "%s beside %s, want one of them, and the other in a line of its own", p.key.Value, key.Value)
			return nil, nil
		}
		key, value = p.key, resolved(p.value)
	}
	if key == nil {
		t.failOnce(n, "what is said is missing, want one of %s", strings.Join(words, ", "))
	}
	return key, value
}

// judgeSilence reports what the rules would refuse.
func (t *tests) judgeSilence(key, value *yaml.Node, c checks.Command) {
	if t.tainted(value, 0) || t.bad[key] {
		return
	}
	c.At = ruletest.Begin()
	err := alerting.NewEngine(t.suite.Rules, t.suite.Subjects).Refuse(c)
	if err == nil {
		return
	}
	at := key
	if _, text, ok := strings.Cut(err.Error(), ": "); ok {
		for _, p := range t.pairs(value) {
			if strings.HasPrefix(text, p.key.Value+": ") || strings.HasPrefix(text, p.key.Value+" ") {
				at = p.value
			}
		}
	}
	t.failOnce(at, "%s", err)
}

// judgeEnd reports the end of what nobody has begun.
func (t *tests) judgeEnd(value *yaml.Node, name, id string, ids map[string]int) {
	what := strings.TrimSuffix(name, "-end")
	if _, ok := ids[what+" "+id]; ok {
		return
	}
	var list []string
	for key := range ids {
		if id, ok := strings.CutPrefix(key, what+" "); ok {
			list = append(list, id)
		}
	}
	slices.Sort(list)
	want := fmt.Sprintf("want a %s with an id before it", what)
	if len(list) > 0 {
		want = "want one of " + someOf(list, 20)
	}
	t.failOnce(value, "%s: no %s has the id %q, %s", name, what, short(id), want)
}
