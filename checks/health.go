package checks

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// Health asks an HTTP endpoint that reports the service's own state, as JSON.
// It is good if the status is accepted and every condition holds.
type Health struct {
	// URL is what to ask: http:// or https://, or a path behind the base URL.
	URL string `yaml:"url" json:"url"`
	// Method is the HTTP method; default GET.
	Method string `yaml:"method,omitempty" json:"method,omitempty"`
	// Headers are request header fields; they win over the configured defaults.
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"`

	probe.Connection `yaml:",inline"`

	// Status is what is accepted, such as 200, 2xx or 200-299; default 2xx.
	Status probe.List `yaml:"status,omitempty" json:"status,omitempty"`
	// Conditions are jq expressions on the body that must give true, such as
	// .status == "ok". An error in one is a failure.
	Conditions probe.List `yaml:"conditions,omitempty" json:"conditions,omitempty"`
	// Record keeps numbers of the body as measures: names, and the jq
	// expressions that give them. What gives no number is no failure: its
	// names are kept in the fact missing_measures.
	Record map[string]string `yaml:"record,omitempty" json:"record,omitempty"`
	// Version is the jq expression for the version of the service; default
	// .version. The first 64 bytes are kept as a fact.
	Version string `yaml:"version,omitempty" json:"version,omitempty"`
	// Environment is the same for its environment; default .environment.
	Environment string `yaml:"environment,omitempty" json:"environment,omitempty"`
	// SlowerThan is the latency above which a good answer is degraded.
	SlowerThan probe.Duration `yaml:"slower_than,omitempty" json:"slower_than,omitempty"`
	// MaxBody is the most bytes of the decoded body; default 1048576.
	MaxBody int `yaml:"max_body,omitempty" json:"max_body,omitempty"`

	http        *httpCheck
	conditions  []*jq
	record      []measure
	version     *jq
	environment *jq
	source      wsprobe.VersionSource // of its version
}

type measure struct {
	name string
	jq   *jq
}

const (
	mostMeasures = 16
	mostFact     = 64
)

// Validate compiles the settings.
func (h *Health) Validate(env probe.Env) []probe.Problem {
	var problems, more []probe.Problem
	h.http, problems = compileHTTP(env, httpSettings{
		url: h.URL, method: h.Method, headers: h.Headers, conn: h.Connection,
		status: h.Status, slowerThan: h.SlowerThan, maxBody: h.MaxBody,
	})
	h.conditions, more = compileAll(env.Net, "conditions", h.Conditions)
	problems = append(problems, more...)
	if h.Method == http.MethodHead && len(h.Conditions)+len(h.Record) > 0 {
		problems = append(problems, probe.Problem{Path: "method", Text: "the answer to HEAD has no body for conditions and record"})
	}
	if len(h.Record) > mostMeasures {
		problems = append(problems, probe.Problem{Path: "record", Text: fmt.Sprintf("%d measures, want at most %d", len(h.Record), mostMeasures)})
	}
	h.record = nil
	for _, name := range slices.Sorted(maps.Keys(h.Record)) {
		j, err := compileJQ(env.Net, h.Record[name])
		if err == nil {
			err = measureName(name)
		}
		if err != nil {
			problems = append(problems, probe.Problem{Path: "record." + name, Text: err.Error()})
		}
		h.record = append(h.record, measure{name, j})
	}
	for _, f := range []struct {
		path, text, def string
		jq              **jq
	}{{"version", h.Version, wsprobe.DefaultVersion, &h.version}, {"environment", h.Environment, ".environment", &h.environment}} {
		if f.text == "" {
			f.text = f.def
		}
		j, err := compileJQ(env.Net, f.text)
		if err != nil {
			problems = append(problems, probe.Problem{Path: f.path, Text: err.Error()})
		}
		*f.jq = j
	}
	if h.http != nil && h.version != nil {
		h.http.keepBody = true
		q := h.http.request
		h.source = wsprobe.VersionSource{Addr: q.Target.Addr, Host: probe.FieldValue(q.Fields, "Host"), Path: q.Target.URL.Path, Expr: h.version.text}
	}
	return problems
}

// measureName checks that name is fit for a metric.
func measureName(name string) error {
	ok := len(name) > 0 && len(name) <= 64 && 'a' <= name[0] && name[0] <= 'z'
	for _, c := range []byte(name) {
		ok = ok && ('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_')
	}
	if !ok {
		return fmt.Errorf("%q is no name of a measure, want lower-case letters, digits and _, at most 64", name)
	}
	if name == probe.MeasureCertDays || name == probe.MeasureCertLeft {
		return fmt.Errorf("%q is measured by every check over TLS, want another name", name)
	}
	return nil
}

// Endpoint tells what is probed.
func (h *Health) Endpoint() probe.Endpoint { return h.http.endpoint() }

// Probe asks the endpoint once.
func (h *Health) Probe(ctx context.Context) probe.Outcome { return h.http.probe(ctx, h.judge) }

func (h *Health) judge(ctx context.Context, a *answer, o *probe.Outcome) string {
	doc, err := decodeJSON(a.body)
	if err != nil {
		if len(h.conditions) > 0 {
			return notJSON(h.http.net.Redactor(), a.body, err)
		}
		if len(h.record) > 0 {
			o.Facts = map[string]string{"missing_measures": "all: the body is not JSON"}
		}
		return ""
	}
	h.measure(ctx, doc, o)
	for i, f := range []*jq{h.version, h.environment} {
		if text := h.fact(f.value(ctx, doc)); text != "" {
			setFact(o, [...]string{"version", "environment"}[i], text)
			if i == 0 { // failures of other checks of this service can tell versions apart
				wsprobe.NoteVersion(h.http.net, h.source, text, time.Now())
			}
		}
	}
	for _, c := range h.conditions {
		if seen, ok := c.holds(ctx, doc); !ok {
			return fmt.Sprintf("condition %s does not hold: %s", c.text, seen)
		}
	}
	return ""
}

func (h *Health) measure(ctx context.Context, doc any, o *probe.Outcome) {
	var missing []string
	for _, m := range h.record {
		f, ok := number(m.jq.value(ctx, doc))
		if !ok {
			missing = append(missing, m.name)
			continue
		}
		if o.Measures == nil {
			o.Measures = map[string]float64{}
		}
		o.Measures[m.name] = f
	}
	if len(missing) > 0 {
		text := strings.Join(missing, ",")
		setFact(o, "missing_measures", text[:min(len(text), mostFact)])
	}
}

// fact returns a text or number as a short text without secrets.
func (h *Health) fact(v any) string {
	var text string
	switch v := v.(type) {
	case string:
		text = v
	case json.Number, int, float64:
		text = jsonText(v)
	}
	text = h.http.net.Redactor().Line(text)
	return strings.ToValidUTF8(text[:min(len(text), mostFact)], "")
}

func setFact(o *probe.Outcome, name, text string) {
	if o.Facts == nil {
		o.Facts = map[string]string{}
	}
	o.Facts[name] = text
}
