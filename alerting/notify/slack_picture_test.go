package notify

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify/picture"
	"github.com/tripline/tripline/alerting/notify/slacktest"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// results makes one result a minute until end, of these statuses.
func results(end time.Time, statuses ...probe.Status) []checks.Entry {
	var list []checks.Entry
	for k, s := range statuses {
		r := &checks.Result{Slot: end.Add(time.Duration(k+1-len(statuses)) * time.Minute), Status: s}
		if s == probe.Up || s == probe.Degraded {
			r.Latency = 20 * time.Millisecond
		}
		list = append(list, checks.Entry{Result: r})
	}
	return list
}

// drawing runs a Slack notifier that sends pictures, until the test ends, and
// keeps its log.
type drawing struct {
	*slackBot
	mu    sync.Mutex
	lines bytes.Buffer
}

func (d *drawing) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lines.Write(b)
}

// said returns the lines of the log.
func (d *drawing) said() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Split(strings.TrimSuffix(d.lines.String(), "\n"), "\n")
}

func (d *drawing) hasSaid(part string) bool {
	return strings.Contains(strings.Join(d.said(), "\n"), part)
}

func draw(t *testing.T, s *slacktest.Server, history func(string) []checks.Entry, change ...func(*slackPictures)) *drawing {
	t.Helper()
	settings := &Slack{Token: slacktest.Token, Channel: slacktest.ChannelName, APIURL: s.API, Picture: true}
	if p := settings.Validate(); len(p) > 0 {
		t.Fatal(p)
	}
	d := &drawing{}
	d.slackBot = settings.Notifier(Env{Log: slog.New(slog.NewTextHandler(d, nil)), History: history}).(*slackBot)
	for _, f := range change {
		f(d.pictures)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return d
}

// tiny makes all pictures one pixel large: drawing real ones takes its time.
func tiny(p *slackPictures) {
	p.draw = func(w picture.Window) ([]byte, error) {
		if strings.HasPrefix(w.Title, "panic") {
			panic("no ink")
		}
		var b bytes.Buffer
		err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1)))
		return b.Bytes(), err
	}
}

// shown waits for n pictures.
func shown(t *testing.T, s *slacktest.Server, n int) []slacktest.File {
	t.Helper()
	eventually(t, fmt.Sprintf("picture %d", n), func() bool { return len(s.Files()) >= n })
	return s.Files()
}

func TestSlackPicture(t *testing.T) {
	s := startSlack(t)
	now := time.Now().Truncate(time.Second)
	history := func(check string) []checks.Entry { return results(now, probe.Up, probe.Up, probe.Down) }
	i := opened("ws", now)
	d := draw(t, s, history)
	told := tell(t, d, i, nil)
	f := shown(t, s, 1)[0]
	if img, err := png.Decode(bytes.NewReader(f.Content)); err != nil || img.Bounds().Dx() != picture.Width {
		t.Errorf("the picture: %v, %v", img, err)
	}
	want := slacktest.File{
		ID: f.ID, Name: "incident.png", Title: "ws · ws-404", Thread: s.Roots()[0].TS,
		Alt: "ws · ws-404: not_found 3 of 3 attempts in 5m, limit 0 %",
	}
	got := slacktest.File{ID: f.ID, Name: f.Name, Title: f.Title, Thread: f.Thread, Alt: f.Alt}
	if got.Title != want.Title || got.Name != want.Name || got.Thread != want.Thread || got.Alt != want.Alt {
		t.Errorf("shown %+v, want %+v", got, want)
	}

	// Neither a change nor a message that is posted anew after a restart brings
	// another one; that of the next incident comes after it would have.
	told = tell(t, d, then(i, "also: slow", now.Add(time.Minute)), told)
	s.Delete(s.Roots()[0].TS)
	d = draw(t, s, history)
	i = then(then(i, "a", now), "b", now)
	told = tell(t, d, i, told)
	tell(t, d, resolved(i, now, now), told)
	tell(t, d, opened("next", now), nil)
	if files := shown(t, s, 2); len(files) != 2 || files[1].Title != "next · ws-404" {
		t.Errorf("%d pictures, want 2, one for each incident", len(files))
	}
	if told.IDs["picture"] != slackAsked {
		t.Errorf("receipt %v says nothing of a picture", told.IDs)
	}
}

