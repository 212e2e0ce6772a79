package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// How wide the text is, and how much of each part is shown: what people paste
// into a channel should fit on a screen.
const (
	probeWidth     = 100
	probeMaxFrames = 6
	probeMaxBody   = 200
	probeMaxCauses = 3
)

// probeText tells what a probe came to: the verdict and what to do next, what
// happened stage by stage, the causes, and how to repeat it by hand.
func probeText(r run) string {
	e := r.evidence
	if e == nil {
		e = &probe.Evidence{URL: r.endpoint.URL, Class: r.result.Class, Stage: r.result.Stage, Reason: r.result.Reason}
	}
	s := &story{e: e, r: &r.result, failed: stageIndex(r.result)}
	fmt.Fprintf(&s.b, "tripline probe %s   %s\n\n", e.URL, r.result.Start.Format("2006-01-02 15:04:05 MST"))
	s.verdict()
	s.b.WriteByte('\n')
	s.stages()
	s.causes()
	s.byHand()
	return s.b.String()
}

// story is the text in the making.
type story struct {
	b      strings.Builder
	e      *probe.Evidence
	r      *checks.Result
	failed int // index of the stage that failed
}

// The stages as probe prints them.
const (
	atDNS = iota
	atConnect
	atTLS
	atAnswer
	atUpgrade
	atSession
	nowhere
)

// stageIndex tells at which stage r failed.
func stageIndex(r checks.Result) int {
	if r.Status == probe.Up || r.Status == probe.Degraded {
		return nowhere
	}
	switch r.Stage {
	case probe.StageDNS:
		return atDNS
	case probe.StageConnect:
		return atConnect
	case probe.StageTLS:
		return atTLS
	case probe.StageHandshake, probe.StageHTTP, probe.StageBody, probe.StageCondition:
		return atAnswer
	case probe.StageUpgrade:
		return atUpgrade
	case probe.StageMonitor:
		return atDNS - 1 // nothing is known of the target
	}
	return atSession
}

// step writes one stage: how it went, its name, how long it took and what was
// seen, in lines.
func (s *story) step(at int, name string, took time.Duration, lines ...string) {
	mark, spent := "ok", ""
	if at == s.failed {
		mark = "FAIL"
	}
	if at < 0 {
		mark = ""
	}
	if took > 0 {
		spent = short(took)
	}
	const indent = 27
	for i, line := range lines {
		lead := strings.Repeat(" ", indent)
		if i == 0 {
			lead = fmt.Sprintf("%-4s  %-8s %10s  ", mark, name, spent)
		}
		s.b.WriteString(wrap(lead, strings.Repeat(" ", indent), line))
	}
}

func (s *story) stages() {
	e := s.e
	u, err := url.Parse(e.URL)
	if err != nil || s.failed < atDNS {
		return
	}
	host := u.Hostname()
	if net.ParseIP(host) == nil {
		s.step(atDNS, "dns", e.Phases.DNS, host+found(e.Addresses))
	}
	if s.failed == atDNS {
		return
	}
	var tried []string
	for _, a := range e.Addresses {
		line := net.JoinHostPort(a.IP, port(u))
		if a.Err != "" {
			line += ": " + a.Err
		}
		tried = append(tried, line)
	}
	s.step(atConnect, "connect", e.Phases.Connect, tried...)
	if s.failed == atConnect {
		return
	}
	if u.Scheme == "wss" || u.Scheme == "https" {
		s.step(atTLS, "tls", e.Phases.TLS, tlsLines(e.TLS, s.r.Start)...)
	}
	if s.failed == atTLS && e.Head == "" {
		return
	}
	s.step(-1, "request", 0, requestLines(e.Request)...)
	s.answer()
	if strings.HasPrefix(u.Scheme, "ws") && s.failed >= atUpgrade {
		s.session()
	}
}

// found lists addresses.
func found(list []probe.Address) string {
	var ips []string
	for _, a := range list {
		ips = append(ips, a.IP)
	}
	if len(ips) == 0 {
		return ""
	}
	return " is " + strings.Join(ips, ", ")
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "wss" || u.Scheme == "https":
		return "443"
	}
	return "80"
}

