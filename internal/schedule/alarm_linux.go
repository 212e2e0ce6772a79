package schedule

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// timerfd is an alarm that wakes the network poller by a file descriptor, so
// that the kernel's own precision applies.
type timerfd struct {
	fd   int
	file *os.File
}

func newAlarm() alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return newTimer() // a sandbox without timerfd: less precise, no less right
	}
	return timerfd{fd, os.NewFile(uintptr(fd), "timerfd")}
}

func (t timerfd) set(d time.Duration) {
	// It fails only for arguments that are not passed here.
	_ = unix.TimerfdSettime(t.fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil)
}

func (t timerfd) close() { _ = t.file.Close() }

func (t timerfd) wait() error {
	var expirations [8]byte
	if _, err := t.file.Read(expirations[:]); err != nil {
		return fmt.Errorf("wait for the next slot: %w", err)
	}
	return nil
}
