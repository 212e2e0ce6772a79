package wsprobe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// MeasureSessions is the measure of how many of the sessions of one run were good.
const MeasureSessions = "sessions_ok"

// group is the sessions of one run. All of them stay open until the last one
// has done its work or failed: only then were they open at the same time.
type group struct {
	members []*Vars
	left    int
	mu      sync.Mutex
	results []attemptResult // complete when all sessions have ended
	done    context.Context // ends when all have arrived
	arrive  context.CancelFunc
}

func newGroup(ctx context.Context, n int) *group {
	g := &group{left: n}
	g.done, g.arrive = context.WithCancel(ctx)
	for i := range n {
		g.members = append(g.members, NewVars(i+1))
	}
	return g
}

// arrived says that one more session has done its work.
func (g *group) arrived() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left--; g.left == 0 {
		g.arrive()
	}
}

// beside returns what the sessions other than own came to. It is for when all
// have ended.
func (g *group) beside(own *Vars) (others []probe.Outcome) {
	if g == nil {
		return nil
	}
	for i := range g.results {
		if r := &g.results[i]; r.number != own.Number && r.o.Class.Status() != probe.Unknown {
			others = append(others, r.o)
		}
	}
	return others
}

// owner returns the other session whose mark is in a message, and the mark.
func (g *group) owner(payload []byte, own *Vars) (other *Vars, mark string) {
	if g == nil {
		return nil, ""
	}
	for _, v := range g.members {
		if v == own {
			continue
		}
		for _, mark := range []string{v.Session, v.Nonce} {
			if bytes.Contains(payload, []byte(mark)) {
				return v, mark
			}
		}
	}
	return nil, ""
}

// meet waits until all sessions of the group have done their work, and answers
// pings meanwhile. It returns over if nothing more is to be done with the
// connection.
func (s *session) meet(g *group) (over bool, err error) {
	s.x.patience(rest)
	stop := context.AfterFunc(g.done, func() { _ = s.x.conn.SetReadDeadline(time.Now()) }) // fails only on a dead connection
	defer stop()
	for range maxFrames {
		_, err := s.read()
		switch _, cut := errors.AsType[*cutError](err); {
		case err == nil:
		case !isTimeout(err), errors.Is(s.ctx.Err(), context.Canceled):
			return true, err
		default: // at the end of the time there is none left to close in good order
			end, limited := s.ctx.Deadline()
			return cut || limited && time.Until(end) < farewell, nil
		}
	}
	return true, errFlood
}

// attemptResult is what one session came to.
type attemptResult struct {
	number int
	o      probe.Outcome
	what   string // names the target in o.Reason
	panic  string
}

// sessions opens several sessions at the same time and judges them together.
func (p *Prober) sessions(ctx context.Context) probe.Outcome {
	g := newGroup(ctx, p.opt.Sessions)
	defer g.arrive()
	results := make([]attemptResult, p.opt.Sessions)
	g.results = results
	var all sync.WaitGroup
	for i := range results {
		all.Go(func() {
			r := &results[i]
			r.number = i + 1
			var once sync.Once
			arrived := func() { once.Do(g.arrived) }
			defer arrived()
			defer func() {
				if v := recover(); v != nil {
					r.panic = panicText(v)
				}
			}()
			if !pause(ctx, time.Duration(i)*p.opt.Stagger) {
				r.o = probe.Outcome{Class: probe.Interrupted, Stage: probe.StageMonitor, Reason: "the time was up before the session could start"}
				return
			}
			var x *exchange
			r.o, x = p.attempt(ctx, g.members[i], g, arrived)
			r.what = x.q.target.String()
		})
	}
	all.Wait()
	for i := range results {
		if results[i].panic != "" {
			panic(results[i].panic) // checks.Run makes an outcome of it
		}
	}
	return judge(results, p.opt.Require, p.opt.Stagger > 0, p.req.target.String())
}