func tlsLines(t *probe.TLSFacts, now time.Time) []string {
	if t == nil {
		return []string{"no session"}
	}
	var lines, session []string
	if t.Version != "" {
		session = append(session, t.Version)
	}
	if t.ALPN != "" {
		session = append(session, "ALPN "+t.ALPN)
	}
	if len(session) > 0 {
		lines = append(lines, strings.Join(session, ", "))
	}
	if t.Subject != "" {
		line := "certificate of " + t.Subject + ", issued by " + t.Issuer
		switch days := int(t.NotAfter.Sub(now).Hours() / 24); {
		case now.Before(t.NotBefore):
			line += ", valid only from " + t.NotBefore.UTC().Format(time.DateOnly)
		case now.After(t.NotAfter):
			line += ", EXPIRED on " + t.NotAfter.UTC().Format(time.DateOnly)
		default:
			line += fmt.Sprintf(", valid to %s (%d days)", t.NotAfter.UTC().Format(time.DateOnly), days)
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		lines = append(lines, "no session")
	}
	return lines
}

// requestLines are the request line and the header fields that the person chose.
func requestLines(head string) []string {
	line, rest, _ := strings.Cut(head, "\n")
	lines := []string{strings.TrimSpace(line)}
	upgrade := false
	for field := range strings.Lines(rest) {
		name, _, _ := strings.Cut(field, ":")
		switch name {
		case "", "\r\n", "Host", "User-Agent", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key":
		case "Upgrade":
			upgrade = true
		default:
			if field = strings.TrimSpace(field); field != "" {
				lines = append(lines, field)
			}
		}
	}
	if upgrade {
		lines[0] += " with Upgrade: websocket"
	}
	return lines
}

// answer writes the response head, as far as it matters, and the beginning of
// the body.
func (s *story) answer() {
	e := s.e
	if e.Head == "" || !strings.HasPrefix(e.Head, "HTTP/") {
		text := "none"
		if first := oneLine(e.Head, 80); first != "" {
			text = "no HTTP: " + strconv.Quote(first)
		}
		s.step(s.failed, "answer", 0, text)
		return
	}
	status, fields, _ := strings.Cut(e.Head, "\n")
	_, status, _ = strings.Cut(strings.TrimSpace(status), " ")
	lines := append([]string{status}, interesting(fields)...)
	if title, ok := htmlTitle(e.Body); ok {
		lines = append(lines, "body: a web page, "+strconv.Quote(title))
	} else if body := oneLine(e.Body, probeMaxBody); body != "" {
		lines = append(lines, "body: "+body)
	}
	at := atAnswer
	if s.failed == atTLS { // the server refused only when it was asked
		at = atTLS
	}
	s.step(at, "answer", e.Phases.FirstByte, lines...)
}

// htmlTitle returns the title of a web page.
func htmlTitle(body string) (title string, ok bool) {
	_, rest, ok := strings.Cut(body, "<title>")
	title, _, closed := strings.Cut(rest, "</title>")
	return oneLine(title, 80), ok && closed
}

// interesting returns the header fields that tell who answered and why.
func interesting(fields string) []string {
	h, _ := textproto.NewReader(bufio.NewReader(strings.NewReader(fields + "\r\n\r\n"))).ReadMIMEHeader() // as far as it goes
	var lines []string
	for _, name := range []string{
		"Server", "Via", "X-Powered-By", "Content-Type", "Location", "Www-Authenticate", "Retry-After", "Allow",
		"Upgrade", "Sec-Websocket-Version", "Sec-Websocket-Protocol", "Sec-Websocket-Extensions", "Cf-Ray", "X-Cloud-Trace-Context",
	} {
		if v := http.Header(h).Values(name); len(v) > 0 {
			lines = append(lines, strings.Replace(name, "Websocket", "WebSocket", 1)+": "+oneLine(strings.Join(v, ", "), 150))
		}
	}
	return lines
}

// session writes what happened once the server had answered 101.
func (s *story) session() {
	e := s.e
	if s.failed == atUpgrade {
		s.step(atUpgrade, "upgrade", 0, "the 101 is not right")
		return
	}
	s.step(atUpgrade, "upgrade", e.Phases.Upgrade, "the 101 is right: Upgrade, Connection, Sec-WebSocket-Accept")
	var frames []string
	shown := slices.DeleteFunc(slices.Clone(e.Frames), func(f probe.Frame) bool {
		return f.Err == "" && (f.Op == 10 || f.Op == 8 && e.Phases.Close > 0) // the answers below
	})
	for i, f := range shown {
		if i == probeMaxFrames {
			frames = append(frames, fmt.Sprintf("and %d more", len(shown)-i))
			break
		}
		text := frameText(f)
		if f.Err != "" && strings.Contains(s.r.Reason, f.Err) {
			text += ": this one is not right"
		} else if f.Err != "" {
			text += " (" + f.Err + ")"
		}
		frames = append(frames, text)
	}
	s.step(-1, "received", 0, frames...)
	if e.Phases.Ping > 0 {
		s.step(atUpgrade, "ping", e.Phases.Ping, "answered")
	}
	if e.Phases.Close > 0 {
		s.step(atUpgrade, "close", e.Phases.Close, "our close frame was answered")
	}
	if s.failed == atSession {
		s.step(atSession, "session", 0, sessionFailure(s.r.Class))
	}
}

func frameText(f probe.Frame) string {
	text := fmt.Sprintf("+%s %s, %d bytes", short(f.At), opcode(f.Op), f.Len)
	if f.Code != 0 {
		text += ", code " + strconv.Itoa(f.Code)
	}
	if t := oneLine(f.Text, 120); t != "" {
		text += ": " + t
	}
	return text
}

// sessionFailure says in few words what is wrong with an open WebSocket; the
// verdict has the whole.
func sessionFailure(c probe.Class) string {
	switch c {
	case probe.ClosedEarly, probe.AuthClosed:
		return "the server closed it"
	case probe.Dropped:
		return "the connection ended"
	case probe.NoPong:
		return "our ping was not answered"
	case probe.NoReply, probe.FlowMissing:
		return "a message did not come"
	case probe.BadPayload, probe.AppRefused, probe.FlowOrder, probe.FlowDuplicate, probe.Isolation:
		return "a message is not what was expected"
	case probe.CloseUnanswered:
		return "our close frame was not answered"
	}
	return strings.ReplaceAll(string(c), "_", " ")
}

// opcode names the opcodes of RFC 6455 §5.2.
func opcode(op byte) string {
	names := []string{"continuation", "text", "binary", 8: "close", 9: "ping", 10: "pong"}
	if int(op) < len(names) && names[op] != "" {
		return names[op]
	}
	return fmt.Sprintf("reserved opcode %d", op)
}
