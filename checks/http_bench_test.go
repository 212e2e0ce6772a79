package checks

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// BenchmarkHTTP compares probes with bare loops: the least code that can do the
// same. They run in turns against one target, so that what else the machine
// does weighs on all of them. The figure to watch is cpu-ratio. For https, full
// is a bare loop that verifies the chain each time, as net/http does.
func BenchmarkHTTP(b *testing.B) {
	plain, secure, ca := startTarget(b)
	file := filepath.Join(b.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	conn := probe.Connection{TLS: &probe.TLSOptions{CAFile: file}}
	health := &Health{URL: "http://" + plain + "/health"}
	route := &Route{URL: "http://" + plain + "/health", Contains: probe.List{"ok"}}
	secureRoute := &Route{URL: "https://" + secure + "/health", Connection: conn}
	env := probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{UserAgent: "Tripline/bench"})}
	for _, s := range []Settings{health, route, secureRoute} {
		if p := s.Validate(env); len(p) > 0 {
			b.Fatal(p)
		}
	}
	run := func(s Settings) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
			defer cancel()
			if o := s.Probe(ctx); o.Class != probe.OK {
				return fmt.Errorf("%s: %s", o.Class, o.Reason)
			}
			return nil
		}
	}
	floor := &bareLoop{readers: sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }}}
	loop := func(addr string, cfg *tls.Config) func() error {
		ctx := context.WithoutCancel(b.Context()) // cannot be cancelled, which costs less
		return func() error { return floor.probe(ctx, addr, cfg) }
	}
	full := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
	for _, bm := range []struct {
		name        string
		bare, probe func() error
		full        func() error
	}{
		{"health", loop(plain, nil), run(health), nil},
		{"route", loop(plain, nil), run(route), nil},
		{"https", loop(secure, cachedChain(roots)), run(secureRoute), loop(secure, full)},
	} {
		b.Run(bm.name, func(b *testing.B) {
			const turn = 50
			var cpu [3]time.Duration
			b.ReportAllocs()
			for b.Loop() {
				for i, f := range []func() error{bm.bare, bm.probe, bm.full} {
					if f == nil {
						continue
					}
					start := cpuTime()
					for range turn {
						if err := f(); err != nil {
							b.Fatal(err)
						}
					}
					cpu[i] += cpuTime() - start
				}
			}
			n := float64(b.N) * turn * 1000
			b.ReportMetric(float64(cpu[0])/n, "bare-us")
			b.ReportMetric(float64(cpu[1])/n, "probe-us")
			b.ReportMetric(float64(cpu[1])/float64(cpu[0]), "cpu-ratio")
			if bm.full != nil {
				b.ReportMetric(float64(cpu[1])/float64(cpu[2]), "full-ratio")
			}
		})
	}
}

// cachedChain is the least code that remembers a verified chain.
func cachedChain(roots *x509.CertPool) *tls.Config {
	var mu sync.Mutex
	known := map[[sha256.Size]byte]bool{}
	return &tls.Config{
		InsecureSkipVerify: true, // VerifyConnection verifies
		ServerName:         "127.0.0.1",
		VerifyConnection: func(s tls.ConnectionState) error {
			h := sha256.New()
			for _, c := range s.PeerCertificates {
				h.Write(c.Raw)
			}
			k := [sha256.Size]byte(h.Sum(nil))
			mu.Lock()
			defer mu.Unlock()
			if known[k] {
				return nil
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: "127.0.0.1"})
			known[k] = err == nil
			return err
		},
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bareLoop is what one check costs by the least code: no classes, no evidence.
type bareLoop struct{ readers sync.Pool }

func (l *bareLoop) probe(ctx context.Context, addr string, cfg *tls.Config) error {
	d := net.Dialer{KeepAlive: -1}
	c, err := d.DialContext(ctx, "tcp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if cfg != nil {
		s := tls.Client(c, cfg)
		if err := s.HandshakeContext(ctx); err != nil {
			return err
		}
		c = s
	}
	if _, err := fmt.Fprintf(c, "GET /health HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nConnection: close\r\n\r\n", addr); err != nil {
		return err
	}
	br := l.readers.Get().(*bufio.Reader)
	defer l.readers.Put(br)
	br.Reset(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return err
}

// TestBenchTarget is the target of BenchmarkHTTP, in a process of its own so
// that its CPU is not counted: a server that costs as little as can be.
func TestBenchTarget(t *testing.T) {
	if os.Getenv("TRIPLINE_BENCH_TARGET") == "" {
		t.Skip("runs only as a child of BenchmarkHTTP")
	}
	cert, ca := benchCertificate(t)
	plain, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	secure = tls.NewListener(secure, &tls.Config{Certificates: []tls.Certificate{cert}})
	fmt.Printf("listening on %s %s %x\n", plain.Addr(), secure.Addr(), ca)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		_ = plain.Close()
		_ = secure.Close()
	}()
	const body = `{"status":"ok","version":"1.4.2","environment":"prod","checks":{"db":"ok"}}`
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	var wg sync.WaitGroup
	for _, l := range []net.Listener{plain, secure} {
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					buf := make([]byte, 1024)
					if _, err := c.Read(buf); err == nil {
						_, _ = c.Write(answer)
					}
				}()
			}
		})
	}
	wg.Wait()
}

// benchCertificate returns a certificate for 127.0.0.1 that a P-384 authority
// signed, as public ones do, and the authority as PEM.
func benchCertificate(t testing.TB) (tls.Certificate, []byte) {
	caKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
}

func startTarget(b *testing.B) (plain, secure string, ca []byte) {
	child := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestBenchTarget$", "-test.v")
	child.Env = append(os.Environ(), "TRIPLINE_BENCH_TARGET=1")
	stdin, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = child.Wait()
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "listening on %s %s %x", &plain, &secure, &ca); err == nil {
			return plain, secure, ca
		}
	}
	b.Fatal("the target did not start")
	return "", "", nil
}
