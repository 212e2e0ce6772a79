package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/txtar"
)

// FuzzLoad: any bytes make a Config that is whole, or *Errors whose places lie
// within the file and that show no secret.
func FuzzLoad(f *testing.F) {
	const secret = "fuzz-s3cr3t-v4lue"
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == "config.yaml" {
				f.Add(part.Data)
			}
		}
	}
	if shipped, err := os.ReadFile("../../config.yaml"); err == nil {
		f.Add(shipped)
	}
	for _, seed := range []string{
		oneCheck + "    cron: TZ=UTC\n",
		oneCheck + "    cron: CRON_TZ= * * * * *\n",
		oneCheck + "    cron: \"*/9999999999 * * * *\"\n",
		oneCheck + "    every: 106751d\n",
		"version: 1\nchecks: &a [*a, {<<: *a}]\n",
		"a: &a [x]\nb: &b [*a,*a]\nchecks: [*b,*b]\n<<: *b\n",
		"\uFEFF%YAML 1.1\n---\nversion: 1\n...\n---\n",
		"version: 1\r\nlocation: ${API_TOKEN}\u2028\u0085x: [",
		"token: ${API_TOKEN}\n'${file:s}': ${file:s}\n? {a: b}\n: - c\n",
		"version: 1\nchecks:\n- name: !!binary ${API_TOKEN}\n  health: {url: \"${API_TOKEN}\", tls: [}",
		"\x00\xff\xfe", "- - - - -\n", "{{{{", "!", "&a", "*a", "|", ">", "\"", "'", "? ", ": ", "- ", "%",
	} {
		f.Add([]byte(seed))
	}
	env := testEnv(map[string]string{"API_TOKEN": secret, "A": "b", "EMPTY": ""}, map[string]string{"s": "file-" + secret})
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := Load("c.yaml", src, env)
		if err == nil {
			if len(c.Checks) == 0 || len(c.Subjects) != len(c.Checks) {
				t.Fatalf("accepted with %d checks and %d subjects", len(c.Checks), len(c.Subjects))
			}
			for _, k := range c.Checks {
				if k.Name == "" || k.Group == "" || k.Prober == nil || k.Schedule.Next(planTime()).IsZero() || k.Timeout <= 0 {
					t.Fatalf("accepted with an unfit check %+v", k)
				}
			}
			for _, n := range c.Notifiers {
				if n.Off == "" && len(n.Settings.Validate()) > 0 {
					t.Fatalf("accepted with an unfit notifier %+v", n)
				}
			}
			for _, r := range c.Rules {
				if problems := r.Validate(c.Subjects); len(problems) > 0 {
					t.Fatalf("accepted with an unfit rule: %v", problems)
				}
			}
			_ = c.Plan(planTime())
			return
		}
		var list *Errors
		if !errors.As(err, &list) || len(list.List) == 0 {
			t.Fatalf("the error is %T", err)
		}
		s := newSource("", strings.TrimPrefix(string(src), "\uFEFF"))
		for _, e := range list.List {
			if e.Line == 0 {
				continue
			}
			if e.Line < 1 || e.Line > len(s.lines) || e.Column < 1 || e.Column > utf8.RuneCountInString(s.line(e.Line))+1 {
				t.Fatalf("%d:%d lies outside the file: %s", e.Line, e.Column, e.Text)
			}
			if strings.ContainsAny(e.Source+e.Caret, "\r\n") || strings.Contains(e.Caret, "^") != (e.Source != "" || e.Caret != "") || e.Text == "" {
				t.Fatalf("unfit to show: %+v", e)
			}
		}
		text := err.Error()
		if !utf8.ValidString(text) {
			t.Fatalf("the error is no UTF-8: %q", text)
		}
		if strings.Contains(text, secret[:10]) && !strings.Contains(string(src), secret[:10]) {
			t.Fatalf("a secret shows: %s", text)
		}
	})
}

// FuzzExpand: any text expands to something, without references that were
// given a value left, and what values hold is not expanded again.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{
		"", "$", "$$", "$$$", "${", "${}", "${A}", "${A:-b}", "${N:-${A}}", "${N:-${N:-c}}", "${file:s}", "${file:${A}}",
		"a$b", "^x$", "$${A}", "${A", "${A:-${B}", "${N:-$$}", "${N:-a}b}", "${REF}", "${a b}", "${N:-\xff}", "\xff${A}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x := &expander{
			lookup: func(name string) (string, bool) {
				switch name {
				case "A":
					return "value", true
				case "REF":
					return "${A}", true
				}
				return "", false
			},
			readFile: func(name string) ([]byte, error) {
				if name == "s" {
					return []byte("${A}\n"), nil
				}
				return nil, os.ErrNotExist
			},
			secret: func(string) {}, public: func(string, string) {}, files: map[string]fileValue{},
		}
		got, errs := x.expand(text)
		for _, e := range errs {
			if e.At < 0 || e.At >= len(text) || !strings.HasPrefix(text[e.At:], e.Ref) || e.Text == "" {
				t.Fatalf("%q: an error that points nowhere: %+v", text, e)
			}
		}
		if !strings.Contains(text, "$") && got != text {
			t.Fatalf("%q became %q", text, got)
		}
		// Escaped, any text is itself.
		if plain, errs := x.expand(strings.ReplaceAll(text, "$", "$$")); plain != text || errs != nil {
			t.Fatalf("%q escaped became %q, %v", text, plain, errs)
		}
		if text != "" && !strings.ContainsAny(text, "${}") {
			if got, _ := x.expand("${NONE:-" + text + "}"); got != text {
				t.Fatalf("%q as a default became %q", text, got)
			}
		}
	})
}
