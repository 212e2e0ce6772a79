package checks

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/checks/probe"
)

func flowSettings(t *testing.T, text string) *Flow {
	t.Helper()
	var f Flow
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return &f
}

// callFlow logs in, starts a call and listens to it. LOGIN, FAULT and WITHIN are
// replaced.
const callFlow = `
steps:
  - name: log-in
    http:
      url: /LOGIN
      method: POST
      json: {user: monitor, password: hunter2-of-the-monitor}
      capture: {token: .access_token}
  - name: start
    http:
      url: /calls
      method: POST
      headers: {Authorization: 'Bearer {{.token}}'}
      json: {caller: 'tripline-{{nonce}}'}
      status: 201
      conditions: .caller == "tripline-" + $nonce
      capture: {id: .id}
  - name: transcribe
    websocket:
      url: /ws/FAULT/calls/{{.id}}?token={{.token}}
      isolation: .user_id == null or .user_id == $nonce
      steps:
        - send: '{"subscribe": {{json .id}}}'
        - {name: subscribed, expect: {jq: .type == "subscription_confirmed" and .subscription == $id, within: WITHIN}}
        - send: '{"type": "user_message", "user_id": "{{nonce}}"}'
        - expect: {jq: .type == "user_reply", within: WITHIN}
        - send: '{"type": "agent_execute", "run": "{{nonce}}"}'
        - name: events
          expect_events:
            of: [.type == "started" and .run == $nonce, .type == "thinking", .type == "executing", .type == "tool", .type == "completed"]
            ordered: true
            no_duplicates: true
            within: WITHIN
`

func (a *callApp) flow(t *testing.T, login, fault string) (probe.Outcome, *probe.Evidence) {
	t.Helper()
	within := "30s"
	if fault == "lost" || fault == "unfinished" || fault == "silent" {
		within = "5s" // what is waited for in vain
	}
	f := flowSettings(t, strings.NewReplacer("LOGIN", login, "FAULT", fault, "WITHIN", within).Replace(callFlow))
	if bad := f.Validate(probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{}), BaseURL: a.url}); len(bad) > 0 {
		t.Fatal(bad)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	o := f.Probe(ctx)
	return o, o.Evidence()
}

// TestFlow: each fault of the application gives its class, and names the step.
func TestFlow(t *testing.T) {
	app := newCallApp(t)
	for _, c := range []struct {
		login, fault string
		want         probe.Class
		stage        probe.Stage
		reason       string // holds this, after the step
	}{
		{"login", "none", probe.OK, "", ""},
		{"login", "swapped", probe.FlowOrder, probe.StageFlow, `the events came in the order .type == "started" and .run == $nonce, executing, thinking, tool, completed; want`},
		{"login", "lost", probe.FlowMissing, probe.StageFlow, "step 6 (events): tool did not come in 5"},
		{"login", "unfinished", probe.FlowMissing, probe.StageFlow, "completed did not come in 5"},
		{"login", "doubled", probe.FlowDuplicate, probe.StageFlow, "thinking came twice"},
		{"login", "foreign", probe.Isolation, probe.StageFlow, "got a message that is not its own"},
		{"login", "crash", probe.Dropped, probe.StageSession, "the connection ended without a close frame"},
		{"login", "silent", probe.NoReply, probe.StageSession, "step 2 (subscribed) did not come in 5"},
		{"login", "not-json", probe.BadPayload, probe.StageSession, "the message is not JSON"},
		{"broken", "none", probe.ServerError, probe.StageHTTP, "/broken: status 500, want 2xx"},
		{"nowhere", "none", probe.NotFound, probe.StageHTTP, "/nowhere: status 404, want 2xx"},
		{"empty-login", "none", probe.ConditionFailed, probe.StageCondition, `want jq ".access_token" to give a value (captured as token); it has "t", "user"`},
		{"expired-login", "none", probe.Auth, probe.StageHTTP, "/calls: status 401, want 201"},
	} {
		t.Run(c.login+" "+c.fault, func(t *testing.T) {
			t.Parallel()
			o, e := app.flow(t, c.login, c.fault)
			if o.Class != c.want || o.Stage != c.stage || !strings.Contains(o.Reason, c.reason) {
				t.Fatalf("got %s at %q: %s\nwant %s at %q: %s", o.Class, o.Stage, o.Reason, c.want, c.stage, c.reason)
			}
			step := map[bool]string{true: "transcribe", false: "log-in"}[c.login == "login"]
			if c.login == "expired-login" {
				step = "start"
			}
			number := map[string]string{"log-in": "1", "start": "2", "transcribe": "3"}[step]
			switch {
			case c.want == probe.OK:
				for _, name := range []string{"step_log_in_seconds", "step_start_seconds", "step_transcribe_seconds"} {
					if o.Measures[name] <= 0 {
						t.Errorf("%s is %v", name, o.Measures[name])
					}
				}
				if o.Latency <= 0 || o.Phases.Upgrade <= 0 || o.Phases.FirstByte <= 0 {
					t.Errorf("latency %s, phases %+v", o.Latency, o.Phases)
				}
			case !strings.HasPrefix(o.Reason, "step "+number+" ("+step+"): "), o.Facts[FactStep] != step, o.Latency != 0:
				t.Errorf("reason %q, facts %v, latency %s; want step %s (%s)", o.Reason, o.Facts, o.Latency, number, step)
			case e.Reason != o.Reason || e.Class != o.Class || !strings.Contains(e.Facts["steps"], step):
				t.Errorf("evidence says %s %q, steps %q", e.Class, e.Reason, e.Facts["steps"])
			}
			b, err := json.Marshal([]any{o.Reason, o.Facts, o.Measures, e})
			if err != nil {
				t.Fatal(err)
			}
			app.mu.Lock()
			defer app.mu.Unlock()
			for _, secret := range append([]string{"hunter2-of-the-monitor"}, app.tokens...) {
				if strings.Contains(string(b), secret) {
					t.Errorf("a secret is shown: %s", b)
				}
			}
		})
	}
}

