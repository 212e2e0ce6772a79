package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A decoder fills Go values from YAML nodes. yaml.v3 does the same, but it
// tells neither columns nor what was wanted, and accepts several things in
// silence: a kind with a null body, a fraction for an integer, "yes" for true.
type decoder struct {
	src      *source
	expand   *expander
	secret   func(string)
	bad      map[*yaml.Node]bool // reported already, or without a value: nothing more is said of it
	expanded map[*yaml.Node]bool // values that held references
	off      map[*yaml.Node]string
	seed     func(reflect.Value) // puts defaults into the settings of a kind, before they are filled
	structs  map[reflect.Type]*structInfo
	merged   map[*yaml.Node][]pair // what mappings with merge keys hold
	depth    int
	inAlias  int // how many aliases the current node is inside of
	aliased  int // values that came from aliases so far
}

const (
	maxDepth   = 64      // of nesting
	maxAliased = 200_000 // values that all aliases together may stand for
)

// fail reports what is wrong with the value n.
func (d *decoder) fail(n *yaml.Node, format string, args ...any) {
	d.bad[n] = true
	d.src.add(n.Line, n.Column, 0, fmt.Sprintf(format, args...))
}

// A structInfo is what the decoder knows of a struct type.
type structInfo struct {
	keys   []string         // in the order of the fields
	fields map[string][]int // index of each key's field
}

func (d *decoder) info(t reflect.Type) *structInfo {
	if s := d.structs[t]; s != nil {
		return s
	}
	s := &structInfo{fields: map[string][]int{}}
	s.add(t, nil)
	d.structs[t] = s
	return s
}

func (s *structInfo) add(t reflect.Type, index []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(slices.Clip(index), i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case strings.Contains(options, "inline"):
			s.add(f.Type, at)
		case key != "" && key != "-" && f.IsExported():
			s.keys = append(s.keys, key)
			s.fields[key] = at
		}
	}
}

// decode fills v, which is settable, from n. name is the key for messages.
func (d *decoder) decode(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind == yaml.AliasNode {
		d.inAlias++
		defer func() { d.inAlias-- }()
		n = n.Alias
	}
	if d.bad[n] || !d.enter(n) {
		return
	}
	defer func() { d.depth-- }()
	if isNull(n) {
		none := "or leave the key out"
		if v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct {
			none = "or {} for none" // a kind of its own, such as log: {}
		}
		d.fail(n, "%s has no value, want %s, %s", name, wanted(v.Type()), none)
		return
	}
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			p.Elem().Set(v.Elem()) // a default, which others share
		} else if p.Elem().Kind() == reflect.Struct {
			d.seed(p.Elem())
		}
		d.decode1(n, p.Elem(), name)
		v.Set(p)
		return
	}
	d.decode1(n, v, name)
}

// enter counts a value; it is false where a bound is passed.
func (d *decoder) enter(n *yaml.Node) bool {
	if d.depth >= maxDepth {
		d.fail(n, "nested deeper than %d levels", maxDepth)
		return false
	}
	if d.inAlias > 0 && !d.spend(n) {
		return false
	}
	d.depth++
	return true
}

// spend counts a value that came through an alias; it is false when there were too many.
func (d *decoder) spend(n *yaml.Node) bool {
	d.aliased++
	if d.aliased == maxAliased+1 {
		d.fail(n, "the aliases stand for more than %d values", maxAliased)
	}
	return d.aliased <= maxAliased
}

func (d *decoder) decode1(n *yaml.Node, v reflect.Value, name string) {
	if d.custom(n, v, name) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(n, v, name)
	case reflect.Map:
		d.decodeMap(n, v, name)
	case reflect.Slice:
		d.decodeSlice(n, v, name)
	default:
		d.decodeScalar(n, v, name)
	}
}

// custom decodes types that read their own text.
func (d *decoder) custom(n *yaml.Node, v reflect.Value, name string) bool {
	var err error
	switch u := v.Addr().Interface().(type) {
	case yaml.Unmarshaler, interface{ UnmarshalYAML(func(any) error) error }:
		err = n.Decode(u)
	case encoding.TextUnmarshaler:
		if n.Kind != yaml.ScalarNode {
			d.fail(n, "%s: %s, want %s", name, found(n), wanted(v.Type()))
			return true
		}
		err = u.UnmarshalText([]byte(n.Value))
	default:
		return false
	}
	if err == nil {
		return true
	}
	texts := []string{err.Error()}
	if types, ok := errors.AsType[*yaml.TypeError](err); ok {
		texts = types.Errors
	}
	for _, text := range texts {
		line, text := withoutLine(text)
		at := n
		if d.inAlias == 0 && line > 0 {
			at = lineBelow(n, line)
		}
		d.fail(at, "%s: %s", name, text)
	}
	d.bad[n] = true
	return true
}

