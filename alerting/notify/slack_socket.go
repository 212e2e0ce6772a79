package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/slack-go/slack"
)

// How a socket behaves.
const (
	socketPause   = time.Second     // before the second try; it doubles
	socketPauses  = 5 * time.Minute // at most
	socketOpen    = 15 * time.Second
	socketPing    = 20 * time.Second // between two signs of life
	socketPong    = 10 * time.Second
	socketAck     = 3 * time.Second // https://docs.slack.dev/apis/events-api/using-socket-mode
	socketRead    = 1 << 20         // bytes of one message
	socketBad     = 10              // messages in a row that are none
	socketPresses = 32              // that wait to be carried out
	socketCommand = 20 * time.Second
)

// errSocketOff says that somebody has switched Socket Mode off for the app.
var errSocketOff = errors.New("the Socket Mode of the app is switched off")

// errSocketClosed says that Slack wants a socket to be opened anew.
var errSocketClosed = errors.New("Slack closed the socket, it is opened anew")

// slackSocket hears of the buttons that people press, through Slack's Socket
// Mode: a WebSocket that is opened from here, so that no port must be open
// (https://docs.slack.dev/apis/events-api/using-socket-mode). Slack closes it
// every few hours and says so before. slack-go's own client of it reconnects
// without a pause to a server that hangs up at once, so this is not that.
type slackSocket struct {
	bot     *slackBot
	client  *http.Client
	token   string // app-level
	command func(ctx context.Context, name string, args map[string]string) (string, error)
	log     *slog.Logger
	ping    time.Duration
	pause   time.Duration

	presses chan press
	heard   []string // the last envelopes, by id

	mu      sync.Mutex
	trouble string // why nobody is heard; "" if all is well
	refused bool   // for good
}

// envelope is a message of Slack through the socket.
type envelope struct {
	Type    string          `json:"type"`
	ID      string          `json:"envelope_id"`
	Reason  string          `json:"reason"`
	Payload json.RawMessage `json:"payload"`
}

// run hears until ctx ends or Slack refuses the token.
func (s *slackSocket) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var worker sync.WaitGroup
	defer worker.Wait()
	defer cancel()
	worker.Go(func() { s.work(ctx) })
	pause := s.pause
	for ctx.Err() == nil {
		began := time.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			break
		}
		lasted := time.Since(began) > time.Minute
		if lasted {
			pause = s.pause
		}
		if permanent, ok := errors.AsType[*PermanentError](err); ok {
			s.troubled(permanent, true)
			return nil
		}
		if lasted && errors.Is(err, errSocketClosed) {
			s.unheard(err, false) // which is how it goes every few hours: not worth a line
		} else {
			s.troubled(err, false)
		}
		if !sleep(ctx, socketWait(pause, err)) {
			break
		}
		pause = min(2*pause, socketPauses)
	}
	return nil
}

// socketWait is the wait before a socket is opened anew after err: pause, with a
// half more or less by chance, and never less than Slack asked for.
func socketWait(pause time.Duration, err error) time.Duration {
	wait := pause/2 + rand.N(pause)
	if later, ok := errors.AsType[*LaterError](err); ok {
		wait = max(wait, later.After)
	}
	return wait
}

// unheard notes why nobody is heard until the next hello, and tells whether all
// was well before.
func (s *slackSocket) unheard(err error, forGood bool) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = s.trouble == ""
	s.trouble, s.refused = "buttons do not work: "+err.Error(), forGood
	return first
}

// troubled notes why nobody is heard, and says it once.
func (s *slackSocket) troubled(err error, forGood bool) {
	if s.unheard(err, forGood) || forGood {
		s.log.Warn("Slack's buttons do not work", "for_good", forGood, "err", err)
	}
}

// state returns why nobody is heard, "" if all is well, and whether buttons
// are worth showing.
func (s *slackSocket) state() (trouble string, show bool) {
	if s == nil {
		return "", false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trouble, !s.refused
}

// session opens a socket and hears what comes until it ends. It returns
// errSocketClosed if Slack wants it to be opened anew.
func (s *slackSocket) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	dead := make(chan error, 1)
	go func() {
		dead <- s.live(ctx, conn)
		cancel()
	}()
	bad := 0
	for {
		_, b, err := conn.Read(ctx)
		if err != nil {
			select {
			case gone := <-dead:
				err = gone
			default:
			}
			return fmt.Errorf("the socket ended: %w", transportError(err, ""))
		}
		var e envelope
		if json.Unmarshal(b, &e) != nil || e.Type == "" {
			if bad++; bad >= socketBad {
				return fmt.Errorf("%d messages in a row that are none of Socket Mode", bad)
			}
			continue
		}
		bad = 0
		switch e.Type {
		case "hello":
			s.mu.Lock()
			s.trouble = ""
			s.mu.Unlock()
		case "disconnect":
			_ = conn.Close(websocket.StatusNormalClosure, "")
			if e.Reason == "link_disabled" {
				return &PermanentError{Err: errSocketOff}
			}
			return errSocketClosed // warning, refresh_requested
		default:
			if err := s.take(ctx, conn, e); err != nil {
				return err
			}
		}
	}
}

// open asks for the address of a socket and connects to it. The address is a
// secret: who has it is the app.
func (s *slackSocket) open(ctx context.Context) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, socketOpen)
	defer cancel()
	_, address, err := s.bot.api.StartSocketModeContext(ctx)
	if err != nil {
		return nil, s.bot.failed("apps.connections.open", err)
	}
	web := "http" + strings.TrimPrefix(address, "ws")
	if text := secretURL(web); text != "" {
		return nil, fmt.Errorf("slack apps.connections.open: the address %s", text)
	}
	conn, resp, err := websocket.Dial(ctx, address, &websocket.DialOptions{HTTPClient: s.client}) //nolint:bodyclose // Dial closes it
	if err != nil {
		if resp != nil {
			return nil, fmt.Errorf("open the socket: status %d, want 101", resp.StatusCode)
		}
		return nil, fmt.Errorf("open the socket: %w", transportError(err, address))
	}
	conn.SetReadLimit(socketRead)
	return conn, nil
}

