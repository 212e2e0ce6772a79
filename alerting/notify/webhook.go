package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// Webhook tells incidents by a signed POST of JSON to a URL of yours, in the
// form of Standard Webhooks (https://www.standardwebhooks.com), for which
// libraries in most languages check the signature. Every version of an incident
// is a request of its own; what is sent again because no answer came has the
// same webhook-id.
//
// The body is {"type": "incident.opened", "timestamp": ..., "data": {...}},
// where type is incident.opened, incident.updated or incident.resolved and
// data has v (the version of this form, 1), id, group, severity, version, state
// (open or resolved), title, changed, since, last_bad, ended (unless open),
// outage_seconds, link, findings with the figures behind each, causes (the
// likeliest, and what to look at next) and evidence, an excerpt of what was seen
// on the wire. It has less than 20 kB.
//
// Any 2xx says that it was taken; redirects are not followed. A 410 says that the
// receiver wants no more: nothing is posted then until the settings change or
// the monitor restarts, the page shows the notifier as failing, and its fallback
// tells in its place. After anything else it is sent again, until a day after
// the end of the incident.
type Webhook struct {
	// URL is where to post, https, a secret.
	URL string `yaml:"url" json:"url"`
	// Secret is the key of the signature: whsec_ and 24 to 64 bytes in base64.
	Secret string `yaml:"secret,omitempty" json:"secret,omitempty"`
	// AllowUnsigned permits to have no secret: the receiver cannot know then
	// who calls.
	AllowUnsigned bool `yaml:"allow_unsigned,omitempty" json:"allow_unsigned,omitempty"`
	// AllowPrivate permits http, a proxy from the environment, and private,
	// loopback and link-local addresses. Without it only public addresses are
	// connected to, whatever the name resolves to.
	AllowPrivate bool `yaml:"allow_private,omitempty" json:"allow_private,omitempty"`
}

// The limits of https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md.
const (
	webhookPrefix  = "whsec_"
	webhookMinKey  = 24 // bytes
	webhookMaxKey  = 64
	webhookMaxBody = 20_000 - 1 // bytes
	webhookTimeout = 15 * time.Second
)

// WebhookVersion is the version of the form of the body of webhooks.
const WebhookVersion = 1

// Validate returns everything that is wrong with the settings.
func (s *Webhook) Validate() []probe.Problem {
	var problems []probe.Problem
	wrong := func(path, format string, args ...any) {
		problems = append(problems, probe.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	if s.URL == "" {
		wrong("url", "is empty, want an https URL")
	} else if text := s.wrongURL(); text != "" {
		wrong("url", "%s", text)
	}
	switch _, err := webhookKey(s.Secret); {
	case s.Secret == "" && !s.AllowUnsigned:
		wrong("secret", "is empty, want %s and %d to %d bytes in base64, or allow_unsigned", webhookPrefix, webhookMinKey, webhookMaxKey)
	case s.Secret != "" && s.AllowUnsigned:
		wrong("allow_unsigned", "contradicts secret, want one of them")
	case s.Secret != "" && err != nil:
		wrong("secret", "%s", err)
	}
	return problems
}

func (s *Webhook) wrongURL() string {
	if s.AllowPrivate {
		return webURL(s.URL)
	}
	u, err := url.Parse(s.URL)
	switch {
	case err != nil:
		return "is no URL"
	case u.Scheme == "http" && u.Hostname() != "":
		return fmt.Sprintf("sends secrets to %s without encryption, want https, or allow_private", u.Host)
	case u.Scheme != "https" || u.Hostname() == "":
		return "is no https URL"
	}
	host := u.Hostname()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if err := blocked(ip); err != nil {
			return "leads nowhere: " + err.Error()
		}
	}
	return ""
}

// webhookKey decodes a secret. Its errors do not quote it.
func webhookKey(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, webhookPrefix)
	if !ok {
		return nil, fmt.Errorf("does not start with %s", webhookPrefix)
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not base64 after " + webhookPrefix)
	}
	if len(key) < webhookMinKey || len(key) > webhookMaxKey {
		return nil, fmt.Errorf("has %d bytes, want %d to %d", len(key), webhookMinKey, webhookMaxKey)
	}
	return key, nil
}

