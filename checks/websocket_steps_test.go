package checks

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// agentServer is an application with the usual faults, one for each path:
// agent_execute gives events, user_message gives a reply with the user's id.
func agentServer(t *testing.T) *url.URL {
	t.Helper()
	var mu sync.Mutex
	var last any
	var full, mixed atomic.Int32
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mixed" && mixed.Add(1)%2 == 0 {
			http.NotFound(w, r)
			return
		}
		if r.URL.Path == "/full" {
			defer full.Add(-1)
			if full.Add(1) > 2 {
				http.Error(w, "full", http.StatusServiceUnavailable)
				return
			}
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow() //nolint:errcheck // closed or not
		send := func(v any) {
			b, _ := json.Marshal(v)
			_ = c.Write(ctx, websocket.MessageText, b)
		}
		order := map[string]string{"/swapped": "a c b d", "/dropped": "a b d", "/duplicated": "a b b c d", "/last-twice": "a b c d d", "/not-json": ""}
		for {
			_, b, err := c.Read(ctx)
			if err != nil {
				return
			}
			var m map[string]any
			if json.Unmarshal(b, &m) != nil {
				_ = c.Write(ctx, websocket.MessageText, b)
				continue
			}
			events, faulty := order[r.URL.Path]
			switch {
			case r.URL.Path == "/silent":
			case r.URL.Path == "/not-json":
				_ = c.Write(ctx, websocket.MessageText, []byte("<html>oops</html>"))
			case r.URL.Path == "/refuses":
				send(map[string]any{"type": "error", "code": "no_such_agent"})
			case m["type"] == "agent_execute":
				if !faulty {
					events = "a b c d"
				}
				send(map[string]any{"type": "noise"})
				for i, e := range strings.Fields(events) {
					send(map[string]any{"type": e, "run": m["run"], "seq": i})
				}
			default:
				mu.Lock()
				user := m["user"]
				if r.URL.Path == "/crosstalk" {
					if last == nil {
						last = user
					}
					user, last = last, user
				}
				mu.Unlock()
				send(map[string]any{"type": "reply", "user": user, "n": 7, "deep": map[string]any{"x": "q\"uote"}})
			}
		}
	}))
	t.Cleanup(func() { cancel(); s.Close() })
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// probeYAML validates and runs a check once.
func probeYAML(t *testing.T, base *url.URL, text string) probe.Outcome {
	t.Helper()
	w := wsSettings(t, text)
	if bad := w.Validate(probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{}), BaseURL: base}); len(bad) > 0 {
		t.Fatal(bad)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return w.Probe(ctx)
}

