package wsprobe

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Opcodes of RFC 6455 §5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// Limits of RFC 6455 §5.5 and of sense.
const (
	maxControl = 125
	// implausible is a frame length that no server sends. Reading it means
	// that the bytes are no frame header: the stream is out of step, or is
	// not WebSocket at all.
	implausible = 1 << 30
	// readChunk bounds how much is allocated before its bytes have come.
	readChunk = 64 << 10
)

// header is a frame header (RFC 6455 §5.2) as it was received.
type header struct {
	fin    bool
	rsv    byte // RSV1-3, 0-7
	op     byte
	masked bool
	length uint64
	key    [4]byte
	raw    [14]byte
	size   int // how many bytes of raw were received
}

func (h *header) bytes() []byte { return h.raw[:h.size] }

// readHeader reads one frame header and judges nothing. On an error h holds
// the bytes that did come.
func readHeader(br io.ByteReader, h *header) error {
	h.size = 0
	if err := h.fill(br, 2); err != nil {
		return err
	}
	h.fin = h.raw[0]&0x80 != 0
	h.rsv = h.raw[0] >> 4 & 7
	h.op = h.raw[0] & 0x0f
	h.masked = h.raw[1]&0x80 != 0
	h.length = uint64(h.raw[1] & 0x7f)
	switch h.length {
	case 126:
		if err := h.fill(br, 2); err != nil {
			return err
		}
		h.length = uint64(binary.BigEndian.Uint16(h.raw[2:]))
	case 127:
		if err := h.fill(br, 8); err != nil {
			return err
		}
		h.length = binary.BigEndian.Uint64(h.raw[2:])
	}
	if h.masked {
		if err := h.fill(br, 4); err != nil {
			return err
		}
		copy(h.key[:], h.raw[h.size-4:h.size])
	}
	return nil
}

func (h *header) fill(br io.ByteReader, n int) error {
	for range n {
		b, err := br.ReadByte()
		if err != nil {
			return err
		}
		h.raw[h.size] = b
		h.size++
	}
	return nil
}

// violation names what RFC 6455 forbids about h when a server sends it, or "".
// open tells whether a fragmented message has begun and not ended.
func (h *header) violation(open bool) string {
	control := h.op >= opClose
	switch {
	case h.rsv != 0:
		return fmt.Sprintf("reserved bits %03b set and no extension was negotiated (§5.2)", h.rsv)
	case h.op > opBinary && h.op < opClose || h.op > opPong:
		return fmt.Sprintf("reserved opcode %#x (§5.2)", h.op)
	case h.masked:
		return "a server must not mask its frames (§5.1)"
	case control && !h.fin:
		return "fragmented control frame (§5.5)"
	case control && h.length > maxControl:
		return fmt.Sprintf("control frame of %d bytes, want at most %d (§5.5)", h.length, maxControl)
	case h.op == opContinuation && !open:
		return "continuation without a message to continue (§5.4)"
	case !control && h.op != opContinuation && open:
		return "new message before the last one ended (§5.4)"
	case h.raw[1]&0x7f == 126 && h.length < 126, h.raw[1]&0x7f == 127 && h.length < 1<<16:
		return fmt.Sprintf("length %d not in the shortest form (§5.2)", h.length)
	case h.length > 1<<63-1:
		return "length with the highest bit set (§5.2)"
	case h.length >= implausible:
		return fmt.Sprintf("announced length of %d bytes: these bytes are hardly a frame header", h.length)
	}
	return ""
}

// protocolError says that bytes came which RFC 6455 forbids.
type protocolError struct {
	what string
	head []byte // the frame header
	http string // the line that came where a frame header belongs, when it is HTTP
}

func (e *protocolError) Error() string {
	if e.http != "" {
		return fmt.Sprintf("HTTP text inside the WebSocket stream: %q (first bytes %s)", e.http, hex.EncodeToString(e.head))
	}
	return e.what + "; frame header " + hex.EncodeToString(e.head)
}

// tooBigError says that a message is over our limit.
type tooBigError struct{ size, limit uint64 }

func (e *tooBigError) Error() string {
	return fmt.Sprintf("message of at least %d bytes, our limit max_message is %d", e.size, e.limit)
}

// cutError says that the stream ended or fell silent inside a frame.
type cutError struct {
	got, want uint64 // of the payload; want 0: inside the header
	err       error
}

func (e *cutError) Error() string {
	if e.want == 0 {
		return "inside a frame header: " + e.err.Error()
	}
	return fmt.Sprintf("after %d of %d bytes of a frame: %v", e.got, e.want, e.err)
}

func (e *cutError) Unwrap() error { return e.err }

// message is one whole data message or one control frame. Its payload is
// valid until the next call of the reader.
type message struct {
	op      byte
	payload []byte
}

// frameReader reads what a server sends. It holds at most limit bytes of a
// message and allocates only for bytes that have come.
type frameReader struct {
	br    *bufio.Reader
	limit uint64
	// tap sees every frame: its header, what came of its payload, and what is
	// wrong with it.
	tap func(h *header, payload []byte, problem string)
	// again decides on an error inside a frame whether to read on; nil: never.
	again func(error) bool
	came  uint64 // bytes of frames, in all

	h       header
	open    byte // opcode of the message being assembled, 0 if none
	data    []byte
	control [maxControl]byte
}

// ReadByte reads one byte of a frame header.
func (r *frameReader) ReadByte() (byte, error) {
	for {
		b, err := r.br.ReadByte()
		if err == nil {
			r.came++
			return b, nil
		}
		if r.h.size == 0 || r.again == nil || !r.again(err) {
			return 0, err
		}
	}
}

