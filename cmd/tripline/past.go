package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/config"
	"github.com/tripline/tripline/internal/journal"
	"github.com/tripline/tripline/internal/replay"
)

// dataFlag is the flag of the commands that look back.
type dataFlag struct {
	Data string `help:"The data directory. Default: that of the config file; while a monitor runs on it, it is read through the monitor." placeholder:"DIR"`
}

// past is a stored log with its state, open to look at.
type past interface {
	replay.Source
	Close() error
}

// open opens the data directory or, if a monitor has it, asks that.
func (f dataFlag) open(ctx context.Context, p program, cfg *config.Config) (past, error) {
	dir := f.Data
	if dir == "" {
		dir = cfg.Data.Dir
	}
	s, err := openStored(ctx, p, dir)
	held, locked := errors.AsType[*journal.LockedError](err)
	if !locked {
		if err != nil {
			return nil, &exitError{exitCannot, err}
		}
		return s, nil
	}
	remote := replay.NewRemote("http://"+dialable(cfg.HTTP.Listen)+"/api/replay", cfg.HTTP.Token)
	pid, err := remote.PID(ctx)
	switch {
	case err != nil:
		return nil, &exitError{exitCannot, fmt.Errorf("%w; and %s, where the config file says that its monitor answers, does not: %w", held, cfg.HTTP.Listen, err)}
	case pid != held.Holder.PID:
		return nil, &exitError{exitCannot, fmt.Errorf("%w; and %s is answered by process %d. Give the config file of that monitor with --config", held, cfg.HTTP.Listen, pid)}
	}
	return remote, nil
}

// stored is a data directory that this process has open.
type stored struct {
	log     *journal.Log[checks.Entry]
	journal *journal.Journal
}

func openStored(ctx context.Context, p program, dir string) (*stored, error) {
	log := slog.New(slog.NewTextHandler(p.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	j, err := journal.Open(ctx, journal.Options{Dir: dir, Existing: true, Log: log})
	if err != nil {
		return nil, err
	}
	l, err := journal.NewLog(ctx, j, journal.LogOptions[checks.Entry]{Encode: checks.EncodeEntries, Decode: decodeEntries})
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return &stored{log: l, journal: j}, nil
}

// Scan implements replay.Source.
func (s *stored) Scan(ctx context.Context, since time.Time, f func(seq uint64, at time.Time, data []byte) error) error {
	return s.log.Scan(ctx, since, f)
}

// List implements replay.Source.
func (s *stored) List(ctx context.Context, prefix ...string) ([]notify.Record, error) {
	return state{s.journal.State()}.List(ctx, prefix...)
}

// Evidence implements replay.Source.
func (s *stored) Evidence(ctx context.Context, check string) (*probe.Evidence, error) {
	return evidenceStore{s.journal}.newest(ctx, check)
}

// Close ends the use of the directory.
func (s *stored) Close() error { return s.journal.Close() }

// remember keeps what a config means for the rules, so that a later replay can
// change the config where this process did. That it cannot is no reason to stop.
func (m *monitor) remember(ctx context.Context, cfg *config.Config, e replay.Era) {
	first, err := m.log.First(ctx)
	if err == nil {
		err = replay.Remember(ctx, state{m.journal.State()}, ruleset(cfg), e, first)
	}
	if err != nil {
		m.slog.Warn("a later backtest will not know the rules of today", "err", err)
	}
}
