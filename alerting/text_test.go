package alerting

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks/probe"
)

// show writes an incident as a message would.
func show(i Incident) string {
	return i.Title() + "\n  " + strings.Join(i.Lines(), "\n  ") + "\n"
}

func TestText(t *testing.T) {
	four := func(group string, slots ...string) []line {
		var list []line
		for k, s := range slots {
			list = append(list, line{"ws-" + string(rune('a'+k)), group, s})
		}
		return list
	}
	runbook := notFound("0%")
	runbook.Runbook = "https://example.com/runbooks/ws"
	tests := []struct {
		name  string
		rules []Rule
		lines []line
		want  string
	}{
		{
			"rate",
			[]Rule{runbook},
			four("ws", "..xX....", "..?.....", "....g...", "........"),
			`
[page] ws (1 check of 4): not_found 1 of 9 attempts (11.11 %) in 5m, limit 0 %
  not_found 1 of 9 attempts (11.11 %) in 5m, limit 0 %
  confirmed down in no slot
  check: ws-a
  since 2026-11-21 03:02:00 UTC
  reason: status 404, want 101
  runbook: https://example.com/runbooks/ws
[resolved] ws after 1m: not_found 2 of 12 attempts (16.67 %) in 5m, limit 0 %
  resolved after 1m: bad from 2026-11-21 03:02:00 UTC to 03:03:00 UTC, over 03:06:00 UTC
  not_found 2 of 12 attempts (16.67 %) in 5m, limit 0 %
  confirmed down in 1 slot; 1 of 13 expected are unknown
  check: ws-a
  since 2026-11-21 03:02:00 UTC, last bad 03:03:00 UTC, cleared 03:06:00 UTC: 3 good results in a row
  reason: status 404, want 101
  runbook: https://example.com/runbooks/ws
`,
		},
		{
			"grown",
			[]Rule{
				{Name: "conn", Rate: &Rate{Of: "connection_failure", Over: 60 * minute, AtLeast: share("10%"), MinFailures: 2}},
				downRule(3),
			},
			four("ws", "..cX5....", "....X....", "....X...."),
			`
[ticket] ws (1 check of 3): connection_failure 2 of 10 attempts (20 %) in 1h, alerts from 10 %
  connection_failure 2 of 10 attempts (20 %) in 1h, alerts from 10 %
  mostly connect_refused; confirmed down in 2 slots
  check: ws-a
  since 2026-11-21 03:02:00 UTC, last bad 03:03:00 UTC
  reason: status 404, want 101
[page] ws: down: 1 of 3 checks, up to 3 slots in a row, alerts from 3 (and 1 more)
  now page; also: down: 1 of 3 checks, up to 3 slots in a row, alerts from 3
  down: 1 of 3 checks, up to 3 slots in a row, alerts from 3
  mostly connect_refused
  check: ws-a
  since 2026-11-21 03:02:00 UTC, last bad 03:04:00 UTC
  reason: status 500, want 101
  connection_failure 3 of 13 attempts (23.08 %) in 1h, alerts from 10 %
  mostly connect_refused; confirmed down in 3 slots
  check: ws-a
  since 2026-11-21 03:02:00 UTC, last bad 03:04:00 UTC
  reason: status 500, want 101
[resolved] ws after 2m4s: down: 1 of 3 checks, up to 3 slots in a row, alerts from 3 (and 1 more)
  resolved after 2m4s: bad from 2026-11-21 03:02:00 UTC to 03:04:04 UTC, over 03:07:04 UTC
  down: 1 of 3 checks, up to 3 slots in a row, alerts from 3
  mostly connect_refused
  check: ws-a
  since 2026-11-21 03:02:00 UTC, last bad 03:04:00 UTC, cleared 03:07:00 UTC: 3 good results in a row
  reason: status 500, want 101
  connection_failure 5 of 15 attempts (33.33 %) in 1h, alerts from 10 %
  mostly not_found; confirmed down in 5 slots
  checks: ws-a, ws-b, ws-c
  since 2026-11-21 03:02:00 UTC, last bad 03:04:04 UTC, cleared 03:07:04 UTC: 3 good results in a row
  reason: status 404, want 101
`,
		},
		{
			"latency",
			[]Rule{{Name: "slow", Latency: &Latency{Above: 2 * minute / 60, Over: 5 * minute}}},
			four("", ".ssss......."),
			`
[ticket] ws-a: mean latency 2.03 s of 3 results in 5m, limit 2 s
  mean latency 2.03 s of 3 results in 5m, limit 2 s
  2 of 3 were slower
  check: ws-a
  since 2026-11-21 03:01:00 UTC, last bad 03:02:00 UTC
  reason: took 3 s
[resolved] ws-a after 3m: mean latency 2.42 s of 5 results in 5m, limit 2 s
  resolved after 3m: bad from 2026-11-21 03:01:00 UTC to 03:04:00 UTC, over 03:08:00 UTC
  mean latency 2.42 s of 5 results in 5m, limit 2 s
  4 of 5 were slower
  check: ws-a
  since 2026-11-21 03:01:00 UTC, last bad 03:04:00 UTC, cleared 03:08:00 UTC: 3 results in a row within the limit
  reason: took 3 s
`,
		},
		{
			"percentile",
			[]Rule{{Name: "slow", Latency: &Latency{Stat: "p95", Above: probe.Duration(150 * time.Millisecond), Over: 30 * minute}}},
			four("", "....................s..s"),
			`
[ticket] ws-a: p95 latency 3 s of 24 results in 30m, limit 150 ms
  p95 latency 3 s of 24 results in 30m, limit 150 ms
  2 of 24 were slower
  check: ws-a
  since 2026-11-21 03:20:00 UTC, last bad 03:23:00 UTC
  reason: took 3 s
`,
		},
		{
			"unknown",
			[]Rule{{Name: "self", Unknown: &UnknownRule{}}},
			four("ws", ".......???...", ".......g??...", "............."),
			`
[ticket] monitor: unknown 3 of 10 results (30 %) in 10m, limit 10 %
  unknown 3 of 10 results (30 %) in 10m, limit 10 %
  mostly late
  check: ws-a
  since 2026-11-21 03:07:00 UTC, last bad 03:09:00 UTC
  reason: started 12s after its slot
[resolved] monitor after 2m2s: unknown 6 of 20 results (30 %) in 10m, limit 10 %
  resolved after 2m2s: bad from 2026-11-21 03:07:00 UTC to 03:09:02 UTC, over 03:12:02 UTC
  unknown 6 of 20 results (30 %) in 10m, limit 10 %
  mostly late
  checks: ws-a, ws-b
  since 2026-11-21 03:07:00 UTC, last bad 03:09:02 UTC, cleared 03:12:02 UTC: 3 good results in a row
  reason: started 12s after its slot
`,
		},
		{
			"blind",
			[]Rule{{Name: "self", Severity: Page, Unknown: &UnknownRule{}}, downRule(1)},
			four("", ".....", ".d...", ".c...", ".d...", ".5..."),
			`
[page] ws-b: down: 1 of 1 check
  down: 1 of 1 check
  mostly dns_timeout
  check: ws-b
  since 2026-11-21 03:01:02 UTC
  reason: resolve example.com: no answer within 5s
[page] monitor: the monitor is blind: 3 of 5 hosts fail at once, limit 3
  the monitor is blind: 3 of 5 hosts fail at once, limit 3
  checks: ws-b, ws-c, ws-d
  since 2026-11-21 03:01:02 UTC, last bad 03:01:06 UTC
  reason: hosts began to fail at once, with dns and connect classes; new findings of these classes are held
[page] ws-e: down: 1 of 1 check
  down: 1 of 1 check
  mostly server_error
  check: ws-e
  since 2026-11-21 03:01:08 UTC
  reason: status 500, want 101
[resolved] monitor after 4s: the monitor is blind: 3 of 5 hosts fail at once, limit 3
  resolved after 4s: bad from 2026-11-21 03:01:02 UTC to 03:01:06 UTC, over 03:04:02 UTC
  the monitor is blind: 3 of 5 hosts fail at once, limit 3
  checks: ws-b, ws-c, ws-d
  since 2026-11-21 03:01:02 UTC, last bad 03:01:06 UTC, cleared 03:04:02 UTC: the hosts answer again
  reason: hosts began to fail at once, with dns and connect classes; new findings of these classes are held
[resolved] ws-b after one bad slot: down: 1 of 1 check
  resolved after one bad slot: bad at 2026-11-21 03:01:02 UTC, over 03:04:02 UTC
  down: 1 of 1 check
  mostly dns_timeout
  check: ws-b
  since 2026-11-21 03:01:02 UTC, cleared 03:04:02 UTC: 3 good results in a row
  reason: resolve example.com: no answer within 5s
[resolved] ws-e after one bad slot: down: 1 of 1 check
  resolved after one bad slot: bad at 2026-11-21 03:01:08 UTC, over 03:04:08 UTC
  down: 1 of 1 check
  mostly server_error
  check: ws-e
  since 2026-11-21 03:01:08 UTC, cleared 03:04:08 UTC: 3 good results in a row
  reason: status 500, want 101
`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, all := marks(t, NewEngine(tt.rules, subjects(tt.lines)), tt.lines)
			got := "\n"
			for _, c := range all {
				got += show(c.Incident)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLength(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "one bad slot", 1250 * time.Millisecond: "1.25s", 13_633 * time.Millisecond: "14s", 59_700 * time.Millisecond: "1m", 90 * time.Minute: "1h30m",
	} {
		if got := (Incident{Since: base(), LastBad: base().Add(d)}).length(); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
