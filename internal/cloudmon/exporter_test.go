package cloudmon

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/cloudmon/cloudmontest"
)

// One small history, written out in full.
func TestExport(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	base := began(5)
	slow := result("api", base.Add(20*time.Second), probe.OK)
	slow.Result.Latency = 40 * time.Millisecond
	slow.Result.Measures = map[string]float64{"connections_active": 12}
	r.log = newLog(
		[]checks.Entry{tick(base), result("api", base.Add(10*time.Second), probe.OK), slow},
		[]checks.Entry{tick(base.Add(time.Minute)), result("api", base.Add(70*time.Second), probe.NotFound)},
		[]checks.Entry{tick(base.Add(2 * time.Minute)), {V: 1, Gap: &checks.Gap{Check: "api", Location: "local", From: base.Add(2 * time.Minute), To: base.Add(150 * time.Second), Slots: 3}}},
		[]checks.Entry{tick(base.Add(3 * time.Minute))},
	)
	x := r.runAll()
	r.noViolations()

	at := func(minutes int) time.Time { return base.Add(time.Duration(minutes) * time.Minute) }
	started := func(minutes int) time.Time { return at(minutes).Add(time.Millisecond) }
	check := map[string]string{"check": "api", "kind": "route", "group": "shop", "location": "local"}
	of := func(class string) map[string]string {
		m := maps.Clone(check)
		m["class"] = class
		return m
	}
	type point struct {
		start, end time.Time
		v          float64
	}
	for _, tt := range []struct {
		metric string
		labels map[string]string
		want   []point
	}{
		{"check_count", of("ok"), []point{{started(0), at(1), 2}, {started(0), at(2), 2}, {started(0), at(3), 2}}},
		{"check_count", of("not_found"), []point{{started(1), at(2), 1}, {started(1), at(3), 1}}},
		{"slots_missed", map[string]string{"check": "api", "location": "local"}, []point{{started(2), at(3), 3}}},
		{"up", check, []point{{time.Time{}, at(1), 1}, {time.Time{}, at(2), 0}}},
		{"latency_mean", check, []point{{time.Time{}, at(1), 0.03}}},
		{"recorded/connections_active", check, []point{{time.Time{}, at(1), 12}}},
		{"group_latency", map[string]string{"group": "shop", "location": "local"}, []point{{started(0), at(1), 2}, {started(0), at(2), 2}, {started(0), at(3), 2}}},
		{"heartbeat", nil, []point{{time.Time{}, at(1), 1}, {time.Time{}, at(2), 1}, {time.Time{}, at(3), 1}}},
	} {
		var got []point
		for _, p := range r.server.Points(prefix+tt.metric, tt.labels) {
			got = append(got, point{p.Start, p.End, float64(p.Int) + p.Double + float64(p.Distribution.GetCount())})
		}
		// The stop wrote the Tick that came after the last minute, too.
		if len(got) > 0 && got[len(got)-1].end.After(at(3)) {
			got = got[:len(got)-1]
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: points\n%v, want\n%v", tt.metric, got, tt.want)
		}
	}
	if d := r.server.Points(prefix+"group_latency", nil)[0].Distribution; d.GetMean() < 0.0299 || d.GetMean() > 0.0301 || d.GetSumOfSquaredDeviation() < 0.000199 || d.GetSumOfSquaredDeviation() > 0.000201 {
		t.Errorf("distribution %v, want mean 0.03 and squared deviation 0.0002", d)
	}
	res := r.server.Series(prefix+"up", nil)[0].Resource
	for _, k := range []string{"project_id", "location", "namespace", "job", "task_id"} {
		if res[k] == "" {
			t.Errorf("resource label %s is empty", k)
		}
	}
	if h := x.Health(); h.Written == 0 || h.Rejected != 0 || h.Dropped != 0 || h.Err != "" || h.Behind != 0 || h.TaskID != res["task_id"] {
		t.Errorf("health %+v", h)
	}
}

