package config

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestSchema holds files against the schema: the shipped one fits, and
// mistakes that an editor should show do not.
func TestSchema(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	shipped, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const check = "version: 1\nchecks:\n  - name: home\n    health: {url: /}\n"
	for _, c := range []struct{ name, src, want string }{
		{"shipped", string(shipped), ""},
		{"smallest", check, ""},
		{"references", check + "    confirm: ${N:-2}\n    every: ${EVERY}\n", ""},
		{"numbers for text", check + "    labels: {tier: 1, on: true}\n", ""},
		{"one text for a list", strings.Replace(check, "url: /", "url: /, status: 2xx", 1), ""},
		{"unknown key", check + "    intervall: 1m\n", "/checks/0/intervall: not known"},
		{"no kind", "version: 1\nchecks: [{name: a}]\n", "/checks/0: fits 0 of the alternatives"},
		{"two kinds", check + "    route: {url: /}\n", "/checks/0: fits 2 of the alternatives"},
		{"no name", strings.Replace(check, "name: home", "every: 1m", 1), "/checks/0: name is missing"},
		{"no version", check[len("version: 1\n"):], ": version is missing"},
		{"a duration without unit", check + "    every: 60\n", "/checks/0/every: 60 is no string"},
		{"a fraction", check + "    confirm: 1.5\n", "/checks/0/confirm: fits 0 of the alternatives"},
		{"severity", check + "rules: [{name: a, severity: panic, down: {}}]\n", "/rules/0/severity: fits 0 of the alternatives"},
		{"no list", "version: 1\nchecks: {}\n", "/checks: map[] is no array"},
		{"a kind without a body", strings.Replace(check, " {url: /}", "", 1), "/checks/0/health: <nil> is no object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var v any
			if err := yaml.Unmarshal([]byte(c.src), &v); err != nil {
				t.Fatal(err)
			}
			if got := misfit(root, root, v, ""); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// misfit says why v does not fit a schema, as far as ours go; "" if it does.
func misfit(root, s map[string]any, v any, at string) string {
	if ref, ok := s["$ref"].(string); ok {
		defs, _ := root["$defs"].(map[string]any)
		def, ok := defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		if !ok {
			return "the schema has no " + ref
		}
		return misfit(root, def, v, at)
	}
	if types := fmt.Sprint(s["type"]); s["type"] != nil && !strings.Contains(types, typeOf(v)) && (typeOf(v) != "integer" || !strings.Contains(types, "number")) {
		return fmt.Sprintf("%s: %v is no %v", at, v, types)
	}
	if p, ok := s["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(fmt.Sprint(v)) {
		return fmt.Sprintf("%s: %v does not match %s", at, v, p)
	}
	if enum, ok := s["enum"].([]any); ok {
		for _, e := range enum {
			if reflect.DeepEqual(e, v) {
				return ""
			}
		}
		return fmt.Sprintf("%s: %v is not listed", at, v)
	}
	switch v := v.(type) {
	case map[string]any:
		if text := misfits(root, s, v, at); text != "" {
			return text
		}
	case []any:
		items, _ := s["items"].(map[string]any)
		for i, item := range v {
			if text := misfit(root, items, item, fmt.Sprintf("%s/%d", at, i)); text != "" {
				return text
			}
		}
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		alternatives, ok := s[key].([]any)
		fits := 0
		for _, a := range alternatives {
			if misfit(root, a.(map[string]any), v, at) == "" {
				fits++
			}
		}
		if ok && (fits == 0 || fits > 1 && key == "oneOf") {
			return fmt.Sprintf("%s: fits %d of the alternatives", at, fits)
		}
	}
	return ""
}

func misfits(root, s, v map[string]any, at string) string {
	required, _ := s["required"].([]any)
	for _, r := range required {
		if _, ok := v[r.(string)]; !ok {
			if _, all := s["properties"]; !all {
				return "missing" // of an alternative
			}
			return fmt.Sprintf("%s: %v is missing", at, r)
		}
	}
	properties, ok := s["properties"].(map[string]any)
	for k, value := range v {
		below, known := properties[k].(map[string]any)
		if more, ok := s["additionalProperties"].(map[string]any); ok && !known {
			below, known = more, true
		}
		if !known && (ok || s["additionalProperties"] == false) {
			return at + "/" + k + ": not known"
		}
		if known {
			if text := misfit(root, below, value, at+"/"+k); text != "" {
				return text
			}
		}
	}
	return ""
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case int:
		return "integer"
	case float64:
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}
