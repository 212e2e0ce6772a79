package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// maxAnswer is how much of an answer is read, in bytes.
const maxAnswer = 4 << 10

// laterPause is the wait after a 429 that does not say how long to wait.
const laterPause = 30 * time.Second

// service is an address that JSON is posted to. Errors name only its host.
type service struct {
	client  *http.Client
	url     string
	secrets []string // to be kept out of errors, in addition to the URL
}

// reply is an answer to a POST.
type reply struct {
	status int
	header http.Header
	body   []byte // its beginning
}

// post makes one request. Its error means that there was no answer.
func (s *service) post(ctx context.Context, body []byte, header http.Header) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return reply{}, &PermanentError{Err: s.failed(err)}
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Tripline")
	resp, err := s.client.Do(req)
	if err != nil {
		return reply{}, s.failed(err)
	}
	defer resp.Body.Close()
	// The status says it all; a body that is cut off changes nothing.
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return reply{resp.StatusCode, resp.Header, answer}, nil
}

// failed says that a request got no answer, and why.
func (s *service) failed(err error) error {
	blocked, ok := errors.AsType[*blockedError](err)
	if ok {
		return &PermanentError{Err: fmt.Errorf("%s: %w", s, blocked)}
	}
	err = transportError(err, s.url)
	for _, secret := range s.secrets {
		err = transportError(err, secret)
	}
	return fmt.Errorf("%s: %w", s, err)
}

// String names the service for people.
func (s *service) String() string {
	if u, err := url.Parse(s.url); err == nil && u.Host != "" {
		return "POST " + u.Host
	}
	return "POST"
}

// says makes one line of a text of the service, without secrets.
func (s *service) says(text string) string {
	for _, secret := range s.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return cut(strings.TrimSpace(clean(text, false)), 300)
}

// cut shortens s to at most limit characters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

// webURL says what is wrong with an http or https URL, without quoting more of
// it than its host; "" if nothing is. Credentials need https.
func webURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "is no URL"
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "is no http or https URL"
	case u.User != nil:
		return secretURL(raw)
	}
	return ""
}

// webLink returns target if it is an absolute http or https URL that is short
// enough to be a link; "" otherwise.
func webLink(target string) string {
	if len(target) > 2000 || webURL(target) != "" {
		return ""
	}
	return target
}

// runbooks lists the runbooks of i that are links, at most three.
func runbooks(i alerting.Incident) (links []struct{ rule, url string }) {
	seen := map[string]bool{"": true}
	for _, f := range i.Findings {
		if u := webLink(f.Runbook); !seen[u] && len(links) < 3 {
			seen[u] = true
			links = append(links, struct{ rule, url string }{f.Rule, u})
		}
	}
	return links
}

// details is what machines are told of an incident: the figures behind its
// text. It is part of the bodies of PagerDuty and webhooks.
type details struct {
	Findings []findingDetails `json:"findings"`
	More     int              `json:"more_findings,omitempty"` // that there was no room for
	Causes   []causeDetails   `json:"causes,omitempty"`        // the likeliest first, at most two
	Evidence string           `json:"evidence,omitempty"`      // an excerpt of what was seen on the wire
	Because  string           `json:"because,omitempty"`       // why it is told here and not elsewhere
}

type causeDetails struct {
	Certainty probe.Certainty `json:"certainty"`
	Text      string          `json:"text"`
	Next      string          `json:"next,omitempty"` // what to look at
}

type findingDetails struct {
	Rule      string            `json:"rule"`
	Kind      string            `json:"kind"`
	Severity  alerting.Severity `json:"severity"`
	Text      string            `json:"text"`
	Reason    string            `json:"reason,omitempty"`
	Class     probe.Class       `json:"class,omitempty"`
	Checks    []string          `json:"checks"`
	More      int               `json:"more_checks,omitempty"`
	Figure    float64           `json:"figure"`
	Threshold float64           `json:"threshold"`
	Unit      string            `json:"unit"`
	Bad       int               `json:"bad"`
	Total     int               `json:"total"`
	Confirmed int               `json:"confirmed"`
	Unknown   int               `json:"unknown"`
	Since     time.Time         `json:"since"`
	LastBad   time.Time         `json:"last_bad"`
	Cleared   time.Time         `json:"cleared,omitzero"`
	Runbook   string            `json:"runbook,omitempty"`
}

// detailed gathers the details of a message.
func detailed(m Message) details {
	d := details{Evidence: cut(clean(excerpt(m.Evidence), true), 4000), Findings: []findingDetails{}, Because: clean(m.Because, false)}
	for _, f := range m.Incident.Findings {
		d.Findings = append(d.Findings, findingDetails{
			Rule: f.Rule, Kind: f.Kind, Severity: f.Severity, Text: cut(clean(f.Text, false), 500), Reason: cut(clean(f.Reason, false), 500),
			Class: f.Class, Checks: f.Checks, More: f.More, Figure: f.Figure, Threshold: f.Threshold, Unit: f.Unit,
			Bad: f.Bad, Total: f.Total, Confirmed: f.Confirmed, Unknown: f.Unknown,
			Since: f.Since.UTC(), LastBad: f.LastBad.UTC(), Cleared: f.Cleared, Runbook: webLink(f.Runbook),
		})
	}
	if m.Evidence != nil {
		for _, c := range m.Evidence.Causes[:min(2, len(m.Evidence.Causes))] {
			d.Causes = append(d.Causes, causeDetails{c.Certainty, cut(clean(c.Text, false), 500), cut(clean(c.Next, false), 500)})
		}
	}
	return d
}

// within encodes what body makes of d in at most limit bytes: what is too much
// loses names of checks, then the evidence, then findings from the end.
func within(limit int, d details, body func(details) any) []byte {
	for {
		b := plainJSON(body(d))
		names := false
		for _, f := range d.Findings {
			names = names || len(f.Checks) > 3
		}
		switch {
		case len(b) <= limit || len(d.Findings) == 0 && d.Evidence == "":
			return b
		case names:
			for k := range d.Findings {
				f := &d.Findings[k]
				keep := min(len(f.Checks), max(3, len(f.Checks)/2))
				f.Checks, f.More = f.Checks[:keep], f.More+len(f.Checks)-keep
			}
		case len(d.Evidence) > 2000:
			d.Evidence = cut(d.Evidence, utf8.RuneCountInString(d.Evidence)/2)
		case d.Evidence != "" && len(d.Findings) <= 4:
			d.Evidence = ""
		default:
			keep := len(d.Findings) / 2
			d.Findings, d.More = d.Findings[:keep], d.More+len(d.Findings)-keep
		}
	}
}

// plainJSON encodes plain data, which cannot fail, without escaping & < and >.
func plainJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}