// Every metric of the table gets a descriptor as the table says, and nothing
// else is written.
func TestDescriptors(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	r.open = func() map[Finding]int { return map[Finding]int{{"404", "shop", "page"}: 2} }
	batches := traffic(began(1), 1, 3, 20*time.Second, 1)
	batches[0] = append(batches[0], checks.Entry{V: 1, Gap: &checks.Gap{Location: "local", To: began(1), Slots: 1}})
	r.log = newLog(batches...)
	r.runAll()
	r.noViolations()
	want := map[string]Metric{}
	for _, m := range Metrics() {
		if m.Name == nameRecorded {
			m = recordedMetric("ping_rtt")
		}
		if m.Name != nameLatency && m.Name != nameGroupMean { // off by default
			want[prefix+m.Name] = m
		}
	}
	if got := r.server.Metrics(); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("metrics %v, want %v", got, slices.Sorted(maps.Keys(want)))
	}
	for typ, m := range want {
		d := r.server.Descriptor(typ)
		if d.GetUnit() != m.Unit || !strings.HasPrefix(d.GetDisplayName(), "Tripline: ") || d.GetDescription() != m.Help || len(d.GetLabels()) != len(m.Labels) {
			t.Errorf("descriptor %v, want %+v", d, m)
		}
		if len(r.server.Series(typ, nil)) == 0 {
			t.Errorf("%s has a descriptor and no series", typ)
		}
	}
	if p := r.server.Points(prefix+"open_findings", map[string]string{"severity": "page"}); len(p) == 0 || p[0].Int != 2 {
		t.Errorf("open findings %v, want 2", p)
	}
}

// An outage of five minutes in the middle of ten: afterwards the counters
// equal the log, and no gauge point is missing or out of order.
func TestOutage(t *testing.T) {
	for _, f := range []cloudmontest.Fault{
		{Code: codes.Unavailable},
		{Code: codes.Unavailable, Written: true},
		{Code: codes.ResourceExhausted},
		{Code: codes.Internal, Written: true},
		{Code: codes.Unauthenticated, All: true},
		{Drop: true},
	} {
		t.Run(fmt.Sprintf("%+v", f), func(t *testing.T) {
			r := newRig(t, cloudmontest.Options{})
			if f.Delay > 0 || f.Drop {
				r.pace = shortDeadline
			}
			base := began(10)
			batches := traffic(base, 10, 5, 20*time.Second, 2)
			x, stop := r.run()
			for i, b := range batches {
				if i == 3*2+1 { // in the third minute
					r.until("the minutes before the outage", func() bool { h := x.Health(); return h.Minute.Equal(base.Add(2*time.Minute)) && !h.waiting })
					r.server.Inject(-1, f)
				}
				if i == 3*7+1 {
					r.until("the third minute", func() bool { return x.Health().Minute.Equal(base.Add(3*time.Minute)) && x.Health().Err != "" })
					if h := x.Health(); h.Behind == 0 || !h.waiting {
						t.Errorf("in the outage: health %+v", h)
					}
					r.server.Clear()
				}
				r.log.Append(b...)
			}
			stop()
			r.noViolations()
			r.agrees(flat(batches))
			for i := range 5 {
				check := fmt.Sprintf("check-%03d", i)
				verdict := map[int]probe.Status{} // the newest one, by minute
				for _, e := range flat(batches) {
					if e.Result != nil && e.Result.Check == check {
						verdict[int(entryTime(e).Sub(base)/time.Minute)] = e.Result.Status
					}
				}
				maps.DeleteFunc(verdict, func(_ int, s probe.Status) bool { return s == probe.Unknown })
				up := r.server.Points(prefix+"up", map[string]string{"check": check})
				rtt := r.server.Points(prefix+"recorded/ping_rtt", map[string]string{"check": check})
				if len(up) != len(verdict) || len(up) < 5 || len(rtt) != 10 {
					t.Errorf("check %d: %d up and %d ping_rtt points, want %d and 10", i, len(up), len(rtt), len(verdict))
				}
				for m, p := range rtt {
					if !p.End.Equal(base.Add(time.Duration(m+1) * time.Minute)) {
						t.Errorf("point %d ends at %v, want the end of its minute", m, p.End)
					}
				}
			}
			if h := x.Health(); h.Err != "" || h.Dropped != 0 || h.Rejected != 0 {
				t.Errorf("health %+v, want no problem and nothing lost", h)
			}
			if !strings.Contains(r.logged.String(), "works again") {
				t.Errorf("logged %q, want the recovery", r.logged)
			}
		})
	}
}

