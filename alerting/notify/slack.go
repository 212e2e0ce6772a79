package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify/picture"
	"github.com/tripline/tripline/checks/probe"
)

// Slack tells incidents in one Slack channel, as a bot. Each incident is one
// message, which is kept up to date and turns green at the end; what changes is
// told in its thread. The channel too sees the end, a ticket that becomes a
// page, and reminders.
//
// The bot needs the scope chat:write. With channels:history (groups:history for
// a private channel) it looks up a message whose answer was lost, so that none
// is ever sent twice; without, such a message is repeated.
type Slack struct {
	// Token is the bot token, which starts with xoxb-.
	Token string `yaml:"token" json:"token"`
	// Channel is where to tell: better its id, such as C0123456789, than its
	// name, which Slack does not take for looking up messages. The bot must be
	// a member of it.
	Channel string `yaml:"channel" json:"channel"`
	// Mention is put into messages about open pages: <!here>, <!channel>, a
	// user as <@U0123456789> or a user group as <!subteam^S0123456789>.
	Mention string `yaml:"mention,omitempty" json:"mention,omitempty"`
	// AppToken is an app-level token with the scope connections:write, which
	// starts with xapp-. With it messages about open incidents have buttons,
	// Acknowledge and Silence 1h, which are heard through Slack's Socket Mode:
	// no port need be open. Interactivity must be on for the app, and no other
	// Tripline may use the same one. Default none, and so no buttons.
	AppToken string `yaml:"app_token,omitempty" json:"app_token,omitempty"`
	// Picture puts a picture into the thread of an incident, below its first
	// message: the last results of the check that is worst off, with their
	// latencies and the limit. The bot needs the scope files:write too; without
	// it that is said once in the log and there are no pictures. Default false.
	Picture bool `yaml:"picture,omitempty" json:"picture,omitempty"`
	// APIURL is where Slack's API is, if not at https://slack.com/api/.
	APIURL string `yaml:"api_url,omitempty" json:"api_url,omitempty"`
}

// Validate returns everything that is wrong with the settings.
func (s *Slack) Validate() []probe.Problem {
	var problems []probe.Problem
	wrong := func(path, format string, args ...any) {
		problems = append(problems, probe.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case s.Token == "":
		wrong("token", "is empty, want a bot token (xoxb-...)")
	case strings.HasPrefix(s.Token, "https://"):
		wrong("token", "is a URL, want a bot token (xoxb-...); incoming webhooks go under slack_webhook")
	case !strings.HasPrefix(s.Token, "xox") || strings.ContainsAny(s.Token, " \t\r\n"):
		wrong("token", "is no bot token, want one that starts with xoxb-")
	}
	if s.AppToken != "" && (!strings.HasPrefix(s.AppToken, "xapp-") || strings.ContainsAny(s.AppToken, " \t\r\n")) {
		wrong("app_token", "is no app-level token, want one that starts with xapp-")
	}
	if s.Channel == "" {
		wrong("channel", "is empty, want a channel id such as C0123456789")
	} else if strings.ContainsAny(s.Channel, " \t\r\n<>&") {
		wrong("channel", "%q is no channel, want an id such as C0123456789", s.Channel)
	}
	if s.Mention != "" && !slackMention(s.Mention) {
		wrong("mention", "%q mentions nobody, want <!here>, <!channel>, <@U...> or <!subteam^S...>", s.Mention)
	}
	if s.APIURL != "" {
		if text := secretURL(s.APIURL); text != "" {
			wrong("api_url", "%s", text)
		}
	}
	return problems
}

// slackMention tells whether s is one mention and nothing else.
func slackMention(s string) bool {
	switch s {
	case "<!here>", "<!channel>", "<!everyone>":
		return true
	}
	id, ok := strings.CutPrefix(s, "<@")
	if !ok {
		id, ok = strings.CutPrefix(s, "<!subteam^")
	}
	id, closed := strings.CutSuffix(id, ">")
	return ok && closed && id != "" && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// secretURL says what is wrong with a URL that secrets are sent to, without
// quoting more of it than its host; "" if nothing is.
func secretURL(raw string) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "is no URL"
	case u.Scheme == "https" && u.Host != "":
		return ""
	case u.Scheme == "http" && u.Host != "":
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			return ""
		}
		return fmt.Sprintf("sends secrets to %s without encryption, want https", u.Host)
	}
	return "is no https URL"
}

// DefaultLimit is what Slack takes for each channel
// (https://docs.slack.dev/apis/web-api/rate-limits).
func (s *Slack) DefaultLimit() Limit { return Limit{1, time.Second} }

