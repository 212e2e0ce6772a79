package notify

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
)

// alertmanagerAt makes a notifier for one Alertmanager with a password.
func alertmanagerAt(url string) Notifier {
	return (&Alertmanager{URLs: []string{strings.Replace(url, "//", "//user:p4ssw0rd@", 1) + "/am/"}}).Notifier(Env{})
}

// alerts decodes what was sent in one request.
func alerts(t *testing.T, p posted) []alert {
	t.Helper()
	var list []alert
	if err := json.Unmarshal(p.Body, &list); err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.EndsAt.Before(a.StartsAt) {
			t.Errorf("alert from %s to %s, which is refused", a.StartsAt, a.EndsAt)
		}
	}
	return list
}

func TestAlertmanagerGolden(t *testing.T) {
	a := &alertmanager{labels: map[string]string{"team": "edge"}}
	now := time.Date(2026, 11, 21, 3, 20, 0, 0, time.UTC)
	for name, m := range night() {
		golden(t, "alertmanager-"+name+".json", pretty(t, plainJSON([]alert{alertOf(m, a.labelsOf(m.Incident), now)})))
	}
}

func TestAlertmanagerLife(t *testing.T) {
	r := startReceiver(t, response{status: 200})
	n := alertmanagerAt(r.URL)
	i := opened("ws", time.Now().Add(-time.Hour))
	i.Severity = alerting.Ticket
	told := tell(t, n, i, nil)
	if told.Again != alertAgain {
		t.Errorf("again after %s, want %s", told.Again, alertAgain)
	}
	told = tell(t, n, i, told) // a repeat
	i = then(i, "also: down", time.Now())
	i.Severity = alerting.Page
	told = tell(t, n, i, told)
	tell(t, n, resolved(i, time.Now().Add(-time.Minute), time.Now()), told)
	var got []string
	for _, p := range r.posts() {
		if user, password, ok := basicAuth(p); !ok || user != "user" || password != "p4ssw0rd" || p.Path != "/am/api/v2/alerts" {
			t.Errorf("request %s as %s", p.Path, user)
		}
		s := ""
		for _, a := range alerts(t, p) {
			s += fmt.Sprintf("%s %s %t, ", a.Labels["incident"], a.Labels["severity"], a.EndsAt.After(p.At))
			if left := a.EndsAt.Sub(p.At); left > alertLife || left > 0 && left < alertLife-10*time.Second {
				t.Errorf("an open alert lives for %s, want %s", left, alertLife)
			}
		}
		got = append(got, strings.TrimSuffix(s, ", "))
	}
	want := []string{"ws ticket true", "ws ticket true", "ws page true, ws ticket false", "ws page false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts: severity, still open (-want +got):\n%s", diff)
	}
}

func basicAuth(p posted) (user, password string, ok bool) {
	_, a, _ := strings.Cut(fmt.Sprint(p.Header["Authorization"]), "Basic ")
	if a = strings.TrimSuffix(a, "]"); a != "dXNlcjpwNHNzdzByZA==" {
		return a, "", false
	}
	return "user", "p4ssw0rd", true
}

// The labels of the settings have changed: the alert with the old ones is ended.
func TestAlertmanagerNewLabels(t *testing.T) {
	r := startReceiver(t, response{status: 200})
	i := opened("ws", time.Now())
	told := tell(t, (&Alertmanager{URLs: []string{r.URL}, Labels: map[string]string{"team": "a"}}).Notifier(Env{}), i, nil)
	tell(t, (&Alertmanager{URLs: []string{r.URL}, Labels: map[string]string{"team": "b"}}).Notifier(Env{}), i, told)
	list := alerts(t, r.posts()[1])
	if len(list) != 2 || list[0].Labels["team"] != "b" || list[1].Labels["team"] != "a" || !list[0].EndsAt.After(list[1].EndsAt) {
		t.Errorf("alerts %+v, want b open and a ended", list)
	}
}