// A day of entries is exported in order, each minute with its own end time;
// what is older is dropped, and the counters still agree. Every tenth minute
// of the day has entries, with -soak every one.
func TestDayOfBacklog(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	step := 10
	if *soak {
		step = 1
	}
	base := began(25 * 60)
	var batches [][]checks.Entry
	for m := 0; m < 25*60; m += step {
		batches = append(batches, traffic(base.Add(time.Duration(m)*time.Minute), 1, 2, 30*time.Second, uint64(m))...)
	}
	r.log = newLog(batches...)
	x := r.runAll()
	r.noViolations()
	r.agrees(flat(batches))
	p := r.server.Points(prefix+"heartbeat", nil)
	// A step is one minute with entries and the one that its last Tick begins.
	if n, want := len(p), min(step, 2)*24*60/step; n < want-2 || n > want+2 {
		t.Errorf("%d heartbeats, want one for each minute of a day that has entries: %d", n, want)
	}
	for _, h := range p[:len(p)-1] { // the last one is from the stop
		if m := h.End.Sub(base).Minutes() - 1; m != float64(int(m)) || int(m)%step > 1 {
			t.Errorf("a point ends at minute %v, want the end of one with entries", m)
		}
	}
	if h := x.Health(); h.Dropped == 0 {
		t.Errorf("health %+v, want the oldest hour dropped", h)
	}
	for _, s := range r.server.Series(prefix+"check_count", nil) {
		if !s.Points[0].Start.Equal(s.Last().Start) {
			t.Errorf("%v: start changed from %v to %v", s.Labels, s.Points[0].Start, s.Last().Start)
		}
	}
}

// A restart in every minute: starts stay, counts go on, nothing is doubled.
func TestRestarts(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	batches := traffic(began(12), 12, 4, 10*time.Second, 4)
	for part := range slices.Chunk(batches, 5) {
		for _, b := range part {
			r.log.Append(b...)
		}
		r.runAll()
	}
	r.noViolations()
	r.agrees(flat(batches))
	if n := len(r.server.Series(prefix+"heartbeat", nil)); n != 1 {
		t.Errorf("%d tasks, want 1", n)
	}
	for _, s := range r.server.Series(prefix+"check_count", nil) {
		if !s.Points[0].Start.Equal(s.Last().Start) {
			t.Errorf("%v: start changed from %v to %v", s.Labels, s.Points[0].Start, s.Last().Start)
		}
	}
}

// The process dies between a write and the save: what is written again is the
// same and taken for written.
func TestLostSave(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	batches := traffic(began(4), 4, 60, 30*time.Second, 5)
	for i, b := range batches {
		r.log.Append(b...)
		before := slices.Clone(r.store.b)
		x, stop := r.run()
		r.until("the batch", func() bool { return x.Health().Position == uint64(i+1) && !x.Health().waiting })
		r.store.mu.Lock()
		r.store.err = errors.New("disk full") // so that the stop saves nothing
		r.store.mu.Unlock()
		r.server.Inject(-1, cloudmontest.Fault{Code: codes.Unavailable}) // nor writes anything
		x.pace.stop = time.Millisecond
		stop()
		r.server.Clear()
		r.store.err = nil
		if i%3 == 1 {
			r.store.b = before
		}
	}
	r.runAll()
	r.noViolations()
	r.agrees(flat(batches))
	if r.server.Repeats() == 0 {
		t.Error("no repeats: the test does not test what it should")
	}
}

// What cannot be known in time is repeated, and found to be written.
func TestAmbiguous(t *testing.T) {
	for _, f := range []cloudmontest.Fault{
		{Code: codes.Unavailable, Written: true},
		{Delay: time.Minute, Written: true},
		{Delay: time.Minute},
		{Drop: true, Written: true},
	} {
		t.Run(fmt.Sprintf("%+v", f), func(t *testing.T) {
			r := newRig(t, cloudmontest.Options{})
			if f.Delay > 0 || f.Drop {
				r.pace = shortDeadline
			}
			batches := traffic(began(2), 2, 5, 20*time.Second, 6)
			r.log = newLog(batches...)
			r.server.Inject(1, f)
			x := r.runAll()
			r.noViolations()
			r.agrees(flat(batches))
			if h := x.Health(); h.Rejected != 0 || h.Dropped != 0 || h.Err != "" {
				t.Errorf("health %+v, want all written", h)
			}
			if f.Written && r.server.Repeats() == 0 {
				t.Error("nothing was repeated")
			}
		})
	}
}

