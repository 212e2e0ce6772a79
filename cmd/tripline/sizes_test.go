package main

import (
	"flag"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	sizesOf    = flag.String("sizes", "1,300", "the numbers of checks of TestSizes")
	sizesEvery = flag.Duration("sizes-every", 2*time.Second, "their interval")
)

// TestSizes runs so many checks over one interval and a bit, and prints what
// that costs and what a reload of one of them does:
// go test ./cmd/tripline -run TestSizes -sizes 1,100,1000,10000 -sizes-every 1m -v.
func TestSizes(t *testing.T) {
	for size := range strings.SplitSeq(*sizesOf, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(size, func(t *testing.T) { sizeUp(t, n, *sizesEvery) })
	}
}

func sizeUp(t *testing.T, n int, every time.Duration) {
	t.Helper()
	first := &firstRuns{at: make([]time.Duration, n)}
	addr := first.serve(t)
	listen, dir := freePort(t), t.TempDir()
	file := filepath.Join(dir, "config.yaml")
	writeFile(t, file, sizeConfig(listen, addr, n, every, 200))

	read := start(t, dir, nil, "validate")
	<-read.exited
	cpu := read.cmd.ProcessState.UserTime() + read.cmd.ProcessState.SystemTime()

	first.began = time.Now()
	p := start(t, dir, nil, "run")
	waitFor(t, 5*time.Minute, "/health", func() bool {
		p.alive()
		status, _ := get(t, "http://"+listen+"/health")
		return status == http.StatusOK
	})
	up, upPeak := time.Since(first.began), status(t, p, "VmHWM")
	waitFor(t, 2*every+time.Minute, "a run of every check", func() bool {
		p.alive()
		return first.count() == n
	})
	last, least, most := first.spread(every)
	waitFor(t, 2*every+time.Minute, "half an interval more", func() bool {
		return time.Since(first.began) > every+every/2
	})
	now, peak := status(t, p, "VmRSS"), status(t, p, "VmHWM")

	writeFile(t, file, sizeConfig(listen, addr, n, every, 204))
	at := time.Now()
	reload := start(t, dir, nil, "reload")
	<-reload.exited
	took := time.Since(at)
	if !strings.Contains(reload.out.String(), "c0") {
		t.Errorf("reload said %q, want it to name c0", reload.out)
	}
	missed := math.NaN()
	waitFor(t, time.Minute, "/metrics", func() bool {
		missed = metric(t, listen, `tripline_slots_total{outcome="missed"}`)
		return !math.IsNaN(missed)
	})
	t.Logf("%d checks every %s: config read with %s of CPU; up after %s, peak %.0f MiB; every check run once after %s, %d to %d arrivals in a tenth of the interval; after 1.5 intervals %.0f MiB, peak %.0f MiB; reload of one check %s, %.0f slots missed",
		n, every, cpu.Round(time.Millisecond), up.Round(time.Millisecond), upPeak, last.Round(time.Millisecond), least, most, now, peak, took.Round(time.Millisecond), missed)
	if missed != 0 && every >= 30*time.Second { // a shorter one says more about the machine
		t.Errorf("%v slots missed", missed)
	}
}

// status returns a figure of /proc/PID/status in MiB.
func status(t *testing.T, p *process, name string) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("no /proc here")
	}
	_, rest, _ := strings.Cut(string(b), name+":")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}

func sizeConfig(listen, addr string, n int, every time.Duration, status int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\nhttp: {listen: %q}\ndefaults: {base_url: \"http://%s\", every: %s, timeout: %s, confirm: 0}\nchecks:\n", listen, addr, every, every/5)
	for k := range n {
		if k > 0 {
			status = 200
		}
		fmt.Fprintf(&b, "  - {name: c%d, route: {url: /%d, status: [200, %d]}}\n", k, k, status)
	}
	b.WriteString(`rules:
  - {name: connection-failures, rate: {of: connection_failure, over: 1h, at_least: 1%, min_failures: 2}}
  - {name: not-found, rate: {of: not_found, over: 10m, above: 50%, min_failures: 2}}
  - {name: slow, latency: {stat: mean, over: 10m, above: 30s}}
  - {name: uptime, rate: {of: down, over: 1d, above: 1%, min_failures: 20}}
`)
	return b.String()
}

// firstRuns notes when each check was first run.
type firstRuns struct {
	began time.Time

	mu   sync.Mutex
	at   []time.Duration // 0: not yet
	seen int
}

func (f *firstRuns) serve(t *testing.T) (addr string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		k, err := strconv.Atoi(strings.Trim(r.URL.Path, "/"))
		f.mu.Lock()
		defer f.mu.Unlock()
		if err == nil && f.at[k] == 0 {
			f.at[k] = time.Since(f.began)
			f.seen++
		}
	})}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

func (f *firstRuns) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen
}

// spread returns when the last check was first run, and the least and the most
// first runs in a tenth of the interval after the first one.
func (f *firstRuns) spread(every time.Duration) (_ time.Duration, least, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	first, last := f.at[0], f.at[0]
	for _, at := range f.at {
		first, last = min(first, at), max(last, at)
	}
	var tenths [10]int
	for _, at := range f.at {
		tenths[min(9, int((at-first)*10/every))]++
	}
	least = tenths[0]
	for _, k := range tenths {
		least, most = min(least, k), max(most, k)
	}
	return last, least, most
}
