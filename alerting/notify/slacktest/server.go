// Package slacktest is a stand-in for Slack in tests: the few methods of its
// Web API that this project uses and one incoming webhook, on a loopback port.
// It is stricter than Slack: whatever it is sent that Slack would refuse, cut,
// or take for a mention is refused and noted as a violation. It can be told to
// misbehave in the ways that Slack and what stands in front of it do.
package slacktest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// What a Server expects and answers with.
const (
	Token       = "xoxb-000000000000-slacktest-secret" // the only token that is let in
	Channel     = "C0000000001"                        // the only channel
	ChannelName = "#alerts"                            // its name
	hookPath    = "/services/T0000/B0000/slacktest-secret"
)

// Metadata is what a message says about itself to programs.
type Metadata struct {
	EventType    string         `json:"event_type"`
	EventPayload map[string]any `json:"event_payload"`
}

// Message is a message as the channel holds it.
type Message struct {
	TS        string          // its id
	Thread    string          // TS of the message that it is a reply to; "" if it stands in the channel
	Broadcast bool            // a reply that is shown in the channel too
	Text      string          // as last updated
	Blocks    json.RawMessage // as last updated
	Metadata  Metadata
	Edits     int
	Deleted   bool
	Webhook   bool // came through the incoming webhook
}

// Fault is one way to misbehave. The zero Fault answers with status 500.
type Fault struct {
	Method string // such as chat.update, "webhook" or Upload; "" for every request
	Times  int    // for how many requests; 0 means until Heal

	Delay  time.Duration // before anything else
	Done   bool          // the request is carried out, only the answer goes wrong
	Hang   bool          // no answer at all
	Drop   bool          // the connection ends instead of an answer
	Code   string        // {"ok":false,"error":Code}
	Status int           // the status of the answer
	Header http.Header   // such as Retry-After
	Body   string        // such as an HTML page
}

// Server is the stand-in. Make one with New.
type Server struct {
	API     string // URL of the Web API
	Webhook string // URL of the incoming webhook

	http   *httptest.Server
	closed chan struct{}
	once   sync.Once

	mu         sync.Mutex
	messages   []*Message
	faults     []*Fault
	violations []string
	mentions   []string
	unreadable string
	calls      map[string]int
	sockets    []*Socket
	tickets    int
	mute       bool
	ephemerals []Ephemeral
	files      []*File
	changed    chan struct{} // closed and replaced with every change
}

// New starts a Server. Close ends it.
func New() *Server {
	s := &Server{closed: make(chan struct{}), calls: map[string]int{}, changed: make(chan struct{})}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	s.API, s.Webhook = s.http.URL+"/api/", s.http.URL+hookPath
	return s
}

// Close ends the Server and every request that hangs in it. What it holds can
// still be read.
func (s *Server) Close() {
	s.once.Do(func() {
		close(s.closed)
		s.http.CloseClientConnections()
		s.http.Close()
	})
}

// Inject adds a fault. Of several that fit a request the first added counts.
func (s *Server) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Heal ends all faults.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// AllowMention makes a mention such as <!here> no violation.
func (s *Server) AllowMention(m string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mentions = append(s.mentions, m)
}

// ForbidHistory makes the methods that read messages answer with code, such as
// missing_scope.
func (s *Server) ForbidHistory(code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unreadable = code
}

// Delete deletes the message ts, as a person could.
func (s *Server) Delete(ts string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.find(ts); m != nil {
		m.Deleted = true
	}
}

// Say puts a message of somebody else into the channel.
func (s *Server) Say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(&Message{Text: text})
}

// Messages returns all messages in the order in which they came, replies and
// deleted ones included.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot()
}

// Roots returns the messages that stand in the channel and are not deleted.
func (s *Server) Roots() []Message {
	return slices.DeleteFunc(s.Messages(), func(m Message) bool { return m.Thread != "" || m.Deleted })
}

// Replies returns the messages in the thread of the message ts.
func (s *Server) Replies(ts string) []Message {
	return slices.DeleteFunc(s.Messages(), func(m Message) bool { return m.Thread != ts || m.Deleted })
}

// Calls tells how many requests for a method there were, failed ones included.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Violations returns what was sent that Slack would have refused or taken for
// something else.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// Wait waits until the messages satisfy ok, and returns them. It returns the
// error of ctx, with the messages that there are, if they never do.
func (s *Server) Wait(ctx context.Context, ok func([]Message) bool) ([]Message, error) {
	for {
		s.mu.Lock()
		messages, changed := s.snapshot(), s.changed
		s.mu.Unlock()
		if ok(messages) {
			return messages, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return messages, ctx.Err()
		}
	}
}

func (s *Server) snapshot() []Message {
	list := make([]Message, 0, len(s.messages))
	for _, m := range s.messages {
		list = append(list, *m)
	}
	return list
}

// add gives m its id and puts it into the channel.
func (s *Server) add(m *Message) {
	m.TS = fmt.Sprintf("%d.%06d", time.Now().Unix(), len(s.messages)+1)
	s.messages = append(s.messages, m)
	s.notify()
}

func (s *Server) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) find(ts string) *Message {
	for _, m := range s.messages {
		if m.TS == ts && !m.Deleted {
			return m
		}
	}
	return nil
}

// fault returns the fault that a request meets, nil if none.
func (s *Server) fault(method string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[method]++
	s.notify()
	for k, f := range s.faults {
		if f.Method != "" && f.Method != method {
			continue
		}
		met := *f
		if f.Times == 1 {
			s.faults = slices.Delete(s.faults, k, k+1)
		} else if f.Times > 1 {
			f.Times--
		}
		return &met
	}
	return nil
}

// violation notes that something was wrong with a request.
func (s *Server) violation(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/link/" {
		s.serveSocket(w, r)
		return
	}
	method, isAPI := strings.CutPrefix(r.URL.Path, "/api/")
	switch {
	case isAPI:
	case strings.HasPrefix(r.URL.Path, uploadPath):
		method = Upload
	default:
		method = "webhook"
	}
	carryOut, err := s.read(r, method)
	if err != nil {
		http.Error(w, "unreadable", http.StatusBadRequest)
		return
	}
	f := s.fault(method)
	if f == nil {
		carryOut(w)
		return
	}
	if f.Delay > 0 && !s.pause(r, f.Delay) {
		return
	}
	if f.Done {
		carryOut(discard{})
	}
	switch {
	case f.Hang:
		select {
		case <-r.Context().Done():
		case <-s.closed:
		}
		panic(http.ErrAbortHandler)
	case f.Drop:
		panic(http.ErrAbortHandler)
	case f.Code != "":
		answer(w, map[string]any{"ok": false, "error": f.Code})
	case f.Status == 0 && f.Body == "" && f.Delay > 0:
		if !f.Done {
			carryOut(w)
		}
	default:
		maps.Copy(w.Header(), f.Header)
		if f.Status == 0 {
			f.Status = http.StatusInternalServerError
		}
		w.WriteHeader(f.Status)
		_, _ = w.Write([]byte(f.Body))
	}
}

func (s *Server) pause(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
	case <-s.closed:
	}
	return false
}

// discard is where the answer of a request goes that is carried out and not answered.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v)
}
