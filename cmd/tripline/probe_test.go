package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var updateProbe = flag.Bool("update-probe", false, "write the outputs of probe into testdata/probe/*.txtar")

// TestProbe runs tripline probe against servers that answer as real ones were
// recorded to: testdata/probe/*.txtar. What it prints is compared whole.
func TestProbe(t *testing.T) {
	good := newTarget(t)
	addrs := map[string]string{"GOOD": strings.TrimPrefix(good.URL, "http://"), "REFUSED": freePort(t)}
	for name, id := range map[string]string{
		"NOLIBRARY":  "uv32-hidden-ws", // uvicorn 0.32 without a WebSocket library
		"OLDUVICORN": "uv-hidden-ws",   // uvicorn 0.17 without one
		"NOROUTE":    "uv-ws-noroute",  // an ASGI server without the route, or with another credential
		"GATEWAY":    "ng-502",
		"SPA":        "ng-spa",
		"BADACCEPT":  "f-accept-wrong",
		"LATEAUTH":   "uv-auth-late",
	} {
		addrs[name] = recorded(t, id)
	}
	addrs["SILENT"] = listen(t, func(conn net.Conn) { // an open WebSocket behind which nobody reads
		if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil && req.URL.Path == "/health" {
			recordedAnswer{Head: "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n", Body: `{"status":"ok"}`}.write(conn, "")
		} else if err == nil {
			switching := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \r\n\r\n"
			recordedAnswer{Head: switching, Accept: "ok"}.write(conn, req.Header.Get("Sec-WebSocket-Key"))
			_, _ = io.Copy(io.Discard, conn)
		}
	})
	own := []net.IP{net.IPv4(127, 0, 0, 1)}
	old, oldCA := certificate(t, own, time.Date(2023, 11, 18, 22, 37, 0, 0, time.UTC))
	other, otherCA := certificate(t, nil, time.Now().AddDate(1, 0, 0))
	addrs["EXPIRED"], addrs["OTHERNAME"] = listenTLS(t, old), listenTLS(t, other)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/probe", UpdateScripts: *updateProbe,
		Setup: func(e *testscript.Env) error {
			for name, addr := range addrs {
				e.Setenv(name, addr)
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "ca.pem"), slices.Concat(oldCA, otherCA), 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// said NAME: what was printed, with what differs each time made equal, becomes the file NAME
			"said": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(sameEachTime(ts.ReadFile("stdout"))), 0o600))
			},
		},
	})
}

// sameEachTime replaces times, durations and ports by fixed ones.
func sameEachTime(s string) string {
	for _, r := range []struct{ pattern, by string }{
		{`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`, "2026-11-21 03:12:45 UTC"},
		{`(?m)^(\S* +\w+) +[\d.]+(µs|ms|s)  `, "$1\x00    1.2ms  "},
		{`(?m)after [\d.]+(µs|ms|s)$`, "after 1.2ms"},
		{`[\d.]+(µs|ms|s) after the\s+101,\s+while`, "1.2ms after the 101,\n  while"}, // however it was broken
		{`\+[\d.]+(µs|ms) `, "+1.2ms "},
		{`did not come in [\d.]+s`, "did not come in 2s"},
		{`valid to\s+\S+ \(\d+ days\)`, "valid to\n" + strings.Repeat(" ", 27) + "2027-11-21 (365 days)"},
		{`expired \d+ days ago`, "expired 1099 days ago"},
		{`127\.0\.0\.1:\d+`, "127.0.0.1:8000"},
		{`Tripline/[^']+`, "Tripline/1.0"},
		{`(?m)^  "[\w+/]{27}="`, `  "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="`},
	} {
		s = regexp.MustCompile(r.pattern).ReplaceAllString(s, r.by)
	}
	var b strings.Builder
	for line := range strings.Lines(s) { // the column of durations is aligned to the right
		if before, after, ok := strings.Cut(line, "\x00"); ok {
			line = fmt.Sprintf("%-14s %10s  %s", before, "1.2ms", strings.TrimPrefix(strings.TrimLeft(after, " "), "1.2ms  "))
		}
		b.WriteString(line)
	}
	return b.String()
}

