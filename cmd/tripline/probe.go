package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

type probeCmd struct {
	URL         string        `arg:"" help:"ws:// or wss:// to open a WebSocket, http:// or https:// for a plain GET."`
	Header      []string      `short:"H" sep:"none" help:"A request header; may be repeated." placeholder:"NAME:VALUE"`
	Subprotocol []string      `sep:"none" help:"A WebSocket subprotocol to offer; may be repeated." placeholder:"NAME"`
	Origin      string        `help:"The Origin header, as a browser would send it." placeholder:"URL"`
	Send        []string      `sep:"none" help:"A text message to send once the WebSocket is open; may be repeated." placeholder:"TEXT"`
	Expect      []string      `sep:"none" help:"What the next message (or the body of a plain GET) must be: a text that it contains, or jq that gives true, which begins with a dot or with jq: (.type == \"pong\"). May be repeated, one for each message." placeholder:"TEXT|JQ"`
	Bypass      string        `help:"Where the same WebSocket is reached past the proxies (http://10.0.0.5:8080): tried too after a failure, to learn whether they are to blame." placeholder:"URL"`
	Resolver    string        `help:"The DNS server to ask; default the system's." placeholder:"HOST:PORT"`
	CAFile      string        `name:"ca-file" help:"A PEM file of the roots to trust instead of the system's." placeholder:"FILE"`
	Insecure    bool          `help:"Accept any certificate."`
	Timeout     time.Duration `default:"10s" help:"How long the probe may take. Finding the cause of a failure takes up to 2.5s more." placeholder:"10s"`
	JSON        bool          `help:"Print one JSON object, as check --format json does."`
}

// Of a WebSocket that nothing is expected of, it is watched for this long
// whether the server closes it: many check credentials only then.
const probeSettle = 500 * time.Millisecond

const longestProbe = 10 * time.Minute

// Run probes the URL once and prints what happened.
func (c probeCmd) Run(ctx context.Context, p program) error {
	check, err := c.check()
	if err != nil {
		return &exitError{exitCannot, err}
	}
	if p.terminal {
		fmt.Fprintf(p.stderr, "probing %s, up to %s", check.Endpoint.URL, c.Timeout)
	}
	r, evidence := checks.Run(ctx, check, time.Now())
	if p.terminal {
		fmt.Fprint(p.stderr, "\r\x1b[K")
	}
	one := run{result: r, endpoint: check.Endpoint}
	if evidence != nil {
		one.evidence = evidence()
	}
	if c.JSON {
		err = printJSON(p.stdout, []run{one})
	} else {
		_, err = fmt.Fprint(p.stdout, probeText(one))
	}
	if err != nil {
		return err
	}
	return verdict(ctx, []run{one})
}

// check makes the check that the flags describe. Its error lists everything
// that is wrong with them.
func (c probeCmd) check() (checks.Check, error) {
	u, err := probe.ResolveURL(nil, c.URL, "wss", "ws", "https", "http")
	if err != nil {
		return checks.Check{}, err
	}
	if c.Timeout < 100*time.Millisecond || c.Timeout > longestProbe {
		return checks.Check{}, fmt.Errorf("--timeout: %s, want 100ms to %s", c.Timeout, longestProbe)
	}
	headers, err := c.headers()
	if err != nil {
		return checks.Check{}, err
	}
	redact := probe.NewRedactor()
	c.hide(redact, u, headers)
	kind, settings, err := c.settings(u, headers)
	if err != nil {
		return checks.Check{}, err
	}
	env := probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{UserAgent: "Tripline/" + versionString(), Redact: redact})}
	var wrong []error
	for _, bad := range settings.Validate(env) {
		wrong = append(wrong, fmt.Errorf("%s: %s", flagOf(bad.Path), bad.Text))
	}
	if err := errors.Join(wrong...); err != nil {
		return checks.Check{}, err
	}
	return checks.Check{
		Name: "probe", Group: "probe", Kind: kind, Location: "local", Prober: settings, Endpoint: settings.Endpoint(),
		Timeout: c.Timeout, Schedule: onceIn(2*c.Timeout + time.Minute),
	}, nil
}

// onceIn is a schedule that leaves a run so much time.
type onceIn time.Duration

func (d onceIn) Next(t time.Time) time.Time { return t.Add(time.Duration(d)) }

