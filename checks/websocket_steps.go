package checks

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// WebSocketStep is one step of a conversation. It sets exactly one of send,
// send_binary, expect and expect_events.
type WebSocketStep struct {
	// Name is what messages call the step; default only its number.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
	// Send is a text message. It may hold {{nonce}} (fresh for each session of
	// each run), {{session}} (a fresh name of the session), {{number}} (of the
	// session, from 1), {{uuid}} (fresh at each place), {{now}} (RFC 3339), and
	// {{.name}} for a captured value; {{json .name}} is it in JSON quotes.
	Send string `yaml:"send,omitempty" json:"send,omitempty"`
	// SendBinary is a binary message in hex.
	SendBinary string `yaml:"send_binary,omitempty" json:"send_binary,omitempty"`
	// Expect is what the next message must be.
	Expect *WebSocketStepExpect `yaml:"expect,omitempty" json:"expect,omitempty"`
	// ExpectEvents are events that must come, among any other messages.
	ExpectEvents *WebSocketEvents `yaml:"expect_events,omitempty" json:"expect_events,omitempty"`
}

// WebSocketStepExpect is what the next message must be. With neither jq nor text
// any message will do.
type WebSocketStepExpect struct {
	// JQ is a jq expression on the message as JSON; it must give true, such as
	// .user_id == $session. $session, $nonce, $number and captured values are
	// variables.
	JQ string `yaml:"jq,omitempty" json:"jq,omitempty"`
	// Text is a text that the message must contain; templates as in send.
	Text string `yaml:"text,omitempty" json:"text,omitempty"`
	// Within is how long the message may take; default the check's timeout.
	Within probe.Duration `yaml:"within,omitempty" json:"within,omitempty"`
	// Capture keeps values of the message for later steps: jq expressions by
	// name. None of them may be null.
	Capture map[string]string `yaml:"capture,omitempty" json:"capture,omitempty"`
}

// WebSocketEvents are events that must come.
type WebSocketEvents struct {
	// Of are jq expressions, one for each event; a message for which one gives
	// true is that event. Variables as in expect.
	Of probe.List `yaml:"of" json:"of"`
	// AtLeast is how many of the events must come; default all.
	AtLeast int `yaml:"at_least,omitempty" json:"at_least,omitempty"`
	// Ordered wants the events in the order of the list.
	Ordered bool `yaml:"ordered,omitempty" json:"ordered,omitempty"`
	// NoDuplicates wants no event twice until the next step that sends.
	NoDuplicates bool `yaml:"no_duplicates,omitempty" json:"no_duplicates,omitempty"`
	// Key is a jq expression for what tells two messages of the same event
	// apart, such as .id; default nothing: the second one is a duplicate.
	Key string `yaml:"key,omitempty" json:"key,omitempty"`
	// Within is how long all of them may take together; default the check's timeout.
	Within probe.Duration `yaml:"within,omitempty" json:"within,omitempty"`
}

const mostSessions = 1000

// stepVars are the variables that every jq expression of a session may use.
func stepVars() []string { return []string{"$session", "$nonce", "$number"} }

// values returns what vars stand for in a session.
func values(vars []string, v *wsprobe.Vars) []any {
	all := make([]any, len(vars))
	for i, name := range vars {
		switch name {
		case "$session":
			all[i] = v.Session
		case "$nonce":
			all[i] = v.Nonce
		case "$number":
			all[i] = v.Number
		default:
			all[i] = v.Captured[name[1:]]
		}
	}
	return all
}