func TestGoAway(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	batches := traffic(began(6), 6, 5, 20*time.Second, 7)
	_, stop := r.run()
	for i, b := range batches {
		r.log.Append(b...)
		if i%2 == 0 {
			r.server.GoAway()
		}
	}
	stop()
	r.noViolations()
	r.agrees(flat(batches))
}

// Some series fail: they are counted, the others go on, nothing is repeated.
func TestPartialFailure(t *testing.T) {
	for _, tt := range []struct {
		code              codes.Code
		rejected, dropped int64
	}{
		{codes.InvalidArgument, 2, 0},
		{codes.PermissionDenied, 2, 0},
		{codes.Internal, 0, 2},
		{codes.ResourceExhausted, 0, 2},
	} {
		t.Run(tt.code.String(), func(t *testing.T) {
			r := newRig(t, cloudmontest.Options{})
			batches := traffic(began(3), 3, 5, 20*time.Second, 8)
			r.log = newLog(batches...)
			r.server.Inject(1, cloudmontest.Fault{Code: tt.code, Series: []int{3, 7}})
			x := r.runAll()
			r.noViolations()
			r.agrees(flat(batches)) // the next minute caught up
			if h := x.Health(); h.Rejected != tt.rejected || h.Dropped != tt.dropped {
				t.Errorf("%d rejected and %d dropped, want %d and %d", h.Rejected, h.Dropped, tt.rejected, tt.dropped)
			}
			if got := r.server.Points(prefix+"exporter/points", map[string]string{"outcome": "rejected"}); got[len(got)-1].Int != tt.rejected {
				t.Errorf("exported %d rejected points, want %d", got[len(got)-1].Int, tt.rejected)
			}
			if r.server.Repeats() != 0 || r.server.Calls() != 4 {
				t.Errorf("%d repeats in %d calls, want none in 4", r.server.Repeats(), r.server.Calls())
			}
		})
	}
}

// A ceiling on new series must not hold up the others for ever.
func TestCeiling(t *testing.T) {
	r := newRig(t, cloudmontest.Options{MaxSeries: 10})
	batches := traffic(began(3), 3, 60, 30*time.Second, 9)
	r.log = newLog(batches...)
	x := r.runAll()
	if h := x.Health(); h.Written < 30 || h.Dropped == 0 || !strings.Contains(h.Err, "too many time series") {
		t.Errorf("health %+v, want 10 series written each minute and the rest dropped", h)
	}
}

// Nothing is accepted: said once and clearly, never repeated, and the
// counters are right as soon as it is.
func TestNoPermission(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	base := began(6)
	batches := traffic(base, 6, 5, 20*time.Second, 10)
	r.server.Inject(-1, cloudmontest.Fault{Code: codes.PermissionDenied, All: true})
	x, stop := r.run()
	r.until("the problem at start", func() bool { return x.Health().Err != "" })
	for i, b := range batches {
		if i == 3*3+1 {
			r.until("three minutes", func() bool { h := x.Health(); return h.Minute.Equal(base.Add(3*time.Minute)) && !h.waiting })
			if h := x.Health(); h.Rejected == 0 || h.Written != 0 || !strings.Contains(h.Err, `want the role roles/monitoring.metricWriter in project "test"`) {
				t.Errorf("health %+v", h)
			}
			r.server.Clear()
		}
		r.log.Append(b...)
	}
	stop()
	r.noViolations()
	r.agrees(flat(batches))
	for _, doing := range []string{"create metric descriptor", "write to Cloud Monitoring"} {
		if n := strings.Count(r.logged.String(), doing); n != 1 {
			t.Errorf("%s: logged %d times, want once:\n%s", doing, n, r.logged)
		}
	}
}

// The same trouble is said again, an hour later.
func TestSaidAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged strings.Builder
		x := New(Config{Project: "test"}, Options{Log: newLog(), Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		for range 3 * 60 {
			x.problem("write to Cloud Monitoring", errors.New("no answer"))
			<-time.After(time.Minute)
		}
		if n := strings.Count(logged.String(), "no answer"); n != 3 {
			t.Errorf("logged %d times in 3 hours, want 3:\n%s", n, logged.String())
		}
	})
}

