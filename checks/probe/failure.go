package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Failure is why a probe ended before its time.
type Failure struct {
	Class     Class
	Stage     Stage
	Reason    string // what was seen and what was wanted, without the URL; may hold secrets until Outcome
	Err       error  // the cause, for errors.Is and As; its text may hold secrets
	Phases    Phases
	Addresses []Address
	TLS       *TLSFacts
	First     []byte // first bytes received, raw
	DaysLeft  float64
	LifeLeft  float64 // share of the certificate's lifetime
	HasCert   bool    // DaysLeft and LifeLeft are known
	// Instead is the evidence of another request that failed before this one could
	// be sent; nil: there was none.
	Instead *Evidence
	// RetryAfter is how long to wait before the next attempt; 0: nobody said.
	RetryAfter time.Duration
}

// MeasureCertDays is the measure that every https and wss probe has: for how
// many days the server's certificates will still verify. Negative when expired.
const MeasureCertDays = "certificate_days_left"

// MeasureCertLeft is the same as a share of the lifetime of the server's own
// certificate, at most 1: how early one is renewed depends on how long it lives.
const MeasureCertLeft = "certificate_lifetime_left"

// Fail makes a Failure of this connection, with what is known of it.
//
// If the ctx of Dial was cancelled the class becomes Interrupted. If err is a
// timeout, and waiting for a place took most of the time, it becomes Late.
func (c *Conn) Fail(class Class, stage Stage, reason string, err error) *Failure {
	f := &Failure{Class: class, Stage: stage, Reason: reason, Err: err, Phases: c.Phases, First: c.record}
	if errors.Is(c.ctx.Err(), context.Canceled) {
		f.Class, f.Stage = Interrupted, StageMonitor
		f.Reason = "stopped in the middle: " + reason
	} else if wait := c.began.Sub(c.asked); wait > 0 && isTimeout(err) && c.mostOfTime(wait) {
		f.Class, f.Stage = Late, StageMonitor
		f.Reason = fmt.Sprintf("waited %s for a place (%d probes of %s were under way), then %s",
			short(wait), c.t.gate.limit, c.t.Addr, reason)
	}
	for _, a := range c.tried {
		f.Addresses = append(f.Addresses, a.address())
	}
	f.TLS = c.TLSFacts()
	f.DaysLeft, f.HasCert = c.CertDaysLeft()
	f.LifeLeft = c.certLifeLeft()
	return f
}

// mostOfTime says whether d is more than half of the time that there was.
func (c *Conn) mostOfTime(d time.Duration) bool {
	deadline, ok := c.ctx.Deadline()
	return ok && d > deadline.Sub(c.asked)/2
}

// ofProxy makes a failure to get through a proxy out of a failure of the proxy.
// It is about us, so unknown, unless the proxy says that it cannot reach the target.
func (f *Failure) ofProxy(via *Target) *Failure {
	f.Reason = "proxy " + via.text + ": " + f.Reason
	if f.Class.Status() != Unknown && !errors.Is(f.Err, errBehindProxy) {
		f.Class, f.Stage = OwnNetwork, StageMonitor
	}
	f.HasCert = false
	return f
}

// Outcome makes an Outcome of the failure. what names the request, such as
// "GET https://x/health". evidence builds what the kind knows (URL, Request,
// Curl ...), to which the failure adds the rest; nil means no evidence.
func (f *Failure) Outcome(what string, r *Redactor, evidence func() *Evidence) Outcome {
	o := Outcome{Class: f.Class, Stage: f.Stage, Reason: r.Line(what + ": " + f.Reason), Phases: f.Phases}
	if f.HasCert {
		o.Measures = map[string]float64{MeasureCertDays: f.DaysLeft, MeasureCertLeft: f.LifeLeft}
	}
	if evidence != nil {
		o.Evidence = func() *Evidence {
			e := evidence()
			if f.Instead != nil {
				other := *f.Instead // which others may have too
				e = &other
			}
			e.Class, e.Stage, e.Reason, e.Phases = o.Class, o.Stage, o.Reason, o.Phases
			if f.Instead == nil {
				e.Addresses, e.TLS = f.Addresses, f.TLS
			}
			if e.TLS != nil && f.Stage == StageTLS {
				e.TLS.Err = r.Line(f.Reason)
			}
			if e.Head == "" {
				e.Head = r.Head(f.First, maxEvidenceHead)
			}
			if f.Err != nil && e.End == "" {
				e.End = r.Line(f.Err.Error())
			}
			return e.Bound()
		}
	}
	return o
}

