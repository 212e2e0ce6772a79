package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests must not depend on the machine's time zones

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestLoad runs the cases of testdata: each has a config.yaml, optionally env
// (lines NAME=value) and files/NAME for ${file:NAME}, and the exact text of
// the error, or the plan of a file that is right. A tests.yaml is read instead
// of the config.yaml, as rule tests.
func TestLoad(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 45 {
		t.Errorf("%d cases (%v), want at least 45", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var src, tests []byte
			want := -1
			env := map[string]string{}
			texts := map[string]string{}
			for i, f := range archive.Files {
				switch f.Name {
				case "config.yaml":
					src = f.Data
					texts[f.Name] = string(src)
				case "tests.yaml":
					tests = f.Data
				case "env":
					for line := range strings.Lines(string(f.Data)) {
						name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
						env[name] = value
					}
				case "error", "plan":
					want = i
				default:
					texts[f.Name] = string(f.Data)
				}
			}
			if want < 0 {
				t.Fatal("the case has neither error nor plan")
			}
			got := ""
			c, err := &Config{}, error(nil)
			if tests == nil {
				c, err = Load("config.yaml", src, testEnv(env, texts))
			} else {
				_, err = LoadTests("tests.yaml", tests, testEnv(env, texts))
			}
			switch {
			case err != nil:
				var list *Errors
				if !errors.As(err, &list) || len(list.List) == 0 {
					t.Fatalf("error is a %T, want *Errors with a list", err)
				}
				got = err.Error() + "\n"
				if archive.Files[want].Name != "error" {
					t.Fatalf("it is refused:\n%s", got)
				}
			case archive.Files[want].Name == "error" && !*update:
				t.Fatal("it is accepted, want an error")
			default:
				got = c.Plan(planTime())
			}
			if *update {
				archive.Files[want].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(archive.Files[want].Data), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func testEnv(vars, files map[string]string) Env {
	return Env{
		Version: "1.2.3",
		Lookup: func(name string) (string, bool) {
			v, ok := vars[name]
			return v, ok
		},
		ReadFile: func(name string) ([]byte, error) {
			if text, ok := files[name]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		},
	}
}

// planTime is the moment that the plans of the cases are made for.
func planTime() time.Time { return time.Date(2026, time.November, 21, 12, 0, 0, 0, time.UTC) }

// Whether canaries vouch for a check is what the rules must know of it.
func TestCanariesOfSubjects(t *testing.T) {
	const file = "version: 1\n%schecks: [{name: a, health: {url: http://127.0.0.1/}}]\n"
	for canaries, want := range map[string]bool{"": false, "canaries: [127.0.0.1:1]\n": true} {
		c, err := Load("config.yaml", fmt.Appendf(nil, file, canaries), Env{})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Subjects[0].Canaries; got != want {
			t.Errorf("%q: %t, want %t", canaries, got, want)
		}
	}
}
