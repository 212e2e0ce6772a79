package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"

	"github.com/tripline/tripline/internal/journal"
)

type runCmd struct {
	configFlag
	Watch    bool       `help:"Reload the config file when it changes. SIGHUP and tripline reload do so in any case."`
	LogLevel slog.Level `default:"info" help:"Least level of the program's own log, on stderr: debug, info, warn or error."`
}

// Run runs the monitor until ctx ends.
func (c runCmd) Run(ctx context.Context, p program) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.HTTP.Listen)
	if err != nil {
		return &exitError{exitCannot, fmt.Errorf("http.listen %q: %w", cfg.HTTP.Listen, err)}
	}
	defer l.Close()
	stdout, stderr := newOutput(p.stdout), newOutput(p.stderr)
	defer stderr.close(ctx)
	defer stdout.close(ctx)
	p.stdout, p.stderr = stdout, stderr
	log := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	m, err := newMonitor(ctx, p, cfg, log)
	if err != nil {
		if _, held := errors.AsType[*journal.LockedError](err); held {
			return &exitError{exitCannot, err}
		}
		return err
	}
	m.reloader = newReloader(m, p, c.configFlag, c.Watch)
	c.greet(p, m, l.Addr())
	collect(runningGC)
	debug.FreeOSMemory() // what reading the config took
	return errors.Join(m.run(ctx, l), m.journal.Close())
}

// greet says what was started, and what is off and why.
func (c runCmd) greet(p program, m *monitor, addr net.Addr) {
	fmt.Fprintf(p.stdout, "tripline %s: %d checks, %d rules from %s; page on http://%s/\n",
		versionString(), len(m.cfg.Checks), len(m.cfg.Rules), c.Config, dialable(addr.String()))
	for _, n := range m.cfg.Notifiers {
		if n.Off != "" {
			fmt.Fprintf(p.stdout, "notifier %s is off: %s\n", n.Name, n.Off)
		}
	}
	if b := m.cfg.Heartbeat; b != nil && b.Off != "" {
		fmt.Fprintf(p.stdout, "heartbeat is off: %s\n", b.Off)
	}
	for _, w := range m.cfg.Warnings {
		fmt.Fprintf(p.stdout, "warning: %s\n", w)
	}
}
