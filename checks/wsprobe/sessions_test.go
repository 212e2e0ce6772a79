package wsprobe

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tripline/tripline/checks/probe"
)

func TestJudge(t *testing.T) {
	classes := map[byte]probe.Class{
		'.': probe.OK, 's': probe.Slow, 'n': probe.NoReply, 'd': probe.Dropped, 'u': probe.Unavailable, 'i': probe.Isolation,
		'f': probe.FDLimit, 'r': probe.RateLimited, 'b': probe.BadPayload, 'x': probe.NotFound,
	}
	for _, c := range []struct {
		sessions  string
		require   float64
		staggered bool
		want      probe.Class
		reason    string
	}{
		{"....", 1, false, probe.OK, ""},
		{"..s.", 1, false, probe.OK, ""},
		{"sss.", 1, false, probe.Slow, ""},
		{"...n", 1, false, probe.NoReply, "u: 3 of 4 sessions were good (3 x ok, 1 x no_reply), want 4; session 4: why"},
		{"...n", .75, false, probe.OK, ""},
		{"...n", .76, false, probe.NoReply, "want 4"},
		{"........nn", .8, false, probe.OK, ""},
		{".......nnn", .8, false, probe.NoReply, "want 8"},
		{"ndn.", .5, false, probe.NoReply, "session 1"},
		{"dnn.", .5, false, probe.NoReply, "session 2"},
		{".........i", .1, false, probe.Isolation, "session 10"},
		{"ffff", 1, false, probe.FDLimit, ""},
		{"...f", 1, false, probe.FDLimit, ""},
		{"n..f", 1, false, probe.NoReply, ""},
		{"..uu", 1, true, probe.Capacity, "u: 2 of 4 sessions were held, session 3 and all later ones failed: why"},
		{"..uu", .5, true, probe.OK, ""},
		{"..uu", 1, false, probe.Unavailable, ""},
		{"...u", 1, true, probe.Unavailable, ""},
		{".u.u", 1, true, probe.Unavailable, ""},
		{"uuuu", 1, true, probe.Unavailable, ""},
		{"..rr", 1, true, probe.RateLimited, ""},
		{"..bb", 1, true, probe.BadPayload, ""},
		{".x.x", 1, false, probe.Flapping, "u: 2 of 4 sessions were good (2 x not_found, 2 x ok), want 4; session 2: why"},
		{"xx.x", 1, true, probe.Flapping, "1 of 4"},
		{".xxx", .25, false, probe.OK, ""},
		{"xxxx", 1, false, probe.NotFound, "0 of 4"},
		{"xxxi", 1, false, probe.Isolation, ""},
	} {
		var results []attemptResult
		for i := range c.sessions {
			o := probe.Outcome{Class: classes[c.sessions[i]], Reason: "u: why", Latency: time.Duration(i)}
			results = append(results, attemptResult{number: i + 1, what: "u", o: o})
		}
		o := judge(results, c.require, c.staggered, "u")
		good := float64(strings.Count(c.sessions, ".") + strings.Count(c.sessions, "s"))
		n := 0
		for _, k := range o.Tally {
			n += k
		}
		if o.Class != c.want || !strings.Contains(o.Reason, c.reason) || o.Measures[MeasureSessions] != good || n != len(c.sessions) {
			t.Errorf("%s of %v: got %s %q, tally %v, measures %v; want %s with %q", c.sessions, c.require, o.Class, o.Reason, o.Tally, o.Measures, c.want, c.reason)
		}
	}
}

// All sessions are open at the same time: this server answers nobody before the
// last one is there.
func TestSessionsAreConcurrent(t *testing.T) {
	const n = 40 // more than the limit of probes to one host
	var here atomic.Int32
	all := make(chan struct{})
	addr := healthy(t, func(ctx context.Context, c *websocket.Conn) {
		if here.Add(1) == n {
			close(all)
		}
		select {
		case <-all:
		case <-ctx.Done():
		}
		echo(ctx, c)
	})
	p := newProber(t, testNetwork(), addr, probe.Connection{}, nil, nil, Options{
		Sessions: n, Require: 1, Stagger: time.Millisecond, Send: []Message{{Data: []byte("x")}}, Expect: []Expect{contains("x")},
	})
	p.req.target = p.req.target.Ungated()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o := p.Probe(ctx)
	wantClass(t, o, probe.OK, "")
	if o.Tally[probe.OK] != n || o.Measures[MeasureSessions] != n || o.Latency <= 0 {
		t.Errorf("tally %v, measures %v, latency %v, want %d good sessions", o.Tally, o.Measures, o.Latency, n)
	}
}

// One session that hangs costs the others nothing, and a stop ends all.
func TestSessionsEnd(t *testing.T) {
	var first atomic.Bool
	open := make(chan struct{}, 8)
	addr := healthy(t, func(ctx context.Context, c *websocket.Conn) {
		open <- struct{}{}
		if first.CompareAndSwap(false, true) {
			<-ctx.Done()
		}
		echo(ctx, c)
	})
	o := Options{Sessions: 4, Require: .75, Send: []Message{{Data: []byte("x")}}, Expect: []Expect{contains("x")}}
	out := try(t, time.Second, addr, o)
	wantClass(t, out, probe.OK, "")
	if out.Tally[probe.OK] != 3 || out.Tally[probe.NoReply] != 1 {
		t.Errorf("tally %v, want 3 ok and 1 no_reply", out.Tally)
	}
	for range 4 {
		<-open
	}
	first.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go func() {
		for range 4 {
			<-open
		}
		cancel()
	}()
	o.Require = 1
	wantClass(t, newProber(t, testNetwork(), addr, probe.Connection{}, nil, nil, o).Probe(ctx), probe.Interrupted, "")
}

// A panic in one session is one of the probe, which its caller can recover.
func TestSessionPanic(t *testing.T) {
	addr := healthy(t, echo)
	defer func() {
		if p, ok := recover().(string); !ok || !strings.HasPrefix(p, "boom (at sessions_test.go:") {
			t.Errorf("recovered %v, want boom", p)
		}
	}()
	boom := Step{Name: "step 1", Send: func(*Vars) (Message, error) { panic("boom") }}
	try(t, 5*time.Second, addr, Options{Sessions: 2, Require: 1, Steps: []Step{boom}})
}
