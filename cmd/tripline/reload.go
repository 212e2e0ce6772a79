package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/config"
	"github.com/tripline/tripline/internal/replay"
)

// reloader puts a new config in place of the running one. It reads and builds
// everything first: a file with errors changes nothing. All reloads are made by
// run, one at a time: they do not end halfway when whoever asked goes away.
type reloader struct {
	monitor  *monitor
	program  program
	flag     configFlag
	watch    bool // reload when the file changes
	requests chan chan<- reloaded
}

// reloaded is what came of a reload: the differences, for people.
type reloaded struct {
	text string
	err  error
}

func newReloader(m *monitor, p program, f configFlag, watch bool) *reloader {
	return &reloader{monitor: m, program: p, flag: f, watch: watch, requests: make(chan chan<- reloaded)}
}

// ask asks run for a reload, and waits for what comes of it as long as ctx
// lasts.
func (r *reloader) ask(ctx context.Context) (string, error) {
	answer := make(chan reloaded, 1)
	select {
	case r.requests <- answer:
	case <-ctx.Done():
		return "", fmt.Errorf("reload: not begun, another one is under way: %w", ctx.Err())
	}
	select {
	case a := <-answer:
		return a.text, a.err
	case <-ctx.Done():
		return "", fmt.Errorf("reload: begun and goes on, the monitor's log will say what came of it: %w", ctx.Err())
	}
}

// reload reads the config file and changes what is different. It returns the
// differences, for people.
func (r *reloader) reload(ctx context.Context, author string) (string, error) {
	text, err := r.try(ctx, author)
	if err != nil {
		r.monitor.slog.Error("config not reloaded, the running one goes on", "err", err)
		r.monitor.warn("the config file was not reloaded: " + firstLine(err.Error()))
		return "", err
	}
	r.monitor.warn("")
	r.monitor.slog.Info("config reloaded", "changes", text)
	return text, nil
}

func firstLine(s string) string {
	line, rest, _ := strings.Cut(s, "\n")
	if n := strings.Count(rest, "\n"); n > 2 {
		line += " (and more)"
	}
	return line
}

