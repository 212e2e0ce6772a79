//go:build unix

// Command adapter runs Tripline on a benchmark workload: it reads workload.json
// (the neutral description that the harness writes for every monitor), writes
// the same checks as a Tripline config, and becomes `tripline run`, so that the
// process that the harness measures is Tripline itself.
//
//	adapter -tripline ./tripline workload.json
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

type workload struct {
	Checks []struct {
		ID         int    `json:"id"`
		Kind       string `json:"kind"`
		URL        string `json:"url"`
		Status     int    `json:"status"`
		IntervalMS int64  `json:"interval_ms"`
		TimeoutMS  int64  `json:"timeout_ms"`
	} `json:"checks"`
	Webhook   string `json:"webhook"`
	Threshold int    `json:"failure_threshold"`
	CAFile    string `json:"ca_file"`
	Listen    string `json:"listen"`
}

func main() {
	tripline := flag.String("tripline", "tripline", "the binary to run")
	flag.Parse()
	if err := become(*tripline, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "adapter:", err)
		os.Exit(2)
	}
}

func become(tripline, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var w workload
	if err := json.Unmarshal(b, &w); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), "tripline")
	if err != nil {
		return err
	}
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte(w.config(dir)), 0o600); err != nil {
		return err
	}
	return syscall.Exec(tripline, []string{tripline, "run", "--config", config}, os.Environ())
}

// config is the workload as a Tripline config. A failure threshold of n means
// n-1 re-probes: both want n failed attempts before anybody is told.
func (w workload) config(dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {dir: %q}\nhttp: {listen: %q}\ndefaults: {confirm: 0}\nincidents: {flapping: {reopens: 0}}\nchecks:\n", filepath.Join(dir, "data"), w.Listen)
	for _, c := range w.Checks {
		interval := time.Duration(c.IntervalMS) * time.Millisecond
		timeout := min(time.Duration(c.TimeoutMS)*time.Millisecond, interval*9/10)
		confirm := 0
		if w.Webhook != "" {
			confirm = w.Threshold - 1
			timeout = min(timeout, interval*9/10/time.Duration(confirm+1)-250*time.Millisecond)
		}
		fmt.Fprintf(&b, "  - {name: c%d, every: %s, timeout: %s, confirm: %d, ", c.ID, interval, timeout, confirm)
		tls := ""
		if strings.HasPrefix(c.URL, "https") || strings.HasPrefix(c.URL, "wss") {
			tls = fmt.Sprintf(", tls: {ca_file: %q}", w.CAFile)
		}
		if strings.HasPrefix(c.URL, "ws") {
			fmt.Fprintf(&b, "websocket: {url: %q%s}}\n", c.URL, tls)
		} else {
			fmt.Fprintf(&b, "route: {url: %q, status: [%d]%s}}\n", c.URL, c.Status, tls)
		}
	}
	// The four standing rules, so that what is measured is what users run.
	b.WriteString(`rules:
  - {name: connection-failures, rate: {of: connection_failure, over: 1h, at_least: 1%, min_failures: 2}}
  - {name: not-found, rate: {of: not_found, over: 5m, above: 50%, min_failures: 5}}
  - {name: slow, latency: {stat: mean, over: 10m, above: 30s}}
  - {name: uptime, rate: {of: down, over: 1d, above: 1%, min_failures: 20}}
`)
	if w.Webhook != "" {
		fmt.Fprintf(&b, "  - {name: down, severity: page, recover_after: 1, down: {slots: 1}}\nnotify:\n  - {name: hook, slack_webhook: {url: %q}}\n", w.Webhook)
	}
	return b.String()
}
