package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// deliveryConfig watches a WebSocket each second and tells of it as notifiers say.
func deliveryConfig(tg *target, listen, notifiers string) string {
	return fmt.Sprintf(`version: 1
data: {dir: data}
http: {listen: %q}
defaults: {base_url: %q, every: 1s, timeout: 900ms, confirm: 0}
checks:
  - {name: live, group: ws, websocket: {url: /ws}}
rules:
  - {name: ws-404, severity: page, rate: {of: not_found, over: 1m, above: 0%%}}
notify:
%s`, listen, tg.URL, notifiers)
}

func pagerNotifier(name string, p *pager, key, more string) string {
	return fmt.Sprintf("  - {name: %s, pagerduty: {routing_key: %s, api_url: %q}%s}\n", name, key, p.URL, more)
}

func slackNotifier(s *slacktest.Server, more string) string {
	return fmt.Sprintf("  - {name: slack, slack: {token: %q, channel: %q, api_url: %q}%s}\n", slacktest.Token, slacktest.Channel, s.API, more)
}

// attempt is what the tests read of /api/incidents/{id}.
type attempt struct {
	Notifier string  `json:"notifier"`
	Version  int     `json:"version"`
	Told     bool    `json:"told"`
	Error    string  `json:"error"`
	Took     float64 `json:"took_ms"`
}

func attempts(t *testing.T, listen, id string) []attempt {
	t.Helper()
	var answer struct {
		Attempts []attempt `json:"attempts"`
	}
	if status, body := get(t, "http://"+listen+"/api/incidents/"+id); status == 200 {
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%v in %q", err, body)
		}
	}
	return answer.Attempts
}

// PagerDuty drops a resolve that comes through another key than the trigger, and
// answers 202: the key that triggered is used, also after a change of the
// config and a restart.
func TestPagerKeyChange(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"reload", "restart", "crash"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			tg, pd := newTarget(t), newPager(t)
			dir, listen := t.TempDir(), freePort(t)
			file := filepath.Join(dir, "config.yaml")
			writeFile(t, file, deliveryConfig(tg, listen, pagerNotifier("pager", pd, pagerKey, "")))
			p := start(t, dir, nil, "run")
			if way == "crash" {
				pd.set("mute")
			}
			tg.mode.Store("404")
			waitFor(t, patience, "the alert", func() bool { opened, _, _ := pd.counts(); return opened == 1 })
			if way == "crash" { // before the answer
				p.kill()
				pd.set("ok")
				pd.CloseClientConnections()
			}
			writeFile(t, file, deliveryConfig(tg, listen, pagerNotifier("pager", pd, newPagerKey, "")))
			if way == "reload" {
				<-start(t, dir, nil, "reload").exited
				waitFor(t, patience, "the reload", func() bool { return strings.Contains(p.out.String(), "notifiers changed: pager") })
			} else {
				p.kill()
				p = start(t, dir, nil, "run")
			}
			tg.mode.Store("ok")
			waitFor(t, patience, "the resolve through the old key", func() bool { _, ended, open := pd.counts(); return ended == 1 && open == 0 })
			if opened, _, _ := pd.counts(); opened != 1 {
				t.Errorf("%d alerts, want 1", opened)
			}
			p.stop()
			if strings.Contains(p.out.String(), pagerKey) || strings.Contains(p.out.String(), newPagerKey) {
				t.Error("the output holds a key")
			}
		})
	}
}

// Slack answers 429 while the incident resolves: the resolve is told
// nevertheless, once.
func TestResolveBehindRateLimit(t *testing.T) {
	t.Parallel()
	slack := slacktest.New()
	defer slack.Close()
	tg := newTarget(t)
	dir, listen := t.TempDir(), freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), deliveryConfig(tg, listen, slackNotifier(slack, "")))
	p := start(t, dir, nil, "run")
	tg.mode.Store("404")
	roots(t, slack, patience, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })
	id := oneIncident(t, listen).ID // the page may hear of it after Slack
	slack.Inject(slacktest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}})
	tg.mode.Store("ok")
	waitFor(t, patience, "an attempt that met 429", func() bool {
		all := attempts(t, listen, id)
		return len(all) >= 2 && !all[len(all)-1].Told
	})
	slack.Heal()
	waitFor(t, patience, "the resolve", func() bool { return len(resolves(slack)) == 1 })
	waitFor(t, patience, "the attempt on record", func() bool {
		all := attempts(t, listen, id)
		if len(all) < 2 {
			return false
		}
		last := all[len(all)-1]
		return all[0].Told && all[0].Version == 1 && all[0].Notifier == "slack" && last.Told && last.Version == 2
	})
	var all []attempt
	waitFor(t, patience, "the attempts", func() bool { all = attempts(t, listen, id); return len(all) >= 2 })
	for _, a := range all[1 : len(all)-1] {
		if a.Told || a.Version != 2 || a.Error == "" {
			t.Errorf("attempt %+v, want one of version 2 that was not told, and why", a)
		}
	}
	if _, page := get(t, "http://"+listen+"/incidents/"+id); !strings.Contains(page, "<td>slack</td>") || !strings.Contains(page, "not told: ") {
		t.Errorf("the incident's page does not show the attempts:\n%s", page)
	}
	p.kill()
	p = start(t, dir, nil, "run")
	waitFor(t, patience, "the attempts after a crash", func() bool { return len(attempts(t, listen, id)) == len(all) })
	p.stop()
	if n := len(resolves(slack)); n != 1 {
		t.Errorf("%d resolves, want 1", n)
	}
}

