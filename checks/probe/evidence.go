package probe

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

// The most bytes of the parts of Evidence. Together they stay below MaxEvidence
// unless most of the bytes have to be escaped in JSON.
const (
	maxEvidenceRequest = 2 << 10
	maxEvidenceHead    = 4 << 10
	maxEvidenceBody    = 2 << 10
)

// Describe puts into e what the connection saw: addresses, TLS, phases and the
// response head. It may be called after Close.
func (c *Conn) Describe(e *Evidence) {
	e.Addresses, e.TLS, e.Phases = c.Addresses(), c.TLSFacts(), c.Phases
	if e.Head == "" {
		e.Head = c.n.redact.Head(c.record, maxEvidenceHead)
	}
}

// Found returns the addresses of the target's name if there are several, and the
// connection was not made through a proxy. They are not to be changed.
func (c *Conn) Found() []netip.Addr { return c.found }

// IP returns the address that the connection is to.
func (c *Conn) IP() netip.Addr {
	for _, a := range c.tried {
		if a.err == nil {
			return a.ip
		}
	}
	return netip.Addr{}
}

// Addresses returns every address that was tried. Before Close it waits for the
// attempt on the other IP family, which is bounded by a short budget.
func (c *Conn) Addresses() []Address {
	c.collect()
	var list []Address
	for _, a := range c.tried {
		list = append(list, a.address())
	}
	return list
}

func (a tried) address() Address {
	if a.err != nil {
		return Address{IP: a.ip.String(), Err: a.text(), Connect: a.took}
	}
	return Address{IP: a.ip.String(), Connect: a.took}
}

// FamilyBroken says what is wrong with one IP family while the other works;
// empty if nothing is. It waits as Addresses does; call it before Close.
func (c *Conn) FamilyBroken() string {
	c.collect()
	return c.broken
}

// CertDaysLeft returns for how many days from now the server's certificates
// will verify (with insecure_skip_verify: the server's own certificate); false
// for plain connections, and if no certificate was judged.
func (c *Conn) CertDaysLeft() (float64, bool) {
	if c.chainEnds.IsZero() {
		return 0, false
	}
	return time.Until(c.chainEnds).Hours() / 24, true
}

// certLifeLeft returns the same as a share of the certificate's lifetime.
func (c *Conn) certLifeLeft() float64 {
	if c.certLife <= 0 {
		return 0
	}
	return min(1, time.Until(c.chainEnds).Hours()/c.certLife.Hours())
}

// CertMeasures returns what there is to record of the server's certificates;
// nil if CertDaysLeft is false.
func (c *Conn) CertMeasures() map[string]float64 {
	days, ok := c.CertDaysLeft()
	if !ok {
		return nil
	}
	return map[string]float64{MeasureCertDays: days, MeasureCertLeft: c.certLifeLeft()}
}

// TLSFacts describes the TLS session; nil for plain connections.
func (c *Conn) TLSFacts() *TLSFacts {
	if c.tls == nil {
		return nil
	}
	s := c.tls.ConnectionState()
	f := &TLSFacts{ALPN: s.NegotiatedProtocol}
	if s.Version != 0 {
		f.Version = tls.VersionName(s.Version)
	}
	if s.CipherSuite != 0 {
		f.Cipher = tls.CipherSuiteName(s.CipherSuite)
	}
	if len(s.PeerCertificates) > 0 {
		leaf := s.PeerCertificates[0]
		f.Subject, f.Issuer = subject(leaf), issuer(leaf)
		f.NotBefore, f.NotAfter = leaf.NotBefore, leaf.NotAfter
		f.Names = names(leaf, 10)
	}
	return f
}

func subject(c *x509.Certificate) string {
	if c == nil {
		return "(none)"
	}
	return distinguished(c.Subject)
}

func issuer(c *x509.Certificate) string {
	if c == nil {
		return "(none)"
	}
	return distinguished(c.Issuer)
}

func distinguished(n pkix.Name) string {
	text := n.CommonName
	if text == "" {
		text = n.String()
	}
	return clip(visible(strings.ReplaceAll(text, "\n", " ")), 100)
}

