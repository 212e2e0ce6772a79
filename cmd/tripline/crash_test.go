package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify/slacktest"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// crashRounds is how often TestCrash kills the story; each takes some 10 s,
// several run at once.
var crashRounds = flag.Int("crash-rounds", 4, "rounds of TestCrash")

// TestCrash plays the story of TestStory and kills the program with SIGKILL at
// random points of it, and, in some rounds, exactly between Slack's carrying out
// a request and the program's hearing of it: that for a new message, or that for
// the change of one. Whatever happens there is one message, and one resolve in
// its thread, and no attempt that was made is missing in what they count.
func TestCrash(t *testing.T) {
	t.Parallel()
	for round := range *crashRounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			crashRound(t, rand.New(rand.NewPCG(seed, 0)), []string{"", "chat.postMessage", "chat.update"}[round%3])
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

// oneIncident waits until exactly one incident is open, and returns it.
func oneIncident(t *testing.T, listen string) (i incidentJSON) {
	t.Helper()
	waitFor(t, patience, "one open incident", func() bool {
		open := openIncidents(t, listen)
		if len(open) == 1 {
			i = open[0]
		}
		return len(open) == 1
	})
	return i
}

// endedIncident waits until the incident with the id has ended, and returns it.
func endedIncident(t *testing.T, listen, id string) (i alerting.Incident) {
	t.Helper()
	waitFor(t, patience, "the end of "+id, func() bool {
		status, body := get(t, "http://"+listen+"/api/incidents/"+id)
		if status != http.StatusOK {
			return false
		}
		i = alerting.Incident{}
		if err := json.Unmarshal([]byte(body), &i); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
		return !i.Open()
	})
	return i
}

// wantCounted fails the test unless the finding of an incident counts every
// attempt that the log holds up to its last bad slot: its window is longer than
// the test.
func wantCounted(t *testing.T, i alerting.Incident, check string, entries []checks.Entry) {
	t.Helper()
	bad, total := 0, 0
	for _, e := range entries {
		if r := e.Result; r == nil || r.Check != check || r.Slot.After(i.LastBad) {
			continue
		}
		for class, n := range e.Result.Attempts() {
			switch {
			case class == probe.NotFound:
				bad += n
				total += n
			case class.Status() != probe.Unknown:
				total += n
			}
		}
	}
	if len(i.Findings) != 1 {
		t.Fatalf("%d findings, want 1: %+v", len(i.Findings), i.Findings)
	}
	if f := i.Findings[0]; f.Bad != bad || f.Total != total || bad == 0 {
		t.Errorf("the incident counts %d bad attempts of %d, the log %d of %d", f.Bad, f.Total, bad, total)
	}
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

// crashRound kills at random moments, or when Slack has carried out the method.
func crashRound(t *testing.T, rnd *rand.Rand, method string) {
	slack := slacktest.New()
	defer slack.Close()
	tg := newTarget(t)
	dir := t.TempDir()
	listen := freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), strings.Replace(storyConfig(tg, slack, listen), "over: 1m", "over: 1h", 1))
	moment := func(limit time.Duration) <-chan time.Time { return time.After(time.Duration(rnd.Int64N(int64(limit)))) }
	mute := func() { slack.Inject(slacktest.Fault{Method: method, Done: true, Hang: true, Times: 1}) }

	p := start(t, dir, nil, "run")
	waitFor(t, 20*time.Second, "two good upgrades", func() bool { return tg.upgrades.Load() >= 2 })

	if method == "chat.postMessage" {
		mute()
	}
	tg.mode.Store("404")
	if method == "chat.postMessage" {
		waitFor(t, 10*time.Second, "the message", func() bool { return len(slack.Roots()) == 1 })
	} else {
		<-moment(4 * time.Second)
	}
	p.kill()
	p = start(t, dir, nil, "run")
	roots(t, slack, 20*time.Second, "the message", func(m []slacktest.Message) bool { return len(m) >= 1 })
	before := oneIncident(t, listen)

	<-moment(2 * time.Second)
	p.kill()
	p = start(t, dir, nil, "run")
	if after := oneIncident(t, listen); after != before {
		t.Errorf("the incident changed over a crash: %v, then %v", before, after)
	}

	if method != "" {
		mute()
	}
	tg.mode.Store("ok")
	switch method {
	case "chat.postMessage":
		waitFor(t, 20*time.Second, "the resolve", func() bool { return len(resolves(slack)) == 1 })
	case "chat.update":
		waitFor(t, 20*time.Second, "the resolve in the message", func() bool { return isResolved(slack.Roots()[0]) })
	default:
		<-moment(5 * time.Second)
	}
	p.kill()
	p = start(t, dir, nil, "run")
	waitFor(t, 30*time.Second, "the resolve", func() bool { return len(resolves(slack)) >= 1 })
	roots(t, slack, 10*time.Second, "the resolve in the message", func(m []slacktest.Message) bool { return isResolved(m[0]) })
	seen := tg.upgrades.Load()
	waitFor(t, 20*time.Second, "three more upgrades", func() bool { return tg.upgrades.Load() >= seen+3 })
	ended := endedIncident(t, listen, before.ID)
	p.stop()
	if r, all := resolves(slack), slack.Roots(); len(all) != 1 || len(r) != 1 {
		t.Errorf("%d messages and %d resolves, want one of each:\n%s", len(all), len(r), dump(slack))
	}
	if !ended.Since.Equal(before.Since) {
		t.Errorf("it has ended as one since %s, and was one since %s", ended.Since, before.Since)
	}
	wantCounted(t, ended, "live", readLog(t, dir))
}

func isResolved(m slacktest.Message) bool {
	return strings.Contains(strings.ToLower(m.Text), "resolved")
}

// resolves returns the replies that tell a resolve.
func resolves(slack *slacktest.Server) []slacktest.Message {
	var list []slacktest.Message
	for _, m := range slack.Messages() {
		if m.Thread != "" && isResolved(m) {
			list = append(list, m)
		}
	}
	return list
}
