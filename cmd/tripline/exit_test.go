package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestCheckExitCodes runs check as a pipeline does, which goes by its exit code.
func TestCheckExitCodes(t *testing.T) {
	t.Parallel()
	tg := newTarget(t)
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "config.yaml"), fmt.Sprintf(`version: 1
defaults: {base_url: %q, confirm: 0}
auth:
  broken: {login: {url: /no-login}}
checks:
  - {name: up, health: {url: /health}}
  - {name: slow, health: {url: /health, slower_than: 1ns}}
  - {name: down, route: {url: /nope}}
  - {name: unknown, auth: broken, health: {url: /health}}
`, tg.URL))
	for _, c := range []struct {
		args, want string // the last line of the table, or what is wrong
		code       int
	}{
		{"up", "1 checks: 1 up, 0 degraded, 0 down, 0 unknown", 0},
		{"up slow", "2 checks: 1 up, 1 degraded, 0 down, 0 unknown", 0},
		{"up down", "2 checks: 1 up, 0 degraded, 1 down, 0 unknown", 1},
		{"up unknown", "2 checks: 1 up, 0 degraded, 0 down, 1 unknown", 2},
		{"up slow down unknown", "4 checks: 1 up, 1 degraded, 1 down, 1 unknown", 1},
		{"--format json down", `"status":"down"`, 1},
		{"--format junit unknown", "auth_setup", 2},
		{"--wait 1s down", "1 checks: 0 up, 0 degraded, 1 down, 0 unknown", 1},
		{"nobody", `no check is named "nobody"`, 2},
		{"-c none.yaml", "config: none.yaml: no such file", 2},
		{"--format yaml", `must be one of "text","json","junit"`, 2},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Parallel()
			p := start(t, dir, nil, append([]string{"check"}, strings.Fields(c.args)...)...)
			<-p.exited
			if code := p.cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(p.out.String(), c.want) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, c.code, c.want, p.out)
			}
		})
	}
}

// TestValidate gives the command line every case of the config's own tests: it
// refuses what they say is wrong with exit code 2, in their words, and neither
// validate nor run begins anything.
func TestValidate(t *testing.T) {
	files, err := filepath.Glob("../../internal/config/testdata/*.txtar")
	if err != nil || len(files) < 90 {
		t.Fatalf("%d cases (%v), want at least 90", len(files), err)
	}
	for i, file := range files {
		if files[i], err = filepath.Abs(file); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			command := []string{"validate"}
			wrong := ""
			env := map[string]string{}
			for _, f := range archive.Files {
				switch f.Name {
				case "error":
					wrong, _, _ = strings.Cut(string(f.Data), "\n")
				case "env":
					for line := range strings.Lines(string(f.Data)) {
						name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
						env[name] = value
					}
				case "tests.yaml":
					command = []string{"test", f.Name}
					fallthrough
				default:
					writeFile(t, f.Name, string(f.Data))
				}
			}
			wantCode, commands := exitOK, [][]string{command}
			if wrong != "" {
				wantCode = exitCannot
				if command[0] == "validate" {
					commands = append(commands, []string{"run"})
				}
			}
			before := list(t)
			for _, args := range commands {
				stdout, stderr := &syncBuffer{}, &syncBuffer{}
				p := program{stdout: stdout, stderr: stderr, lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
				code := p.main(t.Context(), args)
				said, _, _ := strings.Cut(stderr.String(), "\n")
				said = strings.Replace(said, "no such file or directory", "file does not exist", 1) // the cases have no real files
				if code != wantCode || said != wrong || (stdout.String() == "") != (wrong != "") {
					t.Fatalf("%v: exit code %d and %q, want %d and %q; output:\n%s", args, code, said, wantCode, wrong, stdout)
				}
				if after := list(t); after != before {
					t.Errorf("%v: files %s, want %s", args, after, before)
				}
			}
		})
	}
}

// list lists the files of the working directory.
func list(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(entries)
}
