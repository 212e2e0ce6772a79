package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting/notify/mailtest"
	"github.com/tripline/tripline/alerting/notify/slacktest"
)

// alertmanager is Alertmanager's API as far as alerts come in, and counts what
// it would tell: an alert that is not active and comes begins, one whose end has
// come ends.
type alertmanager struct {
	*httptest.Server
	mu       sync.Mutex
	active   map[string]time.Time // until when, by labels
	begun    int
	ends     int // told, whether it was active or not
	refusals []string
}

func newAlertmanager(t *testing.T) *alertmanager {
	t.Helper()
	a := &alertmanager{active: map[string]time.Time{}}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *alertmanager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var alerts []struct {
		Labels       map[string]string
		Annotations  map[string]string
		StartsAt     time.Time
		EndsAt       time.Time
		GeneratorURL string
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&alerts)
	a.mu.Lock()
	defer a.mu.Unlock()
	refuse := func(format string, args ...any) {
		a.refusals = append(a.refusals, fmt.Sprintf(format, args...))
		w.WriteHeader(http.StatusBadRequest)
	}
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/api/v2/alerts" || r.Header.Get("Content-Type") != "application/json" {
		refuse("%s %s: %v", r.Method, r.URL.Path, err)
		return
	}
	for _, x := range alerts {
		if len(x.Labels) == 0 || x.StartsAt.IsZero() || x.EndsAt.Before(x.StartsAt) {
			refuse("alert %+v", x)
			return
		}
	}
	now := time.Now()
	for _, x := range alerts {
		key := fmt.Sprint(x.Labels) // in the order of their names
		if !x.EndsAt.After(now) {
			a.ends++
			delete(a.active, key)
			continue
		}
		if !a.active[key].After(now) {
			a.begun++
		}
		a.active[key] = x.EndsAt
	}
}

// hooks receives signed webhooks and refuses those whose signature is wrong.
type hooks struct {
	*httptest.Server
	mu       sync.Mutex
	types    []string
	refusals []string
}

var hookKey = [32]byte{1, 2, 3}

func newHooks(t *testing.T) *hooks {
	t.Helper()
	h := &hooks{}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	id, stamp := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
	mac := hmac.New(sha256.New, hookKey[:])
	mac.Write([]byte(id + "." + stamp + "." + string(body)))
	var event struct {
		Type string `json:"type"`
	}
	err := json.Unmarshal(body, &event)
	h.mu.Lock()
	defer h.mu.Unlock()
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); err != nil || id == "" || r.Header.Get("Webhook-Signature") != want {
		h.refusals = append(h.refusals, fmt.Sprintf("%v, signature %q", err, r.Header.Get("Webhook-Signature")))
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	h.types = append(h.types, event.Type)
}

// everyone is a receiver of each kind of notifier.
type everyone struct {
	slack *slacktest.Server
	pd    *pager
	am    *alertmanager
	hooks *hooks
	mail  *mailtest.Server
	plain *slacktest.Server // by its incoming webhook
}

func newEveryone(t *testing.T) *everyone {
	t.Helper()
	mail, err := mailtest.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mail.Close)
	e := &everyone{slack: slacktest.New(), pd: newPager(t), am: newAlertmanager(t), hooks: newHooks(t), mail: mail, plain: slacktest.New()}
	t.Cleanup(e.slack.Close)
	t.Cleanup(e.plain.Close)
	return e
}

// notifiers is the list of them in a config.
func (e *everyone) notifiers() string {
	return "  - {name: console, log: {}}\n" + slackNotifier(e.slack, "") + pagerNotifier("pager", e.pd, pagerKey, "") + fmt.Sprintf(
		`  - {name: alertmanager, alertmanager: {urls: [%q]}}
  - {name: hook, webhook: {url: %q, secret: %q, allow_private: true}}
  - name: mail
    email: {server: %q, ca_file: %q, username: %q, password: %q, from: tripline@example.com, to: [oncall@example.com]}
  - {name: plain, slack_webhook: {url: %q}}
`, e.am.URL, e.hooks.URL, "whsec_"+base64.StdEncoding.EncodeToString(hookKey[:]), e.mail.Addr, e.mail.CAFile, mailtest.Username, mailtest.Password, e.plain.Webhook)
}

// heard is how often a receiver was told of a beginning, of something else, and
// of an end.
type heard struct{ Opened, Updated, Resolved int }

var (
	openedLine   = regexp.MustCompile(`(?m)^\S+ PAGE opened ws: `)
	resolvedLine = regexp.MustCompile(`(?m)^\S+ RESOLVED ws `)
	updatedLine  = regexp.MustCompile(`(?m)^\S+ PAGE ws: `)
)

