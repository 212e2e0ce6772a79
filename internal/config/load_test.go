package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const oneCheck = "version: 1\nchecks:\n  - name: home\n    health: {url: \"http://127.0.0.1/\"}\n"

// TestOddBytes: what a txtar file cannot hold well.
func TestOddBytes(t *testing.T) {
	crlf := strings.ReplaceAll(oneCheck, "\n", "\r\n")
	for _, c := range []struct{ name, src, want string }{
		{"plain", oneCheck, ""},
		{"byte order mark", "\uFEFF" + oneCheck, ""},
		{"CRLF", crlf, ""},
		{"CR", strings.ReplaceAll(oneCheck, "\n", "\r"), ""},
		{"CRLF with an error", crlf + "confrim: 1\r\n", "c.yaml:5:1: unknown key \"confrim\""},
		{"next line", "version: 1\u0085chekcs: []\n", "c.yaml:2:1: unknown key \"chekcs\", did you mean \"checks\"?"},
		{"UTF-16", "\xff\xfev\x00e\x00r\x00", "c.yaml:1:1: byte 0xff is not UTF-8, want a UTF-8 text file\n    1 | \uFFFDv\uFFFDe\uFFFDr\uFFFD\n      | ^"},
		{"invalid UTF-8", "version: 1\nlocation: caf\xe9\n", "c.yaml:2:14: byte 0xe9 is not UTF-8"},
		{"NUL", "version: 1\nlocation: a\x00b\n", "c.yaml:2:12: control character U+0000"},
		{"escape sequence", "version: 1\nlocation: \x1b[31m\n", "c.yaml:2:11: control character U+001B, want a UTF-8 text file\n    2 | location: \uFFFD[31m\n      |           ^"},
		{"one byte", "\n", "c.yaml: the file is empty"},
		{"tab", "\t", "c.yaml:1:1: a tab in the indentation, want spaces"},
		{"not ASCII", "version: 1\nlocation: 東京\n", "c.yaml:2:11: location: \"東京\", want at most 50 letters"},
		{"percent", "%", "c.yaml:1:1: no valid YAML"},
		{"too large", strings.Repeat("#", MaxSize+1), "c.yaml: 16777217 bytes, want at most 16777216"},
		{"bad tag", "a: !!int b\nversion: 1", "c.yaml:1:1: unknown key \"a\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load("c.yaml", []byte(c.src), Env{})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused:\n%v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error\n%v\nwant it to hold\n%s", err, c.want)
			}
		})
	}
}

// TestHugeInput: files made to take long are refused soon. Something quadratic
// would run into the time limit of the whole test.
func TestHugeInput(t *testing.T) {
	merges := func() string {
		var b strings.Builder
		b.WriteString("version: 1\nx0: &x0 {a: 1")
		for i := range 2000 {
			fmt.Fprintf(&b, ", k%d: 1", i)
		}
		b.WriteString("}\n")
		for i := 1; i < 2000; i++ {
			fmt.Fprintf(&b, "x%d: &x%d {<<: [*x%d, *x%d]}\n", i, i, i-1, i-1)
		}
		return b.String() + "checks: [*x1999]\n"
	}
	const size = 1 << 16
	for _, c := range []struct{ name, src string }{
		{"flow nesting", strings.Repeat("[", size)},
		{"flow nesting of keys", strings.Repeat("{a: ", size/4)},
		{"block nesting", strings.Repeat("- ", size/2)},
		{"anchors", strings.Repeat("a: &a\n", size/6)},
		{"quotes", strings.Repeat("\"", size)},
		{"unknown keys", func() string {
			var b strings.Builder
			for i := 0; b.Len() < size; i++ {
				fmt.Fprintf(&b, "key%d: 1\n", i)
			}
			return b.String()
		}()},
		{"merges", merges()},
		{"references", "version: 1\nlocation: " + strings.Repeat("${A:-", size/5)},
		{"references in a row", "version: 1\nlocation: " + strings.Repeat("${A}", size/4)},
		{"dollars", "version: 1\nlocation: " + strings.Repeat("$", size)},
		{"late syntax error", strings.Repeat("a: [b]\n", size/7) + "a: ]\n"},
		{"one long line", "version: 1\nlocation: \"" + strings.Repeat("x y ", size/4) + "\nb: c"},
		{"comments", strings.Repeat("# comment\n", size/10) + "version: 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load("c.yaml", []byte(c.src), Env{})
			if err == nil {
				t.Fatal("accepted")
			}
			if n := len(err.Error()); n > 1<<20 {
				t.Errorf("an error of %d bytes", n)
			}
		})
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	large := filepath.Join(dir, "large")
	if err := errors.Join(os.WriteFile(good, []byte("text"), 0o600), os.WriteFile(large, bytes.Repeat([]byte("x"), MaxSize+1), 0o600)); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(good); err != nil || string(b) != "text" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := ReadFile(dir); err == nil || err.Error() != dir+": is a directory, want a file" {
		t.Errorf("a directory: %v", err)
	}
	if _, err := ReadFile(large); err == nil || !strings.Contains(err.Error(), "more than 16777216 bytes") {
		t.Errorf("a large file: %v", err)
	}
	missing := filepath.Join(dir, "missing")
	if _, err := ReadFile(missing); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), missing+": ") {
		t.Errorf("a missing file: %v", err)
	}
}

