package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	probeName  = "PROBE"
	probeBytes = 1 << 20
)

// DiskState says how the disk below the journal is doing. Bytes.
type DiskState struct {
	Free int64 // what may still be written
	Used int64 // what the journal's files hold
}

// leastLog is the least limit of the log.
const leastLog = 16 << 20

// logLimit returns how much of max a log may keep that has own bytes on a disk with free bytes, of which reserve are for others.
func logLimit(limit, own, free, reserve int64) int64 {
	return min(limit, max(own+free-reserve, leastLog))
}

// fitDisk lowers the limit of the log to what the disk can hold.
func (j *Journal) fitDisk() error {
	o := &j.opts
	if o.Existing {
		return nil
	}
	free, err := freeBytes(o.Dir)
	if err != nil {
		return err
	}
	streams := filepath.Join(o.Dir, storeName, "jetstream", "$G", "streams")
	own, err := usedBytes(filepath.Join(streams, streamLog))
	if err != nil {
		return err
	}
	evidence, err := usedBytes(filepath.Join(streams, streamEvidence))
	if err != nil {
		return err
	}
	reserve := 2*o.MinFree + max(0, o.EvidenceMaxBytes-evidence)
	if limit := logLimit(o.MaxBytes, own, free, reserve); limit < o.MaxBytes {
		o.Log.Warn("the disk cannot hold as many results as configured; the oldest will go sooner",
			"limit", mebibytes(limit), "configured", mebibytes(o.MaxBytes), "used", mebibytes(own), "free", mebibytes(free), "reserved", mebibytes(reserve))
		o.MaxBytes = limit
	}
	return nil
}

// Disk reads the state of the disk. It touches every file's metadata: some milliseconds, so not for every request.
func (j *Journal) Disk() (DiskState, error) {
	free, err := freeBytes(j.opts.Dir)
	if err != nil {
		return DiskState{}, err
	}
	used, err := usedBytes(j.opts.Dir)
	return DiskState{Free: free, Used: used}, err
}

// usedBytes sums up the files below dir, 0 if it does not exist.
func usedBytes(dir string) (used int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil && e.Type().IsRegular() {
			if info, err = e.Info(); err == nil {
				used += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the server removes files as it pleases
		}
		return err
	})
	return used, err
}

// room refuses to write when less than want bytes are free. Asking first is better than being refused by the disk: the server
// stops all writes to a stream after that, and leaks a file for each commit it cannot stage.
func (j *Journal) room(want int64) error {
	free, err := freeBytes(j.opts.Dir)
	if err != nil {
		return err
	}
	if free < want {
		return fmt.Errorf("disk of %s: %s free, want %s", j.opts.Dir, mebibytes(free), mebibytes(want))
	}
	return nil
}

// probe finds out whether the disk takes writes, by writing. It sees what statfs does not: quotas, inodes, a file system that
// went read-only, a bad sector.
func (j *Journal) probe() (err error) {
	f, err := os.OpenFile(filepath.Join(j.opts.Dir, probeName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}()
	if _, err := f.Write(make([]byte, probeBytes)); err != nil {
		return err
	}
	return f.Sync()
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
