package config

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxSize is the largest config file in bytes.
const MaxSize = 16 << 20

// parse returns the one document of the file, nil if it is wrong.
func (s *source) parse() *yaml.Node {
	if len(s.text) > MaxSize {
		s.add(0, 0, 0, fmt.Sprintf("%d bytes, want at most %d", len(s.text), MaxSize))
		return nil
	}
	if !s.characters() {
		return nil
	}
	dec := yaml.NewDecoder(strings.NewReader(s.text))
	doc, err := next(dec)
	switch {
	case errors.Is(err, io.EOF), err == nil && isNull(doc.Content[0]) && doc.Content[0].Value == "":
		s.add(0, 0, 0, "the file is empty, want at least version: 1 and a list of checks")
		return nil
	case err != nil:
		s.syntax(err)
		return nil
	}
	second, err := next(dec)
	switch {
	case errors.Is(err, io.EOF):
		return doc.Content[0]
	case err != nil:
		s.syntax(err)
		return nil
	}
	line := second.Line
	for line > 1 && !strings.HasPrefix(s.line(line), "---") {
		line--
	}
	s.add(line, 1, 0, "a second document begins here, want one file with one document")
	return nil
}

// next reads one document. The parser is not ours: a bug in it must not end the program.
func next(dec *yaml.Decoder) (doc *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the YAML parser panicked: %v", p)
		}
	}()
	doc = new(yaml.Node)
	if err := dec.Decode(doc); err != nil {
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, io.EOF
	}
	return doc, nil
}

// characters reports the first thing that is no text.
func (s *source) characters() bool {
	for i, r := range s.text {
		text := ""
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s.text[i:], "\uFFFD"):
			text = fmt.Sprintf("byte 0x%02x is not UTF-8, want a UTF-8 text file", s.text[i])
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f, 0x80 <= r && r < 0xa0 && r != 0x85, r == 0xfeff, r == 0xfffe, r == 0xffff:
			text = fmt.Sprintf("control character %U, want a UTF-8 text file", r)
		default:
			continue
		}
		line, column := s.place(i)
		s.add(line, column, 1, text)
		return false
	}
	return true
}

// syntax reports what the YAML parser says. The line that it names
// is often that of the block around, so the line at which the text stops being
// the beginning of a YAML file is looked for.
func (s *source) syntax(err error) {
	line, text := withoutLine(err.Error())
	if n := s.firstBad(); n > 0 {
		line = n
	}
	line = min(max(line, 1), len(s.lines))
	raw := s.line(line)
	indent := raw[:len(raw)-len(strings.TrimLeft(raw, " \t"))]
	if strings.Contains(indent, "\t") {
		s.add(line, strings.IndexByte(indent, '\t')+1, 1, "a tab in the indentation, want spaces")
		return
	}
	s.add(line, len(indent)+1, max(1, utf8.RuneCountInString(raw)-len(indent)), "no valid YAML: "+text+hint(text, raw))
}

// hint adds what most often is the cause.
func hint(problem, line string) string {
	switch {
	case strings.Contains(problem, "mapping values are not allowed"):
		return "; a value that holds \": \" wants quotes, and keys of one block the same indentation"
	case strings.Contains(problem, "did not find expected key"), strings.Contains(problem, "did not find expected '-'"),
		strings.Contains(problem, "could not find expected ':'"):
		return "; want the same indentation for all keys of a block, and quotes around special characters"
	case strings.Contains(problem, "found character that cannot start any token") && strings.ContainsAny(line, "@`%"):
		return "; a value that begins with @, ` or % wants quotes"
	case strings.Contains(problem, "did not find expected ','") && strings.Contains(line, "${"):
		return "; within { } and [ ] a reference wants quotes, such as \"${NAME}\""
	case strings.Contains(problem, "unexpected end of stream"):
		return "; a quote is not closed"
	}
	return ""
}

// firstBad returns the first line with which the text stops being the
// beginning of a YAML file, 0 if that would take too long. It halves the
// range; a value of several lines makes good beginnings look bad in its
// middle, so it looks some lines ahead before it trusts a bad one.
func (s *source) firstBad() int {
	const ahead = 20
	budget := 24 << 20 // bytes to parse, about half a second
	good := func(lines int) bool {
		end := len(s.text)
		if lines < len(s.lines) {
			end = s.lines[lines]
		}
		if budget -= end + 1; budget < 0 {
			return false
		}
		dec := yaml.NewDecoder(strings.NewReader(s.text[:end]))
		for {
			if _, err := next(dec); err != nil {
				return errors.Is(err, io.EOF)
			}
		}
	}
	for from := 0; budget >= 0; {
		low, high := from, len(s.lines) // so many lines are good, so many are not
		for high-low > 1 {
			if mid := (low + high) / 2; good(mid) {
				low = mid
			} else {
				high = mid
			}
		}
		from = 0
		for n := high + 1; n <= min(high+ahead, len(s.lines)-1); n++ {
			if good(n) {
				from = n
			}
		}
		if from == 0 && budget >= 0 {
			return high
		}
	}
	return 0
}
