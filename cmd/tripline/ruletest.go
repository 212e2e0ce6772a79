package main

import (
	"fmt"

	"github.com/tripline/tripline/internal/config"
	"github.com/tripline/tripline/internal/ruletest"
)

type testCmd struct {
	Files []string `arg:"" help:"Files with rule tests; docs/rules-testing.md says how to write them." placeholder:"FILE"`
}

// Run tries the tests of all files and prints what is not as expected.
func (c testCmd) Run(p program) error {
	suites := make([]ruletest.Suite, len(c.Files))
	for i, name := range c.Files {
		src, err := config.ReadFile(name)
		if err != nil {
			return &exitError{exitCannot, fmt.Errorf("tests: %w", err)}
		}
		suites[i], err = config.LoadTests(name, src, config.Env{Lookup: p.lookup, ReadFile: config.ReadFile, Version: versionString()})
		if err != nil {
			return &exitError{exitCannot, err}
		}
	}
	passed, failed := 0, 0
	for i, s := range suites {
		for _, test := range s.Cases {
			wrong := s.Run(test)
			if len(wrong) == 0 {
				passed++
				continue
			}
			failed++
			fmt.Fprintf(p.stdout, "%s:%d: FAIL %s\n", c.Files[i], test.Line, test.Name)
			for _, w := range wrong {
				fmt.Fprintf(p.stdout, "    %s\n", w)
			}
		}
	}
	fmt.Fprintf(p.stdout, "%d of %d tests are as expected\n", passed, passed+failed)
	if failed > 0 {
		return &exitError{code: exitDown}
	}
	return nil
}
