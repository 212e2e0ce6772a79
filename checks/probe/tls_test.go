package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestTLSFailures(t *testing.T) {
	ca := newAuthority(t)
	cfg := func(change func(*x509.Certificate)) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, change)}}
	}
	good := cfg(nil)
	web := func(c *tls.Config) string { return serveTLS(t, c, answer(okAnswer)) }
	mtls := func(version uint16) *tls.Config {
		c := cfg(nil)
		c.ClientAuth, c.ClientCAs, c.MaxVersion = tls.RequireAndVerifyClientCert, x509.NewCertPool(), version
		c.ClientCAs.AddCert(ca.cert)
		return c
	}
	foreign := newAuthority(t)
	foreignCert, foreignKey := files(t, foreign.leaf(t, nil))
	h2only := cfg(nil)
	h2only.NextProtos = []string{"acme-tls/1"} // refuses others with alert 120; for h2 alone crypto/tls makes an exception
	quietH2 := cfg(nil)                        // takes h2 if offered, else speaks no ALPN and says nothing
	quietH2.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		c := cfg(nil)
		for _, p := range h.SupportedProtos {
			if p == "h2" {
				c.NextProtos = []string{"h2"}
			}
		}
		return c, nil
	}
	trust := &TLSOptions{CAFile: ca.file}
	tests := []struct {
		name  string
		addr  string
		tls   *TLSOptions
		class Class
		stage Stage
		texts string
	}{
		{"expired", web(cfg(func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-90*24*time.Hour), time.Now().Add(-72*time.Hour)
		})), trust, TLSExpired, StageTLS, "the certificate leaf expired 3 days ago, on 20"},
		{"not yet valid", web(cfg(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) })), trust, TLSExpired, StageTLS, "valid only from"},
		{"other name", web(cfg(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.test", "*.other.test"} })), trust, TLSHostname, StageTLS, "is for other.test, *.other.test, want 127.0.0.1"},
		{"no name", web(cfg(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, nil })), trust, TLSHostname, StageTLS, "no name at all (CN leaf)"},
		{"wanted name", web(good), &TLSOptions{CAFile: ca.file, ServerName: "x.test"}, TLSHostname, StageTLS, "want x.test"},
		{"unknown root", web(good), nil, TLSUntrusted, StageTLS, "no trusted root for the certificate leaf of Test Root"},
		{"self-signed", web(&tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}), trust, TLSUntrusted, StageTLS, "self-signed"},
		{"not for servers", web(cfg(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })), trust, TLSUntrusted, StageTLS, "incompatible key usage"},
		{"other protocols only", web(h2only), trust, TLSALPN, StageTLS, "alert 120, no application protocol"},
		{"h2 only, silent", serveTLS(t, quietH2, func(c net.Conn) { readRequest(c) }), trust, TLSALPN, StageTLS, "the server speaks HTTP/2 only"},
		{"h2 frames", serveTLS(t, good, answer("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00d")), trust, TLSALPN, StageTLS, "HTTP/2 without having agreed"},
		{"silent after TLS, no ALPN", serveTLS(t, good, func(c net.Conn) { readRequest(c) }), trust, HandshakeClosed, StageHandshake, "before the first byte"},
		{"client certificate missing, TLS 1.3", web(mtls(0)), trust, TLSClientCert, StageTLS, "wants a client certificate|alert 116"},
		{"client certificate missing, TLS 1.2", web(mtls(tls.VersionTLS12)), trust, TLSClientCert, StageTLS, "wants a client certificate"},
		{"client certificate of another CA", web(mtls(0)), &TLSOptions{CAFile: ca.file, ClientCert: foreignCert, ClientKey: foreignKey}, TLSClientCert, StageTLS, "does not accept the client certificate|alert"},
		{"version", web(&tls.Config{Certificates: good.Certificates, MaxVersion: tls.VersionTLS12}), &TLSOptions{CAFile: ca.file, MinVersion: "1.3"}, TLSHandshake, StageTLS, "version"},
		{"plain port", serve(t, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); silent(c) }), trust, SchemeMismatch, StageTLS, `first bytes are "HTTP/"`},
		{"banner", serve(t, func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2p1\r\n"); silent(c) }), trust, SchemeMismatch, StageTLS, `first bytes are "SSH-2"`},
		{"closed", serve(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }), trust, TLSHandshake, StageTLS, "the connection ended in the TLS handshake"},
		{"reset", serve(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)); reset(c) }), trust, TLSHandshake, StageTLS, "the connection ended in the TLS handshake (RST)"},
		{"silent", serve(t, silent), trust, TLSHandshake, StageTLS, "the TLS handshake did not end in"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := testNetwork()
			limit := 10 * time.Second
			if tt.name == "silent" {
				limit = 300 * time.Millisecond
			}
			_, _, f := get(t, n, target(t, n, "https://"+tt.addr+"/", Connection{TLS: tt.tls}), limit)
			wantFailure(t, f, tt.class, tt.stage, strings.Split(tt.texts, "|")...)
			if f == nil {
				return
			}
			if f.TLS == nil {
				t.Error("no TLS facts")
			}
			if (tt.class == TLSExpired) && (!f.HasCert || tt.name == "expired" && (f.DaysLeft > -2.9 || f.DaysLeft < -3.1)) {
				t.Errorf("days left %v %v", f.DaysLeft, f.HasCert)
			}
		})
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := newAuthority(t)
	tmpl := *a.cert
	tmpl.IsCA, tmpl.PublicKey, tmpl.IPAddresses = false, nil, []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, &tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTLSSuccess(t *testing.T) {
	ca := newAuthority(t)
	cert, key := files(t, ca.leaf(t, nil))
	cfg := &tls.Config{
		Certificates: []tls.Certificate{ca.leaf(t, nil)}, NextProtos: []string{"h2", "http/1.1"},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(),
	}
	cfg.ClientCAs.AddCert(ca.cert)
	n := testNetwork()
	tg := target(t, n, "https://"+serveTLS(t, cfg, answer(okAnswer))+"/", Connection{
		TLS: &TLSOptions{CAFile: ca.file, ClientCert: cert, ClientKey: key, ServerName: "example.test", MinVersion: "1.3"},
	})
	for range 2 { // the second time with the remembered chain
		body, resp, f := get(t, n, tg, 5*time.Second)
		if f != nil || body != "ok" {
			t.Fatalf("%q %+v", body, f)
		}
		facts := resp.Conn.TLSFacts()
		if facts.Version != "TLS 1.3" || facts.ALPN != "http/1.1" || facts.Subject != "leaf" || facts.Issuer != "Test Root" || len(facts.Names) != 3 {
			t.Errorf("facts %+v", facts)
		}
		if days, ok := resp.Conn.CertDaysLeft(); !ok || days < 29.9 || days > 30 {
			t.Errorf("days left %v %v", days, ok)
		}
		if left := resp.Conn.CertMeasures()[MeasureCertLeft]; left < 0.9 || left > 1 {
			t.Errorf("share of the lifetime left %v", left)
		}
		if resp.Conn.Phases.TLS <= 0 || resp.Latency() < resp.Conn.Phases.TLS {
			t.Errorf("phases %+v, latency %s", resp.Conn.Phases, resp.Latency())
		}
	}
	if len(n.chains.known) != 1 {
		t.Errorf("%d chains remembered, want 1", len(n.chains.known))
	}
}

