package notify

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify/mailtest"
	"github.com/tripline/tripline/checks/probe"
)

func startMail(t *testing.T) *mailtest.Server {
	t.Helper()
	s, err := mailtest.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if v := s.Violations(); len(v) > 0 {
			t.Errorf("the server would have refused: %q", v)
		}
	})
	return s
}

func mailSettings(s *mailtest.Server) *Email {
	return &Email{
		Server: s.Addr, CAFile: s.CAFile, Username: mailtest.Username, Password: mailtest.Password,
		From: "Tripline <tripline@example.com>", To: []string{"anna@example.com", "Ben <ben@example.com>"},
	}
}

// received is a mail as its receiver reads it.
type received struct {
	header      mail.Header
	plain, html string
}

func receive(t *testing.T, m mailtest.Message) received {
	t.Helper()
	msg, err := mail.ReadMessage(strings.NewReader(m.Data))
	if err != nil {
		t.Fatalf("%v in %q", err, m.Data)
	}
	_, boundary, _ := strings.Cut(msg.Header.Get("Content-Type"), "boundary=")
	r := received{header: msg.Header}
	parts := multipart.NewReader(msg.Body, strings.Trim(strings.TrimSpace(boundary), `"`))
	for {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
			r.html = string(b)
		} else {
			r.plain = strings.ReplaceAll(string(b), "\r\n", "\n")
		}
	}
}

// One incident is one thread: from its opening to its resolve, over a change of
// its title.
func TestEmailThread(t *testing.T) {
	for _, mode := range []string{startTLS, implicitTLS} {
		t.Run(mode, func(t *testing.T) {
			s := startMail(t)
			settings := mailSettings(s)
			settings.TLS = mode
			if mode == implicitTLS {
				s.Set(mailtest.Implicit)
			}
			if p := settings.Validate(); len(p) > 0 {
				t.Fatal(p)
			}
			n := settings.Notifier(Env{})
			t0 := time.Date(2026, 11, 21, 3, 10, 0, 0, time.UTC)
			i := opened("ws", t0)
			i.Findings[0].Reason = "<b>&amp; answered 404"
			var told *Receipt
			tell := func(m Message) {
				t.Helper()
				r, err := n.Notify(t.Context(), m, told)
				if err != nil {
					t.Fatal(err)
				}
				r.Version = m.Incident.Version
				told = &r
			}
			tell(Message{
				Incident: i, Link: "http://127.0.0.1:8080/#incident-ws", Because: "slack has not delivered for 5m",
				Evidence: &probe.Evidence{URL: "wss://gw.example.com/ws", Body: "Not Found\n.\n..dots", Causes: []probe.Cause{{Certainty: probe.Likely, Text: "no route", Next: "list the routes"}}},
			})
			tell(Message{Incident: then(i, "also: slow", t0.Add(time.Minute))})
			tell(Message{Incident: resolved(then(i, "also: slow", t0.Add(time.Minute)), t0.Add(4*time.Minute), t0.Add(5*time.Minute))})
			all := s.Messages()
			if len(all) != 3 {
				t.Fatalf("%d mails, want 3", len(all))
			}
			if diff := cmp.Diff([]string{"anna@example.com", "ben@example.com"}, all[0].To); diff != "" || all[0].From != "tripline@example.com" {
				t.Errorf("from %s to (-want +got):\n%s", all[0].From, diff)
			}
			first, second, last := receive(t, all[0]), receive(t, all[1]), receive(t, all[2])
			for _, m := range []struct {
				received
				want map[string]string
			}{
				{first, map[string]string{
					"Message-Id": "<ws.v1@example.com>", "In-Reply-To": "", "Importance": "high", "Auto-Submitted": "auto-generated",
					"Subject": "[page] ws: not_found 3 of 3 attempts in 5m, limit 0 %", "X-Tripline-Incident": "ws",
				}},
				{second, map[string]string{
					"Message-Id": "<ws.v2@example.com>", "In-Reply-To": "<ws.v1@example.com>", "References": "<ws.v1@example.com>",
					"Subject": "Re: [page] ws: not_found 3 of 3 attempts in 5m, limit 0 %",
				}},
				{last, map[string]string{
					"Message-Id": "<ws.v3@example.com>", "In-Reply-To": "<ws.v1@example.com>", "References": "<ws.v1@example.com>",
					"Subject": "Re: [page] ws: not_found 3 of 3 attempts in 5m, limit 0 %", "Importance": "",
				}},
			} {
				for k, want := range m.want {
					if got := m.header.Get(k); got != want {
						t.Errorf("%s: %q, want %q", k, got, want)
					}
				}
			}
			for _, want := range []string{
				"[page] ws: not_found 3 of 3", "Told here: slack has not delivered for 5m", "reason: <b>&amp; answered 404",
				"Not Found\n.\n..dots", "likely: no route", "Next: list the routes", "http://127.0.0.1:8080/#incident-ws", "incident ws, version 1",
			} {
				if !strings.Contains(first.plain, want) {
					t.Errorf("the text does not say %q:\n%s", want, first.plain)
				}
			}
			if !strings.Contains(first.html, "&lt;b&gt;&amp;amp; answered 404") || strings.Contains(first.html, "<b>&amp;") {
				t.Errorf("what comes from outside is not escaped:\n%s", first.html)
			}
			if !strings.HasPrefix(last.plain, "[resolved] ws after 4m: ") {
				t.Errorf("the resolve begins %.100q", last.plain)
			}
		})
	}
}

