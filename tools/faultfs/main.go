// Command faultfs mounts a directory at another place, where its disk can be
// made slow or faulty. Tests run it; it needs root and /dev/fuse.
//
//	faultfs DIR MOUNTPOINT
//
// It prints "mounted", and then obeys the lines of its input, each answered by
// "ok":
//
//	slow 500ms   each fsync takes so long
//	fail EIO     each write, fsync and change of a directory fails so
//	well         neither
//
// At the end of its input it unmounts and ends.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: faultfs DIR MOUNTPOINT")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "faultfs:", err)
		os.Exit(1)
	}
}

func serve(dir, mountpoint string) error {
	root, err := fs.NewLoopbackRoot(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	d := &disk{RawFileSystem: fs.NewNodeFS(root, &fs.Options{})}
	server, err := fuse.NewServer(d, mountpoint, &fuse.MountOptions{
		DirectMountStrict: true, Name: "faultfs", FsName: dir,
		DisabledCapabilities: fuse.CAP_PASSTHROUGH, // else the kernel writes to the files itself
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	fmt.Println("mounted")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := d.obey(lines.Text()); err != nil {
			return err
		}
		fmt.Println("ok")
	}
	d.slow.Store(0)
	return server.Unmount()
}

// disk is a file system with faults.
type disk struct {
	fuse.RawFileSystem

	slow atomic.Int64 // of each fsync, in ns
	fail atomic.Int32 // errno; 0 for none
}

func (d *disk) obey(line string) error {
	verb, value, _ := strings.Cut(line, " ")
	switch verb {
	case "well":
		d.slow.Store(0)
		d.fail.Store(0)
		return nil
	case "slow":
		pause, err := time.ParseDuration(value)
		d.slow.Store(int64(pause))
		return err
	case "fail":
		errno, ok := map[string]syscall.Errno{"EIO": syscall.EIO, "EROFS": syscall.EROFS, "ENOSPC": syscall.ENOSPC}[value]
		if ok {
			d.fail.Store(int32(errno))
			return nil
		}
	}
	return fmt.Errorf("%q: want slow DURATION, fail EIO, fail EROFS, fail ENOSPC or well", line)
}

// sync is what an fsync does before it is done.
func (d *disk) sync() fuse.Status {
	time.Sleep(time.Duration(d.slow.Load()))
	return fuse.Status(d.fail.Load())
}

func (d *disk) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if status := d.sync(); status != fuse.OK {
		return status
	}
	return d.RawFileSystem.Fsync(cancel, in)
}

func (d *disk) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	if status := d.sync(); status != fuse.OK {
		return status
	}
	return d.RawFileSystem.FsyncDir(cancel, in)
}

func (d *disk) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	if errno := d.fail.Load(); errno != 0 {
		return 0, fuse.Status(errno)
	}
	return d.RawFileSystem.Writev(cancel, in, data)
}

func (d *disk) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	if errno := d.fail.Load(); errno != 0 {
		return fuse.Status(errno)
	}
	return d.RawFileSystem.Create(cancel, in, name, out)
}

func (d *disk) Unlink(cancel <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	if errno := d.fail.Load(); errno != 0 {
		return fuse.Status(errno)
	}
	return d.RawFileSystem.Unlink(cancel, in, name)
}

func (d *disk) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	if errno := d.fail.Load(); errno != 0 {
		return fuse.Status(errno)
	}
	return d.RawFileSystem.Rename(cancel, in, from, to)
}
