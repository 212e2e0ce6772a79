package main

import (
	"fmt"
	"io"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// console prints one line for every change of a check's status.
type console struct {
	w    io.Writer
	last map[string]probe.Status
}

func newConsole(w io.Writer) *console {
	return &console{w: w, last: map[string]probe.Status{}}
}

// apply prints the changes among entries.
func (c *console) apply(entries []checks.Entry) {
	for _, e := range entries {
		r := e.Result
		if r == nil || c.last[r.Check] == r.Status {
			continue
		}
		c.last[r.Check] = r.Status
		line := fmt.Sprintf("%s %-8s %s", r.Start.Local().Format("15:04:05"), r.Status, r.Check)
		if r.Latency > 0 {
			line += " " + short(r.Latency)
		}
		if r.Class != probe.OK {
			line += " " + string(r.Class)
		}
		if r.Reason != "" {
			line += ": " + r.Reason
		}
		if cause := r.Facts[checks.FactCause]; cause != "" {
			line += " [" + cause + "]"
		}
		fmt.Fprintln(c.w, line)
	}
}
