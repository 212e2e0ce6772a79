package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// What applies where neither the check nor the defaults of the file say it.
const (
	defaultEvery   = time.Minute
	defaultTimeout = 10 * time.Second
	defaultConfirm = 2
)

// The pauses before re-probes, as checks.Run makes them.
const (
	firstPause = 250 * time.Millisecond
	nextPause  = time.Second
)

// leastShare is what each attempt is given at least before the default number
// of re-probes becomes smaller.
const leastShare = 500 * time.Millisecond

// unset is a number of re-probes that the file does not say.
const unset = -1

// A fit is how long the attempts of one run may take and how many there are.
// A run must end by the interval less 10 %.
type fit struct {
	interval time.Duration
	timeout  time.Duration
	confirm  int
}

// budget is how long a whole run may take.
func (f fit) budget() time.Duration { return f.interval - f.interval/10 }

// pauses is how long a run waits between its attempts.
func (f fit) pauses() time.Duration {
	if f.confirm == 0 {
		return 0
	}
	return firstPause + time.Duration(f.confirm-1)*nextPause
}

// longest is how long a run takes in which every attempt times out.
func (f fit) longest() time.Duration {
	return f.timeout*time.Duration(f.confirm+1) + f.pauses()
}

// choose fills in what the file does not say: timeout 0 and confirm unset.
// What it does say stays as it is.
func (f fit) choose() fit {
	if f.confirm == unset {
		f.confirm = defaultConfirm
		for f.confirm > 0 && !f.roomy() {
			f.confirm--
		}
	}
	if f.timeout == 0 {
		f.timeout = min(defaultTimeout, f.share())
	}
	return f
}

// roomy tells whether the re-probes fit.
func (f fit) roomy() bool {
	if f.timeout == 0 {
		return f.share() >= leastShare
	}
	return f.longest() <= f.budget()
}

// share is how long each attempt may take for all to fit, rounded down to
// what people would write.
func (f fit) share() time.Duration {
	d := (f.budget() - f.pauses()) / time.Duration(f.confirm+1)
	if d >= time.Second {
		return d.Truncate(100 * time.Millisecond)
	}
	return d.Truncate(10 * time.Millisecond)
}

// problem says why the attempts do not fit the interval; "" if they do.
func (f fit) problem() string {
	if f.timeout > 0 && f.longest() <= f.budget() {
		return ""
	}
	if f.share() < leastTimeout {
		return fmt.Sprintf("confirm %d does not fit every %s: the pauses between the attempts alone take %s, want at most %s for the whole run (the interval less 10 %%)",
			f.confirm, text(f.interval), text(f.pauses()), text(f.budget()))
	}
	const listed = 4 // re-probes that are written out
	sum := []string{text(f.timeout)}
	for i := range min(f.confirm, listed) {
		pause := nextPause
		if i == 0 {
			pause = firstPause
		}
		sum = append(sum, text(pause), text(f.timeout))
	}
	if f.confirm > listed {
		sum = append(sum, fmt.Sprintf("%d more re-probes", f.confirm-listed))
	}
	what := "timeout " + text(f.timeout)
	if f.confirm > 0 {
		what += fmt.Sprintf(" with confirm %d", f.confirm)
	}
	took := text(f.longest())
	if len(sum) > 1 {
		took = strings.Join(sum, " + ") + " = " + took
	}
	return fmt.Sprintf("%s does not fit every %s: a run may take %s, want at most %s (the interval less 10 %%); timeout %s would fit",
		what, text(f.interval), took, text(f.budget()), text(f.share()))
}

func text(d time.Duration) string { return probe.Duration(d).String() }