// heard returns what each has heard, by the name of its notifier; output is that
// of all runs of the program.
func (e *everyone) heard(output string) map[string]heard {
	all := map[string]heard{"console": {
		len(openedLine.FindAllString(output, -1)), len(updatedLine.FindAllString(output, -1)), len(resolvedLine.FindAllString(output, -1)),
	}}
	ends := len(resolves(e.slack))
	all["slack"] = heard{len(e.slack.Roots()), len(e.slack.Messages()) - len(e.slack.Roots()) - ends, ends}
	opened, ended, _ := e.pd.counts()
	e.pd.mu.Lock()
	all["pager"] = heard{opened, len(e.pd.bodies) - opened - ended, ended}
	e.pd.mu.Unlock()
	e.am.mu.Lock()
	all["alertmanager"] = heard{e.am.begun, 0, e.am.ends} // it is told again each minute
	e.am.mu.Unlock()
	e.hooks.mu.Lock()
	hook := heard{}
	for _, typ := range e.hooks.types {
		switch typ {
		case "incident.opened":
			hook.Opened++
		case "incident.resolved":
			hook.Resolved++
		default:
			hook.Updated++
		}
	}
	e.hooks.mu.Unlock()
	all["hook"] = hook
	mail := heard{}
	for _, m := range e.mail.Messages() {
		_, body, _ := strings.Cut(m.Data, "\n\n")
		switch {
		case strings.Contains(body, "[RESOLVED] ws") || strings.Contains(body, "[resolved] ws"):
			mail.Resolved++
		case !strings.Contains(m.Data, "\nIn-Reply-To:"):
			mail.Opened++
		default:
			mail.Updated++
		}
	}
	all["mail"] = mail
	plain := heard{}
	for _, m := range e.plain.Roots() {
		if isResolved(m) {
			plain.Resolved++
		} else {
			plain.Opened++
		}
	}
	all["plain"] = plain
	return all
}

// wait waits until everyone has heard of so many ends at least, and all of it is
// on record; then it says what differs from that, after so many crashes.
func (e *everyone) wait(t *testing.T, listen, id string, output func() string, crashes int, want heard) {
	t.Helper()
	version := 1 + want.Resolved
	waitFor(t, 2*patience, fmt.Sprintf("everyone to hear %+v", want), func() bool {
		told := map[string]bool{}
		for _, a := range attempts(t, listen, id) {
			told[a.Notifier] = told[a.Notifier] || a.Told && a.Version == version
		}
		for name := range e.heard("") {
			if !told[name] {
				return false
			}
		}
		return true
	})
	e.want(t, output, crashes, want)
}

func (e *everyone) want(t *testing.T, output func() string, crashes int, want heard) {
	t.Helper()
	waitFor(t, patience, "the console", func() bool { // which prints in its own time
		got := e.heard(output())["console"]
		return got.Opened >= want.Opened && got.Resolved >= want.Resolved
	})
	got := e.heard(output())
	all := map[string]heard{}
	for name := range got {
		all[name] = want
	}
	// Slack cannot be asked what came through the webhook: a repeat for each crash.
	plain := got["plain"]
	if extra := plain.Opened - want.Opened + plain.Resolved - want.Resolved; extra > 0 && extra <= crashes && plain.Opened >= want.Opened && plain.Resolved >= want.Resolved {
		all["plain"] = plain
	}
	if diff := cmp.Diff(all, got); diff != "" {
		t.Fatalf("what each has heard (-want +got):\n%s", diff)
	}
	e.am.mu.Lock()
	e.hooks.mu.Lock()
	refused := slices.Concat(e.slack.Violations(), e.plain.Violations(), e.mail.Violations(), e.am.refusals, e.hooks.refusals)
	e.hooks.mu.Unlock()
	e.am.mu.Unlock()
	if len(refused) > 0 {
		t.Errorf("refused: %q", refused)
	}
}

// TestKilledInMidIncident kills the program when everyone knows of an incident,
// again and again, and lets the target recover while it is dead: everyone hears
// of the end once, and nobody hears of the beginning twice.
func TestKilledInMidIncident(t *testing.T) {
	t.Parallel()
	tg, all := newTarget(t), newEveryone(t)
	dir, listen := t.TempDir(), freePort(t)
	writeFile(t, filepath.Join(dir, "config.yaml"), deliveryConfig(tg, listen, all.notifiers()))
	out := &syncBuffer{}
	p := startTo(t, out, out, dir, nil, "run")
	again := func() {
		t.Helper()
		p.kill()
		p = startTo(t, out, out, dir, nil, "run")
	}
	runs := func(n int64) {
		t.Helper()
		seen := tg.upgrades.Load()
		waitFor(t, patience, "more runs", func() bool { return tg.upgrades.Load() >= seen+n })
	}
	runs(2)
	tg.mode.Store("404")
	incident := oneIncident(t, listen)
	all.wait(t, listen, incident.ID, out.String, 0, heard{Opened: 1})

	again() // and it is still broken
	runs(3)
	if after := oneIncident(t, listen); after != incident {
		t.Errorf("the incident changed over a crash: %v, then %v", incident, after)
	}
	all.want(t, out.String, 1, heard{Opened: 1})

	p.kill()
	tg.mode.Store("ok") // which nobody sees
	p = startTo(t, out, out, dir, nil, "run")
	all.wait(t, listen, incident.ID, out.String, 2, heard{Opened: 1, Resolved: 1})

	again() // and everyone knows
	runs(4)
	p.stop()
	all.want(t, out.String, 3, heard{Opened: 1, Resolved: 1})
}
