package main

import (
	"flag"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// troubleTime is how long Slack is in trouble in TestSlackTrouble.
var troubleTime = flag.Duration("trouble", 6*time.Second, "how long Slack is in trouble in TestSlackTrouble")

// TestSlackTrouble breaks the target while Slack hangs, refuses or limits. The
// schedule must not notice, and people are told once when Slack is well again.
func TestSlackTrouble(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]slacktest.Fault{
		"hangs":              {Hang: true},
		"503":                {Status: http.StatusServiceUnavailable},
		"429":                {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}},
		"429 without header": {Status: http.StatusTooManyRequests},
		"429 odd header":     {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1.5"}}},
		"HTML":               {Status: http.StatusOK, Body: "<html>proxy</html>"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slack := slacktest.New()
			defer slack.Close()
			tg := newTarget(t)
			dir, listen := t.TempDir(), freePort(t)
			writeFile(t, filepath.Join(dir, "config.yaml"), storyConfig(tg, slack, listen))
			p := start(t, dir, nil, "run")
			waitFor(t, 20*time.Second, "two good upgrades", func() bool { return tg.upgrades.Load() >= 2 })

			slack.Inject(fault)
			before, at := tg.upgrades.Load(), time.Now()
			tg.mode.Store("404")
			<-time.After(*troubleTime)
			ran, due := tg.upgrades.Load()-before, int64(time.Since(at)/time.Second)
			if ran < due-1 {
				p.load.late(t, "%d of %d slots kept while Slack %s", ran, due, name)
			}
			if missed := metric(t, listen, `tripline_slots_total{outcome="missed"}`); missed != 0 {
				p.load.late(t, "%g slots were missed, want 0", missed)
			}
			slack.Heal()
			// The attempt in flight may hang until its deadline, and the pause
			// after several failures has grown.
			roots(t, slack, 20*time.Second+2**troubleTime, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })
			tg.mode.Store("ok")
			waitFor(t, 30*time.Second, "the resolve", func() bool { return len(resolves(slack)) == 1 })
			p.stop()
			if all, r := slack.Roots(), resolves(slack); len(all) != 1 || len(r) != 1 {
				t.Errorf("%d messages and %d resolves, want one of each:\n%s", len(all), len(r), dump(slack))
			}
			if strings.Contains(p.out.String(), slacktest.Token) {
				t.Error("the output holds the token")
			}
		})
	}
}
