package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting/notify/slacktest"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/journal"
)

const shortAdversity = 3 * time.Second

// adversityTime is how long each adversity lasts.
var adversityTime = flag.Duration("adversity", shortAdversity, "how long each adversity of TestAdversity... lasts")

// fleet is a number of hosts that count the requests for each path.
type fleet struct {
	hosts []string // host:port

	answer atomic.Pointer[http.HandlerFunc]

	*load

	mu       sync.Mutex
	arrivals map[string][]time.Time // by path
}

func newFleet(t *testing.T, hosts int) *fleet {
	t.Helper()
	f := &fleet{arrivals: map[string][]time.Time{}, load: watchLoad(t.Context().Done())}
	f.answers(func(http.ResponseWriter, *http.Request) {})
	for range hosts {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			f.arrivals[r.URL.Path] = append(f.arrivals[r.URL.Path], time.Now())
			f.mu.Unlock()
			(*f.answer.Load())(w, r)
		})}
		go func() { _ = s.Serve(l) }()
		t.Cleanup(func() { _ = s.Close() })
		f.hosts = append(f.hosts, l.Addr().String())
	}
	return f
}

// answers makes h answer from now on.
func (f *fleet) answers(h http.HandlerFunc) { f.answer.Store(&h) }

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// config is a config of n checks of paths /c0, /c1 ... that go round the
// hosts, each second, grouped by host; extra are further top-level lines.
func (f *fleet) config(listen string, n int, timeout time.Duration, extra string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {dir: data}\nhttp: {listen: %q}\n", listen)
	fmt.Fprintf(&b, "defaults: {every: 1s, timeout: %s, confirm: 0, per_host: 1000}\nchecks:\n", timeout)
	for i := range n {
		host := i % len(f.hosts)
		fmt.Fprintf(&b, "  - {name: c%d, group: g%d, route: {url: \"http://%s/c%d\"}}\n", i, host, f.hosts[host], i)
	}
	return b.String() + extra
}

// least is the least number of arrivals of any of the n checks.
func (f *fleet) least(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	least := math.MaxInt
	for i := range n {
		least = min(least, len(f.arrivals[fmt.Sprintf("/c%d", i)]))
	}
	return least
}

// total is the number of arrivals.
func (f *fleet) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, list := range f.arrivals {
		n += len(list)
	}
	return n
}

// slots counts, over the checks that which lets through, the slots of a second
// that came and those that had an arrival. The first arrival is that of the
// start, which is not in step.
func (f *fleet) slots(n int, which func(check int) bool) (kept, due int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for i := range n {
		list := f.arrivals[fmt.Sprintf("/c%d", i)]
		if !which(i) {
			continue
		}
		if len(list) < 2 {
			due += 2
			continue
		}
		list = list[1:]
		last := list[len(list)-1]
		kept += len(list)
		due += 1 + int(math.Round(last.Sub(list[0]).Seconds())) + max(0, int(now.Sub(last).Seconds()-0.5))
	}
	return kept, due
}

// wantKept fails the test unless 99.9 % of the slots were kept.
func (f *fleet) wantKept(t *testing.T, n int, which func(check int) bool) {
	t.Helper()
	kept, due := f.slots(n, which)
	t.Logf("%d of %d slots kept", kept, due)
	if float64(kept) < 0.999*float64(due) {
		f.late(t, "%d of %d slots kept, want 99.9 %%", kept, due)
	}
	if kept > due { // or the first arrivals were late
		f.late(t, "%d runs in %d slots", kept, due)
	}
}

func every(int) bool { return true }

// slackConfig tells slack of everything that is down.
func slackConfig(slack *slacktest.Server) string {
	return fmt.Sprintf(`rules:
  - {name: down, select: {}, severity: page, down: {}}
notify:
  - {name: console, log: {}}
  - {name: slack, slack: {token: %q, channel: %q, api_url: %q}}
`, slacktest.Token, slacktest.Channel, slack.API)
}

// launch starts tripline with config in a new directory.
func launch(t *testing.T, config string, env ...string) (p *process, dir string) {
	t.Helper()
	dir = t.TempDir()
	writeFile(t, filepath.Join(dir, "config.yaml"), config)
	return start(t, dir, env, "run"), dir
}

// metric returns a figure of /metrics by its name and labels as they stand
// there; NaN if it does not answer or has none.
func metric(t *testing.T, listen, name string) float64 {
	t.Helper()
	_, body := get(t, "http://"+listen+"/metrics")
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			if v, err := strconv.ParseFloat(value, 64); err == nil {
				return v
			}
		}
	}
	return math.NaN()
}