// TestFlowProblems: what is wrong with a flow is said where it is wrong.
func TestFlowProblems(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		want       []string
	}{
		{"none", "{}", []string{"steps: 0 steps, want 1 to 16"}},
		{"no name", "steps: [{http: {url: /}}]", []string{"steps[0].name: the step has no name, want one such as log-in"}},
		{"a name twice", "steps: [{name: a b, http: {url: /}}, {name: a-b, http: {url: /}}]", []string{`steps[1].name: "a-b" is taken by step 1, or differs from it in punctuation only; want another`}},
		{"both", "steps: [{name: a, http: {url: /}, websocket: {url: /}}]", []string{"steps[0]: want exactly one of http and websocket"}},
		{"neither", "steps: [{name: a}]", []string{"steps[0]: want exactly one of http and websocket"}},
		{
			"before capture", "steps: [{name: a, http: {url: '/{{.id}}'}}, {name: b, http: {url: /, capture: {id: .id}}}]",
			[]string{`steps[0].http.url: {{.id}} is captured by no step before this one`},
		},
		{
			"in its own step", "steps: [{name: a, http: {url: '/', headers: {X-A: '{{.id}}'}, capture: {id: .id}}}]",
			[]string{`steps[0].http.headers.X-A: {{.id}} is captured by no step before this one`},
		},
		{"in a body", "steps: [{name: a, http: {url: '/', method: POST, json: {a: ['{{.id}}']}}}]", []string{`steps[0].http.json: {{.id}} is captured by no step before this one`}},
		{"in jq", "steps: [{name: a, http: {url: '/', conditions: $id == 1}}]", []string{`steps[0].http.conditions[0]: "$id == 1" is no jq expression: variable not defined: $id`}},
		{
			"of a WebSocket", "steps: [{name: a, websocket: {url: '/?t={{.t}}', steps: [{expect: {capture: {t: .t}}}]}}]",
			[]string{`steps[0].websocket.url: {{.t}} is captured by no step before this one`},
		},
		{"taken", "steps: [{name: a, http: {url: /, capture: {nonce: .a}}}]", []string{`steps[0].http.capture.nonce: "nonce" is no new name, want letters, digits and _, and none that is taken`}},
		{
			"a host", "steps: [{name: a, http: {url: /, capture: {h: .h}}}, {name: b, http: {url: 'http://{{.h}}/'}}]",
			[]string{`steps[1].http.url: "http://{{.h}}/": only the path and the query may hold {{, since the host of a check is always the same`},
		},
		{"of its own", "steps: [{name: a, websocket: {url: /, hold: 1h, sessions: 2}}]", []string{
			"steps[0].websocket.sessions: this is for a check of its own, not for a step of a flow",
			"steps[0].websocket.hold: this is for a check of its own, not for a step of a flow",
		}},
		{"body and json", "steps: [{name: a, http: {url: /, method: POST, body: a, json: {}}}]", []string{"steps[0].http.json: body and json are both set, want one of them"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			app := newCallApp(t)
			var got []string
			for _, p := range flowSettings(t, c.yaml).Validate(probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{}), BaseURL: app.url}) {
				got = append(got, p.Path+": "+p.Text)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
