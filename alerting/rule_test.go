package alerting

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// watched are checks to validate rules against.
func watched() []Subject {
	return []Subject{
		{Name: "chat", Kind: "websocket", Group: "ws", WebSocket: true, Interval: time.Minute, Labels: map[string]string{"team": "rt", "tier": "1"}},
		{Name: "feed", Kind: "websocket", Group: "ws", WebSocket: true, Interval: time.Minute, Attempts: 5, Labels: map[string]string{"team": "rt", "tier": "2"}},
		{Name: "home/start", Kind: "route", Interval: time.Minute, Labels: map[string]string{"team": "web"}},
		{Name: "report", Kind: "route", Group: "back", Interval: time.Hour},
	}
}

func decodeRule(t *testing.T, text string) Rule {
	t.Helper()
	var r Rule
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return r
}

func TestRuleFromYAML(t *testing.T) {
	text := `
name: 404
severity: page
select: {kind: websocket, labels: {team: rt}}
by: check
recover_after: 5
runbook: https://example.com/ws
rate: {of: not_found, over: 5m, above: 0.1 %, min_failures: 2, clear_below: 0.0005}
`
	want := Rule{
		Name: "404", Severity: Page, Select: Select{Kind: "websocket", Labels: map[string]string{"team": "rt"}}, By: "check",
		RecoverAfter: 5, Runbook: "https://example.com/ws",
		Rate: &Rate{Of: "not_found", Over: 5 * minute, Above: share("0.1%"), MinFailures: 2, ClearBelow: share("0.05%")},
	}
	got := decodeRule(t, text)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	out, err := yaml.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, decodeRule(t, string(out))); diff != "" {
		t.Errorf("encoded as\n%s(-want +got):\n%s", out, diff)
	}
	if p := got.Validate(watched()); len(p) > 0 {
		t.Errorf("problems: %v", p)
	}
}