func (c probeCmd) settings(u *url.URL, headers map[string]string) (kind string, _ checks.Settings, _ error) {
	conn := probe.Connection{Resolver: c.Resolver}
	if c.CAFile != "" || c.Insecure {
		conn.TLS = &probe.TLSOptions{CAFile: c.CAFile, InsecureSkipVerify: c.Insecure}
	}
	if strings.HasPrefix(u.Scheme, "http") {
		if len(c.Send) > 0 || len(c.Subprotocol) > 0 || c.Bypass != "" {
			return "", nil, fmt.Errorf("--send, --subprotocol and --bypass are for WebSockets, want ws:// or wss:// and not %s://", u.Scheme)
		}
		if c.Origin != "" {
			headers["Origin"] = c.Origin
		}
		route := &checks.Route{URL: c.URL, Headers: headers, Connection: conn}
		for _, e := range c.Expect {
			if jq, ok := asJQ(e); ok {
				route.Conditions = append(route.Conditions, jq)
			} else {
				route.Contains = append(route.Contains, e)
			}
		}
		return "route", route, nil
	}
	ws := &checks.WebSocket{
		URL: c.URL, Headers: headers, Origin: c.Origin, Subprotocols: c.Subprotocol, Send: c.Send, Bypass: c.Bypass, Connection: conn,
	}
	for _, e := range c.Expect {
		if jq, ok := asJQ(e); ok {
			ws.Expect = append(ws.Expect, checks.WebSocketExpect{JQ: jq})
		} else {
			ws.Expect = append(ws.Expect, checks.WebSocketExpect{Text: e})
		}
	}
	if len(c.Expect) == 0 {
		settle := probe.Duration(min(probeSettle, c.Timeout/4))
		ws.Settle = &settle
	}
	return "websocket", ws, nil
}

func asJQ(s string) (string, bool) {
	if strings.HasPrefix(s, ".") {
		return s, true
	}
	return strings.CutPrefix(s, "jq:")
}

func (c probeCmd) headers() (map[string]string, error) {
	headers := map[string]string{}
	for _, h := range c.Header {
		name, value, ok := strings.Cut(h, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, errors.New("--header: there is no colon in one of them, want 'NAME: VALUE'") // it may be a secret
		}
		headers[name] = strings.TrimSpace(value)
	}
	return headers, nil
}

// hide makes known to the redactor what looks like a secret by its value alone:
// what probe prints is shown to many. Those with telling names are known anyway.
func (c probeCmd) hide(r *probe.Redactor, u *url.URL, headers map[string]string) {
	for name, value := range headers {
		if !harmless(name) && opaque(value, 16) {
			r.Add(value, value[strings.LastIndexByte(value, ' ')+1:])
		}
	}
	for _, values := range u.Query() {
		for _, value := range values {
			if opaque(value, 20) {
				r.Add(value, url.QueryEscape(value))
			}
		}
	}
	for _, s := range c.Subprotocol { // some clients put their token there
		for part := range strings.SplitSeq(s, ".") {
			if opaque(part, 20) {
				r.Add(part)
			}
		}
	}
}

// harmless tells whether a header field holds no secret, however long it is.
func harmless(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "accept") || strings.HasPrefix(name, "x-forwarded-") || slices.Contains([]string{
		"host", "origin", "referer", "user-agent", "content-type", "cache-control", "traceparent", "x-request-id", "x-correlation-id",
	}, name)
}

// opaque tells whether s, or the last word of it, looks like a token.
func opaque(s string, least int) bool {
	s = s[strings.LastIndexByte(s, ' ')+1:]
	return len(s) >= least && strings.ContainsAny(s, "0123456789") && !strings.ContainsAny(s, "/:<>")
}

// flagOf is how the command line calls a setting.
func flagOf(path string) string {
	path, _, _ = strings.Cut(path, "[")
	name, field, _ := strings.Cut(path, ".")
	switch name {
	case "url":
		return "URL"
	case "headers":
		return "--header " + field
	case "subprotocols":
		return "--subprotocol"
	case "conditions", "contains":
		return "--expect"
	case "tls":
		return "--" + strings.ReplaceAll(field, "_", "-")
	}
	return "--" + cmp.Or(name, "url")
}
