package notify

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/slack-go/slack"

	"github.com/tripline/tripline/alerting"
)

// slackFound is a message of ours that was found in the channel.
type slackFound struct {
	slackPlace
	version int // of the incident that it told; 0 if none was found
}

// The bounds of a look-up: pages of so many messages, and how long before its
// incident began a message may have been posted by Slack's clock.
const (
	slackPages    = 10
	slackPageSize = 100
	slackSkew     = 10 * time.Minute
)

// findRoot looks in the channel for the message of i, other than the one at
// old. Nothing is found if the history cannot be read, or after patience
// attempts that failed: then the message is posted, perhaps once too often.
func (s *slackBot) findRoot(ctx context.Context, i alerting.Incident, old slackPlace, attempts int) (slackFound, error) {
	channel := old.channel
	if channel == "" {
		s.mu.Lock()
		channel = s.id
		s.mu.Unlock()
	}
	if channel == "" {
		s.log.Warn("no channel id to look up a message with, it may be sent twice", "incident", i.ID, "channel", s.channel)
		return slackFound{}, nil
	}
	params := &slack.GetConversationHistoryParameters{
		ChannelID: channel, Limit: slackPageSize, IncludeAllMetadata: true,
		Oldest: strconv.FormatInt(i.Since.Add(-slackSkew).Unix(), 10) + ".000000",
	}
	for range slackPages {
		page, err := s.api.GetConversationHistoryContext(ctx, params)
		if err != nil {
			return slackFound{}, s.unreadable("conversations.history of "+strconv.Quote(channel), i, err, attempts)
		}
		for _, m := range page.Messages {
			if m.Timestamp == old.ts {
				continue
			}
			if v, severity := slackOurs(m, i.ID, slackIsRoot); v > 0 {
				at := slackPlace{channel, m.Timestamp, severity, old.picture}
				if s.pictures != nil {
					at.picture = slackAsked // it may have been, and a second one is not wanted
				}
				return slackFound{at, v}, nil
			}
		}
		params.Cursor = page.ResponseMetaData.NextCursor
		if params.Cursor == "" {
			break
		}
	}
	return slackFound{}, nil
}

// foundChange tells whether the thread at already tells the version of i.
func (s *slackBot) foundChange(ctx context.Context, i alerting.Incident, at slackPlace, attempts int) (bool, error) {
	params := &slack.GetConversationRepliesParameters{
		ChannelID: at.channel, Timestamp: at.ts, Limit: slackPageSize, IncludeAllMetadata: true,
	}
	for range slackPages {
		replies, _, cursor, err := s.api.GetConversationRepliesContext(ctx, params)
		if err != nil {
			return false, s.unreadable("conversations.replies of "+strconv.Quote(at.channel), i, err, attempts)
		}
		for _, m := range replies {
			if v, _ := slackOurs(m, i.ID, slackIsNews); v >= i.Version {
				return true, nil
			}
		}
		params.Cursor = cursor
		if cursor == "" {
			break
		}
	}
	return false, nil
}

// slackOurs returns the version and the severity of the incident that m told,
// 0 if it is none of our messages of this kind about this incident.
func slackOurs(m slack.Message, incident, part string) (version int, severity string) {
	p := m.Metadata.EventPayload
	if m.Metadata.EventType != slackEvent || p["incident"] != incident || p["part"] != part {
		return 0, ""
	}
	v, _ := p["version"].(float64)
	severity, _ = p["severity"].(string)
	return int(v), severity
}

// unreadable decides what a failed look-up means. It returns the error of a
// look-up that may work later, and nil if the message is to be sent anyway.
func (s *slackBot) unreadable(what string, i alerting.Incident, err error, attempts int) error {
	failed := s.failed(what, err)
	if _, limited := errors.AsType[*LaterError](failed); limited && attempts < patience+2 {
		// The limit is that of looking up: it is no reason to hold up other incidents.
		return fmt.Errorf("looking whether it was told: %s", failed.Error())
	}
	transient := slackSays(err, "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org")
	if attempts < patience && (transient || !slackAnswered(failed)) {
		return fmt.Errorf("looking whether it was told: %w", failed)
	}
	s.log.Warn("cannot look up a message, it may be sent twice", "incident", i.ID, "err", failed)
	return nil
}
