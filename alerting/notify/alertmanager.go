package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// Alertmanager tells incidents to Prometheus Alertmanager (API v2), which
// routes them on. Each incident is one alert with the labels
// alertname="TriplineIncident", incident, group and severity. It is repeated
// every minute while the incident is open: an alert that is not repeated for
// 5 minutes counts there as resolved.
//
// An incident that ended before it could be told arrives as ended, and
// Alertmanager tells nobody.
type Alertmanager struct {
	// URLs is where the Alertmanagers are, such as http://alertmanager:9093,
	// without /api/v2/alerts. All members of a cluster belong here: each is
	// told, and one that takes the alert suffices.
	URLs probe.List `yaml:"urls" json:"urls"`
	// Labels are more labels of every alert, for the routes of Alertmanager.
	Labels map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"`
}

// An alert is repeated after alertAgain and lives for alertLife, which bridges
// a short outage on either side.
const (
	alertAgain = time.Minute
	alertLife  = 5 * time.Minute
)

// Validate returns everything that is wrong with the settings.
func (s *Alertmanager) Validate() []probe.Problem {
	var problems []probe.Problem
	wrong := func(path, format string, args ...any) {
		problems = append(problems, probe.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	if len(s.URLs) == 0 {
		wrong("urls", "is empty, want the URL of an Alertmanager, such as http://alertmanager:9093")
	}
	for k, raw := range s.URLs {
		path := fmt.Sprintf("urls[%d]", k)
		u, err := url.Parse(raw)
		switch text := webURL(raw); {
		case text != "":
			wrong(path, "%s", text)
		case err == nil && (u.RawQuery != "" || u.Fragment != ""):
			wrong(path, "has a query or a fragment, want the address of an Alertmanager alone")
		case err == nil && strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/api/v2/alerts"):
			wrong(path, "names the API, want the address without /api/v2/alerts")
		case slices.Contains(s.URLs[:k], raw):
			wrong(path, "is there twice")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		path := "labels." + name
		switch {
		case !labelName(name):
			wrong(path, "%q is no name of a label, want letters, digits and _, no digit first", name)
		case slices.Contains([]string{"alertname", "incident", "group", "severity"}, name):
			wrong(path, "is set by Tripline, want another name")
		case s.Labels[name] == "":
			wrong(path, "is empty, which means no label")
		}
	}
	return problems
}

// labelName tells whether s is a name of a label
// (https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels).
func labelName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
	return s != "" && strings.Trim(s, letters+"0123456789") == "" && strings.Contains(letters, s[:1]) && !strings.HasPrefix(s, "__")
}

// Notifier returns the notifier of settings in which nothing is wrong.
func (s *Alertmanager) Notifier(env Env) Notifier {
	a := &alertmanager{labels: s.Labels, log: env.Log}
	client := newHTTPClient()
	for _, raw := range s.URLs {
		m := &alertmanagerMember{service: service{client: client, url: strings.TrimSuffix(raw, "/") + "/api/v2/alerts"}}
		if u, err := url.Parse(raw); err == nil {
			if password, ok := u.User.Password(); ok {
				m.secrets = []string{password, u.User.String()}
			}
		}
		a.members = append(a.members, m)
	}
	return a
}

// alertmanager is the notifier of Alertmanager settings.
type alertmanager struct {
	members []*alertmanagerMember
	labels  map[string]string
	log     *slog.Logger
}

// alertmanagerMember is one member of a cluster.
type alertmanagerMember struct {
	service
	down atomic.Bool // took nothing the last time, while another one did
}

// idLabels is the id in receipts that holds the labels of the alert as JSON:
// they are its identity, and with others an alert is never resolved.
const idLabels = "labels"

// Notify tells all members the newest state of the incident. When its labels
// have changed since, with the severity or the settings, the alert with the old
// ones is resolved.
func (a *alertmanager) Notify(ctx context.Context, m Message, told *Receipt) (Receipt, error) {
	now := time.Now()
	labels := a.labelsOf(m.Incident)
	var old map[string]string
	if told != nil && told.IDs[idLabels] != "" {
		if err := json.Unmarshal([]byte(told.IDs[idLabels]), &old); err != nil {
			old = nil
		}
	}
	alerts := []alert{alertOf(m, labels, now)}
	if old != nil && !maps.Equal(old, labels) {
		ended := alertOf(m, old, now)
		ended.EndsAt = now.UTC()
		alerts = append(alerts, ended)
	}
	if err := a.send(ctx, plainJSON(alerts)); err != nil {
		return Receipt{}, err
	}
	return Receipt{IDs: map[string]string{idLabels: string(plainJSON(labels))}, Again: alertAgain}, nil
}

// labelsOf makes the labels of the alert of an incident.
func (a *alertmanager) labelsOf(i alerting.Incident) map[string]string {
	labels := maps.Clone(a.labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels["alertname"], labels["incident"] = "TriplineIncident", i.ID
	labels["group"], labels["severity"] = cut(clean(i.Group, false), 200), string(i.Severity)
	return labels
}

// alert is one alert of a request
// (https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml).
type alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

func alertOf(m Message, labels map[string]string, now time.Time) alert {
	i := m.Incident
	a := alert{
		Labels: labels, StartsAt: i.Since.UTC(), EndsAt: now.Add(alertLife).UTC(), GeneratorURL: webLink(m.Link),
		Annotations: map[string]string{
			"summary":     cut(clean(i.Title(), false), 1000),
			"description": cut(clean(strings.Join(i.Lines(), "\n"), true), 4000),
			"changed":     cut(clean(i.Changed, false), 500),
		},
	}
	if !i.Open() {
		a.EndsAt = i.Ended.UTC()
		if a.EndsAt.After(now) { // the end would be in the future
			a.EndsAt = now.UTC()
		}
		if a.EndsAt.Before(a.StartsAt) { // which is refused
			a.StartsAt = a.EndsAt
		}
	}
	if seen := cut(clean(excerpt(m.Evidence), true), 4000); seen != "" {
		a.Annotations["evidence"] = seen
	}
	if m.Because != "" {
		a.Annotations["because"] = clean(m.Because, false)
	}
	if d := detailed(m); len(d.Causes) > 0 {
		a.Annotations["cause"] = string(d.Causes[0].Certainty) + ": " + d.Causes[0].Text
		if d.Causes[0].Next != "" {
			a.Annotations["next"] = d.Causes[0].Next
		}
	}
	if links := runbooks(i); len(links) > 0 {
		a.Annotations["runbook_url"] = links[0].url
	}
	return a
}

// send tells all members at once. It is an error if none took the alerts; one
// that did not while another one did is logged when that begins.
func (a *alertmanager) send(ctx context.Context, body []byte) error {
	errs := make([]error, len(a.members))
	var all sync.WaitGroup
	for k, m := range a.members {
		all.Go(func() { errs[k] = m.tell(ctx, body) })
	}
	all.Wait()
	if !slices.Contains(errs, nil) {
		return noneTook(errs)
	}
	for k, m := range a.members {
		if was := m.down.Swap(errs[k] != nil); errs[k] != nil && !was {
			a.log.Warn("a member of the Alertmanager cluster was not told", "err", errs[k])
		}
	}
	return nil
}

// noneTook makes one error of those of all members: it is permanent, or says
// when to come back, only if each of them is.
func noneTook(errs []error) error {
	var texts []string
	permanent, after := 0, time.Duration(0)
	pauses := 0
	for _, err := range errs {
		texts = append(texts, err.Error())
		if _, ok := errors.AsType[*PermanentError](err); ok {
			permanent++
		}
		if l, ok := errors.AsType[*LaterError](err); ok {
			if pauses++; pauses == 1 || l.After < after {
				after = l.After
			}
		}
	}
	err := errors.New(strings.Join(texts, "; "))
	switch len(errs) {
	case permanent:
		return &PermanentError{Err: err}
	case pauses:
		return &LaterError{After: after, Err: err}
	}
	return err
}

// tell makes one request. Only a 400 is about the alerts; whatever else is
// wrong may be put right, and until then people are to be told.
func (m *alertmanagerMember) tell(ctx context.Context, body []byte) error {
	r, err := m.post(ctx, body, nil)
	if err != nil {
		return err
	}
	err = fmt.Errorf("%s: status %d, want 200", &m.service, r.status)
	switch r.status {
	case http.StatusOK:
		return nil
	case http.StatusBadRequest:
		if said := m.says(alertmanagerSays(r.body)); said != "" {
			err = fmt.Errorf("%s: status %d, %s", &m.service, r.status, said)
		}
		return &PermanentError{Err: err}
	case http.StatusTooManyRequests:
		return &LaterError{After: retryAfter(r.header.Get("Retry-After"), laterPause, time.Now()), Err: err}
	}
	return err
}

// alertmanagerSays returns what the body of a 400 says: a text, or an object
// with a message; "" if it is not Alertmanager's.
func alertmanagerSays(body []byte) string {
	var text string
	if json.Unmarshal(body, &text) == nil {
		return text
	}
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Message
}
