package wsprobe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tripline/tripline/checks/probe"
)

func TestCutLog(t *testing.T) {
	const s = time.Second
	type cut struct{ held, idle time.Duration }
	for _, c := range []struct {
		name string
		cuts []cut
		want string // i: idle cut, d: dropped; t: the next one is a trial
	}{
		{"one cut is no pattern", []cut{{5 * s, 5 * s}}, "d"},
		{"two at the same time", []cut{{5 * s, 5 * s}, {5 * s, 5*s + s/100}}, "dit"},
		{"two of different ages, idle for the same time", []cut{{9 * s, 5 * s}, {70 * s, 5 * s}}, "dit"},
		{"more than 10 % apart", []cut{{5 * s, 5 * s}, {6 * s, 6 * s}}, "dd"},
		{"another time in between", []cut{{5 * s, 5 * s}, {9 * s, 9 * s}, {5 * s, 5 * s}}, "ddd"},
	} {
		var l cutLog
		got := ""
		for _, k := range c.cuts {
			if l.add(k.held, k.idle, 0) != "" {
				got += "i"
			} else {
				got += "d"
			}
		}
		if l.trial() > 0 {
			got += "t"
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
	l := cutLog{last: 5 * s, at: 5 * s}
	if text := l.add(5*s, 0, 5*s); text != "" || l.trial() != 0 || l.add(5*s, 5*s, 0) != "" {
		t.Errorf("%+v: a connection that ends in spite of pings is no idle cut", l)
	}
	l = cutLog{last: 5 * s, at: 5 * s, confirmed: true}
	if text := l.add(5*s, 5*s, 0); !strings.Contains(text, "one with pings outlived it") {
		t.Errorf("%q does not say that pings help", text)
	}
}

// cutter accepts WebSockets, answers pings and closes, and cuts: connections on
// /idle when nothing came for d, those on /age d after the handshake.
func cutter(t *testing.T, d time.Duration) (wsURL string) {
	t.Helper()
	addr := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		br := bufio.NewReader(conn)
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			acceptKey(req.Header.Get("Sec-WebSocket-Key")))
		for age := time.Now().Add(d); ; {
			end := age
			if req.URL.Path == "/idle" {
				end = time.Now().Add(d)
			}
			_ = conn.SetReadDeadline(end)
			if !answerFrame(conn, br) {
				return
			}
		}
	})
	return "ws://" + addr
}

func newHolder(t *testing.T, rawURL string, hold, every time.Duration) *Holder {
	t.Helper()
	h := NewHolder(newProber(t, testNetwork(), rawURL, probe.Connection{}, nil, nil, Options{Ping: true}), hold, every)
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// next probes, and waits until the held connection of that probe has ended.
func (h *Holder) next(t *testing.T) probe.Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	o := h.Probe(ctx)
	cancel() // as after every run: the held connection goes on
	h.running.Wait()
	return o
}

// until calls next until its class is want. On a busy machine two ends may lie too
// far apart to be the same time: then more connections are needed.
func (h *Holder) until(t *testing.T, want probe.Class) (o probe.Outcome) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if o = h.next(t); o.Class == want {
			return o
		}
	}
	t.Fatalf("no %s within a minute; the last one was %s: %s", want, o.Class, o.Reason)
	return o
}

func TestHoldIdleCut(t *testing.T) {
	t.Parallel()
	h := newHolder(t, cutter(t, 500*time.Millisecond)+"/idle", time.Minute, 0)
	wantClass(t, h.next(t), probe.OK, "")
	o := h.next(t)
	wantClass(t, o, probe.Dropped, "the held connection: the connection ended without a close frame (FIN) ")
	if held := o.Measures[MeasureHeld]; held < .45 || !strings.HasPrefix(o.Facts[FactHoldEnd], "dropped after ") {
		t.Errorf("measures %v, facts %v", o.Measures, o.Facts)
	}
	if e := o.Evidence(); e.Class != probe.Dropped || !strings.HasPrefix(e.Head, "HTTP/1.1 101") {
		t.Errorf("evidence %+v", e)
	}
	o = h.until(t, probe.IdleCut) // cuts that are alike; the next connection is the trial
	wantClass(t, o, probe.IdleCut, "without traffic, as the one before")
	if d := o.Inquiry(t.Context(), true)(nil); len(d.Causes) == 0 || d.Causes[0].Name != CauseIdleCut {
		t.Errorf("causes %v, want %s", names(d.Causes), CauseIdleCut)
	}
	o = h.until(t, probe.OK) // the trial was closed by us
	if !h.cuts.confirmed || !strings.HasPrefix(o.Facts[FactHoldEnd], "closed by us after ") {
		t.Errorf("facts %v, want a trial that outlived the others", o.Facts)
	}
	o = h.until(t, probe.IdleCut)
	wantClass(t, o, probe.IdleCut, "without traffic, as the one before")
}

