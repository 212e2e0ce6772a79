package wsprobe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// maxFrames is how many frames are read while waiting for one thing: a server
// that floods us must not keep a processor busy until the deadline.
const maxFrames = 10_000

// socketBuffer is what a socket takes at once, whether or not the server reads.
const socketBuffer = 16 << 10

// How long we wait for what nobody may be there to give: for our goodbye to be
// written, and for a reason after a failed write.
const (
	farewell     = 100 * time.Millisecond
	lastWordTime = 250 * time.Millisecond
)

var errFlood = fmt.Errorf("gave up after %d frames", maxFrames)

// session is an open WebSocket, used from one goroutine. Its reads answer the
// server's pings, as RFC 6455 §5.5.2 demands.
type session struct {
	ctx  context.Context
	net  *probe.Network
	x    *exchange
	in   frameReader
	auth []int // close codes that mean credentials
	// check sees every data message first; its error ends the read
	check func(message) error

	ping    [8]byte   // payload of our ping
	pinged  time.Time // zero: no ping is outstanding
	closed  bool      // a close frame of ours was sent
	scratch []byte
}

func newSession(ctx context.Context, net *probe.Network, x *exchange, limit uint64) *session {
	s := &session{ctx: ctx, net: net, x: x, auth: authCodes()}
	s.in = frameReader{br: x.conn.Reader(), limit: limit, tap: x.record}
	return s
}

// write sends one frame. A server that stops reading is given half of the time
// that is left, so that there is some to see what it says about that.
func (s *session) write(op byte, payload []byte) error {
	end, limited := s.ctx.Deadline()
	big := limited && len(payload) > socketBuffer
	if big {
		now := time.Now()
		_ = s.x.conn.SetWriteDeadline(now.Add(end.Sub(now) / 2)) // fails only on a dead connection, which the write shows
	}
	s.scratch = appendFrame(s.scratch[:0], op, maskKey(), payload)
	s.closed = s.closed || op == opClose
	_, err := s.x.conn.Write(s.scratch)
	if big && err == nil {
		_ = s.x.conn.SetWriteDeadline(time.Time{}) // what follows has all the time that is left; fails as above
	}
	return err
}

// sendMessage sends a data message; what names it.
func (s *session) sendMessage(m Message, what string) *probe.Failure {
	op := byte(opText)
	if m.Binary {
		op = opBinary
	}
	start := time.Now()
	err := s.write(op, m.Data)
	if err == nil {
		return nil
	}
	err = s.lastWord(err)
	what = fmt.Sprintf("%s (%d bytes)", what, len(m.Data))
	if isTimeout(err) {
		return s.x.conn.Fail(probe.NoReply, probe.StageSession, "the server stopped reading: "+what+" could not be sent in "+brief(time.Since(start)), err)
	}
	return s.fail(err, wait{probe.NoReply, what + " to be sent", start})
}

// read returns the next data message or the pong to our ping; everything else
// it deals with. The error may be a *closedError.
func (s *session) read() (message, error) {
	for range maxFrames {
		m, ok, err := s.in.nextFrame()
		if err != nil {
			return message{}, err
		}
		if !ok {
			continue
		}
		switch m.op {
		case opPing:
			if err := s.write(opPong, m.payload); isTimeout(err) {
				return message{}, err
			} // another error: what the server had to say is still to be read
		case opPong:
			if !s.pinged.IsZero() && bytes.Equal(m.payload, s.ping[:]) {
				s.x.conn.Phases.Ping = time.Since(s.pinged)
				s.pinged = time.Time{}
				return m, nil
			}
		case opClose:
			code, reason := closeCode(m.payload)
			echo := m.payload[:min(len(m.payload), 2)]
			_ = s.write(opClose, echo) // politeness: the server has said why already
			return message{}, &closedError{code: code, reason: reason}
		default:
			if s.check != nil {
				if err := s.check(m); err != nil {
					return message{}, err
				}
			}
			return m, nil
		}
	}
	return message{}, errFlood
}

// sendPing starts a ping; awaitPong, or a read for something else, ends it.
func (s *session) sendPing() error {
	_, _ = rand.Read(s.ping[:]) // never fails: crypto/rand
	s.pinged = time.Now()
	return s.write(opPing, s.ping[:])
}

// awaitPong reads until the pong to our ping came.
func (s *session) awaitPong() error {
	for range maxFrames {
		if s.pinged.IsZero() {
			return nil
		}
		if _, err := s.read(); err != nil {
			return err
		}
	}
	return errFlood
}

// nextMessage returns the next data message.
func (s *session) nextMessage() (message, error) {
	for {
		m, err := s.read()
		if err != nil || m.op != opPong {
			return m, err
		}
	}
}

// watch reads for d, at most half of the time that is left, and returns nil if
// nothing happened that ends a session.
func (s *session) watch(d time.Duration) error {
	if end, ok := s.ctx.Deadline(); ok {
		d = min(d, time.Until(end)/2)
	}
	s.x.patience(d)
	for range maxFrames {
		if _, err := s.read(); err != nil {
			if isTimeout(err) && s.ctx.Err() == nil {
				return nil
			}
			return err
		}
	}
	return nil
}

