package checks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"regexp"
	"strings"

	"github.com/itchyny/gojq"

	"github.com/tripline/tripline/checks/probe"
)

// jq is a compiled jq expression.
type jq struct {
	text  string
	query *gojq.Query
	code  *gojq.Code
	path  []string // the keys, if text is a plain path such as .db.version
	clean *probe.Redactor
	vars  []string // the names of the variables that it may use, such as $session
}

// compileJQ compiles text, once for all checks that use it. It may use the given
// variables, whose values are passed in that order whenever it is evaluated.
func compileJQ(n *probe.Network, text string, vars ...string) (*jq, error) {
	return probe.Shared(n, "jq:"+strings.Join(vars, ",")+":"+text, func() (*jq, error) {
		query, err := gojq.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no jq expression: %w", text, err)
		}
		code, err := gojq.Compile(query, gojq.WithVariables(vars))
		if err != nil {
			return nil, fmt.Errorf("%q is no jq expression: %w", text, err)
		}
		return &jq{text, query, code, plainPath(text), n.Redactor(), vars}, nil
	})
}

// plainPath splits expressions such as .db.version, which need no interpreter;
// nil for others.
func plainPath(text string) []string {
	if !strings.HasPrefix(text, ".") {
		return nil
	}
	keys := strings.Split(text[1:], ".")
	for _, k := range keys {
		for i, c := range []byte(k) {
			if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
				return nil
			}
		}
		if k == "" {
			return nil
		}
	}
	return keys
}

// compileAll compiles a list of expressions.
func compileAll(n *probe.Network, path string, list probe.List, vars ...string) (all []*jq, problems []probe.Problem) {
	for i, text := range list {
		j, err := compileJQ(n, text, vars...)
		if err != nil {
			problems = append(problems, probe.Problem{Path: fmt.Sprintf("%s[%d]", path, i), Text: err.Error()})
		}
		all = append(all, j)
	}
	return all, problems
}

func compileRegexp(n *probe.Network, text string) (*regexp.Regexp, error) {
	return probe.Shared(n, "regexp:"+text, func() (*regexp.Regexp, error) {
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, fmt.Errorf("%q is no regular expression: %w", text, err)
		}
		return re, nil
	})
}

// holds says whether every value that the expression gives for input is true,
// and there is one; if not, what was seen instead.
func (j *jq) holds(ctx context.Context, input any, values ...any) (seen string, ok bool) {
	iter := j.code.RunWithContext(ctx, input, values...)
	v, some := iter.Next()
	if !some {
		return "it gives no value", false
	}
	for ; some; v, some = iter.Next() {
		if err, isErr := v.(error); isErr {
			return strings.TrimSpace(err.Error()), false
		}
		if v != true {
			return j.explain(ctx, input, v, values), false
		}
	}
	return "", true
}

// explain says what made the expression give v: the value on the left of the
// comparison that failed, where it is one.
func (j *jq) explain(ctx context.Context, input, v any, values []any) string {
	q := j.query
	for q.Op == gojq.OpAnd { // the first part that is not true decided
		part := q.Left
		if j.first(ctx, part, input, values) == true {
			part = q.Right
		}
		q = part
	}
	switch q.Op {
	case gojq.OpEq, gojq.OpNe, gojq.OpGt, gojq.OpLt, gojq.OpGe, gojq.OpLe:
		if left := j.first(ctx, q.Left, input, values); left != nil || q.Left.String() != "null" {
			return q.Left.String() + " is " + j.shown(left)
		}
	}
	return "it is " + j.shown(v)
}

// first returns the first value that q, a part of j, gives for input; an error is
// a value.
func (j *jq) first(ctx context.Context, q *gojq.Query, input any, values []any) any {
	code, err := gojq.Compile(q, gojq.WithVariables(j.vars))
	if err != nil {
		return err
	}
	v, _ := code.RunWithContext(ctx, input, values...).Next()
	return v
}

// value returns the first value of the expression; nil if it is null, an error
// or none.
func (j *jq) value(ctx context.Context, input any, values ...any) any {
	if j.path != nil {
		for _, k := range j.path {
			object, _ := input.(map[string]any)
			input = object[k]
		}
		return input
	}
	v, _ := j.code.RunWithContext(ctx, input, values...).Next()
	if _, isErr := v.(error); isErr {
		return nil
	}
	return v
}

// shown returns v as JSON without secrets, cut to a length that fits a reason.
func (j *jq) shown(v any) string {
	const most = 83
	if err, ok := v.(error); ok {
		return "an error: " + err.Error()
	}
	text := jsonText(v)
	if len(text) > most {
		return j.clean.Excerpt([]byte(text), most)
	}
	return text
}

// jsonText returns v as JSON.
func jsonText(v any) string {
	b, err := gojq.Marshal(v)
	if err != nil {
		return fmt.Sprintf("a %T", v)
	}
	return string(b)
}

// number returns v as a finite number.
func number(v any) (f float64, ok bool) {
	switch n := v.(type) {
	case int:
		f = float64(n)
	case float64:
		f = n
	case *big.Int:
		f, _ = new(big.Float).SetInt(n).Float64()
	case json.Number:
		x, err := n.Float64()
		if err != nil {
			return 0, false
		}
		f = x
	default:
		return 0, false
	}
	return f, !math.IsInf(f, 0) && !math.IsNaN(f)
}

// decodeJSON decodes one JSON value, with numbers as they are written.
func decodeJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("it ends early")
		}
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more follows the first value")
	}
	return v, nil
}

// notJSON is the reason for a body that conditions cannot be asked of.
func notJSON(r *probe.Redactor, body []byte, err error) string {
	if len(body) == 0 {
		return "the body is empty, want JSON"
	}
	return fmt.Sprintf("the body is not JSON (%v): it begins %s", err, r.Quote(body, 60))
}