// classifyHead names an error met while a response head was read. first is what
// was received until then; secure says whether it came through TLS.
func classifyHead(err error, first []byte, secure bool) (class Class, stage Stage, reason string) {
	if class, reason := alertClass(err, true, false); class != "" { // TLS 1.3: after the handshake
		return class, StageTLS, reason
	}
	if errors.Is(err, errHeadTooLarge) {
		return NotHTTP, StageHandshake, fmt.Sprintf("the response head is larger than %d KiB", MaxHead>>10)
	}
	switch {
	case isH2(first) && secure:
		return TLSALPN, StageTLS, "the server speaks HTTP/2 without having agreed on it"
	case isH2(first):
		return NotHTTP, StageHandshake, "the server speaks HTTP/2 without TLS (h2c), want HTTP/1.1"
	case isAlert(first) && !secure:
		return SchemeMismatch, StageHandshake, "the server speaks TLS here: it answered with a TLS alert"
	}
	got := fmt.Sprintf("after %d bytes of a response head", len(first))
	if len(first) == 0 {
		got = "before the first byte of an answer"
	}
	switch {
	case isTimeout(err):
		return HandshakeTimeout, StageHandshake, "the time was up " + got
	case closed(err) && startsHTTP(first):
		return HandshakeClosed, StageHandshake, "the connection ended " + got + " (" + ending(err) + ")"
	case errors.As(err, new(*net.OpError)) && len(first) == 0:
		return HandshakeClosed, StageHandshake, "the connection broke " + got + ": " + cause(err)
	case len(first) == 0:
		return HandshakeClosed, StageHandshake, "the connection broke " + got + ": " + err.Error()
	case startsHTTP(first) && !closed(err):
		return NotHTTP, StageHandshake, "the response head is malformed: " + cause(err)
	}
	return NotHTTP, StageHandshake, "the answer is not HTTP/1: its first bytes are " + quoteFirst(first)
}

// startsHTTP says whether b is the beginning of an HTTP/1 status line.
func startsHTTP(b []byte) bool {
	const p = "HTTP/1."
	return bytes.HasPrefix(b, []byte(p)) || strings.HasPrefix(p, string(b))
}

// isH2 recognises a SETTINGS frame on stream 0, which begins every HTTP/2
// connection (RFC 9113 §3.4, §6.5).
func isH2(b []byte) bool {
	return len(b) >= 9 && b[0] == 0 && b[1] == 0 && b[2]%6 == 0 && b[3] == 4 && b[4] == 0 && bytes.Equal(b[5:9], make([]byte, 4))
}

// isAlert recognises a TLS alert record (RFC 8446 §5.1).
func isAlert(b []byte) bool {
	return len(b) >= 5 && b[0] == 21 && b[1] == 3 && b[2] <= 4 && b[3] == 0 && b[4] == 2
}

// ClassifyBadRequest recognises, by the text of a 400 answer, that the fault is
// below HTTP: TLS that was not spoken (SchemeMismatch), or a client certificate
// that was not shown (TLSClientCert). It returns "" for anything else.
func ClassifyBadRequest(status int, body []byte) (class Class, stage Stage, reason string) {
	if status < 400 || status > 499 {
		return "", "", ""
	}
	for _, text := range []string{ // of nginx, Go's net/http (Caddy, Traefik), Apache, Jetty and Tomcat
		"The plain HTTP request was sent to HTTPS port",
		"Client sent an HTTP request to an HTTPS server",
		"speaking plain HTTP to an SSL-enabled server port",
		"This combination of host and port requires TLS",
	} {
		if bytes.Contains(body, []byte(text)) {
			return SchemeMismatch, StageHTTP, fmt.Sprintf("status %d, the server speaks TLS here: %q", status, text)
		}
	}
	for _, text := range []string{ // of nginx
		"No required SSL certificate was sent",
		"The SSL certificate error",
	} {
		if bytes.Contains(body, []byte(text)) {
			return TLSClientCert, StageHTTP, fmt.Sprintf("status %d, the server wants a client certificate: %q", status, text)
		}
	}
	return "", "", ""
}

func isEOF(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// ending says how the peer ended the connection.
func ending(err error) string {
	if isEOF(err) {
		return "FIN"
	}
	return "RST"
}

// cause returns the innermost text of a network error: without the addresses,
// which a reason already has.
func cause(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error()
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Err != nil {
		return cause(e.Err)
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return cause(e.Err)
	}
	return err.Error()
}

// Brief returns d as people read it.
func Brief(d time.Duration) string { return short(d) }

// short returns d as people read it.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		d = d.Round(10 * time.Microsecond)
	case d < 10*time.Second:
		d = d.Round(10 * time.Millisecond)
	case d < 48*time.Hour:
		d = d.Round(time.Second)
	default:
		d = d.Round(time.Hour)
	}
	return Duration(d).String()
}

// long is a time of perhaps years.
func long(d time.Duration) string {
	if d < 48*time.Hour {
		return short(d)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
