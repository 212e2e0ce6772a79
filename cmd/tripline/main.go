// Command tripline watches health endpoints, routes and WebSockets, and tells
// people when they break.
//
// This package is composition only: it parses the command line, builds the
// parts and connects them. Everything that can be decided is decided elsewhere.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // cron time zones and DST on machines and images without tzdata

	"github.com/alecthomas/kong"
)

// version is set by the linker in releases.
var version = ""

// Exit codes. check and validate promise them in their help.
const (
	exitOK     = 0
	exitDown   = 1 // something is down, or the program failed while running
	exitCannot = 2 // nothing was started: bad usage, bad config, data directory in use
)

// cli is the command line.
type cli struct {
	Run         runCmd         `cmd:"" help:"Run the monitor until it is stopped."`
	Check       checkCmd       `cmd:"" help:"Run checks once, now, and print what they came to. Exit code 0: all up; 1: something is down; 2: could not check."`
	Probe       probeCmd       `cmd:"" help:"Probe one URL, without a config file: what happened stage by stage, what most likely causes a failure, and how to repeat it by hand. Exit code 0: it works; 1: it does not; 2: could not probe."`
	Validate    validateCmd    `cmd:"" help:"Read the config file and print every error, or the plan: what runs when, which rules apply, who is told, what is off and why."`
	Backtest    backtestCmd    `cmd:"" help:"Replay the stored log through the rules and print every decision, and what is different from what was decided live: with an edited config, what that would have changed."`
	Explain     explainCmd     `cmd:"" help:"Show what is behind an incident: figures and thresholds, the results in its time, who was told what and when, the newest evidence."`
	Test        testCmd        `cmd:"" help:"Try the rules out on results that are written down in a file, and compare the incidents that come of them. Exit code 0: all as expected; 1: not; 2: a file has errors."`
	Schema      schemaCmd      `cmd:"" help:"Print the JSON Schema of the config file."`
	Ack         ackCmd         `cmd:"" help:"Acknowledge an open incident of the running monitor: somebody has taken it on."`
	Silence     silenceCmd     `cmd:"" help:"Tell nobody of some checks for a while."`
	Maintenance maintenanceCmd `cmd:"" help:"Begin or end a maintenance window."`
	Reload      reloadCmd      `cmd:"" help:"Ask the running monitor to read its config file again; prints what changed."`
	NotifyTest  notifyTestCmd  `cmd:"" help:"Send a test message through one notifier of the config file, and its resolve. Exit code 0: both were told; 1: one was not; 2: there is no such notifier. No monitor needs to run."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask the running monitor's own /health; exit code 0 when it is ok (for container health checks)."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

// program is what every command needs of the process it runs in.
type program struct {
	stdout, stderr io.Writer
	lookup         func(string) (string, bool) // environment
	terminal       bool                        // stderr is a terminal: show progress
	hangup         <-chan os.Signal            // asks for a reload
}

// How far the heap may grow beyond what lives in it, in percent. What a check
// leaves behind is small, and collecting it more often costs less than 1 % of a
// check's CPU; reading a config leaves much behind, once.
const (
	runningGC = 25
	readingGC = 50
)

// collect sets how often garbage is collected, unless the environment says it.
func collect(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

func main() {
	collect(readingGC)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	info, _ := os.Stderr.Stat()
	p := program{
		stdout: os.Stdout, stderr: os.Stderr, lookup: os.LookupEnv,
		terminal: info != nil && info.Mode()&os.ModeCharDevice != 0,
		hangup:   hangup,
	}
	code := p.main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// exitError carries the exit code of a command that has said all it has to
// say, or whose err main prints.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// main runs one command line and returns its exit code.
func (p program) main(ctx context.Context, args []string) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("tripline"),
		kong.Description("Tripline watches health endpoints, routes and WebSockets, says what broke, where and why, and never loses a page."),
		kong.UsageOnError(),
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		fmt.Fprintln(p.stderr, "tripline:", err)
		return exitCannot
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	k, err := parser.Parse(args)
	if exited >= 0 { // --help has printed
		return exited
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "tripline: %v\nRun tripline --help for the commands.\n", err)
		return exitCannot
	}
	err = k.Run(p)
	var exit *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(p.stderr, exit.err)
		}
		return exit.code
	default:
		fmt.Fprintln(p.stderr, "tripline:", err)
		return exitDown
	}
}

type versionCmd struct{}

// Run prints the version.
func (versionCmd) Run(p program) error {
	_, err := fmt.Fprintln(p.stdout, "tripline", versionString())
	return err
}

// versionString is the release's version, or the commit that a build from a
// clone was made of.
func versionString() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}
