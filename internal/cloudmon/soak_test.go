package cloudmon

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/cloudmon/cloudmontest"
)

var soak = flag.Bool("soak", false, "run the long soak test: 500 checks a second for an hour of log")

// soakLog makes its batches when they are read: one for each second.
type soakLog struct {
	base   time.Time
	n      uint64
	checks int
	names  []string
}

func (l *soakLog) Last() uint64 { return l.n }

func (l *soakLog) batch(seq uint64) []checks.Entry {
	at := l.base.Add(time.Duration(seq) * time.Second)
	rng := rand.New(rand.NewPCG(seq, 7))
	entries := make([]checks.Entry, 0, l.checks+1)
	if seq%60 == 0 {
		entries = append(entries, tick(at))
	}
	for i := range l.checks {
		class := probe.OK
		switch rng.IntN(20) {
		case 0:
			class = probe.NotFound
		case 1:
			class = probe.ConnectTimeout
		}
		e := result(l.names[i], at.Add(time.Duration(i)*time.Millisecond), class)
		e.Result.Group = l.names[i/10]
		entries = append(entries, e)
	}
	return entries
}

func (l *soakLog) Follow(ctx context.Context, from uint64, f func(uint64, []checks.Entry) error) error {
	for seq := max(from, 1); seq <= l.n; seq++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(seq, l.batch(seq)); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// Random faults of all sorts and restarts, in two processes side by side: no
// rule is broken, no count is lost, and memory stays as it is.
func TestSoak(t *testing.T) {
	minutes, n := 20, 40
	if *soak {
		minutes, n = 60, 500
	}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, cloudmontest.Options{Keep: 2})
	other := r.another()
	log := &soakLog{base: began(minutes + 1), n: uint64(minutes*60 + 30), checks: n}
	for i := range n {
		log.names = append(log.names, fmt.Sprintf("check-%03d", i))
	}
	faults := []cloudmontest.Fault{
		{Code: codes.Unavailable},
		{Code: codes.Unavailable, Written: true},
		{Code: codes.DeadlineExceeded, Written: true},
		{Code: codes.ResourceExhausted},
		{Code: codes.Internal},
		{Code: codes.Internal, Written: true},
		{Code: codes.Internal, Series: []int{1, 5}},
		{Code: codes.InvalidArgument, Series: []int{2}},
		{Code: codes.Unauthenticated},
		{Delay: time.Minute},
		{Delay: time.Minute, Written: true},
		{Drop: true},
		{Drop: true, Written: true},
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var early uint64
	type process struct {
		x    *Exporter
		stop func()
	}
	start := func(r *rig) process {
		x := New(r.cfg, Options{Log: log, Store: r.store, Dir: r.dir})
		x.pace = r.exporter().pace
		x.pace.deadline, x.pace.stop = 200*time.Millisecond, 20*time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- x.Run(ctx) }()
		return process{x, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}}
	}
	rigs := []*rig{r, other}
	running := []process{start(r), start(other)}
	calls := rand.New(rand.NewPCG(seed, 1)) // Chaos is called under the server's lock
	r.server.Chaos(func() *cloudmontest.Fault {
		if calls.IntN(5) > 0 {
			return nil
		}
		return &faults[calls.IntN(len(faults))]
	})
	for done := false; !done; {
		done = true
		for i := range running {
			h := running[i].x.Health()
			done = done && h.Position == log.n
			if early == 0 && h.Position > log.n/4 {
				early = heap()
			}
		}
		next := r.server.Calls() + 1 + rng.IntN(n/2)
		r.until("some calls or the end", func() bool {
			return r.server.Calls() >= next || running[0].x.Health().Position == log.n && running[1].x.Health().Position == log.n
		})
		switch i := rng.IntN(2); rng.IntN(3) {
		case 0:
			running[i].stop()
			running[i] = start(rigs[i])
		case 1:
			r.server.GoAway()
		}
	}
	late := heap()
	r.server.Clear()
	for i := range running {
		running[i].stop()
		x := start(rigs[i])
		r.until("the last of it", func() bool { return x.x.Health().Position == log.n })
		x.x.pace.stop = time.Minute
		x.stop()
	}
	r.noViolations()
	want := map[string]int64{}
	for seq := range log.n {
		for _, e := range log.batch(seq + 1) {
			if e.Result != nil {
				want[e.Result.Check+"|"+string(e.Result.Class)]++
			}
		}
	}
	series := r.server.Series(prefix+"check_count", nil)
	for _, s := range series {
		if w := want[s.Labels["check"]+"|"+s.Labels["class"]]; s.Last().Int != w {
			t.Errorf("%v of %s: %d exported, %d in the log", s.Labels, s.Resource["task_id"], s.Last().Int, w)
		}
	}
	if len(series) != 2*len(want) {
		t.Errorf("%d series, want those of two processes: %d", len(series), 2*len(want))
	}
	t.Logf("%d calls, %d repeats, heap %d KiB at first, %d KiB at last", r.server.Calls(), r.server.Repeats(), early>>10, late>>10)
	if late > early+early/4+4<<20 {
		t.Errorf("heap grew from %d to %d KiB", early>>10, late>>10)
	}
}
