package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Errors is everything that is wrong with a config file, in the order of its
// lines. It holds no secret: neither the texts nor the source lines.
type Errors struct {
	Name string  // of the file
	List []Error // never empty, at most 200
	More int     // how many there are besides
}

// Error is one thing that is wrong, and where.
type Error struct {
	Line, Column int    // from 1; 0 is the file as a whole
	Text         string // what was seen and what was wanted
	Source       string // the source line, secrets left out; "" if it is too long to show
	Caret        string // marks below Source what is wrong
}

// maxShown is how many errors are spelled out; more than that have one cause.
const maxShown = 200

// Error lists all errors, each with its source line and a caret:
//
//	config.yaml:14:5: unknown key "intervall", did you mean "every"? want one of name, group, ...
//	   14 |     intervall: 1m
//	      |     ^^^^^^^^^
func (e *Errors) Error() string {
	var b strings.Builder
	for i, one := range e.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		switch {
		case one.Line == 0:
			fmt.Fprintf(&b, "%s: %s", e.Name, one.Text)
		case one.Source == "":
			fmt.Fprintf(&b, "%s:%d:%d: %s", e.Name, one.Line, one.Column, one.Text)
		default:
			number := strconv.Itoa(one.Line)
			fmt.Fprintf(&b, "%s:%d:%d: %s\n%5s | %s\n%*s | %s", e.Name, one.Line, one.Column, one.Text,
				number, one.Source, max(5, len(number)), "", one.Caret)
		}
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\n%s: and %d more errors", e.Name, e.More)
	}
	return b.String()
}

// blank returns white space as wide as text: tabs stay tabs.
func blank(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, text)
}

// cutAround returns a long line around its column (in characters, from 0), and
// what stands before the column in it.
func cutAround(line string, column int) (cut, before string) {
	const left, limit = 60, 160 // characters
	runes := []rune(line)
	column = min(column, len(runes))
	if len(runes) <= limit {
		return line, string(runes[:column])
	}
	from := max(0, column-left)
	to := min(len(runes), from+limit)
	prefix, suffix := "", ""
	if from > 0 {
		prefix = "..."
	}
	if to < len(runes) {
		suffix = "..."
	}
	return prefix + string(runes[from:to]) + suffix, prefix + string(runes[from:column])
}

// A source is the text of a config file by lines, and what was found wrong.
type source struct {
	name  string
	text  string
	lines []int               // byte offset of each line's first byte
	clean func(string) string // removes secrets
	wrong []mistake
}

// A mistake is an Error before its source line is cut out. A line of 0 is the
// file as a whole, a width of 0 all of what begins at the place.
type mistake struct {
	line, column, width int
	text                string
}

// add records what is wrong at a place.
func (s *source) add(line, column, width int, text string) {
	s.wrong = append(s.wrong, mistake{line, column, width, text})
}

