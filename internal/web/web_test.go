package web

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// minutely has a slot at each full minute.
type minutely struct{}

func (minutely) Next(t time.Time) time.Time { return t.Truncate(time.Minute).Add(time.Minute) }

func check(name, group string) checks.Check {
	return checks.Check{
		Name: name, Kind: "route", Group: group, Location: "local", Schedule: minutely{},
		Endpoint: probe.Endpoint{URL: "https://shop.example/" + name},
	}
}

func result(name string, slot time.Time, class probe.Class) checks.Entry {
	r := checks.Result{
		Check: name, Kind: "route", Location: "local", Slot: slot, Start: slot,
		Status: class.Status(), Class: class, Duration: 80 * time.Millisecond,
	}
	switch r.Status {
	case probe.Up, probe.Degraded:
		r.Latency = 42 * time.Millisecond
	default:
		r.Stage, r.Reason = probe.StageHTTP, "GET https://shop.example/"+name+": "+string(class)
	}
	return checks.Entry{V: 1, Result: &r}
}

// bubble runs f in simulated time, at three in the night of a certain day.
func bubble(t *testing.T, f func(t *testing.T, now time.Time)) {
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(time.Date(2000, 1, 5, 3, 12, 7, 0, time.UTC)))
		f(t, time.Now())
	})
}

func get(h http.Handler, target string) *httptest.ResponseRecorder {
	return getAs(h, "localhost:8080", "", target)
}

// getAs asks with a Host header and a bearer token.
func getAs(h http.Handler, host, token, target string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = host
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", name, diff)
	}
}

