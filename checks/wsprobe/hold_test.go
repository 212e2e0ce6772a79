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
			op, payload, err := readClientFrame(br)
			if err != nil {
				return
			}
			if op == opPing {
				op = opPong
			}
			if _, err := io.WriteString(conn, serverFrame(0x80|op, string(payload))); err != nil || op == opClose {
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

func TestHoldIdleCut(t *testing.T) {
	t.Parallel()
	const d = 500 * time.Millisecond
	h := newHolder(t, cutter(t, d)+"/idle", time.Minute, 0)
	wantClass(t, h.next(t), probe.OK, "")
	o := h.next(t)
	wantClass(t, o, probe.Dropped, "the held connection: the connection ended without a close frame (FIN) ")
	if held := o.Measures[MeasureHeld]; held < .45 || held > 5 || !strings.HasPrefix(o.Facts[FactHoldEnd], "dropped after ") {
		t.Errorf("measures %v, facts %v", o.Measures, o.Facts)
	}
	if e := o.Evidence(); e.Class != probe.Dropped || !strings.HasPrefix(e.Head, "HTTP/1.1 101") {
		t.Errorf("evidence %+v", e)
	}
	o = h.next(t) // two cuts; the next connection is the trial
	wantClass(t, o, probe.IdleCut, "without traffic, as the one before")
	o = h.next(t) // the trial was closed by us
	wantClass(t, o, probe.OK, "")
	if !strings.HasPrefix(o.Facts[FactHoldEnd], "closed by us after 1.") {
		t.Errorf("facts %v, want a trial of twice %v", o.Facts, d)
	}
	wantClass(t, h.next(t), probe.IdleCut, "one with pings outlived it")
}

func TestHoldLifetime(t *testing.T) {
	t.Parallel()
	h := newHolder(t, cutter(t, 500*time.Millisecond)+"/age", time.Minute, 0)
	want := []probe.Class{probe.OK, probe.Dropped, probe.IdleCut, probe.Dropped, probe.Dropped, probe.Dropped}
	for i, class := range want {
		if o := h.next(t); o.Class != class {
			t.Errorf("probe %d: got %s %q, want %s", i, o.Class, o.Reason, class)
		}
	}
}

func TestHoldWithPings(t *testing.T) {
	t.Parallel()
	h := newHolder(t, cutter(t, 300*time.Millisecond)+"/idle", 700*time.Millisecond, 50*time.Millisecond)
	wantClass(t, h.next(t), probe.OK, "")
	o := h.next(t)
	wantClass(t, o, probe.OK, "")
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
