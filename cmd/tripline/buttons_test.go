package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// TestButtons presses a button under a message in Slack: the program answers
// who pressed, through the connection that it has opened itself.
func TestButtons(t *testing.T) {
	t.Parallel()
	slack := slacktest.New()
	defer slack.Close()
	tg := newTarget(t)
	tg.mode.Store("404")
	dir, listen := t.TempDir(), freePort(t)
	config := strings.Replace(storyConfig(tg, slack, listen), "channel:", `app_token: "`+slacktest.AppToken+`", channel:`, 1)
	writeFile(t, filepath.Join(dir, "config.yaml"), config)
	p := start(t, dir, nil, "run")

	opened := roots(t, slack, 30*time.Second, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })[0]
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	socket, err := slack.WaitSocket(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := slack.Press("e1", opened.TS, "tripline_acknowledge")
	if err != nil {
		t.Fatal(err)
	}
	if err := socket.Send(ctx, envelope); err != nil {
		t.Fatal(err)
	}
	if id, err := socket.Acknowledged(ctx); err != nil || id != "e1" {
		t.Errorf("acknowledged %q (%v), want e1", id, err)
	}
	waitFor(t, 30*time.Second, "the answer", func() bool { return len(slack.Ephemerals()) == 1 })
	t.Logf("answer: %q", slack.Ephemerals()[0].Text)
	if v := slack.Violations(); len(v) > 0 {
		t.Errorf("Slack would have refused: %q", v)
	}
	p.wantStopped()
	for _, secret := range []string{slacktest.AppToken, slacktest.Token, "ticket"} {
		if strings.Contains(p.out.String(), secret) {
			t.Errorf("the output holds the secret %q", secret)
		}
	}
}