// night is a monitor in the middle of an incident.
func night(now time.Time) Options {
	list := []checks.Check{
		check("home", "shop"), check("checkout", "shop"), check("live feed", "shop"),
		check("search", "shop"), check("asleep", "other"), check(`<script>alert("x")</script>/..`, "other"), check("new", "other"),
	}
	s := NewState()
	var seq uint64
	for i := 90; i >= 0; i-- {
		slot := now.Truncate(time.Minute).Add(-time.Duration(i) * time.Minute)
		var batch []checks.Entry
		batch = append(batch, result("home", slot, probe.OK), result(`<script>alert("x")</script>/..`, slot, probe.OK))
		switch {
		case i < 7:
			batch = append(batch, result("checkout", slot, probe.NotFound))
		case i == 20:
			batch = append(batch, result("checkout", slot, probe.Slow))
		default:
			batch = append(batch, result("checkout", slot, probe.OK))
		}
		if i > 12 {
			batch = append(batch, result("asleep", slot, probe.OK))
		}
		switch {
		case i == 30:
			batch = append(batch, checks.Entry{Gap: &checks.Gap{
				Check: "live feed", Location: "local", From: slot, To: slot.Add(9 * time.Minute), Slots: 10, Reason: "the run before had not ended",
			}})
		case i > 30 || i < 20 && i > 3:
			batch = append(batch, result("live feed", slot, probe.UpgradeRefused))
		case i <= 3 && i > 0:
			batch = append(batch, result("live feed", slot, probe.OwnNetwork))
		}
		if i == 0 {
			batch = append(batch, checks.Entry{Gap: &checks.Gap{Location: "local", From: slot, To: slot, Slots: 3, Reason: "the machine slept"}})
		} else {
			batch = append(batch, result("search", slot, probe.Slow))
		}
		seq++
		s.Apply(seq, batch)
	}
	s.Incidents([]alerting.Incident{
		{
			ID: "shop-1", Group: "shop", Severity: alerting.Page, Version: 2, Since: now.Add(-6 * time.Minute), LastBad: now.Add(-time.Minute), Changed: "also: checkout is down",
			Findings: []alerting.Finding{
				{Rule: "404", Checks: []string{"checkout"}, Text: "404s: 7 of 30 answers (23 %), want at most 5 %", Runbook: "https://wiki.example/404"},
				{Rule: "latency", Checks: []string{"home", "search"}, Text: "slow: p95 812 ms", Cleared: now.Add(-2 * time.Minute), ClearedBy: "3 good results"},
				{Rule: "hostile", Text: `<img src=x onerror=alert(1)>`, Runbook: "javascript:alert(1)", Checks: []string{"home"}},
			},
		},
		{ID: "old-1", Group: "old", Severity: alerting.Ticket, Since: now.Add(-30 * time.Hour), LastBad: now.Add(-29 * time.Hour), Ended: now.Add(-28*time.Hour - 57*time.Minute), Changed: "resolved after 1h 0m"},
	})
	return Options{
		State: s, Version: "1.2.3", Environment: "production", Started: now.Add(-time.Hour), Log: slog.New(slog.DiscardHandler),
		Checks:   func() []checks.Check { return list },
		Problems: func() []string { return []string{"the log takes no entries: disk full <b>"} },
		Facts: func() []Fact {
			return []Fact{{Name: "slots kept", Value: "99.98 %"}, {Name: "worst lateness", Value: "12 s", Bad: true}}
		},
		Budgets: func() []alerting.Budget {
			return []alerting.Budget{
				{Rule: "availability", Group: "api", Objective: 0.999, Window: probe.Duration(30 * 24 * time.Hour), Expected: 43200, Remaining: 1},
				{
					Rule: "availability", Group: "ws", Objective: 0.999, Window: probe.Duration(30 * 24 * time.Hour), Bad: 54, Expected: 43200,
					Unknown: 3, Remaining: -0.25, Burns: []alerting.Burn{{Over: probe.Duration(time.Hour), Rate: 50}},
				},
			}
		},
		Notifiers: func() []Notifier {
			return []Notifier{
				{Name: "slack", State: "ok", Told: now.Add(-5 * time.Minute)},
				{Name: "pagerduty", State: "failing", Reason: "POST: status 500", Waiting: 1, Told: now.Add(-50 * time.Hour)},
				{Name: "ops-webhook", State: "off", Reason: "no url is configured"},
			}
		},
		Attempts: func(_ context.Context, incident string) ([]Attempt, error) {
			if incident != "shop-1" {
				return nil, errors.New("read the attempts: disk error")
			}
			return []Attempt{
				{At: now.Add(-6 * time.Minute), Notifier: "slack", Version: 1, TookMS: 212.5, Told: true},
				{At: now.Add(-5 * time.Minute), Notifier: "pagerduty", Version: 1, TookMS: 15000, Error: "POST <events>: no answer in time"},
				{At: now.Add(-4 * time.Minute), Notifier: "webhook", Version: 2, Error: "status 410", GivenUp: true},
			}, nil
		},
		Evidence: func(_ context.Context, check string) (*probe.Evidence, error) {
			switch check {
			case "checkout":
				return &probe.Evidence{
					Class: probe.NotFound, Stage: probe.StageHTTP, Reason: "status 404, want 200", URL: "https://shop.example/checkout", Slot: now.Add(-time.Minute), Location: "local",
					Addresses: []probe.Address{{IP: "192.0.2.7", Connect: time.Millisecond}, {IP: "2001:db8::7", Err: "no route to host"}},
					TLS:       &probe.TLSFacts{Version: "TLS 1.3", Names: []string{"shop.example"}, NotAfter: now.Add(40 * 24 * time.Hour)},
					Request:   "GET /checkout HTTP/1.1\r\nHost: shop.example\r\n", Head: "HTTP/1.1 404 Not Found\r\nServer: nginx\r\n", Body: "<h1>404</h1>",
					Frames: []probe.Frame{{At: 3 * time.Millisecond, Op: 8, Fin: true, Len: 2, Header: "8802", Code: 1008}},
					Phases: probe.Phases{DNS: time.Millisecond, Connect: 2 * time.Millisecond},
					Facts:  map[string]string{"revision": "shop-00042"}, Curl: "curl -v https://shop.example/checkout",
					Causes: []probe.Cause{
						{Name: "route_missing", Certainty: probe.Likely, Text: "no route <b>here</b>", Evidence: []string{"a plain GET is answered 200", "version 99: 400"}, Next: "list the routes", Fix: "correct the path"},
						{Name: "unclear", Certainty: probe.Unlikely, Text: "something else"},
					},
					Asked: []probe.Question{{What: "a plain GET of this path", Answer: "404", Same: true}, {What: "/health", Answer: `200 {"status":"ok"}`}, {What: "(asked 3s ago)"}},
				}, nil
			case "home":
				return nil, errors.New("read the evidence: disk error")
			}
			return nil, nil
		},
	}
}

