package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// TestPicture: an incident has one picture in its thread, and no second one
// after a restart. With TRIPLINE_KEEP_PICTURE=file it can be looked at.
func TestPicture(t *testing.T) {
	t.Parallel()
	slack := slacktest.New()
	defer slack.Close()
	tg := newTarget(t)
	dir, listen := t.TempDir(), freePort(t)
	config := strings.Replace(storyConfig(tg, slack, listen), "channel:", `picture: true, channel:`, 1)
	writeFile(t, filepath.Join(dir, "config.yaml"), config)
	p := start(t, dir, nil, "run")
	waitFor(t, 30*time.Second, "five good upgrades", func() bool { return tg.upgrades.Load() >= 5 })
	tg.mode.Store("404")

	waitFor(t, 30*time.Second, "the picture", func() bool { return len(slack.Files()) > 0 })
	f := slack.Files()[0]
	if root := slack.Roots()[0]; f.Thread != root.TS || f.Title != "ws · ws-404 · live" || !strings.Contains(f.Alt, "not_found") {
		t.Errorf("picture %q (%s) in the thread of %s, want it in that of %s", f.Title, f.Alt, f.Thread, root.TS)
	}
	if name := os.Getenv("TRIPLINE_KEEP_PICTURE"); name != "" {
		writeFile(t, name, string(f.Content))
	}
	p.wantStopped()

	p = start(t, dir, nil, "run")
	tg.mode.Store("ok")
	waitFor(t, 30*time.Second, "the resolve in the thread", func() bool { return len(slack.Replies(f.Thread)) > 0 })
	tg.mode.Store("404")
	waitFor(t, 30*time.Second, "the picture of the next incident", func() bool { return len(slack.Files()) > 1 })
	for _, other := range slack.Files()[1:] {
		if other.Thread == f.Thread {
			t.Errorf("%q is a second picture in the same thread", other.Title)
		}
	}
	p.wantStopped()
	if v := slack.Violations(); len(v) > 0 {
		t.Errorf("Slack would have refused: %q", v)
	}
}