func TestInsecureStillMeasuresExpiry(t *testing.T) {
	ca := newAuthority(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-24 * time.Hour) })}}
	n := testNetwork()
	tg := target(t, n, "https://"+serveTLS(t, cfg, answer(okAnswer))+"/", Connection{TLS: &TLSOptions{InsecureSkipVerify: true}})
	_, resp, f := get(t, n, tg, 5*time.Second)
	if f != nil {
		t.Fatal(f.Reason)
	}
	if days, ok := resp.Conn.CertDaysLeft(); !ok || days > -0.9 {
		t.Errorf("days left %v %v", days, ok)
	}
	if len(n.chains.known) != 0 {
		t.Error("a chain was remembered without having been verified")
	}
}

// The chain is remembered, the proof that the server has its key is not.
func TestRememberedChainStillNeedsTheKey(t *testing.T) {
	ca := newAuthority(t)
	leaf := ca.leaf(t, nil)
	stolen := tls.Certificate{Certificate: leaf.Certificate}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stolen.PrivateKey = key
	now := make(chan tls.Certificate, 1)
	addr := serve(t, func(c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{<-now}})
		if s.HandshakeContext(context.WithoutCancel(t.Context())) == nil {
			answer(okAnswer)(s)
		}
	})
	n := testNetwork()
	tg := target(t, n, "https://"+addr+"/", Connection{TLS: &TLSOptions{CAFile: ca.file}})
	now <- leaf
	if _, _, f := get(t, n, tg, 5*time.Second); f != nil {
		t.Fatal(f.Reason)
	}
	now <- stolen
	_, _, f := get(t, n, tg, 5*time.Second)
	wantFailure(t, f, TLSHandshake, StageTLS, "invalid signature")
}

func TestChainCache(t *testing.T) {
	now := time.Now()
	n := testNetwork()
	c := &n.chains
	key := func(i int) (k chainKey) {
		k[0], k[1] = byte(i), byte(i>>8)
		return k
	}
	c.put(key(1), now.Add(time.Hour), now)
	c.put(key(2), now.Add(time.Minute), now)
	for _, tt := range []struct {
		key  int
		at   time.Duration
		want bool
	}{
		{1, 0, true},
		{1, chainLife - time.Second, true},
		{1, chainLife, false},
		{2, 59 * time.Second, true},
		{2, time.Minute, false}, // never past the end of validity
		{3, 0, false},
	} {
		if ends, ok := c.get(key(tt.key), now.Add(tt.at)); ok != tt.want || ok && ends.IsZero() {
			t.Errorf("key %d at %s: %v, want %v", tt.key, tt.at, ok, tt.want)
		}
	}
	for i := range 2 * maxChains {
		c.put(key(i), now.Add(time.Hour), now)
	}
	if len(c.known) > maxChains {
		t.Errorf("%d chains, want at most %d", len(c.known), maxChains)
	}
	a, b := newAuthority(t).cert, newAuthority(t).cert
	one := &Target{serverName: "x.test"}
	keys := map[chainKey]bool{
		keyOf(one, []*x509.Certificate{a}):                                                             true,
		keyOf(one, []*x509.Certificate{a, b}):                                                          true,
		keyOf(one, []*x509.Certificate{b, a}):                                                          true,
		keyOf(&Target{serverName: "y.test"}, []*x509.Certificate{a}):                                   true,
		keyOf(&Target{serverName: "x.test", options: TLSOptions{CAFile: "c"}}, []*x509.Certificate{a}): true,
	}
	if len(keys) != 5 {
		t.Errorf("%d keys, want 5", len(keys))
	}
}

func TestAlerts(t *testing.T) {
	if class, _ := alertClass(io.EOF, true, false); class != "" {
		t.Errorf("EOF is alert class %s", class)
	}
	if class, _ := alertClass(&net.OpError{Op: "remote error", Err: io.EOF}, true, false); class != "" {
		t.Errorf("no alert is class %s", class)
	}
}
