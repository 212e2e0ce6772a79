package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/alerting/notify/slacktest"
	"github.com/tripline/tripline/internal/journal"
)

// TestDirectStep plays one letter a second: s the log is stuck, . it is well.
// Upper case in want is where something is told: O that it is stuck, R that it
// recovered.
func TestDirectStep(t *testing.T) {
	for _, c := range []struct{ name, log, want string }{
		{"well", "....................", "...................."},
		{"a hiccup", "..ssssssss..........", "...................."},
		{"stuck", "ssssssssssssssssssss", "..........O........."},
		{"recovers", "sssssssssssss.......", "..........O.......R."},
		{"stuck again at once", "sssssssssssss..sssssssssssssss........", "..........O........................R.."},
		{"a second episode", "sssssssssss......ssssssssssssss", "..........O.....R..........O..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d direct
			var got strings.Builder
			var since time.Time
			now := time.Date(2026, 11, 21, 3, 10, 0, 0, time.UTC)
			for _, r := range c.log {
				switch {
				case r == '.':
					since = time.Time{}
				case since.IsZero():
					since = now
				}
				switch i := d.step(now, journal.LogHealth{StuckSince: since, Pending: 7}); {
				case i == nil:
					got.WriteByte('.')
				case i.Open():
					got.WriteByte('O')
				default:
					got.WriteByte('R')
				}
				now = now.Add(time.Second)
			}
			if got.String() != c.want {
				t.Errorf("log  %s\ntold %s\nwant %s", c.log, got.String(), c.want)
			}
		})
	}
}

func TestDirectText(t *testing.T) {
	var d direct
	at := time.Date(2026, 11, 21, 3, 10, 0, 0, time.UTC)
	stuck := journal.LogHealth{StuckSince: at, Pending: 412, Dropped: 5, Err: errors.New("disk of data: 0.0 MiB free, want 64.0 MiB")}
	opened := d.step(at.Add(directAfter), stuck)
	if opened == nil {
		t.Fatal("nothing is told")
	}
	text := opened.Title() + "\n" + strings.Join(opened.Lines(), "\n")
	for _, want := range []string{"monitor", "03:10:00 UTC", "412", "disk of data: 0.0 MiB free"} {
		if !strings.Contains(text, want) {
			t.Errorf("the message lacks %q:\n%s", want, text)
		}
	}
	d.step(at.Add(4*time.Minute), journal.LogHealth{Dropped: 8})
	over := d.step(at.Add(4*time.Minute+directWell), journal.LogHealth{Dropped: 8})
	if over == nil {
		t.Fatal("the end is not told")
	}
	if over.ID != opened.ID || over.Version <= opened.Version || over.Open() {
		t.Errorf("the end is %s version %d, want %s version %d, ended", over.ID, over.Version, opened.ID, opened.Version+1)
	}
	text = over.Title() + "\n" + strings.Join(over.Lines(), "\n")
	for _, want := range []string{"[resolved]", "after 4m", "3 found no room", "disk of data: 0.0 MiB free"} {
		if !strings.Contains(text, want) {
			t.Errorf("the end lacks %q:\n%s", want, text)
		}
	}
	if opened.Findings[0].Cleared != (time.Time{}) {
		t.Error("the end changed the message that was told")
	}
}

// TestDirectTell tells without a store, with one notifier that fails and one
// that panics beside Slack.
func TestDirectTell(t *testing.T) {
	slack := slacktest.New()
	defer slack.Close()
	var log bytes.Buffer
	settings := notify.Slack{Token: slacktest.Token, Channel: slacktest.Channel, APIURL: slack.API}
	logger := slog.New(slog.NewTextHandler(&log, nil))
	hook := notify.SlackWebhook{URL: slack.Webhook}
	d := &desks{
		log: logger, link: func(alerting.Incident) string { return "" },
		running: map[string]*runningDesk{
			"slack": {desk: &notify.Desk{Notifier: settings.Notifier(notify.Env{Log: logger})}},
			"hook":  {desk: &notify.Desk{Notifier: hook.Notifier(notify.Env{Log: logger})}},
			"panic": {desk: &notify.Desk{}},
		},
	}
	slack.Inject(slacktest.Fault{Method: "webhook", Status: http.StatusBadGateway})
	i := directIncident(time.Now(), journal.LogHealth{StuckSince: time.Now().Add(-directAfter), Err: io.ErrShortWrite})
	d.tell(t.Context(), *i)
	if all := slack.Messages(); len(all) != 1 {
		t.Fatalf("%d messages, want 1:\n%s", len(all), dump(slack))
	}
	over := (&direct{told: i, well: time.Now()}).end(journal.LogHealth{})
	d.tell(t.Context(), *over)
	if roots, ends := slack.Roots(), resolves(slack); len(roots) != 1 || len(ends) != 1 {
		t.Errorf("%d messages and %d resolves, want one of each:\n%s", len(roots), len(ends), dump(slack))
	}
	if v := slack.Violations(); len(v) > 0 {
		t.Errorf("Slack would have refused: %q", v)
	}
	for _, name := range []string{"hook", "panic"} {
		if n := strings.Count(log.String(), fmt.Sprintf("notifier=%s", name)); n != 2 {
			t.Errorf("%s: %d lines in the log, want 2:\n%s", name, n, log.String())
		}
	}
}