func TestHoldLifetime(t *testing.T) {
	t.Parallel()
	h := newHolder(t, cutter(t, 500*time.Millisecond)+"/age", time.Minute, 0)
	wantClass(t, h.next(t), probe.OK, "")
	wantClass(t, h.next(t), probe.Dropped, "")
	h.until(t, probe.IdleCut)
	for end := time.Now().Add(time.Minute); !h.cuts.refuted && time.Now().Before(end); {
		h.next(t) // until a trial ends at that age too
	}
	if text := h.cuts.add(time.Second, h.cuts.last, 0); !h.cuts.refuted || text != "" {
		t.Errorf("refuted %v, said %q; want no idle cut where pings do not help", h.cuts.refuted, text)
	}
}

// TestSit: the one call that tells an idle cut from an end of age.
func TestSit(t *testing.T) {
	for path, want := range map[string]struct {
		class  probe.Class
		reason string
	}{
		"/idle": {probe.IdleCut, "(one with pings outlived it)"},
		"/age":  {probe.Dropped, "the held connection: the connection ended without a close frame"},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			var o probe.Outcome
			for end := time.Now().Add(time.Minute); time.Now().Before(end); { // again if the machine was too busy
				h := newHolder(t, cutter(t, 500*time.Millisecond)+path, time.Minute, 0)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				o = h.Sit(ctx)
				cancel()
				if o.Class == want.class && strings.Contains(o.Reason, want.reason) && (path == "/idle" || h.cuts.refuted) {
					if o.Latency == 0 || o.Measures[MeasureHeld] == 0 || o.Inquiry == nil || o.Evidence().Class != want.class {
						t.Errorf("outcome %+v", o)
					}
					return
				}
			}
			t.Errorf("got %s %q, want %s with %q", o.Class, o.Reason, want.class, want.reason)
		})
	}
	h := newHolder(t, healthy(t, echo), time.Second, 0)
	o := h.Sit(t.Context())
	wantClass(t, o, probe.OK, "")
	if o.Measures[MeasureHeld] < 1 || !strings.HasPrefix(o.Facts[FactHoldEnd], "closed by us after ") {
		t.Errorf("measures %v, facts %v", o.Measures, o.Facts)
	}
}

func TestHoldWithPings(t *testing.T) {
	t.Parallel()
	h := newHolder(t, cutter(t, 30*time.Second)+"/idle", 700*time.Millisecond, 200*time.Millisecond)
	wantClass(t, h.next(t), probe.OK, "")
	o := h.until(t, probe.OK) // a pong that comes late is none
	if o.Measures[MeasureHeld] < .7 || !strings.HasPrefix(o.Facts[FactHoldEnd], "closed by us after ") {
		t.Errorf("measures %v, facts %v", o.Measures, o.Facts)
	}
}

func TestHoldEndings(t *testing.T) {
	for _, c := range []struct {
		name   string
		serve  func(context.Context, *websocket.Conn)
		every  time.Duration
		want   probe.Class
		reason string
	}{
		{"restart", func(_ context.Context, c *websocket.Conn) { _ = c.Close(websocket.StatusServiceRestart, "deploy") }, 0, probe.ClosedEarly, `the held connection: the server closed with 1012`},
		{"no pong", func(ctx context.Context, _ *websocket.Conn) { <-ctx.Done() }, 50 * time.Millisecond, probe.NoPong, "the held connection: the pong to a ping did not come in "},
	} {
		first := make(chan struct{}, 1)
		first <- struct{}{}
		addr := healthy(t, func(ctx context.Context, conn *websocket.Conn) {
			select { // the probe itself, which must be good
			case <-first:
				echo(ctx, conn)
			default:
				c.serve(ctx, conn)
			}
		})
		h := newHolder(t, addr, time.Minute, c.every)
		wantClass(t, h.next(t), probe.OK, "")
		first <- struct{}{}
		wantClass(t, h.next(t), c.want, c.reason)
	}
}

