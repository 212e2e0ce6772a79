package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// connectProxy is a proxy that understands CONNECT. It reports the requests.
func connectProxy(t testing.TB, seen chan<- *http.Request) func(net.Conn) {
	return func(c net.Conn) {
		br := bufio.NewReader(c)
		q, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		select {
		case seen <- q:
		default:
		}
		out, err := new(net.Dialer).DialContext(context.WithoutCancel(t.Context()), "tcp", q.Host)
		if err != nil {
			_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
			return
		}
		defer out.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = io.Copy(out, br)
			_ = out.(*net.TCPConn).CloseWrite()
		})
		_, _ = io.Copy(c, out)
		_ = c.Close()
		wg.Wait()
	}
}

func TestProxy(t *testing.T) {
	ca := newAuthority(t)
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, nil)}}
	seen := make(chan *http.Request, 1)
	plainProxy := "http://user:pw-secret@" + serve(t, connectProxy(t, seen))
	tlsProxy := "https://" + serveTLS(t, cfg, connectProxy(t, seen))
	plain := "http://" + serve(t, answer(okAnswer)) + "/"
	secure := "https://" + serveTLS(t, cfg, answer(okAnswer)) + "/"
	for _, proxy := range []string{plainProxy, tlsProxy} {
		for _, url := range []string{plain, secure} {
			n := testNetwork()
			tg := target(t, n, url, Connection{Proxy: proxy, TLS: &TLSOptions{CAFile: ca.file}})
			body, resp, f := get(t, n, tg, 5*time.Second)
			if f != nil || body != "ok" {
				t.Errorf("%s by %s: %q %+v", url, proxy, body, f)
				continue
			}
			q := <-seen
			if q.Method != "CONNECT" || q.Host != tg.Addr || q.Header.Get("User-Agent") != "Tripline/test" {
				t.Errorf("asked the proxy %s %s %v", q.Method, q.Host, q.Header)
			}
			if _, pw, ok := (&http.Request{Header: http.Header{"Authorization": q.Header["Proxy-Authorization"]}}).BasicAuth(); ok != (proxy == plainProxy) || ok && pw != "pw-secret" {
				t.Errorf("proxy authorization %q", q.Header["Proxy-Authorization"])
			}
			if _, ok := resp.Conn.CertDaysLeft(); ok != (url == secure) {
				t.Errorf("%s by %s: certificate measured: %v", url, proxy, ok)
			}
			if strings.Contains(string(resp.Conn.Recorded()), "Via: test") {
				t.Errorf("the proxy's answer is in the record: %q", resp.Conn.Recorded())
			}
		}
	}
}

func TestProxyFailures(t *testing.T) {
	ca := newAuthority(t)
	untrusted := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, nil)}}, silent)
	says := func(head string) string { return "http://" + serve(t, answer(head+"\r\n\r\n")) }
	dead := closedPort(t)
	good := serve(t, connectProxy(t, nil))
	tests := []struct {
		name, proxy, url string
		class            Class
		texts            string
	}{
		{"refused", "http://user:pw-secret@" + dead, "http://x.test/", OwnNetwork, "proxy http://" + dead + ": connect to 127.0.0.1: connection refused"},
		{"silent", "http://" + serve(t, silent), "http://x.test/", OwnNetwork, "no answer in"},
		{"no proxy", says("220 mail"), "http://x.test/", OwnNetwork, "the answer is not HTTP/1"},
		{"wants credentials", says("HTTP/1.1 407 Proxy Authentication Required"), "http://x.test/", OwnNetwork, "status 407 Proxy Authentication Required for CONNECT x.test:80, want 200"},
		{"forbids", says("HTTP/1.1 403 Forbidden"), "https://x.test/", OwnNetwork, "status 403 Forbidden for CONNECT x.test:443"},
		{"certificate", "https://" + untrusted, "http://x.test/", OwnNetwork, "no trusted root"},
		{"cannot reach the target", "http://" + good, "http://" + dead + "/", ConnectError, "status 502 Bad Gateway for CONNECT " + dead},
		{"target does not answer the proxy", says("HTTP/1.1 504 Gateway Timeout"), "http://x.test/", ConnectTimeout, "status 504"},
		{"target behind it closes", "http://" + good, "http://" + serve(t, func(net.Conn) {}) + "/", HandshakeClosed, "before the first byte"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := testNetwork()
			tg := target(t, n, tt.url, Connection{Proxy: tt.proxy})
			_, _, f := get(t, n, tg, 400*time.Millisecond)
			stage := StageMonitor
			switch tt.class {
			case ConnectError, ConnectTimeout:
				stage = StageConnect
			case HandshakeClosed:
				stage = StageHandshake
			}
			wantFailure(t, f, tt.class, stage, strings.Split(tt.texts, "|")...)
			if f != nil && strings.Contains(f.Reason, "pw-secret") {
				t.Errorf("secret in %q", f.Reason)
			}
		})
	}
}

// A target behind a proxy may speak before it is asked.
func TestProxyPassesOnEarlyBytes(t *testing.T) {
	proxy := serve(t, func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nSSH-2.0-early\r\n")
		silent(c)
	})
	n := testNetwork()
	_, _, f := get(t, n, target(t, n, "http://x.test/", Connection{Proxy: "http://" + proxy}), 5*time.Second)
	wantFailure(t, f, NotHTTP, StageHandshake, "SSH-2.0-early")
}
