package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting/notify/slacktest"
	"github.com/tripline/tripline/internal/cloudmon/cloudmontest"
)

// TestLogMovedAway does what the message about a damaged log advises, in the
// middle of an incident, and damages the export's state besides: the monitor
// starts, the incident is told once, and its end is told once.
func TestLogMovedAway(t *testing.T) {
	t.Parallel()
	slack := slacktest.New()
	defer slack.Close()
	server, endpoint := cloudmontest.Start(t, cloudmontest.Options{})
	tg := newTarget(t)
	dir := t.TempDir()
	listen := freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), storyConfig(tg, slack, listen)+
		"cloud_monitoring: {project: test, endpoint: \""+endpoint+"\"}\n")
	p := start(t, dir, nil, "run")
	waitFor(t, 20*time.Second, "two good upgrades", func() bool { return tg.upgrades.Load() >= 2 })
	tg.mode.Store("404")
	roots(t, slack, 20*time.Second, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })
	before := openIncidents(t, listen)
	p.stop()

	data := filepath.Join(dir, "data")
	if err := os.Rename(filepath.Join(data, "standalone", "jetstream", "$G", "streams", "LOG"), filepath.Join(dir, "LOG")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(data, "cloudmon.state"), "garbage")
	p = start(t, dir, nil, "run")
	waitFor(t, 20*time.Second, "the incident after the restart", func() bool { return len(openIncidents(t, listen)) == 1 })
	if after := openIncidents(t, listen)[0]; len(before) != 1 || after != before[0] {
		t.Errorf("the incident changed: %v, then %v", before, after)
	}
	tg.mode.Store("ok")
	waitFor(t, 20*time.Second, "the resolve", func() bool { return len(resolves(slack)) >= 1 })
	waitFor(t, 20*time.Second, "no open incident", func() bool { return len(openIncidents(t, listen)) == 0 })
	p.stop()
	if r, all := resolves(slack), slack.Roots(); len(all) != 1 || len(r) != 1 {
		t.Errorf("%d messages and %d resolves, want one of each:\n%s", len(all), len(r), dump(slack))
	}
	if n := len(server.Series("custom.googleapis.com/tripline/heartbeat", nil)); n != 2 {
		t.Errorf("%d task ids, want 2: one of the state that was damaged", n)
	}
}