// errors returns what was recorded as an error, in the order of the places and
// each once; nil if there is nothing.
func (s *source) errors() error {
	if len(s.wrong) == 0 {
		return nil
	}
	slices.SortStableFunc(s.wrong, func(a, b mistake) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	wrong := slices.Compact(s.wrong)
	e := &Errors{Name: s.name}
	for i, m := range wrong {
		if i == maxShown {
			e.More = len(wrong) - i
			break
		}
		e.List = append(e.List, s.show(m))
	}
	return e
}

// The longest texts that are shown.
const (
	maxText = 4000 // bytes
	maxLine = 2000 // bytes; whether all of a longer line is free of secrets is hard to say
)

// show makes an Error of a mistake, with its source line.
func (s *source) show(m mistake) Error {
	if len(m.text) > maxText {
		m.text = strings.ToValidUTF8(m.text[:maxText], "") + "..."
	}
	e := Error{Text: printable(s.clean(m.text))}
	if m.line == 0 {
		return e
	}
	e.Line = min(m.line, len(s.lines))
	raw := s.line(e.Line)
	if len(raw) > maxLine {
		e.Column = max(m.column, 1)
		return e
	}
	e.Column = min(max(m.column, 1), utf8.RuneCountInString(raw)+1)
	runes := []rune(raw)
	before := string(runes[:e.Column-1])
	width := m.width
	if width == 0 {
		width = extent(string(runes[e.Column-1:]), before)
	}
	shown := s.clean(s.masked(e.Line))
	if shown != raw && !strings.HasPrefix(shown, before) { // something was masked before the place
		if before = s.clean(before); !strings.HasPrefix(shown, before) {
			before = ""
		}
	}
	line, before := cutAround(printable(shown), utf8.RuneCountInString(before))
	width = max(1, min(width, utf8.RuneCountInString(line)-utf8.RuneCountInString(before)))
	e.Source, e.Caret = line, blank(before)+strings.Repeat("^", width)
	return e
}

// printable replaces what a terminal might obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' || 0x7f <= r && r < 0xa0 || r == 0x2028 || r == 0x2029 {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

func newSource(name, text string) *source {
	s := &source{name: name, text: text, lines: make([]int, 1, strings.Count(text, "\n")+2), clean: func(t string) string { return t }}
	for i := 0; i < len(text); {
		n := breakLen(text[i:])
		if n == 0 {
			i++
			continue
		}
		i += n
		if i < len(text) {
			s.lines = append(s.lines, i)
		}
	}
	return s
}

// breakLen returns the length of the line break that text begins with, 0 if
// there is none: those of YAML 1.1, since the parser counts lines by them.
func breakLen(text string) int {
	switch {
	case strings.HasPrefix(text, "\r\n"):
		return 2
	case text[0] == '\n', text[0] == '\r':
		return 1
	case strings.HasPrefix(text, "\u0085"):
		return 2
	case strings.HasPrefix(text, "\u2028"), strings.HasPrefix(text, "\u2029"):
		return 3
	}
	return 0
}

// line returns line n, from 1, without its break.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	text := s.text[s.lines[n-1]:]
	for i := range text {
		if breakLen(text[i:]) > 0 {
			return text[:i]
		}
	}
	return text
}

// offset returns the byte offset of a place, counted in characters from 1.
func (s *source) offset(line, column int) int {
	text := s.line(line)
	at := 0
	for range column - 1 {
		_, n := utf8.DecodeRuneInString(text[at:])
		at += n
	}
	return s.lines[min(line, len(s.lines))-1] + at
}

// place returns the line and column of a byte offset.
func (s *source) place(offset int) (line, column int) {
	line, found := slices.BinarySearch(s.lines, offset)
	if found {
		line++
	}
	return line, utf8.RuneCountInString(s.text[s.lines[line-1]:offset]) + 1
}

// masked returns a line without what may be a secret.
func (s *source) masked(n int) string {
	line, cut := maskLine(s.line(n))
	if cut {
		return line
	}
	// The line may go on with the value of a key above it.
	indent := len(line) - len(strings.TrimLeft(line, " \t"))
	for above := n - 1; above > 0 && above > n-100; above-- {
		text := s.line(above)
		key, value, ok := strings.Cut(text, ":")
		if !ok {
			continue
		}
		value = strings.TrimSpace(value)
		if looksSecret(key) && len(text)-len(strings.TrimLeft(text, " \t")) < indent && (value == "" || strings.ContainsAny(value[:1], "|>\"'")) {
			return line[:indent] + "***"
		}
		break
	}
	return line
}

// extent tells how many characters the key or value takes that text begins
// with; before is what precedes it on its line.
func extent(text, before string) int {
	if text == "" {
		return 1
	}
	if quote := text[0]; quote == '"' || quote == '\'' {
		if i := strings.IndexByte(text[1:], quote); i >= 0 {
			return utf8.RuneCountInString(text[:i+2])
		}
	}
	end := len(text)
	ends := []string{": ", " #", "\t#"}
	if strings.ContainsAny(before, "{[") {
		ends = append(ends, ", ", "}", "]")
	}
	if strings.HasPrefix(text, "${") {
		ends = []string{"}"}
		if n := closing(text); n > 0 {
			return utf8.RuneCountInString(text[:n])
		}
	}
	for _, e := range ends {
		if i := strings.Index(text, e); i > 0 {
			end = min(end, i)
		}
	}
	return utf8.RuneCountInString(strings.TrimSuffix(strings.TrimRight(text[:end], " \t"), ":"))
}
