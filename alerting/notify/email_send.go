package notify

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"strings"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// mailPause is the wait after an answer that says "later" (4xx), which has no
// way to say when: short of what greylisting usually wants.
const mailPause = time.Minute

// errHanded says that the whole message was handed over and the answer is
// missing: it may have arrived.
var errHanded = errors.New("the message may have arrived")

// handover is what became of the recipients of a message.
type handover struct {
	settled []string // addresses that were told or refused for good
	later   []error  // why others were refused for now
	never   []error  // why some of settled were refused
}

// send makes one attempt. What a 2xx after the final dot says was told; an
// answer of 4xx wants another attempt later, one of 5xx wants none (RFC 5321
// §4.2.1). Without an answer nothing is known.
func (e *email) send(ctx context.Context, msg *mail.Msg, to []*netmail.Address) (handover, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultTimeout)
	}
	var conn net.Conn
	outer, stop := ctx, func() bool { return true }
	options := []mail.Option{
		mail.WithTimeout(max(time.Until(deadline), time.Millisecond)), mail.WithTLSConfig(e.tls), mail.WithHELO("tripline"),
		mail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			var err error
			conn, err = e.dial(ctx, network, address)
			if err == nil { // the library looks at its own deadlines only
				stop = context.AfterFunc(outer, func() { _ = conn.Close() })
			}
			return conn, err
		}),
	}
	switch e.mode {
	case implicitTLS:
		options = append(options, mail.WithSSL())
	case noTLS:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if e.username != "" {
		options = append(options, mail.WithUsername(e.username), mail.WithPassword(e.password),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthPlain, mail.SMTPAuthLogin, mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthCramMD5))
	}
	client, err := mail.NewClient(e.host, options...)
	if err != nil {
		return handover{}, &PermanentError{Err: e.failed(ctx, "", err)}
	}
	defer func() {
		stop()
		if conn != nil {
			_ = conn.Close() // whatever became of it is known already
		}
	}()
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return handover{}, e.failed(ctx, "", err)
	}
	h, err := e.transfer(ctx, session, msg, to)
	if err == nil {
		_ = session.Quit() // the message is theirs, whatever they answer
	}
	return h, err
}

// dial connects to the server, and makes the TLS handshake where that comes
// first.
func (e *email) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if e.mode == implicitTLS {
		return (&tls.Dialer{NetDialer: dialer, Config: e.tls}).DialContext(ctx, network, e.server)
	}
	return dialer.DialContext(ctx, network, e.server)
}

// transfer hands the message over, to those recipients that the server takes.
func (e *email) transfer(ctx context.Context, session *smtp.Client, msg *mail.Msg, recipients []*netmail.Address) (h handover, err error) {
	if err := session.Mail("<" + e.from.Address + ">"); err != nil {
		return h, e.failed(ctx, "MAIL FROM", err)
	}
	for _, to := range recipients {
		err := session.Rcpt("<" + to.Address + ">")
		if err == nil {
			h.settled = append(h.settled, to.Address)
			continue
		}
		err = e.failed(ctx, "RCPT TO "+to.Address, err)
		if _, permanent := errors.AsType[*PermanentError](err); permanent {
			h.settled, h.never = append(h.settled, to.Address), append(h.never, err)
			continue
		}
		if _, later := errors.AsType[*LaterError](err); !later {
			return h, err // there was no answer
		}
		h.later = append(h.later, err)
	}
	if len(h.settled) == len(h.never) { // nobody takes it
		return h, nil
	}
	w, err := session.Data()
	if err != nil {
		return h, e.failed(ctx, "DATA", err)
	}
	if _, err := msg.WriteTo(w); err != nil {
		return h, e.failed(ctx, "the message", err)
	}
	if err := w.Close(); err != nil {
		if _, answered := errors.AsType[*textproto.Error](err); answered {
			return h, e.failed(ctx, "the end of the message", err)
		}
		return h, fmt.Errorf("%w: %w", e.failed(ctx, "the end of the message", err), errHanded)
	}
	return h, nil
}

// failed says what an attempt came to, without the credentials.
func (e *email) failed(ctx context.Context, what string, err error) error {
	lead := strings.TrimSpace("SMTP "+e.server+" "+what) + ": "
	if answer, ok := errors.AsType[*textproto.Error](err); ok {
		err = fmt.Errorf("%s%d %s", lead, answer.Code, cut(clean(e.redacted(answer.Msg), false), 300))
		switch answer.Code / 100 {
		case 4:
			return &LaterError{After: mailPause, Err: err}
		case 5:
			return &PermanentError{Err: err}
		}
		return err
	}
	if cause := ctx.Err(); cause != nil {
		err = cause // that it closed the connection says less
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		err = context.DeadlineExceeded
	}
	err = transportError(err, e.password)
	return fmt.Errorf("%s%s", lead, cut(clean(e.redacted(err.Error()), false), 300))
}

// redacted removes the password from a text, also as SMTP sends it (RFC 4616,
// and LOGIN).
func (e *email) redacted(s string) string {
	if e.password == "" {
		return s
	}
	for _, secret := range []string{
		base64.StdEncoding.EncodeToString([]byte("\x00" + e.username + "\x00" + e.password)),
		base64.StdEncoding.EncodeToString([]byte(e.password)),
		e.password,
	} {
		s = strings.ReplaceAll(s, secret, "[redacted]")
	}
	return s
}
