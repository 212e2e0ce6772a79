package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Conn is a fresh connection to a target, made by Network.Dial. Close must be
// called; it frees the place among the probes to the host. Apart from Close, a
// Conn is for one goroutine.
type Conn struct {
	net.Conn // plain TCP or TLS
	Phases   Phases

	n        *Network
	t        *Target
	ctx      context.Context // the one of Dial: it bounds the life of the connection
	admitted bool
	asked    time.Time // when Dial was called
	began    time.Time // when it had a place, and the work began
	sent     time.Time
	first    time.Time // first byte after sent

	tried    []tried
	triedBuf [2]tried
	found    []netip.Addr // if there are several
	other    *otherFamily
	broken   string

	tls       *tls.Conn     // nil for plain connections
	chainEnds time.Time     // until when the certificates verify
	certLife  time.Duration // from the beginning to the end of the server's own one
	certAsked bool          // the server asked for a client certificate
	certErr   error         // why the server's certificate was not accepted

	raw    net.Conn // below TLS and the proxy
	stop   func() bool
	br     *bufio.Reader
	record []byte
	got    int   // bytes received since sent
	left   int   // bytes that a response head may still have; < 0: no limit
	rerr   error // the first error of Read: bufio and net/http do not keep it

	mu       sync.Mutex
	deadline time.Time
	over     bool // ctx is done
}

// maxRecord is how many bytes received are kept for evidence: a response head
// and the beginning of a body, and what redaction needs beyond them.
const maxRecord = maxEvidenceHead + maxEvidenceBody + 1024

var errHeadTooLarge = errors.New("response head too large")

// attach takes over a TCP connection and ties it to ctx.
func (c *Conn) attach(ctx context.Context, raw net.Conn) {
	c.Conn, c.raw, c.left = raw, raw, -1
	c.deadline, _ = ctx.Deadline()
	_ = raw.SetDeadline(c.deadline) // fails only on a closed connection, which Read reports
	c.stop = context.AfterFunc(ctx, c.cut)
}

// cut unblocks everything that waits on the connection.
func (c *Conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.raw != nil {
		_ = c.raw.SetDeadline(time.Unix(1, 0))
	}
}

// SetDeadline sets when blocked Reads and Writes return. It never goes past the
// deadline of Dial's ctx; the zero time means that one.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadline(t, net.Conn.SetDeadline) }

// SetReadDeadline is SetDeadline for Reads alone.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(t, net.Conn.SetReadDeadline) }

// SetWriteDeadline is SetDeadline for Writes alone.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(t, net.Conn.SetWriteDeadline)
}

func (c *Conn) setDeadline(t time.Time, set func(net.Conn, time.Time) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.raw == nil {
		return nil // cut has set one that stays
	}
	if t.IsZero() || !c.deadline.IsZero() && t.After(c.deadline) {
		t = c.deadline
	}
	return set(c.raw, t)
}

// Read reads from the connection and records the first bytes as evidence.
func (c *Conn) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errHeadTooLarge
	}
	if c.left > 0 && len(p) > c.left {
		p = p[:c.left]
	}
	n, err := c.Conn.Read(p)
	if n > 0 {
		if c.got == 0 {
			c.first = time.Now()
		}
		c.got += n
		if c.left > 0 {
			c.left -= n
		}
		if room := maxRecord - len(c.record); room > 0 {
			c.record = append(c.record, p[:min(n, room)]...)
		}
	}
	if err != nil && c.rerr == nil {
		c.rerr = err
	}
	return n, err
}

// Send writes b, the request head and body, and starts the clock for the first
// byte of the answer. A write that fails because the server has closed its side
// is no Failure: it may have answered before, which ReadHead finds out.
func (c *Conn) Send(b []byte) *Failure {
	c.got, c.record, c.rerr = 0, c.record[:0], nil
	_, err := c.Write(b)
	c.sent = time.Now()
	if err == nil || closed(err) {
		return nil
	}
	class, stage, reason := classifyHead(err, nil, c.tls != nil)
	if class == HandshakeTimeout {
		reason = "the request could not be sent in " + c.spent()
	}
	return c.Fail(class, stage, reason, err)
}

// Reader returns the buffered reader of the connection. It is valid until Close.
func (c *Conn) Reader() *bufio.Reader {
	if c.br == nil {
		c.br = c.n.readers.Get().(*bufio.Reader)
		c.br.Reset(c)
	}
	return c.br
}

// Began returns when the work began: after the wait for a place.
func (c *Conn) Began() time.Time { return c.began }

// Sent returns when Send was done; the zero time before.
func (c *Conn) Sent() time.Time { return c.sent }

// Recorded returns the first bytes that were received since Send, at most a few
// KiB, raw (above TLS): pass them through Redactor.Head or Redactor.Excerpt. It
// stays valid after Close.
func (c *Conn) Recorded() []byte { return c.record }

// Close closes the connection and frees its place among the probes to the host.
// It may be called more than once.
func (c *Conn) Close() error {
	if c.stop != nil {
		c.stop()
		c.stop = nil
	}
	c.other.drop()
	if c.br != nil {
		c.br.Reset(nil)
		c.n.readers.Put(c.br)
		c.br = nil
	}
	c.mu.Lock()
	raw := c.raw
	c.raw = nil
	c.mu.Unlock()
	var err error
	if raw != nil {
		err = raw.Close() // not that of TLS: its alert may block, and nobody reads it
	}
	if c.admitted {
		c.admitted = false
		c.t.gate.Release(1)
	}
	return err
}

// spent returns how long the work has taken, for reasons.
func (c *Conn) spent() string { return short(time.Since(c.began)) }
