package notify

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
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

// send makes one attempt. What a 2xx after the final dot says was told; an
// answer of 4xx wants another attempt later, one of 5xx wants none (RFC 5321
// §4.2.1). Without an answer nothing is known.
func (e *email) send(ctx context.Context, msg *mail.Msg) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultTimeout)
	}
	var conn net.Conn
	options := []mail.Option{
		mail.WithTimeout(max(time.Until(deadline), time.Millisecond)), mail.WithTLSConfig(e.tls), mail.WithHELO("tripline"),
		mail.WithDialContextFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
			var err error
			conn, err = e.dial(ctx, network, address)
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
		return &PermanentError{Err: e.failed(ctx, "", err)}
	}
	defer func() {
		if conn != nil {
			_ = conn.Close() // whatever became of it is known already
		}
	}()
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return e.failed(ctx, "", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // the library looks at its own deadlines only
	defer stop()
	if err := e.transfer(ctx, session, msg); err != nil {
		return err
	}
	_ = session.Quit() // the message is theirs, whatever they answer
	return nil
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
func (e *email) transfer(ctx context.Context, session *smtp.Client, msg *mail.Msg) error {
	if err := session.Mail("<" + e.from.Address + ">"); err != nil {
		return e.failed(ctx, "MAIL FROM", err)
	}
	var refused []error
	for _, to := range e.to {
		if err := session.Rcpt("<" + to.Address + ">"); err != nil {
			refused = append(refused, e.failed(ctx, "RCPT TO "+to.Address, err))
		}
	}
	if len(refused) == len(e.to) {
		for _, err := range refused {
			if _, permanent := errors.AsType[*PermanentError](err); !permanent {
				return err // one of them may be taken later
			}
		}
		return refused[0]
	}
	w, err := session.Data()
	if err != nil {
		return e.failed(ctx, "DATA", err)
	}
	if _, err := msg.WriteTo(w); err != nil {
		return e.failed(ctx, "the message", err)
	}
	if err := w.Close(); err != nil {
		if _, answered := errors.AsType[*textproto.Error](err); answered {
			return e.failed(ctx, "the end of the message", err)
		}
		return fmt.Errorf("%w: %w", e.failed(ctx, "the end of the message", err), errHanded)
	}
	if e.log != nil {
		for _, err := range refused {
			e.log.Warn("a recipient was not told", "err", err)
		}
	}
	return nil
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