func (r *reloader) try(ctx context.Context, author string) (string, error) {
	m := r.monitor
	next, err := r.flag.load(r.program)
	if err != nil {
		return "", err
	}
	old := m.config()
	if err := restartOnly(old, next); err != nil {
		return "", err
	}
	d := compare(old, next)
	if len(d) == 0 {
		return "no changes", nil
	}
	at := time.Now().UTC()
	err = m.evaluator.Reconfigure(ctx, routeFor(next), func(time.Time) []alerting.Change {
		m.remember(ctx, next, replay.Era{After: m.engine.Seq(), At: at})
		m.engine.SetPolicy(next.Policy)
		return m.engine.Reconfigure(next.Rules, next.Subjects, at)
	})
	if err != nil {
		return "", fmt.Errorf("hand the new rules over: %w", err)
	}
	m.runner.Replace(next.Checks, next.Fingerprints)
	if err := m.closers.replace(old, next); err != nil {
		m.slog.Warn("a removed check did not close well", "err", err)
	}
	m.desks.replace(next.Notifiers) //nolint:contextcheck // a desk lives as long as the program, not as the reload
	m.setConfig(next)
	text := strings.Join(d, "; ")
	m.log.Append(checks.Entry{V: checks.ResultVersion, Command: &checks.Command{
		At: at, Name: "config", Author: author, Args: map[string]string{"hash": next.Hash, "changes": clip(text, 2000)},
	}}, true)
	return text, nil
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

// restartOnly refuses changes that a running process cannot make.
func restartOnly(old, next *config.Config) error {
	var errs []error
	refuse := func(key string, a, b any) {
		if a != b {
			errs = append(errs, fmt.Errorf("%s changed from %v to %v: that needs a restart", key, a, b))
		}
	}
	refuse("location", old.Location, next.Location)
	refuse("environment", old.Environment, next.Environment)
	refuse("data.dir", old.Data.Dir, next.Data.Dir)
	refuse("data.keep", old.Data.Keep, next.Data.Keep)
	refuse("data.max_size", old.Data.MaxSize, next.Data.MaxSize)
	refuse("http.listen", old.HTTP.Listen, next.HTTP.Listen)
	if a, b := plainText(old.CloudMonitoring), plainText(next.CloudMonitoring); a != b {
		errs = append(errs, errors.New("cloud_monitoring changed: that needs a restart"))
	}
	if old.HTTP.Token != next.HTTP.Token {
		errs = append(errs, errors.New("http.token changed: that needs a restart"))
	}
	return errors.Join(errs...)
}

// plainText tells settings apart that are plain data.
func plainText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// compare lists what is different, in the words of the config file.
func compare(old, next *config.Config) []string {
	var d []string
	list := func(what string, old, next map[string]string) {
		var added, removed, changed []string
		for name, text := range next {
			switch was, ok := old[name]; {
			case !ok:
				added = append(added, name)
			case was != text:
				changed = append(changed, name)
			}
		}
		for name := range old {
			if _, ok := next[name]; !ok {
				removed = append(removed, name)
			}
		}
		for _, part := range []struct {
			verb  string
			names []string
		}{{"added", added}, {"removed", removed}, {"changed", changed}} {
			if len(part.names) > 0 {
				slices.Sort(part.names)
				d = append(d, fmt.Sprintf("%s %s: %s", what, part.verb, some(part.names)))
			}
		}
	}
	list("checks", old.Fingerprints, next.Fingerprints)
	list("rules", ruleTexts(old), ruleTexts(next))
	list("notifiers", notifierTexts(old), notifierTexts(next))
	list("maintenance windows", old.MaintenanceTexts(), next.MaintenanceTexts())
	if old.HTTP.URL != next.HTTP.URL {
		d = append(d, "http.url changed")
	}
	if old.IncidentText() != next.IncidentText() {
		d = append(d, "incidents changed")
	}
	if plainText(old.Heartbeat) != plainText(next.Heartbeat) {
		d = append(d, "heartbeat changed")
	}
	return d
}

// some names at most 20 of names.
func some(names []string) string {
	const most = 20
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

func ruleTexts(c *config.Config) map[string]string {
	texts := map[string]string{}
	for _, r := range c.Rules {
		b, _ := json.Marshal(r) // plain data
		texts[r.Name] = string(b)
	}
	return texts
}

func notifierTexts(c *config.Config) map[string]string {
	texts := map[string]string{}
	for _, n := range c.Notifiers {
		texts[n.Name] = n.Fingerprint + n.Off
	}
	return texts
}

// run reloads at each hangup signal, when it is asked to and, if watch is set,
// when the config file changes, until ctx ends.
func (r *reloader) run(ctx context.Context) error {
	last := stamp(r.flag.Config)
	look := time.NewTicker(2 * time.Second)
	defer look.Stop()
	for {
		author, answer := "SIGHUP", make(chan<- reloaded, 1)
		select {
		case <-ctx.Done():
			return nil
		case <-r.program.hangup:
		case answer = <-r.requests:
			author = "command"
		case <-look.C:
			now := stamp(r.flag.Config)
			if !r.watch || now == last {
				continue
			}
			last, author = now, "file change"
		}
		text, err := r.reload(ctx, author) // what came of it has been logged
		answer <- reloaded{text, err}
	}
}

func stamp(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
}

// command carries out a command that came in through the API.
func (m *monitor) command(ctx context.Context, name string, args map[string]string) (string, error) {
	switch name {
	case "reload":
		return m.reloader.ask(ctx)
	case alerting.CommandAcknowledge, alerting.CommandSilence, alerting.CommandSilenceEnd,
		alerting.CommandMaintenance, alerting.CommandMaintenanceEnd:
		return m.tellRules(ctx, name, args)
	case "silence-list":
		return m.listSilences(ctx)
	default:
		return "", fmt.Errorf("no command is named %q, want reload, acknowledge, silence, silence-end, silence-list, maintenance or maintenance-end", name)
	}
}
