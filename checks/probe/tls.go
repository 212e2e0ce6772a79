package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strings"
	"syscall"
	"time"
)

// compileTLS prepares the TLS policy of t from its options. Equal options share
// one tls.Config, with its roots and client certificate.
func (n *Network) compileTLS(t *Target) []Problem {
	o := t.options
	if o.ServerName != "" {
		t.serverName = o.ServerName
	}
	var problems []Problem
	problem := func(path string, err error) {
		if err != nil {
			problems = append(problems, Problem{"tls." + path, err.Error()})
		}
	}
	version, err := tlsVersion(o.MinVersion)
	problem("min_version", err)
	var roots *x509.CertPool
	if o.CAFile != "" {
		roots, err = Shared(n, "ca:"+o.CAFile, func() (*x509.CertPool, error) { return readRoots(o.CAFile) })
		problem("ca_file", err)
	}
	var cert *tls.Certificate
	switch {
	case o.ClientCert != "" && o.ClientKey != "":
		cert, err = Shared(n, "cert:"+o.ClientCert+"\x00"+o.ClientKey, func() (*tls.Certificate, error) {
			c, err := tls.LoadX509KeyPair(o.ClientCert, o.ClientKey)
			return &c, err
		})
		problem("client_cert", err)
	case o.ClientCert != "":
		problem("client_key", errors.New("client_cert is set and client_key is not"))
	case o.ClientKey != "":
		problem("client_cert", errors.New("client_key is set and client_cert is not"))
	}
	if len(problems) > 0 {
		return problems
	}
	key := fmt.Sprintf("tls:%q %q %q %d", o.CAFile, o.ClientCert, o.ClientKey, version)
	t.tls, _ = Shared(n, key, func() (*tls.Config, error) {
		cfg := &tls.Config{
			RootCAs:    roots,
			MinVersion: version,
			NextProtos: []string{"http/1.1"}, // without it a server may choose h2 or refuse in silence
			// verifyServer, set for each connection, replaces the verification
			// of crypto/tls: it remembers chains that were verified.
			InsecureSkipVerify: true,
		}
		if cert != nil {
			cfg.Certificates = []tls.Certificate{*cert}
		}
		return cfg, nil
	})
	return nil
}

func tlsVersion(s string) (uint16, error) {
	switch s {
	case "", "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("%q is no choice, want 1.2 or 1.3", s)
}

func readRoots(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// handshake does the TLS handshake for t on the connection as it is.
func (c *Conn) handshake(ctx context.Context, t *Target) *Failure {
	start := time.Now()
	cfg := t.tls.Clone()
	cfg.ServerName = t.serverName
	cfg.VerifyConnection = func(s tls.ConnectionState) error { return c.verifyServer(t, s) }
	cfg.GetClientCertificate = func(q *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c.certAsked = true
		for i := range cfg.Certificates {
			if q.SupportsCertificate(&cfg.Certificates[i]) == nil {
				return &cfg.Certificates[i], nil
			}
		}
		return &tls.Certificate{}, nil
	}
	c.tls = tls.Client(c.Conn, cfg)
	// attach has tied the connection to ctx already: the handshake need not.
	err := c.tls.HandshakeContext(context.WithoutCancel(ctx))
	c.Phases.TLS += time.Since(start)
	if err == nil {
		c.Conn = c.tls
		return nil
	}
	class, reason := c.tlsClass(t, err)
	return c.Fail(class, stageOf(class, StageTLS), reason, err)
}

// verifyServer verifies the server's chain for t, or remembers that it did so
// lately. The handshake's signature, that the server has the key, is checked by
// crypto/tls every time.
func (c *Conn) verifyServer(t *Target, s tls.ConnectionState) error {
	leaf := s.PeerCertificates[0]
	c.certLife = leaf.NotAfter.Sub(leaf.NotBefore)
	if t.options.InsecureSkipVerify {
		c.chainEnds = leaf.NotAfter
		return nil
	}
	now := time.Now()
	key := keyOf(t, s.PeerCertificates)
	if ends, ok := c.n.chains.get(key, now); ok {
		c.chainEnds = ends
		return nil
	}
	between := x509.NewCertPool()
	for _, cert := range s.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: t.tls.RootCAs, Intermediates: between, DNSName: t.serverName, CurrentTime: now,
	})
	if err != nil {
		c.certErr = err
		return err
	}
	c.chainEnds = chainsEnd(chains)
	c.n.chains.put(key, c.chainEnds, now)
	return nil
}

// tlsClass names a failed handshake with t.
func (c *Conn) tlsClass(t *Target, err error) (Class, string) {
	if c.certErr != nil {
		return c.certClass(t, c.certErr)
	}
	if class, reason := alertClass(err, c.certAsked, len(t.tls.Certificates) > 0); class != "" {
		return class, reason
	}
	if h, ok := errors.AsType[tls.RecordHeaderError](err); ok && strings.Contains(h.Msg, "first record") {
		return SchemeMismatch, fmt.Sprintf("the server does not speak TLS here: its first bytes are %s", quoteFirst(h.RecordHeader[:]))
	}
	switch {
	case isTimeout(err):
		return TLSHandshake, "the TLS handshake did not end in " + c.spent()
	case closed(err):
		return TLSHandshake, "the connection ended in the TLS handshake (" + ending(err) + ")"
	}
	return TLSHandshake, "TLS handshake: " + cause(err)
}

