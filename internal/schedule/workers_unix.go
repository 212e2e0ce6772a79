//go:build unix

package schedule

import "golang.org/x/sys/unix"

// openFiles is how many descriptors the process may have open, 0 if that is
// not known.
func openFiles() uint64 {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // it is signed on some systems
}
