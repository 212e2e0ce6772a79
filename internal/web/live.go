package web

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
)

const (
	maxReaders   = 100
	readerQueue  = 64 // messages; one is at most a batch of the log
	liveWrite    = 10 * time.Second
	pingInterval = 30 * time.Second
	hangUpTime   = time.Second // for the answer to our close frame
)

// The messages of /live, one JSON object each, told apart by "type". The
// first is a liveHello; what follows is newer than it and without holes.
type (
	liveHello struct {
		Type      string              `json:"type"` // "hello"
		Seq       uint64              `json:"seq"`
		Version   string              `json:"version"`
		Time      time.Time           `json:"time"`
		Checks    []row               `json:"checks"`
		Incidents []alerting.Incident `json:"incidents"`
	}
	liveEntries struct {
		Type    string         `json:"type"` // "entries"
		Seq     uint64         `json:"seq"`  // position in the log
		Entries []checks.Entry `json:"entries"`
	}
	liveIncidents struct {
		Type      string              `json:"type"` // "incidents": all of them, as they are now
		Incidents []alerting.Incident `json:"incidents"`
	}
)

// reader is one open socket.
type reader struct {
	queue chan []byte
	slow  chan struct{} // closed when its queue was full
}

// publish encodes message once for all readers, while s is locked. It waits
// for nobody: who has a full queue is dropped.
func (s *State) publish(message any) {
	if len(s.readers) == 0 {
		return
	}
	b, err := json.Marshal(message)
	if err != nil { // not possible for these types but by NaN in a measure
		return
	}
	for r := range s.readers {
		select {
		case r.queue <- b:
		default:
			delete(s.readers, r)
			close(r.slow)
		}
	}
}

// subscribe adds a reader and returns its first message.
func (s *State) subscribe(o Options) (*reader, []byte, error) {
	// One lock over both, so that nothing falls between hello and feed.
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	hello := liveHello{Type: "hello", Seq: s.seq, Version: o.Version, Time: now.UTC(), Incidents: s.incidents}
	hello.Checks = s.rows(o.checks(), now)
	b, err := json.Marshal(hello)
	if err != nil {
		return nil, nil, err
	}
	r := &reader{queue: make(chan []byte, readerQueue), slow: make(chan struct{})}
	s.readers[r] = struct{}{}
	return r, b, nil
}

func (s *State) unsubscribe(r *reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.readers, r)
}

// live counts the open sockets.
type live struct {
	slots chan struct{}
	open  sync.WaitGroup
}

func newLive() *live { return &live{slots: make(chan struct{}, maxReaders)} }

func (l *live) active() int { return len(l.slots) }
func (l *live) wait()       { l.open.Wait() }

// serveLive feeds one reader until it goes, or is too slow, or the program stops.
func (h *Server) serveLive(w http.ResponseWriter, r *http.Request) {
	h.live.open.Add(1)
	defer h.live.open.Done()
	select {
	case h.live.slots <- struct{}{}:
		defer func() { <-h.live.slots }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "Too many readers of /live.", http.StatusServiceUnavailable)
		return
	}
	conn, err := websocket.Accept(w, r, nil) // refuses an Origin of another host
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow() //nolint:errcheck // the socket is done with
	ctx, cancel := outlive(r.Context(), hangUpTime)
	socket := listen(ctx, cancel, conn)
	defer socket.end()

	done := h.render(r)
	reader, hello, err := h.o.State.subscribe(h.o)
	if err != nil {
		done()
		h.o.Log.Error("hello not encoded", "err", err)
		return
	}
	defer h.o.State.unsubscribe(reader)
	err = write(ctx, conn, hello)
	done()
	if err == nil {
		socket.feed(ctx, r.Context().Done(), reader)
	}
}

// outlive returns a context that ends d after ctx does, or by cancel. What is
// being written when the program stops is not cut in the middle.
func outlive(ctx context.Context, d time.Duration) (longer context.Context, cancel func()) {
	longer, cancel = context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(d, cancel) })
	return longer, cancel
}

// socket is an open socket whose incoming frames are handled: pings, pongs and
// close frames. Messages are ignored.
type socket struct {
	conn   *websocket.Conn
	cancel func()          // ends the connection
	gone   <-chan struct{} // closed when nothing more comes in
}

// listen reads until ctx or the connection ends. (Conn.CloseRead would do, but
// takes 15 s to end when a message comes in.)
func listen(ctx context.Context, cancel func(), conn *websocket.Conn) socket {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			if _, _, err := conn.Read(ctx); err != nil {
				return
			}
		}
	}()
	return socket{conn, cancel, gone}
}

// end ends the connection and the reading from it.
func (s socket) end() {
	s.cancel()
	<-s.gone
}

// feed writes what comes until the reader goes or is too slow, or stop is closed.
func (s socket) feed(ctx context.Context, stop <-chan struct{}, r *reader) {
	ping := time.NewTicker(pingInterval)
	defer ping.Stop()
	for {
		var err error
		select {
		case <-s.gone:
			return
		case <-stop:
			s.hangUp(websocket.StatusGoingAway, "the monitor stops")
			return
		case <-r.slow: // what is queued has a hole behind it
			s.hangUp(websocket.StatusTryAgainLater, "too slow to follow, connect again")
			return
		case message := <-r.queue:
			err = write(ctx, s.conn, message)
		case <-ping.C:
			err = answered(ctx, s.conn)
		}
		if err != nil {
			return
		}
	}
}

// hangUp says why it closes the connection, to one who may not be listening.
func (s socket) hangUp(code websocket.StatusCode, reason string) {
	limit := time.AfterFunc(hangUpTime, s.cancel)
	defer limit.Stop()
	_ = s.conn.Close(code, reason)
}

func write(ctx context.Context, conn *websocket.Conn, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, liveWrite)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, message)
}

func answered(ctx context.Context, conn *websocket.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, liveWrite)
	defer cancel()
	return conn.Ping(ctx)
}