// Without credentials Run goes on and waits for them.
func TestNoCredentials(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	r.cfg.Endpoint, r.cfg.CredentialsFile = "", r.dir+"/none.json"
	r.pace = func(p *pace) { p.stop = 10 * time.Millisecond }
	r.log = newLog(traffic(began(2), 2, 5, 20*time.Second, 11)...)
	x, stop := r.run()
	r.until("the problem", func() bool { return x.Health().Err != "" })
	if h := x.Health(); !strings.Contains(h.Err, "none.json: no such file") || h.Rejected+h.Dropped != 0 {
		t.Errorf("health %+v", h)
	}
	stop()
}

// A result of the last second before a stop is exported, at a legal moment,
// whatever second that is; and the next process goes on legally.
func TestFlush(t *testing.T) {
	for _, second := range []time.Duration{0, 1, 9, 11, 30, 49, 51, 59} {
		t.Run(fmt.Sprint(second), func(t *testing.T) {
			r := newRig(t, cloudmontest.Options{})
			base := began(4)
			at := base.Add(time.Minute + second*time.Second)
			first := []checks.Entry{tick(base.Add(time.Millisecond)), result("api", base.Add(2*time.Second), probe.OK), tick(base.Add(time.Minute + time.Millisecond))}
			last := []checks.Entry{result("api", at, probe.NotFound)}
			r.log = newLog(first, last)
			r.runAll()
			r.agrees(slices.Concat(first, last))
			next := []checks.Entry{result("api", at.Add(time.Millisecond), probe.OK)}
			r.log.Append(next...)
			r.runAll() // stopped again within the same second
			r.agrees(slices.Concat(first, last, next))
			after := []checks.Entry{tick(base.Add(2*time.Minute + time.Millisecond)), result("api", base.Add(130*time.Second), probe.OK), tick(base.Add(3*time.Minute + time.Millisecond))}
			r.log.Append(after...)
			r.runAll()
			r.agrees(slices.Concat(first, last, next, after))
			r.noViolations()
			if h := r.server.Points(prefix+"up", nil); len(h) < 3 {
				t.Errorf("up has %d points, want at least 3: %v", len(h), h)
			}
		})
	}
}

// While the service is away a stop ends in time, and loses nothing.
func TestStopInOutage(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	r.pace = func(p *pace) { p.stop = 50 * time.Millisecond }
	batches := traffic(began(3), 3, 5, 20*time.Second, 12)
	r.log = newLog(batches...)
	r.server.Inject(-1, cloudmontest.Fault{Code: codes.Unavailable})
	x, stop := r.run()
	r.until("the problem", func() bool { return strings.Contains(x.Health().Err, "write") })
	begin := time.Now()
	stop()
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("stop took %v", d)
	}
	r.server.Clear()
	r.pace = nil
	r.runAll()
	r.noViolations()
	r.agrees(flat(batches))
}

// The state was saved in the middle of the newest batch, and the next process
// is stopped as soon as it starts: the rest of the batch is exported all the same.
func TestStopAtStart(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	r.pace = func(p *pace) { p.stop = 20 * time.Millisecond }
	base := began(2)
	entries := []checks.Entry{tick(base), result("api", base.Add(time.Second), probe.OK), tick(base.Add(time.Minute)), result("api", base.Add(61*time.Second), probe.OK)}
	r.log = newLog(entries)
	_, stop := r.run()
	r.until("the save", func() bool {
		r.store.mu.Lock()
		defer r.store.mu.Unlock()
		if r.store.saved == 2 { // at the start and after the minute
			r.store.err = errors.New("disk full") // so that nothing is flushed
			return true
		}
		return false
	})
	stop()
	r.store.err = nil
	if p := r.server.Points(prefix+"check_count", nil); len(p) != 1 || p[0].Int != 1 {
		t.Fatalf("first process: %v, want one point of 1", p)
	}
	r.pace = nil
	r.runAll()
	r.agrees(entries)
	r.noViolations()
}