// What each answer of a server means (RFC 5321 §4.2.1), without the password in
// any error.
func TestEmailFaults(t *testing.T) {
	type kind string
	const told, later, permanent, again kind = "told", "later", "permanent", "again"
	for name, c := range map[string]struct {
		fault mailtest.Fault
		set   func(*Email, *mailtest.Server)
		want  kind
		text  string // in the error
		mails int
	}{
		"good":               {want: told, mails: 1},
		"greeted with 421":   {fault: mailtest.Fault{Step: "greeting", Answer: "421 4.3.2 too busy"}, want: later, text: "421 4.3.2 too busy"},
		"later":              {fault: mailtest.Fault{Step: "mail", Answer: "451 4.3.0 try later"}, want: later, text: "MAIL FROM: 451 4.3.0 try later"},
		"refused":            {fault: mailtest.Fault{Step: "rcpt", Answer: "550 5.1.1 no such user"}, want: permanent, text: "RCPT TO anna@example.com: 550 5.1.1 no such user"},
		"one refused":        {fault: mailtest.Fault{Step: "rcpt", Answer: "anna@example.com 550 5.1.1 no such user"}, want: told, mails: 1},
		"greylisted":         {fault: mailtest.Fault{Step: "rcpt", Answer: "450 4.7.1 greylisted"}, want: later, text: "450 4.7.1 greylisted"},
		"no data":            {fault: mailtest.Fault{Step: "data", Answer: "554 5.3.4 no"}, want: permanent, text: "DATA: 554 5.3.4 no"},
		"full":               {fault: mailtest.Fault{Step: "end", Answer: "452 4.2.2 full"}, want: later, text: "the end of the message: 452 4.2.2 full"},
		"spam":               {fault: mailtest.Fault{Step: "end", Answer: "550 5.7.1 spam"}, want: permanent, text: "the end of the message: 550 5.7.1 spam"},
		"hangs up":           {fault: mailtest.Fault{Step: "mail", Drop: true}, want: again, text: "MAIL FROM: EOF"},
		"dropped at the end": {fault: mailtest.Fault{Step: "end", Drop: true, Taken: true}, want: again, text: "the end of the message: EOF: the message may have arrived", mails: 1},
		"hangs at the end":   {fault: mailtest.Fault{Step: "end", Hang: true, Taken: true}, want: again, text: "the end of the message: interrupted before the answer: the message may have arrived", mails: 1},
		"never greets":       {fault: mailtest.Fault{Step: "greeting", Hang: true}, want: again, text: "interrupted before the answer"},
		"wrong password":     {set: func(s *Email, _ *mailtest.Server) { s.Password = "hush-hush" }, want: permanent, text: "535 5.7.8 refused: [redacted]"},
		"bad certificate":    {set: func(s *Email, _ *mailtest.Server) { s.CAFile = "" }, want: again, text: "certificate signed by unknown authority"},
		"bad, implicit":      {set: func(s *Email, m *mailtest.Server) { s.CAFile, s.TLS = "", implicitTLS; m.Set(mailtest.Implicit) }, want: again, text: "certificate signed by unknown authority"},
		"no STARTTLS":        {set: func(_ *Email, m *mailtest.Server) { m.Set(mailtest.NoTLS) }, want: again, text: "does not support STARTTLS"},
		"nobody there":       {set: func(s *Email, _ *mailtest.Server) { s.Server = "127.0.0.1:1" }, want: again, text: "connection refused"},
		"no CA file":         {set: func(s *Email, _ *mailtest.Server) { s.CAFile = filepath.Join(filepath.Dir(s.CAFile), "gone.pem") }, want: permanent, text: "no such file"},
		"without TLS":        {set: func(s *Email, _ *mailtest.Server) { s.TLS, s.Username, s.Password = noTLS, "", "" }, want: told, mails: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startMail(t)
			settings := mailSettings(s)
			if c.set != nil {
				c.set(settings, s)
			}
			s.Fail(c.fault)
			ctx := t.Context()
			if c.fault.Hang { // the attempt ends once the server has got there
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Minute)
				defer cancel()
				go func() {
					select {
					case <-s.Hung():
						cancel()
					case <-ctx.Done():
					}
				}()
			}
			_, err := settings.Notifier(Env{Log: slog.New(slog.DiscardHandler)}).Notify(ctx, Message{Incident: opened("ws", time.Now())}, nil)
			got := again
			_, isLater := errors.AsType[*LaterError](err)
			_, isPermanent := errors.AsType[*PermanentError](err)
			switch {
			case err == nil:
				got = told
			case isLater:
				got = later
			case isPermanent:
				got = permanent
			}
			if got != c.want || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v, want %s with %q", got, err, c.want, c.text)
			}
			if err != nil && (strings.Contains(err.Error(), mailtest.Password) || strings.Contains(err.Error(), "hush")) {
				t.Errorf("the error has the password: %v", err)
			}
			if n := len(s.Messages()); n != c.mails {
				t.Errorf("%d mails, want %d", n, c.mails)
			}
		})
	}
}

