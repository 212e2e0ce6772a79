package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks/probe"
)

var update = flag.Bool("update", false, "write what tests compare with")

const module = "github.com/tripline/tripline"

// TestGenerated keeps the schema and the reference true to the structs.
func TestGenerated(t *testing.T) {
	g := newGenerator(t)
	schema := g.schema(t)
	for name, want := range map[string][]byte{
		"schema.json":              schema,
		"../../config.schema.json": schema, // for editors, and to be fetched
		"../../docs/config.md":     g.reference(),
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			if *update {
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, want, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s is not what the structs say, run go generate ./internal/config (-want +got):\n%s", name, diff)
			}
		})
	}
}

// TestEveryKeyIsDocumented: the doc comments are the reference.
func TestEveryKeyIsDocumented(t *testing.T) {
	g := newGenerator(t)
	for _, s := range g.structs {
		if g.comment(s, "") == "" {
			t.Errorf("%s has no doc comment", s)
		}
		for _, f := range keysOf(s) {
			if g.comment(f.owner, f.Name) == "" {
				t.Errorf("%s.%s (key %q) has no doc comment", s, f.Name, f.key)
			}
		}
	}
	if len(g.structs) < 10 {
		t.Errorf("found %d structs below File, want all of them", len(g.structs))
	}
}

// TestEveryKeyCanBeRead: the decoder panics on types that it does not know.
func TestEveryKeyCanBeRead(t *testing.T) {
	d := newLoader(newSource("", ""), &yaml.Node{}, Env{}).decoder
	for _, s := range newGenerator(t).structs {
		for _, f := range keysOf(s) {
			for _, text := range []string{"1", "x", "[]", "[x]", "{}", "{x: y}"} {
				var n yaml.Node
				if err := yaml.Unmarshal([]byte(text), &n); err != nil {
					t.Fatal(err)
				}
				d.decode(n.Content[0], reflect.New(f.Type).Elem(), f.key)
			}
		}
	}
}

// A generator makes the schema and the reference of the structs below File.
type generator struct {
	comments map[string]string
	structs  []reflect.Type // in the order in which the file holds them
	path     map[reflect.Type]string
}

func newGenerator(t *testing.T) *generator {
	t.Helper()
	t.Chdir("../..") // the extractor wants paths that mirror import paths
	r := &jsonschema.Reflector{}
	for _, dir := range []string{"internal/config", "internal/cloudmon", "checks", "alerting"} {
		if err := r.AddGoComments(module, dir, jsonschema.WithFullComment()); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir("internal/config")
	g := &generator{comments: r.CommentMap, path: map[reflect.Type]string{}}
	g.collect(reflect.TypeFor[File](), "")
	return g
}

// key is one field with a YAML key.
type key struct {
	reflect.StructField
	owner reflect.Type // the struct that declares it
	key   string
}

// keysOf returns the keys of a struct, those of inlined structs among them.
func keysOf(t reflect.Type) []key {
	var keys []key
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case strings.Contains(options, "inline"):
			keys = append(keys, keysOf(f.Type)...)
		case name != "" && name != "-":
			keys = append(keys, key{f, t, name})
		}
	}
	return keys
}