// live returns an error once the other end is silent.
func (s *slackSocket) live(ctx context.Context, conn *websocket.Conn) error {
	for sleep(ctx, s.ping) {
		ctx, cancel := context.WithTimeout(ctx, min(s.ping, socketPong))
		err := conn.Ping(ctx)
		cancel()
		if err != nil {
			return errors.New("no pong in time")
		}
	}
	return ctx.Err()
}

// take acknowledges an envelope, and then has what it says carried out, once.
func (s *slackSocket) take(ctx context.Context, conn *websocket.Conn, e envelope) error {
	if e.ID == "" {
		return nil
	}
	ack, cancel := context.WithTimeout(ctx, socketAck)
	defer cancel()
	b, err := json.Marshal(map[string]string{"envelope_id": e.ID})
	if err == nil {
		err = conn.Write(ack, websocket.MessageText, b)
	}
	if slices.Contains(s.heard, e.ID) {
		return err
	}
	if s.heard = append(s.heard, e.ID); len(s.heard) > 256 {
		s.heard = slices.Delete(s.heard, 0, 128)
	}
	for _, p := range pressed(e) {
		select {
		case s.presses <- p:
		default:
			s.log.Warn("too many buttons pressed at once, one is dropped", "command", p.name, "author", p.args["author"])
		}
	}
	if err != nil {
		return fmt.Errorf("acknowledge an envelope: %w", transportError(err, ""))
	}
	return nil
}

// press is a button that somebody pressed.
type press struct {
	channel, user string
	name          string // of the command
	args          map[string]string
}

// pressed returns the buttons of ours in an envelope. What the ids mean is
// said in buttons.
func pressed(e envelope) []press {
	if e.Type != "interactive" {
		return nil
	}
	var p struct {
		Type      string
		User      struct{ ID, Name, Username string }
		Channel   struct{ ID string }
		Container struct {
			Channel string `json:"channel_id"`
		}
		Actions []struct {
			ID    string `json:"action_id"`
			Value string
		}
	}
	if json.Unmarshal(e.Payload, &p) != nil || p.Type != "block_actions" || p.User.ID == "" {
		return nil
	}
	author := cut(clean(cmp.Or(p.User.Username, p.User.Name), false), 80) + " (Slack " + cut(clean(p.User.ID, false), 40) + ")"
	var list []press
	for _, a := range p.Actions {
		args := map[string]string{"incident": a.Value, "author": strings.TrimSpace(author)}
		name := ""
		switch a.ID {
		case buttonAcknowledge:
			name = "acknowledge"
		case buttonSilence:
			name, args["for"] = "silence", "1h"
		}
		if name != "" && a.Value != "" {
			list = append(list, press{cmp.Or(p.Channel.ID, p.Container.Channel), p.User.ID, name, args})
		}
	}
	return list
}

// work carries out what people pressed, one by one.
func (s *slackSocket) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-s.presses:
			s.carryOut(ctx, p)
		}
	}
}

// carryOut has a command carried out and tells who pressed, and nobody else,
// what came of it.
func (s *slackSocket) carryOut(ctx context.Context, p press) {
	ctx, cancel := context.WithTimeout(ctx, socketCommand)
	defer cancel()
	text, err := s.safely(ctx, p)
	if err != nil {
		s.log.Warn("a button's command was not carried out", "command", p.name, "author", p.args["author"], "err", err)
		text = "Not done: " + err.Error()
	}
	if p.channel == "" || text == "" {
		return
	}
	message := slackMessage{Text: slackInline(text, slackTextMax)}
	if _, err := s.bot.api.PostEphemeralContext(ctx, p.channel, p.user, slackEphemeral(message)); err != nil {
		s.log.Warn("the answer to a button did not arrive", "err", s.bot.failed("chat.postEphemeral", err))
	}
}

// safely calls command. A panic in it must not end the program.
func (s *slackSocket) safely(ctx context.Context, p press) (text string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the command %s panicked: %v", p.name, r)
		}
	}()
	return s.command(ctx, p.name, p.args)
}

// The ids of our buttons; their value is the id of the incident.
const (
	buttonAcknowledge = "tripline_acknowledge"
	buttonSilence     = "tripline_silence_1h"
)

// buttons is the row of buttons of an incident's message; nil if it has none.
func (s *slackSocket) buttons(m Message) slack.Block {
	i := m.Incident
	if _, show := s.state(); !show || !i.Open() || len(i.ID) > 2000 {
		return nil
	}
	button := func(id, text string) slack.BlockElement {
		return slack.NewButtonBlockElement(id, i.ID, slack.NewTextBlockObject(slack.PlainTextType, text, false, false))
	}
	var row []slack.BlockElement
	if i.Acknowledged == nil {
		row = append(row, button(buttonAcknowledge, "Acknowledge"))
	}
	if i.Quiet == "" {
		row = append(row, button(buttonSilence, "Silence 1h"))
	}
	if len(row) == 0 {
		return nil
	}
	return slack.NewActionBlock("tripline_buttons", row...)
}

// slackEphemeral makes the options of a message for one person.
func slackEphemeral(msg slackMessage) slack.MsgOption {
	return slack.MsgOptionCompose(slack.MsgOptionText(msg.Text, false), slack.MsgOptionParse(false), slack.MsgOptionLinkNames(false))
}