// A flush is written and the process dies before it knows. The next flush, of
// the same moment and with more in it, must not take its place.
func TestLostFlush(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	r.pace = func(p *pace) { p.stop = 50 * time.Millisecond }
	base := began(2)
	entries := []checks.Entry{tick(base), result("api", base.Add(time.Second), probe.OK), tick(base.Add(time.Minute)), result("api", base.Add(61*time.Second), probe.OK)}
	r.log = newLog(entries)
	x, stop := r.run()
	r.until("the minute", func() bool { h := x.Health(); return h.Written > 0 && h.Position == 1 })
	r.server.Inject(-1, cloudmontest.Fault{Code: codes.Unavailable, Written: true})
	stop()
	r.server.Clear()
	if p := r.server.Points(prefix+"check_count", nil); len(p) != 2 || p[1].Int != 2 {
		t.Fatalf("first process: %v, want the minute and the flush", p)
	}
	r.pace = nil
	more := []checks.Entry{result("api", base.Add(62*time.Second), probe.OK)}
	r.log.Append(more...)
	r.runAll()
	r.agrees(append(entries, more...))
	r.noViolations()
}

// A series that begins after a flush, or after the clock was set back, starts
// after everything that was written.
func TestStartAfterEnd(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	x := r.exporter()
	x.lastEnd = began(0).Add(12 * time.Second)
	x.roll(began(0))
	x.counters.Fold(result("api", began(0), probe.OK))
	if s := x.counters.Snapshot()[1]; s.StartMS != x.lastEnd.UnixMilli()+1 {
		t.Errorf("%s starts at %d, want 1 ms after %d", s.Metric.Name, s.StartMS, x.lastEnd.UnixMilli())
	}
}

// What a flush could not write for some series, the next one does.
func TestFlushRefused(t *testing.T) {
	for _, code := range []codes.Code{codes.Internal, codes.InvalidArgument} {
		r := newRig(t, cloudmontest.Options{})
		batches := traffic(began(2), 2, 5, 20*time.Second, 16)
		r.log = newLog(batches[:4]...)
		r.server.Inject(1, cloudmontest.Fault{}) // the minute
		r.server.Inject(1, cloudmontest.Fault{Code: code, Series: []int{1, 2, 3, 4, 5, 6}})
		r.runAll()
		r.runAll()
		r.agrees(flat(batches[:4]))
		r.noViolations()
	}
}

// After a restart an InvalidArgument means "written before" for one minute and
// no longer.
func TestRejectedAfterRestart(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	batches := traffic(began(4), 4, 5, 20*time.Second, 17)
	r.log = newLog(batches[:4]...)
	r.runAll()
	for _, b := range batches[4:] {
		r.log.Append(b...)
	}
	r.server.Inject(1, cloudmontest.Fault{})
	r.server.Inject(1, cloudmontest.Fault{Code: codes.InvalidArgument})
	if h := r.runAll().Health(); h.Rejected == 0 {
		t.Errorf("health %+v, want the second minute rejected", h)
	}
	r.agrees(flat(batches))
	r.noViolations()
}

// A series that was first seen while the clock was ahead has no point before
// its start.
func TestNoPointBeforeStart(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	x := r.exporter()
	x.roll(began(0))
	x.counters.Fold(result("api", began(0), probe.OK))
	for _, s := range x.due(began(10)) {
		if s.Metric.Kind == Cumulative {
			t.Errorf("%s starts at %d and gets a point at %d", s.Metric.Name, s.StartMS, began(10).UnixMilli())
		}
	}
}

// The distribution as the server understands it.
func TestDistributionReadBack(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	fast, slow := result("api", began(2), probe.OK), result("api", began(2), probe.OK)
	fast.Result.Latency, slow.Result.Latency = 500*time.Microsecond, 100*time.Second
	r.log = newLog([]checks.Entry{tick(began(2)), fast, slow, tick(began(1))})
	r.runAll()
	r.noViolations()
	d := r.server.Points(prefix+"group_latency", nil)[0].Distribution
	o, n := d.GetBucketOptions().GetExponentialBuckets(), len(d.GetBucketCounts())
	if n != len(Bounds())+1 || d.GetBucketCounts()[0] != 1 || d.GetBucketCounts()[n-1] != 1 ||
		int(o.GetNumFiniteBuckets())+2 != n || o.GetScale() != Bounds()[0] || o.GetScale()*o.GetGrowthFactor() != Bounds()[1] {
		t.Errorf("distribution %v, want one value below and one above all of Bounds", d)
	}
}