// What Slack does not take goes to the fallback, once and with the reason, and
// the resolve goes to both.
func TestFallback(t *testing.T) {
	t.Parallel()
	slack, tg, pd := slacktest.New(), newTarget(t), newPager(t)
	defer slack.Close()
	dir, listen := t.TempDir(), freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), deliveryConfig(tg, listen,
		slackNotifier(slack, ", fallback: backup, fallback_after: 10s")+pagerNotifier("backup", pd, pagerKey, ", standby: true")))
	slack.Inject(slacktest.Fault{Status: http.StatusServiceUnavailable})
	p := start(t, dir, nil, "run")
	tg.mode.Store("404")
	waitFor(t, patience, "the fallback", func() bool { opened, _, _ := pd.counts(); return opened == 1 })
	if said := pd.said(); !strings.Contains(said, `"because":"slack has not delivered for 10s: `) {
		t.Errorf("the fallback does not say why: %s", said)
	}
	p.kill()
	p = start(t, dir, nil, "run")
	slack.Heal()
	roots(t, slack, patience, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })
	tg.mode.Store("ok")
	waitFor(t, patience, "both resolves", func() bool {
		_, ended, open := pd.counts()
		return ended == 1 && open == 0 && len(resolves(slack)) == 1
	})
	p.stop()
	if opened, ended, _ := pd.counts(); opened != 1 || ended != 1 || len(slack.Roots()) != 1 {
		t.Errorf("%d alerts, %d ends, %d messages, want one of each", opened, ended, len(slack.Roots()))
	}
}

// A notifier that accepts and never answers costs the schedule nothing, and the
// other notifiers neither; the heartbeat stops while it hangs, and goes on.
func TestHangingNotifier(t *testing.T) {
	t.Parallel()
	tg, pd := newTarget(t), newPager(t)
	slack := slacktest.New()
	defer slack.Close()
	beats := newBeats(t)
	dir, listen := t.TempDir(), freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), deliveryConfig(tg, listen, pagerNotifier("pager", pd, pagerKey, "")+slackNotifier(slack, ""))+
		fmt.Sprintf("heartbeat: {url: %q, every: 1s}\n", beats.secret()))
	p := start(t, dir, nil, "run")
	waitFor(t, patience, "three heartbeats", func() bool { return beats.n.Load() >= 3 })
	pd.set("hang")
	before := tg.upgrades.Load()
	tg.mode.Store("404")
	roots(t, slack, patience, "the message", func(m []slacktest.Message) bool { return len(m) == 1 })
	waitFor(t, 2*patience, "the end of the heartbeat", func() bool {
		_, health := get(t, "http://"+listen+"/health")
		return strings.Contains(health, "no heartbeat is sent: pager has not delivered for ")
	})
	stopped := beats.n.Load()
	ran := tg.upgrades.Load()
	waitFor(t, patience, "five more runs", func() bool { return tg.upgrades.Load() >= ran+5 })
	if n := beats.n.Load(); n != stopped {
		t.Errorf("%d heartbeats while nobody can be paged", n-stopped)
	}
	if ran-before < 6 { // the notifier has hung for 30 s and more: a schedule that waits makes two or three
		t.Errorf("%d runs while a notifier hung, want one each second", ran-before)
	}
	pd.set("ok")
	pd.CloseClientConnections()
	waitFor(t, 2*patience, "the heartbeat again", func() bool { return beats.n.Load() > stopped })
	if opened, _, _ := pd.counts(); opened != 1 {
		t.Errorf("%d alerts, want 1", opened)
	}
	p.stop()
	out, stops := p.out.String(), 0
	for line := range strings.Lines(out) { // a machine that stands still stops it for other reasons
		if strings.Contains(line, "the heartbeat stops") && strings.Contains(line, "pager has not delivered") {
			stops++
		}
	}
	if stops != 1 || !strings.Contains(out, "the heartbeat goes on") || strings.Contains(out, "hush") {
		t.Errorf("the log must say once that the heartbeat stops, that it goes on, and not its URL")
	}
}

// beats receives heartbeats, and redirects all others to where nobody may go.
type beats struct {
	*httptest.Server
	n, strayed atomic.Int64
	redirect   atomic.Bool
}

func newBeats(t *testing.T) *beats {
	t.Helper()
	b := &beats{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/hush-hush-hush":
			b.strayed.Add(1)
		case b.redirect.Load():
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		default:
			b.n.Add(1)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *beats) secret() string { return b.URL + "/hush-hush-hush" }

// A heartbeat that is not received is a warning without its URL, and a redirect
// is not followed.
func TestHeartbeatRedirect(t *testing.T) {
	t.Parallel()
	tg, beats := newTarget(t), newBeats(t)
	beats.redirect.Store(true)
	dir, listen := t.TempDir(), freePort(t)
	text := deliveryConfig(tg, listen, "  - {name: console, log: {}}\n")
	writeFile(t, filepath.Join(dir, "config.yaml"), text+fmt.Sprintf("heartbeat: {url: %q, every: 1s, method: POST}\n", beats.secret()))
	p := start(t, dir, nil, "run")
	waitFor(t, patience, "the warning", func() bool {
		_, health := get(t, "http://"+listen+"/health")
		return strings.Contains(health, "the heartbeat was not received: POST 127.0.0.1:") && strings.Contains(health, "status 302, want 2xx")
	})
	beats.redirect.Store(false)
	waitFor(t, patience, "the heartbeat", func() bool { return beats.n.Load() > 0 })
	if beats.strayed.Load() > 0 {
		t.Error("the redirect was followed")
	}
	p.stop()
	if strings.Contains(p.out.String(), "hush") {
		t.Error("the output holds the URL")
	}
}
