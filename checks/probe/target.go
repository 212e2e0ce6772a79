package probe

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/sync/semaphore"
)

// Target is one place to probe, compiled once from a URL and settings.
type Target struct {
	URL    *url.URL // absolute, without userinfo; may hold secrets in its query
	Host   string   // the Host header: host, or host:port where the port is not the scheme's own
	Addr   string   // host:port that is dialled; of checks that share their limit it is equal
	Secure bool     // https or wss
	// BasicAuth is the Authorization header for the settings' basic_auth (or
	// the URL's userinfo); empty without.
	BasicAuth string

	text       string // the URL without secrets
	name       string // host without port, ASCII
	port       string
	literal    netip.Addr // valid if name is an IP address
	family     string     // "4", "6" or "both"
	resolver   string     // host:port; "" is the system's
	serverName string     // to ask for and to verify
	options    TLSOptions
	tls        *tls.Config // shared: cloned for each connection
	gate       *gate
	proxy      *Target
	proxyAuth  string // of a proxy's own target: its Proxy-Authorization
}

// String returns the URL for people, without secrets.
func (t *Target) String() string { return t.text }

// ResolveURL parses raw as the URL of a target with one of schemes. A raw URL
// that is only a path is put behind base, with http and ws, and https and wss,
// taken for each other. The error is fit for a Problem: it holds no secret.
func ResolveURL(base *url.URL, raw string, schemes ...string) (*url.URL, error) {
	var clean *Redactor
	shown := strconv.Quote(clean.Line(raw))
	want := "want " + strings.Join(schemes, ":// or ") + "://"
	if raw == "" {
		return nil, errors.New("there is no URL, " + want)
	}
	u, err := url.Parse(raw)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err
		}
		return nil, fmt.Errorf("%s is no URL: %s", shown, clean.Line(err.Error()))
	}
	if u.Scheme == "" && u.Host == "" && strings.HasPrefix(raw, "/") {
		if base == nil {
			return nil, fmt.Errorf("%s is only a path and no base URL is configured, %s", shown, want)
		}
		u = behind(base, u)
		if !slices.Contains(schemes, u.Scheme) {
			u.Scheme = sibling(u.Scheme)
		}
	}
	switch {
	case u.Scheme == "" || u.Opaque != "":
		return nil, fmt.Errorf("%s has no scheme, %s", shown, want)
	case !slices.Contains(schemes, u.Scheme):
		return nil, fmt.Errorf("%s has scheme %q, %s", shown, u.Scheme, want)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%s has no host", shown)
	case u.Fragment != "":
		return nil, fmt.Errorf("%s has a fragment, which is never sent, leave it out", shown)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%s has port %s, want 1 to 65535", shown, p)
		}
	}
	return u, nil
}

// behind puts the path and query of ref behind base.
func behind(base, ref *url.URL) *url.URL {
	u := *base
	u.Path = strings.TrimSuffix(base.Path, "/") + ref.Path
	u.RawPath = ""
	if ref.RawPath != "" || base.RawPath != "" {
		u.RawPath = strings.TrimSuffix(base.EscapedPath(), "/") + ref.EscapedPath()
	}
	u.RawQuery, u.ForceQuery, u.Fragment = ref.RawQuery, ref.ForceQuery, ref.Fragment
	return &u
}

// sibling returns the scheme of WebSocket for that of HTTP, and the reverse.
func sibling(scheme string) string {
	switch scheme {
	case "http":
		return "ws"
	case "https":
		return "wss"
	case "ws":
		return "http"
	case "wss":
		return "https"
	}
	return scheme
}