// Two processes with the same checks: each has its own series.
func TestTwoProcesses(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	other := r.another()
	batches := traffic(began(5), 5, 5, 20*time.Second, 13)
	_, stop := r.run()
	_, stopOther := other.run()
	for _, b := range batches {
		r.log.Append(b...)
		other.log.Append(b...)
	}
	stop()
	stopOther()
	r.noViolations()
	tasks := r.server.Series(prefix+"heartbeat", nil)
	if len(tasks) != 2 {
		t.Fatalf("%d tasks, want 2", len(tasks))
	}
	for _, task := range tasks {
		var sum int64
		for _, s := range r.server.Series(prefix+"check_count", map[string]string{"task_id": task.Resource["task_id"]}) {
			sum += s.Last().Int
		}
		var want int64
		for _, e := range flat(batches) {
			if e.Result != nil {
				for _, n := range e.Result.Attempts() {
					want += int64(n)
				}
			}
		}
		if sum != want {
			t.Errorf("task %v counts %d, want %d", task.Resource, sum, want)
		}
	}
}

// A check that is gone for more than a day and comes back begins at zero, with
// a start after its last point.
func TestReturn(t *testing.T) {
	c := NewCounters(Latency{PerCheck: latencyDistribution, PerGroup: latencyDistribution}, nil)
	base := began(0)
	c.Roll(base)
	c.Fold(result("api", base.Add(time.Second), probe.OK))
	count := func() (n, start int64) {
		for _, s := range c.Snapshot() {
			if s.Metric.Name == nameCheckCount {
				return s.Int, s.StartMS
			}
		}
		return 0, 0
	}
	was, start := count()
	end := base
	for was != 0 {
		end = end.Add(time.Minute)
		c.Roll(end)
		was, _ = count()
	}
	if idle := end.Sub(base); idle <= idleAfter || idle > idleAfter+time.Minute {
		t.Errorf("ended after %v, want %v", idle, idleAfter)
	}
	if n := len(c.Snapshot()); n != 1 || len(c.checks) != 0 || len(c.groups) != 0 {
		t.Errorf("%d samples, %d checks and %d groups are left, want the heartbeat only", n, len(c.checks), len(c.groups))
	}
	c.Fold(result("api", end.Add(time.Second), probe.OK))
	if n, again := count(); n != 1 || again != end.UnixMilli()+1 || again <= start {
		t.Errorf("came back with %d from %d, want 1 from %d", n, again, end.UnixMilli()+1)
	}
}

// Another id, or none, in place of the one that the state is of.
func TestLostTaskID(t *testing.T) {
	t.Run("file lost", func(t *testing.T) {
		r := newRig(t, cloudmontest.Options{})
		batches := traffic(began(4), 4, 5, 20*time.Second, 14)
		r.log = newLog(batches[:6]...)
		r.runAll()
		r.dir = t.TempDir()
		for _, b := range batches[6:] {
			r.log.Append(b...)
		}
		r.runAll()
		r.noViolations()
		r.agrees(flat(batches)) // the sum over both ids
	})
	t.Run("state lost", func(t *testing.T) {
		r := newRig(t, cloudmontest.Options{})
		r.log = newLog(traffic(began(4), 4, 5, 20*time.Second, 15)...)
		r.runAll()
		r.store = &memStore{}
		r.runAll()
		r.noViolations()
		if n := len(r.server.Series(prefix+"heartbeat", nil)); n != 2 {
			t.Errorf("%d task ids, want a second one: the series of the first cannot go on", n)
		}
	})
}

