package notify

import (
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// slackInline makes s fit to stand within a line of a Slack text: on one line,
// with & < > escaped so that no name can ping anybody
// (https://docs.slack.dev/messaging/formatting-message-text#escaping), and at
// most limit characters long, as slackLen counts them.
func slackInline(s string, limit int) string {
	return slackEscape(strings.TrimSpace(clean(s, false)), limit)
}

// slackCode makes s fit to stand in a code block of at most limit characters,
// which s cannot end. It returns "" for an s without anything to see.
func slackCode(s string, limit int) string {
	const open, end = "```\n", "\n```"
	s = strings.Trim(clean(s, true), "\n ")
	s = strings.ReplaceAll(s, "`", "'") // a row of three would end the block
	if s == "" || limit < len(open)+len(end)+1 {
		return ""
	}
	return open + slackEscape(s, limit-len(open)-len(end)) + end
}

// slackEscape escapes s, which clean has made valid, and cuts it where it would
// get longer than limit, never within a character or an escape.
func slackEscape(s string, limit int) string {
	escaper := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	if whole := escaper.Replace(s); slackLen(whole) <= limit {
		return whole
	}
	var b strings.Builder
	left := limit - slackLen("…")
	for _, r := range s {
		piece := escaper.Replace(string(r))
		if left -= slackLen(piece); left < 0 {
			break
		}
		b.WriteString(piece)
	}
	return b.String() + "…"
}

// slackLen is the length of s in UTF-16 units, the most that Slack can mean by
// "characters".
func slackLen(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// slackLink returns a link, or the label alone if target is no http URL.
func slackLink(target, label string) string {
	label = slackInline(label, 100)
	u, err := url.Parse(target)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(target) > 2000 {
		return label
	}
	// In a link | starts the label and > ends it.
	return "<" + strings.NewReplacer("|", "%7C", "&", "&amp;", "<", "%3C", ">", "%3E").Replace(u.String()) + "|" + label + ">"
}

// slackTime returns a moment that each reader sees in their own time zone
// (https://docs.slack.dev/messaging/formatting-message-text#date-formatting).
func slackTime(t time.Time) string {
	return "<!date^" + strconv.FormatInt(t.Unix(), 10) + "^{date_short_pretty} {time_secs}|" + t.UTC().Format(time.DateTime) + " UTC>"
}
