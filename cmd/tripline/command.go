package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tripline/tripline/internal/web"
)

// How long the command line waits for the answer to a command. The monitor
// itself bounds all but a reload by commandTime.
const (
	answerTime = 3 * commandTime
	reloadTime = web.CommandTime + 30*time.Second
)

type reloadCmd struct{ configFlag }

// Run asks the running monitor to read its config file again.
func (c reloadCmd) Run(ctx context.Context, p program) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	return c.send(ctx, p, "reload", map[string]string{})
}

// command sends a command to the monitor that runs with the config file, and
// prints its answer.
func (f configFlag) command(ctx context.Context, p program, name string, args map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return f.send(ctx, p, name, args)
}

// send is command for as long as ctx lasts.
func (f configFlag) send(ctx context.Context, p program, name string, args map[string]string) error {
	cfg, err := f.load(p)
	if err != nil {
		return err
	}
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	var sent atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	url := "http://" + dialable(cfg.HTTP.Listen) + "/api/commands/" + name
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if cfg.HTTP.Token != "" {
		req.Header.Set("Authorization", "Bearer "+cfg.HTTP.Token)
	}
	begun := time.Now()
	res, err := (&http.Client{}).Do(req)
	switch {
	case err == nil:
	case !sent.Load():
		return &exitError{exitCannot, fmt.Errorf("no monitor answers: %w", err)}
	default:
		return &exitError{exitDown, fmt.Errorf("the monitor at %s was asked and has not answered for %s; it may still carry out the command, and its log says what came of it: %w",
			cfg.HTTP.Listen, time.Since(begun).Round(time.Millisecond), err)}
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("POST %s: %w", url, err)
	}
	text := strings.TrimSpace(string(answer))
	if res.StatusCode != http.StatusOK {
		return &exitError{exitDown, errors.New(text)}
	}
	_, err = fmt.Fprintln(p.stdout, text)
	return err
}
