package cloudmon

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// taskFile holds the task_id: one line, made up once and kept, since it is
// part of the name of every series. Its lock is the proof that no other
// process writes those series; on a copy of the data directory delete it.
const taskFile = "cloudmon-task"

type task struct {
	id    string
	isNew bool // no process used this id before
	file  *os.File
}

// openTask locks the file in dir and reads the id, or makes one up.
func openTask(dir string) (_ *task, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open task id: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, taskFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open task id: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	free, err := tryLock(f)
	if err != nil {
		return nil, fmt.Errorf("lock task id: %w", err)
	}
	if !free {
		return nil, fmt.Errorf("task id %q is in use by another process: two cannot write the same series", f.Name())
	}
	b := make([]byte, maxLabelBytes)
	n, _ := f.ReadAt(b, 0) // what cannot be read is replaced
	t := &task{id: strings.TrimSpace(string(b[:n])), file: f}
	if t.id == "" || t.id != labelValue(t.id) {
		return t, t.renew()
	}
	return t, nil
}

// renew makes up another id: the series under the old one cannot go on.
func (t *task) renew() error {
	host, err := os.Hostname()
	if err != nil {
		host = "task"
	}
	host, _, _ = strings.Cut(host, ".")
	var random [4]byte
	_, _ = rand.Read(random[:]) // never returns an error
	id := labelValue(host) + "-" + hex.EncodeToString(random[:])
	if err := errors.Join(t.file.Truncate(0), writeAt(t.file, id+"\n"), t.file.Sync()); err != nil {
		return fmt.Errorf("write task id: %w", err)
	}
	t.id, t.isNew = id, true
	return nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

func (t *task) close() { _ = t.file.Close() }
