package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks/probe"
)

// The most characters of each part of a message. Slack's own limits are 150 for
// a header, 3000 for the text of a section, 50 blocks
// (https://docs.slack.dev/reference/block-kit/blocks) and, undocumented, about
// 13,200 for all of a message; these stay below 10,000 together.
const (
	slackHeaderMax   = 150
	slackLineMax     = 400  // one line
	slackLinesMax    = 2500 // all lines about the findings
	slackEvidenceMax = 1800
	slackContextMax  = 1500
	slackTextMax     = 1000 // of the text that notifications show
)

// slackMessage is a message in Slack's terms. Text is what notifications and
// screen readers get, Blocks is what the channel shows.
type slackMessage struct {
	Text   string
	Blocks []slack.Block
}

// slackRoot is the message that stands for an incident in the channel, showing
// all of its newest state. mention is put in as it is when a page is open.
func slackRoot(m Message, mention string, now time.Time) slackMessage {
	i := m.Incident
	blocks := []slack.Block{
		slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, slackInline(slackTitle(i), slackHeaderMax), false, false)),
		slackSection(slackMentioning(i, mention) + "*" + slackWhen(i) + "*" + slackLines(i)),
	}
	if m.Because != "" {
		blocks = append(blocks, slackSection("_"+slackInline("Told here: "+m.Because, slackLineMax)+"_"))
	}
	if cause := slackCause(m.Evidence); cause != "" {
		blocks = append(blocks, slackSection(cause))
	}
	if code := slackCode(excerpt(m.Evidence), slackEvidenceMax); code != "" {
		blocks = append(blocks, slackSection(code))
	}
	return slackMessage{Text: slackSummary(i, now), Blocks: append(blocks, slackContext(m))}
}

// slackChange is the message in the thread that says what a new version of the
// incident added.
func slackChange(m Message, mention string, now time.Time) slackMessage {
	i := m.Incident
	text := slackMentioning(i, mention) + "*" + slackEmoji(i) + " " + slackInline(i.Changed, slackLineMax) + "*\n" +
		slackInline(i.Title(), slackLineMax)
	if !i.Open() {
		text += "\n" + slackWhen(i)
	}
	return slackMessage{Text: slackSummary(i, now), Blocks: []slack.Block{slackSection(text)}}
}

// slackPlain is a message without blocks, for when Slack refuses those of a
// message: told plainly is better than not at all.
func slackPlain(i alerting.Incident, now time.Time) slackMessage {
	return slackMessage{Text: slackSummary(i, now)}
}

func slackMentioning(i alerting.Incident, mention string) string {
	if mention == "" || !i.Open() || i.Severity != alerting.Page || i.Acknowledged != nil {
		return ""
	}
	return mention + " "
}

func slackEmoji(i alerting.Incident) string {
	switch {
	case !i.Open():
		return "🟢"
	case i.Severity == alerting.Page:
		return "🔴"
	}
	return "🟠"
}

// slackTitle is the first line of a message: colour, severity, group and figure.
func slackTitle(i alerting.Incident) string { return slackEmoji(i) + " " + i.Title() }

// slackSummary is the whole incident in one or two lines.
func slackSummary(i alerting.Incident, now time.Time) string {
	s := slackTitle(i)
	switch {
	case !i.Open():
		s += " – was bad " + span(i, now, time.UTC)
	case reason(i) != "":
		s += " – " + reason(i)
	}
	return slackInline(s, slackTextMax)
}

// slackWhen says since when i is bad, or from when to when it was.
func slackWhen(i alerting.Incident) string {
	switch {
	case i.Open():
		return "Since " + slackTime(i.Since)
	case !i.LastBad.After(i.Since):
		return "Was bad at " + slackTime(i.Since)
	}
	return "Was bad from " + slackTime(i.Since) + " to " + slackTime(i.LastBad) + " (" + length(i) + ")"
}

// slackLines is what was found, a line each, as far as there is room. What the
// newest version added is for the thread, and runbooks come as links.
func slackLines(i alerting.Incident) string {
	lines := i.Lines()
	if len(lines) > 0 && i.Version > 1 && lines[0] == i.Changed {
		lines = lines[1:]
	}
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "runbook: ") })
	var b strings.Builder
	size := 0
	for n, line := range lines {
		lead := "\n"
		if slices.ContainsFunc(i.Findings, func(f alerting.Finding) bool { return f.Text == line }) {
			lead = "\n• "
		}
		line = lead + slackInline(line, slackLineMax)
		if size += slackLen(line); size > slackLinesMax {
			fmt.Fprintf(&b, "\n… and %d more lines", len(lines)-n)
			break
		}
		b.WriteString(line)
	}
	return b.String()
}

// slackCause is what most likely causes it, or the two things that cannot be
// told apart, and what to look at next; "" if nothing is known.
func slackCause(ev *probe.Evidence) string {
	if ev == nil || len(ev.Causes) == 0 {
		return ""
	}
	c := ev.Causes[0]
	text := "*" + slackCertainty(c.Certainty) + ":* " + slackInline(c.Text, slackLineMax)
	if len(ev.Causes) > 1 && c.Certainty != probe.Proven && ev.Causes[1].Certainty == c.Certainty {
		text += "\n*Or:* " + slackInline(ev.Causes[1].Text, slackLineMax)
	}
	if c.Next != "" {
		text += "\n*Next:* " + slackInline(c.Next, slackLineMax)
	}
	return text
}

// slackCertainty is what to call a cause.
func slackCertainty(c probe.Certainty) string {
	switch c {
	case probe.Proven:
		return "Cause"
	case probe.Possible, probe.Unlikely:
		return "Possibly"
	}
	return "Likely"
}

// slackContext is the small print: runbooks, the page, which incident this is.
func slackContext(m Message) slack.Block {
	i := m.Incident
	var parts []string
	seen := map[string]bool{}
	for _, f := range i.Findings {
		if f.Runbook != "" && !seen[f.Runbook] && len(seen) < 3 {
			seen[f.Runbook] = true
			part := "Runbook: " + slackInline(f.Runbook, 100)
			if link := slackLink(f.Runbook, "Runbook: "+f.Rule); strings.HasPrefix(link, "<") {
				part = link
			}
			parts = append(parts, part)
		}
	}
	if m.Link != "" {
		parts = append(parts, slackLink(m.Link, "Open on the page"))
	}
	parts = append(parts, fmt.Sprintf("incident %s, version %d", slackInline(i.ID, 200), i.Version))
	text := strings.Join(parts, "  ·  ")
	if slackLen(text) > slackContextMax { // long URLs: leave them out
		text = parts[len(parts)-1]
	}
	return slack.NewContextBlock("", slack.NewTextBlockObject(slack.MarkdownType, text, false, true))
}

// slackSection makes a section of text that is already in Slack's terms. With
// verbatim set Slack makes no links or mentions of its own.
func slackSection(text string) slack.Block {
	return slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, text, false, true), nil, nil)
}
