package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tripline/tripline/alerting/notify/slacktest"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/journal"
)

var (
	soakTime = flag.Duration("soak", 0, "how long TestSoak runs; from 10m on it judges growth. 0 is a quick look that judges none")
	soakSeed = flag.Uint64("soak-seed", 0, "seed of the faults of TestSoak; 0 takes a random one and prints it")
)

// soakSample is what the process was at one moment.
type soakSample struct {
	at                                     time.Duration
	rss, heap, goroutines, files           float64
	kept, late, missed, told, waiting, log float64
}

// TestSoak runs 1,000 checks a second against targets and a Slack that have
// random faults all the time, prints how the process does, and looks whether
// it grows: go test ./cmd/tripline -run TestSoak -soak 1h -timeout 2h -v.
func TestSoak(t *testing.T) {
	n, length, pause := 1000, *soakTime, 10*time.Second
	if length == 0 {
		n, length, pause = 40, 5*time.Second, time.Second
	}
	seed := cmp.Or(*soakSeed, rand.Uint64())
	t.Logf("seed %d", seed)
	slack := slacktest.New()
	defer slack.Close()
	listen, dir := freePort(t), t.TempDir()
	writeFile(t, filepath.Join(dir, "config.yaml"), soakConfig(listen, n, soakTargets(t, 10, seed), slack))
	p := start(t, dir, nil, "run")
	waitFor(t, time.Minute, "/health", func() bool {
		p.alive()
		status, _ := get(t, "http://"+listen+"/health")
		return status == http.StatusOK
	})
	go soakSlack(t.Context(), slack, rand.New(rand.NewPCG(seed, 1000)))

	began := time.Now()
	var samples []soakSample
	for tick := time.NewTicker(pause); time.Since(began) < length || len(samples) == 0 && time.Since(began) < length+patience; <-tick.C {
		p.alive()
		get(t, "http://"+listen+"/")
		if s, ok := soakLook(t, listen); ok {
			s.at = time.Since(began)
			samples = append(samples, s)
		}
	}
	if code, took := p.stop(); code != 0 {
		t.Logf("exit code %d after %s", code, took) // 1 if the machine is too busy to store the last evidence in time
	}
	width := min(length/5, 10*time.Minute)
	late, twice := soakLateness(t, dir, began, width)
	t.Logf("\n%s", soakTable(samples, late, width))
	if len(samples) == 0 {
		t.Fatal("/metrics has never answered")
	}
	last := samples[len(samples)-1]
	if last.kept+last.late == 0 || twice > 0 {
		t.Errorf("%g slots kept and %g late, want some; %d results are in the log twice, want 0", last.kept, last.late, twice)
	}
	if length < 10*time.Minute {
		return
	}
	for _, fault := range soakJudge(samples, late) {
		t.Error(fault)
	}
	if all := last.kept + last.late + last.missed; last.kept < 0.999*all {
		t.Errorf("%g of %g slots kept, want 99.9 %%", last.kept, all)
	}
}

// soakConfig is n checks of all kinds, a second each, grouped by host.
func soakConfig(listen string, n int, hosts []string, slack *slacktest.Server) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {dir: data}\nhttp: {listen: %q}\n", listen)
	b.WriteString("defaults: {every: 1s, timeout: 320ms, confirm: 1, per_host: 1000}\nchecks:\n")
	for i := range n {
		host := hosts[i%len(hosts)]
		fmt.Fprintf(&b, "  - {name: c%d, group: g%d, ", i, i%len(hosts))
		switch i / len(hosts) % 4 {
		case 0:
			fmt.Fprintf(&b, "websocket: {url: \"ws://%s/ws\"}}\n", host)
		case 1:
			fmt.Fprintf(&b, "health: {url: \"http://%s/health\"}}\n", host)
		default:
			fmt.Fprintf(&b, "route: {url: \"http://%s/c%d\"}}\n", host, i)
		}
	}
	// Windows are short, so that they are full after the warm-up.
	b.WriteString(slackConfig(slack))
	return strings.Replace(b.String(), "rules:\n", `rules:
  - {name: not-found, rate: {of: not_found, over: 2m, above: 50%, min_failures: 5}}
  - {name: connections, rate: {of: connection_failure, over: 5m, above: 20%, min_failures: 5}}
  - {name: slow, latency: {stat: mean, over: 2m, above: 150ms}}
`, 1)
}

// soakTargets are hosts each of which is well for some seconds and has a fault
// for some.
func soakTargets(t *testing.T, n int, seed uint64) (hosts []string) {
	t.Helper()
	for host := range n {
		var fault atomic.Int32
		rnd := rand.New(rand.NewPCG(seed, uint64(host)))
		go soakTurns(t.Context(), rnd, func() { fault.Store(max(0, int32(rnd.IntN(20))-13)) })
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			soakAnswer(w, r, fault.Load())
		})}
		go func() { _ = s.Serve(l) }()
		t.Cleanup(func() { _ = s.Close() })
		hosts = append(hosts, l.Addr().String())
	}
	return hosts
}

