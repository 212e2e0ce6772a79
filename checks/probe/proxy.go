package probe

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// errBehindProxy says that a proxy works and could not reach the target.
var errBehindProxy = errors.New("the proxy cannot reach the target")

// connectThrough asks the proxy that c is connected to for a tunnel to the
// target (CONNECT, RFC 9110 §9.3.6).
func (c *Conn) connectThrough() *Failure {
	t, via := c.t, c.t.proxy
	var b bytes.Buffer
	fmt.Fprintf(&b, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\n", t.Addr, t.Addr, c.n.agent)
	if via.proxyAuth != "" {
		fmt.Fprintf(&b, "Proxy-Authorization: %s\r\n", via.proxyAuth)
	}
	b.WriteString("\r\n")
	if f := c.Send(b.Bytes()); f != nil {
		return f
	}
	resp, f := c.ReadHead(http.MethodConnect) //nolint:bodyclose // its body is the tunnel
	if f != nil {
		return f
	}
	if resp.StatusCode/100 == 2 {
		if n := c.br.Buffered(); n > 0 { // a target that speaks first
			early, _ := c.br.Peek(n)
			c.Conn = &unreadConn{c.Conn, bytes.Clone(early)}
		}
		c.br.Reset(c)
		c.Phases.FirstByte = 0
		return nil
	}
	reason := fmt.Sprintf("status %s for CONNECT %s, want 200", strings.TrimSpace(resp.Status), t.Addr)
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return c.Fail(ConnectError, StageConnect, reason, errBehindProxy)
	case http.StatusGatewayTimeout:
		return c.Fail(ConnectTimeout, StageConnect, reason, errBehindProxy)
	}
	return c.Fail(OwnNetwork, StageMonitor, reason, nil)
}

// unreadConn is a connection of which some bytes were read already.
type unreadConn struct {
	net.Conn
	unread []byte
}

func (c *unreadConn) Read(p []byte) (int, error) {
	if len(c.unread) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
