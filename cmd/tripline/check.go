package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

type checkCmd struct {
	configFlag
	Names  []string      `arg:"" optional:"" help:"Names or patterns of the checks to run (ws-*); all when none is given."`
	Format string        `enum:"text,json,junit" default:"text" help:"text (a table), json (one object per line) or junit (XML for CI)."`
	Hold   bool          `help:"Also see what becomes of connections that are held open (hold of a websocket check): takes up to four times as long as they are."`
	Wait   time.Duration `help:"Keep trying what is down for this long: a gate for deployments." placeholder:"60s"`
}

// checksAtOnce bounds how many checks run at the same time by hand.
const checksAtOnce = 32

// Run runs the checks once and prints what they came to.
func (c checkCmd) Run(ctx context.Context, p program) error {
	cfg, err := c.load(p)
	if err != nil {
		return err
	}
	chosen, err := choose(cfg.Checks, c.Names)
	if err != nil {
		return &exitError{exitCannot, err}
	}
	defer closeProbers(chosen) //nolint:errcheck // the program ends
	if c.Hold {
		chosen = sitting(chosen)
	}
	runs := runOnce(ctx, p, chosen, c.Wait == 0)
	for deadline := time.Now().Add(c.Wait); c.Wait > 0; {
		again := notUp(chosen, runs)
		last := time.Until(deadline) <= 2*time.Second
		if len(again) == 0 || !pause(ctx, min(2*time.Second, time.Until(deadline))) {
			break
		}
		if p.terminal {
			fmt.Fprintf(p.stderr, "%d of %d not up yet, trying for %s more\n", len(again), len(chosen), max(0, time.Until(deadline)).Round(time.Second))
		}
		for _, r := range runOnce(ctx, p, again, last) { // only the last try asks why
			i := slices.IndexFunc(chosen, func(c checks.Check) bool { return c.Name == r.result.Check })
			runs[i] = r
		}
		if last {
			break
		}
	}
	if err := printRuns(p.stdout, c.Format, runs); err != nil {
		return err
	}
	return verdict(ctx, runs)
}

// sitter is a check that can wait to see what becomes of what it holds open.
type sitter interface {
	Sitting() (p checks.Prober, more time.Duration)
}

// sitting lets checks that hold connections open wait for what becomes of them.
func sitting(list []checks.Check) []checks.Check {
	list = slices.Clone(list)
	for i := range list {
		c := &list[i]
		s, ok := c.Prober.(sitter)
		if !ok {
			continue
		}
		if p, more := s.Sitting(); p != nil {
			c.Prober, c.Timeout = p, c.Timeout+more
			c.Schedule, c.Confirm = onceIn(2*c.Timeout), 0
		}
	}
	return list
}

// run is one check's result by hand.
type run struct {
	result   checks.Result
	evidence *probe.Evidence
	endpoint probe.Endpoint
}

// choose returns the checks that any of the patterns matches, in config order.
func choose(all []checks.Check, patterns []string) ([]checks.Check, error) {
	if len(patterns) == 0 {
		return all, nil
	}
	var chosen []checks.Check
	used := make([]bool, len(patterns))
	for _, c := range all {
		hit := false
		for i, pattern := range patterns {
			ok, err := path.Match(pattern, c.Name)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w", pattern, err)
			}
			if ok {
				hit, used[i] = true, true
			}
		}
		if hit {
			chosen = append(chosen, c)
		}
	}
	var errs []error
	for i, ok := range used {
		if !ok {
			errs = append(errs, fmt.Errorf("no check is named %q; `tripline validate` lists them", patterns[i]))
		}
	}
	return chosen, errors.Join(errs...)
}

// notUp returns the checks of which runs says that they are not up.
func notUp(chosen []checks.Check, runs []run) []checks.Check {
	var list []checks.Check
	for i, r := range runs {
		if r.result.Status == probe.Down || r.result.Status == probe.Unknown {
			list = append(list, chosen[i])
		}
	}
	return list
}

// quiet is for runs whose failures nobody asks about yet.
type quiet struct{}

// New implements checks.Newness.
func (quiet) New(probe.Class, time.Time) bool { return false }

// runOnce runs each check once, now, several at a time, and keeps their order.
// diagnose says to find out why one fails, which takes some requests.
func runOnce(ctx context.Context, p program, list []checks.Check, diagnose bool) []run {
	runs := make([]run, len(list))
	var done int
	var mu sync.Mutex
	g := new(errgroup.Group)
	g.SetLimit(checksAtOnce)
	for i, c := range list {
		g.Go(func() error {
			once := checks.Run
			if !diagnose {
				once = func(ctx context.Context, c checks.Check, slot time.Time) (checks.Result, func() *probe.Evidence) {
					return checks.RunScheduled(ctx, c, slot, quiet{})
				}
			}
			r, evidence := once(ctx, c, time.Now())
			runs[i] = run{result: r, endpoint: c.Endpoint}
			if evidence != nil && r.Status != probe.Up {
				runs[i].evidence = evidence()
			}
			if p.terminal {
				mu.Lock()
				done++
				fmt.Fprintf(p.stderr, "\r\x1b[K%d of %d: %s %s", done, len(list), c.Name, r.Status)
				if done == len(list) {
					fmt.Fprint(p.stderr, "\r\x1b[K")
				}
				mu.Unlock()
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	return runs
}

// verdict is the exit code: 1 when a check is down, else 2 when one said
// nothing about its target, else 0.
func verdict(ctx context.Context, runs []run) error {
	if ctx.Err() != nil {
		return &exitError{exitCannot, errors.New("interrupted")}
	}
	code := exitOK
	for _, r := range runs {
		switch r.result.Status {
		case probe.Down:
			return &exitError{code: exitDown}
		case probe.Unknown:
			code = exitCannot
		default:
		}
	}
	if code == exitOK {
		return nil
	}
	return &exitError{code: code}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func printRuns(w io.Writer, format string, runs []run) error {
	switch format {
	case "json":
		return printJSON(w, runs)
	case "junit":
		return printJUnit(w, runs)
	default:
		return printTable(w, runs)
	}
}
