package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tripline/tripline/internal/config"
)

// TestDocs executes what the documents show: every yaml block is a whole config
// that loads, every command of the table exists, and the README's config error
// is the one that TestScript sees.
func TestDocs(t *testing.T) {
	block := regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```")
	command := regexp.MustCompile("(?m)^\\| `tripline ([a-z-]+)")
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "docs/config.md", "docs/flows.md"} {
		text, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatch(string(text), -1) {
			_, err := config.Load(name, []byte(m[1]), config.Env{Lookup: func(string) (string, bool) { return "", false }})
			if err != nil {
				t.Errorf("a yaml block of %s does not load:\n%v", name, err)
			}
		}
		for _, m := range command.FindAllStringSubmatch(string(text), -1) {
			out := &syncBuffer{}
			p := program{stdout: out, stderr: out, lookup: os.LookupEnv}
			if code := p.main(t.Context(), []string{m[1], "--help"}); code != 0 || !strings.Contains(out.String(), "Usage: tripline "+m[1]) {
				t.Errorf("%s names the command %q, which gives %d: %s", name, m[1], code, out)
			}
		}
	}
	testRules(t, "../../rules_test.yaml", nil)
	rules, err := os.ReadFile("../../docs/rules-testing.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range block.FindAllStringSubmatch(string(rules), -1) {
		testRules(t, "docs/rules-testing.md", []byte(m[1]))
	}
	readme, _ := os.ReadFile("../../README.md")
	script, _ := os.ReadFile("testdata/script/validate.txtar")
	_, errors, _ := strings.Cut(string(script), "-- bad.txt --\n")
	for line := range strings.Lines(strings.Join(strings.SplitAfter(errors, "\n")[:3], "")) {
		if !strings.Contains(string(readme), "    "+line) {
			t.Errorf("README.md lacks the line %q of the config error", line)
		}
	}
	testSamples(t, string(readme))
}

// testSamples wants that the outputs of tripline probe in a document are those
// that TestProbe sees, of six failures at least.
func testSamples(t *testing.T, text string) {
	t.Helper()
	files, err := filepath.Glob("testdata/probe/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var outputs []string
	for _, name := range files {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		_, output, _ := strings.Cut(string(src), "-- want.txt --\n")
		outputs = append(outputs, strings.TrimSpace(output))
	}
	samples := regexp.MustCompile("(?s)\n```text\n(tripline probe .*?)\n```\n").FindAllStringSubmatch(text, -1)
	classes := map[string]bool{}
	for _, m := range samples {
		title, _, _ := strings.Cut(m[1], "\n\n")
		if !slices.Contains(outputs, m[1]) {
			t.Errorf("README.md shows an output of tripline probe that no test has:\n%s", m[1])
		}
		_, class, _ := strings.Cut(m[1], "\nDOWN, class ")
		class, _, ok := strings.Cut(class, ":")
		if !ok {
			t.Errorf("README.md: %q is no failure", title)
		}
		classes[class] = true
	}
	if len(classes) < 6 {
		t.Errorf("README.md shows the classes %v, want 6 or more", slices.Sorted(maps.Keys(classes)))
	}
}

// testRules tries the tests of a file out; src is what it holds, nil: read it.
func testRules(t *testing.T, name string, src []byte) {
	t.Helper()
	if src == nil {
		var err error
		if src, err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	suite, err := config.LoadTests(name, src, config.Env{Lookup: func(string) (string, bool) { return "", false }, ReadFile: config.ReadFile})
	if err != nil {
		t.Fatal(err)
	}
	if len(suite.Cases) == 0 {
		t.Errorf("%s has no tests", name)
	}
	for _, c := range suite.Cases {
		for _, wrong := range suite.Run(c) {
			t.Errorf("%s: %s: %s", name, c.Name, wrong)
		}
	}
}
