package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// An expander replaces references in scalar values:
//
//	${NAME}            the environment variable NAME; an error if it is unset or empty
//	${NAME:-default}   the same with a default, which may hold references itself
//	${file:PATH}       the contents of a file, trailing line breaks left out
//	$$                 a literal $
//
// Any other $ stands for itself, so that regular expressions and jq need no
// escapes. What a reference yields is never expanded again.
type expander struct {
	lookup   func(string) (string, bool)
	readFile func(string) ([]byte, error)
	secret   func(string)             // told every value that must never be shown
	files    map[string]fileValue     // each file is read once
	public   func(name, value string) // told every other value
}

type fileValue struct {
	text string
	err  error
}

// A refError is a reference that has no value. At is the byte offset of Ref in
// the text that was expanded; Unset tells that the variable has no value.
type refError struct {
	At    int
	Ref   string
	Text  string
	Unset bool
}

const (
	maxNesting = 8       // of references within defaults
	maxValue   = 1 << 20 // bytes that one ${file:} may hold
	wantRef    = "want ${NAME}, ${NAME:-default}, ${file:PATH}, or $$ for a literal $"
)

// expand returns text with its references replaced, and what is wrong with
// them. A reference with an error is replaced by nothing.
func (x *expander) expand(text string) (string, []refError) {
	if !strings.Contains(text, "$") {
		return text, nil
	}
	return x.expandNested(text, 0, 0)
}

func (x *expander) expandNested(text string, base, depth int) (string, []refError) {
	var b strings.Builder
	var errs []refError
	for i := 0; i < len(text); {
		j := strings.IndexByte(text[i:], '$')
		if j < 0 || i+j+1 == len(text) {
			b.WriteString(text[i:])
			break
		}
		b.WriteString(text[i : i+j])
		i += j
		switch text[i+1] {
		case '$':
			b.WriteByte('$')
			i += 2
		case '{':
			n := closing(text[i:])
			if n < 0 {
				errs = append(errs, refError{At: base + i, Ref: text[i:], Text: fmt.Sprintf("%q has no closing }, %s", short(text[i:]), wantRef)})
				return b.String(), errs
			}
			value, inner := x.reference(text[i:i+n], base+i, depth)
			b.WriteString(value)
			errs = append(errs, inner...)
			i += n
		default:
			b.WriteByte('$')
			i++
		}
	}
	return b.String(), errs
}

// reference returns the value of one ${...}.
func (x *expander) reference(ref string, at, depth int) (string, []refError) {
	fail := func(unset bool, format string, args ...any) (string, []refError) {
		return "", []refError{{At: at, Ref: ref, Unset: unset, Text: fmt.Sprintf(format, args...)}}
	}
	if depth == maxNesting {
		return fail(false, "references are nested deeper than %d", maxNesting)
	}
	body := ref[2 : len(ref)-1]
	if path, ok := strings.CutPrefix(body, "file:"); ok {
		path, errs := x.expandNested(path, at+len("${file:"), depth+1)
		if errs != nil {
			return "", errs
		}
		f := x.file(path)
		if f.err != nil {
			return fail(false, "%q: %s, want a readable file", short(path), strings.TrimPrefix(f.err.Error(), path+": "))
		}
		return f.text, nil
	}
	name, fallback, hasFallback := strings.Cut(body, ":-")
	if !isVariable(name) {
		return fail(false, "%q is no reference, %s", short(ref), wantRef)
	}
	value, ok := x.lookup(name)
	switch {
	case value != "":
		if looksSecret(name) {
			x.secret(value)
		} else {
			x.public(name, value)
		}
		return value, nil
	case hasFallback:
		return x.expandNested(fallback, at+len("${")+len(name)+len(":-"), depth+1)
	case ok:
		return fail(true, "the variable %s is empty, want a value; ${%s:-} allows none", name, name)
	default:
		return fail(true, "the variable %s is not set, want a value or a default such as ${%s:-...}", name, name)
	}
}

// file reads a file whose contents stand for a value, and are a secret.
func (x *expander) file(path string) fileValue {
	if f, ok := x.files[path]; ok {
		return f
	}
	f := x.read(path)
	if f.err == nil {
		x.secret(f.text)
	}
	x.files[path] = f
	return f
}

func (x *expander) read(path string) fileValue {
	if path == "" {
		return fileValue{err: fmt.Errorf("no file name")}
	}
	b, err := x.readFile(path)
	switch {
	case err != nil:
		return fileValue{err: err}
	case len(b) > maxValue:
		return fileValue{err: fmt.Errorf("%d bytes, want at most %d", len(b), maxValue)}
	case !utf8.Valid(b):
		return fileValue{err: fmt.Errorf("not UTF-8 text")}
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return fileValue{err: fmt.Errorf("the file is empty")}
	}
	return fileValue{text: text}
}

// closing returns the length of the ${...} that text begins with, -1 if it has no end.
func closing(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], "$$"):
			i++
		case strings.HasPrefix(text[i:], "${"):
			depth++
			i++
		case text[i] == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// isVariable tells whether name can be the name of an environment variable.
func isVariable(name string) bool {
	for i, r := range name {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != ""
}

// short cuts text for a message.
func short(text string) string {
	const limit = 60
	if len(text) <= limit {
		return text
	}
	n := limit
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "..."
}