func TestPages(t *testing.T) {
	bubble(t, func(t *testing.T, now time.Time) {
		h := New(night(now)).Handler(false)
		for _, tt := range []struct{ path, file string }{
			{"/", "page.golden.html"},
			{"/checks/checkout", "check.golden.html"},
			{"/checks/%3Cscript%3Ealert%28%22x%22%29%3C%2Fscript%3E%2F..", "hostile.golden.html"},
			{"/checks/home", "evidence-error.golden.html"},
			{"/checks/new", "new.golden.html"},
			{"/api/checks/live%20feed", "check.golden.json"},
			{"/api/checks", "checks.golden.json"},
			{"/api/incidents", "incidents.golden.json"},
			{"/api/budgets", "budgets.golden.json"},
			{"/incidents/shop-1", "incident.golden.html"},
			{"/incidents/old-1", "incident-error.golden.html"},
			{"/api/incidents/shop-1", "incident.golden.json"},
		} {
			w := get(h, tt.path)
			if w.Code != http.StatusOK {
				t.Errorf("GET %s: status %d", tt.path, w.Code)
			}
			body := w.Body.String()
			if strings.HasSuffix(tt.file, ".html") {
				for _, bad := range []string{"<script>alert", "<img src=x", `href="javascript:`, "style=", "ZgotmplZ", "disk full <b>"} {
					if strings.Contains(body, bad) {
						t.Errorf("GET %s: the page contains %q", tt.path, bad)
					}
				}
			}
			golden(t, tt.file, body)
		}
		empty := New(Options{State: NewState(), Log: slog.New(slog.DiscardHandler)}).Handler(false)
		golden(t, "empty.golden.html", get(empty, "/").Body.String())
		for _, path := range []string{"/nothing", "/checks/nothing", "/api/checks/nothing"} {
			if w := get(h, path); w.Code != http.StatusNotFound {
				t.Errorf("GET %s: status %d, want 404", path, w.Code)
			}
		}
		for _, path := range []string{"/style.css", "/page.js"} {
			if w := get(h, path); w.Code != http.StatusOK || w.Body.Len() == 0 || w.Header().Get("Content-Security-Policy") == "" {
				t.Errorf("GET %s: status %d, %v", path, w.Code, w.Header())
			}
		}
	})
}

func TestHeadline(t *testing.T) {
	bubble(t, func(t *testing.T, now time.Time) {
		for _, tt := range []struct {
			classes  []probe.Class
			problems []string
			mood     string
			want     string
		}{
			{nil, nil, "unknown", "No checks"},
			{[]probe.Class{probe.OK, probe.OK}, nil, "up", "All 2 up"},
			{[]probe.Class{probe.OK, probe.Slow}, nil, "degraded", "1 degraded of 2"},
			{[]probe.Class{probe.OK, probe.NotFound, probe.Slow, probe.FDLimit}, nil, "down", "1 down, 1 degraded, 1 unknown of 4"},
			{[]probe.Class{probe.OK, probe.OwnResolver}, nil, "unknown", "1 unknown of 2"},
			{[]probe.Class{probe.OK}, []string{"x"}, "unknown", "All 1 up; the monitor itself has a problem"},
		} {
			s := NewState()
			var list []checks.Check
			for i, class := range tt.classes {
				name := fmt.Sprint(i)
				list = append(list, check(name, "g"))
				s.Apply(uint64(i+1), []checks.Entry{result(name, now, class)})
			}
			var p pageData
			s.view(list, now, func(rows []row, incidents []alerting.Incident) { p = newPage(rows, incidents, nil, false, now) })
			p.Problems = tt.problems
			p.headline()
			if p.Mood != tt.mood || p.Headline != tt.want {
				t.Errorf("%v: %s %q, want %s %q", tt.classes, p.Mood, p.Headline, tt.mood, tt.want)
			}
		}
	})
}

func TestManyChecksAreFolded(t *testing.T) {
	bubble(t, func(t *testing.T, now time.Time) {
		var list []checks.Check
		var batch []checks.Entry
		for i := range foldAbove + 1 {
			name := fmt.Sprint("c", i)
			list = append(list, check(name, "g"))
			class := probe.OK
			if i == 7 {
				class = probe.NotFound
			}
			batch = append(batch, result(name, now, class))
		}
		s := NewState()
		s.Apply(1, batch)
		h := New(Options{State: s, Checks: func() []checks.Check { return list }, Log: slog.New(slog.DiscardHandler)}).Handler(false)
		body := get(h, "/").Body.String()
		if n := strings.Count(body, `id="check-`); n != 1 || !strings.Contains(body, `id="check-c7"`) || !strings.Contains(body, fmt.Sprintf("%d more up", foldAbove)) {
			t.Errorf("the page shows %d checks, want the one that is down and the number of the others", n)
		}
		if n := strings.Count(get(h, "/?all").Body.String(), `id="check-`); n != foldAbove+1 {
			t.Errorf("the page of all checks shows %d", n)
		}
	})
}