// All members of a cluster are told; one that takes it suffices.
func TestAlertmanagerCluster(t *testing.T) {
	up, down := startReceiver(t, response{status: 200}), startReceiver(t, response{status: 503})
	var log logged
	n := (&Alertmanager{URLs: []string{down.URL, up.URL}}).Notifier(Env{Log: slog.New(slog.NewTextHandler(&log, nil))})
	i := opened("ws", time.Now())
	told := tell(t, n, i, nil)
	tell(t, n, i, told)
	if len(up.posts()) != 2 || len(down.posts()) != 2 {
		t.Errorf("%d and %d requests, want 2 each", len(up.posts()), len(down.posts()))
	}
	if got := log.String(); strings.Count(got, "was not told") != 1 || !strings.Contains(got, "status 503") {
		t.Errorf("log %q, want that a member is down, once", got)
	}
	for _, c := range []struct {
		answers [2]response
		kind    string
		after   time.Duration
		text    string
	}{
		{[2]response{{status: 503}, {status: 400, body: `"bad labels"`}}, "again", 0, "%sstatus 503, want 200; %sstatus 400, bad labels"},
		{[2]response{{status: 400}, {status: 400}}, "permanent", 0, "%sstatus 400, want 200; %sstatus 400, want 200"},
		{[2]response{retrying(429, "9"), retrying(429, "4")}, "later", 4 * time.Second, "%sstatus 429, want 200; %sstatus 429, want 200"},
	} {
		a, b := startReceiver(t, c.answers[0]), startReceiver(t, c.answers[1])
		n := (&Alertmanager{URLs: []string{a.URL, b.URL}}).Notifier(Env{Log: logger(t)})
		_, err := n.Notify(t.Context(), Message{Incident: i}, nil)
		if err == nil {
			t.Fatal("no error")
		}
		checkError(t, err, c.kind, c.after, fmt.Sprintf(c.text, a.at(), b.at()))
	}
}

func TestAlertmanagerErrors(t *testing.T) {
	const leak = "p4ssw0rd"
	list := append(unknownAnswers(leak), []wrongAnswer{
		{"202", response{status: 202}, "again", 0, "status 202, want 200"},
		{"302", retrying(302, "1"), "again", 0, "status 302, want 200"},
		{"400 text", response{status: 400, body: `"start time must be before end time ` + leak + `"`}, "permanent", 0, "status 400, start time must be before end time [redacted]"},
		{"400 object", response{status: 400, body: `{"code":601,"message":"parsing alerts"}`}, "permanent", 0, "status 400, parsing alerts"},
		{"400 html", response{status: 400, body: "<html>"}, "permanent", 0, "status 400, want 200"},
		{"401", response{status: 401}, "again", 0, "status 401, want 200"},
		{"403", response{status: 403, body: leak}, "again", 0, "status 403, want 200"},
		{"404", response{status: 404}, "again", 0, "status 404, want 200"},
		{"410", response{status: 410}, "again", 0, "status 410, want 200"},
		{"429", response{status: 429}, "later", laterPause, "status 429, want 200"},
		{"429 7", retrying(429, "7"), "later", 7 * time.Second, "status 429, want 200"},
		{"429 odd", retrying(429, "NaN"), "later", laterPause, "status 429, want 200"},
		{"500", response{status: 500, body: leak}, "again", 0, "status 500, want 200"},
	}...)
	checkAnswers(t, list, alertmanagerAt, leak)
	unreachable(t, alertmanagerAt, leak)
}

// An end in the future, or before the beginning, would be refused or stay open.
func TestAlertmanagerClocks(t *testing.T) {
	now := time.Now()
	i := opened("ws", now.Add(time.Minute))
	for _, end := range []time.Time{now.Add(-time.Hour), now.Add(2 * time.Minute)} {
		a := alertOf(Message{Incident: resolved(i, i.Since, end)}, nil, now)
		if a.EndsAt.After(now) || a.EndsAt.Before(a.StartsAt) {
			t.Errorf("alert from %s to %s at %s", a.StartsAt, a.EndsAt, now)
		}
	}
	if n := len(plainJSON(alertOf(storm(), nil, now))); n > 100_000 {
		t.Errorf("%d bytes for an incident of many findings", n)
	}
}

func TestAlertmanagerValidate(t *testing.T) {
	for _, c := range []struct {
		s    Alertmanager
		want string
	}{
		{Alertmanager{URLs: []string{"http://alertmanager:9093", "https://user:pw@am.example.com/am/"}, Labels: map[string]string{"team": "edge"}}, ""},
		{Alertmanager{}, "urls: is empty, want the URL of an Alertmanager, such as http://alertmanager:9093"},
		{
			Alertmanager{URLs: []string{"alertmanager:9093", "http://u:secret@am/", "http://am/api/v2/alerts", "http://am?x=secret", "http://b", "http://b"}},
			"urls[0]: is no http or https URL; urls[1]: sends secrets to am without encryption, want https; " +
				"urls[2]: names the API, want the address without /api/v2/alerts; " +
				"urls[3]: has a query or a fragment, want the address of an Alertmanager alone; urls[5]: is there twice",
		},
		{
			Alertmanager{URLs: []string{"http://am"}, Labels: map[string]string{"1x": "a", "severity": "b", "team": "", "__x": "c"}},
			`labels.1x: "1x" is no name of a label, want letters, digits and _, no digit first; ` +
				`labels.__x: "__x" is no name of a label, want letters, digits and _, no digit first; ` +
				"labels.severity: is set by Tripline, want another name; labels.team: is empty, which means no label",
		},
	} {
		if got := problems(&c.s); got != c.want {
			t.Errorf("%+v:\n%s\nwant\n%s", c.s, got, c.want)
		}
	}
}
