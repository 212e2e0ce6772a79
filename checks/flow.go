package checks

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// Flow is several requests and WebSockets, one after the other, that belong
// together: log in, start a call, listen to its events. It ends at the first step
// that fails and has the class of that. It is as slow as all steps together. How
// long each took is the measure step_NAME_seconds.
type Flow struct {
	// Steps are what to do, at most 16.
	Steps []FlowStep `yaml:"steps" json:"steps"`
	// SlowerThan is the time of all steps together above which a good flow is
	// degraded.
	SlowerThan probe.Duration `yaml:"slower_than,omitempty" json:"slower_than,omitempty"`

	net      *probe.Network
	scope    *scope
	auth     *probe.Credential
	steps    []flowStep
	endpoint probe.Endpoint
}

// FlowStep is one step of a flow: its name and exactly one of http and websocket.
type FlowStep struct {
	// Name is what messages and measures call the step.
	Name string `yaml:"name" json:"name"`
	// HTTP is a request.
	HTTP *FlowHTTP `yaml:"http,omitempty" json:"http,omitempty"`
	// WebSocket is a WebSocket, used and closed. sessions, hold and their
	// settings are for checks of their own. What its steps capture later steps of
	// the flow may use.
	WebSocket *WebSocket `yaml:"websocket,omitempty" json:"websocket,omitempty"`
}

// FlowHTTP is a request of a flow. Its URL (path and query), headers, body and
// json may hold templates as in send of WebSocket steps: {{.name}} is a value that
// an earlier step captured, {{nonce}} one that is fresh for each run. In
// conditions and capture that is $name and $nonce.
type FlowHTTP struct {
	Route `yaml:",inline"`
	// Capture keeps values of the answer for later steps: jq expressions by name.
	// None of them may be null.
	Capture map[string]string `yaml:"capture,omitempty" json:"capture,omitempty"`
}

const mostFlowSteps = 16

// flowStep is a FlowStep, compiled.
type flowStep struct {
	name    string
	measure string
	try     func(ctx context.Context, v *wsprobe.Vars) probe.Outcome
}

// FactStep is the fact that names the step of a flow that was not good.
const FactStep = "step"

// Validate compiles the settings.
func (f *Flow) Validate(env probe.Env) (bad []probe.Problem) {
	if len(f.Steps) == 0 || len(f.Steps) > mostFlowSteps {
		bad = append(bad, probe.Problem{Path: "steps", Text: fmt.Sprintf("%d steps, want 1 to %d", len(f.Steps), mostFlowSteps)})
	}
	const secretsOfRun = 8 // that a run captures, more or less; runs are confirmed at most 10 times
	f.net, f.scope, f.auth, f.steps = env.Net, newScope(env.Net, 11*secretsOfRun), env.Auth, nil
	taken := map[string]int{}
	f.endpoint = probe.Endpoint{Repeatable: true}
	for i := range f.Steps {
		s, path := &f.Steps[i], fmt.Sprintf("steps[%d]", i)
		step, more := f.compile(env, s)
		for _, p := range more {
			bad = append(bad, probe.Problem{Path: strings.TrimSuffix(path+"."+p.Path, "."), Text: p.Text})
		}
		if text := stepName(s.Name, i, step.measure, taken); text != "" {
			bad = append(bad, probe.Problem{Path: path + ".name", Text: text})
		}
		f.steps = append(f.steps, step)
	}
	return bad
}

// stepName says what is wrong with the name of a step, or "".
func stepName(name string, i int, measure string, taken map[string]int) string {
	switch j, twice := taken[measure]; {
	case name == "":
		return "the step has no name, want one such as log-in"
	case len(name) > 40 || strings.Trim(measure, "_") == "":
		return fmt.Sprintf("%q is no name of a step, want at most 40 characters, with letters or digits", name)
	case twice:
		return fmt.Sprintf("%q is taken by step %d, or differs from it in punctuation only; want another", name, j)
	}
	taken[measure] = i + 1
	return ""
}

// compile prepares one step; its problems are those below the step.
func (f *Flow) compile(env probe.Env, s *FlowStep) (step flowStep, bad []probe.Problem) {
	step.name, step.measure = s.Name, measureOf(s.Name)
	below := func(key string, problems []probe.Problem) {
		for _, p := range problems {
			bad = append(bad, probe.Problem{Path: strings.TrimSuffix(key+"."+p.Path, "."), Text: p.Text})
		}
	}
	var e probe.Endpoint
	switch {
	case (s.HTTP != nil) == (s.WebSocket != nil):
		return step, []probe.Problem{{Text: "want exactly one of http and websocket"}}
	case s.HTTP != nil:
		below("http", s.HTTP.compile(env, f.scope))
		all, more := f.scope.captures(env.Net, s.HTTP.Capture, "")
		for i := range more {
			more[i].Path = strings.TrimPrefix(more[i].Path, ".")
		}
		if below("http", more); len(bad) > 0 {
			return step, bad
		}
		s.HTTP.http.keepBody = s.HTTP.http.keepBody || len(all) > 0
		e = s.HTTP.Endpoint()
		step.try = func(ctx context.Context, v *wsprobe.Vars) probe.Outcome { return s.HTTP.try(ctx, f.scope, all, v) }
	default:
		below("websocket", s.WebSocket.alone())
		if below("websocket", s.WebSocket.compile(env, f.scope)); len(bad) > 0 {
			return step, bad
		}
		e = s.WebSocket.Endpoint()
		step.try = s.WebSocket.prober.ProbeWith
	}
	if f.endpoint.Host == "" || e.WebSocket && !f.endpoint.WebSocket { // the WebSocket is what people want to know of
		f.endpoint.URL, f.endpoint.Host, f.endpoint.WebSocket = e.URL, e.Host, e.WebSocket
	}
	f.endpoint.Repeatable = f.endpoint.Repeatable && e.Repeatable
	return step, nil
}