// plural compiles sessions, stagger, require and isolation, and judges hold.
func (w *WebSocket) plural(net *probe.Network, vars []string, o *wsprobe.Options) (bad []probe.Problem) {
	o.Sessions, o.Stagger, o.Require = w.Sessions, time.Duration(w.Stagger), 1
	if w.Sessions < 0 || w.Sessions > mostSessions {
		bad = append(bad, probe.Problem{Path: "sessions", Text: fmt.Sprintf("%d, want 1 to %d", w.Sessions, mostSessions)})
	}
	if w.Sessions < 2 {
		for _, s := range []struct {
			name string
			set  bool
		}{{"stagger", w.Stagger != 0}, {"require", w.Require != ""}} {
			if s.set {
				bad = append(bad, probe.Problem{Path: s.name, Text: "this means nothing without sessions, want sessions of at least 2"})
			}
		}
	}
	if w.Require != "" {
		percent, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(w.Require, "%")), 64)
		if err != nil || !strings.HasSuffix(w.Require, "%") || !(percent > 0 && percent <= 100) {
			bad = append(bad, probe.Problem{Path: "require", Text: strconv.Quote(w.Require) + " is no share, want one such as 80%, more than 0% and at most 100%"})
		}
		o.Require = percent / 100
	}
	if w.Hold != 0 && time.Duration(w.Hold) < time.Second {
		bad = append(bad, probe.Problem{Path: "hold", Text: time.Duration(w.Hold).String() + ", want at least 1s"})
	}
	if w.PingEvery != 0 && (w.Hold == 0 || time.Duration(w.PingEvery) < 100*time.Millisecond) {
		bad = append(bad, probe.Problem{Path: "ping_every", Text: time.Duration(w.PingEvery).String() + " with hold " + time.Duration(w.Hold).String() + ", want at least 100ms, and a hold"})
	}
	if w.Isolation == "" {
		return bad
	}
	expr, err := compileJQ(net, w.Isolation, vars...)
	if err != nil {
		return append(bad, probe.Problem{Path: "isolation", Text: err.Error()})
	}
	o.Isolation = func(ctx context.Context, payload []byte, v *wsprobe.Vars) string {
		doc, err := decodeJSON(payload)
		if err != nil {
			return "" // says nothing about whose it is
		}
		vals := values(vars, v)
		if expr.value(ctx, doc, vals...) != false { // an error says nothing about whose it is
			return ""
		}
		return "jq " + strconv.Quote(w.Isolation) + " to be true, " + expr.explain(ctx, doc, false, vals)
	}
	return bad
}

// steps compiles the conversation.
func (w *WebSocket) steps(net *probe.Network, s *scope, o *wsprobe.Options) (bad []probe.Problem) {
	if len(w.Steps) > 0 && len(w.Send)+len(w.SendBinary)+len(w.Expect) > 0 {
		bad = append(bad, probe.Problem{Path: "steps", Text: "steps are set, and send, send_binary or expect too; want one of the two forms"})
	}
	c := stepCompiler{net, s}
	for i := range w.Steps {
		path := fmt.Sprintf("steps[%d]", i)
		step, more := c.compile(&w.Steps[i], path)
		step.Name = fmt.Sprintf("step %d", i+1)
		if name := w.Steps[i].Name; name != "" {
			step.Name += " (" + name + ")"
		}
		bad = append(bad, more...)
		o.Steps = append(o.Steps, step)
		if e := w.Steps[i].ExpectEvents; e != nil && e.NoDuplicates && w.Settle == nil {
			o.Settle = defaultSettle // the last event may come twice too
		}
	}
	return bad
}

// sends tells whether the check sends messages of its own.
func (w *WebSocket) sends() bool {
	return len(w.Send)+len(w.SendBinary) > 0 || slices.ContainsFunc(w.Steps, func(s WebSocketStep) bool {
		return s.Send != "" || s.SendBinary != ""
	})
}

// stepCompiler compiles steps one after the other; its scope grows by what they
// capture.
type stepCompiler struct {
	net *probe.Network
	*scope
}

func (c *stepCompiler) compile(s *WebSocketStep, path string) (step wsprobe.Step, bad []probe.Problem) {
	n := 0
	for _, set := range []bool{s.Send != "", s.SendBinary != "", s.Expect != nil, s.ExpectEvents != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return step, []probe.Problem{{Path: path, Text: fmt.Sprintf("the step sets %d of send, send_binary, expect and expect_events, want exactly one", n)}}
	}
	var err error
	switch {
	case s.Send != "":
		path += ".send"
		var t *messageTemplate
		if t, err = parseTemplate(s.Send, c.vars, nil); err == nil {
			step.Send = func(v *wsprobe.Vars) (wsprobe.Message, error) {
				text, err := t.execute(v)
				return wsprobe.Message{Data: []byte(text)}, err
			}
		}
	case s.SendBinary != "":
		path += ".send_binary"
		var b []byte
		if b, err = hex.DecodeString(strings.ReplaceAll(s.SendBinary, " ", "")); err != nil {
			err = fmt.Errorf("%q is not hex: %w", s.SendBinary, err)
		}
		step.Send = func(*wsprobe.Vars) (wsprobe.Message, error) { return wsprobe.Message{Binary: true, Data: b}, nil }
	case s.Expect != nil:
		step.Within = time.Duration(s.Expect.Within)
		step.Expect, bad = c.expect(s.Expect, path+".expect")
	default:
		step.Within = time.Duration(s.ExpectEvents.Within)
		step.Events, bad = c.events(s.ExpectEvents, path+".expect_events")
	}
	if err != nil {
		bad = append(bad, probe.Problem{Path: path, Text: err.Error()})
	}
	return step, bad
}

// verdict says what was wanted of a message that is wrong, or "".
type verdict = func(ctx context.Context, payload []byte, v *wsprobe.Vars) (want string)

