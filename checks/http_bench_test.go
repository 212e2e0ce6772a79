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
	health := &Health{URL: "http://" + plain + "/health"}
	route := &Route{URL: "http://" + plain + "/health", Contains: probe.List{"ok"}}
	env := probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{UserAgent: "Tripline/bench"})}
	run := func(s Settings) func() error {
		if p := s.Validate(env); len(p) > 0 {
			b.Fatal(p)
		}
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
	type benchmark struct {
		name        string
		bare, probe func() error
		full        func() error
	}
	all := []benchmark{
		{"health", loop(plain, nil), run(health), nil},
		{"route", loop(plain, nil), run(route), nil},
	}
	for i, curve := range benchCurves() {
		file := filepath.Join(b.TempDir(), curve.Params().Name+".pem")
		if err := os.WriteFile(file, ca[i], 0o600); err != nil {
			b.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca[i])
		secureRoute := &Route{URL: "https://" + secure[i] + "/health", Connection: probe.Connection{TLS: &probe.TLSOptions{CAFile: file}}}
		full := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
		all = append(all, benchmark{"https/" + curve.Params().Name, loop(secure[i], cachedChain(roots)), run(secureRoute), loop(secure[i], full)})
	}
	for _, bm := range all {
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
	plain, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listeners := []net.Listener{plain}
	text := "listening on " + plain.Addr().String()
	for _, curve := range benchCurves() {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cert, ca := benchCertificate(t, curve)
		listeners = append(listeners, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}))
		text += fmt.Sprintf(" %s %x", l.Addr(), ca)
	}
	fmt.Println(text)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	const body = `{"status":"ok","version":"1.4.2","environment":"prod","checks":{"db":"ok"}}`
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	var wg sync.WaitGroup
	for _, l := range listeners {
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

// benchCurves are those of the authorities that sign: public ones use P-384, which
// is slow to verify; private ones often P-256.
func benchCurves() []elliptic.Curve { return []elliptic.Curve{elliptic.P384(), elliptic.P256()} }

// benchCertificate returns a certificate for 127.0.0.1 that an authority with a key
// on the curve signed, and the authority as PEM.
func benchCertificate(t testing.TB, curve elliptic.Curve) (tls.Certificate, []byte) {
	caKey, err := ecdsa.GenerateKey(curve, rand.Reader)
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

// startTarget returns the addresses of the target and, for each of benchCurves, the
// authority as PEM.
func startTarget(b *testing.B) (plain string, secure []string, ca [][]byte) {
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
	secure, ca = make([]string, 2), make([][]byte, 2)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "listening on %s %s %x %s %x", &plain, &secure[0], &ca[0], &secure[1], &ca[1]); err == nil {
			return plain, secure, ca
		}
	}
	b.Fatal("the target did not start")
	return "", nil, nil
}
