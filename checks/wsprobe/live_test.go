package wsprobe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tripline/tripline/checks/probe"
)

// certs makes certificates of one test authority.
type certs struct {
	t      *testing.T
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	caFile string
}

func newCerts(t *testing.T) *certs {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &certs{t: t, key: key}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if c.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	c.caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(c.caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *certs) leaf(name string, ends time.Duration, self bool) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(ends),
	}
	parent, signer := c.ca, c.key
	if self {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		c.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// nameServer answers for *.test; REFUSED for the rest.
func nameServer(t *testing.T) (addr string) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(buf[:n]) != nil || len(q.Questions) != 1 {
				continue
			}
			a := resolve(q)
			if b, err := a.Pack(); err == nil {
				_, _ = pc.WriteTo(b, from)
			}
		}
	}()
	t.Cleanup(func() { _ = pc.Close(); <-done })
	return pc.LocalAddr().String()
}

func resolve(q dnsmessage.Message) dnsmessage.Message {
	name, kind := q.Questions[0].Name, q.Questions[0].Type
	a := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: q.ID, Response: true, RecursionDesired: q.RecursionDesired, RecursionAvailable: true},
		Questions: q.Questions,
	}
	h := dnsmessage.ResourceHeader{Name: name, Type: kind, Class: dnsmessage.ClassINET, TTL: 1}
	v4 := slices.Contains([]string{"ws.test.", "dual.test."}, name.String())
	v6 := slices.Contains([]string{"v6only.test.", "dual.test."}, name.String())
	switch {
	case !strings.HasSuffix(name.String(), ".test."):
		a.RCode = dnsmessage.RCodeRefused
	case name.String() == "gone.test.":
		a.RCode = dnsmessage.RCodeNameError
	case v4 && kind == dnsmessage.TypeA:
		a.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
	case v6 && kind == dnsmessage.TypeAAAA:
		a.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AAAAResource{AAAA: [16]byte{15: 1}}}}
	}
	return a
}

// accept does a right handshake and the closing one.
func accept(conn net.Conn) {
	defer conn.Close()
	c := recording{Run: raw{
		Head:   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
		Accept: "ok", Stage: "open", End: " | our close 1000 answered",
	}}
	c.replay(nil, conn)
}

// tlsListen serves connections with serve after a TLS handshake.
func tlsListen(t *testing.T, cfg *tls.Config, serve func(net.Conn)) string {
	return listen(t, func(conn *net.TCPConn) {
		s := tls.Server(conn, cfg)
		defer s.Close()
		if s.Handshake() == nil {
			serve(s)
		}
	})
}

// readRequest reads a request head and drops it.
func readRequest(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)) }

