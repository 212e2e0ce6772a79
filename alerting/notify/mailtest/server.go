// Package mailtest is an SMTP server on a loopback address that keeps RFC 5321
// to the letter, refuses what real servers refuse, and fails when told to.
package mailtest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"time"
)

// The credentials that the server wants once TLS is on.
const (
	Username = "tripline"
	Password = "correct horse battery staple"
)

// Message is a mail that the server has taken.
type Message struct {
	From string
	To   []string
	Data string // headers and body, lines ending in \n
}

// Fault is what the server does at a step: "greeting", "ehlo", "auth", "mail",
// "rcpt", "data", "end" (of the message).
type Fault struct {
	Step   string
	Answer string // instead of its own, such as "451 4.3.0 try later"; a recipient at rcpt: "user@example.com 550 no"
	Hang   bool   // no answer
	Drop   bool   // the connection ends
	Taken  bool   // at end: the message is taken before Hang, Drop or Answer
}

// Mode is when a server wants TLS.
type Mode int

// The modes.
const (
	StartTLS Mode = iota // after STARTTLS
	Implicit             // from the first byte
	NoTLS                // never
)

// Server is the server.
type Server struct {
	Addr   string
	CAFile string // PEM of the certificate that it shows

	listener net.Listener
	tls      *tls.Config
	hung     chan struct{}

	mu         sync.Mutex
	mode       Mode
	fault      Fault
	messages   []Message
	violations []string
	conns      map[net.Conn]bool
	closed     bool
	running    sync.WaitGroup
}

// New starts a server that writes its certificate below dir.
func New(dir string) (*Server, error) {
	web := httptest.NewTLSServer(nil) // for its certificate, which is good for 127.0.0.1
	cert, config := web.Certificate(), &tls.Config{Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12}
	web.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not block
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: l.Addr().String(), CAFile: dir + "/ca.pem", listener: l, tls: config, hung: make(chan struct{}, 1), conns: map[net.Conn]bool{}}
	if err := os.WriteFile(s.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
		return nil, err
	}
	s.running.Go(s.accept)
	return s, nil
}

// Close ends the server and all its connections.
func (s *Server) Close() {
	_ = s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Fail makes the server fail from now on; Fault{} makes it well again.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Hung receives once a client waits for an answer that does not come.
func (s *Server) Hung() <-chan struct{} { return s.hung }

// Set sets the mode of the connections to come.
func (s *Server) Set(mode Mode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = mode
}

// Messages returns what was taken so far.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Message(nil), s.messages...)
}

// Violations lists what clients did that they must not do.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.violations...)
}

func (s *Server) violation(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		mode := s.mode
		if s.closed {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.running.Go(func() {
			_ = c.SetDeadline(time.Now().Add(time.Minute)) // no test waits longer
			x := &session{server: s, mode: mode, conn: c}
			x.serve()
			_ = c.Close()
		})
	}
}

// session is one connection.
type session struct {
	server  *Server
	mode    Mode
	conn    net.Conn
	in      *bufio.Reader
	secure  bool
	known   bool // authenticated
	from    string
	to      []string
	hasFrom bool
}

func (x *session) serve() {
	if x.mode == Implicit {
		x.conn, x.secure = tls.Server(x.conn, x.server.tls), true
	}
	x.in = bufio.NewReader(x.conn)
	if !x.answer("greeting", "", "220 mail.example.com ESMTP") {
		return
	}
	for {
		line, err := x.in.ReadString('\n')
		if err != nil {
			return
		}
		if !strings.HasSuffix(line, "\r\n") || len(line) > 512 {
			x.server.violation("a command line that is none: %q", line)
		}
		if !x.command(strings.TrimRight(line, "\r\n")) {
			return
		}
	}
}

// answer sends the answer of a step, or does what the fault says; it is false
// when the connection is over.
func (x *session) answer(step, recipient, good string) bool {
	x.server.mu.Lock()
	f := x.server.fault
	x.server.mu.Unlock()
	if f.Step == step {
		text := f.Answer
		if to, rest, ok := strings.Cut(text, " "); ok && strings.Contains(to, "@") {
			if text = rest; to != recipient {
				text = good
			}
		}
		switch {
		case f.Drop:
			return false
		case f.Hang:
			select {
			case x.server.hung <- struct{}{}:
			default:
			}
			_, _ = x.in.ReadByte() // until the client goes
			return false
		case text != "":
			good = text
		}
	}
	_, err := fmt.Fprintf(x.conn, "%s\r\n", good)
	return err == nil && !strings.HasPrefix(good, "421")
}