// certClass names why a certificate was not accepted.
func (c *Conn) certClass(t *Target, err error) (Class, string) {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		c.chainEnds, c.certLife = e.Cert.NotAfter, e.Cert.NotAfter.Sub(e.Cert.NotBefore)
		now := time.Now()
		if now.Before(e.Cert.NotBefore) {
			return TLSExpired, fmt.Sprintf("the certificate %s is valid only from %s", subject(e.Cert), day(e.Cert.NotBefore))
		}
		return TLSExpired, fmt.Sprintf("the certificate %s expired %s ago, on %s", subject(e.Cert), long(now.Sub(e.Cert.NotAfter)), day(e.Cert.NotAfter))
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return TLSHostname, fmt.Sprintf("the certificate is for %s, want %s", certNames(e.Certificate, 5), t.serverName)
	}
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		if e.Cert != nil && e.Cert.Issuer.String() == e.Cert.Subject.String() {
			return TLSUntrusted, fmt.Sprintf("the certificate %s is self-signed and not trusted", subject(e.Cert))
		}
		return TLSUntrusted, fmt.Sprintf("no trusted root for the certificate %s of %s (is an intermediate certificate missing?)", subject(e.Cert), issuer(e.Cert))
	}
	if errors.As(err, new(x509.SystemRootsError)) {
		return OwnNetwork, "this machine has no trusted root certificates: " + cause(err)
	}
	return TLSUntrusted, strings.TrimPrefix(cause(err), "x509: ")
}

// Alerts of RFC 8446 §6 that name a cause. Those about certificates come from
// the server, so they are about the certificate that we showed, or did not.
const (
	alertHandshakeFailure = 40
	alertBadCertificate   = 42
	alertUnknownCA        = 48
	alertIllegalParameter = 47
	alertAccessDenied     = 49
	alertProtocolVersion  = 70
	alertUnrecognizedName = 112
	alertCertRequired     = 116
	alertNoProtocol       = 120
)

// alertClass names an alert sent by the server; "" if err is none.
func alertClass(err error, asked, shown bool) (Class, string) {
	number, ok := remoteAlert(err)
	if !ok {
		return "", ""
	}
	ours := "the server wants a client certificate"
	if shown {
		ours = "the server does not accept the client certificate"
	}
	text := fmt.Sprintf(" (TLS alert %d, %s)", number, strings.TrimPrefix(cause(err), "tls: "))
	switch number {
	case alertBadCertificate, 43, 44, 45, 46, alertUnknownCA, alertAccessDenied, alertCertRequired:
		return TLSClientCert, ours + text
	case alertHandshakeFailure:
		if asked && !shown { // TLS 1.2 has no alert of its own for a missing certificate
			return TLSClientCert, ours + text
		}
	case alertProtocolVersion:
		return TLSHandshake, "the server speaks no TLS version that is allowed here" + text
	case alertUnrecognizedName:
		return TLSHostname, "the server does not know the name that was asked for" + text
	case alertNoProtocol:
		return TLSALPN, "the server does not speak HTTP/1.1" + text
	}
	return TLSHandshake, "the server broke off the TLS handshake" + text
}

// remoteAlert returns the number of an alert that the server sent. The type in
// crypto/tls is not exported for connections.
func remoteAlert(err error) (number uint8, ok bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" || op.Err == nil {
		return 0, false
	}
	v := reflect.ValueOf(op.Err)
	if v.Kind() != reflect.Uint8 {
		return 0, false
	}
	return uint8(v.Uint()), true
}

// provesH2 finds out, after a server that took no part in ALPN (RFC 7301)
// ended the connection without a word, whether it speaks HTTP/2 only: offered
// h2 alone, it takes it. One further handshake, without a request.
func (c *Conn) provesH2() bool {
	if c.t.proxy != nil || len(c.tried) == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(c.ctx, 2*time.Second)
	defer cancel()
	won := c.tried[0]
	for _, a := range c.tried {
		if a.err == nil {
			won = a
		}
	}
	raw, err := c.n.dialer.DialContext(ctx, "tcp", net.JoinHostPort(won.ip.String(), c.t.port))
	if err != nil {
		return false
	}
	defer raw.Close()
	cfg := c.t.tls.Clone()
	cfg.ServerName, cfg.NextProtos, cfg.Certificates = c.t.serverName, []string{"h2"}, nil
	conn := tls.Client(raw, cfg)
	return conn.HandshakeContext(ctx) == nil && conn.ConnectionState().NegotiatedProtocol == "h2"
}

// closed says whether err means that the peer ended the connection.
func closed(err error) bool {
	return isEOF(err) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED)
}
