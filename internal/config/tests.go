package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/ruletest"
)

// TestFile is a file of rule tests.
type TestFile struct {
	// Config is the config file whose checks and rules are tested, relative to
	// this file.
	Config string `yaml:"config,omitempty"`
	// Checks are the checks, instead of those of a config file.
	Checks []TestCheck `yaml:"checks,omitempty"`
	// Rules are the rules, instead of those of the config file.
	Rules []alerting.Rule `yaml:"rules,omitempty"`
	// Incidents says what becomes of incidents, instead of what the config file says.
	Incidents alerting.Incidents `yaml:"incidents,omitempty"`
	// Maintenance lists the windows, instead of those of the config file.
	Maintenance []Maintenance `yaml:"maintenance,omitempty"`
	// Tests are tried one by one.
	Tests []Test `yaml:"tests"`
}

// TestCheck is a check as rules see it.
type TestCheck struct {
	Name   string            `yaml:"name"`
	Kind   string            `yaml:"kind,omitempty"`  // default route
	Group  string            `yaml:"group,omitempty"` // default the name
	Host   string            `yaml:"host,omitempty"`  // for the rule that finds the monitor blind
	Needs  probe.List        `yaml:"needs,omitempty"`
	Labels map[string]string `yaml:"labels,omitempty"`
	Every  probe.Duration    `yaml:"every,omitempty"` // default 1m
}

// Test is one test: what comes in, and which incidents are to come out.
type Test struct {
	Name string `yaml:"name"`
	// Begin is when the first slot is, such as 2026-01-05 00:00, which is the
	// default, in UTC: for maintenance windows.
	Begin string `yaml:"begin,omitempty"`
	// Input is the series of results of each check; of one without a series
	// there are none.
	Input map[string]string `yaml:"input"`
	// Commands are what people say meanwhile.
	Commands []TestCommand `yaml:"commands,omitempty"`
	// Expect is all incidents that people are told of, those of one group in
	// their order, and any others.
	Expect []TestIncident `yaml:"expect,omitempty"`
}

// TestIncident is an incident that is to come. Times count from the first slot.
type TestIncident struct {
	Group    string            `yaml:"group"`
	Opened   *probe.Duration   `yaml:"opened"`
	Resolved *probe.Duration   `yaml:"resolved,omitempty"` // none: still open at the end
	Severity alerting.Severity `yaml:"severity,omitempty"` // none: any
	Findings []string          `yaml:"findings,omitempty"` // names of rules; none: any
	// Told says whether people are told of it, or when they first are; without it
	// that does not matter.
	Told *ruletest.Told `yaml:"told,omitempty"`
	// Quiet is a part of a reason for which people are not told at some time,
	// such as maintenance, silence, is down, storm.
	Quiet string `yaml:"quiet,omitempty"`
	// Reminders is how often people are reminded of it.
	Reminders *int `yaml:"reminders,omitempty"`
	// Flapping says whether it is one that stays open since its group breaks
	// again and again.
	Flapping *bool `yaml:"flapping,omitempty"`
}

// LoadTests reads a file of rule tests, and the config file that it names. The
// error lists everything that is wrong with the first of them that is.
func LoadTests(name string, src []byte, env Env) (ruletest.Suite, error) {
	var suite ruletest.Suite
	s := newSource(name, strings.TrimPrefix(string(src), "\uFEFF"))
	if strings.TrimSpace(s.text) == "" {
		s.add(0, 0, 0, "the file is empty, want config: with the name of a config file, and tests:")
		return suite, s.errors()
	}
	root := s.parse()
	if root == nil {
		return suite, s.errors()
	}
	t := &tests{loader: newLoader(s, root, env)}
	t.prepare(root, "", false, 0)
	t.decode(root, reflect.ValueOf(&t.file).Elem(), "the file")
	if err := s.errors(); err != nil {
		return suite, err
	}
	if t.file.Config != "" {
		if err := t.loadConfig(filepath.Dir(name)); err != nil {
			return suite, err
		}
	}
	t.load()
	return t.suite, s.errors()
}