// TestSecrets feeds secrets into every part of files that are wrong and looks
// for them in what comes out.
func TestSecrets(t *testing.T) {
	const secret, fromFile, literal = "env-s3cr3t-4711", "file-s3cr3t-0815\nsecond-line-0816", "literal-s3cr3t"
	env := testEnv(map[string]string{"API_TOKEN": secret, "DB_PASSWORD": "pw-" + secret, "OTHER": "harmless"}, map[string]string{"s": fromFile})
	values := []string{
		"${API_TOKEN}", "\"${API_TOKEN}\"", "x${DB_PASSWORD}y", "${file:s}", "${NONE:-${API_TOKEN}}",
		"[\"${API_TOKEN}\"]", "{\"${API_TOKEN}\": 1, token: " + literal + "}", "{token: " + literal + "}",
		"https://user:${API_TOKEN}@127.0.0.1/?token=${DB_PASSWORD}", "!x ${API_TOKEN}",
		"\"Bearer " + literal, "{Authorization: " + literal + ", X-Api-Key: [" + literal + "]}",
	}
	keys := []string{
		"version", "location", "environment", "data", "data.dir", "data.keep", "data.max_size", "http", "http.listen", "http.token",
		"defaults", "defaults.base_url", "defaults.every", "defaults.timeout", "defaults.confirm", "defaults.labels", "defaults.headers",
		"defaults.proxy", "defaults.tls", "defaults.basic_auth", "defaults.token",
		"checks", "checks.name", "checks.group", "checks.every", "checks.cron", "checks.timezone", "checks.health", "checks.health.url",
		"checks.health.token", "checks.health.conditions", "checks.health.record", "checks.websocket.url", "checks.websocket.token", "checks.route.method", "checks.route.status",
		"rules", "rules.name", "rules.select", "rules.rate", "rules.runbook", "notify", "notify.name", "notify.only_if", "notify.slack",
		"notify.slack.token", "notify.slack.channel", "notify.slack_webhook.url", "password", "token",
	}
	tried := 0
	for _, key := range keys {
		for _, value := range values {
			src := nested(key, value)
			_, err := Load("c.yaml", []byte(src), env)
			if err == nil {
				continue
			}
			tried++
			for _, s := range []string{secret, fromFile[:16], "second-line-0816", literal} {
				if strings.Contains(err.Error(), s[:8]) {
					t.Errorf("%q shows in the error of\n%s\n%v", s, src, err)
				}
			}
		}
	}
	if tried < 400 {
		t.Errorf("%d wrong files, want at least 400", tried)
	}
}

// nested writes a file that holds value at a path; checks, rules and notify
// are lists.
func nested(path, value string) string {
	var b strings.Builder
	if !strings.HasPrefix(path, "version") {
		b.WriteString("version: 1\n")
	}
	indent := ""
	parts := strings.Split(path, ".")
	for i, part := range parts {
		last := i == len(parts)-1
		b.WriteString(indent + part + ":")
		switch {
		case last:
			b.WriteString(" " + value + "\n")
		case part == "checks" || part == "rules" || part == "notify":
			b.WriteString("\n  - \n")
			indent = "    "
			if parts[i+1] != "name" {
				b.WriteString(indent + "name: x\n")
			}
		default:
			b.WriteString("\n")
			indent += "  "
		}
	}
	return b.String()
}