// fill reads all of p, a part of a payload.
func (r *frameReader) fill(p []byte) (n int, err error) {
	for {
		m, err := io.ReadFull(r.br, p[n:])
		n += m
		r.came += uint64(m)
		if err == nil || r.again == nil || !r.again(err) {
			return n, err
		}
	}
}

// nextFrame reads one frame. It returns ok when the frame ends a message or is
// a control frame. The error is a *protocolError, a *tooBigError, a *cutError
// or what the connection said between two frames.
func (r *frameReader) nextFrame() (m message, ok bool, err error) {
	h := &r.h
	if err := readHeader(r, h); err != nil {
		if h.size > 0 {
			err = &cutError{err: err}
			r.tap(h, nil, err.Error())
		}
		return message{}, false, err
	}
	if what := h.violation(r.open != 0); what != "" {
		return message{}, false, r.protocol(what)
	}
	if h.op >= opClose {
		m.op, m.payload, err = h.op, r.control[:h.length], r.readControl()
		return m, err == nil, err
	}
	if err := r.readData(); err != nil {
		return message{}, false, err
	}
	if !h.fin {
		return message{}, false, nil
	}
	m = message{op: r.open, payload: r.data}
	r.open = 0
	return m, true, nil
}

// protocol makes the error for a frame header that should not be there. Text
// of another protocol in the stream is recognised by reading on a little.
func (r *frameReader) protocol(what string) error {
	e := &protocolError{what: what, head: bytes.Clone(r.h.bytes())}
	rest, _ := r.br.Peek(min(r.br.Buffered(), 120))
	if seen := slices.Concat(e.head, rest); bytes.HasPrefix(seen, []byte("HTTP/")) {
		line, _, whole := bytes.Cut(seen, []byte("\r\n"))
		if e.http = string(line); !whole {
			e.http += "..."
		}
	}
	r.tap(&r.h, rest, e.Error())
	return e
}

func (r *frameReader) readControl() error {
	p := r.control[:r.h.length]
	n, err := r.fill(p)
	if err != nil {
		err = &cutError{got: uint64(n), want: r.h.length, err: noUnexpected(err)}
		r.tap(&r.h, p[:n], err.Error())
		return err
	}
	if r.h.op == opClose {
		if what := closeViolation(p); what != "" {
			err := &protocolError{what: what, head: bytes.Clone(r.h.bytes())}
			r.tap(&r.h, p, err.Error())
			return err
		}
	}
	r.tap(&r.h, p, "")
	return nil
}

func (r *frameReader) readData() error {
	h := &r.h
	if h.op != opContinuation {
		r.open, r.data = h.op, r.data[:0]
	}
	start := len(r.data)
	if total := uint64(start) + h.length; total > r.limit {
		err := &tooBigError{size: total, limit: r.limit}
		r.tap(h, nil, err.Error())
		return err
	}
	for left := h.length; left > 0; {
		n := int(min(left, readChunk))
		at := len(r.data)
		r.data = slices.Grow(r.data, n)[:at+n]
		got, err := r.fill(r.data[at:])
		if err != nil {
			r.data = r.data[:at+got]
			err = &cutError{got: uint64(len(r.data) - start), want: h.length, err: noUnexpected(err)}
			r.tap(h, r.data[start:], err.Error())
			return err
		}
		left -= uint64(n)
	}
	if h.fin && r.open == opText && !utf8.Valid(r.data) {
		err := &protocolError{what: "text message is not UTF-8 (§8.1)", head: bytes.Clone(h.bytes())}
		r.tap(h, r.data[start:], err.Error())
		return err
	}
	r.tap(h, r.data[start:], "")
	return nil
}

// noUnexpected gives the plain io.EOF for io.ReadFull's io.ErrUnexpectedEOF:
// cutError says where it came.
func noUnexpected(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return io.EOF
	}
	return err
}

// closeViolation names what RFC 6455 §5.5.1 and §7.4 forbid about the payload
// of a close frame, or "".
func closeViolation(p []byte) string {
	if len(p) == 1 {
		return "close frame with half a code (§5.5.1)"
	}
	code, reason := closeCode(p)
	switch {
	case len(p) == 0:
		return ""
	case code < 1000, code == 1004, code == 1005, code == 1006, code > 1014 && code < 3000, code > 4999:
		return "close code " + strconv.Itoa(code) + " must not be sent (§7.4)"
	case !utf8.ValidString(reason):
		return "close reason is not UTF-8 (§5.5.1)"
	}
	return ""
}

// closeCode splits the payload of a close frame. An empty one means 1005, "no
// code present" (RFC 6455 §7.1.5).
func closeCode(p []byte) (code int, reason string) {
	if len(p) < 2 {
		return 1005, ""
	}
	return int(binary.BigEndian.Uint16(p)), string(p[2:])
}

// appendFrame appends one masked, unfragmented frame: what a client sends
// (RFC 6455 §5.3).
func appendFrame(b []byte, op byte, key [4]byte, payload []byte) []byte {
	b = append(b, 0x80|op)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b = append(b, 0x80|127)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	b = append(b, key[:]...)
	start := len(b)
	b = append(b, payload...)
	mask(b[start:], key)
	return b
}

// mask masks b in place (RFC 6455 §5.3), eight bytes at a time.
func mask(b []byte, key [4]byte) {
	k := uint64(binary.LittleEndian.Uint32(key[:]))
	for k |= k << 32; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k)
	}
	for i := range b {
		b[i] ^= key[i&3]
	}
}
