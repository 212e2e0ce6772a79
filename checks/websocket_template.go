package checks

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/tripline/tripline/checks/wsprobe"
)

// messageTemplate is a text with values of a session in it. It is a text/template
// with few functions and without control structures: it always ends, and is
// about as long as what is put into it.
type messageTemplate struct {
	text   string
	t      *template.Template  // nil if there is nothing to fill in
	escape func(string) string // of captured values; nil leaves them as they are
}

const templateHelp = "want {{nonce}}, {{session}}, {{number}}, {{uuid}}, {{now}}, {{.name}} or {{json .name}} with a captured value"

// parseTemplate compiles text. vars are the variables known, such as $session.
// escape makes captured values fit where they are put; nil leaves them as they are.
func parseTemplate(text string, vars []string, escape func(string) string) (*messageTemplate, error) {
	if !strings.Contains(text, "{{") {
		return &messageTemplate{text: text}, nil
	}
	t, err := template.New("").Option("missingkey=error").Funcs(templateFuncs(&wsprobe.Vars{})).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("this is no template: %s; %s", strings.TrimPrefix(err.Error(), "template: :"), templateHelp)
	}
	if len(t.Templates()) > 1 || t.Tree == nil {
		return nil, errors.New("define and block are not for messages; " + templateHelp)
	}
	sample := &wsprobe.Vars{Captured: map[string]any{}}
	for _, v := range vars[len(stepVars()):] {
		sample.Captured[v[1:]] = ""
	}
	for _, n := range t.Root.Nodes {
		if err := allowedNode(n, sample.Captured); err != nil {
			return nil, err
		}
	}
	m := &messageTemplate{text, t, escape}
	if _, err := m.execute(sample); err != nil {
		return nil, err
	}
	return m, nil
}

// allowedNode refuses what is not plain text or one value.
func allowedNode(n parse.Node, captured map[string]any) error {
	a, ok := n.(*parse.ActionNode)
	if !ok {
		if n.Type() == parse.NodeText {
			return nil
		}
		return fmt.Errorf("%.60q is not for messages; %s", n.String(), templateHelp)
	}
	if len(a.Pipe.Decl) > 0 {
		return fmt.Errorf("%.60q: variables are not for messages; %s", n.String(), templateHelp)
	}
	for _, cmd := range a.Pipe.Cmds {
		for _, arg := range cmd.Args {
			switch arg := arg.(type) {
			case *parse.IdentifierNode:
				if _, ours := templateFuncs(nil)[arg.Ident]; ours {
					continue
				}
			case *parse.FieldNode:
				if _, known := captured[arg.Ident[0]]; !known {
					return fmt.Errorf("%s is captured by no step before this one", n.String())
				}
				if len(arg.Ident) == 1 {
					continue
				}
			}
			return fmt.Errorf("%.60q is not for messages; %s", n.String(), templateHelp)
		}
	}
	return nil
}

// templateFuncs are the functions of a template for one session.
func templateFuncs(v *wsprobe.Vars) template.FuncMap {
	return template.FuncMap{
		"nonce":   func() string { return v.Nonce },
		"session": func() string { return v.Session },
		"number":  func() int { return v.Number },
		"uuid":    newUUID,
		"now":     func() string { return time.Now().UTC().Format(time.RFC3339Nano) },
		"json": func(s string) (string, error) {
			b, err := json.Marshal(s)
			return string(b), err
		},
	}
}

// newUUID makes a random UUID (version 4, RFC 9562 §5.4).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// execute fills in the values of a session.
func (m *messageTemplate) execute(v *wsprobe.Vars) (string, error) {
	if m.t == nil {
		return m.text, nil
	}
	t, err := m.t.Clone() // since its functions are those of one session
	if err != nil {
		return "", fmt.Errorf("template: %w", err)
	}
	captured := make(map[string]string, len(v.Captured))
	for name, value := range v.Captured {
		if captured[name] = captureText(value); m.escape != nil {
			captured[name] = m.escape(captured[name])
		}
	}
	var b strings.Builder
	if err := t.Funcs(templateFuncs(v)).Execute(&b, captured); err != nil {
		return "", fmt.Errorf("this is no template: %s; %s", strings.TrimPrefix(err.Error(), "template: :"), templateHelp)
	}
	return b.String(), nil
}

// captureText is a captured value as text: a string as it is, others as JSON.
func captureText(value any) string {
	if s, ok := value.(string); ok {
		return s
	}
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(b)
}