func TestWebSocketSteps(t *testing.T) {
	base := agentServer(t)
	const flow = `, steps: [
		{name: execute, send: '{"type":"agent_execute","run":"{{nonce}}"}'},
		{expect_events: {of: ['.type == "a" and .run == $nonce', .type == "b", .type == "c", .type == "d"], ordered: true, no_duplicates: true, within: 400ms}}]}`
	for _, c := range []struct {
		name, yaml string
		want       probe.Class
		reason     string
	}{
		{"in order", "{url: /ok" + flow, probe.OK, ""},
		{"swapped", "{url: /swapped" + flow, probe.FlowOrder, `/swapped: step 2: the events came in the order .type == "a" and .run == $nonce, c, b, d; want `},
		{"dropped", "{url: /dropped" + flow, probe.FlowMissing, "step 2: c did not come in "},
		{"duplicated", "{url: /duplicated" + flow, probe.FlowDuplicate, "step 2: b came twice"},
		{"the last one twice", "{url: /last-twice" + flow, probe.FlowDuplicate, "d came twice"},
		{"silent", "{url: /silent" + flow, probe.NoReply, "the first of the events of step 2 did not come in "},
		{"refused", "{url: /refuses" + flow, probe.AppRefused, `step 2, message is an error: {"code":"no_such_agent","type":"error"}`},
		{"keys", `{url: /duplicated, steps: [{send: '{"type":"agent_execute"}'}, {expect_events: {of: .type == "b", no_duplicates: true, key: .seq, within: 1s}}]}`, probe.OK, ""},
		{"at least", `{url: /dropped, steps: [{send: '{"type":"agent_execute"}'}, {expect_events: {of: [.type == "c", .type == "b", .type == "a"], at_least: 2, within: 1s}}]}`, probe.OK, ""},
		{"again after a new send", `{url: /ok, steps: [
			{send: '{"type":"agent_execute"}'}, {expect_events: {of: [.type == "a", .type == "d"], no_duplicates: true}},
			{send: '{"type":"agent_execute"}'}, {expect_events: {of: [.type == "a", .type == "d"], no_duplicates: true}}]}`, probe.OK, ""},
		{"not JSON", `{url: /not-json, steps: [{send: '{}'}, {name: pong, expect: {jq: .type == "pong"}}]}`, probe.BadPayload, "step 2 (pong), message is not what was expected: <html>oops</html>; want jq"},
		{"nothing", `{url: /silent, steps: [{send: '{}'}, {name: pong, expect: {jq: .type == "pong", within: 200ms}}]}`, probe.NoReply, "the message of step 2 (pong) did not come in "},
		{"binary", `{url: /ok, steps: [{send_binary: "01 02 7f"}, {expect: {within: 1s}}]}`, probe.OK, ""},
		{"echo of a nonce", `{url: /ok, steps: [{send: 'plain {{nonce}}'}, {expect: {text: 'plain {{nonce}}'}}, {expect: {text: '{{uuid}}', within: 50ms}}]}`, probe.NoReply, "the message of step 3"},
		{"captures", `{url: /ok, steps: [
			{send: '{"user":"{{session}}"}'}, {expect: {jq: .user == $session and $number == 1, capture: {n: .n, quote: .deep.x, deep: .deep}}},
			{send: '{"user":[{{.n}},{{json .quote}},{{.deep}}]}'}, {expect: {jq: '.user == [$n, $quote, $deep] and $n == 7'}}]}`, probe.OK, ""},
		{"nothing to capture", `{url: /ok, steps: [{send: '{}'}, {expect: {capture: {id: .id}}}]}`, probe.BadPayload, `want jq ".id" to give a value (captured as id)`},
		{"a variable that does not fit", `{url: /ok, steps: [{send: '{"user":"me"}'}, {expect: {jq: .user == $session}}]}`, probe.BadPayload, `to be true, .user is "me"`},
		{"not its own, alone", `{url: /ok, isolation: .user == $session, steps: [{send: '{"user":"me"}'}, {expect: {}}]}`, probe.Isolation, `.user is "me"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := probeYAML(t, base, c.yaml)
			if o.Class != c.want || !strings.Contains(o.Reason, c.reason) {
				t.Errorf("got %s %q, want %s with %q", o.Class, o.Reason, c.want, c.reason)
			}
			if (o.Class == probe.FlowOrder || o.Class == probe.FlowMissing || o.Class == probe.FlowDuplicate) && o.Stage != probe.StageFlow {
				t.Errorf("stage %s, want %s", o.Stage, probe.StageFlow)
			}
		})
	}
}

func TestWebSocketSessions(t *testing.T) {
	base := agentServer(t)
	const talk = `, sessions: 5, steps: [{send: '{"user":"{{session}}","data":"{{nonce}}"}'}, {expect: {jq: .type == "reply", within: 10s}}]}`
	for _, c := range []struct {
		name, yaml string
		want       probe.Class
		reason     string
		tally      map[probe.Class]int // nil: any
	}{
		{"isolated", "{url: /ok, isolation: .user == $session" + talk, probe.OK, "", map[probe.Class]int{probe.OK: 5}},
		{"crosstalk", "{url: /crosstalk, require: 10%, isolation: .user == $session" + talk, probe.Isolation, "which is of session ", nil},
		{"crosstalk, marks only", "{url: /crosstalk, require: 10%, isolation: 'true'" + talk, probe.Isolation, "got a message with ", nil},
		{"crosstalk, nobody asks", "{url: /crosstalk" + talk, probe.OK, "", map[probe.Class]int{probe.OK: 5}},
		{
			"full", "{url: /full, sessions: 5, stagger: 300ms}", probe.Capacity, "2 of 5 sessions were held, session 3 and all later ones failed: upgrade answered 503",
			map[probe.Class]int{probe.OK: 2, probe.Unavailable: 3},
		},
		{
			"mixed", "{url: /mixed, sessions: 4}", probe.Flapping, "2 of 4 sessions were good (2 x not_found, 2 x ok), want 4; session",
			map[probe.Class]int{probe.OK: 2, probe.NotFound: 2},
		},
	} {
		o := probeYAML(t, base, c.yaml)
		if o.Class != c.want || !strings.Contains(o.Reason, c.reason) {
			t.Errorf("%s: got %s %q, want %s with %q", c.name, o.Class, o.Reason, c.want, c.reason)
		}
		if diff := cmp.Diff(c.tally, o.Tally); c.tally != nil && diff != "" {
			t.Errorf("%s: tally\n%s", c.name, diff)
		}
		if o.Measures[wsprobe.MeasureSessions] != float64(o.Tally[probe.OK]) {
			t.Errorf("%s: measures %v, tally %v", c.name, o.Measures, o.Tally)
		}
		if cause := map[probe.Class]string{probe.Capacity: wsprobe.CauseConnLimit, probe.Flapping: wsprobe.CauseMixedVersions}[c.want]; cause != "" {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			if d := o.Inquiry(ctx, false)(nil); len(d.Causes) == 0 || d.Causes[0].Name != cause {
				t.Errorf("%s: causes %+v, want first %s", c.name, d.Causes, cause)
			}
			cancel()
		}
		if e := o.Evidence(); e.Class != c.want || e.Reason != o.Reason {
			t.Errorf("%s: the evidence says %s %q, the outcome %s %q", c.name, e.Class, e.Reason, o.Class, o.Reason)
		}
	}
}

func TestWebSocketStepProblems(t *testing.T) {
	w := wsSettings(t, `{url: ws://x/ws, send: a, sessions: 1, stagger: 1s, require: 120, hold: 1ms, ping_every: 1ms, isolation: '$x', steps: [
		{}, {send: a, expect: {}}, {send: '{{.id}}'}, {send: '{{nope}}'}, {send: '{{range 9}}x{{end}}'}, {send: '{{printf "%d" 1}}'}, {send_binary: x},
		{expect: {jq: ., text: x}}, {expect: {jq: $id}}, {expect: {capture: {id: ., session: ., 1x: ., bad: '.['}}}, {expect: {jq: $id}}, {send: '{{.id}}'},
		{expect_events: {of: [], at_least: 2, key: '.['}}, {expect_events: {of: ['.[']}}]}`)
	got := w.Validate(probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{})})
	want := []string{
		"steps: steps are set, and send, send_binary or expect too",
		"steps[0]: the step sets 0 of", "steps[1]: the step sets 2 of",
		"steps[2].send: {{.id}} is captured by no step before this one",
		`steps[3].send: this is no template: 1: function "nope" not defined; want {{nonce}}`,
		`steps[4].send: "{{range 9}}x{{end}}" is not for messages`,
		"steps[5].send: ", "steps[6].send_binary: ", "steps[7].expect: jq and text are both set",
		`steps[8].expect: "$id" is no jq expression: variable not defined: $id`,
		"steps[9].expect.capture.1x: ", `steps[9].expect.capture.bad: ".["`, "steps[9].expect.capture.session: ",
		"steps[12].expect_events.of: there is no event", "steps[12].expect_events.at_least: 2, want 1 to 0",
		"steps[12].expect_events.key: ", "steps[12].expect_events.key: this means nothing without no_duplicates",
		"steps[13].expect_events.of[0]: ",
		"stagger: this means nothing without sessions", "require: this means nothing", `require: "120" is no share`, "hold: 1ms, want at least 1s", "ping_every: 1ms with hold 1ms, want at least 100ms", `isolation: "$x" is no jq expression`,
	}
	for i, p := range got {
		if text := p.Path + ": " + p.Text; i >= len(want) || !strings.HasPrefix(text, want[i]) {
			t.Errorf("problem %d is %q, want %q", i, text, want[min(i, len(want)-1)])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d problems, want %d", len(got), len(want))
	}
}

// A template that is accepted can be filled in, whatever was captured.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{
		"plain", "{{.id}}", "/calls/{{.id}}?token={{.id}}", "{{nonce}}", "{{ session }}-{{number}} {{uuid}} {{now}}", "{{json .id}}", "{{.id | json}}", "{{.id.x}}", "{{range 99999999}}x{{end}}",
		`{{printf "%99999d" 1}}`, "{{$x := .id}}{{$x}}", "{{define \"a\"}}{{end}}", "{{block \"b\" .}}x{{end}}", "{{/* c */}}", "{{", "{{nonce .id}}", "{{(nonce)}}", "{{.}}", "{{json}}", "{{1}}",
	} {
		f.Add(s, `q"uote`)
	}
	f.Fuzz(func(t *testing.T, text, captured string) {
		for i, escape := range []func(string) string{nil, escapeURL, escapeJSON} {
			m, err := parseTemplate(text, append(stepVars(), "$id"), escape)
			if err != nil {
				return
			}
			got, err := m.execute(&wsprobe.Vars{Session: "s", Nonce: "n", Number: 1, Captured: map[string]any{"id": captured}})
			if err != nil {
				t.Fatalf("%q was accepted: %v", text, err)
			}
			if most := len(text) * (40 + 36*len(captured) + 2); len(got) > most {
				t.Errorf("%q became %d bytes, want at most %d", text, len(got), most)
			}
			if text != "{{.id}}" {
				continue
			}
			u, err := url.Parse("http://h/a?x=" + got) // one value stays one value
			if i == 1 && (err != nil || u.Query().Get("x") != captured || len(u.Query()) != 1) {
				t.Errorf("%q is %q in a URL: %v", captured, got, err)
			}
			var back string
			if err := json.Unmarshal([]byte(`"`+got+`"`), &back); i == 2 && (err != nil || back != strings.ToValidUTF8(captured, "\ufffd") && utf8.ValidString(captured)) {
				t.Errorf("%q is %q in JSON: %v", captured, got, err)
			}
		}
	})
}

// Close ends what hold holds; without hold there is nothing to do.
func TestWebSocketHold(t *testing.T) {
	opened, gone := make(chan struct{}, 4), make(chan struct{}, 4)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		opened <- struct{}{}
		<-c.CloseRead(context.WithoutCancel(r.Context())).Done()
		gone <- struct{}{}
	}))
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for text, connections := range map[string]int{"{url: /}": 1, "{url: /, hold: 1h, ping_every: 10s}": 2} {
		w := wsSettings(t, text)
		if bad := w.Validate(probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{}), BaseURL: u}); len(bad) > 0 {
			t.Fatal(bad)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if o := w.Probe(ctx); o.Class != probe.OK {
			t.Errorf("%s: %s %q", text, o.Class, o.Reason)
		}
		cancel()
		for range connections {
			<-opened
		}
		if err := io.Closer(w).Close(); err != nil {
			t.Error(err)
		}
		for range connections {
			<-gone
		}
	}
}
