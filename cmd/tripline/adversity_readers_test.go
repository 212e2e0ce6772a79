//go:build linux

package main

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// mute connects, sends requests and never reads.
func mute(t *testing.T, listen, request string, times int) {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10) })
	}}
	c, err := d.DialContext(t.Context(), "tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := fmt.Fprint(c, strings.Repeat(request, times)); err != nil {
		t.Fatal(err)
	}
}

// TestAdversityReaders has readers of /live, /metrics and / that never read:
// everybody else is served, memory stays, and nobody waits for them at the end.
// With -adversity of 40s or more they are seen to be dropped, too.
func TestAdversityReaders(t *testing.T) {
	t.Parallel()
	const n, readers = 50, 5
	f, listen := newFleet(t, 10), freePort(t)
	f.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	p, _ := launch(t, f.config(listen, n, 900*time.Millisecond, ""))
	waitFor(t, time.Minute, "two runs", func() bool { return f.least(n) >= 2 })
	before := measure(t, listen)
	head := " HTTP/1.1\r\nHost: " + listen + "\r\n"
	for range readers {
		mute(t, listen, "GET /live"+head+"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 1)
		mute(t, listen, "GET /metrics"+head+"\r\n", 150)
		mute(t, listen, "GET /"+head+"\r\n", 150)
	}
	at := time.Now()
	worst, slowest, served := 0.0, time.Duration(0), 0
	for time.Since(at) < *adversityTime {
		for _, path := range []string{"/health", "/metrics", "/"} {
			asked := time.Now()
			waitFor(t, time.Minute, path, func() bool { // 503 while too many ask at once
				status, _ := get(t, "http://"+listen+path)
				return status == http.StatusOK
			})
			slowest = max(slowest, time.Since(asked))
			served++
		}
		worst = math.Max(worst, measure(t, listen).memory)
	}
	t.Logf("%d others served, the slowest in %s; memory grew by %.1f MiB", served, slowest, (worst-before.memory)/(1<<20))
	if slowest > 3*time.Second {
		f.late(t, "an answer took %s", slowest)
	}
	if grown := (worst - before.memory) / (1 << 20); grown > 128 { // under the race detector
		t.Errorf("memory grew by %.1f MiB, want at most 128", grown)
	}
	f.wantKept(t, n, every)
	if *adversityTime >= 40*time.Second {
		wantBack(t, listen, before, 10, 128)
	}
	p.wantStopped()
}

// TestAdversityOutput has nobody read what the program prints, which is a lot:
// the schedule and the telling must not notice.
func TestAdversityOutput(t *testing.T) {
	t.Parallel()
	const n = 50
	slack := slacktest.New()
	defer slack.Close()
	f, listen := newFleet(t, 1), freePort(t)
	bad := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, dir+"/config.yaml", f.config(listen, n, 900*time.Millisecond, slackConfig(slack)))
	p := startTo(t, w, &syncBuffer{}, dir, nil, "run", "--log-level=debug")
	w.Close()
	waitFor(t, time.Minute, "two runs", func() bool { return f.least(n) >= 2 })
	at := time.Now()
	for k := 0; time.Since(at) < *adversityTime; k++ { // each turn is a line for each check
		if f.answers(bad); k%2 == 1 {
			f.answers(func(http.ResponseWriter, *http.Request) {})
		}
		seen := f.least(n)
		waitFor(t, time.Minute, "a run", func() bool { return f.least(n) > seen })
	}
	f.answers(bad)
	roots(t, slack, 15*time.Second, "the message", func(m []slacktest.Message) bool { return len(m) >= 1 })
	f.wantKept(t, n, every)
	if status, body := get(t, "http://"+listen+"/health"); status != http.StatusOK {
		t.Errorf("/health: status %d: %s", status, body)
	}
	p.wantStopped()
}
