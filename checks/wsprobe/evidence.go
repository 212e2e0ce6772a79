package wsprobe

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// What is kept of an exchange, in bytes where nothing else is said.
const (
	keptFrames  = 16 // frames
	keptText    = 160
	keptRequest = 2 << 10
	keptHead    = 4 << 10
	keptBody    = 2 << 10
)

// recorder keeps the first frames that were received.
type recorder struct {
	seen []seenFrame
	text []byte
	n    int       // how many frames came in all
	last time.Time // when the last one came
}

type seenFrame struct {
	h       header
	at      time.Time
	from    int // of its text within recorder.text
	to      int
	problem string
}

func (x *exchange) record(h *header, payload []byte, problem string) {
	r := &x.frames
	r.n++
	r.last = time.Now()
	if len(r.seen) == keptFrames {
		return
	}
	if r.seen == nil {
		r.seen = make([]seenFrame, 0, 4)
		r.text = make([]byte, 0, 32)
	}
	from := len(r.text)
	r.text = append(r.text, payload[:min(len(payload), keptText+32)]...)
	r.seen = append(r.seen, seenFrame{h: *h, at: r.last, from: from, to: len(r.text), problem: problem})
}

// evidence builds the record of what was seen.
func (x *exchange) evidence(q *Request, r *probe.Redactor) *probe.Evidence {
	e := &probe.Evidence{
		URL:     q.target.String(),
		Request: r.Head(x.sent, keptRequest),
		Body:    r.Excerpt(x.body, keptBody),
		End:     r.Line(x.end),
		Curl:    probe.CurlLine(r, q.target, q.method, q.fields, false),
	}
	if x.conn == nil {
		return e
	}
	if x.resp != nil {
		head := x.conn.Recorded()
		if i := bytes.Index(head, []byte("\r\n\r\n")); i >= 0 {
			head = head[:i+4]
		}
		e.Head = r.Head(head, keptHead)
	}
	for i := range x.frames.seen {
		e.Frames = append(e.Frames, x.frame(&x.frames.seen[i], r))
	}
	return e
}

func (x *exchange) frame(f *seenFrame, r *probe.Redactor) probe.Frame {
	text := x.frames.text[f.from:f.to]
	out := probe.Frame{
		At: f.at.Sub(x.start), Op: f.h.op, Fin: f.h.fin, Len: f.h.length,
		Header: hex.EncodeToString(f.h.bytes()), Err: r.Line(f.problem),
	}
	if f.h.op == opClose && f.problem == "" {
		out.Code, _ = closeCode(text)
		text = text[min(2, len(text)):]
	}
	if f.h.op != opPong { // a pong repeats our random bytes
		out.Text = r.Excerpt(text, keptText)
	}
	return out
}

// endText says how a connection ended, without the addresses and ports of the
// operating system's error.
func endText(err error) string {
	prefix := ""
	if _, cut := errors.AsType[*cutError](err); cut {
		prefix = "inside a frame, "
	}
	switch {
	case errors.Is(err, io.EOF):
		return prefix + "FIN"
	case errors.Is(err, syscall.ECONNRESET):
		return prefix + "RST"
	case errors.Is(err, syscall.EPIPE):
		return prefix + "broken pipe"
	}
	return err.Error()
}