// withoutLine splits the line that yaml.v3 puts before a message from it.
func withoutLine(text string) (line int, rest string) {
	text = strings.TrimPrefix(text, "yaml: ")
	if after, ok := strings.CutPrefix(text, "line "); ok {
		if number, rest, ok := strings.Cut(after, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				return line, rest
			}
		}
	}
	return 0, text
}

// lineBelow returns the first node of a line in n, or n.
func lineBelow(n *yaml.Node, line int) *yaml.Node {
	if n.Line != line {
		for _, c := range n.Content {
			if at := lineBelow(c, line); at.Line == line {
				return at
			}
		}
	}
	return n
}

func (d *decoder) decodeStruct(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s: %s, want keys below it: %s", name, found(n), strings.Join(d.info(v.Type()).keys, ", "))
		return
	}
	info, given := d.info(v.Type()), map[string]bool{}
	var unknown []*yaml.Node
	for _, p := range d.pairs(n) {
		index, ok := info.fields[p.key.Value]
		if !ok {
			unknown = append(unknown, p.key)
			continue
		}
		given[p.key.Value] = true
		d.decode(p.value, v.FieldByIndex(index), p.key.Value)
	}
	for _, key := range unknown {
		d.unknown(key, given, v.Type())
	}
}

func (d *decoder) decodeMap(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, "%s: %s, want %s", name, found(n), wanted(v.Type()))
		return
	}
	// A default is a map that others share.
	m := reflect.MakeMap(v.Type())
	for _, p := range d.pairs(n) {
		e := reflect.New(v.Type().Elem()).Elem()
		d.decode(p.value, e, p.key.Value)
		m.SetMapIndex(reflect.ValueOf(p.key.Value).Convert(v.Type().Key()), e)
	}
	v.Set(m)
}

func (d *decoder) decodeSlice(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, "%s: %s, want %s", name, found(n), wanted(v.Type()))
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.decode(item, s.Index(i), name+"["+strconv.Itoa(i)+"]")
	}
	v.Set(s)
}

func (d *decoder) decodeScalar(n *yaml.Node, v reflect.Value, name string) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, "%s: %s, want %s", name, found(n), wanted(v.Type()))
		return
	}
	// "5" in quotes is text, unless it says what an unquoted reference would.
	plain := n.ShortTag() != "!!str" || d.expanded[n]
	ok := false
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
		ok = true
	case reflect.Bool:
		ok = plain && (n.Value == "true" || n.Value == "false")
		v.SetBool(n.Value == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		ok = plain && err == nil
		v.SetInt(i)
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(n.Value, 64)
		ok = plain && err == nil && !math.IsNaN(f) && !math.IsInf(f, 0)
		v.SetFloat(f)
	default:
		panic("config: no decoder for " + v.Type().String()) // found by the test of all fields
	}
	if !ok {
		want := wanted(v.Type())
		if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && !plain {
			want += " without quotes"
		}
		d.fail(n, "%s: %s, want %s", name, found(n), want)
	}
}

// found says what a node is.
func found(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping of keys"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!str":
		return strconv.Quote(short(n.Value))
	default:
		return short(n.Value)
	}
}

// wanted says what a type is written as.
func wanted(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch name := t.Name(); {
	case strings.HasSuffix(name, "Duration"):
		return "a time with its unit, such as 10s or 1h30m"
	case name == "Hours":
		return "hours, such as Mon-Fri 09:00-18:00 Europe/Berlin"
	case name == "Limit":
		return "a number and s, m or h, such as 60/m"
	case name == "Share":
		return "a percentage, such as 5%"
	case name == "Number":
		return "a number or a percentage, such as 1000 or 33%"
	case name == "Told":
		return "true, false, or when people are told, such as 12m"
	case name == "Size":
		return "a size with its unit, such as 500MB or 4GiB"
	}
	switch t.Kind() {
	case reflect.Struct:
		return "keys below it"
	case reflect.Map:
		return "names and values below it (name: value)"
	case reflect.Slice:
		return "a list (lines that begin with -)"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "text"
	}
}