func TestState(t *testing.T) {
	bubble(t, func(t *testing.T, now time.Time) {
		if size := historyLen * unsafe.Sizeof(cell{}); size > 768 {
			t.Errorf("history of a check takes %d bytes, want at most 768", size)
		}
		s := NewState()
		list := []checks.Check{check("a", "g"), check("b", "g")}
		rows := func() (rs []row) {
			s.view(list, time.Now(), func(rows []row, _ []alerting.Incident) { rs = rows })
			for i := range rs {
				if rs[i].track != nil {
					rs[i].History = s.points(rs[i].track, nil)
				}
				rs[i].track = nil
			}
			return rs
		}
		if r := rows()[0]; r.Status != probe.Unknown || r.Reason != "no result yet" {
			t.Errorf("before the first result: %+v", r)
		}
		at := func(minutes int) time.Time { return now.Add(time.Duration(minutes) * time.Minute) }
		s.Apply(1, []checks.Entry{result("a", at(0), probe.OK)})
		s.Apply(2, []checks.Entry{result("a", at(1), probe.OK)})
		if r := rows()[0]; !r.Since.Equal(at(0)) || !r.AtLeast {
			t.Errorf("since %s, want at least since the first result seen", r.Since)
		}
		s.Apply(3, []checks.Entry{result("a", at(2), probe.NotFound), result("a", at(3), probe.NotFound)})
		s.Apply(3, []checks.Entry{result("a", at(4), probe.OK)}) // seen already
		s.Apply(2, []checks.Entry{result("a", at(4), probe.OK)})
		if r := rows()[0]; r.Status != probe.Down || !r.Since.Equal(at(2)) || r.AtLeast {
			t.Errorf("row %+v, want down since the third result", r)
		}
		<-time.After(10 * time.Minute)
		r := rows()[0]
		if r.Status != probe.Unknown || !r.LastRun.Equal(at(3)) || !strings.Contains(r.Reason, "no result for 7m, want one every 1m; the last was down") {
			t.Errorf("stale check: %+v", r)
		}
		for i := range 100 {
			s.Apply(uint64(10+i), []checks.Entry{result("a", at(5), probe.Slow)})
		}
		s.Apply(200, []checks.Entry{
			{Gap: &checks.Gap{Location: "elsewhere", From: at(9), To: at(9), Slots: 2}},
			{Gap: &checks.Gap{Location: "local", From: at(9), To: at(9), Slots: 2}},
			result("a", at(10), probe.OK),
		})
		r = rows()[0]
		if n := len(r.History); n != historyLen || r.History[n-1].Status != "up" || r.History[n-2].Status != "gap" || r.History[n-3].Status != "degraded" {
			t.Errorf("history %+v", r.History)
		}
		if r.Status != probe.Up || r.AtLeast || !r.Since.Equal(at(10)) {
			t.Errorf("row %+v", r)
		}
	})
}

