package notify

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
)

const (
	pagerKey    = "0123456789abcdefghijklmnopqrstuv"
	pagerKeyOld = "oldkey6789abcdefghijklmnopqrstuv"
)

// pagerDutyAt makes notifiers with a key, pagerKey for "".
func pagerDutyAt(key string) func(url string) Notifier {
	if key == "" {
		key = pagerKey
	}
	return func(url string) Notifier {
		s := &PagerDuty{RoutingKey: key, APIURL: url + "/v2/enqueue"}
		if p := s.Validate(); len(p) > 0 {
			panic(p[0].Text)
		}
		return s.Notifier(Env{})
	}
}

// events lists what was sent: "trigger ws", with the key if it is the old one.
func events(t *testing.T, r *receiver) string {
	t.Helper()
	var list []string
	for _, p := range r.posts() {
		var e pagerDutyEvent
		if err := json.Unmarshal(p.Body, &e); err != nil {
			t.Fatal(err)
		}
		s := e.Action + " " + e.DedupKey
		if e.RoutingKey == pagerKeyOld {
			s += " old"
		}
		if (e.Payload == nil) != (e.Action != "trigger") {
			t.Errorf("%s", p.Body)
		}
		list = append(list, s)
	}
	return strings.Join(list, ", ")
}

func TestPagerDutyGolden(t *testing.T) {
	for name, m := range night() {
		golden(t, "pagerduty-"+name+".json", pretty(t, pagerDutyTrigger(m, pagerKey)))
	}
	golden(t, "pagerduty-resolve.json", pretty(t, pagerDutyResolve(night()["resolved"], pagerKey)))
}

