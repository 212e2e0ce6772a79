package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/internal/replay"
)

func backtestConfig(tg *target, listen, rules string) string {
	return fmt.Sprintf(`version: 1
data: {dir: data}
http: {listen: %q}
defaults: {base_url: %q, every: 1s, timeout: 300ms, confirm: 0}
incidents: {flapping: {reopens: 0}} # else the fourth stays open
checks:
  - {name: api, route: {url: /health}}
  - {name: live, group: ws, websocket: {url: /ws}}
notify:
  - {name: console, log: {}}
rules:
%s`, listen, tg.URL, rules)
}

const (
	rulesBefore = "  - {name: missing, select: {kind: websocket}, severity: page, rate: {of: not_found, over: 2s, above: 0%}, recover_after: 1}\n"
	rulesAfter  = "  - {name: missing, select: {kind: websocket}, severity: ticket, rate: {of: not_found, over: 3s, at_least: 20%}, recover_after: 1}\n" +
		"  - {name: down, severity: page, down: {slots: 2}, recover_after: 1}\n"
	rulesEdited = "  - {name: down, severity: page, down: {slots: 100}}\n"
)

// command runs tripline to its end and returns what it printed.
func command(t *testing.T, dir string, wantCode int, args ...string) string {
	t.Helper()
	p := start(t, dir, nil, args...)
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		t.Fatalf("tripline %s did not end", strings.Join(args, " "))
	}
	if code := p.cmd.ProcessState.ExitCode(); code != wantCode {
		t.Errorf("tripline %s: exit code %d, want %d: %s", strings.Join(args, " "), code, wantCode, p.out)
	}
	return p.out.String()
}

// TestBacktest runs a monitor on a target that flaps, changes its rules in the
// middle and restarts it. A replay then decides exactly what the monitor did,
// with the data directory at rest and through the running monitor; with other
// rules it says what would have been different.
func TestBacktest(t *testing.T) {
	t.Parallel()
	tg := newTarget(t)
	dir, listen := t.TempDir(), freePort(t)
	file := filepath.Join(dir, "config.yaml")
	writeFile(t, file, backtestConfig(tg, listen, rulesBefore))
	writeFile(t, filepath.Join(dir, "edited.yaml"), backtestConfig(tg, listen, rulesEdited))
	p := start(t, dir, nil, "run")
	flap := func() {
		t.Helper()
		seen := tg.upgrades.Load()
		waitFor(t, 30*time.Second, "good upgrades", func() bool { return tg.upgrades.Load() >= seen+2 })
		tg.mode.Store("404")
		waitFor(t, 30*time.Second, "an incident", func() bool { return len(openIncidents(t, listen)) == 1 })
		tg.mode.Store("ok")
		waitFor(t, 30*time.Second, "its end", func() bool { return len(openIncidents(t, listen)) == 0 })
	}
	flap()
	tg.mode.Store("404")
	waitFor(t, 30*time.Second, "an incident", func() bool { return len(openIncidents(t, listen)) == 1 })
	writeFile(t, file, backtestConfig(tg, listen, rulesAfter))
	command(t, dir, 0, "reload")
	seen := tg.upgrades.Load()
	waitFor(t, 30*time.Second, "bad upgrades", func() bool { return tg.upgrades.Load() >= seen+3 })
	tg.mode.Store("ok")
	waitFor(t, 30*time.Second, "its end", func() bool { return len(openIncidents(t, listen)) == 0 })
	flap()

	same := func(when string) {
		t.Helper()
		var report struct {
			replay.Report
			Results int `json:"results"`
		}
		out := command(t, dir, 0, "backtest", "--json")
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%s: %v in %s", when, err, out)
		}
		if n := report.Count(replay.Same); n < 3 || n != len(report.Incidents) || report.Aside > 0 || !report.AsItRan || len(report.Notes) > 0 {
			t.Errorf("%s: %d of %d incidents are the same, %d aside, notes %q, want all of at least 3:\n%s",
				when, n, len(report.Incidents), report.Aside, report.Notes, command(t, dir, 0, "backtest"))
		}
		if len(report.Decisions) < 6 || report.Results < 20 {
			t.Errorf("%s: %d decisions of %d results, want at least 6 of 20", when, len(report.Decisions), report.Results)
		}
		id := report.Decisions[0].Incident.ID
		explained := command(t, dir, 0, "explain", id[:len(id)-1])
		for _, want := range []string{
			id, "missing (rate, page): not_found", "threshold 0 %", "down", "not_found", "upgrade answered 404", "up  ", "console: version 2 of 2 at ",
			"newest evidence of live", "| GET /ws HTTP/1.1",
		} {
			if !strings.Contains(explained, want) {
				t.Errorf("%s: explain does not say %q:\n%s", when, want, explained)
			}
		}
		if out := command(t, dir, 2, "explain", "nonsense"); !strings.Contains(out, "the newest are") || !strings.Contains(out, id) {
			t.Errorf("%s: an unknown id: %s", when, out)
		}
		if out := command(t, dir, 2, "explain", "ws-"); !strings.Contains(out, "want one of them") || !strings.Contains(out, id) {
			t.Errorf("%s: the beginning of several: %s", when, out)
		}
	}
	same("while it runs")
	p.wantStopped()
	same("at rest")

	// A restart with other rules is a change of the config, too.
	writeFile(t, file, backtestConfig(tg, listen, rulesBefore))
	p = start(t, dir, nil, "run")
	waitFor(t, 30*time.Second, "the page", func() bool { return strings.Contains(p.out.String(), "page on") })
	flap()
	p.stop()
	same("after a restart with other rules")

	edited := command(t, dir, 0, "backtest", "--config", "edited.yaml")
	for _, want := range []string{"with this config throughout", "only live: ws-", "0 same", "0 only now", "note: the config changed at "} {
		if !strings.Contains(edited, want) {
			t.Errorf("with edited rules it does not say %q:\n%s", want, edited)
		}
	}
	if out := command(t, dir, 0, "backtest", "--throughout"); !strings.Contains(out, "with this config throughout") || !strings.Contains(out, " opened ") {
		t.Errorf("--throughout: %s", out)
	}
	if out := command(t, dir, 2, "backtest", "--data", "elsewhere"); !strings.Contains(out, "there is none") {
		t.Errorf("a directory that is not there: %s", out)
	}
}
