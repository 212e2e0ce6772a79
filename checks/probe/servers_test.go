package probe

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs handle for each connection to a listener on loopback and returns
// its address. It all ends with the test.
func serve(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	return serveOn(t, "127.0.0.1:0", handle)
}

func serveOn(t testing.TB, address string, handle func(net.Conn)) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Skipf("no listener on %s: %v", address, err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			wg.Go(func() {
				defer func() {
					_ = c.Close()
					mu.Lock()
					delete(open, c)
					mu.Unlock()
				}()
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// readRequest reads one request head.
func readRequest(c net.Conn) string {
	var b strings.Builder
	br := bufio.NewReader(c)
	for {
		line, err := br.ReadString('\n')
		b.WriteString(line)
		if err != nil || strings.TrimSpace(line) == "" {
			return b.String()
		}
	}
}

// answer returns a handler that reads a request and writes text.
func answer(text string) func(net.Conn) {
	return func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, text)
	}
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// silent reads for ever.
func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// reset ends a connection with RST.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// drip writes text a byte at a time until the peer is gone.
func drip(c net.Conn, text string, pause time.Duration) {
	t := time.NewTicker(pause)
	defer t.Stop()
	for i := 0; ; i++ {
		if _, err := c.Write([]byte{text[i%len(text)]}); err != nil {
			return
		}
		<-t.C
	}
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test Root"},
		NotBefore: time.Now().Add(-time.Hour * 1000), NotAfter: time.Now().Add(time.Hour * 10000),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{cert: cert, key: key, file: filepath.Join(t.TempDir(), "ca.pem")}
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// leaf signs a certificate for 127.0.0.1 and example.test; change changes it first.
func (a *authority) leaf(t testing.TB, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		DNSNames: []string{"example.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files writes a certificate and its key as PEM files.
func files(t testing.TB, c tls.Certificate) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, cert, "CERTIFICATE", c.Certificate[0])
	der, err := x509.MarshalECPrivateKey(c.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, key, "EC PRIVATE KEY", der)
	return cert, key
}

// serveTLS is serve with TLS.
func serveTLS(t testing.TB, cfg *tls.Config, handle func(net.Conn)) string {
	t.Helper()
	return serve(t, func(c net.Conn) {
		s := tls.Server(c, cfg)
		if s.HandshakeContext(context.WithoutCancel(t.Context())) == nil {
			handle(s)
			_ = s.CloseWrite()
		}
	})
}

// dnsAnswer is what the test DNS server says to a question; silence if nil.
type dnsAnswer struct {
	rcode dnsmessage.RCode
	addrs []netip.Addr
}

// serveDNS runs a DNS server on loopback and returns its address.
func serveDNS(t testing.TB, say func(name string, kind dnsmessage.Type) *dnsAnswer) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			if b := dnsReply(buf[:n], say); b != nil {
				_, _ = l.WriteTo(b, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.LocalAddr().String()
}

func dnsReply(query []byte, say func(string, dnsmessage.Type) *dnsAnswer) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(query)
	if err != nil {
		return nil
	}
	q, err := p.Question()
	if err != nil {
		return nil
	}
	a := say(strings.TrimSuffix(q.Name.String(), "."), q.Type)
	if a == nil {
		return nil
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: h.ID, Response: true, RecursionAvailable: true, RCode: a.rcode},
		Questions: []dnsmessage.Question{q},
	}
	for _, ip := range a.addrs {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
		switch {
		case ip.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AResource{A: ip.As4()}})
		case ip.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rh, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

// names is a DNS server that knows these names.
func names4and6(t testing.TB, hosts map[string][]string) string {
	return serveDNS(t, func(name string, _ dnsmessage.Type) *dnsAnswer {
		list, ok := hosts[name]
		if !ok {
			return &dnsAnswer{rcode: dnsmessage.RCodeNameError}
		}
		a := &dnsAnswer{}
		for _, ip := range list {
			a.addrs = append(a.addrs, netip.MustParseAddr(ip))
		}
		return a
	})
}

func testNetwork(secrets ...string) *Network {
	return NewNetwork(NetworkOptions{UserAgent: "Tripline/test", Redact: NewRedactor(secrets...)})
}

// target compiles a URL and settings that are right.
func target(t testing.TB, n *Network, raw string, c Connection) *Target {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	tg, problems := n.Target(u, c)
	if len(problems) > 0 {
		t.Fatalf("%s: %v", raw, problems)
	}
	return tg
}

// get makes one GET with a time limit, reads the body, and returns it.
func get(t testing.TB, n *Network, tg *Target, limit time.Duration) (string, *Response, *Failure) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	fields, problems := n.Fields(tg, nil, nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	resp, f := n.Exchange(ctx, NewRequest(tg, http.MethodGet, fields, nil))
	if f != nil {
		return "", nil, f
	}
	defer resp.Close()
	body, f := resp.ReadBody(1<<20, true)
	return string(body), resp, f
}

// wantFailure checks the class and stage of a failure, and that its reason
// holds each of the texts.
func wantFailure(t testing.TB, f *Failure, class Class, stage Stage, texts ...string) {
	t.Helper()
	if f == nil {
		t.Fatalf("no failure, want %s", class)
	}
	if f.Class != class || f.Stage != stage {
		t.Errorf("got %s at %s (%s; %v), want %s at %s", f.Class, f.Stage, f.Reason, f.Err, class, stage)
	}
	for _, text := range texts {
		if !strings.Contains(f.Reason, text) {
			t.Errorf("reason %q does not hold %q", f.Reason, text)
		}
	}
}

// closedPort returns an address on which nobody listens.
func closedPort(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func port(addr string) string {
	_, p, err := net.SplitHostPort(addr)
	if err != nil {
		panic(errors.New("no port in " + addr))
	}
	return p
}
