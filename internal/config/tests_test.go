package config

import (
	"io/fs"
	"testing"
	"time"
)

// FuzzTests checks that no file of rule tests makes the program panic, nor any
// of the tests of one that is right.
func FuzzTests(f *testing.F) {
	const config = "version: 1\nchecks:\n  - {name: a, route: {url: \"http://h/\"}}\nrules:\n  - {name: r, down: {}}\n"
	for _, text := range []string{
		"config: c.yaml\ntests:\n  - {name: t, input: {a: up x3}, expect: [{group: a, opened: 1m, findings: [r]}]}\n",
		"checks: [{name: a, every: 5s}]\nrules: [{name: r, down: {}}]\ntests:\n  - {name: t, input: {a: \"down x2, up x4\"}, expect: []}\n",
		"config: c.yaml\nincidents: {storm: {groups: 1}}\nmaintenance: [{name: w, cron: 0 2 * * *, for: 1h}]\ntests:\n  - name: t\n    begin: 2026-01-05 01:59\n    input: {a: \"up, down x9\"}\n" +
			"    commands: [{at: 1m, silence: {check: a, id: s, for: 5m, label: [x=y]}}, {at: 2m, silence-end: s}, {at: 3m, maintenance: {for: 1m, until_green: true}}, {at: 4m, acknowledge: a, by: b}]\n" +
			"    expect: [{group: a, opened: 1m, told: 2m, quiet: m, reminders: 0, flapping: false}, {group: storm, opened: 1m, told: false}]\n",
		"checks: [{name: a, needs: b}, {name: b, needs: [a]}]\nrules: [{name: r, down: {}}]\ntests: [{name: t, input: {a: up}, commands: [{}, null, {maintenance-end: 1, silence-end: 1}]}]",
		"tests: [{}]", "tests: [null]", "tests: &a [*a]", "config: c.yaml\ntests: [{name: t, input: {b: up}, expect: [{}, null]}]",
		"config: none\ntests: []", "", "a", "checks: [{}]\nrules: [{}]\ntests: [{name: x, input: [1]}]", "config: c.yaml\ntests:\n - &t {name: t, input: &i {a: up}}\n - {<<: *t, name: u, input: *i}\n",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		suite, err := LoadTests("t.yaml", []byte(text), Env{ReadFile: func(name string) ([]byte, error) {
			if name == "c.yaml" {
				return []byte(config), nil
			}
			return nil, fs.ErrNotExist
		}})
		if err == nil && len(suite.Cases) == 0 {
			t.Errorf("no error and no tests: %q", text)
		}
		for _, c := range suite.Cases {
			if err == nil && suite.End(c) < 24*time.Hour {
				suite.Run(c)
			}
		}
	})
}