func (x *session) command(line string) bool {
	verb, rest, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		lines := []string{"mail.example.com", "8BITMIME", "ENHANCEDSTATUSCODES"}
		if !x.secure && x.mode != NoTLS {
			lines = append(lines, "STARTTLS")
		}
		if x.secure {
			lines = append(lines, "AUTH PLAIN LOGIN")
		}
		return x.answer("ehlo", "", "250-"+strings.Join(lines, "\r\n250-")+"\r\n250 SIZE 1000000")
	case "STARTTLS":
		if !x.answer("starttls", "", "220 go ahead") {
			return false
		}
		x.conn, x.secure = tls.Server(x.conn, x.server.tls), true
		x.in = bufio.NewReader(x.conn)
		return true
	case "AUTH":
		return x.auth(rest)
	case "MAIL":
		x.from, x.hasFrom, x.to = between(rest), true, nil
		if !x.known && x.secure {
			return x.answer("mail", "", "530 5.7.0 Authentication required")
		}
		return x.answer("mail", "", "250 2.1.0 ok")
	case "RCPT":
		return x.recipient(between(rest))
	case "DATA":
		return x.data()
	case "RSET", "NOOP":
		return x.answer("", "", "250 ok")
	case "*": // gives up authenticating (RFC 4954 §4)
		return x.answer("", "", "501 5.7.0 cancelled")
	case "QUIT":
		_ = x.answer("", "", "221 bye")
		return false
	}
	x.server.violation("unknown command %q", line)
	return x.answer("", "", "500 5.5.2 unknown command")
}

func (x *session) auth(rest string) bool {
	mechanism, first, _ := strings.Cut(rest, " ")
	if !x.secure {
		x.server.violation("AUTH without TLS")
	}
	plain, err := base64.StdEncoding.DecodeString(first)
	if mechanism != "PLAIN" || err != nil || string(plain) != "\x00"+Username+"\x00"+Password {
		return x.answer("auth", "", "535 5.7.8 refused: "+first) // some do quote it
	}
	x.known = true
	return x.answer("auth", "", "235 2.7.0 welcome")
}

func (x *session) recipient(to string) bool {
	if !x.hasFrom {
		x.server.violation("RCPT before MAIL")
	}
	x.server.mu.Lock()
	f := x.server.fault
	x.server.mu.Unlock()
	if f.Step != "rcpt" || strings.Contains(f.Answer, "@") && !strings.HasPrefix(f.Answer, to+" ") {
		x.to = append(x.to, to)
	}
	return x.answer("rcpt", to, "250 2.1.5 ok")
}

func (x *session) data() bool {
	if len(x.to) == 0 {
		x.server.violation("DATA without a recipient")
		return x.answer("", "", "554 5.5.1 no valid recipients")
	}
	x.server.mu.Lock()
	f := x.server.fault
	x.server.mu.Unlock()
	if !x.answer("data", "", "354 go ahead") || f.Step == "data" && f.Answer != "" {
		return f.Step == "data" && f.Answer != "" && !strings.HasPrefix(f.Answer, "421")
	}
	var data strings.Builder
	for {
		line, err := x.in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		if !strings.HasSuffix(line, "\r\n") || len(line) > 1000 { // RFC 5321 §4.5.3.1.6
			x.server.violation("a line of %d bytes that ends in %q", len(line), line[max(0, len(line)-2):])
		}
		data.WriteString(strings.TrimPrefix(strings.TrimRight(line, "\r\n"), ".") + "\n")
	}
	if f.Step != "end" || f.Taken {
		x.server.mu.Lock()
		x.server.messages = append(x.server.messages, Message{x.from, x.to, data.String()})
		x.server.mu.Unlock()
	}
	return x.answer("end", "", "250 2.0.0 taken as 12345")
}

// between returns the address between < and >.
func between(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}