// measureOf is the name of the measure of a step.
func measureOf(name string) string {
	return "step_" + strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z' || '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r | 0x20
		}
		return '_'
	}, name) + "_seconds"
}

// try sends the request and captures values of the answer.
func (h *FlowHTTP) try(ctx context.Context, s *scope, all []capture, v *wsprobe.Vars) probe.Outcome {
	return h.probeWith(ctx, v, func(ctx context.Context, a *answer) string {
		if len(all) == 0 {
			return ""
		}
		doc, err := decodeJSON(a.body)
		if err != nil {
			return "the answer is not JSON, want it to capture " + all[0].name
		}
		if want := s.keep(all, v, func(expr *jq) any { return expr.value(ctx, doc, values(expr.vars, v)...) }); want != "" {
			return "want " + want + "; " + keysOf(doc)
		}
		return ""
	})
}

// alone reports settings that are for checks of their own.
func (w *WebSocket) alone() (bad []probe.Problem) {
	for _, s := range []struct {
		name string
		set  bool
	}{{"sessions", w.Sessions > 1}, {"hold", w.Hold != 0}} {
		if s.set {
			bad = append(bad, probe.Problem{Path: s.name, Text: "this is for a check of its own, not for a step of a flow"})
		}
	}
	return bad
}

// Endpoint tells what is probed: the first WebSocket, or else the first request.
func (f *Flow) Endpoint() probe.Endpoint { return f.endpoint }

// Probe goes through the flow once.
func (f *Flow) Probe(ctx context.Context) probe.Outcome {
	v := wsprobe.NewVars(1)
	sum := probe.Outcome{Class: probe.OK, Measures: map[string]float64{}}
	var took []string // by the steps, for evidence
	if o := f.ready(ctx); o != nil {
		return *o
	}
	for i, s := range f.steps {
		start := time.Now()
		o := s.try(ctx, v)
		d := time.Since(start)
		took = append(took, s.name+" "+probe.Brief(d))
		good := o.Class.Status() == probe.Up || o.Class.Status() == probe.Degraded
		if good {
			sum.Latency += d
			sum.Measures[s.measure] = d.Seconds()
		}
		f.merge(&sum, o)
		if o.Class != probe.OK && sum.Class == probe.OK || !good {
			sum = f.told(sum, o, s.name, i)
		}
		if !good {
			break
		}
		if sum.Evidence == nil || sum.Class == probe.OK {
			sum.Evidence = o.Evidence // of the last step
		}
	}
	if sum.Class == probe.OK && f.SlowerThan > 0 && sum.Latency > time.Duration(f.SlowerThan) {
		sum.Class, sum.Stage = probe.Slow, probe.StageTime
		sum.Reason = fmt.Sprintf("%s took %s together, slower_than is %v", strings.Join(took, ", "), probe.Brief(sum.Latency), f.SlowerThan)
	}
	return sum.WithFact("steps", strings.Join(took, ", "))
}

// ready makes sure that there is a credential before the clock starts, since the
// time that it takes is in no latency.
func (f *Flow) ready(ctx context.Context) *probe.Outcome {
	failed := f.auth.Use(ctx, func(probe.Token) bool { return false })
	if failed == nil {
		return nil
	}
	o := failed.Outcome(f.endpoint.URL, f.net.Redactor(), func() *probe.Evidence { return &probe.Evidence{URL: f.endpoint.URL} })
	return &o
}

// merge adds to the flow what a step measured.
func (f *Flow) merge(sum *probe.Outcome, o probe.Outcome) {
	for name, m := range o.Measures {
		if have, ok := sum.Measures[name]; !ok || name == probe.MeasureCertDays && m < have {
			sum.Measures[name] = m
		}
	}
	sum.Phases = sum.Phases.Plus(o.Phases)
	sum.RetryAfter = max(sum.RetryAfter, o.RetryAfter)
}

// told makes the outcome of the flow that of a step that is not good, or not
// quite.
func (f *Flow) told(sum, o probe.Outcome, name string, i int) probe.Outcome {
	part := o.Of("step " + strconv.Itoa(i+1) + " (" + name + ")")
	sum.Class, sum.Stage, sum.Reason = part.Class, part.Stage, part.Reason
	sum.Evidence, sum.Inquiry = part.Evidence, part.Inquiry
	sum.Facts = map[string]string{FactStep: name}
	if status := o.Class.Status(); status != probe.Up && status != probe.Degraded {
		sum.Phases, sum.Latency = o.Phases, 0
	}
	return sum
}