type tests struct {
	*loader
	file  TestFile
	suite ruletest.Suite
}

// loadConfig takes checks and rules from the config file.
func (t *tests) loadConfig(dir string) error {
	path := t.file.Config
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	src, err := t.env.ReadFile(path)
	if err != nil {
		t.fail(t.at("config"), "config: %s", err)
		return t.src.errors()
	}
	cfg, err := Load(path, src, t.env)
	if err != nil {
		return err
	}
	t.suite.Rules, t.suite.Subjects, t.suite.Policy = cfg.Rules, cfg.Subjects, cfg.Policy
	return nil
}

func (t *tests) load() {
	switch config := t.at("config"); {
	case config != nil && len(t.file.Checks) > 0:
		t.fail(t.at("checks"), "checks: config names some already, want one of the two")
	case config == nil && (len(t.file.Checks) == 0 || len(t.file.Rules) == 0):
		t.src.add(1, 1, 1, "want config: with the name of a config file, or checks: and rules:")
	}
	t.loadTestChecks()
	if list := t.at("rules"); list != nil && len(t.src.wrong) == 0 {
		names := map[string]int{}
		for i := range t.file.Rules {
			n, r := resolved(list.Content[i]), &t.file.Rules[i]
			at, what := t.name(n, "rule", r.Name, names)
			for _, p := range r.Validate(t.suite.Subjects) {
				t.problem(n, at, what, "", p)
			}
		}
		t.suite.Rules = t.file.Rules
	}
	t.loadPolicy()
	list := t.at("tests")
	if len(t.file.Tests) == 0 {
		t.src.add(1, 1, 1, "there are no tests, want a list of them below tests:")
		return
	}
	names := map[string]int{}
	for i, test := range t.file.Tests {
		t.loadTest(resolved(list.Content[i]), test, names)
	}
}

// loadPolicy takes what is done with incidents, as from a config file.
func (t *tests) loadPolicy() {
	l := t.loader
	l.file.Incidents, l.file.Maintenance = t.file.Incidents, t.file.Maintenance
	for _, s := range t.suite.Subjects {
		l.seen = append(l.seen, seen{Subject: s, sure: len(t.src.wrong) == 0})
		l.file.Checks = append(l.file.Checks, Check{Name: s.Name, Needs: s.Needs})
	}
	if list := t.at("checks"); list != nil && t.file.Config == "" {
		l.judgeNeeds(list)
	}
	l.cfg.Rules = t.suite.Rules
	l.loadIncidents()
	policy := l.cfg.Policy
	if t.file.Config != "" {
		if t.at("incidents") == nil {
			policy = t.suite.Policy
		}
		if policy.Windows = l.cfg.Policy.Windows; t.at("maintenance") == nil {
			policy.Windows = t.suite.Policy.Windows
		}
	}
	t.suite.Policy = policy
}

func (t *tests) loadTestChecks() {
	list := t.at("checks")
	if list == nil {
		return
	}
	kinds := checks.Kinds{}.Names()
	names := map[string]int{}
	for i, c := range t.file.Checks {
		n := resolved(list.Content[i])
		at, what := t.name(n, "check", c.Name, names)
		t.reserved(at, what, cmp.Or(c.Group, c.Name))
		if c.Kind != "" && !slices.Contains(kinds, c.Kind) {
			t.fail(t.below(n, "kind"), "kind: %q, want one of %s", short(c.Kind), strings.Join(kinds, ", "))
		}
		if c.Every < 0 || c.Every > 0 && c.Every < probe.Duration(time.Second) {
			t.fail(t.below(n, "every"), "every: %s, want at least 1s", c.Every)
		}
		s := alerting.Subject{
			Name: c.Name, Kind: c.Kind, Group: c.Group, Host: c.Host, Labels: c.Labels, Needs: c.Needs, Location: "local",
			WebSocket: c.Kind == "websocket", Interval: time.Duration(c.Every), Attempts: 1,
		}
		if s.Kind == "" {
			s.Kind = "route"
		}
		if s.Interval == 0 {
			s.Interval = time.Minute
		}
		if s.Host == "" {
			s.Host = c.Name
		}
		t.suite.Subjects = append(t.suite.Subjects, s)
	}
}