// names lists what a certificate is for.
func names(c *x509.Certificate, most int) []string {
	var list []string
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	for _, n := range c.DNSNames {
		list = append(list, clip(visible(n), 100))
	}
	return list[:min(len(list), most)]
}

func certNames(c *x509.Certificate, most int) string {
	list := names(c, most)
	if len(list) == 0 {
		return "no name at all (CN " + subject(c) + ")"
	}
	if more := len(c.IPAddresses) + len(c.DNSNames) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// Bound makes e fit into MaxEvidence bytes of JSON, cutting its longest parts,
// and returns it.
func (e *Evidence) Bound() *Evidence {
	e.V = EvidenceVersion
	e.Addresses = e.Addresses[:min(len(e.Addresses), 2*maxAddresses)]
	e.Causes, e.Asked = e.Causes[:min(len(e.Causes), maxCauses)], e.Asked[:min(len(e.Asked), maxAsked)]
	for range 64 { // each halves the longest part, and there are about ten
		b, err := json.Marshal(e)
		if err == nil && len(b) <= MaxEvidence {
			break
		}
		e.halve()
	}
	return e
}

// halve cuts the longest part of e in half.
func (e *Evidence) halve() {
	longest, frames := &e.Head, 0
	for _, s := range []*string{&e.Body, &e.Request, &e.Curl, &e.URL, &e.End, &e.Reason} {
		if len(*s) > len(*longest) {
			longest = s
		}
	}
	for _, f := range e.Frames {
		frames += len(f.Text) + len(f.Err) + 64
	}
	facts := 0
	for k, v := range e.Facts {
		facts += len(k) + len(v)
	}
	causes, asked := 0, 0
	for i := range e.Causes {
		causes += e.Causes[i].size()
	}
	for _, a := range e.Asked {
		asked += len(a.What) + len(a.Answer)
	}
	if len(e.Causes) < 2 {
		causes /= 2 // the first one is worth more than anything else
	}
	switch most := max(len(*longest), frames, facts, causes, asked); most {
	case causes:
		e.Causes = e.Causes[:len(e.Causes)/2]
	case asked:
		e.Asked = e.Asked[:len(e.Asked)/2]
	case frames:
		e.Frames = e.Frames[:len(e.Frames)/2]
	case facts:
		e.Facts = nil
	default:
		*longest = clip(*longest, max(len(*longest)/2, len("...")))
	}
}

// CurlLine returns a curl command that repeats a request by hand, with secrets
// left out. body says that the request has a body, which is left out too.
func CurlLine(r *Redactor, t *Target, method string, fields []Field, body bool) string {
	var b strings.Builder
	b.WriteString("curl -sSv --max-time 10 --http1.1")
	switch {
	case t.options.InsecureSkipVerify:
		b.WriteString(" -k")
	case t.options.CAFile != "":
		b.WriteString(" --cacert " + quoteShell(t.options.CAFile))
	}
	if t.options.ClientCert != "" {
		b.WriteString(" --cert " + quoteShell(t.options.ClientCert) + " --key " + quoteShell(t.options.ClientKey))
	}
	if t.proxy != nil {
		b.WriteString(" -x " + quoteShell(t.proxy.text))
	}
	if t.family != "both" {
		b.WriteString(" -" + t.family)
	}
	switch method {
	case http.MethodGet:
	case http.MethodHead:
		b.WriteString(" -I")
	default:
		b.WriteString(" -X " + quoteShell(method))
	}
	for _, f := range fields {
		value := f.Value
		switch {
		case strings.EqualFold(f.Name, "Host") && value == t.Host:
			continue
		case sensitiveHeader(f.Name):
			scheme, _ := authScheme(value)
			value = scheme + mask
		}
		b.WriteString(" -H " + quoteShell(f.Name+": "+value))
	}
	if body {
		b.WriteString(" --data-binary @BODY")
	}
	u := t.URL.String()
	if s := sibling(t.URL.Scheme); strings.HasPrefix(s, "http") { // curl knows ws only where it was built in
		u = s + strings.TrimPrefix(u, t.URL.Scheme)
	}
	b.WriteString(" " + quoteShell(u))
	return clip(r.String(b.String()), maxEvidenceRequest)
}

// quoteShell quotes s for a POSIX shell.
func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
