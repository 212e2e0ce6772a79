package main

import (
	"fmt"
	"time"

	"github.com/tripline/tripline/internal/config"
)

// configFlag is the flag of every command that reads the config file.
type configFlag struct {
	Config string `short:"c" default:"config.yaml" help:"The config file." placeholder:"FILE"`
}

// load reads the config file. Its error lists everything that is wrong and
// ends the program with exit code 2: nothing was started.
func (f configFlag) load(p program) (*config.Config, error) {
	src, err := config.ReadFile(f.Config)
	if err != nil {
		return nil, &exitError{exitCannot, fmt.Errorf("config: %w", err)}
	}
	cfg, err := config.Load(f.Config, src, config.Env{
		Lookup: p.lookup, ReadFile: config.ReadFile, Version: versionString(),
	})
	if err != nil {
		return nil, &exitError{exitCannot, err}
	}
	return cfg, nil
}

type schemaCmd struct{}

// Run prints the JSON Schema of the config file.
func (schemaCmd) Run(p program) error {
	_, err := p.stdout.Write(config.Schema())
	return err
}

type validateCmd struct{ configFlag }

// Run prints what the config file would make the monitor do.
func (c validateCmd) Run(p program) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(p.stdout, cfg.Plan(time.Now()))
	return err
}
