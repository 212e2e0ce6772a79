package config

import (
	"io/fs"
	"testing"
)

// FuzzTests checks that no file of rule tests makes the program panic.
func FuzzTests(f *testing.F) {
	const config = "version: 1\nchecks:\n  - {name: a, route: {url: \"http://h/\"}}\nrules:\n  - {name: r, down: {}}\n"
	for _, text := range []string{
		"config: c.yaml\ntests:\n  - {name: t, input: {a: up x3}, expect: [{group: a, opened: 1m, findings: [r]}]}\n",
		"checks: [{name: a, every: 5s}]\nrules: [{name: r, down: {}}]\ntests:\n  - {name: t, input: {a: \"down x2, up x4\"}, expect: []}\n",
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
	})
}