// Notifier returns the notifier of settings in which nothing is wrong.
func (s *Webhook) Notifier(Env) Notifier {
	client := newHTTPClient()
	client.Timeout = webhookTimeout
	if !s.AllowPrivate {
		client = guarded(client)
	}
	w := &signedHook{service: service{client: client, url: s.URL, secrets: []string{s.Secret}}}
	if u, err := url.Parse(s.URL); err == nil {
		password, _ := u.User.Password()
		w.secrets = append(w.secrets, password, strings.TrimPrefix(u.RequestURI(), "/"))
	}
	if s.Secret != "" {
		w.key, _ = webhookKey(s.Secret) // Validate has seen it
	}
	return w
}

// signedHook is the notifier of Webhook settings.
type signedHook struct {
	service
	key  []byte                         // nil: unsigned
	gone atomic.Pointer[PermanentError] // of the 410, after which nothing is posted; nil if there was none
}

// Notify posts the newest state of the incident. There are no ids to return.
func (w *signedHook) Notify(ctx context.Context, m Message, _ *Receipt) (Receipt, error) {
	if gone := w.gone.Load(); gone != nil {
		return Receipt{}, gone
	}
	body := webhookBody(m)
	r, err := w.post(ctx, body, w.header(webhookID(m.Incident), time.Now(), body))
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{}, w.judge(r, time.Now())
}

// webhookID is the same for every attempt to tell one version.
func webhookID(i alerting.Incident) string { return i.ID + "-v" + strconv.Itoa(i.Version) }

// header signs a body as sent at a moment.
func (w *signedHook) header(id string, at time.Time, body []byte) http.Header {
	stamp := strconv.FormatInt(at.Unix(), 10)
	h := http.Header{}
	h.Set("Webhook-Id", id)
	h.Set("Webhook-Timestamp", stamp)
	if w.key != nil {
		mac := hmac.New(sha256.New, w.key)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		h.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return h
}

// judge says what an answer means. What the receiver says besides is not
// quoted: nothing is known of it.
func (w *signedHook) judge(r reply, now time.Time) error {
	if r.status >= 200 && r.status < 300 {
		return nil
	}
	err := fmt.Errorf("%s: status %d, want 2xx", &w.service, r.status)
	switch r.status {
	case http.StatusGone: // "disable the webhook endpoint and stop sending", says the specification
		gone := &PermanentError{Err: fmt.Errorf(
			"%s: status %d: the receiver wants no more, nothing is posted until the settings change or the monitor restarts", &w.service, r.status)}
		w.gone.Store(gone)
		return gone
	case http.StatusTooManyRequests:
		return &LaterError{After: retryAfter(r.header.Get("Retry-After"), laterPause, now), Err: err}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		const none = -1 << 62
		if after := retryAfter(r.header.Get("Retry-After"), none, now); after != none {
			return &LaterError{After: after, Err: err}
		}
	}
	return err
}

// webhookEvent is the body of a request.
type webhookEvent struct {
	Type      string      `json:"type"`
	Timestamp time.Time   `json:"timestamp"` // of the newest news, the same on every attempt
	Data      webhookData `json:"data"`
}

type webhookData struct {
	V        int               `json:"v"`
	ID       string            `json:"id"`
	Group    string            `json:"group"`
	Severity alerting.Severity `json:"severity"`
	Version  int               `json:"version"`
	State    string            `json:"state"`
	Title    string            `json:"title"`
	Changed  string            `json:"changed"`
	Since    time.Time         `json:"since"`
	LastBad  time.Time         `json:"last_bad"`
	Ended    time.Time         `json:"ended,omitzero"`
	Outage   float64           `json:"outage_seconds"`
	Link     string            `json:"link,omitempty"`
	details
}

// webhookBody is the body of the request about the newest state of an incident.
func webhookBody(m Message) []byte {
	i := m.Incident
	e := webhookEvent{Type: "incident.updated", Timestamp: newsTime(i).UTC()}
	data := webhookData{
		V: WebhookVersion, ID: i.ID, Group: cut(clean(i.Group, false), 200), Severity: i.Severity, Version: i.Version, State: "open",
		Title: cut(clean(i.Title(), false), 1000), Changed: cut(clean(i.Changed, false), 500),
		Since: i.Since.UTC(), LastBad: i.LastBad.UTC(), Outage: i.Outage().Seconds(), Link: webLink(m.Link),
	}
	switch {
	case !i.Open():
		e.Type, data.State, data.Ended = "incident.resolved", "resolved", i.Ended.UTC()
	case i.First():
		e.Type = "incident.opened"
	}
	return within(webhookMaxBody, detailed(m), func(d details) any {
		data.details = d
		e.Data = data
		return e
	})
}