// TestLiveStages meets the failures before HTTP with live listeners, and wants
// the classes of the recordings of the same names.
func TestLiveStages(t *testing.T) {
	c := newCerts(t)
	dns := nameServer(t)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	nobody := closedPort(t)
	plain := listen(t, func(conn *net.TCPConn) { accept(conn) })
	notTLS := listen(t, func(conn *net.TCPConn) {
		readRequest(conn)
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		conn.Close()
	})
	port := func(addr string) string { _, p, _ := net.SplitHostPort(addr); return p }
	secure := func(cfg *tls.Config, serve func(net.Conn)) string {
		return "wss://ws.test:" + port(tlsListen(t, cfg, serve)) + "/"
	}
	with := func(cert tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{cert}} }
	good := c.leaf("ws.test", time.Hour, false)
	h2only := &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		cfg := with(good)
		if slices.Contains(h.SupportedProtos, "h2") {
			cfg.NextProtos = []string{"h2"}
		}
		return cfg, nil
	}}
	strict := with(good)
	strict.NextProtos = []string{"spdy/3"} // with h2 Go's own server would not refuse, as others do
	mutual := with(good)
	mutual.ClientAuth = tls.RequireAnyClientCert
	settings := func(conn net.Conn) {
		readRequest(conn)
		_, _ = io.WriteString(conn, "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00d")
	}

	rows := []struct {
		id, url, resolver string
		class             probe.Class // where there is no recording
	}{
		{id: "dns-nx", url: "ws://gone.test:1/"},
		{id: "dns-nodata", url: "ws://onlytxt.test:1/"},
		{id: "dns-refused", url: "ws://foo.example:1/"},
		{id: "dns-timeout", url: "ws://ws.test:1/", resolver: silent.LocalAddr().String()},
		{id: "dns-dead", url: "ws://ws.test:1/", resolver: nobody},
		{id: "tcp-refused", url: "ws://" + nobody + "/"},
		{id: "tcp-timeout", url: "ws://" + fullBacklog(t) + "/"},
		{id: "tls-expired", url: secure(with(c.leaf("ws.test", -time.Hour, false)), accept)},
		{id: "tls-wronghost", url: secure(with(c.leaf("other.test", time.Hour, false)), accept)},
		{id: "tls-untrusted", url: secure(with(c.leaf("ws.test", time.Hour, true)), accept)},
		{id: "tls-h2only-h1", url: secure(h2only, readRequest)},
		{id: "tls-h2only-h2", url: secure(h2only, readRequest)},
		{id: "tls-h2only-noalpn", url: secure(h2only, readRequest)},
		{id: "ng-h2-alpn", url: secure(with(good), settings)},
		{id: "tls-h2strict-h1", url: secure(strict, accept)},
		{id: "tls-h2strict-both", url: secure(strict, accept)},
		{id: "tls-to-plain", url: "wss://ws.test:" + port(notTLS) + "/"},
		{id: "tls-mtls", url: secure(mutual, accept)},
		{id: "ng-tls", url: secure(with(good), accept)},
		{id: "closed after TLS", class: probe.HandshakeClosed, url: secure(&tls.Config{Certificates: with(good).Certificates, NextProtos: []string{"http/1.1"}}, readRequest)},
	}
	if v6, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Logf("SKIPPED v6-*: no IPv6 on this machine: %v", err)
	} else {
		p := port(v6.Addr().String())
		go func() {
			for {
				conn, err := v6.Accept()
				if err != nil {
					return
				}
				go accept(conn)
			}
		}()
		t.Cleanup(func() { _ = v6.Close() })
		rows = append(rows, rows[0], rows[0], rows[0])
		rows[len(rows)-3].id, rows[len(rows)-3].url = "v6-only", "ws://127.0.0.1:"+p+"/"
		rows[len(rows)-2].id, rows[len(rows)-2].url = "v6-name", "ws://v6only.test:"+p+"/"
		rows[len(rows)-1].id, rows[len(rows)-1].url = "v6-dual", "ws://dual.test:"+p+"/"
		four := rows[0]
		four.id, four.url = "v6-broken", "ws://dual.test:"+port(plain)+"/"
		rows = append(rows, four)
	}
	for _, r := range rows {
		if r.url == "ws:///" {
			t.Logf("SKIPPED %s: not on this system", r.id)
			continue
		}
		t.Run(r.id, func(t *testing.T) {
			t.Parallel()
			want := r.class
			if i := slices.IndexFunc(recordings(t), func(x recording) bool { return x.ID == r.id }); i >= 0 {
				want = recordings(t)[i].Expect
			}
			resolver := r.resolver
			if resolver == "" {
				resolver = dns
			}
			timeout := 5 * time.Second
			if strings.HasSuffix(string(want), "timeout") {
				timeout = 500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			n := probe.NewNetwork(probe.NetworkOptions{UserAgent: "Tripline/test"})
			set := probe.Connection{Resolver: resolver, TLS: &probe.TLSOptions{CAFile: c.caFile}}
			o := newProber(t, n, r.url, set, nil, nil, Options{}).Probe(ctx)
			t.Log(o.Class, o.Reason)
			if o.Class != want {
				t.Errorf("got %s (%s), want %s", o.Class, o.Reason, want)
			}
			if days, ok := o.Measures[probe.MeasureCertDays]; strings.HasPrefix(r.url, "wss") && o.Class == probe.OK && (!ok || days > 0.05 || days < 0.03) {
				t.Errorf("%s %v, want about an hour", probe.MeasureCertDays, days)
			}
		})
	}
}

// closedPort returns an address where nobody listens.
func closedPort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
