package checks

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// scope is what the texts of a check can refer to, as far as its steps have been
// compiled: {{.name}} in templates, $name in jq.
type scope struct {
	vars  []string        // names of jq variables, those of every session first
	known *probe.Rotation // where captured values that are secret become known
}

// newScope returns a scope in which nothing is captured yet. keep is how many
// captured secrets matter at the same time.
func newScope(net *probe.Network, keep int) *scope {
	return &scope{vars: stepVars(), known: net.Redactor().Rotation(keep)}
}

func (s *scope) secrets() *probe.Rotation {
	if s == nil {
		return nil
	}
	return s.known
}

// names are the variables that jq may use.
func (s *scope) names() []string {
	if s == nil {
		return nil
	}
	return s.vars
}

// declare adds a captured name; false if it cannot be one, or is taken.
func (s *scope) declare(name string) bool {
	if !isVariable(name) || slices.Contains(s.vars, "$"+name) {
		return false
	}
	s.vars = append(slices.Clip(s.vars), "$"+name)
	return true
}

// sample returns values for a trial: text for each that was captured.
func (s *scope) sample(text string) *wsprobe.Vars {
	v := &wsprobe.Vars{Session: text, Nonce: text, Captured: map[string]any{}}
	for _, name := range s.vars[len(stepVars()):] {
		v.Captured[name[1:]] = text
	}
	return v
}

// capture is a value of an answer or message that later steps may use.
type capture struct {
	name string
	expr *jq
}

// keep evaluates the captures on doc. It returns what was wanted if one of them
// gives no value.
func (s *scope) keep(all []capture, v *wsprobe.Vars, value func(*jq) any) (want string) {
	for _, c := range all {
		got := value(c.expr)
		if got == nil {
			return "jq " + strconv.Quote(c.expr.text) + " to give a value (captured as " + c.name + ")"
		}
		if probe.Telling(c.name) || probe.Telling(c.expr.text) {
			s.known.Add(captureText(got))
		}
		v.Captured[c.name] = got
	}
	return ""
}

// escapeJSON makes a value one that stands inside a JSON string.
func escapeJSON(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	return string(b[1 : len(b)-1])
}

// captures compiles captures. Each can use what was captured before the step.
func (s *scope) captures(net *probe.Network, exprs map[string]string, path string) (all []capture, bad []probe.Problem) {
	vars := s.vars
	for _, name := range slices.Sorted(maps.Keys(exprs)) {
		path := path + ".capture." + name
		if !s.declare(name) {
			bad = append(bad, probe.Problem{Path: path, Text: strconv.Quote(name) + " is no new name, want letters, digits and _, and none that is taken"})
			continue
		}
		expr, err := compileJQ(net, exprs[name], vars...)
		if err != nil {
			bad = append(bad, probe.Problem{Path: path, Text: err.Error()})
		}
		all = append(all, capture{name, expr})
	}
	return all, bad
}
