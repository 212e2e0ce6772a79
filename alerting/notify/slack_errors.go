package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"
)

// slackPause is the wait after a 429 that does not say how long to wait.
const slackPause = 10 * time.Second

// slackError is an error of Slack's API that has been made fit for people. It
// unwraps to what slack-go returned, unless that could hold a secret.
type slackError struct {
	text string
	err  error
}

func (e *slackError) Error() string { return e.text }
func (e *slackError) Unwrap() error { return e.err }

// failed makes an error of a request into what a Desk understands. what is the
// method and the channel.
func (s *slackBot) failed(what string, err error) error {
	cause := s.explain(err)
	text := fmt.Errorf("slack %s: %w", what, cause)
	var (
		limited *slack.RateLimitedError
		odd     *strconv.NumError // slack-go could not read the Retry-After of a 429
		status  slack.StatusCodeError
		api     slack.SlackErrorResponse
	)
	switch {
	case errors.As(err, &limited):
		return &LaterError{After: limited.RetryAfter, Err: text}
	case errors.As(err, &odd):
		return &LaterError{After: retryAfter(odd.Num, slackPause, time.Now()), Err: text}
	case errors.As(err, &status) && status.Code == 429:
		return &LaterError{After: slackPause, Err: text}
	case errors.As(err, &api) && slices.Contains([]string{"ratelimited", "rate_limited", "message_limit_exceeded"}, api.Err):
		return &LaterError{After: slackPause, Err: text}
	case errors.As(err, &api) && slackPermanent(api.Err):
		return &PermanentError{Err: text}
	}
	return text
}

// explain says in words what slack-go's errors leave to guess.
func (s *slackBot) explain(err error) error {
	var (
		limited *slack.RateLimitedError
		odd     *strconv.NumError
		status  slack.StatusCodeError
		api     slack.SlackErrorResponse
		syntax  *json.SyntaxError
	)
	text := ""
	switch {
	case errors.As(err, &limited):
		text = fmt.Sprintf("status 429, wants a pause of %s", limited.RetryAfter)
	case errors.As(err, &odd):
		text = fmt.Sprintf("status 429 with Retry-After %.40q, want seconds", odd.Num)
	case errors.As(err, &status):
		text = fmt.Sprintf("status %d, want 200", status.Code)
	case errors.As(err, &api):
		text = slackAPIError(api)
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF):
		text = "an answer that is not JSON: something between here and Slack answered"
	case errors.Is(err, io.EOF):
		text = "the connection ended before the answer"
	default:
		err = transportError(err, s.token)
		if s.socket != nil {
			err = transportError(err, s.socket.token)
		}
		return err
	}
	text = strings.ReplaceAll(text, s.token, "[redacted]")
	if s.socket != nil {
		text = strings.ReplaceAll(text, s.socket.token, "[redacted]")
	}
	return &slackError{text, err}
}

// slackAPIError adds to a code of Slack what it says about it and what to do.
func slackAPIError(e slack.SlackErrorResponse) string {
	text := clean(e.Err, false)
	switch e.Err {
	case "not_in_channel":
		text += ", invite the bot to the channel (/invite)"
	case "channel_not_found":
		text += ", want the id of a channel that the bot can see (a private one: invite it)"
	case "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired":
		text += ", want a valid token"
	}
	if e.Needed != "" {
		text += fmt.Sprintf(", the token needs the scope %.60q", e.Needed)
	}
	if len(e.ResponseMetadata.Messages) > 0 {
		text += fmt.Sprintf(" (%.300s)", clean(strings.Join(e.ResponseMetadata.Messages, "; "), false))
	}
	return text
}

// slackPermanent tells whether trying again cannot help: the credential, the
// channel or the workspace's rules have to be changed first
// (https://docs.slack.dev/reference/methods/chat.postMessage#errors).
func slackPermanent(code string) bool {
	switch code {
	case "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "no_permission",
		"missing_scope", "not_allowed_token_type", "access_denied", "org_login_required", "ekm_access_denied",
		"team_access_not_granted", "two_factor_setup_required",
		"channel_not_found", "not_in_channel", "is_archived", "user_not_found", "channel_type_not_supported",
		"as_user_not_supported", "messages_tab_disabled",
		"invalid_arguments", "invalid_metadata_format", "invalid_metadata_schema", "metadata_too_large":
		return true
	}
	return strings.HasPrefix(code, "restricted_action") || slackFormCode(code)
}

// slackRefusesForm tells whether Slack took offence at the form of a message.
func slackRefusesForm(err error) bool {
	var api slack.SlackErrorResponse
	return errors.As(err, &api) && slackFormCode(api.Err)
}

// slackFormCode tells whether code is about the form of a message.
func slackFormCode(code string) bool {
	switch code {
	case "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "block_mismatch",
		"too_many_attachments", "no_text", "markdown_text_conflict":
		return true
	}
	return false
}

// slackSays tells whether err is one of these codes of Slack.
func slackSays(err error, codes ...string) bool {
	var api slack.SlackErrorResponse
	return errors.As(err, &api) && slices.Contains(codes, api.Err)
}

// slackAnswered tells whether Slack itself answered, with a code.
func slackAnswered(err error) bool {
	var api slack.SlackErrorResponse
	var later *LaterError
	return errors.As(err, &api) && !errors.As(err, &later)
}