// close does the closing handshake (RFC 6455 §7.1.2): our close frame, and the
// server's. A server that ends the connection instead is taken as an answer.
func (s *session) close(d time.Duration) error {
	sent := time.Now()
	if err := s.write(opClose, normalClosure()); err != nil {
		return s.lastWord(err)
	}
	s.x.patience(d)
	for range maxFrames {
		m, ok, err := s.in.nextFrame()
		var violation *protocolError
		switch {
		case err == nil && (!ok || m.op != opClose):
			continue
		case err == nil:
			code, reason := closeCode(m.payload)
			if slices.Contains(s.auth, code) { // it crossed ours
				return &closedError{code: code, reason: reason}
			}
		case isTimeout(err), errors.As(err, &violation):
			return err
		default:
			s.x.end = "our close frame was answered by " + endText(err)
		}
		s.x.conn.Phases.Close = time.Since(sent)
		return nil
	}
	return errFlood
}

// leave says goodbye after a failure, without waiting for an answer, so that
// the server's log shows an end and not an accident.
func (s *session) leave(code uint16) {
	if s.closed {
		return
	}
	_ = s.x.conn.SetWriteDeadline(time.Now().Add(farewell)) // nobody waits for it
	s.scratch = appendFrame(s.scratch[:0], opClose, maskKey(), binary.BigEndian.AppendUint16(nil, code))
	_, _ = s.x.conn.Write(s.scratch)
}

// lastWord looks, after a write failed, for a close frame that tells why. It
// returns err if there is none.
func (s *session) lastWord(err error) error {
	s.x.patience(lastWordTime)
	for range maxFrames {
		_, rerr := s.read()
		if _, closed := errors.AsType[*closedError](rerr); closed {
			return rerr
		}
		if rerr != nil {
			break
		}
	}
	return err
}

// mismatch makes the failure of a message that is not what was wanted.
// which names it.
func (s *session) mismatch(m message, want, which string) *probe.Failure {
	r := s.net.Redactor()
	class, what := probe.BadPayload, "is not what was expected"
	if refusal(m.payload) {
		class, what = probe.AppRefused, "is an error"
	}
	if m.op == opBinary {
		which = strings.Replace(which, "message", "binary message", 1)
	}
	text := fmt.Sprintf("%s %s: %s; want %s", which, what, r.Excerpt(m.payload, 200), want)
	return s.x.conn.Fail(class, probe.StageSession, text, nil)
}

// wait is something that is being waited for; nothing in particular is "".
type wait struct {
	class probe.Class // if it does not come in time
	what  string
	since time.Time
}

func (w wait) while() string {
	if w.what == "" {
		return ""
	}
	return ", while waiting for " + w.what
}

// fail makes a failure of err, which came instead of what was waited for.
func (s *session) fail(err error, w wait) *probe.Failure {
	var (
		protocol *protocolError
		tooBig   *tooBigError
		closed   *closedError
		wrong    *wrongError
	)
	stage := probe.StageSession
	class, text := probe.Dropped, ""
	switch {
	case errors.As(err, &wrong):
		class, stage, text = wrong.class, probe.StageFlow, wrong.text
	case errors.As(err, &protocol):
		class, text = probe.ProtocolError, err.Error()
		if protocol.http != "" {
			s.x.detail = DetailHTTPInStream
		}
	case errors.As(err, &tooBig):
		class, text = probe.MessageTooBig, err.Error()
	case errors.As(err, &closed):
		s.x.code = closed.code
		class = classClose(closed.code, s.auth)
		text = err.Error() + " " + brief(time.Since(s.x.accepted)) + " after the 101" + w.while()
		if class == probe.MessageTooBig {
			text = err.Error() + ": our message is over the server's limit"
		}
	case isTimeout(err), errors.Is(err, errFlood):
		class, text = w.class, w.what+" did not come in "+brief(time.Since(w.since))+s.instead(err)
	default:
		text = fmt.Sprintf("the connection ended without a close frame (%s) %s after the 101%s",
			endText(err), brief(time.Since(s.x.accepted)), w.while())
	}
	if class == probe.CloseUnanswered {
		stage = probe.StageClose
	}
	s.x.end = text
	return s.x.conn.Fail(class, stage, text, err)
}

// instead says what came instead of what was waited for.
func (s *session) instead(err error) string {
	var cut *cutError
	switch {
	case errors.Is(err, errFlood):
		return ": " + err.Error()
	case errors.As(err, &cut) && cut.want > 0:
		return fmt.Sprintf(": only %d of %d bytes of a frame came", cut.got, cut.want)
	case s.x.frames.n > 0:
		return fmt.Sprintf("; other frames: %d, the last one %s ago", s.x.frames.n, brief(time.Since(s.x.frames.last)))
	}
	return ""
}

// isTimeout tells whether err is the end of our patience.
func isTimeout(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// normalClosure is the payload of a close frame with code 1000.
func normalClosure() []byte { return []byte{1000 >> 8, 1000 & 0xff} }

func maskKey() (key [4]byte) {
	_, _ = rand.Read(key[:]) // never fails: crypto/rand
	return key
}

// brief is d as people read it.
func brief(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}
