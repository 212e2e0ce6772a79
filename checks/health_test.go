package checks

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks/probe"
)

const healthBody = `{"status":"ok","version":"1.4.2","environment":"prod","build":42,
 "connections":{"active":12,"limit":100},"checks":[{"name":"db","ok":true},{"name":"queue","ok":false}],
 "big":12345678901234567890,"inf":1e999,"text":"twelve","long":"` + "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" + `"}`

func TestHealth(t *testing.T) {
	u := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/html":
			_, _ = io.WriteString(w, "<html><p>hello")
		case "/empty":
		case "/two":
			_, _ = io.WriteString(w, `{"status":"ok"} {}`)
		case "/half":
			_, _ = io.WriteString(w, `{"status":`)
		case "/list":
			_, _ = io.WriteString(w, `[1,2]`)
		default:
			_, _ = io.WriteString(w, healthBody)
		}
	})
	tests := []struct {
		name  string
		yaml  string
		class probe.Class
		texts string
	}{
		{"plain", "url: " + u, probe.OK, ""},
		{"all hold", "url: " + u + `
conditions:
  - .status == "ok"
  - .connections.active < .connections.limit and .build > 40
  - '[.checks[].ok] | any'
  - .big == 12345678901234567890`, probe.OK, ""},
		{"one condition", "url: " + u + "\nconditions: .status == \"ok\"", probe.OK, ""},
		{"one does not hold", "url: " + u + "\nconditions: ['.status == \"up\"']", probe.ConditionFailed, `condition .status == "up" does not hold: .status is "ok"`},
		{"second part", "url: " + u + "\nconditions: ['.status == \"ok\" and .connections.active < 10']", probe.ConditionFailed, ".connections.active is 12"},
		{"one of several values", "url: " + u + "\nconditions: ['.checks[] | .ok']", probe.ConditionFailed, "it is false"},
		{"not a boolean", "url: " + u + "\nconditions: [.status]", probe.ConditionFailed, `it is "ok"`},
		{"missing", "url: " + u + "\nconditions: [.nothing.here]", probe.ConditionFailed, "it is null"},
		{"no value", "url: " + u + "\nconditions: [empty]", probe.ConditionFailed, "it gives no value"},
		{"error", "url: " + u + "\nconditions: ['.status.x == 1']", probe.ConditionFailed, "expected an object but got: string"},
		{"long value", "url: " + u + "\nconditions: ['.long == \"b\"']", probe.ConditionFailed, `.long is "aaaa`},
		{"endless", "url: " + u + "\nmax_body: 1000\nconditions: ['[limit(3; repeat(1))] == [1,1,1]']", probe.OK, ""},
		{"not JSON", "url: " + u + "/html\nconditions: ['true']", probe.ConditionFailed, `the body is not JSON (invalid character '<' looking for beginning of value): it begins "<html><p>hello"`},
		{"empty", "url: " + u + "/empty\nconditions: ['true']", probe.ConditionFailed, "the body is empty, want JSON"},
		{"two values", "url: " + u + "/two\nconditions: ['true']", probe.ConditionFailed, "more follows the first value"},
		{"half a value", "url: " + u + "/half\nconditions: ['true']", probe.ConditionFailed, "it ends early"},
		{"not JSON, nothing asked", "url: " + u + "/html", probe.OK, ""},
		{"other JSON", "url: " + u + "/list", probe.OK, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := probeOnce(t, testEnv(), settings[Health](t, tt.yaml))
			stage := probe.Stage("")
			if tt.class != probe.OK {
				stage = probe.StageCondition
			}
			wantOutcome(t, o, tt.class, stage, tt.texts)
			if tt.class != probe.OK && !strings.HasPrefix(o.Reason, "GET "+u) {
				t.Errorf("reason %q", o.Reason)
			}
		})
	}
}

