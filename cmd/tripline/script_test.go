package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// TestScript runs the command line as people do: testdata/script/*.txtar.
func TestScript(t *testing.T) {
	tg, pager, slack := newTarget(t), newPager(t), slacktest.New()
	t.Cleanup(func() {
		opened, _, open := pager.counts()
		if opened == 0 || open > 0 || len(slack.Violations()) > 0 {
			t.Errorf("PagerDuty has %d alerts, %d still open; Slack would have refused %q", opened, open, slack.Violations())
		}
		slack.Close()
	})
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			for name, value := range map[string]string{
				"TARGET": tg.URL, "PAGER_URL": pager.URL, "PAGER_KEY": pagerKey,
				"SLACK_API": slack.API, "SLACK_TOKEN": slacktest.Token, "SLACK_CHANNEL": slacktest.Channel,
			} {
				e.Setenv(name, value)
			}
			return nil
		},
	})
}

// TestSecondRun checks that two processes never share a data directory.
func TestSecondRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := func(name string) {
		writeFile(t, filepath.Join(dir, name), fmt.Sprintf(`version: 1
data: {dir: data}
http: {listen: %q}
checks:
  - {name: api, health: {url: "http://127.0.0.1:1/health"}}
`, freePort(t)))
	}
	config("a.yaml")
	config("b.yaml")
	first := start(t, dir, nil, "run", "-c", "a.yaml")
	waitFor(t, 20*time.Second, "the first to run", func() bool { return strings.Contains(first.out.String(), "page on") })
	second := start(t, dir, nil, "run", "-c", "b.yaml")
	select {
	case <-second.exited:
	case <-time.After(patience):
		t.Fatal("the second did not end")
	}
	if code := second.cmd.ProcessState.ExitCode(); code != 2 || !strings.Contains(second.out.String(), fmt.Sprint(first.cmd.Process.Pid)) {
		t.Errorf("the second ended with %d and %q, want 2 and the pid %d", code, second.out, first.cmd.Process.Pid)
	}
}

// TestShippedConfig runs the shipped config.yaml as the README's first command
// does: it watches itself, and all is up within 5 s.
func TestShippedConfig(t *testing.T) {
	dir := t.TempDir()
	shipped, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	listen := freePort(t)
	// Only the port is another one, since that of the file may be taken.
	text := strings.Replace(string(shipped), "\ndefaults:\n", fmt.Sprintf("\nhttp: {listen: %q}\ndefaults:\n", listen), 1)
	text = strings.Replace(text, "${PORT:-8080}", listen[strings.LastIndexByte(listen, ':')+1:], 1)
	writeFile(t, filepath.Join(dir, "config.yaml"), text)
	p := start(t, dir, []string{"SLACK_BOT_TOKEN=", "SLACK_WEBHOOK_URL=", "TARGET="}, "run")
	waitFor(t, 20*time.Second, "the page", func() bool { return strings.Contains(p.out.String(), "page on") })
	waitFor(t, 5*time.Second, "four checks up", func() bool { return strings.Count(p.out.String(), " up ") == 4 })
	for _, want := range []string{"notifier slack is off: SLACK_BOT_TOKEN is "} {
		if !strings.Contains(p.out.String(), want) {
			t.Errorf("the output does not say %q", want)
		}
	}
	if status, body := get(t, "http://"+listen+"/health"); status != 200 || !strings.Contains(body, `"status": "ok"`) {
		t.Errorf("/health: %d %s", status, body)
	}
	healthcheck := start(t, dir, nil, "healthcheck")
	<-healthcheck.exited
	if code := healthcheck.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("healthcheck: exit code %d, want 0: %s", code, healthcheck.out)
	}
	p.wantStoppedBy(syscall.SIGINT)
}
