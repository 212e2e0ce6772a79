package slacktest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// AppToken is the only app-level token that is let in.
const AppToken = "xapp-1-A0000000001-slacktest-secret"

// Socket is one connection of Socket Mode
// (https://docs.slack.dev/apis/events-api/using-socket-mode).
type Socket struct {
	conn  *websocket.Conn
	acks  chan string
	ended chan struct{}
}

// Ephemeral is a message that one person has seen.
type Ephemeral struct{ User, Text string }

// Sockets returns the connections so far, ended ones included.
func (s *Server) Sockets() []*Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sockets)
}

// WaitSocket waits for the n-th connection, from 1.
func (s *Server) WaitSocket(ctx context.Context, n int) (*Socket, error) {
	if _, err := s.Wait(ctx, func([]Message) bool { return len(s.Sockets()) >= n }); err != nil {
		return nil, fmt.Errorf("wait for socket %d: %w", n, err)
	}
	return s.Sockets()[n-1], nil
}

// Ephemerals returns the messages that one person has seen each.
func (s *Server) Ephemerals() []Ephemeral {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ephemerals)
}

// Mute makes Slack say hello on no socket from now on, nor read what comes
// through it, so that no ping is answered.
func (s *Server) Mute(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = on
}

// Send sends b as it is.
func (k *Socket) Send(ctx context.Context, b string) error {
	return k.conn.Write(ctx, websocket.MessageText, []byte(b))
}

// Drop ends the connection without a close frame.
func (k *Socket) Drop() { _ = k.conn.CloseNow() }

// Ended is closed when the connection has ended.
func (k *Socket) Ended() <-chan struct{} { return k.ended }

// Acknowledged returns the id of the next envelope that is acknowledged.
func (k *Socket) Acknowledged(ctx context.Context) (string, error) {
	select {
	case id := <-k.acks:
		return id, nil
	case <-k.ended:
		return "", fmt.Errorf("the socket has ended")
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// Press is what Slack sends when a person presses the button action of the
// message ts, in the envelope id.
func (s *Server) Press(id, ts, action string) (envelope string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.find(ts)
	if m == nil {
		return "", fmt.Errorf("there is no message %s", ts)
	}
	b, ok := m.button(action)
	if !ok {
		return "", fmt.Errorf("message %s has no button %s: %s", ts, action, m.Blocks)
	}
	js, err := json.Marshal(map[string]any{
		"type": "interactive", "envelope_id": id, "accepts_response_payload": false,
		"payload": map[string]any{
			"type":         "block_actions",
			"user":         map[string]any{"id": "U0000000001", "username": "alice", "name": "alice", "team_id": "T0000"},
			"api_app_id":   "A0000000001",
			"token":        "verification-token",
			"trigger_id":   "1.2.3",
			"container":    map[string]any{"type": "message", "message_ts": ts, "channel_id": Channel, "is_ephemeral": false},
			"channel":      map[string]any{"id": Channel, "name": strings.TrimPrefix(ChannelName, "#")},
			"message":      wire(*m, true),
			"response_url": s.http.URL + "/actions/secret",
			"actions": []any{map[string]any{
				"action_id": b.ActionID, "block_id": "x", "type": "button", "value": b.Value, "action_ts": "1.2",
				"text": b.Text,
			}},
		},
	})
	return string(js), err
}

// Buttons returns the ids of the buttons of a message.
func (m Message) Buttons() []string {
	var ids []string
	for _, b := range m.buttons() {
		ids = append(ids, b.ActionID)
	}
	return ids
}

func (m Message) button(action string) (buttonElement, bool) {
	for _, b := range m.buttons() {
		if b.ActionID == action {
			return b, true
		}
	}
	return buttonElement{}, false
}

func (m Message) buttons() []buttonElement {
	var blocks []block
	_ = json.Unmarshal(m.Blocks, &blocks) // checked when it came
	var all []buttonElement
	for _, b := range blocks {
		if b.Type == "actions" {
			var list []buttonElement
			_ = json.Unmarshal(b.Elements, &list)
			all = append(all, list...)
		}
	}
	return all
}

// openSocket answers apps.connections.open with the address of a socket.
func (s *Server) openSocket(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+AppToken {
		answer(w, map[string]any{"ok": false, "error": "invalid_auth"})
		return
	}
	s.mu.Lock()
	s.tickets++
	ticket := fmt.Sprintf("slacktest-secret-ticket-%d", s.tickets)
	s.mu.Unlock()
	address := "ws" + strings.TrimPrefix(s.http.URL, "http") + "/link/?" + url.Values{"ticket": {ticket}, "app_id": {"A0"}}.Encode()
	answer(w, map[string]any{"ok": true, "url": address})
}

// serveSocket is the other end of a socket.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Query().Get("ticket"), "slacktest-secret-ticket-") {
		http.Error(w, "no ticket", http.StatusForbidden)
		return
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	k := &Socket{conn: conn, acks: make(chan string, 100), ended: make(chan struct{})}
	s.mu.Lock()
	mute := s.mute
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	if !mute {
		hello := `{"type":"hello","num_connections":1,"connection_info":{"app_id":"A0"},"debug_info":{"host":"x","build_number":1,"approximate_connection_time":18060}}`
		if k.Send(ctx, hello) != nil {
			return
		}
	}
	s.mu.Lock()
	s.sockets = append(s.sockets, k)
	s.notify()
	s.mu.Unlock()
	defer close(k.ended)
	defer k.Drop()
	if mute {
		<-s.closed
		return
	}
	go func() { // ends with the Server
		select {
		case <-s.closed:
			k.Drop()
		case <-ctx.Done():
		}
	}()
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			return
		}
		var ack map[string]any
		id, ok := "", json.Unmarshal(b, &ack) == nil
		if ok {
			id, ok = ack["envelope_id"].(string)
		}
		if !ok || id == "" || len(ack) != 1 {
			s.mu.Lock()
			s.violation("through the socket: %.100s", b)
			s.mu.Unlock()
			continue
		}
		select {
		case k.acks <- id:
		case <-time.After(time.Second):
		}
	}
}