// TestSlackPictureAdopted: an incident whose message was found again may have
// its picture.
func TestSlackPictureAdopted(t *testing.T) {
	s := startSlack(t)
	now := time.Now().Truncate(time.Second)
	history := func(string) []checks.Entry { return results(now, probe.Down) }
	d := draw(t, s, history)
	tell(t, d, opened("ws", now), nil)
	shown(t, s, 1)
	told := tell(t, d, opened("ws", now), pending(nil, 1)) // the receipt was lost
	if told.IDs["picture"] != slackAsked {
		t.Errorf("receipt %v says nothing of a picture", told.IDs)
	}
	tell(t, d, opened("next", now), nil)
	if files := shown(t, s, 2); len(files) != 2 || files[1].Title != "next · ws-404" {
		t.Errorf("%d pictures, want 2, one for each incident", len(files))
	}
}

// TestSlackPictureFaults: whatever happens to a picture, the message is told at
// once, the fault is said once and without a secret, and the next one works if
// it may.
func TestSlackPictureFaults(t *testing.T) {
	const get, complete = "files.getUploadURLExternal", "files.completeUploadExternal"
	for _, c := range []struct {
		name  string
		fault slacktest.Fault
		says  string
		off   bool
	}{
		{"missing scope", slacktest.Fault{Method: get, Status: http.StatusOK, Body: `{"ok":false,"error":"missing_scope","needed":"files:write"}`}, "missing_scope, the token needs the scope", true},
		{"missing scope at the end", slacktest.Fault{Method: complete, Code: "missing_scope"}, "files.completeUploadExternal: missing_scope", true},
		{"token", slacktest.Fault{Method: get, Code: "not_allowed_token_type"}, "not_allowed_token_type", true},
		{"500", slacktest.Fault{Method: get}, "files.getUploadURLExternal: status 500, want 200", false},
		{"500 of the upload", slacktest.Fault{Method: slacktest.Upload}, "upload of a picture: status 500, want 200", false},
		{"lost upload", slacktest.Fault{Method: slacktest.Upload, Drop: true}, "upload of a picture", false},
		{"lost answer", slacktest.Fault{Method: complete, Done: true, Drop: true}, "files.completeUploadExternal", false},
		{"limited", slacktest.Fault{Method: get, Status: 429, Header: http.Header{"Retry-After": {"7"}}}, "status 429, wants a pause of 7s", false},
		{"foreign", slacktest.Fault{Method: get, Status: 200, Body: `{"ok":true,"file_id":"F1","upload_url":"https://evil.example.com/?slacktest-secret"}`}, "refusing to send the token", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startSlack(t)
			now := time.Now().Truncate(time.Second)
			d := draw(t, s, func(string) []checks.Entry { return results(now, probe.Down) }, tiny)
			c.fault.Times = 1
			s.Inject(c.fault)
			tell(t, d, opened("first", now), nil)
			eventually(t, "the log", func() bool { return d.hasSaid("err=") })
			before := len(s.Files())
			tell(t, d, opened("second", now), nil)
			if !c.off {
				if f := shown(t, s, before+1); f[before].Title != "second · ws-404" {
					t.Errorf("shown %q, want the picture of the second incident", f[before].Title)
				}
			} else if d.hasSaid("second") || !d.pictures.off.Load() {
				t.Error("pictures are not off")
			}
			if !d.hasSaid(c.says) || len(d.said()) != 1 {
				t.Errorf("log %q, want one line with %q", d.said(), c.says)
			}
			for _, secret := range []string{slacktest.Token, "slacktest-secret"} {
				if d.hasSaid(secret) {
					t.Errorf("the log %q holds the secret %q", d.said(), secret)
				}
			}
			expectShape(t, s, "root", "root")
		})
	}
}