func (c *stepCompiler) expect(e *WebSocketStepExpect, path string) (verdict, []probe.Problem) {
	var bad []probe.Problem
	match, err := c.match(e)
	if err != nil {
		bad = append(bad, probe.Problem{Path: path, Text: err.Error()})
	}
	vars := c.vars
	captures, more := c.captures(c.net, e.Capture, path)
	bad = append(bad, more...)
	return func(ctx context.Context, payload []byte, v *wsprobe.Vars) string {
		if want := match(ctx, payload, v); want != "" || len(captures) == 0 {
			return want
		}
		doc, err := decodeJSON(payload)
		if err != nil {
			return "JSON to capture " + captures[0].name + " from"
		}
		return c.keep(captures, v, func(expr *jq) any { return expr.value(ctx, doc, values(vars, v)...) })
	}, bad
}

func (c *stepCompiler) match(e *WebSocketStepExpect) (verdict, error) {
	vars := c.vars
	switch {
	case e.JQ != "" && e.Text != "":
		return nil, errors.New("jq and text are both set, want one of them")
	case e.Text != "":
		t, err := parseTemplate(e.Text, vars, nil)
		if err != nil {
			return nil, err
		}
		return func(_ context.Context, payload []byte, v *wsprobe.Vars) string {
			text, err := t.execute(v)
			switch {
			case err != nil:
				return err.Error()
			case !strings.Contains(string(payload), text):
				return "a message that contains " + strconv.Quote(text)
			}
			return ""
		}, nil
	case e.JQ == "":
		return func(context.Context, []byte, *wsprobe.Vars) string { return "" }, nil
	}
	expr, err := compileJQ(c.net, e.JQ, vars...)
	if err != nil {
		return nil, err
	}
	want := "jq " + strconv.Quote(e.JQ) + " to be true"
	return func(ctx context.Context, payload []byte, v *wsprobe.Vars) string {
		doc, err := decodeJSON(payload)
		if err != nil {
			return want + ", the message is not JSON"
		}
		if seen, ok := expr.holds(ctx, doc, values(vars, v)...); !ok {
			return want + ", " + seen
		}
		return ""
	}, nil
}

func (c *stepCompiler) events(e *WebSocketEvents, path string) (*wsprobe.Events, []probe.Problem) {
	vars := c.vars
	var bad []probe.Problem
	var exprs []*jq
	for i, text := range e.Of {
		expr, err := compileJQ(c.net, text, vars...)
		if err != nil {
			bad = append(bad, probe.Problem{Path: fmt.Sprintf("%s.of[%d]", path, i), Text: err.Error()})
		}
		exprs = append(exprs, expr)
	}
	if len(e.Of) == 0 {
		bad = append(bad, probe.Problem{Path: path + ".of", Text: "there is no event, want at least one"})
	}
	if e.AtLeast < 0 || e.AtLeast > len(e.Of) {
		bad = append(bad, probe.Problem{Path: path + ".at_least", Text: fmt.Sprintf("%d, want 1 to %d: the number of events in of", e.AtLeast, len(e.Of))})
	}
	var key *jq
	if e.Key != "" {
		var err error
		if key, err = compileJQ(c.net, e.Key, vars...); err != nil {
			bad = append(bad, probe.Problem{Path: path + ".key", Text: err.Error()})
		}
		if !e.NoDuplicates {
			bad = append(bad, probe.Problem{Path: path + ".key", Text: "this means nothing without no_duplicates: true"})
		}
	}
	return &wsprobe.Events{
		Names: eventNames(e.Of), AtLeast: e.AtLeast, Ordered: e.Ordered, NoDuplicates: e.NoDuplicates,
		Recognise: func(ctx context.Context, payload []byte, v *wsprobe.Vars) (hits []int, id string) {
			doc, err := decodeJSON(payload)
			if err != nil {
				return nil, ""
			}
			vals := values(vars, v)
			for i, expr := range exprs {
				if _, ok := expr.holds(ctx, doc, vals...); ok {
					hits = append(hits, i)
				}
			}
			if key != nil && len(hits) > 0 {
				id = jsonText(key.value(ctx, doc, vals...))
			}
			return hits, id
		},
	}, bad
}

// eventNames are what messages call events: the text that .type is compared
// with, where an expression is only that, else the expression.
func eventNames(of []string) []string {
	names := make([]string, len(of))
	for i, text := range of {
		names[i] = text
		left, right, ok := strings.Cut(text, "==")
		if name, err := strconv.Unquote(strings.TrimSpace(right)); ok && err == nil && plainPath(strings.TrimSpace(left)) != nil {
			names[i] = name
		}
	}
	return names
}

func isVariable(name string) bool {
	for i, c := range []byte(name) {
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && name != "ENV" && name != "__loc__"
}