func TestHistory(t *testing.T) {
	now := time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return now.Add(time.Duration(minutes) * time.Minute) }
	s := NewState()
	if list := s.History("a"); list != nil {
		t.Errorf("history %v of a check that nothing is known of", list)
	}
	old := result("a", at(-9), probe.OK)
	old.Result.Location = "elsewhere"
	s.Apply(1, []checks.Entry{
		old, result("a", at(0), probe.OK), result("b", at(0), probe.OK), result("a", at(1), probe.NotFound),
		{Gap: &checks.Gap{Check: "a", Location: "local", From: at(2), To: at(4), Slots: 3}},
		result("a", at(5), probe.Slow),
	})
	var got []string
	for _, e := range s.History("a") {
		if e.Gap != nil {
			got = append(got, fmt.Sprint(e.Gap.From.Sub(now), " gap ", e.Gap.Slots))
		} else {
			got = append(got, fmt.Sprint(e.Result.Slot.Sub(now), " ", e.Result.Status, " ", e.Result.Class, " ", e.Result.Latency))
		}
	}
	want := []string{"0s up ok 42ms", "1m0s down not_found 0s", "2m0s gap 3", "5m0s degraded slow 42ms"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// beginning is the schedule of what begins once.
type beginning time.Time

func (b beginning) Next(t time.Time) time.Time {
	if at := time.Time(b); at.After(t) {
		return at
	}
	return time.Time{}
}

// TestMaintenanceIsMarked looks at a check of which three results of ten were in
// a maintenance window, and at one that the window was not for.
func TestMaintenanceIsMarked(t *testing.T) {
	bubble(t, func(t *testing.T, now time.Time) {
		s := NewState()
		slot := func(n int) time.Time { return now.Truncate(time.Minute).Add(time.Duration(n-9) * time.Minute) }
		for n := range 10 {
			s.Apply(uint64(n+1), []checks.Entry{result("in", slot(n), probe.NotFound), result("out", slot(n), probe.OK)})
		}
		in := check("in", "shop")
		in.Labels = map[string]string{"tier": "web"}
		h := New(Options{
			State: s, Log: slog.New(slog.DiscardHandler), Checks: func() []checks.Check { return []checks.Check{in, check("out", "shop")} },
			Windows: func() []alerting.Window {
				return []alerting.Window{{Select: alerting.Select{Labels: in.Labels}, For: 3 * time.Minute, Starts: beginning(slot(4))}}
			},
		}).Handler(false)
		const veil = `<path class="maintenance" d="M54 0h1v10h-1zM55 0h1v10h-1zM56 0h1v10h-1z"><title>in maintenance</title></path>`
		for _, page := range []string{"/", "/checks/in"} {
			body := get(h, page).Body.String()
			if strings.Count(body, veil) != 1 || !strings.Contains(body, "last runs: 10 down; 3 of them in maintenance") {
				t.Errorf("%s does not mark the three results of one check:\n%s", page, body)
			}
		}
		if body := get(h, "/checks/in").Body.String(); strings.Count(body, `<tr class="maintenance" title="in maintenance">`) != 3 {
			t.Errorf("the list of runs does not mark three:\n%s", body)
		}
		if body := get(h, "/checks/out").Body.String(); strings.Contains(body, "maintenance") {
			t.Errorf("a check that was in no window is marked:\n%s", body)
		}
		var answer struct{ Places []struct{ History []point } }
		if err := json.Unmarshal(get(h, "/api/checks/in").Body.Bytes(), &answer); err != nil {
			t.Fatal(err)
		}
		for n, p := range answer.Places[0].History {
			if want := 4 <= n && n < 7; p.Maintenance != want {
				t.Errorf("result %d: in maintenance %t, want %t", n, p.Maintenance, want)
			}
		}
	})
}

func TestBrief(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0s"},
		{1500 * time.Microsecond, "2ms"},
		{1510 * time.Millisecond, "1.5s"},
		{42 * time.Second, "42s"},
		{10 * time.Minute, "10m"},
		{80 * time.Second, "1m 20s"},
		{3*time.Hour + 10*time.Minute + 40*time.Second, "3h 11m"},
		{10 * time.Hour, "10h"},
		{50 * time.Hour, "2d 2h"},
	} {
		if got := brief(tt.d); got != tt.want {
			t.Errorf("brief(%s) = %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestHealth(t *testing.T) {
	bubble(t, func(t *testing.T, now time.Time) {
		o := night(now)
		type health struct {
			Status, Version, Timestamp, Environment string
			Uptime                                  int `json:"uptime_s"`
			Checks                                  counts
			Incidents                               int `json:"incidents_open"`
			Connections                             struct{ Active int }
			Problems                                []string
		}
		ask := func() (int, health) {
			w := get(New(o).Handler(true), "/health")
			var got health
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			return w.Code, got
		}
		want := health{
			Status: "failing", Version: "1.2.3", Environment: "production", Timestamp: "2000-01-05T03:12:07Z", Uptime: 3600,
			Checks: counts{Total: 7, Up: 2, Degraded: 1, Down: 1, Unknown: 3}, Incidents: 1, Problems: o.Problems(),
		}
		code, got := ask()
		if diff := cmp.Diff(want, got); diff != "" || code != http.StatusServiceUnavailable {
			t.Errorf("status %d (-want +got):\n%s", code, diff)
		}
		o.Problems = func() []string { return nil }
		want.Status, want.Problems = "ok", []string{}
		code, got = ask()
		if diff := cmp.Diff(want, got); diff != "" || code != http.StatusOK {
			t.Errorf("status %d (-want +got):\n%s", code, diff)
		}
	})
}

func TestWhoMaySeeWhat(t *testing.T) {
	const token = "s3cret-tok"
	bearer := func(s string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", s) }
	}
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	for _, tt := range []struct {
		name    string
		exposed bool
		token   string
		sent    func(*http.Request)
		want    int
	}{
		{"loopback", false, "", nil, 200},
		{"loopback, needless token", false, "", bearer("Bearer x"), 200},
		{"exposed without token", true, "", nil, 403},
		{"exposed without token, empty bearer", true, "", bearer("Bearer "), 403},
		{"exposed without token, empty password", true, "", basic("", ""), 403},
		{"exposed, none sent", true, token, nil, 401},
		{"loopback, none sent", false, token, nil, 401},
		{"bearer", true, token, bearer("Bearer " + token), 200},
		{"bearer in lower case", true, token, bearer("bearer " + token), 200},
		{"password", true, token, basic("anybody", token), 200},
		{"token as user", true, token, basic(token, ""), 401},
		{"wrong bearer", true, token, bearer("Bearer s3cret-toc"), 401},
		{"longer", true, token, bearer("Bearer " + token + "x"), 401},
		{"shorter", true, token, bearer("Bearer s3cret"), 401},
		{"other scheme", true, token, bearer("Digest " + token), 401},
		{"no scheme", true, token, bearer(token), 401},
		{"in the query", true, token, func(r *http.Request) { r.URL.RawQuery = "token=" + token }, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			metrics := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
			h := New(Options{State: NewState(), Token: tt.token, Metrics: metrics, Log: slog.New(slog.DiscardHandler)}).Handler(tt.exposed)
			for _, path := range []string{"/", "/api/checks", "/api/incidents", "/api/budgets", "/live", "/metrics", "/style.css", "/checks/x", "/nothing", "/health"} {
				r := httptest.NewRequest(http.MethodGet, path, nil)
				r.Host = "localhost:8080"
				if tt.sent != nil {
					tt.sent(r)
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				got := w.Code
				want := tt.want
				switch {
				case path == "/health":
					want = 200
				case want == 200 && (path == "/nothing" || path == "/checks/x"):
					want = 404
				case want == 200 && path == "/live": // not an upgrade
					want = 426
				}
				if got != want {
					t.Errorf("GET %s: status %d, want %d", path, got, want)
				}
				if got == 401 && w.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("GET %s: 401 without WWW-Authenticate", path)
				}
				if strings.Contains(w.Body.String(), token) {
					t.Errorf("GET %s: the answer contains the token", path)
				}
			}
		})
	}
}

// serve runs o on a loopback port until stop is called or the test ends.
func serve(t *testing.T, o Options) (s *Server, addr string, stop func() error) {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	s = New(o)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	stop = func() error {
		cancel()
		err := <-ended
		ended <- nil
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String(), stop
}

func TestServe(t *testing.T) {
	_, addr, stop := serve(t, Options{State: NewState()})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || !strings.Contains(string(body), "No checks are configured") {
		t.Errorf("GET /: status %d, %v, %s", res.StatusCode, err, body)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	err = New(Options{State: NewState(), Log: slog.New(slog.DiscardHandler)}).Serve(t.Context(), l)
	if err == nil || !strings.Contains(err.Error(), "serve HTTP on 127.0.0.1:") {
		t.Errorf("a closed listener: %v", err)
	}
}

func TestLoopback(t *testing.T) {
	for _, tt := range []struct {
		addr net.Addr
		want bool
	}{
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 8)}, true},
		{&net.TCPAddr{IP: net.IPv6loopback}, true},
		{&net.TCPAddr{IP: net.IPv6zero}, false},
		{&net.TCPAddr{IP: net.IPv4zero}, false},
		{&net.TCPAddr{}, false},
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1)}, false},
		{&net.UnixAddr{Name: "x"}, true},
	} {
		if got := loopback(tt.addr); got != tt.want {
			t.Errorf("loopback(%s) = %v, want %v", tt.addr, got, tt.want)
		}
	}
}

// BenchmarkPage is the cost of the answers for 10,000 checks.
func BenchmarkPage(b *testing.B) {
	now := time.Now()
	s := NewState()
	var list []checks.Check
	for i := range 10_000 {
		list = append(list, check(fmt.Sprint("check-", i), fmt.Sprint("group-", i/100)))
	}
	for n := range historyLen {
		var batch []checks.Entry
		for i, c := range list {
			class := probe.OK
			if i%50 == 0 {
				class = probe.NotFound
			}
			batch = append(batch, result(c.Name, now.Add(time.Duration(n-historyLen)*time.Minute), class))
		}
		s.Apply(uint64(n+1), batch)
	}
	h := New(Options{State: s, Checks: func() []checks.Check { return list }, Log: slog.New(slog.DiscardHandler)}).Handler(false)
	for _, path := range []string{"/health", "/", "/?all", "/api/checks"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				size = get(h, path).Body.Len()
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}
