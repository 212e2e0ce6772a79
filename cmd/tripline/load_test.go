package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// load is how the machine treats this process, and so, most likely, the one
// under test: what is a matter of time is judged only where there was time.
type load struct {
	stall       atomic.Int64  // the longest time for which this process was not run, in ns
	ran, waited time.Duration // by cpuTime when it began
}

// watchLoad notes until done when the machine does not run this process.
func watchLoad(done <-chan struct{}) *load {
	l := &load{}
	l.anew()
	tick := time.NewTicker(10 * time.Millisecond)
	go func() {
		defer tick.Stop()
		for last := time.Now(); ; last = time.Now() {
			select {
			case <-done:
				return
			case <-tick.C:
				l.stall.Store(max(l.stall.Load(), int64(time.Since(last))))
			}
		}
	}()
	return l
}

// anew forgets what was before: what follows is what will be judged.
func (l *load) anew() {
	l.stall.Store(0)
	l.ran, l.waited = cpuTime()
}

// late reports what is a matter of time as an error, unless the machine is to
// blame.
func (l *load) late(t *testing.T, format string, args ...any) {
	t.Helper()
	if stall := time.Duration(l.stall.Load()); stall > 200*time.Millisecond {
		t.Logf("NOT JUDGED, the machine stood still for %s: %s", stall.Round(time.Millisecond), fmt.Sprintf(format, args...))
		return
	}
	ran, waited := cpuTime()
	if ran, waited = ran-l.ran, waited-l.waited; waited > ran/2 {
		t.Logf("NOT JUDGED, this process waited %s for a processor and had one for %s: %s",
			waited.Round(time.Millisecond), ran.Round(time.Millisecond), fmt.Sprintf(format, args...))
		return
	}
	t.Errorf(format, args...)
}

// cpuTime is for how long the threads of this process ran, and for how long
// they could have run but had no processor: the process under test fares as
// this one does. Both are 0 where the system does not say.
func cpuTime() (ran, waited time.Duration) {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, file := range files {
		b, err := os.ReadFile(file)
		var on, off int64 // https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat
		if _, scanErr := fmt.Sscan(string(b), &on, &off); err == nil && scanErr == nil {
			ran, waited = ran+time.Duration(on), waited+time.Duration(off)
		}
	}
	return ran, waited
}

// watchDisk writes to the disk that holds dir until the function that it returns
// is called, which says how long the slowest write took.
func watchDisk(dir string) (slowest func() time.Duration) {
	done, result := make(chan struct{}), make(chan time.Duration)
	go func() {
		var worst time.Duration
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			at := time.Now()
			if f, err := os.CreateTemp(dir, ".load"); err == nil {
				_, _ = f.WriteString("x")
				_ = f.Sync()
				_ = f.Close()
				_ = os.Remove(f.Name())
			}
			worst = max(worst, time.Since(at))
			select {
			case <-done:
				result <- worst
				return
			case <-tick.C:
			}
		}
	}()
	return func() time.Duration {
		close(done)
		return <-result
	}
}

// stopTime is how long the program may take to end.
const stopTime = 10 * time.Second

// wantStopped asks the process to end, and wants exit code 0 within stopTime.
// What cannot be stored within 3 s is given up, with exit code 1: that is judged
// only if the machine and its disk were there; then not all may be stored or exported.
func (p *process) wantStopped() (stopped bool) {
	p.t.Helper()
	return p.wantStoppedBy(syscall.SIGTERM)
}

func (p *process) wantStoppedBy(sig syscall.Signal) (stopped bool) {
	p.t.Helper()
	slowest := watchDisk(p.cmd.Dir)
	code, took := p.stopBy(sig)
	switch disk := slowest(); {
	case code == 0 && took <= stopTime:
	case code != 0 && code != 1:
		p.t.Errorf("exit code %d, want 0", code)
	case disk > time.Second:
		p.t.Logf("NOT JUDGED, a write to the disk took %s: exit code %d after %s", disk, code, took)
	default:
		p.load.late(p.t, "exit code %d after %s, want 0 within %s", code, took, stopTime)
	}
	return code == 0
}
