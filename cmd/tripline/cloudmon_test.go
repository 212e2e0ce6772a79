package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/cloudmon/cloudmontest"
)

// The long form of TestCloudMonitoring: -cloud-time 10m -cloud-checks 500.
var (
	cloudTime   = flag.Duration("cloud-time", 8*time.Second, "how long TestCloudMonitoring runs")
	cloudChecks = flag.Int("cloud-checks", 20, "how many checks each monitor of TestCloudMonitoring runs each second")
	cloudOutage = flag.Bool("cloud-outage", false, "take no write during the middle half of TestCloudMonitoring")
)

// cloudConfig runs n checks, a third of each kind.
func cloudConfig(tg *target, endpoint, listen string, n int, every string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `version: 1
data: {dir: data}
http: {listen: %q}
defaults: {base_url: %q, every: %s, timeout: 400ms, confirm: 0}
cloud_monitoring: {project: test, endpoint: %q}
checks:
`, listen, tg.URL, every, endpoint)
	for i := range n {
		kind := []string{"health: {url: /health, record: {connections_active: .connections.active}}", "websocket: {url: /ws}", "route: {url: /nope}"}[i%3]
		fmt.Fprintf(&b, "  - {name: c%d, group: g%d, %s}\n", i, i%5, kind)
	}
	return b.String()
}

type (
	checkClass  struct{ Check, Class string }
	checkCounts map[checkClass]int64
)

// inLog adds the scheduled attempts in the log of a stopped monitor to counts.
func inLog(t *testing.T, dir string, counts checkCounts) {
	t.Helper()
	for _, e := range readLog(t, dir) {
		counts.count(e)
	}
}

// count adds the scheduled attempts of an entry, and says how many they are.
func (c checkCounts) count(entry checks.Entry) (attempts int64) {
	if entry.Result == nil {
		return 0
	}
	for class, n := range entry.Result.Attempts() {
		c[checkClass{entry.Result.Check, string(class)}] += int64(n)
		attempts += int64(n)
	}
	return attempts
}

// wantBeginning fails the test unless the counters are those of the log up to
// some entry: what was shown was true at some moment.
func wantBeginning(t *testing.T, entries []checks.Entry, shown checkCounts) {
	t.Helper()
	var left int64
	for _, n := range shown {
		left += n
	}
	all, logged := left, checkCounts{}
	for _, e := range entries {
		if left <= 0 {
			break
		}
		left -= logged.count(e)
	}
	if diff := cmp.Diff(logged, shown); diff != "" || all == 0 {
		t.Errorf("/metrics does not show what the first %d attempts in the log came to (-log +metrics):\n%s", all, diff)
	}
}

// checkLine is a counter of /metrics.
var checkLine = regexp.MustCompile(`(?m)^tripline_check_count_total\{check="(.*?)",class="(.*?)".*\} (\d+)$`)

// inMetrics reads the counters that /metrics shows.
func inMetrics(t *testing.T, listen string) checkCounts {
	t.Helper()
	counts := checkCounts{}
	_, body := get(t, "http://"+listen+"/metrics")
	for _, m := range checkLine.FindAllStringSubmatch(body, -1) {
		counts[checkClass{m[1], m[2]}], _ = strconv.ParseInt(m[3], 10, 64)
	}
	return counts
}

// inCloud reads the counters that were exported.
func inCloud(s *cloudmontest.Server) checkCounts {
	counts := checkCounts{}
	for _, series := range s.Series("custom.googleapis.com/tripline/check_count", nil) {
		counts[checkClass{series.Labels["check"], series.Labels["class"]}] += series.Last().Int
	}
	return counts
}

