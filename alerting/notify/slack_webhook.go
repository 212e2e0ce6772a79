package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/tripline/tripline/checks/probe"
)

// SlackWebhook tells incidents through an incoming webhook of Slack, which is
// quicker to set up than a bot and can do less: every change of an incident is
// a message of its own, and a message whose answer was lost is sent again.
type SlackWebhook struct {
	// URL is the incoming webhook, a secret: https://hooks.slack.com/services/...
	URL string `yaml:"url" json:"url"`
	// Mention is put into messages about open pages: <!here>, <!channel>, a
	// user as <@U0123456789> or a user group as <!subteam^S0123456789>.
	Mention string `yaml:"mention,omitempty" json:"mention,omitempty"`
}

// Validate returns everything that is wrong with the settings.
func (s *SlackWebhook) Validate() []probe.Problem {
	var problems []probe.Problem
	if s.URL == "" {
		problems = append(problems, probe.Problem{Path: "url", Text: "is empty, want https://hooks.slack.com/services/..."})
	} else if text := secretURL(s.URL); text != "" {
		problems = append(problems, probe.Problem{Path: "url", Text: text})
	}
	if s.Mention != "" && !slackMention(s.Mention) {
		problems = append(problems, probe.Problem{
			Path: "mention",
			Text: fmt.Sprintf("%q mentions nobody, want <!here>, <!channel>, <@U...> or <!subteam^S...>", s.Mention),
		})
	}
	return problems
}

// Notifier returns the notifier of settings in which nothing is wrong.
func (s *SlackWebhook) Notifier(Env) Notifier {
	w := &slackHook{url: s.URL, mention: s.Mention, client: newHTTPClient(), host: "the webhook"}
	if u, err := url.Parse(s.URL); err == nil {
		w.host = u.Host
	}
	return w
}

// DefaultLimit is what Slack takes for each webhook
// (https://docs.slack.dev/apis/web-api/rate-limits).
func (s *SlackWebhook) DefaultLimit() Limit { return Limit{1, time.Second} }

// slackHook is the notifier of SlackWebhook settings.
type slackHook struct {
	url     string // a secret
	host    string // of url, for errors
	mention string
	client  *http.Client
}

// Notify posts the newest state of the incident. There are no ids to return.
func (s *slackHook) Notify(ctx context.Context, m Message, _ *Receipt) (Receipt, error) {
	msg := slackRoot(m, s.mention, time.Now())
	if i := m.Incident; i.Open() && i.Version > 1 { // there is no thread to say it in
		msg.Blocks = slices.Insert(msg.Blocks, 1, slackSection("*"+slackInline(i.Changed, slackLineMax)+"*"))
	}
	err := s.post(ctx, msg)
	if errors.Is(err, errSlackForm) {
		err = s.post(ctx, slackPlain(m.Incident, time.Now()))
	}
	return Receipt{}, err
}

// errSlackForm says that the webhook refused the form of a message, and that
// plain text may do.
var errSlackForm = errors.New("the form of the message was refused")

// post makes one request. The answers are those of
// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors.
func (s *slackHook) post(ctx context.Context, msg slackMessage) error {
	no := false
	form := slack.WebhookMessage{Text: msg.Text, Parse: "none", UnfurlLinks: &no, UnfurlMedia: &no}
	if len(msg.Blocks) > 0 {
		form.Blocks = &slack.Blocks{BlockSet: msg.Blocks}
	}
	body, err := json.Marshal(form)
	if err != nil {
		return &PermanentError{Err: err}
	}
	what := "POST " + s.host
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return &PermanentError{Err: fmt.Errorf("%s: %w", what, transportError(err, s.url))}
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", what, transportError(err, s.url))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("%s: status %d, reading the answer: %w", what, resp.StatusCode, transportError(err, s.url))
	}
	said := slackHookCode(string(answer))
	err = fmt.Errorf("%s: status %d, %s", what, resp.StatusCode, said)
	switch resp.StatusCode {
	case http.StatusOK:
		if said == "ok" {
			return nil
		}
		return fmt.Errorf("%w, want ok", err) // not Slack's answer: a proxy's
	case http.StatusTooManyRequests:
		return &LaterError{After: retryAfter(resp.Header.Get("Retry-After"), slackPause, time.Now()), Err: err}
	case http.StatusBadRequest:
		return &PermanentError{Err: fmt.Errorf("%w: %w", err, errSlackForm)}
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		return &PermanentError{Err: err}
	}
	return err
}

// slackHookCode returns the word that a webhook answers with, such as
// channel_is_archived. Anything else comes from something in between and may
// quote the URL: it is not shown.
func slackHookCode(body string) string {
	code := strings.TrimSpace(body)
	if code == "" {
		return "no text"
	}
	if len(code) > 60 || strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "a text that is not Slack's"
	}
	return code
}