// TestSlackPictureHangs: while an upload hangs messages are told, as many
// pictures wait as there is room for, and the end of the program is not delayed.
func TestSlackPictureHangs(t *testing.T) {
	s := startSlack(t)
	now := time.Now().Truncate(time.Second)
	d := draw(t, s, func(string) []checks.Entry { return results(now, probe.Down) }, tiny)
	s.Inject(slacktest.Fault{Method: slacktest.Upload, Hang: true})
	tell(t, d, opened("ws", now), nil)
	eventually(t, "the upload", func() bool { return s.Calls(slacktest.Upload) == 1 })
	var told *Receipt
	for k := range pictureQueue + 1 {
		told = tell(t, d, opened(fmt.Sprint("more-", k), now), nil)
	}
	if told.IDs["picture"] != slackAsked || !d.hasSaid(fmt.Sprintf("too many are waiting\" incident=more-%d", pictureQueue)) {
		t.Errorf("receipt %v, log %q, want that the last one is dropped", told.IDs, d.said())
	}
}

// TestSlackPictureWindow: which finding and which check are shown, and what is
// not worth a picture.
func TestSlackPictureWindow(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	good := results(now, probe.Up, probe.Up, probe.Up)
	histories := map[string][]checks.Entry{
		"good": good, "down": results(now, probe.Up, probe.Down, probe.Down), "flaky": results(now, probe.Degraded, probe.Up, probe.Down),
	}
	finding := func(f alerting.Finding) alerting.Incident {
		f.LastBad, f.Rule = now, "r"
		return alerting.Incident{ID: "g-1", Group: "g", Findings: []alerting.Finding{
			{Rule: "over", Checks: []string{"good"}, Cleared: now, Severity: alerting.Page}, f, {Rule: "later", Checks: []string{"good"}},
		}}
	}
	for _, c := range []struct {
		name  string
		f     alerting.Finding
		title string // "" for no picture
		limit time.Duration
		most  []checks.Entry
	}{
		{"one check", alerting.Finding{Checks: []string{"down"}, Text: "x\n"}, "g · r · down", 0, histories["down"]},
		{"the worst of three", alerting.Finding{Checks: []string{"good", "flaky", "down"}, More: 4}, "g · r · down (1 of 7 checks)", 0, histories["down"]},
		{"latency", alerting.Finding{Kind: "latency", Unit: "s", Threshold: 1.5, Checks: []string{"good"}}, "g · r · good", 1500 * time.Millisecond, good},
		{"a share is no line", alerting.Finding{Kind: "rate", Unit: "share", Threshold: 0.1, Checks: []string{"good"}}, "g · r · good", 0, good},
		{"no checks", alerting.Finding{Kind: "blind"}, "", 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &slackPictures{history: func(check string) []checks.Entry { return histories[check] }}
			w, ok := p.window(t.Context(), finding(c.f))
			if ok != (c.title != "") {
				t.Fatalf("shown: %t", ok)
			}
			if ok && (w.Title != c.title || w.Limit != c.limit || cmp.Diff(c.most, w.Entries) != "") {
				t.Errorf("%+v, want %q, limit %s", w, c.title, c.limit)
			}
		})
	}
}

// TestSlackPictureWaits: the history follows the log at its own pace, so that
// it may not have what the rules have seen.
func TestSlackPictureWaits(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	asked := 0
	p := &slackPictures{history: func(string) []checks.Entry {
		if asked++; asked < 4 {
			return results(now.Add(-time.Minute), probe.Up)
		}
		return results(now, probe.Up, probe.Down)
	}}
	w, ok := p.window(t.Context(), opened("ws", now))
	if !ok || len(w.Entries) != 2 || asked != 4 {
		t.Errorf("%d entries after %d looks, want 2 after 4", len(w.Entries), asked)
	}
}

// TestSlackPicturePanics: a panic in drawing costs one picture.
func TestSlackPicturePanics(t *testing.T) {
	s := startSlack(t)
	now := time.Now().Truncate(time.Second)
	d := draw(t, s, func(string) []checks.Entry { return results(now, probe.Down) }, tiny)
	tell(t, d, opened("panic", now), nil)
	tell(t, d, opened("next", now), nil)
	shown(t, s, 1)
	if !d.hasSaid("panic: no ink") || len(d.said()) != 1 {
		t.Errorf("log %q, want one line about the panic", d.said())
	}
}