func TestValidate(t *testing.T) {
	tests := []struct{ rule, want string }{
		{"{name: a, rate: {of: any, over: 1h, above: 1%}}", ""},
		{"{name: a, rate: {of: forbidden, over: 1h, at_least: 100%}}", ""},
		{"{name: a, latency: {above: 2s, over: 1h}}", ""},
		{"{name: a, down: {}}", ""},
		{"{name: a, unknown: {}}", ""},
		{"{name: a, select: {name: 'home/*'}, down: {slots: 3}}", ""},
		{"{name: a, select: {group: home/start}, down: {}}", ""},

		{"{down: {}}", "name: missing: messages and the stored state need one"},
		{"{name: a}", ": no kind of rule, want one of rate, latency, down, unknown, slo, measure, absent"},
		{"{name: a, down: {}, latency: {above: 2s, over: 1h}}", ": latency and down at once, want one of them: make a rule of each"},
		{"{name: a, severity: critical, down: {}}", `severity: "critical" is no severity, want page or ticket`},
		{"{name: a, by: host, down: {}}", `by: "host", want check, group or all`},
		{"{name: a, recover_after: -1, down: {}}", "recover_after: -1, want 1 to 1000 good results in a row"},
		{"{name: a, runbook: wiki/ws, down: {}}", "runbook: this is no URL of a page, want one such as https://example.com/runbooks/websocket"},
		{"{name: a, runbook: 'https://u:p@example.com/', down: {}}", "runbook: the URL holds credentials, and is part of every message: want it without"},
		{"{name: ws, by: all, down: {}}", `name: with by: all the incident is named after the rule, and a group of checks is named "ws" too: want another name`},

		{"{name: a, select: {kind: websockt}, down: {}}", `select.kind: no check is of kind "websockt", there are websocket, route`},
		{"{name: a, select: {group: www}, down: {}}", `select.group: no check is in group "www", there are ws, home/start, back`},
		{"{name: a, select: {name: 'chat-*'}, down: {}}", `select.name: no check has a name like "chat-*", there are chat, feed, home/start, report`},
		{"{name: a, select: {name: '[a'}, down: {}}", `select.name: "[a" is no pattern: a bracket is open or a backslash at the end`},
		{"{name: a, select: {labels: {team: x}}, down: {}}", `select.labels.team: no check has the label team: "x", there are rt, web`},
		{"{name: a, select: {labels: {colour: x}}, down: {}}", `select.labels.colour: no check has the label colour: "x", nor any label of that name`},
		{"{name: a, select: {kind: route, group: ws}, down: {}}", "select: no check matches all of it, only parts"},

		{"{name: a, rate: {over: 1h, above: 1%}}", "rate.of: missing, want one of not_found, connection_failure, upgrade_rejected, server_error, tls, dns, timeout, session, any, down, or a class"},
		{"{name: a, rate: {of: 404s, over: 1h, above: 1%}}", `rate.of: "404s" is neither a group nor a class of failures, want one of not_found, connection_failure, upgrade_rejected, server_error, tls, dns, timeout, session, any, down, or a class such as forbidden`},
		{"{name: a, rate: {of: ok, over: 1h, above: 1%}}", `rate.of: "ok" is neither a group nor a class of failures, want one of not_found, connection_failure, upgrade_rejected, server_error, tls, dns, timeout, session, any, down, or a class such as forbidden`},
		{"{name: a, rate: {of: late, over: 1h, above: 1%}}", "rate.of: late says nothing about a target, want a rule of kind unknown for it"},
		{"{name: a, select: {kind: route}, rate: {of: upgrade_rejected, over: 1h, above: 1%}}", "rate.of: only WebSocket checks have upgrade_rejected failures, and none is selected"},
		{"{name: a, rate: {of: any, above: 1%}}", "rate.over: missing, want the length of the window, such as 5m"},
		{"{name: a, rate: {of: any, over: 32d, above: 1%}}", "rate.over: 32d is longer than the log is kept, want at most 31d"},
		{"{name: a, rate: {of: any, over: 5m, above: 1%}}", `rate.over: 5m is shorter than the time between two runs of "report", 1h: want at least that`},
		{"{name: a, rate: {of: any, over: 30s, above: 1%}}", `rate.over: 30s is shorter than the time between two runs of "chat" and 3 more, 1m: want at least that`},
		{"{name: a, rate: {of: any, over: 1h}}", "rate: no limit, want above: or at_least: with a share such as 1%"},
		{"{name: a, rate: {of: any, over: 1h, above: 1%, at_least: 2%}}", "rate.at_least: above and at_least at once, want one of them"},
		{"{name: a, rate: {of: any, over: 1h, above: 100%}}", "rate.above: nothing is above 100 %, so this would never trip, want less or at_least: 100%"},
		{"{name: a, rate: {of: any, over: 1h, at_least: 0%}}", "rate.at_least: everything is at least 0 %, so this would always trip, want above: 0%"},
		{"{name: a, rate: {of: any, over: 1h, above: 5%, clear_below: 5%}}", "rate.clear_below: 5 % is not below the limit of 5 %"},
		{"{name: a, rate: {of: any, over: 1h, at_least: 5%, clear_below: 5%}}", ""},
		{"{name: a, rate: {of: any, over: 1h, above: 5%, clear_below: 0%}}", "rate.clear_below: nothing is below 0 %, so the finding would never clear"},
		{"{name: a, rate: {of: any, over: 1h, above: 5%, min_failures: -1}}", "rate.min_failures: -1, want at least 1"},
		{"{name: a, select: {name: chat}, rate: {of: any, over: 5m, above: 5%, min_failures: 6}}", `rate.min_failures: 6, but 5m of "chat" holds at most 5, so this would never trip`},
		{"{name: a, select: {name: feed}, rate: {of: any, over: 5m, above: 5%, min_failures: 25}}", ""},
		{"{name: a, select: {name: feed}, rate: {of: down, over: 5m, above: 5%, min_failures: 6}}", `rate.min_failures: 6, but 5m of "feed" holds at most 5, so this would never trip`},
		{"{name: a, rate: {of: any, over: 1h, above: 5%, degraded_is_bad: true}}", `rate.degraded_is_bad: only of: down counts results, "any" counts attempts`},

		{"{name: a, latency: {over: 1h}}", "latency.above: missing, want a duration such as 2s"},
		{"{name: a, latency: {above: 2s}}", "latency.over: missing, want the length of the window, such as 5m"},
		{"{name: a, latency: {above: 2s, over: 1h, stat: p90}}", `latency.stat: "p90", want mean, p50, p95 or p99`},
		{"{name: a, latency: {above: 2s, over: 1h, clear_below: 2s}}", "latency.clear_below: 2s is not below the limit of 2s"},
		{"{name: a, select: {group: ws}, latency: {stat: p99, above: 2s, over: 30m}}", `latency.over: p99 needs 100 results to mean anything: 100, but 30m of "chat" and 1 more holds at most 60, so this would never trip`},
		{"{name: a, select: {group: ws}, latency: {stat: p99, above: 2s, over: 50m}}", ""},
		{"{name: a, select: {name: chat}, latency: {stat: p99, above: 2s, over: 2d}}", `latency.over: 2d holds 2880 results of "chat", percentiles keep at most 1440: want a shorter window`},
		{"{name: a, select: {name: chat}, latency: {above: 2s, over: 5m, min_samples: 6}}", `latency.min_samples: 6, but 5m of "chat" holds at most 5, so this would never trip`},

		{"{name: a, select: {group: ws}, slo: {objective: 99.5%}}", ""},
		{"{name: a, slo: {}}", "slo.objective: missing, want the share that must be good, such as 99.9%"},
		{"{name: a, slo: {objective: 100%}}", "slo.objective: 100 % leaves no budget, want less, or a rule of kind down"},
		{"{name: a, slo: {objective: 0.1%}}", "slo.objective: 0.1 %, want the share that must be good, from 50 % on"},
		{"{name: a, slo: {objective: 99%, window: 1d}}", "slo.window: 1d, want at least 3d: the slowest alert looks at 3 days"},
		{"{name: a, slo: {objective: 99%, window: 90d}}", "slo.window: 90d is longer than the log is kept, want at most 31d"},
		{"{name: a, slo: {objective: 99%, budgeting: minutes}}", `slo.budgeting: "minutes", want slices or events`},
		{"{name: a, severity: page, slo: {objective: 99%}}", "severity: an slo has none of its own: it pages when the budget burns fast, and makes a ticket when it burns slowly"},

		{"{name: a, measure: {of: connections_active, above: 1000}}", ""},
		{"{name: a, measure: {above: 1000}}", "measure.of: missing, want the name of a recorded number, such as connections_active"},
		{"{name: a, measure: {of: x}}", "measure: no limit, want above: or below: with a number such as 1000 or 33%"},
		{"{name: a, measure: {of: x, above: 2, below: 1}}", "measure.below: above and below at once, want one of them: make a rule of each"},
		{"{name: a, measure: {of: x, above: 2, stat: p95}}", `measure.stat: "p95", want last, mean, min or max`},
		{"{name: a, measure: {of: x, above: 2, stat: max}}", "measure.over: missing, want the length of the window, such as 5m"},
		{"{name: a, measure: {of: x, above: 2, stat: last, over: 5m}}", "measure.over: the last value has no window, want another stat or no over"},
		{"{name: a, select: {name: chat}, measure: {of: x, above: 2, over: 5m, min_samples: 9}}", `measure.min_samples: 9, but 5m of "chat" holds at most 5, so this would never trip`},

		{"{name: a, select: {group: ws}, absent: {for: 2m}}", ""},
		{"{name: a, absent: {}}", "absent.for: missing, want how long there may be no result, such as 5m"},
		{"{name: a, absent: {for: 5m}}", `absent.for: 5m, but "report" pauses for 1h between two runs: want at least 2h`},
		{"{name: a, absent: {for: 60d}}", "absent.for: 60d is longer than the log is kept, want at most 31d"},
		{"{name: a, select: {name: chat}, absent: {for: 90s}}", `absent.for: 1m30s, but "chat" pauses for 1m between two runs: want at least 2m`},

		{"{name: a, down: {slots: -2}}", "down.slots: -2, want 1 to 1000 slots in a row"},
		{"{name: a, unknown: {above: 100%}}", "unknown.above: nothing is above 100 %, so this would never trip"},
		{"{name: a, unknown: {blind_hosts: 1}}", "unknown.blind_hosts: 1, want at least 2: a single host that fails says nothing about the monitor"},
		{"{name: a, unknown: {blind_share: 0%}}", "unknown.blind_share: 0 %, want a share such as 50%"},
		{"{name: a, unknown: {over: 5m}}", `unknown.over: 5m is shorter than the time between two runs of "report", 1h: want at least that`},
	}
	for _, tt := range tests {
		r := decodeRule(t, tt.rule)
		var got []string
		for _, p := range r.Validate(watched()) {
			got = append(got, p.Path+": "+p.Text)
		}
		if g := strings.Join(got, "\n"); g != tt.want {
			t.Errorf("%s\n got %s\nwant %s", tt.rule, g, tt.want)
		}
		e := NewEngine([]Rule{r}, watched()) // must not panic, whatever is wrong
		e.Step(1, *result("chat", "ws", base(), 'X'))
	}
}