// alive fails the test if the process has ended.
func (p *process) alive() {
	p.t.Helper()
	select {
	case <-p.exited:
		p.t.Fatalf("tripline ended: %s", p.cmd.ProcessState)
	default:
	}
}

// readLog returns all entries of the log in the data directory of a monitor
// that has ended.
func readLog(t *testing.T, dir string) []checks.Entry {
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
	var all []checks.Entry
	last, done := log.Last(), errors.New("done")
	err = log.Follow(t.Context(), 1, func(_ context.Context, b journal.Batch[checks.Entry]) error {
		all = append(all, b.Entries...)
		if b.Seq >= last {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	return all
}

// account looks whether each second of each check from its first slot in step
// to its last is in the log: as one result, or in a gap.
func account(t *testing.T, entries []checks.Entry) (results int, gaps []checks.Gap) {
	t.Helper()
	slots := map[string]map[int64]bool{}
	for _, e := range entries {
		switch r := e.Result; {
		case e.Gap != nil:
			gaps = append(gaps, *e.Gap)
		case r != nil:
			results++
			if slots[r.Check] == nil {
				slots[r.Check] = map[int64]bool{}
			}
			if slots[r.Check][r.Slot.UnixMilli()] {
				t.Errorf("%s: the slot %s is there twice", r.Check, r.Slot)
			}
			slots[r.Check][r.Slot.UnixMilli()] = true
		}
	}
	const second = 1000
	for check, seen := range slots {
		list := slices.Sorted(maps.Keys(seen))
		last := list[len(list)-1]
		first := list[slices.IndexFunc(list, func(at int64) bool { return at%second == last%second })] // not the run of the start
		for at := first; at < last; at += second {
			if seen[at] || slices.ContainsFunc(list, func(start int64) bool { return at-second < start && start < at && start%second != last%second }) {
				continue // a run at the start stands for the slot right behind it
			}
			if !slices.ContainsFunc(gaps, func(g checks.Gap) bool {
				return (g.Check == "" || g.Check == check) && g.From.UnixMilli() <= at && at <= g.To.UnixMilli()
			}) {
				t.Errorf("%s: the slot %s has neither result nor gap", check, time.UnixMilli(at).UTC())
			}
		}
	}
	return results, gaps
}

// TestAdversitySuspend stops the process for some intervals: they are missed
// and one gap, no slot runs twice.
func TestAdversitySuspend(t *testing.T) {
	t.Parallel()
	const n = 5
	f, listen := newFleet(t, 1), freePort(t)
	p, dir := launch(t, f.config(listen, n, 500*time.Millisecond, ""))
	waitFor(t, time.Minute, "three runs", func() bool { return f.least(n) >= 3 })
	at := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(*adversityTime)
	before := f.least(n)
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	stopped := time.Since(at)
	waitFor(t, time.Minute, "three more runs", func() bool { return f.least(n) >= before+3 })
	p.wantStopped()
	results, gaps := account(t, readLog(t, dir))
	if ran := f.total(); results < ran-n {
		t.Errorf("%d results of %d runs", results, ran)
	} else if results > ran { // those of runs that began too late to be made
		f.late(t, "%d results of %d runs", results, ran)
	}
	slots := map[string]int{}
	for _, g := range gaps {
		if slots[g.Check] != 0 {
			f.late(t, "a second gap of %q: %+v", g.Check, g)
		}
		slots[g.Check] += g.Slots
	}
	due := int(stopped / time.Second)
	for i := range n {
		missed := slots[fmt.Sprintf("c%d", i)]
		if missed < due-2 {
			t.Errorf("c%d: a gap of %d slots after %s, want about %d; gaps: %+v", i, missed, stopped, due, gaps)
		} else if missed > due+1 {
			f.late(t, "c%d: a gap of %d slots after %s, want about %d; gaps: %+v", i, missed, stopped, due, gaps)
		}
	}
}

// TestAdversityHanging lets some of the checks hang: the others must not
// notice.
func TestAdversityHanging(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{2, 20} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			t.Parallel()
			const n, hosts = 100, 10
			hangs := func(check int) bool { return (check+check/hosts)*percent%100 < percent } // of different hosts
			f, listen := newFleet(t, hosts), freePort(t)
			f.answers(func(w http.ResponseWriter, r *http.Request) {
				var check int
				if _, err := fmt.Sscanf(r.URL.Path, "/c%d", &check); err == nil && hangs(check) {
					hang(w, r)
				}
			})
			p, _ := launch(t, f.config(listen, n, 900*time.Millisecond, ""))
			waitFor(t, time.Minute, "two runs", func() bool { return f.least(n) >= 2 })
			<-time.After(*adversityTime)
			p.alive()
			f.wantKept(t, n, func(check int) bool { return !hangs(check) })
			if status, body := get(t, "http://"+listen+"/health"); status != http.StatusOK {
				t.Errorf("/health: status %d: %s", status, body)
			}
		})
	}
}

