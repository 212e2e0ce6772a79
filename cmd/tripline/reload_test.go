package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// TestReload changes the config of a running monitor: what is broken stays
// told once, what is removed resolves, and a bad file changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	slack := slacktest.New()
	defer slack.Close()
	tg := newTarget(t)
	dir, listen := t.TempDir(), freePort(t)
	file := filepath.Join(dir, "config.yaml")
	text := storyConfig(tg, slack, listen)
	writeFile(t, file, text)
	p := start(t, dir, nil, "run", "--watch")
	reload := func(wantCode int, want string) {
		t.Helper()
		r := start(t, dir, nil, "reload")
		<-r.exited
		if code := r.cmd.ProcessState.ExitCode(); code != wantCode || !strings.Contains(r.out.String(), want) {
			t.Errorf("reload: exit code %d and %q, want %d and %q", code, r.out, wantCode, want)
		}
	}
	waitFor(t, 20*time.Second, "two good upgrades", func() bool { return tg.upgrades.Load() >= 2 })
	reload(0, "no changes")
	tg.mode.Store("404")
	roots(t, slack, 5*time.Second, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })

	// One more check: the incident goes on, nothing is told.
	writeFile(t, file, text+"  - {name: second, log: {}}\n")
	syscallHangup(t, p)
	waitFor(t, 5*time.Second, "the reload", func() bool { return strings.Contains(p.out.String(), "notifiers added: second") })
	text = strings.Replace(text, "checks:\n", "checks:\n  - {name: more, route: {url: /health}}\n", 1)
	writeFile(t, file, text)
	waitFor(t, 8*time.Second, "the reload by file change", func() bool { return strings.Contains(p.out.String(), "checks added: more") })
	waitFor(t, 5*time.Second, "the new check", func() bool { return strings.Contains(p.out.String(), "up       more") })

	// A bad file is refused by all ways and shown, and the old config goes on.
	writeFile(t, file, text+"nonsense: 1\n")
	waitFor(t, 8*time.Second, "the refusal", func() bool { return strings.Contains(p.out.String(), "config not reloaded") })
	if status, body := get(t, "http://"+listen+"/health"); status != 200 || !strings.Contains(body, "was not reloaded") {
		t.Errorf("/health: %d %s, want 200 and the warning", status, body)
	}
	seen := tg.upgrades.Load()
	waitFor(t, 5*time.Second, "two more upgrades", func() bool { return tg.upgrades.Load() >= seen+2 })
	writeFile(t, file, strings.Replace(text, fmt.Sprintf("%q", listen), `"127.0.0.1:1"`, 1))
	waitFor(t, 8*time.Second, "the refusal of what needs a restart", func() bool { return strings.Contains(p.out.String(), "needs a restart") })
	writeFile(t, file, text+"cloud_monitoring: {project: p}\n")
	waitFor(t, 8*time.Second, "the refusal of another export", func() bool { return strings.Contains(p.out.String(), "cloud_monitoring changed") })
	if n := len(slack.Messages()); n != 1 {
		t.Errorf("%d messages, want the one:\n%s", n, dump(slack))
	}

	// Without its check the incident ends, as what it is.
	writeFile(t, file, strings.Replace(text, "  - {name: live, group: ws, websocket: {url: /ws}}\n", "", 1))
	waitFor(t, 8*time.Second, "the refusal of a rule without checks", func() bool {
		return strings.Contains(p.out.String(), "no check is of kind")
	})
	writeFile(t, file, strings.Replace(strings.Replace(text, "  - {name: live, group: ws, websocket: {url: /ws}}\n", "", 1), "{kind: websocket}", "{kind: route}", 1))
	waitFor(t, 10*time.Second, "the resolve", func() bool { return len(resolves(slack)) == 1 })
	if reply := resolves(slack)[0].Text; !strings.Contains(reply, "no longer watched") {
		t.Errorf("the resolve says %q, want that it is no longer watched", reply)
	}
	waitFor(t, patience, "the end of the warning", func() bool { // the rules are handed over before the reload ends
		_, body := get(t, "http://"+listen+"/health")
		return !strings.Contains(body, "was not reloaded")
	})
}

func syscallHangup(t *testing.T, p *process) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}