// Target compiles u (absolute; http, https, ws or wss) and c, and returns all
// that is wrong with them, with paths such as "url" or "tls.ca_file".
func (n *Network) Target(u *url.URL, c Connection) (*Target, []Problem) {
	n.redact.AddURL(u)
	t, err := n.locate(u)
	if err != nil {
		return nil, []Problem{{"url", err.Error()}}
	}
	var problems []Problem
	problem := func(path, format string, args ...any) {
		problems = append(problems, Problem{path, fmt.Sprintf(format, args...)})
	}
	switch t.family = c.IP; c.IP {
	case "":
		t.family = "both"
	case "both", "4", "6":
	default:
		problem("ip", "%q is no choice, want both, 4 or 6", c.IP)
	}
	if t.literal.IsValid() && (c.IP == "4" && t.literal.Is6() || c.IP == "6" && t.literal.Is4()) {
		problem("ip", "%q excludes the address in the URL, %s", c.IP, t.literal)
	}
	if t.resolver, err = resolverAddr(c.Resolver); err != nil {
		problem("resolver", "%s", err)
	}
	limit := c.PerHost
	if limit < 0 || limit > 10_000 {
		problem("per_host", "%d is out of range, want 1 to 10000", limit)
	} else if limit == 0 {
		limit = n.perHost
	}
	if c.BasicAuth != nil {
		if strings.Contains(c.BasicAuth.Username, ":") {
			problem("basic_auth.username", "%q holds a colon, which ends a user name (RFC 7617 §2)", c.BasicAuth.Username)
		}
		t.BasicAuth = n.basicAuth(c.BasicAuth.Username, c.BasicAuth.Password)
	}
	if c.TLS != nil {
		t.options = *c.TLS
	}
	tlsProblems := n.compileTLS(t)
	problems = append(problems, tlsProblems...)
	if c.Proxy != "" {
		if t.proxy, err = n.proxy(c); err != nil {
			problem("proxy", "%s", err)
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	t.gate, _ = Shared(n, fmt.Sprintf("gate:%d:%s", limit, t.Addr), func() (*gate, error) {
		return &gate{semaphore.NewWeighted(int64(limit)), limit}, nil
	})
	return t, nil
}

// Redirected compiles u for a request that was redirected there from t, with
// t's settings. Credentials (basic auth, the client certificate) are not taken
// along to another host or from TLS to plain text. Nothing of it is kept in n:
// a target may redirect to somewhere else each time.
func (n *Network) Redirected(t *Target, u *url.URL) (*Target, error) {
	next, err := n.locate(u)
	if err != nil {
		return nil, err
	}
	next.family, next.resolver, next.proxy, next.options = t.family, t.resolver, t.proxy, t.options
	if next.literal.IsValid() {
		next.family = "both"
	}
	if t.SameOrigin(next) {
		next.BasicAuth, next.gate, next.tls, next.serverName = t.BasicAuth, t.gate, t.tls, t.serverName
		return next, nil
	}
	next.options.ClientCert, next.options.ClientKey, next.options.ServerName = "", "", ""
	if p := n.compileTLS(next); len(p) > 0 {
		return nil, errors.New(p[0].Text)
	}
	return next, nil
}

// Ungated returns t without its limit of probes at the same time: for
// connections that must be open together and would wait for each other.
func (t *Target) Ungated() *Target {
	u := *t
	u.gate = nil
	return &u
}

// At returns t at one of its addresses, which is not looked up then: to ask each
// server behind a name. The request and the name that TLS verifies stay.
func (t *Target) At(ip netip.Addr) *Target {
	u := *t
	u.literal, u.family, u.Addr = ip, "both", net.JoinHostPort(ip.String(), t.port)
	return &u
}

// SameOrigin says whether credentials for t may be sent to other: scheme, host
// and port are equal.
func (t *Target) SameOrigin(other *Target) bool {
	return t.Addr == other.Addr && t.Secure == other.Secure
}

// locate compiles what follows from the URL alone.
func (n *Network) locate(u *url.URL) (*Target, error) {
	t := &Target{URL: u, port: u.Port(), name: u.Hostname()}
	switch u.Scheme {
	case "http", "ws":
		t.Secure = false
	case "https", "wss":
		t.Secure = true
	default:
		return nil, fmt.Errorf("%q is no scheme that can be probed", u.Scheme)
	}
	if u.User != nil {
		plain := *u
		plain.User = nil
		t.URL = &plain
		password, _ := u.User.Password()
		t.BasicAuth = n.basicAuth(u.User.Username(), password)
	}
	t.text = n.redact.URL(t.URL)
	ip, err := netip.ParseAddr(t.name)
	if err == nil {
		t.literal = ip.Unmap()
		t.serverName = t.literal.WithZone("").String()
	} else if t.name, err = asciiHost(t.name); err != nil {
		return nil, err
	}
	if t.serverName == "" {
		t.serverName = strings.TrimSuffix(t.name, ".")
	}
	t.Host = t.name
	if t.literal.Is6() {
		t.Host = "[" + t.serverName + "]"
	}
	own := "80"
	if t.Secure {
		own = "443"
	}
	if t.port == "" {
		t.port = own
	}
	if t.port != own {
		t.Host += ":" + t.port
	}
	t.Addr = net.JoinHostPort(t.name, t.port)
	return t, nil
}

// asciiHost returns a host name as DNS wants it (RFC 5891).
func asciiHost(name string) (string, error) {
	for i := range len(name) {
		if name[i] >= 0x80 {
			a, err := idna.Lookup.ToASCII(name)
			if err != nil {
				return "", fmt.Errorf("host %q is no name that DNS knows: %w", name, err)
			}
			return a, nil
		}
		if name[i] <= ' ' || name[i] == 0x7F {
			return "", fmt.Errorf("host %q holds %q", name, name[i])
		}
	}
	return strings.ToLower(name), nil
}

func resolverAddr(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if ip, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(ip, 53).String(), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 {
		return "", fmt.Errorf("%q is no address of a DNS server, want an IP address and a port such as 10.0.0.2:53", s)
	}
	return ap.String(), nil
}

// basicAuth returns the Authorization value of RFC 7617.
func (n *Network) basicAuth(user, password string) string {
	b := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	n.redact.Add(password, b)
	return "Basic " + b
}

// proxy compiles the target that c.Proxy is. It has no limit of its own: the
// probes through it are limited by the hosts that they are for.
func (n *Network) proxy(c Connection) (*Target, error) {
	u, err := ResolveURL(nil, c.Proxy, "http", "https")
	if err != nil {
		return nil, err
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, errors.New("a proxy's URL has no path, want http://host:port")
	}
	var options TLSOptions
	if c.TLS != nil {
		options.CAFile = c.TLS.CAFile
	}
	key := fmt.Sprintf("proxy:%q %q %q", c.Proxy, c.Resolver, options.CAFile)
	return Shared(n, key, func() (*Target, error) {
		n.redact.AddURL(u)
		t, err := n.locate(u)
		if err != nil {
			return nil, err
		}
		t.family, t.options = "both", options
		t.resolver, _ = resolverAddr(c.Resolver) // its problem is told by the caller
		t.BasicAuth, t.proxyAuth = "", t.BasicAuth
		if p := n.compileTLS(t); len(p) > 0 {
			return nil, errors.New(p[0].Text)
		}
		return t, nil
	})
}
