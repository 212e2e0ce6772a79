package notify

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/mail"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Email tells incidents by mail through an SMTP server. All messages of an
// incident are one thread.
type Email struct {
	// Server is host:port of the SMTP server, such as smtp.example.com:587.
	Server string `yaml:"server" json:"server"`
	// TLS is starttls, implicit or none. Default implicit on port 465 and
	// starttls on others. A server that does not offer STARTTLS is not used:
	// something in between may have taken the offer away.
	TLS string `yaml:"tls,omitempty" json:"tls,omitempty"`
	// CAFile is a file of PEM certificates that the server's must lead to,
	// instead of those of the system.
	CAFile string `yaml:"ca_file,omitempty" json:"ca_file,omitempty"`
	// Username is for servers that want one. It needs TLS.
	Username string `yaml:"username,omitempty" json:"username,omitempty"`
	// Password goes with username, a secret.
	Password string `yaml:"password,omitempty" json:"password,omitempty"`
	// From is the sender, such as tripline@example.com or
	// Tripline <tripline@example.com>.
	From string `yaml:"from" json:"from"`
	// To are the recipients. Where the server refuses some of them the others
	// are told. Who is refused for now (4xx) is tried again for 15 minutes; the
	// log says who was not told.
	To []string `yaml:"to" json:"to"`
}

// The settings of Email.TLS.
const (
	startTLS    = "starttls"
	implicitTLS = "implicit"
	noTLS       = "none"
)

// Validate returns everything that is wrong with the settings.
func (s *Email) Validate() []probe.Problem {
	var problems []probe.Problem
	add := func(path, format string, args ...any) {
		problems = append(problems, probe.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	host, port, err := net.SplitHostPort(s.Server)
	switch {
	case s.Server == "":
		add("server", "is empty, want host:port such as smtp.example.com:587")
	case err != nil || host == "" || port == "":
		add("server", "%q, want host:port such as smtp.example.com:587", cut(s.Server, 100))
	}
	switch s.TLS {
	case "", startTLS, implicitTLS, noTLS:
	default:
		add("tls", "%q, want starttls, implicit or none", cut(s.TLS, 100))
	}
	if s.CAFile != "" {
		if _, err := certificates(s.CAFile); err != nil {
			add("ca_file", "%v", err)
		}
	}
	switch {
	case (s.Username == "") != (s.Password == ""):
		add("", "username and password go together, want both or neither")
	case s.Password != "" && s.TLS == noTLS:
		add("tls", "none would send the password as it is, want starttls or implicit")
	}
	if s.From == "" {
		add("from", "is empty, want a sender such as tripline@example.com")
	} else if _, err := mail.ParseAddress(s.From); err != nil {
		add("from", "%q is no address, want one such as tripline@example.com", cut(s.From, 100))
	}
	if len(s.To) == 0 {
		add("to", "is empty, want a list of addresses")
	}
	for k, to := range s.To {
		if _, err := mail.ParseAddress(to); err != nil {
			add(fmt.Sprintf("to[%d]", k), "%q is no address, want one such as oncall@example.com", cut(to, 100))
		}
	}
	return problems
}

// certificates reads a file of PEM certificates.
func certificates(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return pool, nil
}

// Notifier returns the notifier of settings in which nothing is wrong.
func (s *Email) Notifier(env Env) Notifier {
	host, port, _ := net.SplitHostPort(s.Server)
	e := &email{
		server: s.Server, host: host, mode: s.TLS, username: s.Username, password: s.Password, log: env.Log,
		tls: &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12},
	}
	if e.mode == "" {
		e.mode = startTLS
		if port == "465" {
			e.mode = implicitTLS
		}
	}
	if s.CAFile != "" {
		e.tls.RootCAs, e.caErr = certificates(s.CAFile) // which may have changed since Validate
	}
	e.from, e.to = address(s.From), make([]*mail.Address, 0, len(s.To))
	for _, to := range s.To {
		e.to = append(e.to, address(to))
	}
	return e
}

// address reads what Validate has found to be one.
func address(s string) *mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		return &mail.Address{}
	}
	return a
}