// A mail whose answer was lost is sent again under the same Message-ID, by
// which receivers recognise it; a newer version is an answer to it.
func TestEmailAgain(t *testing.T) {
	s := startMail(t)
	n := mailSettings(s).Notifier(Env{})
	i := opened("ws", time.Now())
	s.Fail(mailtest.Fault{Step: "mail", Drop: true})
	r, err := n.Notify(t.Context(), Message{Incident: i}, nil)
	if err == nil || r.IDs != nil {
		t.Fatalf("%v, %v: want an error without a thread", r.IDs, err)
	}
	s.Fail(mailtest.Fault{Step: "end", Drop: true, Taken: true})
	r, err = n.Notify(t.Context(), Message{Incident: i}, &Receipt{Pending: true})
	if err == nil {
		t.Fatal("no error")
	}
	s.Fail(mailtest.Fault{})
	told := &Receipt{Pending: true, IDs: r.IDs}
	for _, m := range []Message{{Incident: i}, {Incident: then(i, "also: slow", time.Now())}} {
		if _, err := n.Notify(t.Context(), m, told); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, m := range s.Messages() {
		h := receive(t, m).header
		ids = append(ids, h.Get("Message-Id")+h.Get("In-Reply-To"))
	}
	if diff := cmp.Diff([]string{"<ws.v1@example.com>", "<ws.v1@example.com>", "<ws.v2@example.com><ws.v1@example.com>"}, ids); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
}

// Who is refused for now is tried again, and nobody else; a newer version goes
// to all.
func TestEmailSomeLater(t *testing.T) {
	s := startMail(t)
	settings := mailSettings(s)
	settings.To = append(settings.To, "carl@example.com")
	var lines logged
	n := settings.Notifier(Env{Log: slog.New(slog.NewTextHandler(&lines, nil))})
	i := opened("ws", time.Now())
	attempt := func(i alerting.Incident, told *Receipt, fault, want string) *Receipt {
		t.Helper()
		s.Fail(mailtest.Fault{})
		if fault != "" {
			s.Fail(mailtest.Fault{Step: "rcpt", Answer: fault})
		}
		rec, err := n.Notify(t.Context(), Message{Incident: i}, told)
		_, permanent := errors.AsType[*PermanentError](err)
		_, later := errors.AsType[*LaterError](err) // which would hold up the others' mails
		if permanent || later || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Fatalf("error %v, want one with %q that is tried again", err, want)
		}
		if err == nil {
			rec.Version = i.Version
		}
		return &rec
	}
	told := attempt(i, nil, "ben@example.com 450 4.2.2 full", "RCPT TO ben@example.com: 450 4.2.2 full; the other recipients were told")
	told = attempt(i, told, "ben@example.com 450 4.2.2 full", "RCPT TO ben@example.com: 450 4.2.2 full; the other recipients were told")
	told = attempt(i, told, "", "")
	i = then(i, "also: slow", time.Now())
	half := attempt(i, told, "ben@example.com 450 4.2.2 full", "ben@example.com")
	attempt(i, half, "ben@example.com 550 5.1.1 gone", "") // for good: the log says so
	i = then(i, "also: slower", time.Now())
	half = attempt(i, told, "ben@example.com 450 4.2.2 full", "ben@example.com")
	half.IDs[idMailTaken] = strings.Replace(half.IDs[idMailTaken], `"since":"20`, `"since":"19`, 1)
	told = attempt(i, half, "ben@example.com 450 4.2.2 full", "") // for long enough
	if told.IDs[idMailTaken] != "" || told.IDs[idMailRoot] != "ws.v1@example.com" {
		t.Errorf("receipt %v, want the thread alone", told.IDs)
	}
	var got []string
	for _, m := range s.Messages() {
		got = append(got, receive(t, m).header.Get("Message-Id")+" "+strings.Join(m.To, " "))
	}
	want := []string{
		"<ws.v1@example.com> anna@example.com carl@example.com", "<ws.v1@example.com> ben@example.com",
		"<ws.v2@example.com> anna@example.com carl@example.com", "<ws.v3@example.com> anna@example.com carl@example.com",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mails (-want +got):\n%s", diff)
	}
	if got := strings.Count(lines.String(), "a recipient was not told"); got != 2 {
		t.Errorf("the log says %d times who was not told, want 2:\n%s", got, lines.String())
	}
}

