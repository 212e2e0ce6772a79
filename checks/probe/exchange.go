package probe

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Field is one header field of a request.
type Field struct{ Name, Value string }

// AppendHead appends an HTTP/1.1 request head (RFC 9112 §3): the request line,
// the fields in their order, and the empty line.
func AppendHead(b []byte, method string, u *url.URL, fields []Field) []byte {
	b = append(append(append(append(b, method...), ' '), u.RequestURI()...), " HTTP/1.1\r\n"...)
	for _, f := range fields {
		b = append(append(append(append(b, f.Name...), ": "...), f.Value...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// Fields returns the header fields for a request to t in the order they are
// sent: Host, User-Agent, basic authentication, the defaults and own (by name; own
// win, basic authentication too; an empty value leaves a field out). The values of
// sensitive fields become known to the redactor. Problems have paths such as
// "headers.X-Id".
func (n *Network) Fields(t *Target, defaults, own map[string]string) ([]Field, []Problem) {
	var problems []Problem
	fields := []Field{{"Host", t.Host}, {"User-Agent", n.agent}}
	if t.BasicAuth != "" {
		fields = append(fields, Field{"Authorization", t.BasicAuth})
	}
	for i, set := range []map[string]string{defaults, own} {
		names := make([]string, 0, len(set))
		for name := range set {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			value, text := set[name], ""
			canonical := http.CanonicalHeaderKey(name)
			switch {
			case !httpguts.ValidHeaderFieldName(name):
				text = "this is no name of a header field (RFC 9110 §5.1)"
			case !httpguts.ValidHeaderFieldValue(value):
				text = "the value holds control characters"
			case canonical == "Connection" || canonical == "Content-Length" || canonical == "Transfer-Encoding":
				text = "this field is set by the program"
			case canonical == "Authorization" && i == 1 && t.BasicAuth != "":
				text = "basic_auth (or a password in the URL) is set too, want one of them"
			}
			if text == "" && canonical == "Authorization" && i == 0 && t.BasicAuth != "" {
				n.redact.AddHeader(name, value)
				continue // a default, and the check has its own
			}
			if text != "" {
				if i == 1 {
					problems = append(problems, Problem{"headers." + name, text})
				}
				continue
			}
			n.redact.AddHeader(name, value)
			fields = setField(fields, Field{name, strings.TrimSpace(value)})
		}
	}
	return fields, problems
}

// setField sets the field of f's name, or leaves it out if the value is empty.
func setField(fields []Field, f Field) []Field {
	i := slices.IndexFunc(fields, func(g Field) bool { return strings.EqualFold(f.Name, g.Name) })
	switch {
	case i < 0 && f.Value != "":
		return append(fields, f)
	case i >= 0 && f.Value != "":
		fields[i] = f
	case i >= 0 && !strings.EqualFold(f.Name, "Host"):
		return slices.Delete(fields, i, i+1)
	}
	return fields
}

// Request is one HTTP/1.1 request, compiled once and sent as often as wanted.
type Request struct {
	Target *Target
	Method string
	Fields []Field // without those that concern the connection and the body
	Body   []byte
	Secret string // name of a field that must not follow a redirect to another host, besides those with telling names

	wire []byte // head and body as they are sent
	head int    // length of the head
}

// NewRequest returns a request for t's URL that closes its connection.
func NewRequest(t *Target, method string, fields []Field, body []byte) *Request {
	q := &Request{Target: t, Method: method, Fields: fields, Body: body}
	all := append(slices.Clip(fields), Field{"Connection", "close"})
	if len(body) > 0 || method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch {
		all = append(all, Field{"Content-Length", strconv.Itoa(len(body))})
	}
	q.wire = AppendHead(nil, method, t.URL, all)
	q.head = len(q.wire)
	q.wire = append(q.wire, body...)
	return q
}

// Head returns the request head as it is sent; it may hold secrets.
func (q *Request) Head() []byte { return q.wire[:q.head] }

// FieldValue returns the value of the first field of a name; "" if there is none.
func FieldValue(fields []Field, name string) string {
	i := slices.IndexFunc(fields, func(f Field) bool { return strings.EqualFold(f.Name, name) })
	if i < 0 {
		return ""
	}
	return fields[i].Value
}

// Redirect returns the request that follows a redirect from q to u with the
// given status (RFC 9110 §15.4): 303, and 301 and 302 for POST, turn it into a
// GET without a body. Credentials stay behind when the origin changes: sensitive
// fields are left out, and a body that would have to be sent there is an error.
func (n *Network) Redirect(q *Request, status int, u *url.URL) (*Request, error) {
	if u.User != nil {
		plain := *u
		plain.User = nil
		u = &plain
	}
	t, err := n.Redirected(q.Target, u)
	if err != nil {
		return nil, err
	}
	method, body := q.Method, q.Body
	if status == http.StatusSeeOther && method != http.MethodHead || (status == http.StatusMovedPermanently || status == http.StatusFound) && method == http.MethodPost {
		method, body = http.MethodGet, nil
	}
	same := q.Target.SameOrigin(t)
	if len(body) > 0 && !same {
		return nil, errors.New("the body is not sent to another host")
	}
	var fields []Field
	for _, f := range q.Fields {
		switch {
		case strings.EqualFold(f.Name, "Host"):
			if !same {
				f.Value = t.Host
			}
		case !same && (sensitiveHeader(f.Name) || strings.EqualFold(f.Name, q.Secret) || strings.EqualFold(f.Name, "Origin")), len(body) == 0 && strings.EqualFold(f.Name, "Content-Type"):
			continue
		}
		fields = append(fields, f)
	}
	next := NewRequest(t, method, fields, body)
	next.Secret = q.Secret
	return next, nil
}

// Response is the answer to a Request: its head, and its body to be read.
type Response struct {
	*http.Response
	Conn *Conn
	end  time.Time
}

// Exchange sends q on a fresh connection and reads the response head. The
// response must be closed.
func (n *Network) Exchange(ctx context.Context, q *Request) (*Response, *Failure) {
	c, f := n.Dial(ctx, q.Target)
	if f != nil {
		return nil, f
	}
	if f = c.Send(q.wire); f == nil {
		var r *http.Response
		if r, f = c.ReadHead(q.Method); f == nil { //nolint:bodyclose,contextcheck // Response.Close closes the connection, which keeps the ctx of its Dial
			return &Response{Response: r, Conn: c, end: time.Now()}, nil
		}
	}
	_ = c.Close()
	return nil, f
}

// Close closes the connection.
func (r *Response) Close() { _ = r.Conn.Close() }

// Latency is the time from the first step, after the wait for a place, to the
// last byte that was read.
func (r *Response) Latency() time.Duration { return r.end.Sub(r.Conn.began) }

// ReadBody reads the body to its end, sets Phases.Body, and returns the decoded
// bytes: all of them if keep is true, else the beginning that evidence needs.
// More than limit bytes, decoded or as sent, are BodyTooLarge. gzip is decoded;
// other content codings are returned as they are. The bytes read are returned
// with a Failure too.
func (r *Response) ReadBody(limit int, keep bool) ([]byte, *Failure) {
	c := r.Conn
	wire := &countReader{r: r.Body, limit: limit}
	var src io.Reader = wire
	if strings.EqualFold(r.Header.Get("Content-Encoding"), "gzip") {
		src = &lazyGzip{r: wire}
	}
	size := 512
	if n := r.ContentLength; n >= 0 && n < 64<<10 {
		size = int(n) + 1
	}
	b, n, err := readAll(src, make([]byte, 0, min(size, limit+1)), limit, keep)
	b = b[:min(len(b), limit)]
	r.end = time.Now()
	c.Phases.Body = max(1, r.end.Sub(c.first))
	if err == nil {
		return b, nil
	}
	if c.rerr != nil && !errors.Is(err, errBodyTooLarge) && !isEOF(c.rerr) {
		err = c.rerr
	}
	return b, c.bodyFailure(r, err, n, wire.n, limit)
}

func (c *Conn) bodyFailure(r *Response, err error, decoded, wire, limit int) *Failure {
	of := ""
	if r.ContentLength >= 0 {
		of = fmt.Sprintf(" of %d", r.ContentLength)
	}
	switch {
	case errors.Is(err, errBodyTooLarge):
		how := ""
		if wire != decoded {
			how = fmt.Sprintf(" (%d bytes as sent)", wire)
		}
		return c.Fail(BodyTooLarge, StageBody, fmt.Sprintf("the body has more than %d bytes%s", limit, how), err)
	case isTimeout(err):
		return c.Fail(BodyTimeout, StageBody, fmt.Sprintf("the body did not end in %s, %d%s bytes came", c.spent(), wire, of), err)
	case closed(err) && (c.rerr != nil && closed(c.rerr)):
		return c.Fail(Dropped, StageBody, fmt.Sprintf("the connection ended after %d%s bytes of the body (%s)", wire, of, ending(err)), err)
	}
	return c.Fail(BadPayload, StageBody, fmt.Sprintf("the body is not what its header fields say: %s", cause(err)), err)
}

var errBodyTooLarge = errors.New("body too large")

// readAll reads src to its end or to limit. It appends all of it to b, or what
// evidence needs if keep is false, and returns how many bytes there were.
func readAll(src io.Reader, b []byte, limit int, keep bool) ([]byte, int, error) {
	most := limit + 1
	if !keep {
		most = min(most, maxEvidenceBody+1024)
	}
	for len(b) < most {
		if len(b) == cap(b) {
			b = slices.Grow(b, max(512, len(b)))
		}
		n, err := src.Read(b[len(b):min(cap(b), most)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF && len(b) <= limit:
			return b, len(b), nil
		case err != nil:
			return b, len(b), err
		}
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(src, int64(limit+1-len(b))))
	total := len(b) + int(rest)
	if total > limit {
		return b, total, errBodyTooLarge
	}
	return b, total, err
}

// countReader counts what it reads and ends with errBodyTooLarge above limit.
type countReader struct {
	r        io.Reader
	n, limit int
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.n += n; c.n > c.limit {
		return n, errBodyTooLarge
	}
	return n, err
}

// lazyGzip decodes gzip (RFC 1952); an empty body decodes to nothing.
type lazyGzip struct {
	r io.Reader
	z *gzip.Reader
}

func (g *lazyGzip) Read(p []byte) (int, error) {
	if g.z == nil {
		z, err := gzip.NewReader(g.r)
		if err != nil {
			return 0, err
		}
		g.z = z
	}
	return g.z.Read(p)
}