func (t *tests) loadTest(n *yaml.Node, test Test, names map[string]int) {
	at, _ := t.name(n, "test", test.Name, names)
	c := ruletest.Case{Name: test.Name, Line: n.Line, Input: map[string][]ruletest.Point{}}
	_, input := t.get(n, "input")
	if len(test.Input) == 0 {
		t.failOnce(at, "test %q has no input, want the series of at least one check", short(test.Name))
		return
	}
	for _, p := range t.pairs(resolved(input)) {
		i := slices.IndexFunc(t.suite.Subjects, func(s alerting.Subject) bool { return s.Name == p.key.Value })
		if i < 0 {
			t.fail(p.key, "no check is named %q, want one of %s", short(p.key.Value), t.checkNames())
			continue
		}
		points, err := ruletest.ParseSeries(resolved(p.value).Value)
		if err != nil {
			t.fail(p.value, "%s: %s", short(p.key.Value), err)
		}
		if most := ruletest.MostSlots(t.suite.Subjects[i]); len(points) > most {
			t.fail(p.value, "%s: %d slots, one every %s, want at most %d: a year", short(p.key.Value), len(points), probe.Duration(t.suite.Subjects[i].Interval), most)
			points = nil
		}
		c.Input[p.key.Value] = points
	}
	if test.Begin != "" {
		begin, err := time.Parse("2006-01-02 15:04", test.Begin)
		if err != nil || begin.Year() < 1971 || begin.Year() > 9000 {
			t.failOnce(t.below(n, "begin"), "begin: %q, want a date and a time in UTC, such as 2026-01-04 01:55", short(test.Begin))
		}
		c.Begin = begin
	}
	if _, commands := t.get(n, "commands"); commands != nil {
		t.loadCommands(resolved(commands), test.Commands, &c)
	}
	_, expect := t.get(n, "expect")
	for i, x := range test.Expect {
		c.Expect = append(c.Expect, t.expected(resolved(resolved(expect).Content[i]), x))
	}
	t.suite.Cases = append(t.suite.Cases, c)
}

func (t *tests) checkNames() string {
	var names []string
	for _, s := range t.suite.Subjects {
		names = append(names, s.Name)
	}
	return someOf(names, 20)
}

func (t *tests) expected(n *yaml.Node, x TestIncident) ruletest.Expected {
	e := ruletest.Expected{Group: x.Group, Severity: x.Severity, Told: x.Told, Quiet: x.Quiet, Reminders: x.Reminders, Flapping: x.Flapping, Line: n.Line}
	switch {
	case x.Group == "":
		t.failOnce(n, "group is missing: which incident is to come")
	case x.Opened == nil:
		t.failOnce(n, "opened is missing: how long after the first slot the incident is to come, such as 10m")
	default:
		e.Opened = time.Duration(*x.Opened)
	}
	if x.Resolved != nil {
		d := time.Duration(*x.Resolved)
		e.Resolved = &d
	}
	if x.Severity != "" && x.Severity != alerting.Page && x.Severity != alerting.Ticket {
		t.fail(t.below(n, "severity"), "severity: %q, want page or ticket", short(string(x.Severity)))
	}
	if x.Reminders != nil && *x.Reminders < 0 {
		t.fail(t.below(n, "reminders"), "reminders: %d, want 0 or more", *x.Reminders)
	}
	for i, f := range x.Findings {
		if !slices.ContainsFunc(t.suite.Rules, func(r alerting.Rule) bool { return r.Name == f }) {
			t.fail(resolved(t.below(n, "findings")).Content[i], "no rule is named %q%s", short(f), t.ruleNames())
		}
	}
	if x.Findings != nil {
		e.Findings = slices.Sorted(slices.Values(x.Findings))
	}
	return e
}

func (t *tests) ruleNames() string {
	var names []string
	for _, r := range t.suite.Rules {
		names = append(names, r.Name)
	}
	return fmt.Sprintf(", want one of %s", someOf(names, 20))
}