// TestAdversitySlowSlack lets every check fail while Slack takes a second for
// each answer: the schedule must not notice, and every group is told within 3 s
// of its failure, which the last one finds a second after the first, where the
// limit of the notifier lets it. One has that of Slack, a message a second:
// there the last group is told as many seconds later as there are others.
// It is not parallel, since that is a matter of the time that the machine has.
func TestAdversitySlowSlack(t *testing.T) {
	const n, hosts = 80, 8 // as many as a Desk has workers
	slow, quick := slacktest.New(), slacktest.New()
	defer slow.Close()
	defer quick.Close()
	slow.Inject(slacktest.Fault{Delay: time.Second})
	quick.Inject(slacktest.Fault{Delay: time.Second})
	f, listen := newFleet(t, hosts), freePort(t)
	second := strings.Replace(slackNotifier(quick, ", limit: 50/s"), "name: slack", "name: quick", 1)
	p, _ := launch(t, f.config(listen, n, 900*time.Millisecond, slackConfig(slow)+second))
	waitFor(t, time.Minute, "two runs", func() bool { return f.least(n) >= 2 })

	f.anew()
	at := time.Now()
	f.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	for _, c := range []struct {
		what  string
		slack *slacktest.Server
		n     int
		want  time.Duration
	}{
		{"the first incident", slow, 1, 4 * time.Second},
		{"every incident, without a limit", quick, hosts, 4 * time.Second},
		{"every incident, one a second", slow, hosts, 4*time.Second + (hosts-1)*time.Second},
	} {
		roots(t, c.slack, 30*time.Second, c.what, func(m []slacktest.Message) bool { return len(m) >= c.n })
		took := time.Since(at)
		t.Logf("%s: told %s after the first failure", c.what, took.Round(time.Millisecond))
		if took > c.want {
			f.late(t, "%s: told after %s, want %s", c.what, took, c.want)
		}
	}
	<-time.After(*adversityTime)
	p.alive()
	f.wantKept(t, n, every)
	for _, slack := range []*slacktest.Server{slow, quick} {
		if all := slack.Roots(); len(all) != hosts {
			t.Errorf("%d messages, want %d:\n%s", len(all), hosts, dump(slack))
		}
	}
}

// TestAdversitySlowNotifiers lets every check fail while each notifier takes a
// second for each answer: the schedule does not notice, and each notifier is
// told of every group.
func TestAdversitySlowNotifiers(t *testing.T) {
	t.Parallel()
	const n, hosts = 80, 8
	var mu sync.Mutex
	asked := map[string]int{}
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.Split(r.URL.Path, "/")[1]
		mu.Lock()
		asked[name]++
		mu.Unlock()
		_, _ = io.Copy(io.Discard, r.Body)
		pause(r.Context(), time.Second)
		if name == "pagerduty" {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		_, _ = io.WriteString(w, "ok")
	}))
	defer sink.Close()
	f, listen := newFleet(t, hosts), freePort(t)
	p, _ := launch(t, f.config(listen, n, 900*time.Millisecond, fmt.Sprintf(`rules:
  - {name: down, select: {}, severity: page, down: {}}
notify:
  - {name: hook, slack_webhook: {url: "%[1]s/hook"}}
  - {name: pagerduty, pagerduty: {routing_key: 0123456789abcdef0123456789abcdef, api_url: "%[1]s/pagerduty"}}
  - {name: alertmanager, alertmanager: {urls: ["%[1]s/alertmanager"]}}
  - {name: webhook, webhook: {url: "%[1]s/webhook", allow_private: true, allow_unsigned: true}}
`, sink.URL)))
	waitFor(t, time.Minute, "two runs", func() bool { return f.least(n) >= 2 })
	f.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	for _, name := range []string{"hook", "pagerduty", "alertmanager", "webhook"} {
		waitFor(t, time.Minute, name+" to be told of each group", func() bool {
			return metric(t, listen, fmt.Sprintf("tripline_deliveries_total{notifier=%q}", name)) >= hosts
		})
		mu.Lock()
		if asked[name] < hosts {
			t.Errorf("%s was asked %d times, want at least %d", name, asked[name], hosts)
		}
		mu.Unlock()
	}
	<-time.After(*adversityTime)
	p.alive()
	f.wantKept(t, n, every)
}
