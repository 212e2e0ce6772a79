package journal

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const lockName = "LOCK"

// Holder is the process that uses a data directory, as the lock file names it. Fields are zero where the file does not say.
type Holder struct {
	PID     int       `json:"pid"`
	Host    string    `json:"host"`
	Started time.Time `json:"started"` // when it opened the directory
}

// LockedError is returned by Open when another process uses the directory.
type LockedError struct {
	Dir    string
	Holder Holder
}

func (e *LockedError) Error() string {
	if e.Holder.PID == 0 {
		return fmt.Sprintf("open journal %q: in use by another process", e.Dir)
	}
	return fmt.Sprintf("open journal %q: in use by process %d on host %s since %s",
		e.Dir, e.Holder.PID, e.Holder.Host, e.Holder.Started.Format(time.RFC3339))
}

// lock takes the exclusive lock of dir and writes this process's name into it. Closing the file unlocks.
// The file stays behind on purpose: removing it would let two processes lock two different files.
func lock(dir string) (_ *os.File, err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	free, err := tryLock(f)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if !free {
		locked := &LockedError{Dir: dir}
		if text, err := io.ReadAll(f); err == nil {
			_ = json.Unmarshal(text, &locked.Holder) // a half-written name is no name
		}
		return nil, locked
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	text, err := json.Marshal(Holder{PID: os.Getpid(), Host: host, Started: time.Now().Truncate(time.Second)})
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	if err := f.Truncate(0); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	// A full disk must not keep the program out for want of these few bytes: the lock itself is held already.
	_, _ = f.WriteAt(append(text, '\n'), 0)
	return f, nil
}
