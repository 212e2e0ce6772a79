package notify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// PagerDuty tells incidents through the Events API v2 of PagerDuty. Each
// incident is one alert there, which is triggered, kept up to date and resolved
// under the same key, so that nothing is paged twice. Pages are critical,
// tickets are warnings. A reminder only adds to the alert: whom PagerDuty pages
// again while nobody acknowledges is up to its escalation policy.
type PagerDuty struct {
	// RoutingKey is the integration key of an Events API v2 integration: 32
	// letters and digits, a secret. Alerts are resolved with the key that
	// triggered them, also after this one has changed.
	RoutingKey string `yaml:"routing_key" json:"routing_key"`
	// APIURL is where events go, if not to
	// https://events.pagerduty.com/v2/enqueue. Accounts in the EU have
	// https://events.eu.pagerduty.com/v2/enqueue.
	APIURL string `yaml:"api_url,omitempty" json:"api_url,omitempty"`
}

// The limits of https://developer.pagerduty.com/docs/events-api-v2-overview.
const (
	pagerDutyURL     = "https://events.pagerduty.com/v2/enqueue"
	pagerDutyKeyLen  = 32
	pagerDutyDedup   = 255
	pagerDutySummary = 1024
	pagerDutyBody    = 512_000 // bytes
)

// Validate returns everything that is wrong with the settings.
func (s *PagerDuty) Validate() []probe.Problem {
	var problems []probe.Problem
	switch {
	case s.RoutingKey == "":
		problems = append(problems, probe.Problem{Path: "routing_key", Text: "is empty, want the integration key of an Events API v2 integration"})
	case len(s.RoutingKey) != pagerDutyKeyLen:
		problems = append(problems, probe.Problem{Path: "routing_key", Text: fmt.Sprintf("has %d characters, want %d", len(s.RoutingKey), pagerDutyKeyLen)})
	case strings.Trim(s.RoutingKey, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "":
		problems = append(problems, probe.Problem{Path: "routing_key", Text: "has other characters than letters and digits"})
	}
	if s.APIURL != "" {
		if text := secretURL(s.APIURL); text != "" {
			problems = append(problems, probe.Problem{Path: "api_url", Text: text})
		}
	}
	return problems
}

// Notifier returns the notifier of settings in which nothing is wrong.
func (s *PagerDuty) Notifier(Env) Notifier {
	p := &pagerDuty{key: s.RoutingKey, url: s.APIURL, client: newHTTPClient()}
	if p.url == "" {
		p.url = pagerDutyURL
	}
	return p
}

// DefaultLimit is about what PagerDuty takes for each key
// (https://developer.pagerduty.com/docs/events-api-v2-overview#api-response-codes--retry-logic).
func (s *PagerDuty) DefaultLimit() Limit { return Limit{120, time.Minute} }

// pagerDuty is the notifier of PagerDuty settings.
type pagerDuty struct {
	key    string // a secret
	url    string
	client *http.Client
}

// idRoutingKey is the id in receipts that holds the routing key of the trigger:
// PagerDuty drops a resolve that comes through another one, and answers 202.
const idRoutingKey = "routing_key"

// idAcknowledged is the id in receipts that says that the alert was acknowledged.
const idAcknowledged = "acknowledged"

// idTriedKey is the id in receipts that holds the routing key of a trigger that
// may have arrived.
const idTriedKey = "tried_routing_key"

// Intent keeps the key before the trigger: should its answer be lost, and the
// key be another one afterwards, the alert is still found.
func (p *pagerDuty) Intent(told *Receipt) map[string]string {
	if told != nil && told.IDs[idRoutingKey] != "" {
		return told.IDs
	}
	return map[string]string{idTriedKey: p.key}
}

// Notify triggers the alert of the incident, or adds to it, acknowledges it once
// somebody has, or resolves it. All events are idempotent, so that an attempt
// that may have arrived needs no look-up. An incident that ended before it
// could be told is triggered and resolved.
func (p *pagerDuty) Notify(ctx context.Context, m Message, told *Receipt) (Receipt, error) {
	key, sure := "", false
	if told != nil {
		key = told.IDs[idRoutingKey]
		sure = key != ""
		key = cmp.Or(key, told.IDs[idTriedKey])
	}
	switch {
	case m.Incident.Open() && key != "" && key != p.key:
		// The alert lives behind the old key, unless that is no more.
		err := p.send(ctx, key, pagerDutyTrigger(m, key))
		if _, refused := errors.AsType[*PermanentError](err); !refused {
			if err != nil {
				return Receipt{}, err // the ids stay: a key that was only tried is not known to be the one
			}
			return p.acknowledge(ctx, m, key, told)
		}
		told = nil
		fallthrough
	case m.Incident.Open():
		if err := p.send(ctx, p.key, pagerDutyTrigger(m, p.key)); err != nil {
			return Receipt{}, err
		}
		return p.acknowledge(ctx, m, p.key, told)
	case !sure:
		key = cmp.Or(key, p.key)
		err := p.send(ctx, key, pagerDutyTrigger(m, key))
		if _, refused := errors.AsType[*PermanentError](err); refused && key != p.key {
			key = p.key
			err = p.send(ctx, key, pagerDutyTrigger(m, key))
		}
		if err != nil {
			return Receipt{}, err
		}
	}
	// Should the resolve fail, its next attempt finds the key and does not
	// trigger once more: that would be another alert.
	return pagerDutyReceipt(key), p.send(ctx, key, pagerDutyResolve(m, key))
}

// acknowledge acknowledges the alert behind key, if somebody has taken the
// incident on and the alert does not show it yet.
func (p *pagerDuty) acknowledge(ctx context.Context, m Message, key string, told *Receipt) (Receipt, error) {
	r := pagerDutyReceipt(key)
	if m.Incident.Acknowledged == nil {
		return r, nil
	}
	if told == nil || told.IDs[idAcknowledged] == "" {
		event := plainJSON(pagerDutyEvent{RoutingKey: key, Action: "acknowledge", DedupKey: pagerDutyID(m.Incident)})
		if err := p.send(ctx, key, event); err != nil {
			return r, err
		}
	}
	r.IDs[idAcknowledged] = "yes"
	return r, nil
}

func pagerDutyReceipt(key string) Receipt {
	return Receipt{IDs: map[string]string{idRoutingKey: key}}
}

// pagerDutyEvent is the body of a request.
type pagerDutyEvent struct {
	RoutingKey string            `json:"routing_key"`
	Action     string            `json:"event_action"`
	DedupKey   string            `json:"dedup_key"`
	Client     string            `json:"client,omitempty"`
	ClientURL  string            `json:"client_url,omitempty"`
	Links      []pagerDutyLink   `json:"links,omitempty"`
	Payload    *pagerDutyPayload `json:"payload,omitempty"`
}

type pagerDutyLink struct {
	Href string `json:"href"`
	Text string `json:"text"`
}

type pagerDutyPayload struct {
	Summary   string           `json:"summary"`
	Source    string           `json:"source"`
	Severity  string           `json:"severity"`
	Timestamp time.Time        `json:"timestamp"`
	Component string           `json:"component,omitempty"`
	Group     string           `json:"group,omitempty"`
	Class     string           `json:"class,omitempty"`
	Details   pagerDutyDetails `json:"custom_details"`
}

type pagerDutyDetails struct {
	Incident string    `json:"incident"`
	Version  int       `json:"version"`
	Changed  string    `json:"changed"`
	Since    time.Time `json:"since"`
	LastBad  time.Time `json:"last_bad"`
	details
}

// pagerDutyTrigger is the event that opens the alert of an incident or adds to it.
func pagerDutyTrigger(m Message, key string) []byte {
	i := m.Incident
	e := pagerDutyEvent{RoutingKey: key, Action: "trigger", DedupKey: pagerDutyID(i), Client: "Tripline", ClientURL: webLink(m.Link)}
	if e.ClientURL != "" {
		e.Links = append(e.Links, pagerDutyLink{e.ClientURL, "Open on the page"})
	}
	for _, r := range runbooks(i) {
		e.Links = append(e.Links, pagerDutyLink{r.url, cut(clean("Runbook: "+r.rule, false), 100)})
	}
	p := &pagerDutyPayload{
		Summary: cut(clean(i.Title(), false), pagerDutySummary), Source: pagerDutySource(m), Severity: "warning",
		Timestamp: i.Since.UTC(), Group: cut(clean(i.Group, false), 200),
	}
	if i.Severity == alerting.Page {
		p.Severity = "critical"
	}
	for _, f := range i.Findings {
		if len(f.Checks) > 0 {
			p.Component, p.Class = cut(clean(f.Checks[0], false), 200), string(f.Class)
			break
		}
	}
	e.Payload = p
	return within(pagerDutyBody, detailed(m), func(d details) any {
		p.Details = pagerDutyDetails{
			Incident: i.ID, Version: i.Version, Changed: cut(clean(i.Changed, false), 500),
			Since: i.Since.UTC(), LastBad: i.LastBad.UTC(), details: d,
		}
		return e
	})
}

// pagerDutyResolve is the event that ends the alert of an incident.
func pagerDutyResolve(m Message, key string) []byte {
	return plainJSON(pagerDutyEvent{RoutingKey: key, Action: "resolve", DedupKey: pagerDutyID(m.Incident)})
}

// pagerDutyID is the key of the alert of an incident.
func pagerDutyID(i alerting.Incident) string {
	if len(i.ID) <= pagerDutyDedup {
		return i.ID
	}
	sum := sha256.Sum256([]byte(i.ID))
	return hex.EncodeToString(sum[:])
}

// pagerDutySource is what is broken: the host of the evidence, or the group.
func pagerDutySource(m Message) string {
	if m.Evidence != nil {
		if u, err := url.Parse(m.Evidence.URL); err == nil && u.Host != "" {
			return cut(clean(u.Host, false), 200)
		}
	}
	if group := cut(clean(m.Incident.Group, false), 200); group != "" {
		return group
	}
	return "tripline"
}

// send makes one request. A 202 says that the event was taken, 400 that it
// never will be; what is neither PagerDuty's nor known is tried again: it comes
// from something in between.
func (p *pagerDuty) send(ctx context.Context, key string, body []byte) error {
	s := &service{client: p.client, url: p.url, secrets: []string{key, p.key}}
	r, err := s.post(ctx, body, nil)
	if err != nil {
		return err
	}
	err = fmt.Errorf("%s: status %d, want 202", s, r.status)
	switch r.status {
	case http.StatusAccepted:
		return nil
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		if said := s.says(pagerDutySays(r.body)); said != "" {
			err = fmt.Errorf("%s: status %d, %s", s, r.status, said)
		}
		return &PermanentError{Err: err}
	case http.StatusTooManyRequests:
		return &LaterError{After: retryAfter(r.header.Get("Retry-After"), laterPause, time.Now()), Err: err}
	}
	return err
}

// pagerDutySays returns what the body of a 400 says; "" if it is not PagerDuty's.
func pagerDutySays(body []byte) string {
	var answer struct {
		Message string   `json:"message"`
		Errors  []string `json:"errors"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	if len(answer.Errors) == 0 {
		return answer.Message
	}
	return strings.Join(answer.Errors, "; ")
}