// answerFrame answers a ping or a close, or echoes a message; false ends it.
func answerFrame(conn io.Writer, br *bufio.Reader) bool {
	op, payload, err := readClientFrame(br)
	if err != nil {
		return false
	}
	if op == opPing {
		op = opPong
	}
	_, err = io.WriteString(conn, serverFrame(0x80|op, string(payload)))
	return err == nil && op != opClose
}

// answerFrames does so until the end.
func answerFrames(conn io.Writer, br *bufio.Reader) {
	for answerFrame(conn, br) {
	}
}

// newHeld is newHolder for a server that answers probes, and plays script on held
// connections. next is that of the Holder.
func newHeld(t *testing.T, hold, every time.Duration, script func(conn net.Conn, br *bufio.Reader)) (h *Holder, next func() probe.Outcome) {
	t.Helper()
	probed := make(chan struct{}, 1)
	h = newHolder(t, upgraded(t, func(conn net.Conn, br *bufio.Reader) {
		select { // the probe itself, which must be good
		case <-probed:
			answerFrames(conn, br)
		default:
			script(conn, br)
		}
	}), hold, every)
	return h, func() probe.Outcome {
		probed <- struct{}{}
		return h.next(t)
	}
}

// A peer that falls silent inside a frame is no orderly end.
func TestHoldFrozenInAFrame(t *testing.T) {
	t.Parallel()
	_, next := newHeld(t, time.Minute, 300*time.Millisecond, func(conn net.Conn, _ *bufio.Reader) {
		_, _ = io.WriteString(conn, serverFrame(0x81, "0123456789")[:7])
		_, _ = io.Copy(io.Discard, conn)
	})
	next()
	wantClass(t, next(), probe.NoPong, "the held connection: the pong to a ping did not come in ")
}

// A frame that takes longer than the time between pings is one still.
func TestHoldSlowFrame(t *testing.T) {
	t.Parallel()
	const hold = 3 * time.Second
	h, next := newHeld(t, hold, 400*time.Millisecond, func(conn net.Conn, br *bufio.Reader) {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		frame := serverFrame(0x81, strings.Repeat("x", 100))
		for i := range frame {
			if _, err := io.WriteString(conn, frame[i:i+1]); err != nil {
				return
			}
			<-tick.C
		}
		answerFrames(conn, br)
	})
	var o probe.Outcome
	for end := time.Now().Add(time.Minute); time.Now().Before(end); { // again if the machine was too busy
		if o = next(); o.Measures[MeasureHeld] >= hold.Seconds() {
			break
		}
	}
	if o.Measures[MeasureHeld] < hold.Seconds() || !strings.HasPrefix(h.text, "closed by us after ") {
		t.Errorf("held for %v s, %s; want %s", o.Measures[MeasureHeld], h.text, hold)
	}
}

// A trial may be the first connection of Sit: probes before it have seen the cuts.
func TestSitBeginsWithTheTrial(t *testing.T) {
	t.Parallel()
	addr := healthy(t, echo)
	var h *Holder
	for end := time.Now().Add(time.Minute); time.Now().Before(end); { // again if the machine was too busy
		h = newHolder(t, addr, time.Minute, 0)
		h.cuts = cutLog{last: 900 * time.Millisecond, at: 900 * time.Millisecond}
		if o := h.Sit(t.Context()); o.Class == probe.OK && h.cuts.confirmed {
			return
		}
	}
	t.Errorf("%s, %+v: want a trial that outlived the cuts", h.text, h.cuts)
}

// A probe does not wait for the held connection, a second one opens no other,
// and Close ends it at once and for good.
func TestHoldClose(t *testing.T) {
	held := make(chan struct{}, 10)
	gone := make(chan error, 10)
	addr := healthy(t, func(ctx context.Context, c *websocket.Conn) {
		held <- struct{}{}
		_, _, err := c.Read(ctx)
		gone <- err
	})
	h := newHolder(t, addr, time.Hour, 0)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		wantClass(t, h.Probe(ctx), probe.OK, "")
		cancel()
	}
	for range 3 { // two probes and one held
		<-held
	}
	for range 2 {
		<-gone //nolint:errcheck // that it ended is all that counts
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	<-gone //nolint:errcheck // that it ended is all that counts
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o := h.Probe(ctx)
	wantClass(t, o, probe.OK, "")
	<-held
	<-gone //nolint:errcheck // that it ended is all that counts
	h.running.Wait()
	if len(held) != 0 || len(o.Facts) != 0 {
		t.Errorf("%d more connections and facts %v, want none after Close", len(held), o.Facts)
	}
}