func TestHealthRecords(t *testing.T) {
	u := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/html" {
			_, _ = io.WriteString(w, "<html>")
			return
		}
		_, _ = io.WriteString(w, healthBody)
	})
	o := probeOnce(t, testEnv(), settings[Health](t, "url: "+u+`
record:
  connections_active: .connections.active
  share: .connections.active / .connections.limit
  big: .big
  missing: .nope.nope
  text: .text
  infinite: .inf
  broken: .status | error
version: .build
environment: .long
`))
	wantOutcome(t, o, probe.OK, "")
	if d := cmp.Diff(map[string]float64{"connections_active": 12, "share": 0.12, "big": 12345678901234567890}, o.Measures); d != "" {
		t.Error(d)
	}
	want := map[string]string{"version": "42", "environment": strings.Repeat("a", 64), "missing_measures": "broken,infinite,missing,text"}
	if d := cmp.Diff(want, o.Facts); d != "" {
		t.Error(d)
	}
	o = probeOnce(t, testEnv(), settings[Health](t, "url: "+u))
	if d := cmp.Diff(map[string]string{"version": "1.4.2", "environment": "prod"}, o.Facts); d != "" {
		t.Error(d)
	}
	o = probeOnce(t, testEnv(), settings[Health](t, "url: "+u+"/html\nrecord: {a: .a}"))
	if d := cmp.Diff(map[string]string{"missing_measures": "all: the body is not JSON"}, o.Facts); d != "" {
		t.Error(d)
	}
}

func TestHealthTellsAllProblems(t *testing.T) {
	h := settings[Health](t, `
url: ws://x.test/
method: get
status: [2xx, ok]
conditions: [.a, '.b ==', 'nosuchfunction']
record: {Bad-Name: .a, ok: '.[', certificate_days_left: .c}
version: '|'
max_body: -1
`)
	var paths []string
	for _, p := range h.Validate(testEnv()) {
		paths = append(paths, p.Path)
	}
	want := []string{"method", "max_body", "status[1]", "url", "conditions[1]", "conditions[2]", "record.Bad-Name", "record.certificate_days_left", "record.ok", "version"}
	if d := cmp.Diff(want, paths); d != "" {
		t.Error(d)
	}
	h = settings[Health](t, "url: http://x.test/\nmethod: HEAD\nconditions: ['true']\nip: five\nresolver: x\nheaders: {'a b': c}")
	paths = nil
	for _, p := range h.Validate(testEnv()) {
		paths = append(paths, p.Path)
	}
	if d := cmp.Diff([]string{"ip", "resolver", "method"}, paths); d != "" {
		t.Error(d)
	}
}

func TestConditionsAreShared(t *testing.T) {
	env := testEnv()
	a := &Health{URL: "http://a.test/", Conditions: probe.List{".a == 1"}}
	b := &Route{URL: "http://b.test/", Conditions: probe.List{".a == 1"}}
	for _, s := range []Settings{a, b} {
		if p := s.Validate(env); len(p) > 0 {
			t.Fatal(p)
		}
	}
	if a.conditions[0] != b.conditions[0] {
		t.Error("equal expressions were compiled twice")
	}
}

func TestPlainPath(t *testing.T) {
	for text, want := range map[string][]string{
		".version": {"version"}, ".db.Version_2": {"db", "Version_2"},
		".": nil, "..": nil, ".a-b": nil, ".a[0]": nil, ".a.": nil, "version": nil, ".2": nil, `."a"`: nil, ".a | .b": nil, ".a?": nil,
	} {
		if d := cmp.Diff(want, plainPath(text)); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
}

// The conditions of a check are its author's; still, they end with the probe.
func TestEndlessConditionEnds(t *testing.T) {
	u := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	h := &Health{URL: u, Conditions: probe.List{"last(repeat(1)) == 2"}}
	if p := h.Validate(testEnv()); len(p) > 0 {
		t.Fatal(p)
	}
	ctx, cancel := contextFor(t)
	defer cancel()
	wantOutcome(t, h.Probe(ctx), probe.ConditionFailed, probe.StageCondition, "context deadline exceeded")
}