// recordedAnswer is an answer of a real server, from the recordings that the
// diagnosis is tested with.
type recordedAnswer struct {
	Head   string `json:"head"`
	Body   string `json:"body"`
	Accept string `json:"accept"` // "ok" if Sec-WebSocket-Accept was right
	Frames []struct {
		Text   string `json:"text"`
		Code   int    `json:"code"`
		Reason string `json:"reason"`
		Raw    string `json:"raw"` // header, hex
	} `json:"frames"`
}

// recorded starts a server that answers each sort of request as the recorded one
// did, and returns its address.
func recorded(t *testing.T, id string) (addr string) {
	t.Helper()
	var r struct {
		ID       string                    `json:"id"`
		URL      string                    `json:"url"`
		Run      recordedAnswer            `json:"run"`
		Siblings map[string]recordedAnswer `json:"siblings"`
	}
	f, err := os.Open("../../checks/wsprobe/testdata/recorded.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for d := json.NewDecoder(f); r.ID != id; {
		r.Siblings = nil
		r.Run = recordedAnswer{}
		if err := d.Decode(&r); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
	}
	own, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, func(conn net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		a, ok := r.Siblings[question(req, own.Path)]
		switch {
		case ok:
		case req.Header.Get("Upgrade") == "": // nobody asked it then
			a.Head = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
		default:
			a = r.Run
		}
		a.write(conn, req.Header.Get("Sec-WebSocket-Key"))
	})
}

// question tells which of the recorded questions a request is.
func question(req *http.Request, own string) string {
	upgrade := req.Header.Get("Upgrade") != ""
	switch {
	case req.URL.Path == "/health":
		return "health"
	case req.URL.Path == own+"/":
		return "up_slash"
	case req.URL.Path != own && upgrade:
		return "up_random"
	case req.URL.Path != own:
		return "get_random"
	case !upgrade:
		return "get"
	case req.Header.Get("Sec-WebSocket-Version") == "99":
		return "up_v99"
	case req.Header.Get("Origin") != "":
		return "up_origin"
	}
	return ""
}

func (a recordedAnswer) write(w io.Writer, key string) {
	head := a.Head
	if a.Accept == "ok" {
		sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		head = regexp.MustCompile(`Sec-WebSocket-Accept: \S*`).ReplaceAllLiteralString(head, "Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:]))
	}
	_, _ = io.WriteString(w, head+a.Body)
	for _, f := range a.Frames {
		b, _ := hex.DecodeString(f.Raw)
		if f.Code != 0 {
			b = append(append(b, byte(f.Code>>8), byte(f.Code)), f.Reason...)
		}
		_, _ = w.Write(append(b, f.Text...))
	}
}

// listen serves connections, one goroutine each, until the test ends.
func listen(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(conn)
				if c, ok := conn.(*net.TCPConn); ok { // let the client read before it sees the end
					_ = c.CloseWrite()
					_, _ = io.Copy(io.Discard, c)
				}
				_ = conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func listenTLS(t *testing.T, cert tls.Certificate) (addr string) {
	return listen(t, func(conn net.Conn) {
		_ = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}).HandshakeContext(t.Context())
	})
}

// certificate makes one of api.example.com and of addresses, and the PEM of its
// authority's.
func certificate(t *testing.T, addresses []net.IP, until time.Time) (cert tls.Certificate, authority []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2023, 8, 1, 0, 0, 0, 0, time.UTC)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Example Root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: from, NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "api.example.com"}, DNSNames: []string{"api.example.com"},
		IPAddresses: addresses, NotBefore: from, NotAfter: until,
	}
	cert = tls.Certificate{PrivateKey: key}
	for _, c := range []*x509.Certificate{leaf, ca} {
		der, err := x509.CreateCertificate(rand.Reader, c, ca, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		cert.Certificate = append(cert.Certificate, der)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[1]})
}
