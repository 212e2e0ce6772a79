package web

import (
	"context"
	"fmt"
	"html"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// office has a slot each five minutes from 9:00 to 17:55 on working days.
type office struct{}

func (office) Next(t time.Time) time.Time {
	for t = t.Truncate(5 * time.Minute).Add(5 * time.Minute); ; t = t.Add(5 * time.Minute) {
		if d := t.Weekday(); d != time.Saturday && d != time.Sunday && t.Hour() >= 9 && t.Hour() <= 17 {
			return t
		}
	}
}

// TestStale judges whether a result is missing by the slots that were due: a
// schedule that pauses misses nothing meanwhile.
func TestStale(t *testing.T) {
	day := func(d, hour, minute, second int) time.Time { // of January 2026: 9 is a Friday
		return time.Date(2026, 1, d, hour, minute, second, 0, time.UTC)
	}
	for _, c := range []struct {
		name      string
		schedule  checks.Schedule
		last, now time.Time
		want      probe.Status
	}{
		{"in the hours", office{}, day(9, 12, 0, 0), day(9, 12, 10, 0), probe.Up},
		{"stopped in the hours", office{}, day(9, 12, 0, 0), day(9, 12, 10, 31), probe.Unknown},
		{"the last slot of the day", office{}, day(9, 17, 55, 0), day(9, 18, 30, 0), probe.Up},
		{"weekend", office{}, day(9, 17, 55, 0), day(11, 12, 0, 0), probe.Up},
		{"monday, about to run", office{}, day(9, 17, 55, 0), day(12, 9, 5, 29), probe.Up},
		{"monday, stopped", office{}, day(9, 17, 55, 0), day(12, 9, 5, 31), probe.Unknown},
		{"stopped before the last slot", office{}, day(9, 17, 50, 0), day(9, 18, 0, 31), probe.Unknown},
		{"stopped before the last slot, weekend", office{}, day(9, 17, 50, 0), day(11, 12, 0, 0), probe.Unknown},
		{"each minute", minutely{}, day(9, 12, 0, 0), day(9, 12, 2, 30), probe.Up},
		{"each minute, stopped", minutely{}, day(9, 12, 0, 0), day(9, 12, 2, 31), probe.Unknown},
		{"a start between slots", minutely{}, day(9, 12, 0, 59), day(9, 12, 2, 30), probe.Up},
		{"no schedule", nil, day(9, 12, 0, 0), day(12, 12, 0, 0), probe.Up},
	} {
		s := NewState()
		s.Apply(1, []checks.Entry{result("a", c.last, probe.OK)})
		a := check("a", "g")
		a.Schedule = c.schedule
		s.view([]checks.Check{a}, c.now, func(rows []row, _ []alerting.Incident) {
			if r := rows[0]; r.Status != c.want {
				t.Errorf("%s: %s %s, want %s", c.name, r.Status, r.Reason, c.want)
			}
			if want := 300.0; c.schedule == (office{}) && rows[0].Interval != want {
				t.Errorf("%s: interval %g s, want %g", c.name, rows[0].Interval, want)
			}
		})
	}
}

// TestHost feeds a monitor without a token the names under which a browser may
// have reached it: a page of another site must not read it by a name of its own
// that now means 127.0.0.1.
func TestHost(t *testing.T) {
	o := Options{State: NewState(), Log: slog.New(slog.DiscardHandler), PublicHost: func() string { return "tripline.example:8443" }}
	for _, c := range []struct {
		host    string
		exposed bool
		token   string
		want    int
	}{
		{"127.0.0.1:8080", false, "", 200},
		{"127.0.0.1", false, "", 200},
		{"127.8.9.10:1", false, "", 200},
		{"[::1]:8080", false, "", 200},
		{"[::1]", false, "", 200},
		{"[::ffff:127.0.0.1]:8080", false, "", 200},
		{"localhost:8080", false, "", 200},
		{"LOCALHOST", false, "", 200},
		{"tripline.example:8443", false, "", 200},
		{"Tripline.Example:8443", false, "", 200},
		{"tripline.example", false, "", 200}, // a proxy may drop the port
		{"evil.example", false, "", 421},
		{"evil.example:8080", false, "", 421},
		{"localhost.evil.example", false, "", 421},
		{"127.0.0.1.evil.example", false, "", 421},
		{"192.0.2.1:8080", false, "", 421},
		{"0.0.0.0:8080", false, "", 421},
		{"", false, "", 421},
		{"[::1", false, "", 421},
		{"evil.example", false, "s3cret-token", 200}, // who has the token may come by any name
		{"evil.example", true, "s3cret-token", 200},
		{"evil.example", true, "", 403},
	} {
		o.Token = c.token
		h := New(o).Handler(c.exposed)
		for path, want := range map[string]int{"/": c.want, "/api/checks": c.want, "/health": 200} {
			w := getAs(h, c.host, c.token, path)
			if w.Code != want {
				t.Errorf("GET %s of %q (exposed %t, token %q): status %d, want %d", path, c.host, c.exposed, c.token, w.Code, want)
			}
			if w.Code == 421 && !strings.Contains(w.Body.String(), "loopback") {
				t.Errorf("GET %s of %q: %q, want the reason", path, c.host, w.Body)
			}
		}
	}
}

// TestPanic: a request that makes the program panic is answered and logged, once.
func TestPanic(t *testing.T) {
	var out strings.Builder
	logged := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	_, addr, stop := serve(t, Options{State: NewState(), Log: logged, Command: func(_ context.Context, name string, args map[string]string) (string, error) {
		args["id"] = "1"
		if name == "panic" {
			panic(fmt.Sprintf("odd %d", len(args)))
		}
		return "well", nil
	}})
	for _, c := range []struct {
		name, body, want string
		status           int
	}{
		{"silence", `null`, "well", 200},
		{"silence", `{}`, "well", 200},
		{"silence", `[]`, "no JSON object of texts", 400},
		{"panic", `{}`, "fault of Tripline", 500},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/api/commands/"+c.name, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Do(req)
		if err != nil {
			t.Errorf("%s %s: %v", c.name, c.body, err)
			continue
		}
		answer, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != c.status || !strings.Contains(string(answer), c.want) {
			t.Errorf("%s %s: status %d, %q, %v; want %d and %q", c.name, c.body, res.StatusCode, answer, err, c.status, c.want)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(out.String(), "level=ERROR"); n != 1 || !strings.Contains(out.String(), `panic="odd 1"`) || !strings.Contains(out.String(), "guard_test.go") {
		t.Errorf("%d errors logged, want one with the panic and where it was:\n%s", n, out.String())
	}
}

// TestBehindPrefix follows all links of the pages, as a browser does that sees
// them below a path which a proxy takes away.
func TestBehindPrefix(t *testing.T) {
	bubble(t, func(t *testing.T, now time.Time) {
		h := http.StripPrefix("/ops/monitor", New(night(now)).Handler(false))
		pages := []string{"/ops/monitor/"}
		seen := map[string]bool{pages[0]: true}
		for len(pages) > 0 {
			page := pages[0]
			pages = pages[1:]
			w := get(h, page)
			if w.Code != http.StatusOK {
				t.Errorf("GET %s: status %d", page, w.Code)
				continue
			}
			at, err := url.Parse(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(`(?:href|src)="([^"#]+)"`).FindAllStringSubmatch(w.Body.String(), -1) {
				to, err := at.Parse(html.UnescapeString(m[1]))
				if err != nil {
					t.Errorf("link %q of %s: %v", m[1], page, err)
				} else if !to.IsAbs() && !seen[to.String()] {
					seen[to.String()] = true
					pages = append(pages, to.String())
				}
			}
		}
		for _, want := range []string{"style.css", "page.js", "checks/home", "checks/live%20feed", "incidents/old-1"} {
			if !seen["/ops/monitor/"+want] {
				t.Errorf("no link leads to %s, but to %v", want, slices.Sorted(maps.Keys(seen)))
			}
		}
	})
}