func TestValidateListsEverything(t *testing.T) {
	r := decodeRule(t, "{severity: x, by: y, recover_after: -1, runbook: z, select: {kind: k, group: g}, rate: {of: o, min_failures: -1}, down: {slots: -1}}")
	var got []string
	for _, p := range r.Validate(watched()) {
		got = append(got, p.Path)
	}
	want := []string{
		"name", "severity", "by", "recover_after", "runbook", "select.kind", "select.group",
		"rate.of", "rate.over", "rate", "rate.min_failures", "down.slots", "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
}

func TestSelect(t *testing.T) {
	tests := []struct {
		s    Select
		want string
	}{
		{Select{}, "chat feed home/start report"},
		{Select{Kind: "websocket"}, "chat feed"},
		{Select{Group: "ws"}, "chat feed"},
		{Select{Group: "home/start"}, "home/start"},
		{Select{Name: "*"}, "chat feed report"},
		{Select{Name: "*/*"}, "home/start"},
		{Select{Name: "?e*"}, "feed report"},
		{Select{Name: "[a-e]*"}, "chat"},
		{Select{Name: "[a"}, ""},
		{Select{Labels: map[string]string{"team": "rt"}}, "chat feed"},
		{Select{Labels: map[string]string{"team": "rt", "tier": "2"}}, "feed"},
		{Select{Labels: map[string]string{"tier": ""}}, ""},
		{Select{Kind: "route", Labels: map[string]string{"team": "rt"}}, ""},
	}
	for _, tt := range tests {
		var got []string
		for _, c := range watched() {
			if tt.s.Matches(c) {
				got = append(got, c.Name)
			}
		}
		slices.Sort(got)
		if g := strings.Join(got, " "); g != tt.want {
			t.Errorf("%+v selects %q, want %q", tt.s, g, tt.want)
		}
	}
}
