// Package replaytest makes logs of results that never happened, for tests and
// measurements of what reads logs.
package replaytest

import (
	"fmt"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Month is the log that a monitor of N checks with a slot a minute writes in
// some days: evenly spread, so mostly one entry a batch, with incidents of all
// sorts. The same Month is always the same.
type Month struct {
	Days, N  int
	Rules    []alerting.Rule
	Subjects []alerting.Subject
}

func share(f float64) *alerting.Share { s := alerting.Share(f); return &s }

// New returns the log of n checks over some days.
func New(days, n int) *Month {
	m := &Month{Days: days, N: n}
	for i := range n {
		kind := []string{"health", "route", "route", "websocket"}[i%4]
		m.Subjects = append(m.Subjects, alerting.Subject{
			Name: fmt.Sprintf("check-%02d", i), Kind: kind, Group: fmt.Sprintf("group-%d", i/4), Host: fmt.Sprintf("h%d.example.com", i/2),
			Location: "local", WebSocket: kind == "websocket", Interval: time.Minute, Attempts: 1,
		})
	}
	m.Rules = []alerting.Rule{
		{Name: "missing", Select: alerting.Select{Kind: "websocket"}, Severity: alerting.Page, Rate: &alerting.Rate{Of: "not_found", Over: probe.Duration(5 * time.Minute), Above: share(0)}},
		{Name: "connection", Severity: alerting.Page, Rate: &alerting.Rate{Of: "connection_failure", Over: probe.Duration(time.Hour), AtLeast: share(0.01), MinFailures: 2}},
		{Name: "slow", Latency: &alerting.Latency{Above: probe.Duration(2 * time.Second), Over: probe.Duration(10 * time.Minute)}},
		{Name: "uptime", Rate: &alerting.Rate{Of: "down", Over: probe.Duration(24 * time.Hour), Above: share(0.001), MinFailures: 2}},
		{Name: "down", Severity: alerting.Page, Down: &alerting.DownRule{Slots: 2}},
		{Name: "blind", Severity: alerting.Page, Unknown: &alerting.UnknownRule{Over: probe.Duration(10 * time.Minute), Above: share(0.5)}},
	}
	return m
}

// entry is the result of a check in a minute.
func (m *Month) entry(minute, i int) checks.Entry {
	s := m.Subjects[i]
	slot := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(minute)*time.Minute + time.Duration(i)*time.Minute/time.Duration(m.N))
	noise := time.Duration(uint32(minute*7919+i*104729)*2654435761%50_000) * time.Microsecond
	r := checks.Result{
		Check: s.Name, Kind: s.Kind, Group: s.Group, Location: s.Location, Slot: slot, Start: slot.Add(noise / 50),
		Duration: 30*time.Millisecond + noise, Latency: 29*time.Millisecond + noise, Status: probe.Up, Class: probe.OK,
		Phases: probe.Phases{DNS: noise / 9, Connect: noise / 7, TLS: noise / 3, FirstByte: noise, Body: noise / 11},
	}
	fail := func(class probe.Class, stage probe.Stage, reason string) {
		r.Status, r.Class, r.Stage, r.Reason, r.Latency, r.Tries = probe.Down, class, stage, reason, 0, 3
	}
	switch phase := (minute + 37*i) % 4320; { // each check has each trouble every three days
	case phase < 7 && s.WebSocket:
		fail(probe.NotFound, probe.StageHTTP, `upgrade answered 404 Not Found, want 101; body {"detail":"Not Found"}`)
	case phase >= 1000 && phase < 1004:
		fail(probe.ConnectRefused, probe.StageConnect, "connect to 192.0.2.1:443: connection refused")
	case phase >= 2000 && phase < 2020:
		r.Latency, r.Duration = 3*time.Second, 3*time.Second
	case phase == 3000:
		fail(probe.Unavailable, probe.StageHTTP, "status 503, want 2xx")
		r.Status = probe.Degraded
	}
	return checks.Entry{V: checks.ResultVersion, Result: &r}
}

// Each calls f with the stored form of each batch.
func (m *Month) Each(f func(seq uint64, at time.Time, entries []checks.Entry, data []byte) error) error {
	var b []byte
	seq := uint64(0)
	for minute := range m.Days * 24 * 60 {
		for i := range m.N {
			seq++
			entries := []checks.Entry{m.entry(minute, i)}
			if i == 0 {
				entries = append(entries, checks.Entry{V: checks.ResultVersion, Tick: &checks.Tick{At: entries[0].Result.Start}})
			}
			var err error
			if b, err = checks.EncodeEntries(b[:0], entries); err == nil {
				err = f(seq, entries[0].Result.Start, entries, b)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Decide steps the rules as a monitor does and returns the newest version of
// each incident.
func (m *Month) Decide() ([]alerting.Incident, error) {
	e := alerting.NewEngine(m.Rules, m.Subjects)
	var order []string
	newest := map[string]alerting.Incident{}
	err := m.Each(func(seq uint64, _ time.Time, entries []checks.Entry, _ []byte) error {
		for _, x := range entries {
			for _, c := range e.Step(seq, x) {
				if _, known := newest[c.Incident.ID]; !known {
					order = append(order, c.Incident.ID)
				}
				newest[c.Incident.ID] = c.Incident
			}
		}
		return nil
	})
	list := make([]alerting.Incident, len(order))
	for i, id := range order {
		list[i] = newest[id]
	}
	return list, err
}