// panicText is a recovered panic with the place that it came from.
func panicText(v any) string {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		catches := strings.Contains(f.Function, "(*Prober).sessions") || strings.Contains(f.Function, "(*Holder).keep")
		if !more || !catches && !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%v (at %s:%d)", v, filepath.Base(f.File), f.Line)
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// judge makes one outcome of those of all sessions. require is the share that
// must be good, from 0 to 1.
func judge(results []attemptResult, require float64, staggered bool, what string) probe.Outcome {
	tally, good := map[probe.Class]int{}, 0
	unknown := 0
	for i := range results {
		c := results[i].o.Class
		tally[c]++
		switch c.Status() {
		case probe.Up, probe.Degraded:
			good++
		case probe.Unknown:
			unknown++
		}
	}
	need := min(int(require*float64(len(results))+1-1e-9), len(results)) // rounded up
	want := probe.Up
	switch {
	case tally[probe.Isolation] > 0:
	case good >= need:
	case good+unknown >= need:
		want = probe.Unknown
	default:
		want = probe.Down
	}
	chosen := representative(results, tally, want)
	o := chosen.o
	o.Tally = tally
	o.Measures = maps.Clone(o.Measures)
	if o.Measures == nil {
		o.Measures = map[string]float64{}
	}
	o.Measures[MeasureSessions] = float64(good)
	for i := range results {
		o.RetryAfter = max(o.RetryAfter, results[i].o.RetryAfter)
	}
	if o.Class.Status() == probe.Up || o.Class.Status() == probe.Degraded {
		o.Latency = medianLatency(results)
		return o
	}
	reason := strings.TrimPrefix(o.Reason, chosen.what+": ")
	held := capacity(results, good, staggered)
	counts := fmt.Sprintf("%d of %d sessions were good (%s), want %d; session %d: ", good, len(results), tallyText(tally), need, chosen.number)
	switch {
	case o.Class == probe.Isolation:
		reason = counts + reason
	case held > 0:
		o.Class, o.Stage = probe.Capacity, probe.StageSeries
		reason = fmt.Sprintf("%d of %d sessions were held, session %d and all later ones failed: %s", held, len(results), held+1, reason)
	case good > 0 && routed(o.Class):
		o.Class, o.Stage = probe.Flapping, probe.StageSeries
		reason = counts + reason
	default:
		reason = counts + reason
	}
	o.Reason = what + ": " + reason
	if single := o.Evidence; single != nil {
		class, stage, reason := o.Class, o.Stage, o.Reason
		o.Evidence = func() *probe.Evidence {
			e := single()
			e.Class, e.Stage, e.Reason = class, stage, reason
			return e
		}
	}
	return o
}

// representative chooses the session to show: of the most frequent class among
// those with the wanted status. Isolation comes before all.
func representative(results []attemptResult, tally map[probe.Class]int, want probe.Status) *attemptResult {
	var best *attemptResult
	for i := range results {
		r := &results[i]
		status := r.o.Class.Status()
		if r.o.Class == probe.Isolation {
			return r
		}
		if status == probe.Degraded {
			status = probe.Up
		}
		if status == want && (best == nil || tally[r.o.Class] > tally[best.o.Class]) {
			best = r
		}
	}
	return best
}

// capacity returns how many sessions were held when only the later ones failed
// at getting in; 0 if that is not what happened. One failure is no pattern, and
// without stagger nobody knows which session came first.
func capacity(results []attemptResult, good int, staggered bool) int {
	if !staggered || good == 0 || len(results)-good < 2 {
		return 0
	}
	for i := range results {
		o := &results[i].o
		ok := o.Class.Status() == probe.Up || o.Class.Status() == probe.Degraded
		if ok != (i < good) || !ok && !turnedAway(o.Class) {
			return 0
		}
	}
	return good
}

// turnedAway tells whether a server that is full can end a session with class c.
func turnedAway(c probe.Class) bool {
	switch c {
	case probe.ConnectRefused, probe.ConnectTimeout, probe.HandshakeTimeout, probe.HandshakeClosed,
		probe.UpgradeRefused, probe.Forbidden, probe.ServerError, probe.BadGateway, probe.Unavailable, probe.GatewayTimeout,
		probe.ClosedEarly, probe.Dropped:
		return true
	}
	return false
}

// routed tells whether an answer of class c is about what was asked, not about
// how much: the same request should always get it. When it does not, different
// servers answer.
func routed(c probe.Class) bool {
	switch c {
	case probe.Redirected, probe.UpgradeIgnored, probe.Auth, probe.Forbidden, probe.NotFound, probe.UpgradeRefused:
		return true
	}
	return false
}

func medianLatency(results []attemptResult) time.Duration {
	var all []time.Duration
	for i := range results {
		if l := results[i].o.Latency; l > 0 {
			all = append(all, l)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// tallyText lists classes and their counts, the most frequent first.
func tallyText(tally map[probe.Class]int) string {
	classes := slices.SortedFunc(maps.Keys(tally), func(a, b probe.Class) int {
		if d := tally[b] - tally[a]; d != 0 {
			return d
		}
		return strings.Compare(string(a), string(b))
	})
	parts := make([]string, len(classes))
	for i, c := range classes {
		parts[i] = fmt.Sprintf("%d x %s", tally[c], c)
	}
	return strings.Join(parts, ", ")
}