// Notifier returns the notifier of settings in which nothing is wrong.
func (s *Slack) Notifier(env Env) Notifier {
	n := &slackBot{token: s.Token, channel: s.Channel, mention: s.Mention, log: env.Log}
	client := newHTTPClient()
	options := []slack.Option{slack.OptionHTTPClient(client)}
	if s.AppToken != "" && env.Command != nil {
		options = append(options, slack.OptionAppLevelToken(s.AppToken))
		n.socket = &slackSocket{
			bot: n, client: client, token: s.AppToken, command: env.Command, log: env.Log,
			ping: socketPing, pause: socketPause, presses: make(chan press, socketPresses),
		}
	}
	if s.Picture && env.History != nil {
		n.pictures = &slackPictures{
			bot: n, history: env.History, draw: picture.PNG, log: env.Log, wanted: make(chan wantedPicture, pictureQueue),
		}
	}
	if s.APIURL != "" {
		options = append(options, slack.OptionAPIURL(strings.TrimSuffix(s.APIURL, "/")+"/"))
	}
	n.api = slack.New(s.Token, options...)
	if slackID(s.Channel) {
		n.id = s.Channel
	}
	return n
}

// slackID tells whether s looks like the id of a conversation and not like a name.
func slackID(s string) bool {
	return len(s) >= 9 && strings.ContainsRune("CGD", rune(s[0])) && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// slackBot is the notifier of Slack settings.
type slackBot struct {
	api     *slack.Client
	token   string
	channel string // as configured
	mention string
	log     *slog.Logger

	socket   *slackSocket   // nil without an app token
	pictures *slackPictures // nil if there are to be none

	mu sync.Mutex
	id string // of channel; "" until it is known
}

// Run hears of the buttons that people press, and sends pictures, until ctx ends.
func (s *slackBot) Run(ctx context.Context) error {
	var drawing sync.WaitGroup
	defer drawing.Wait()
	if s.pictures != nil {
		drawing.Go(func() { s.pictures.run(ctx) })
	}
	if s.socket == nil {
		return nil
	}
	return s.socket.run(ctx)
}

// Trouble implements Listener.
func (s *slackBot) Trouble() string {
	trouble, _ := s.socket.state()
	return trouble
}

// root is the message of the incident, with buttons if somebody hears of them.
func (s *slackBot) root(m Message) slackMessage {
	msg := slackRoot(m, s.mention, time.Now())
	if b := s.socket.buttons(m); b != nil {
		msg.Blocks = slices.Insert(msg.Blocks, len(msg.Blocks)-1, b) // above the small print
	}
	return msg
}

// What the metadata of our messages says (https://docs.slack.dev/messaging/message-metadata).
const (
	slackEvent  = "tripline_incident"
	slackIsRoot = "incident" // the message that stands for the incident
	slackIsNews = "change"   // a message in its thread
)

// patience is after how many attempts a look-up or an update that keeps failing
// is done without: told twice is better than not told.
const patience = 5

// Notify posts the message of an incident, or updates it and tells the change
// in its thread. The ids of a receipt are the channel, the message's ts, the
// severity that people were last told and whether a picture was asked for.
func (s *slackBot) Notify(ctx context.Context, m Message, told *Receipt) (Receipt, error) {
	if told == nil {
		told = &Receipt{}
	}
	at := slackPlace{channel: told.IDs["channel"], ts: told.IDs["ts"], severity: told.IDs["severity"], picture: told.IDs["picture"]}
	if at.ts == "" && told.Pending {
		found, err := s.findRoot(ctx, m.Incident, at, told.Attempts)
		if err != nil {
			return Receipt{}, err
		}
		if found.version >= m.Incident.Version {
			return found.receipt(m.Incident), nil
		}
		at = found.slackPlace
	}
	if at.ts == "" {
		return s.post(ctx, m, at.picture)
	}
	return s.change(ctx, m, at, told)
}

// slackPlace is where an incident's message is.
type slackPlace struct {
	channel, ts string
	severity    string // last told
	picture     string // slackAsked, or "" if there has been none
}

func (p slackPlace) receipt(i alerting.Incident) Receipt {
	ids := map[string]string{"channel": p.channel, "ts": p.ts, "severity": string(i.Severity)}
	if p.picture != "" {
		ids["picture"] = p.picture
	}
	return Receipt{IDs: ids}
}

// post posts the message of the incident. mark is that of its picture.
func (s *slackBot) post(ctx context.Context, m Message, mark string) (Receipt, error) {
	at, err := s.send(ctx, s.channel, s.root(m), m.Incident, slackMeta(m.Incident, slackIsRoot))
	if err != nil {
		return Receipt{}, err
	}
	at.picture = mark
	s.pictures.ask(m.Incident, &at)
	return at.receipt(m.Incident), nil
}

// change updates the message of the incident and tells the change in its
// thread. Updating is harmless to repeat; the message in the thread is looked
// up first if it may have arrived.
func (s *slackBot) change(ctx context.Context, m Message, at slackPlace, told *Receipt) (Receipt, error) {
	editable, err := s.update(ctx, m, at, told.Attempts)
	switch {
	case slackSays(err, "message_not_found", "thread_not_found"): // somebody deleted it
		return s.again(ctx, m, at, told)
	case err != nil:
		return Receipt{}, err
	}
	if told.Pending {
		found, err := s.foundChange(ctx, m.Incident, at, told.Attempts)
		if err != nil { // without ids: these would say that people know of the severity
			return Receipt{}, err
		}
		if found {
			return at.receipt(m.Incident), nil
		}
	}
	options := []slack.MsgOption{slackMeta(m.Incident, slackIsNews), slack.MsgOptionTS(at.ts)}
	louder := m.Incident.Severity == alerting.Page && at.severity != string(alerting.Page) || m.Incident.Event == alerting.Reminded
	mention := ""
	if louder {
		mention = s.mention
	}
	if !editable || louder || !m.Incident.Open() {
		options = append(options, slack.MsgOptionBroadcast()) // the channel sees it, not only who follows the thread
	}
	_, err = s.send(ctx, at.channel, slackChange(m, mention, time.Now()), m.Incident, options...)
	switch {
	case slackSays(err, "thread_not_found", "cannot_reply_to_message"):
		return s.again(ctx, m, at, told)
	case err != nil:
		return Receipt{}, err
	}
	return at.receipt(m.Incident), nil
}

// again posts the message of an incident whose first one, at old, is gone.
func (s *slackBot) again(ctx context.Context, m Message, old slackPlace, told *Receipt) (Receipt, error) {
	if told.Pending {
		found, err := s.findRoot(ctx, m.Incident, old, told.Attempts)
		if err != nil {
			return Receipt{}, err
		}
		if found.version >= m.Incident.Version {
			return found.receipt(m.Incident), nil
		}
	}
	return s.post(ctx, m, old.picture)
}

// update brings the message of the incident up to date. editable is false if
// Slack does not let us, so that the change must be told loudly.
func (s *slackBot) update(ctx context.Context, m Message, at slackPlace, attempts int) (editable bool, err error) {
	// The metadata stays as posted: it says which version the message told.
	err = s.call("chat.update", at.channel, s.root(m), m.Incident,
		func(content slack.MsgOption) error {
			_, _, _, err := s.api.UpdateMessageContext(ctx, at.channel, at.ts, content)
			return err
		})
	var permanent *PermanentError
	switch {
	case err == nil:
		return true, nil
	case slackSays(err, "edit_window_closed", "cant_update_message", "is_inactive", "update_failed"):
		return false, nil
	case attempts >= patience && !errors.As(err, &permanent) && slackAnswered(err):
		return false, nil
	}
	return false, err
}

// send posts one message and returns where it is.
func (s *slackBot) send(ctx context.Context, channel string, msg slackMessage, i alerting.Incident, options ...slack.MsgOption) (slackPlace, error) {
	var at slackPlace
	err := s.call("chat.postMessage", channel, msg, i, func(content slack.MsgOption) error {
		var err error
		at.channel, at.ts, err = s.api.PostMessageContext(ctx, channel, slack.MsgOptionCompose(options...), content)
		if err == nil && (at.ts == "" || at.channel == "") {
			return errors.New("an answer without channel and ts") // such as {}, which slack-go takes for success
		}
		return err
	})
	if err != nil {
		return slackPlace{}, err
	}
	if channel == s.channel { // and not one that an incident was told in before
		s.mu.Lock()
		s.id = at.channel
		s.mu.Unlock()
	}
	return at, nil
}

// call makes one request with msg and, if Slack refuses its form, one with
// plain text.
func (s *slackBot) call(method, channel string, msg slackMessage, i alerting.Incident, do func(slack.MsgOption) error) error {
	err := do(slackContent(msg))
	if slackRefusesForm(err) {
		s.log.Error("Slack refuses a message, sending it as plain text", "incident", i.ID, "method", method, "err", s.explain(err))
		err = do(slackContent(slackPlain(i, time.Now())))
	}
	if err != nil {
		return s.failed(method+" to "+strconv.Quote(channel), err)
	}
	return nil
}

// slackContent makes the options of a message. Slack is told to find no links,
// names or mentions of its own in the text.
func slackContent(msg slackMessage) slack.MsgOption {
	return slack.MsgOptionCompose(
		slack.MsgOptionText(msg.Text, false), // escaped by us, which can cut it too
		slack.MsgOptionBlocks(msg.Blocks...),
		slack.MsgOptionParse(false),
		slack.MsgOptionLinkNames(false),
		slack.MsgOptionDisableLinkUnfurl(),
		slack.MsgOptionDisableMediaUnfurl(),
	)
}

// slackMeta marks a message so that it can be found again.
func slackMeta(i alerting.Incident, part string) slack.MsgOption {
	return slack.MsgOptionMetadata(slack.SlackMetadata{EventType: slackEvent, EventPayload: map[string]any{
		"incident": i.ID, "version": i.Version, "severity": string(i.Severity), "part": part,
	}})
}
