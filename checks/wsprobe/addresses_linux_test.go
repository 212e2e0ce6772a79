package wsprobe

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/tripline/tripline/checks/probe"
)

// TestEveryAddress: of the two servers behind a name only one takes upgrades. The
// same upgrade is made at each of them, and the cause says which is which,
// whichever is asked first, with and without the limits of what nobody asked for.
func TestEveryAddress(t *testing.T) {
	serve := func(good bool) func(*net.TCPConn) {
		return func(conn *net.TCPConn) {
			defer conn.Close()
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			if good && req.URL.Path == "/ws" && req.Header.Get("Upgrade") != "" {
				fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
					acceptKey(req.Header.Get("Sec-WebSocket-Key")))
				return
			}
			fmt.Fprint(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		}
	}
	addr := listen(t, serve(false))
	_, port, _ := net.SplitHostPort(addr)
	listenOn(t, "127.0.0.2:"+port, serve(true))
	c := probe.Connection{Resolver: resolver(t, [4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 2})}
	for _, thrifty := range []bool{false, true} {
		p := newProber(t, testNetwork(), "ws://svc.test:"+port+"/ws", c, nil, nil, Options{})
		o := p.Probe(t.Context())
		if o.Class != probe.NotFound {
			t.Fatalf("%s: %s", o.Class, o.Reason)
		}
		d := o.Inquiry(t.Context(), thrifty)(nil)
		if len(d.Causes) == 0 || d.Causes[0].Name != CauseMixedVersions ||
			!strings.Contains(strings.Join(d.Causes[0].Evidence, " "), ": on 127.0.0.2, and never on 127.0.0.1") {
			t.Errorf("thrifty %t: %+v, asked %+v", thrifty, d.Causes, d.Asked)
		}
	}
}

// resolver is a DNS server that gives the same addresses for each name.
func resolver(t *testing.T, addresses ...[4]byte) string {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := l.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals = true, nil
			for _, a := range addresses {
				if q.Type == dnsmessage.TypeA {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: a},
					})
				}
			}
			if b, err := m.Pack(); err == nil {
				_, _ = l.WriteTo(b, from)
			}
		}
	}()
	return l.LocalAddr().String()
}