func TestEmailValidate(t *testing.T) {
	for _, c := range []struct {
		s    Email
		want []string
	}{
		{Email{Server: "mail.example.com:587", From: "a@example.com", To: []string{"b@example.com"}}, nil},
		{Email{}, []string{"server: is empty, want host:port such as smtp.example.com:587", "from: is empty, want a sender such as tripline@example.com", "to: is empty, want a list of addresses"}},
		{
			Email{Server: "mail.example.com", TLS: "ssl", CAFile: "/no/such/file", Username: "u", From: "nobody", To: []string{"b@example.com", "c"}},
			[]string{
				`server: "mail.example.com", want host:port such as smtp.example.com:587`, `tls: "ssl", want starttls, implicit or none`,
				"ca_file: open /no/such/file: no such file or directory", ": username and password go together, want both or neither",
				`from: "nobody" is no address, want one such as tripline@example.com`, `to[1]: "c" is no address, want one such as oncall@example.com`,
			},
		},
		{
			Email{Server: "127.0.0.1:25", TLS: noTLS, Username: "u", Password: "hush", From: "a@example.com", To: []string{"b@example.com"}},
			[]string{"tls: none would send the password as it is, want starttls or implicit"},
		},
	} {
		var got []string
		for _, p := range c.s.Validate() {
			got = append(got, p.Path+": "+p.Text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
