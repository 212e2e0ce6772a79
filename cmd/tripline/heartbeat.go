package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/internal/config"
	"github.com/tripline/tripline/internal/schedule"
)

// heart makes the requests by which somebody else knows that this monitor
// works: it keeps its schedule, stores results and can tell people.
type heart struct {
	monitor *monitor
	client  *http.Client
	last    schedule.Health // at the last look

	mu   sync.Mutex
	sent time.Time // the last that was received
	why  string    // why none is sent, or not received; "" if all is well
}

const beatTimeout = 10 * time.Second

func newHeart(m *monitor) *heart {
	return &heart{monitor: m, client: &http.Client{
		Timeout:       beatTimeout,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// run makes a request each interval until ctx ends. The config in force says
// whether, where and how often.
func (h *heart) run(ctx context.Context) error {
	var next time.Time
	for pause(ctx, time.Second) {
		b := h.monitor.config().Heartbeat
		if b == nil || b.Off != "" {
			h.found("", time.Time{})
			continue
		}
		if now := time.Now(); now.After(next) {
			next = now.Add(b.Every - time.Second/2) // the look after the interval
			h.beat(ctx, *b)
		}
	}
	return nil
}

// beat makes a request if all is well.
func (h *heart) beat(ctx context.Context, b config.Beat) {
	if list := h.problems(time.Now()); len(list) > 0 {
		h.found("no heartbeat is sent: "+strings.Join(list, "; "), time.Time{})
		return
	}
	err := h.send(ctx, b)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		h.found("the heartbeat was not received: "+h.monitor.config().Redact.String(err.Error()), time.Time{})
		return
	}
	h.found("", time.Now())
}

// found keeps what came of a look, and logs when it begins and ends not to be well.
func (h *heart) found(why string, sent time.Time) {
	h.mu.Lock()
	before := h.why
	h.why = why
	if !sent.IsZero() {
		h.sent = sent
	}
	h.mu.Unlock()
	switch {
	case before == "" && why != "":
		h.monitor.slog.Error("the heartbeat stops", "because", why)
	case before != "" && why == "":
		h.monitor.slog.Info("the heartbeat goes on")
	}
}

// state returns when the last heartbeat was received, and why none is now.
func (h *heart) state() (sent time.Time, why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent, h.why
}

// problems lists what is wrong with the schedule, the log and the notifiers.
func (h *heart) problems(now time.Time) []string {
	m := h.monitor
	list := m.health.problems()
	s := m.runner.Health()
	if passed := s.Kept + s.Late + s.Missed - (h.last.Kept + h.last.Late + h.last.Missed); passed > 0 && s.Kept == h.last.Kept {
		list = append(list, fmt.Sprintf("none of the last %d slots was kept", passed))
	}
	h.last = s
	if log := m.log.Health(); log.StuckSince.IsZero() && !log.OldestPending.IsZero() && now.Sub(log.OldestPending) > stuckLimit {
		list = append(list, fmt.Sprintf("the log has stored nothing for %s", now.Sub(log.OldestPending).Round(time.Second)))
	}
	stats := m.desks.stats()
	for _, n := range m.config().Notifiers {
		if why := failing(stats[n.Name]); why != "" {
			list = append(list, n.Name+" "+why)
		}
	}
	return list
}

// failing says why a notifier cannot be relied on at present; "" if it can.
// What it gave up before it told something else, or before it was started with
// its settings, is past.
func failing(s notify.Stats) string {
	if n := len(s.Dead); n > 0 && s.Dead[n-1].At.After(s.LastTold) && !s.Dead[n-1].At.Before(s.Started) {
		return "gave up: " + s.Dead[n-1].Reason
	}
	if s.Oldest > failingAfter {
		return fmt.Sprintf("has not delivered for %s: %s", s.Oldest.Round(time.Second), s.LastError)
	}
	return ""
}

// send makes one request. The URL is a secret: errors have its host alone.
func (h *heart) send(ctx context.Context, b config.Beat) error {
	u, err := url.Parse(b.URL)
	if err != nil {
		return errors.New("heartbeat.url is no URL")
	}
	what := b.Method + " " + u.Host
	req, err := http.NewRequestWithContext(ctx, b.Method, b.URL, nil)
	if err != nil {
		return errors.New(what + ": no request can be made of heartbeat.url")
	}
	req.Header.Set("User-Agent", "Tripline/"+versionString())
	res, err := h.client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the rest is the URL
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %s", beatTimeout)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10)) // the status says it all
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s: status %d, want 2xx", what, res.StatusCode)
	}
	return nil
}
