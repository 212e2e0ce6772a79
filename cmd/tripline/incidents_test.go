package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// TestPeopleSay acknowledges, silences and maintains on a running monitor, over
// a kill as well, and counts what Slack is told.
func TestPeopleSay(t *testing.T) {
	t.Parallel()
	slack := slacktest.New()
	defer slack.Close()
	tg := newTarget(t)
	dir, listen := t.TempDir(), freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), storyConfig(tg, slack, listen))
	p := start(t, dir, nil, "run")
	run := func(wantCode int, want string, args ...string) string {
		t.Helper()
		c := start(t, dir, nil, args...)
		<-c.exited
		out := strings.TrimSpace(c.out.String())
		if code := c.cmd.ProcessState.ExitCode(); code != wantCode || !strings.Contains(out, want) {
			t.Fatalf("%v: exit code %d and %q, want %d and %q", args, code, out, wantCode, want)
		}
		return out
	}
	texts := func() (all string) {
		for _, m := range slack.Messages() {
			all += m.Text + "\n"
		}
		return all
	}
	waitFor(t, 30*time.Second, "two good upgrades", func() bool { return tg.upgrades.Load() >= 2 })
	run(1, `no incident "nope" is open`, "ack", "nope")
	run(1, `no check is in group "nope"`, "silence", "add", "--group", "nope", "--for", "1h")

	// Somebody takes it on.
	tg.mode.Store("404")
	roots(t, slack, 30*time.Second, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })
	id := oneIncident(t, listen).ID // the page may hear of it after Slack
	run(0, "acknowledged "+id, "ack", id, "--by", "ada")
	run(1, "was acknowledged by ada", "ack", id, "--by", "bob")
	waitFor(t, 30*time.Second, "the acknowledgement", func() bool {
		replies := slack.Replies(slack.Roots()[0].TS)
		return len(replies) == 1
	})
	tg.mode.Store("ok")
	waitFor(t, 30*time.Second, "the resolve", func() bool { return len(resolves(slack)) == 1 })

	// What breaks in a silence is told when that ends, and not before: also
	// when the monitor was killed meanwhile.
	said := run(0, "silence s-", "silence", "add", "--group", "ws", "--for", "10m", "--by", "ada", "--why", "deploy")
	silence := strings.Fields(said)[1]
	tg.mode.Store("404")
	quiet := func() bool {
		_, body := get(t, "http://"+listen+"/api/incidents")
		return strings.Contains(body, `"quiet": "silence by ada`)
	}
	waitFor(t, 30*time.Second, "a quiet incident", quiet)
	p.kill()
	p = start(t, dir, nil, "run")
	waitFor(t, 30*time.Second, "it to be there again", func() bool { return strings.Contains(p.out.String(), "down     live") && quiet() })
	run(0, "group ws", "silence", "list")
	if n := len(slack.Roots()); n != 1 {
		t.Fatalf("%d messages in a silence, want the one of before:\n%s", n, dump(slack))
	}
	run(0, silence+" ended", "silence", "end", silence)
	roots(t, slack, 30*time.Second, "the second message", func(m []slacktest.Message) bool { return len(m) == 2 })
	tg.mode.Store("ok")
	waitFor(t, 30*time.Second, "the second resolve", func() bool { return len(resolves(slack)) == 2 })

	// A deployment that breaks it and heals it again is told to nobody. Before,
	// no rule is about what is wrong, and yet it is not green.
	tg.mode.Store("hang")
	run(0, "maintenance m-", "maintenance", "start", "--group", "ws", "--for", "10m", "--until-green")
	tg.mode.Store("404")
	waitFor(t, 30*time.Second, "a quiet incident", func() bool {
		_, body := get(t, "http://"+listen+"/api/incidents")
		return strings.Contains(body, `"quiet": "maintenance by `)
	})
	tg.mode.Store("ok")
	waitFor(t, 30*time.Second, "the window to end", func() bool {
		c := start(t, dir, nil, "silence", "list")
		<-c.exited
		return strings.Contains(c.out.String(), "no silences")
	})
	if n := len(slack.Roots()); n != 2 {
		t.Errorf("%d messages, want two:\n%s", n, texts())
	}
	p.stop()
}