func (g *generator) collect(t reflect.Type, path string) {
	list := ""
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		if t.Kind() == reflect.Slice {
			list = "[]"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || len(keysOf(t)) == 0 || slices.Contains(g.structs, t) {
		return
	}
	g.structs = append(g.structs, t)
	g.path[t] = path + list
	for _, f := range keysOf(t) {
		base := g.path[t]
		if f.owner == reflect.TypeFor[probe.Connection]() {
			base = "connection" // of every kind
		}
		g.collect(f.Type, strings.TrimPrefix(base+"."+f.key, "."))
	}
}

// comment returns the doc comment of a type, or of a field with the name of
// its key in place of the Go name.
func (g *generator) comment(t reflect.Type, field string) string {
	name := t.PkgPath() + "." + t.Name()
	if field == "" {
		text, path := g.comments[name], g.path[t]
		if rest, ok := strings.CutPrefix(text, t.Name()+" "); ok && path != "" && !strings.HasSuffix(path, "[]") {
			text = path[strings.LastIndexByte(path, '.')+1:] + " " + rest
		}
		return text
	}
	text := g.comments[name+"."+field]
	f, _ := t.FieldByName(field)
	yamlKey, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if rest, ok := strings.CutPrefix(text, field+" "); ok {
		text = yamlKey + " " + rest
	}
	return text
}

func (g *generator) schema(t *testing.T) []byte {
	r := &jsonschema.Reflector{
		FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, ExpandedStruct: true, Anonymous: true,
		Namer: func(t reflect.Type) string {
			if t.Name() == "" {
				return ""
			}
			pkg := t.PkgPath()
			return pkg[strings.LastIndexByte(pkg, '/')+1:] + "." + t.Name()
		},
		LookupComment: func(t reflect.Type, field string) string {
			return strings.Join(strings.Fields(g.comment(t, field)), " ")
		},
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			text := func(pattern string) *jsonschema.Schema {
				return &jsonschema.Schema{Type: "string", Pattern: pattern + `|\$\{`}
			}
			switch t {
			case reflect.TypeFor[probe.Duration]():
				return text(`^([0-9.]+(ns|us|µs|ms|s|m|h|d))+$`)
			case reflect.TypeFor[Size]():
				return text(`^[0-9]+ ?([kKMGT]i?)?[bB]$`)
			case reflect.TypeFor[notify.Limit]():
				return text(`^[0-9]+/[smh]$`)
			case reflect.TypeFor[notify.Hours]():
				return text(``)
			case reflect.TypeFor[alerting.Share]():
				return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text(`^[0-9.]+ ?%$`), {Type: "number"}}}
			case reflect.TypeFor[alerting.Number]():
				return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text(`^-?[0-9.]+ ?%$`), {Type: "number"}}}
			case reflect.TypeFor[probe.JSON]():
				return &jsonschema.Schema{Description: "anything"}
			case reflect.TypeFor[probe.List]():
				return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "array", Items: &jsonschema.Schema{Type: "string"}}}}
			}
			return nil
		},
	}
	s := r.Reflect(File{})
	s.Title = "Tripline config file"
	for _, one := range []reflect.Type{reflect.TypeFor[Check](), reflect.TypeFor[alerting.Rule](), reflect.TypeFor[Notify]()} {
		s.Definitions[r.Namer(one)].OneOf = exactlyOne(one)
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(asWritten(tree)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// exactlyOne says that one of the kinds of t must be there.
func exactlyOne(t reflect.Type) []*jsonschema.Schema {
	var kinds []*jsonschema.Schema
	for _, f := range keysOf(t) {
		if f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct {
			kinds = append(kinds, &jsonschema.Schema{Required: []string{f.key}})
		}
	}
	return kinds
}

// asWritten makes a schema of values one of what people write: numbers,
// booleans and choices may be references such as ${N:-2}, and text may look
// like a number or a boolean to YAML.
func asWritten(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = asWritten(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = asWritten(v[k])
		}
		reference := map[string]any{"type": "string", "pattern": `\$\{`}
		switch t := v["type"]; {
		case t == "integer" || t == "number" || t == "boolean":
			delete(v, "type")
			v["anyOf"] = []any{map[string]any{"type": t}, reference}
		case t == "string" && v["enum"] != nil:
			v["anyOf"] = []any{map[string]any{"enum": v["enum"]}, reference}
			delete(v, "enum")
		case t == "string" && v["pattern"] == nil:
			v["type"] = []any{"string", "number", "boolean"}
		}
	}
	return v
}

// reference writes docs/config.md.
func (g *generator) reference() []byte {
	var b bytes.Buffer
	b.WriteString("# The config file\n\n<!-- Made of the structs and their doc comments by go generate ./internal/config. Do not edit. -->\n\n")
	connection := reflect.TypeFor[probe.Connection]()
	table := func(t reflect.Type) {
		shared := false
		fmt.Fprintf(&b, "| key | value | meaning |\n| --- | --- | --- |\n")
		for _, f := range keysOf(t) {
			if f.owner == connection && t != connection {
				shared = true
				continue
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.key, g.value(f.Type), markdown(g.comment(f.owner, f.Name)))
		}
		b.WriteString("\n")
		if shared {
			b.WriteString("And the settings of the [connection](#connection).\n\n")
		}
	}
	section := func(t reflect.Type) {
		text := g.comment(t, "")
		if path := g.path[t]; path != "" {
			fmt.Fprintf(&b, "## %s\n\n", path)
		} else {
			_, text, _ = strings.Cut(text, "\n\n") // what it is, the title says
		}
		b.WriteString(paragraphs(text) + "\n\n")
		table(t)
	}
	var shared []reflect.Type
	for _, t := range g.structs {
		if strings.HasPrefix(g.path[t], "connection") {
			shared = append(shared, t)
		} else {
			section(t)
		}
	}
	b.WriteString("## connection\n\nHow to reach a target: the settings that all kinds of checks have in common. Those below defaults apply to all checks.\n\n")
	table(connection)
	for _, t := range shared {
		section(t)
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

// markdown makes one line of Markdown of a comment.
func markdown(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "[", `\[`).Replace(text)
}

// value says what a key holds, with a link to the section that tells more.
func (g *generator) value(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return g.value(t.Elem())
	case reflect.Slice:
		switch t {
		case reflect.TypeFor[probe.List]():
			return "text or list of texts"
		case reflect.TypeFor[probe.JSON]():
			return "anything"
		}
		return "list of " + g.value(t.Elem())
	case reflect.Map:
		return "names with " + g.value(t.Elem())
	case reflect.Struct:
		if path, ok := g.path[t]; ok {
			anchor := strings.NewReplacer(".", "", "[", "", "]", "").Replace(path)
			return "[" + strings.ReplaceAll(path, "[]", `\[\]`) + "](#" + anchor + ")"
		}
	case reflect.Int, reflect.Int64:
		if t == reflect.TypeFor[probe.Duration]() {
			return "duration"
		} else if t == reflect.TypeFor[Size]() {
			return "size"
		}
		return "whole number"
	case reflect.Float64:
		if t == reflect.TypeFor[alerting.Share]() {
			return "percentage"
		} else if t == reflect.TypeFor[alerting.Number]() {
			return "number or percentage"
		}
		return "number"
	case reflect.Bool:
		return "true or false"
	}
	return "text"
}

// paragraphs makes Markdown of a doc comment: indented lines become code.
func paragraphs(text string) string {
	var out []string
	for p := range strings.SplitSeq(text, "\n\n") {
		if strings.HasPrefix(p, "\t") || strings.HasPrefix(p, "  ") {
			p = "```\n" + p + "\n```"
		} else {
			p = markdown(p)
		}
		out = append(out, p)
	}
	return strings.Join(out, "\n\n")
}
