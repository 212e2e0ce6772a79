package notify

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/slack-go/slack"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify/picture"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// The bounds of pictures.
const (
	pictureQueue  = 16               // that wait to be drawn; more are dropped
	pictureTime   = 30 * time.Second // for drawing and sending one
	picturePause  = 100 * time.Millisecond
	picturePauses = 30 // for the history to show what the rules have seen
	pictureChecks = 8  // of a finding that are looked at
)

// slackPictures puts a picture of what tripped into the threads of incidents.
// A picture is an extra: it is asked for once its message is there, tried once,
// and whatever goes wrong with it changes nothing for the message.
type slackPictures struct {
	bot     *slackBot
	history func(check string) []checks.Entry
	log     *slog.Logger
	draw    func(picture.Window) ([]byte, error)
	wanted  chan wantedPicture
	off     atomic.Bool // Slack lets us send none
}

type wantedPicture struct {
	incident alerting.Incident
	at       slackPlace
}

// slackAsked is the mark of an incident whose picture has been asked for. It is
// part of the receipt, so that there is no second one after a restart.
const slackAsked = "asked"

// ask asks for the picture of i, whose message is at, unless that was done
// before.
func (p *slackPictures) ask(i alerting.Incident, at *slackPlace) {
	if p == nil || at.picture != "" || !i.Open() || p.off.Load() {
		return
	}
	at.picture = slackAsked
	select {
	case p.wanted <- wantedPicture{i, *at}:
	default:
		p.log.Warn("no picture of an incident: too many are waiting", "incident", i.ID)
	}
}

// run draws and sends what is asked for, one by one, until ctx ends.
func (p *slackPictures) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case w := <-p.wanted:
			if !p.off.Load() {
				p.serve(ctx, w)
			}
		}
	}
}

// serve draws and sends one picture, and says it if that does not work.
func (p *slackPictures) serve(ctx context.Context, w wantedPicture) {
	ctx, cancel := context.WithTimeout(ctx, pictureTime)
	defer cancel()
	window, ok := p.window(ctx, w.incident)
	if !ok {
		return
	}
	png, err := p.drawn(window)
	if err == nil {
		err = p.upload(ctx, png, window, w.at)
	}
	switch {
	case err == nil:
	case slackSays(err, "missing_scope", "not_allowed_token_type", "no_permission", "file_uploads_disabled", "file_type_not_allowed"):
		p.off.Store(true)
		p.log.Warn("Slack takes no pictures, none is sent from now on", "incident", w.incident.ID, "err", err)
	default:
		p.log.Warn("no picture of an incident", "incident", w.incident.ID, "err", err)
	}
}

// drawn draws w. A panic in a library must not end the program.
func (p *slackPictures) drawn(w picture.Window) (png []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("draw %q: panic: %v", w.Title, r)
		}
	}()
	return p.draw(w)
}

// window chooses what to show of i: the worst finding, and of it the check that
// looks worst. It waits a while for the newest bad result to be in the history,
// which follows the log at its own pace. ok is false if there is nothing to show.
func (p *slackPictures) window(ctx context.Context, i alerting.Incident) (w picture.Window, ok bool) {
	f := pictured(i)
	if f == nil || len(f.Checks) == 0 {
		return w, false
	}
	var check string
	for range picturePauses {
		check, w.Entries = p.worst(f.Checks)
		if newest(w.Entries) >= f.LastBad.UnixMilli() || !sleep(ctx, picturePause) {
			break
		}
	}
	w.Title = i.Group + " · " + f.Rule
	if n := len(f.Checks) + f.More; n > 1 {
		w.Title += fmt.Sprintf(" · %s (1 of %d checks)", check, n)
	} else if check != i.Group {
		w.Title += " · " + check
	}
	w.Title, w.Text = clean(w.Title, false), clean(f.Text, false)
	if f.Kind == "latency" && f.Unit == "s" {
		w.Limit = time.Duration(f.Threshold * float64(time.Second))
	}
	return w, newest(w.Entries) > 0
}

// pictured is the finding to show: one that holds, a page before a ticket.
func pictured(i alerting.Incident) *alerting.Finding {
	var best *alerting.Finding
	for k := range i.Findings {
		f := &i.Findings[k]
		if f.Holds() && (best == nil || f.Severity == alerting.Page && best.Severity != alerting.Page) {
			best = f
		}
	}
	return best
}

// worst returns the check with the most failures, then with the most degraded
// results, then with the longest latencies, and its history.
func (p *slackPictures) worst(names []string) (check string, entries []checks.Entry) {
	type badness struct {
		down, degraded int
		slow           time.Duration
	}
	var worst badness
	for _, name := range names[:min(len(names), pictureChecks)] {
		var b badness
		list := p.history(name)
		for _, e := range list {
			if e.Result == nil {
				continue
			}
			switch e.Result.Status {
			case probe.Down:
				b.down++
			case probe.Degraded:
				b.degraded++
			}
			b.slow += e.Result.Latency
		}
		if check == "" || cmp.Or(cmp.Compare(b.down, worst.down), cmp.Compare(b.degraded, worst.degraded), cmp.Compare(b.slow, worst.slow)) > 0 {
			check, entries, worst = name, list, b
		}
	}
	return check, entries
}

// newest returns the slot of the newest result, in Unix milliseconds; 0 if
// there is none.
func newest(entries []checks.Entry) int64 {
	var slot int64
	for _, e := range entries {
		if e.Result != nil {
			slot = max(slot, e.Result.Slot.UnixMilli())
		}
	}
	return slot
}

// upload puts a picture into the thread at
// (https://docs.slack.dev/messaging/working-with-files#upload). It is one
// attempt: after a lost answer a second one could show the picture twice.
func (p *slackPictures) upload(ctx context.Context, png []byte, w picture.Window, at slackPlace) error {
	api := p.bot.api
	const name = "incident.png"
	place, err := api.GetUploadURLExternalContext(ctx, slack.GetUploadURLExternalParameters{
		FileName: name, FileSize: len(png), AltTxt: cut(w.Title+": "+w.Text, 1000),
	})
	if err != nil {
		return p.bot.failed("files.getUploadURLExternal", err)
	}
	err = api.UploadToURL(ctx, slack.UploadToURLParameters{UploadURL: place.UploadURL, Filename: name, Reader: bytes.NewReader(png)})
	if err != nil {
		return p.bot.failed("upload of a picture", transportError(err, place.UploadURL)) // who has the URL can put something else there
	}
	_, err = api.CompleteUploadExternalContext(ctx, slack.CompleteUploadExternalParameters{
		Files:   []slack.FileSummary{{ID: place.FileID, Title: cut(w.Title, 200)}},
		Channel: at.channel, ThreadTimestamp: at.ts,
	})
	if err != nil {
		return p.bot.failed("files.completeUploadExternal", err)
	}
	return nil
}
