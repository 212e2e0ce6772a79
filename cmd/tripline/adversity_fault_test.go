//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// faultyDisk is a directory whose disk can be made slow or faulty.
type faultyDisk struct {
	t       *testing.T
	dir     string
	in      io.Writer
	answers *bufio.Scanner
}

// newFaultyDisk mounts one: tools/faultfs, a program of its own.
func newFaultyDisk(t *testing.T) *faultyDisk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: a faulty disk; mounting one needs root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: a faulty disk; it needs FUSE: %v", err)
	}
	dir := t.TempDir()
	program, files, mount := filepath.Join(dir, "faultfs"), filepath.Join(dir, "files"), filepath.Join(dir, "mount")
	for _, d := range []string{files, mount} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir = filepath.Join("..", "..", "tools", "faultfs")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build tools/faultfs: %v\n%s", err, out)
	}
	run := exec.Command(program, files, mount)
	run.Stderr = os.Stderr
	in, err := run.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		done := make(chan struct{})
		go func() {
			_ = run.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			_ = run.Process.Kill()
			<-done
		}
		_ = unix.Unmount(mount, unix.MNT_DETACH) // it is gone, unless faultfs was killed
	})
	d := &faultyDisk{t, mount, in, bufio.NewScanner(out)}
	if !d.answers.Scan() || d.answers.Text() != "mounted" {
		t.Skipf("SKIPPED, NOT TESTED: a faulty disk; FUSE does not mount here")
	}
	return d
}

// be makes the disk slow, faulty or well: see tools/faultfs.
func (d *faultyDisk) be(state string) {
	d.t.Helper()
	if _, err := fmt.Fprintln(d.in, state); err != nil {
		d.t.Fatal(err)
	}
	if !d.answers.Scan() || d.answers.Text() != "ok" {
		d.t.Fatalf("faultfs: %s: no answer", state)
	}
}

// TestAdversityFailingDisk has the disk refuse all writes until people are
// told, and take them again. Every run is in the log, nobody restarts anything.
func TestAdversityFailingDisk(t *testing.T) {
	t.Parallel()
	for fault, text := range map[string]string{"EIO": "input/output error", "EROFS": "read-only file system"} {
		t.Run(fault, func(t *testing.T) {
			if fault != "EIO" && *adversityTime <= shortAdversity {
				t.Skip("the same as EIO but for the text; with a longer -adversity")
			}
			t.Parallel()
			disk := newFaultyDisk(t)
			outage(t, disk.dir, text, func() (end func()) {
				disk.be("fail " + fault)
				return func() { disk.be("well") }
			})
		})
	}
}

// TestAdversitySlowDisk has each fsync take 0.2 s and then 1 s (2 s with a
// longer -adversity), of which each batch needs several: the schedule does not notice, an outage of the target
// is told, and all that was acknowledged is in the log.
func TestAdversitySlowDisk(t *testing.T) {
	t.Parallel()
	const n = 20
	slow := time.Second
	if *adversityTime > shortAdversity {
		slow = 2 * time.Second
	}
	disk := newFaultyDisk(t)
	slack := slacktest.New()
	defer slack.Close()
	f, listen := newFleet(t, 1), freePort(t)
	writeFile(t, filepath.Join(disk.dir, "config.yaml"), f.config(listen, n, 900*time.Millisecond, slackConfig(slack)))
	p := start(t, disk.dir, nil, "run")
	waitFor(t, time.Minute, "two runs", func() bool { return f.least(n) >= 2 })
	live := follow(t, listen)
	disk.be("slow 200ms")
	<-time.After(*adversityTime)
	f.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	at := time.Now()
	waitFor(t, time.Minute, "the message", func() bool {
		return slices.ContainsFunc(slack.Roots(), func(m slacktest.Message) bool { return strings.Contains(m.Text, "status 503") })
	})
	t.Logf("told after %s with an fsync of 200ms", time.Since(at).Round(time.Millisecond))
	disk.be("slow " + slow.String())
	<-time.After(*adversityTime)
	f.answers(func(http.ResponseWriter, *http.Request) {})
	at = time.Now()
	waitFor(t, 2*time.Minute, "the resolve", func() bool { return len(resolves(slack)) > 0 })
	t.Logf("resolved after %s with an fsync of %s", time.Since(at).Round(time.Millisecond), slow)
	disk.be("well")
	waitFor(t, time.Minute, "/health to be well and the log to have caught up", func() bool {
		status, _ := get(t, "http://"+listen+"/health")
		return status == http.StatusOK && metric(t, listen, "tripline_log_pending_entries") <= n
	})
	p.alive()
	f.wantKept(t, n, every)
	p.wantStopped()
	entries := readLog(t, disk.dir)
	live.wantIn(t, entries)
	wantAll(t, f, n, entries)
}
