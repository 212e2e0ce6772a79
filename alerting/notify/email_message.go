package notify

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/tripline/tripline/alerting"
)

// The most characters of the parts of a mail.
const (
	mailSubjectMax  = 200
	mailLineMax     = 500
	mailLinesMax    = 200
	mailEvidenceMax = 8000
)

// mailSubject is the subject of the thread of an incident.
func mailSubject(i alerting.Incident) string { return cut(clean(i.Title(), false), mailSubjectMax) }

// message makes the mail of m: a thread is held together by In-Reply-To and
// References (RFC 5322 §3.6.4) and by its subject.
func (e *email) message(m Message, id string, ids map[string]string) (*mail.Msg, error) {
	msg := mail.NewMsg()
	msg.FromMailAddress(e.from)
	msg.ToMailAddress(e.to...)
	msg.SetMessageIDWithValue(id)
	msg.SetDateWithValue(time.Now())
	msg.SetUserAgent("Tripline")
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834: no answers of absence
	msg.SetGenHeader("X-Tripline-Incident", clean(m.Incident.ID, false))
	subject := ids[idMailSubject]
	if root := ids[idMailRoot]; root != id {
		subject = "Re: " + subject
		msg.SetGenHeader(mail.HeaderInReplyTo, "<"+root+">")
		msg.SetGenHeader(mail.HeaderReferences, "<"+root+">")
	}
	msg.Subject(subject)
	if m.Incident.Open() && m.Incident.Severity == alerting.Page {
		msg.SetImportance(mail.ImportanceHigh)
	}
	text := newMailText(m)
	msg.SetBodyString(mail.TypeTextPlain, text.plain())
	t, err := template.New("mail").Parse(mailHTML)
	if err != nil {
		return nil, err
	}
	return msg, msg.AddAlternativeHTMLTemplate(t, text)
}

// mailText is what a mail says.
type mailText struct {
	Title, Because, Cause, Next, Evidence, Link, Small string
	Lines                                              []string
}

func newMailText(m Message) mailText {
	i := m.Incident
	t := mailText{
		Title: cut(clean(i.Title(), false), mailLineMax), Because: clean(m.Because, false), Link: webLink(m.Link),
		Evidence: cut(clean(excerpt(m.Evidence), true), mailEvidenceMax),
		Small:    fmt.Sprintf("incident %s, version %d", clean(i.ID, false), i.Version),
	}
	lines := i.Lines()
	for _, line := range lines[:min(len(lines), mailLinesMax)] {
		t.Lines = append(t.Lines, cut(clean(line, false), mailLineMax))
	}
	if more := len(lines) - len(t.Lines); more > 0 {
		t.Lines = append(t.Lines, fmt.Sprintf("… and %d more lines", more))
	}
	if causes := detailed(m).Causes; len(causes) > 0 {
		t.Cause, t.Next = string(causes[0].Certainty)+": "+causes[0].Text, causes[0].Next
	}
	return t
}

// plain is t for programs without HTML.
func (t mailText) plain() string {
	var b strings.Builder
	part := func(lead, text string) {
		if text != "" {
			b.WriteString("\n" + lead + text + "\n")
		}
	}
	b.WriteString(t.Title + "\n")
	part("Told here: ", t.Because)
	part("", strings.Join(t.Lines, "\n"))
	part("Cause, ", t.Cause)
	part("Next: ", t.Next)
	part("", t.Evidence)
	part("", t.Link)
	part("", t.Small)
	return b.String()
}

const mailHTML = `<!doctype html>
<html><body style="font-family:sans-serif">
<h2>{{.Title}}</h2>
{{with .Because}}<p><em>Told here: {{.}}</em></p>
{{end}}<ul>{{range .Lines}}
<li>{{.}}</li>{{end}}
</ul>
{{with .Cause}}<p><b>Cause</b>, {{.}}</p>
{{end}}{{with .Next}}<p><b>Next:</b> {{.}}</p>
{{end}}{{with .Evidence}}<pre style="background:#f4f4f4;padding:8px;white-space:pre-wrap">{{.}}</pre>
{{end}}{{with .Link}}<p><a href="{{.}}">Open on the page</a></p>
{{end}}<p style="color:#777"><small>{{.Small}}</small></p>
</body></html>
`
