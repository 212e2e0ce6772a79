package probe

import (
	"fmt"
	"net/http"
)

// MaxHead is the most bytes of response heads that are read for one request.
const MaxHead = 64 << 10

// ReadHead reads one response head of at most MaxHead bytes and skips
// informational ones (1xx other than 101, RFC 9110 §15.2). method is that of
// the request. Phases.FirstByte is set. The rest of the stream is read through
// Reader or the response's Body.
func (c *Conn) ReadHead(method string) (*http.Response, *Failure) {
	var q *http.Request // nil means GET to net/http
	if method != http.MethodGet {
		q = &http.Request{Method: method}
	}
	br := c.Reader()
	c.left = MaxHead
	for {
		resp, err := http.ReadResponse(br, q)
		if err != nil {
			return nil, c.headFailure(err)
		}
		if resp.StatusCode/100 == 1 && resp.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		c.left = -1
		c.Phases.FirstByte = max(1, c.first.Sub(c.sent))
		return resp, nil
	}
}

// headFailure names an error met while the response head was read.
func (c *Conn) headFailure(err error) *Failure {
	if c.rerr != nil {
		err = c.rerr // net/http says EOF for a reset
	} else if c.left == 0 {
		err = errHeadTooLarge
	}
	if class, reason := alertClass(err, c.certAsked, c.tls != nil && len(c.t.tls.Certificates) > 0); class != "" {
		return c.Fail(class, StageTLS, reason, err)
	}
	class, stage, reason := classifyHead(err, c.record, c.tls != nil)
	switch {
	case class == HandshakeTimeout && c.got == 0:
		reason = "no answer in " + c.spent()
	case class == HandshakeTimeout:
		reason = fmt.Sprintf("no complete response head in %s, %d bytes came", c.spent(), c.got)
	case class == HandshakeClosed && c.got == 0 && c.tls != nil && c.tls.ConnectionState().NegotiatedProtocol == "" && c.provesH2():
		class, stage = TLSALPN, StageTLS
		reason = "the server speaks HTTP/2 only, want HTTP/1.1: " + reason
	}
	return c.Fail(class, stage, reason, err)
}