// A state that does not decode, or a log that ends before it, costs a new task
// id and not the monitor: the counts under the old one stay as they are.
func TestUnusableState(t *testing.T) {
	batches := traffic(began(6), 6, 5, 20*time.Second, 16)
	stored := func(t *testing.T, s state) []byte {
		t.Helper()
		b, err := s.encode(gzip.NewWriter(io.Discard))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		name   string
		spoil  func(t *testing.T, r *rig)
		logged string
	}{
		{"garbage", func(_ *testing.T, r *rig) { r.store.b = []byte("garbage") }, "decode export state of 7 bytes"},
		{"half of it", func(_ *testing.T, r *rig) { r.store.b = r.store.b[:len(r.store.b)/2] }, "unexpected EOF"},
		{"no counters", func(t *testing.T, r *rig) { t.Helper(); r.store.b = stored(t, state{V: 1, Task: "x", Seq: 1}) }, "it holds no counters"},
		{"the log lost its end", func(_ *testing.T, r *rig) { r.log = newLog(batches[:4]...) }, "it is of batch 10, and the log ends at 4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, cloudmontest.Options{})
			r.log = newLog(batches[:10]...)
			first := r.runAll().Health().TaskID
			tt.spoil(t, r)
			x, stop := r.run()
			for _, b := range batches[r.log.Last():] {
				r.log.Append(b...)
			}
			stop()
			r.noViolations()
			second := x.Health().TaskID
			if second == first || !strings.Contains(r.logged.String(), tt.logged) {
				t.Errorf("task id %s after %s, logged %q, want another id and %q", second, first, r.logged, tt.logged)
			}
			want := map[string]int64{}
			for _, e := range flat(batches) {
				if e.Result != nil {
					for class, n := range e.Result.Attempts() {
						want[e.Result.Check+"|"+string(class)] += int64(n)
					}
				}
			}
			got := map[string]int64{}
			for _, s := range r.server.Series(prefix+"check_count", nil) {
				if s.Resource["task_id"] == second {
					got[s.Labels["check"]+"|"+s.Labels["class"]] = s.Last().Int
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("counts under the new id (-in the log +exported):\n%s", diff)
			}
			if third := r.runAll().Health().TaskID; third != second {
				t.Errorf("task id %s after another restart, want %s", third, second)
			}
		})
	}
}

// The clock is set back, and an entry comes from the future.
func TestClockJumps(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	base := began(20)
	at := func(m float64) time.Time { return base.Add(time.Duration(m * float64(time.Minute))) }
	entries := []checks.Entry{
		tick(at(0)), result("api", at(0.5), probe.OK), tick(at(1)),
		result("api", base.AddDate(70, 0, 0), probe.OK),
		tick(at(2)), result("api", at(2.5), probe.OK), tick(at(3)),
		tick(at(10)), result("api", at(10.5), probe.OK), tick(at(11)), // ahead,
		tick(at(5)), result("api", at(5.5), probe.OK), tick(at(6)), // and set back
		tick(at(12)), result("api", at(12.5), probe.NotFound), tick(at(13)),
	}
	r.log = newLog(entries)
	r.runAll()
	r.noViolations()
	r.agrees(entries)
	var ends []float64
	for _, p := range r.server.Points(prefix+"heartbeat", nil) {
		ends = append(ends, p.End.Sub(base).Minutes())
	}
	if want := []float64{1, 2, 3, 4, 11, 13}; len(ends) < len(want) || !slices.Equal(ends[:len(want)], want) {
		t.Errorf("minutes %v, want %v", ends, want)
	}
}

// The clock was ahead, the server took none of that, and the clock is set back:
// the export goes on at once.
func TestSetBackAfterRejection(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	base := began(20)
	at := func(m float64) time.Time { return base.Add(time.Duration(m * float64(time.Minute))) }
	entries := []checks.Entry{tick(at(10)), result("api", at(10.5), probe.OK), tick(at(11)), tick(at(5)), result("api", at(5.5), probe.OK), tick(at(6)), tick(at(7))}
	r.log = newLog(entries)
	r.server.Inject(1, cloudmontest.Fault{Code: codes.InvalidArgument})
	r.runAll()
	r.noViolations()
	var ends []float64
	for _, p := range r.server.Points(prefix+"heartbeat", nil) {
		ends = append(ends, p.End.Sub(base).Minutes())
	}
	if len(ends) < 3 || !slices.Equal(ends[:3], []float64{5, 6, 7}) {
		t.Errorf("minutes %v, want 5, 6 and 7", ends)
	}
}

func TestRunErrors(t *testing.T) {
	r := newRig(t, cloudmontest.Options{})
	x, stop := r.run()
	r.until("the start", func() bool { return x.Health().TaskID != "" })
	if err := r.exporter().Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("second process in one directory: %v", err)
	}
	stop()
	s := state{V: stateVersion + 1, Counters: NewCounters(Latency{}, nil)}
	b, err := s.encode(gzip.NewWriter(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	r.store.b = b
	var newer *checks.NewerError
	if err := r.exporter().Run(t.Context()); !errors.As(err, &newer) {
		t.Errorf("state of a newer version: %v, want a NewerError", err)
	}
}
