package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// crashRounds is how often TestCrash kills the story; each takes some 10 s,
// several run at once.
var crashRounds = flag.Int("crash-rounds", 4, "rounds of TestCrash")

// TestCrash plays the story of TestStory and kills the program with SIGKILL at
// random points of it, and, in every other round, exactly between Slack's
// carrying out a request and the program's hearing of it. Whatever happens
// there is one message, and one resolve in its thread.
func TestCrash(t *testing.T) {
	for round := range *crashRounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			crashRound(t, rand.New(rand.NewPCG(seed, 0)), round%2 == 1)
		})
	}
}

// incidentJSON is what the test reads of /api/incidents.
type incidentJSON struct {
	ID    string    `json:"id"`
	Group string    `json:"group"`
	Quiet string    `json:"quiet"`
	Since time.Time `json:"since"`
}

func openIncidents(t *testing.T, listen string) []incidentJSON {
	t.Helper()
	var answer struct {
		Incidents []struct {
			incidentJSON
			Ended time.Time `json:"ended"`
		} `json:"incidents"`
	}
	if status, body := get(t, "http://"+listen+"/api/incidents"); status == 200 {
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
	}
	var open []incidentJSON
	for _, i := range answer.Incidents {
		if i.Ended.IsZero() {
			open = append(open, i.incidentJSON)
		}
	}
	return open
}

func crashRound(t *testing.T, rnd *rand.Rand, between bool) {
	slack := slacktest.New()
	defer slack.Close()
	tg := newTarget(t)
	dir := t.TempDir()
	listen := freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), storyConfig(tg, slack, listen))
	moment := func(limit time.Duration) <-chan time.Time { return time.After(time.Duration(rnd.Int64N(int64(limit)))) }

	p := start(t, dir, nil, "run")
	waitFor(t, 20*time.Second, "two good upgrades", func() bool { return tg.upgrades.Load() >= 2 })

	tg.mode.Store("404")
	if between {
		slack.Inject(slacktest.Fault{Method: "chat.postMessage", Done: true, Hang: true, Times: 1})
		waitFor(t, 10*time.Second, "the message", func() bool { return len(slack.Roots()) == 1 })
	} else {
		<-moment(4 * time.Second)
	}
	p.kill()
	p = start(t, dir, nil, "run")
	roots(t, slack, 20*time.Second, "the message", func(m []slacktest.Message) bool { return len(m) >= 1 })
	waitFor(t, 10*time.Second, "the incident", func() bool { return len(openIncidents(t, listen)) == 1 })
	before := openIncidents(t, listen)[0]

	<-moment(2 * time.Second)
	p.kill()
	p = start(t, dir, nil, "run")
	waitFor(t, 20*time.Second, "the incident after the restart", func() bool { return len(openIncidents(t, listen)) == 1 })
	if after := openIncidents(t, listen)[0]; after != before {
		t.Errorf("the incident changed over a crash: %v, then %v", before, after)
	}

	tg.mode.Store("ok")
	if between {
		slack.Inject(slacktest.Fault{Method: "chat.postMessage", Done: true, Hang: true, Times: 1})
		waitFor(t, 20*time.Second, "the resolve", func() bool { return len(resolves(slack)) == 1 })
	} else {
		<-moment(5 * time.Second)
	}
	p.kill()
	p = start(t, dir, nil, "run")
	waitFor(t, 30*time.Second, "the resolve", func() bool { return len(resolves(slack)) >= 1 })
	roots(t, slack, 10*time.Second, "the resolve in the message", func(m []slacktest.Message) bool {
		return strings.Contains(strings.ToLower(m[0].Text), "resolved")
	})
	seen := tg.upgrades.Load()
	waitFor(t, 20*time.Second, "three more upgrades", func() bool { return tg.upgrades.Load() >= seen+3 })
	p.stop()
	if r, all := resolves(slack), slack.Roots(); len(all) != 1 || len(r) != 1 {
		t.Errorf("%d messages and %d resolves, want one of each:\n%s", len(all), len(r), dump(slack))
	}
}

// resolves returns the replies that tell a resolve.
func resolves(slack *slacktest.Server) []slacktest.Message {
	var list []slacktest.Message
	for _, m := range slack.Messages() {
		if m.Thread != "" && strings.Contains(strings.ToLower(m.Text), "resolved") {
			list = append(list, m)
		}
	}
	return list
}
