package web

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// message is any message of /live.
type message struct {
	Type      string
	Seq       uint64
	Checks    []row
	Entries   []checks.Entry
	Incidents []alerting.Incident
}

func dial(t *testing.T, addr string) *websocket.Conn {
	t.Helper()
	conn, status, _ := try(t, addr, "")
	if conn == nil {
		t.Fatalf("dial: status %d, want 101", status)
	}
	return conn
}

// try dials with the given Origin and returns the answer's status; conn is nil
// unless it is 101.
func try(t *testing.T, addr, origin string) (conn *websocket.Conn, status int, header http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	o := &websocket.DialOptions{HTTPHeader: http.Header{}}
	if origin != "" {
		o.HTTPHeader.Set("Origin", origin)
	}
	conn, res, err := websocket.Dial(ctx, "ws://"+addr+"/live", o)
	if res == nil {
		t.Fatal(err)
	}
	if err != nil {
		res.Body.Close()
	} else {
		conn.SetReadLimit(-1)
		t.Cleanup(func() { _ = conn.CloseNow() })
	}
	return conn, res.StatusCode, res.Header
}

func read(t *testing.T, conn *websocket.Conn) message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, b, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var m message
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// eventually waits until ok is true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not after 10 s: %s", what)
		}
	}
}

func (s *State) subscribed() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.readers)
}

func TestLive(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	s := NewState()
	s.Apply(1, []checks.Entry{result("a", now, probe.OK)})
	server, addr, stop := serve(t, Options{State: s, Checks: func() []checks.Check { return []checks.Check{check("a", "g")} }})
	conn := dial(t, addr)
	hello := read(t, conn)
	if hello.Type != "hello" || hello.Seq != 1 || len(hello.Checks) != 1 || hello.Checks[0].Status != probe.Up {
		t.Errorf("hello: %+v", hello)
	}
	s.Apply(2, []checks.Entry{result("a", now, probe.NotFound), {V: 1, Tick: &checks.Tick{At: now}}})
	if m := read(t, conn); m.Type != "entries" || m.Seq != 2 || len(m.Entries) != 2 || m.Entries[0].Result.Class != probe.NotFound {
		t.Errorf("entries: %+v", m)
	}
	s.Incidents([]alerting.Incident{{ID: "i1", Group: "g"}})
	if m := read(t, conn); m.Type != "incidents" || len(m.Incidents) != 1 || m.Incidents[0].ID != "i1" {
		t.Errorf("incidents: %+v", m)
	}
	if n := server.live.active(); n != 1 {
		t.Errorf("%d active connections, want 1", n)
	}

	other := dial(t, addr)
	if m := read(t, other); m.Seq != 2 || len(m.Incidents) != 1 || m.Checks[0].Status != probe.Down {
		t.Errorf("hello of the second reader: %+v", m)
	}
	_ = other.CloseNow()
	eventually(t, "the reader that went is forgotten", func() bool { return s.subscribed() == 1 && server.live.active() == 1 })

	talker := dial(t, addr)
	read(t, talker)
	if err := talker.Write(t.Context(), websocket.MessageText, []byte("hi")); err != nil {
		t.Fatal(err)
	}
	s.Apply(3, nil)
	if m := read(t, talker); m.Seq != 3 {
		t.Errorf("a reader that sends data gets %+v, want it ignored", m)
	}
	if m := read(t, conn); m.Seq != 3 {
		t.Errorf("message %+v", m)
	}

	silent := dial(t, addr) // does not answer the close frame
	read(t, silent)
	_ = talker.CloseNow()
	eventually(t, "the talker is forgotten", func() bool { return s.subscribed() == 2 })
	stopped := make(chan error)
	start := time.Now()
	go func() { stopped <- stop() }()
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("when the program stops: %v, want going away", err)
	}
	if err := <-stopped; err != nil || time.Since(start) > 4*time.Second {
		t.Errorf("stopped after %s: %v", time.Since(start), err)
	}
}

func TestLiveOrigin(t *testing.T) {
	_, addr, _ := serve(t, Options{State: NewState()})
	for origin, want := range map[string]int{
		"http://" + addr:       101,
		"https://evil.example": 403,
		"null":                 403,
	} {
		if _, got, _ := try(t, addr, origin); got != want {
			t.Errorf("origin %s: status %d, want %d", origin, got, want)
		}
	}
}

func TestLiveReadersAreBounded(t *testing.T) {
	server, addr, _ := serve(t, Options{State: NewState()})
	for range maxReaders {
		server.live.slots <- struct{}{}
	}
	_, status, header := try(t, addr, "")
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("one reader too many: status %d, %v, want 503 with Retry-After", status, header)
	}
}

// TestLiveSlowReader has one reader that stops reading. It is dropped with a
// close code, and the other one gets every message meanwhile.
func TestLiveSlowReader(t *testing.T) {
	s := NewState()
	_, addr, _ := serve(t, Options{State: s})
	slow, quick := dial(t, addr), dial(t, addr)
	read(t, slow)
	read(t, quick)
	batch := make([]checks.Entry, 6)
	for i := range batch {
		batch[i] = result("a", time.Now(), probe.NotFound)
		batch[i].Result.Reason = strings.Repeat("x", 10_000)
	}
	var seq uint64
	for s.subscribed() == 2 {
		if seq++; seq > 2000 {
			t.Fatal("the slow reader is not dropped after 2,000 batches")
		}
		s.Apply(seq, batch)
		if m := read(t, quick); m.Seq != seq || len(m.Entries) != len(batch) {
			t.Fatalf("quick reader: message %d with %d entries, want %d", m.Seq, len(m.Entries), seq)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var err error
	for err == nil {
		_, _, err = slow.Read(ctx)
	}
	if websocket.CloseStatus(err) != websocket.StatusTryAgainLater {
		t.Errorf("slow reader: %v, want close code %d", err, websocket.StatusTryAgainLater)
	}
	s.Apply(seq+1, batch)
	if m := read(t, quick); m.Seq != seq+1 {
		t.Errorf("quick reader: message %d, want %d", m.Seq, seq+1)
	}
}