// email is the notifier of Email settings.
type email struct {
	server, host, mode string
	username, password string
	tls                *tls.Config
	caErr              error
	from               *mail.Address
	to                 []*mail.Address
	log                *slog.Logger
}

// The ids in receipts: the Message-ID that the thread began with, its subject, by
// which some programs tell threads apart, and a mailTaken as JSON while some of
// the recipients are not told.
const (
	idMailRoot    = "message_id"
	idMailSubject = "subject"
	idMailTaken   = "taken"
)

// mailPatience is how long recipients are tried again while others are told.
const mailPatience = 15 * time.Minute

// mailTaken says which recipients need not be tried again with a message: they
// were told, or refused for good.
type mailTaken struct {
	ID    string    `json:"id"`    // Message-ID
	Since time.Time `json:"since"` // when the first was told
	By    []string  `json:"by"`
}

// takenOf reads what told says of the message id.
func takenOf(told *Receipt, id string) mailTaken {
	t := mailTaken{}
	if told == nil || json.Unmarshal([]byte(told.IDs[idMailTaken]), &t) != nil || t.ID != id {
		return mailTaken{ID: id, Since: time.Now().UTC()}
	}
	return t
}

// Notify sends one message. Each version has a Message-ID of its own that is the
// same at every attempt, so that receivers recognise one whose answer was lost.
// An attempt after one that told some recipients is for the others.
func (e *email) Notify(ctx context.Context, m Message, told *Receipt) (Receipt, error) {
	id := messageID(m, e.from.Address)
	ids := map[string]string{idMailRoot: id, idMailSubject: mailSubject(m.Incident)}
	if told != nil && told.IDs[idMailRoot] != "" {
		ids = maps.Clone(told.IDs)
	}
	if e.caErr != nil {
		return Receipt{}, &PermanentError{Err: fmt.Errorf("SMTP %s: %w", e.server, e.caErr)}
	}
	msg, err := e.message(m, id, ids)
	if err != nil {
		return Receipt{}, &PermanentError{Err: fmt.Errorf("make the mail of %s: %w", m.Incident.ID, err)}
	}
	taken := takenOf(told, id)
	some := len(taken.By) > 0
	left := slices.DeleteFunc(slices.Clone(e.to), func(a *mail.Address) bool { return slices.Contains(taken.By, a.Address) })
	h, err := e.send(ctx, msg, left)
	switch {
	case errors.Is(err, errHanded):
		return Receipt{IDs: ids}, err // the thread begins with what may have arrived
	case err != nil:
		return Receipt{}, err
	case len(h.settled) == len(h.never) && !some: // nobody took it; one of them may later
		return Receipt{}, slices.Concat(h.later, h.never)[0]
	}
	delete(ids, idMailTaken)
	e.untold(h.never)
	if len(h.later) == 0 || time.Since(taken.Since) >= mailPatience {
		e.untold(h.later)
		return Receipt{IDs: ids}, nil
	}
	taken.By = append(taken.By, h.settled...)
	ids[idMailTaken] = string(plainJSON(taken))
	// Not a LaterError: the mails of other incidents need not wait.
	return Receipt{IDs: ids}, fmt.Errorf("%s; the other recipients were told", h.later[0].Error())
}

// untold says which recipients were not told, and why.
func (e *email) untold(errs []error) {
	if e.log == nil {
		return
	}
	for _, err := range errs {
		e.log.Warn("a recipient was not told", "err", err)
	}
}

// messageID is the Message-ID of a version, without its brackets (RFC 5322 §3.6.4).
func messageID(m Message, from string) string {
	_, domain, _ := strings.Cut(from, "@")
	return fmt.Sprintf("%s.v%d@%s", pagerDutyID(m.Incident), m.Incident.Version, cmp.Or(domain, "tripline.invalid"))
}
