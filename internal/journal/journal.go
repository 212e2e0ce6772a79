package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

var (
	// ErrClosed is returned by everything that is used after Close.
	ErrClosed = errors.New("journal is closed")
	// ErrNotFound is returned for a key that has no record.
	ErrNotFound = errors.New("not found")
)

// Journal is an open data directory. Its methods may be called from any goroutine.
type Journal struct {
	opts Options
	lock *os.File

	mu      sync.Mutex // guards what follows; never held while waiting
	engine  *engine    // nil between two engines
	changed chan struct{}
	repairs *repair
	closed  chan struct{}
	logOpen bool
}

// Open locks the directory, starts the embedded server on it and makes sure of the streams. A directory that another process
// has open gives a *LockedError at once. The directory of a cluster member is refused: the server would delete what a
// standalone one stored, and the other way round. ctx bounds the opening only.
//
// Of a disk that cannot hold Options.MaxBytes the log gets what leaves twice Options.MinFree and the evidence's share free, at
// least 16 MiB, which is logged: else it would fill the disk, stop, and never make room for itself.
func Open(ctx context.Context, o Options) (_ *Journal, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Existing {
		if _, err := os.Stat(filepath.Join(o.Dir, storeName)); err != nil {
			return nil, fmt.Errorf("open journal %q: there is none: %w", o.Dir, err)
		}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{opts: o, changed: make(chan struct{}), closed: make(chan struct{})}
	if j.lock, err = lock(o.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = j.lock.Close()
		}
	}()
	if err := refuseCluster(o.Dir); err != nil {
		return nil, err
	}
	// A server that starts on a full disk could leave half of an interrupted commit behind.
	if err := j.probe(); err != nil {
		return nil, fmt.Errorf("open journal %q: the disk takes no writes: %w", o.Dir, err)
	}
	if err := j.fitDisk(); err != nil {
		return nil, fmt.Errorf("open journal %q: %w", o.Dir, err)
	}
	if j.engine, err = startEngine(ctx, j.opts, j.stateChanged); err != nil {
		return nil, fmt.Errorf("open journal %q: %w", o.Dir, err)
	}
	return j, nil
}

func refuseCluster(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	for _, e := range entries {
		if ok, _ := filepath.Match("cluster-*", e.Name()); ok {
			return fmt.Errorf("open journal %q: it holds %s, the store of a cluster member; give the standalone monitor a directory of its own", dir, e.Name())
		}
	}
	return nil
}

// Close stops the server and releases the directory. End Log.Run first: it writes out what is buffered.
// Whatever still follows or watches returns ErrClosed.
func (j *Journal) Close() error {
	j.mu.Lock()
	select {
	case <-j.closed:
		j.mu.Unlock()
		return nil
	default:
	}
	close(j.closed)
	running := j.repairs
	j.mu.Unlock()
	if running != nil {
		<-running.done // it may be about to start an engine
	}
	j.mu.Lock()
	e := j.engine
	j.engine = nil
	j.mu.Unlock()
	if e != nil {
		e.stop()
	}
	return j.lock.Close()
}