// soakTurns calls f every 2 to 20 s.
func soakTurns(ctx context.Context, rnd *rand.Rand, f func()) {
	for pause(ctx, 2*time.Second+time.Duration(rnd.Int64N(int64(18*time.Second)))) {
		f()
	}
}

func soakAnswer(w http.ResponseWriter, r *http.Request, fault int32) {
	switch fault {
	case 1:
		w.WriteHeader(http.StatusNotFound)
	case 2:
		w.WriteHeader(http.StatusServiceUnavailable)
	case 3:
		<-r.Context().Done()
	case 4: // reset
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	case 5: // half a body
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, "half")
	case 6: // slow
		pause(r.Context(), 200*time.Millisecond)
	default:
		if r.URL.Path != "/ws" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"status":"ok","version":"7","connections":{"active":3}}`)
			return
		}
		if c, err := websocket.Accept(w, r, nil); err == nil {
			_, _, _ = c.Read(r.Context())
			_ = c.CloseNow()
		}
	}
}

// soakSlack gives Slack its troubles.
func soakSlack(ctx context.Context, slack *slacktest.Server, rnd *rand.Rand) {
	soakTurns(ctx, rnd, func() {
		slack.Heal()
		switch rnd.IntN(12) {
		case 0:
			slack.Inject(slacktest.Fault{Hang: true})
		case 1:
			slack.Inject(slacktest.Fault{Status: http.StatusServiceUnavailable})
		case 2:
			slack.Inject(slacktest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}})
		case 3:
			slack.Inject(slacktest.Fault{Delay: time.Second})
		}
	})
	slack.Heal()
}

// soakLook reads one sample from /metrics; ok is false if it did not answer.
func soakLook(t *testing.T, listen string) (s soakSample, ok bool) {
	t.Helper()
	status, body := get(t, "http://"+listen+"/metrics")
	figures := map[string]float64{}
	for line := range strings.Lines(body) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), " "); found {
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				figures[name] = v
			}
		}
	}
	return soakSample{
		rss: figures["process_resident_memory_bytes"], heap: figures["go_memstats_heap_inuse_bytes"],
		goroutines: figures["go_goroutines"], files: figures["process_open_fds"],
		kept: figures[`tripline_slots_total{outcome="kept"}`], late: figures[`tripline_slots_total{outcome="late"}`],
		missed: figures[`tripline_slots_total{outcome="missed"}`], told: figures[`tripline_deliveries_total{notifier="slack"}`],
		waiting: figures[`tripline_outbox_depth{notifier="slack"}`], log: figures["tripline_disk_used_bytes"],
	}, status == http.StatusOK
}

// lateness counts how late runs started, in steps of 10 %.
type lateness struct {
	steps [256]int
	n     int
}

func (l *lateness) add(d time.Duration) {
	step := 0
	if us := float64(d) / 1e3; us > 1 {
		step = min(len(l.steps)-1, int(math.Log(us)/math.Log(1.1)))
	}
	l.steps[step]++
	l.n++
}

// quantile is the upper end of the step that holds it.
func (l *lateness) quantile(q float64) time.Duration {
	left := int(math.Ceil(q * float64(l.n)))
	for step, n := range l.steps {
		if left -= n; left <= 0 {
			return time.Duration(math.Pow(1.1, float64(step+1)) * 1e3)
		}
	}
	return 0
}

// soakLateness reads how late the runs of each part of the time started from
// the log, and counts the results that are there twice.
func soakLateness(t *testing.T, dir string, began time.Time, width time.Duration) (rows []lateness, twice int) {
	t.Helper()
	j, err := journal.Open(t.Context(), journal.Options{Dir: filepath.Join(dir, "data")})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	log, err := journal.NewLog(t.Context(), j, journal.LogOptions[checks.Entry]{Encode: checks.EncodeEntries, Decode: decodeEntries})
	if err != nil {
		t.Fatal(err)
	}
	newest, done := map[string]time.Time{}, errors.New("done")
	err = log.Follow(t.Context(), 1, func(_ context.Context, b journal.Batch[checks.Entry]) error {
		for _, e := range b.Entries {
			r := e.Result
			if r == nil {
				continue
			}
			if !r.Slot.After(newest[r.Check]) {
				twice++
			}
			newest[r.Check] = r.Slot
			if row := int(r.Slot.Sub(began) / width); r.Slot.After(began) {
				for len(rows) <= row {
					rows = append(rows, lateness{})
				}
				rows[row].add(r.Start.Sub(r.Slot))
			}
		}
		if b.Seq >= log.Last() {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	return rows, twice
}

// soakTable has a row for each part of the time: the means of its samples, and
// the counts at its end.
func soakTable(samples []soakSample, late []lateness, width time.Duration) string {
	var b strings.Builder
	fmt.Fprintln(&b, "until      RSS MiB  heap MiB  goroutines  files      kept  late missed   told waiting  log MiB  lateness p50       p99       max")
	for row := range late {
		var in []soakSample
		for _, s := range samples {
			if int(s.at/width) == row {
				in = append(in, s)
			}
		}
		if len(in) == 0 {
			continue
		}
		mean := func(of func(soakSample) float64) float64 {
			sum := 0.0
			for _, s := range in {
				sum += of(s)
			}
			return sum / float64(len(in))
		}
		end := in[len(in)-1]
		fmt.Fprintf(&b, "%-9s %8.1f %9.1f %11.0f %6.0f %9.0f %5.0f %6.0f %6.0f %7.0f %8.1f %13s %9s %9s\n", time.Duration(row+1)*width,
			mean(func(s soakSample) float64 { return s.rss })/(1<<20), mean(func(s soakSample) float64 { return s.heap })/(1<<20),
			mean(func(s soakSample) float64 { return s.goroutines }), mean(func(s soakSample) float64 { return s.files }),
			end.kept, end.late, end.missed, end.told, end.waiting, end.log/(1<<20),
			brief(late[row].quantile(0.5)), brief(late[row].quantile(0.99)), brief(late[row].quantile(1)))
	}
	return b.String()
}

func brief(d time.Duration) string { return d.Round(time.Microsecond).String() }

// soakJudge looks for growth: what the least-squares line of a figure rises by
// from the end of the warm-up, the first sixth, to the end may be a tenth of
// its mean and a little. The runs of the last part may start three times as
// late as those of the first.
func soakJudge(samples []soakSample, late []lateness) (faults []string) {
	length := samples[len(samples)-1].at
	judged := slices.DeleteFunc(slices.Clone(samples), func(s soakSample) bool { return s.at < length/6 })
	for _, f := range []struct {
		name   string
		of     func(soakSample) float64
		little float64
	}{
		{"resident memory, MiB", func(s soakSample) float64 { return s.rss / (1 << 20) }, 8},
		{"goroutines", func(s soakSample) float64 { return s.goroutines }, 20},
		{"open files", func(s soakSample) float64 { return s.files }, 20},
	} {
		mean, slope := fit(judged, f.of)
		if grown := slope * float64(judged[len(judged)-1].at-judged[0].at); grown > mean/10+f.little {
			faults = append(faults, fmt.Sprintf("%s: grew by %.1f, mean %.1f; want at most a tenth and %g", f.name, grown, mean, f.little))
		}
	}
	full := slices.DeleteFunc(slices.Clone(late), func(l lateness) bool { return 2*l.n < late[0].n }) // the last row may be a few runs
	first, last := full[0].quantile(0.99), full[len(full)-1].quantile(0.99)
	if last > 3*first && last > 20*time.Millisecond {
		faults = append(faults, fmt.Sprintf("99 %% of the runs started within %s at first and within %s in the end", brief(first), brief(last)))
	}
	return faults
}

// fit returns the mean of a figure and the slope, per nanosecond, of its
// least-squares line.
func fit(samples []soakSample, of func(soakSample) float64) (mean, slope float64) {
	n, at := float64(len(samples)), 0.0
	for _, s := range samples {
		mean += of(s) / n
		at += float64(s.at) / n
	}
	var xy, xx float64
	for _, s := range samples {
		dx := float64(s.at) - at
		xy += dx * (of(s) - mean)
		xx += dx * dx
	}
	if xx == 0 {
		return mean, 0
	}
	return mean, xy / xx
}

// TestSoakJudge makes sure that TestSoak can fail.
func TestSoakJudge(t *testing.T) {
	for name, c := range map[string]struct {
		grow  func(minute float64) soakSample
		late  time.Duration // in the end
		wants string        // in the only fault; "" for none
	}{
		"steady":     {func(float64) soakSample { return soakSample{} }, time.Millisecond, ""},
		"memory":     {func(m float64) soakSample { return soakSample{rss: m * (1 << 20)} }, time.Millisecond, "resident memory"},
		"warm-up":    {func(m float64) soakSample { return soakSample{rss: min(m, 9) * (10 << 20)} }, time.Millisecond, ""},
		"goroutines": {func(m float64) soakSample { return soakSample{goroutines: 2 * m} }, time.Millisecond, "goroutines"},
		"files":      {func(m float64) soakSample { return soakSample{files: 2 * m} }, time.Millisecond, "open files"},
		"lateness":   {func(float64) soakSample { return soakSample{} }, 50 * time.Millisecond, "started within"},
	} {
		rnd := rand.New(rand.NewPCG(1, 2))
		var samples []soakSample
		for i := range 360 {
			s := c.grow(float64(i) / 6)
			s.at = time.Duration(i) * 10 * time.Second
			s.rss += (60 + 6*rnd.NormFloat64()) * (1 << 20)
			s.goroutines += 100 + 30*rnd.NormFloat64()
			s.files += 60 + 20*rnd.NormFloat64()
			samples = append(samples, s)
		}
		late := make([]lateness, 6)
		for i := range 1000 {
			late[0].add(time.Duration(i) * time.Microsecond)
			late[5].add(c.late)
		}
		faults := soakJudge(samples, late)
		if c.wants == "" && len(faults) > 0 || c.wants != "" && (len(faults) != 1 || !strings.Contains(faults[0], c.wants)) {
			t.Errorf("%s: %q, want one with %q", name, faults, c.wants)
		}
	}
}