// TestCloudMonitoring runs two monitors of the same checks against a server
// that enforces the rules of Cloud Monitoring, with a target that breaks and
// writes that fail, kills one in the middle and ends both with SIGTERM: the
// exported counters are those of the logs, and no rule is broken.
func TestCloudMonitoring(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	server, endpoint := cloudmontest.Start(t, cloudmontest.Options{Keep: 100})
	tg := newTarget(t)
	began := time.Now()
	server.Chaos(chaos(rand.New(rand.NewPCG(seed, 1)), began))
	dirs, monitors, listen := []string{t.TempDir(), t.TempDir()}, make([]*process, 2), ""
	for i, dir := range dirs {
		listen = freePort(t) // in the end that of the second, which is not killed
		writeFile(t, filepath.Join(dir, "config.yaml"), cloudConfig(tg, endpoint, listen, *cloudChecks, "1s"))
		monitors[i] = start(t, dir, nil, "run")
	}
	var samples []soakSample
	until := func(end time.Time) {
		for time.Now().Before(end) {
			if s, ok := soakLook(t, listen); ok {
				s.at = time.Since(began)
				samples = append(samples, s)
			}
			tg.mode.Store([]string{"ok", "404", "mix", "503"}[rnd.IntN(4)])
			<-time.After(min(time.Until(end), time.Duration(200+rnd.IntN(1500))*time.Millisecond))
		}
	}
	until(began.Add(*cloudTime / 2))
	monitors[0].kill()
	monitors[0] = start(t, dirs[0], nil, "run")
	until(began.Add(*cloudTime))
	server.Chaos(func() *cloudmontest.Fault { return nil })
	if *cloudTime > time.Minute { // what was refused waits for the next minute
		until(time.Now().Add(70 * time.Second))
	}
	var shown checkCounts
	waitFor(t, patience, "/metrics", func() bool {
		shown = inMetrics(t, listen)
		return len(shown) > 0
	})
	logged, stopped := checkCounts{}, true
	for i, p := range monitors {
		stopped = p.wantStopped() && stopped
		inLog(t, dirs[i], logged)
	}
	wantBeginning(t, readLog(t, dirs[1]), shown)
	if *cloudTime >= 10*time.Minute { // caches and windows fill for some minutes, whatever is exported
		half := slices.IndexFunc(samples, func(s soakSample) bool { return s.at > *cloudTime/2 })
		for _, fault := range soakJudge(samples[half:], make([]lateness, 1)) {
			t.Error(fault)
		}
	}
	if v := server.Violations(); len(v) > 0 {
		t.Errorf("%d rules broken, the first: %v", len(v), v[0])
	}
	if diff := cmp.Diff(logged, inCloud(server)); diff != "" && stopped {
		t.Errorf("the exported counters are not those of the log (-log +exported):\n%s", diff)
	}
	for _, s := range server.Series("custom.googleapis.com/tripline/check_count", nil) {
		for _, point := range s.Points {
			if !point.Start.Equal(s.Points[0].Start) {
				t.Errorf("%v begins anew at %s: the restart lost its start time %s", s.Labels, point.Start, s.Points[0].Start)
			}
		}
	}
	var attempts int64
	for _, n := range logged {
		attempts += n
	}
	t.Logf("%d attempts in the logs and exported; %d calls, %d repeats", attempts, server.Calls(), server.Repeats())
}

// chaos makes one write in three suffer, and with -cloud-outage every one of
// the middle half of the test.
func chaos(rnd *rand.Rand, began time.Time) func() *cloudmontest.Fault {
	return func() *cloudmontest.Fault { // asked by one call at a time
		if at := time.Since(began); *cloudOutage && at > *cloudTime/4 && at < *cloudTime*3/4 {
			return &cloudmontest.Fault{Code: codes.Unavailable}
		}
		switch rnd.IntN(12) {
		case 0:
			return &cloudmontest.Fault{Code: codes.Unavailable}
		case 1:
			return &cloudmontest.Fault{Code: codes.DeadlineExceeded, Written: true}
		case 2:
			return &cloudmontest.Fault{Drop: true}
		case 3:
			return &cloudmontest.Fault{Code: codes.Internal, Series: []int{0, 3}}
		default:
			return nil
		}
	}
}

// TestCountsAgree runs each check once and compares what the log, Prometheus
// and Cloud Monitoring say.
func TestCountsAgree(t *testing.T) {
	t.Parallel()
	server, endpoint := cloudmontest.Start(t, cloudmontest.Options{})
	tg := newTarget(t)
	dir, listen := t.TempDir(), freePort(t)
	const n = 12
	writeFile(t, filepath.Join(dir, "config.yaml"), cloudConfig(tg, endpoint, listen, n, "1h"))
	p := start(t, dir, nil, "run")
	var inPrometheus checkCounts
	waitFor(t, 20*time.Second, "all checks on /metrics", func() bool {
		inPrometheus = inMetrics(t, listen)
		return len(inPrometheus) == n
	})
	p.stop()
	logged := checkCounts{}
	inLog(t, dir, logged)
	if diff := cmp.Diff(logged, inPrometheus); diff != "" {
		t.Errorf("/metrics (-log +metrics):\n%s", diff)
	}
	if diff := cmp.Diff(inPrometheus, inCloud(server)); diff != "" {
		t.Errorf("Cloud Monitoring (-metrics +exported):\n%s", diff)
	}
}
