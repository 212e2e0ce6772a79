package schedule

import "time"

// alarm is what the Runner waits on. It is a timer that another goroutine may
// set anew while it is waited for. On Linux it is more precise than
// time.Timer, whose waits end up to 1 ms late when the program is idle
// (golang.org/issue/53824).
type alarm interface {
	set(d time.Duration) // wait returns in d, which is at least 1 ns
	wait() error
	close()
}

// timer is the alarm of package time: for other systems and for tests in a
// bubble of testing/synctest.
type timer struct{ *time.Timer }

func newTimer() alarm { return timer{time.NewTimer(time.Hour)} }

func (t timer) set(d time.Duration) { t.Reset(d) }
func (t timer) close()              { t.Stop() }

func (t timer) wait() error {
	<-t.C
	return nil
}
