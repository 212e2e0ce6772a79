package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	outputLines = 1024        // that may wait for a reader
	outputGrace = time.Second // for what waits when the program ends
)

// output writes to w from a goroutine of its own: a terminal that is stopped or
// a pipe that nobody reads must not hold up the monitor. What finds no room is
// dropped, and the next line that does says how much.
type output struct {
	w     io.Writer
	lines chan []byte
	done  chan struct{}

	mu      sync.Mutex
	closed  bool
	dropped int
}

func newOutput(w io.Writer) *output {
	o := &output{w: w, lines: make(chan []byte, outputLines), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		for line := range o.lines {
			_, _ = o.w.Write(line) // there is nowhere to say so
		}
	}()
	return o
}

// Write implements io.Writer. It never blocks and never fails.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	line := bytes.Clone(p)
	if o.dropped > 0 {
		line = append(fmt.Appendf(nil, "(%d lines were dropped here: nobody read the output)\n", o.dropped), p...)
	}
	if o.closed {
		return len(p), nil
	}
	select {
	case o.lines <- line:
		o.dropped = 0
	default:
		o.dropped++
	}
	return len(p), nil
}

// close waits for what is to be written, but not for long.
func (o *output) close(ctx context.Context) {
	o.mu.Lock()
	if !o.closed {
		o.closed = true
		close(o.lines)
	}
	o.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outputGrace)
	defer cancel()
	select {
	case <-o.done:
	case <-ctx.Done():
	}
}