func TestPagerDutyLife(t *testing.T) {
	r := startReceiver(t, response{status: 202, body: `{"status":"success","message":"Event processed","dedup_key":"ws"}`})
	n := pagerDutyAt("")(r.URL)
	i := opened("ws", time.Now())
	told := tell(t, n, i, nil)
	told = tell(t, n, i, pending(told, 1)) // whether it arrived or not
	i = then(i, "also: slow", time.Now())
	told = tell(t, n, i, told)
	told = tell(t, n, over(i), told)
	if diff := cmp.Diff("trigger ws, trigger ws, trigger ws, resolve ws", events(t, r)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if told.IDs[idRoutingKey] != pagerKey {
		t.Errorf("receipt %+v, want the routing key", told)
	}
	if p := r.posts()[0]; p.Path != "/v2/enqueue" || p.Header.Get("Content-Type") != "application/json" {
		t.Errorf("request %s %v", p.Path, p.Header)
	}
}

// The alert lives behind the key that triggered it, whatever the settings say now.
func TestPagerDutyNewKey(t *testing.T) {
	r := startReceiver(t, response{status: 202})
	i := opened("ws", time.Now())
	told := tell(t, pagerDutyAt(pagerKeyOld)(r.URL), i, nil)
	n := pagerDutyAt("")(r.URL)
	i = then(i, "also: slow", time.Now())
	told = tell(t, n, i, told)
	tell(t, n, over(i), told)
	if diff := cmp.Diff("trigger ws old, trigger ws old, resolve ws old", events(t, r)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// An old key that is no more does not keep an open incident from people.
func TestPagerDutyOldKeyGone(t *testing.T) {
	r := startReceiverFunc(t, func(_ int, p posted) response {
		if strings.Contains(string(p.Body), pagerKeyOld) {
			return response{status: 400, body: `{"status":"invalid event","errors":["Invalid routing key ` + pagerKeyOld + `"]}`}
		}
		return response{status: 202}
	})
	i := opened("ws", time.Now())
	told := &Receipt{Version: 1, IDs: map[string]string{idRoutingKey: pagerKeyOld}}
	n := pagerDutyAt("")(r.URL)
	_, err := n.Notify(t.Context(), Message{Incident: over(i)}, told)
	if err == nil {
		t.Fatal("no error")
	}
	checkError(t, err, "permanent", 0, r.at()+"status 400, Invalid routing key [redacted]", pagerKey, pagerKeyOld)
	told = tell(t, n, then(i, "also: slow", time.Now()), told)
	if told.IDs[idRoutingKey] != pagerKey {
		t.Errorf("receipt %+v, want the new key", told)
	}
	if diff := cmp.Diff("resolve ws old, trigger ws old, trigger ws", events(t, r)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// What opened and ended while the channel was down is told once, as what it
// was; a resolve that fails is not triggered again.
func TestPagerDutyOpenedAndResolved(t *testing.T) {
	t.Parallel()
	r := startReceiverFunc(t, func(n int, _ posted) response {
		if n == 1 || n == 3 {
			return response{status: 503}
		}
		return response{status: 202}
	})
	store := newMemStore()
	store.want(t, "pager", over(opened("ws", time.Now())))
	d := &Desk{Name: "pager", Notifier: pagerDutyAt("")(r.URL), Store: store, Log: logger(t)}
	halfway := false
	store.before = func(writes []Write) error {
		if rec, ok := receiptOf(writes); ok && rec.Pending && rec.IDs[idRoutingKey] == pagerKey {
			halfway = true
		}
		return nil
	}
	runDesk(t, d, func() bool { return d.Stats().Told > 0 })
	if diff := cmp.Diff("trigger ws, trigger ws, resolve ws, resolve ws", events(t, r)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if !halfway {
		t.Error("that the trigger was taken was not stored")
	}
}

func TestPagerDutyErrors(t *testing.T) {
	const said = `{"status":"invalid event","message":"Event object is invalid","errors":["'payload.summary' is missing","key ` + pagerKey + ` is odd"]}`
	list := append(unknownAnswers(pagerKey), []wrongAnswer{
		{"200", response{status: 200, body: "<html>"}, "again", 0, "status 200, want 202"},
		{"302", retrying(302, "1"), "again", 0, "status 302, want 202"},
		{"400", response{status: 400, body: said}, "permanent", 0, "status 400, 'payload.summary' is missing; key [redacted] is odd"},
		{"400 message", response{status: 400, body: `{"message":"no"}`}, "permanent", 0, "status 400, no"},
		{"400 html", response{status: 400, body: "<html>" + pagerKey}, "permanent", 0, "status 400, want 202"},
		{"401", response{status: 401, body: pagerKey}, "again", 0, "status 401, want 202"},
		{"403", response{status: 403}, "again", 0, "status 403, want 202"},
		{"404", response{status: 404}, "again", 0, "status 404, want 202"},
		{"410", response{status: 410}, "again", 0, "status 410, want 202"},
		{"413", response{status: 413}, "permanent", 0, "status 413, want 202"},
		{"429", response{status: 429}, "later", laterPause, "status 429, want 202"},
		{"429 7", retrying(429, "7"), "later", 7 * time.Second, "status 429, want 202"},
		{"429 soon", retrying(429, "soon"), "later", laterPause, "status 429, want 202"},
		{"429 1e99", retrying(429, "1e99"), "later", MaxRetry, "status 429, want 202"},
		{"500", response{status: 500, body: pagerKey}, "again", 0, "status 500, want 202"},
		{"503 7", retrying(503, "7"), "again", 0, "status 503, want 202"},
	}...)
	checkAnswers(t, list, pagerDutyAt(""), pagerKey)
	unreachable(t, pagerDutyAt(""), pagerKey)
}

func TestPagerDutyLimits(t *testing.T) {
	m := storm()
	m.Incident.Findings[0].Text = strings.Repeat("é", 3000)
	m.Incident.ID = strings.Repeat("i", 300)
	body := pagerDutyTrigger(m, pagerKey)
	var e pagerDutyEvent
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	if len(body) > pagerDutyBody || utf8.RuneCountInString(e.Payload.Summary) != pagerDutySummary || len(e.DedupKey) != 64 {
		t.Errorf("%d bytes, summary of %d characters, dedup_key of %d", len(body), utf8.RuneCountInString(e.Payload.Summary), len(e.DedupKey))
	}
	if len(e.Payload.Details.Findings) == 0 || e.Payload.Severity != "critical" {
		t.Errorf("payload %+v", e.Payload)
	}
	m.Incident.Severity = alerting.Ticket
	if !strings.Contains(string(pagerDutyTrigger(m, pagerKey)), `"severity":"warning"`) {
		t.Error("a ticket is not a warning")
	}
}

func TestPagerDutyValidate(t *testing.T) {
	for _, c := range []struct {
		s    PagerDuty
		want string
	}{
		{PagerDuty{RoutingKey: pagerKey}, ""},
		{PagerDuty{RoutingKey: pagerKey, APIURL: "https://events.eu.pagerduty.com/v2/enqueue"}, ""},
		{PagerDuty{}, "routing_key: is empty, want the integration key of an Events API v2 integration"},
		{PagerDuty{RoutingKey: "short"}, "routing_key: has 5 characters, want 32"},
		{PagerDuty{RoutingKey: pagerKey[1:] + "!"}, "routing_key: has other characters than letters and digits"},
		{
			PagerDuty{RoutingKey: "short", APIURL: "http://example.com/"},
			"routing_key: has 5 characters, want 32; api_url: sends secrets to example.com without encryption, want https",
		},
	} {
		if got := problems(&c.s); got != c.want {
			t.Errorf("%+v: %q, want %q", c.s, got, c.want)
		}
	}
}

func problems(s Settings) string {
	var list []string
	for _, p := range s.Validate() {
		list = append(list, p.Path+": "+p.Text)
	}
	return strings.Join(list, "; ")
}

// Without an address of its own it is PagerDuty's.
func TestPagerDutyURL(t *testing.T) {
	n, ok := (&PagerDuty{RoutingKey: pagerKey}).Notifier(Env{}).(*pagerDuty)
	if !ok || n.url != "https://events.pagerduty.com/v2/enqueue" {
		t.Errorf("notifier %+v", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Notify(ctx, Message{Incident: opened("ws", time.Now())}, nil); err == nil || errors.Is(err, ErrConflict) {
		t.Errorf("error %v, want that it was interrupted", err)
	}
}

// The key of a trigger whose answer was lost is kept: what it may have opened
// is told through it, and through the new one only if it is refused.
func TestPagerDutyTriedKey(t *testing.T) {
	const old, now = "old45678901234567890123456789012", "new45678901234567890123456789012"
	for name, c := range map[string]struct {
		refused bool
		over    bool
		want    []string
	}{
		"open":             {want: []string{"trigger old"}},
		"open, refused":    {refused: true, want: []string{"trigger old", "trigger new"}},
		"over":             {over: true, want: []string{"trigger old", "resolve old"}},
		"over and refused": {over: true, refused: true, want: []string{"trigger old", "trigger new", "resolve new"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			r := startReceiverFunc(t, func(_ int, p posted) response {
				var e pagerDutyEvent
				if err := json.Unmarshal(p.Body, &e); err != nil {
					t.Error(err)
				}
				got = append(got, e.Action+" "+e.RoutingKey[:3])
				if c.refused && e.RoutingKey == old {
					return response{status: 400}
				}
				return response{status: 202}
			})
			before := (&PagerDuty{RoutingKey: old, APIURL: r.URL}).Notifier(Env{}).(*pagerDuty)
			told := &Receipt{Pending: true, IDs: before.Intent(nil)}
			i := opened("ws", time.Now())
			if c.over {
				i = resolved(i, i.LastBad, time.Now())
			}
			after := (&PagerDuty{RoutingKey: now, APIURL: r.URL}).Notifier(Env{})
			rec, err := after.Notify(t.Context(), Message{Incident: i}, told)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			want := map[string]string{idRoutingKey: old}
			if c.refused {
				want[idRoutingKey] = now
			}
			if diff := cmp.Diff(want, rec.IDs); diff != "" {
				t.Errorf("ids (-want +got):\n%s", diff)
			}
		})
	}
}

// A trigger that failed proves nothing of the key that it was tried with, and
// takes nothing back of what is known.
func TestPagerDutyTriedKeyFails(t *testing.T) {
	r := startReceiverFunc(t, func(n int, _ posted) response {
		if n == 1 || n == 4 {
			return response{status: 503}
		}
		return response{status: 202}
	})
	before := pagerDutyAt(pagerKeyOld)(r.URL).(*pagerDuty)
	n := pagerDutyAt("")(r.URL)
	fails := func(i alerting.Incident, told *Receipt) *Receipt {
		t.Helper()
		rec, err := n.Notify(t.Context(), Message{Incident: i}, told)
		if err == nil {
			t.Fatal("no error")
		}
		next := *told
		if rec.IDs != nil { // as a Desk keeps them
			next.IDs = rec.IDs
		}
		return &next
	}
	i := opened("ws", time.Now())
	told := fails(i, &Receipt{Pending: true, IDs: before.Intent(nil)})
	tell(t, n, over(i), told) // which nobody knows of
	i.Acknowledged = &alerting.Acknowledgement{At: time.Now(), By: "ada"}
	told = fails(i, &Receipt{Version: 1, IDs: map[string]string{idRoutingKey: pagerKeyOld, idAcknowledged: "yes"}})
	tell(t, n, i, told)
	want := "trigger ws old, trigger ws old, resolve ws old, trigger ws old, trigger ws old"
	if diff := cmp.Diff(want, events(t, r)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}
