package slacktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// textObject is a text of Block Kit.
type textObject struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Emoji    *bool  `json:"emoji"`
	Verbatim bool   `json:"verbatim"`
}

// block has the fields of the kinds of blocks that are let through.
type block struct {
	Type     string          `json:"type"`
	BlockID  string          `json:"block_id"`
	Text     *textObject     `json:"text"`
	Fields   []textObject    `json:"fields"`
	Elements json.RawMessage `json:"elements"`
}

// buttonElement is a button of a block of actions
// (https://docs.slack.dev/reference/block-kit/block-elements/button-element).
type buttonElement struct {
	Type     string     `json:"type"`
	ActionID string     `json:"action_id"`
	Text     textObject `json:"text"`
	Value    string     `json:"value"`
	Style    string     `json:"style,omitempty"`
}

// checkContent returns Slack's word for what is wrong with a message, and notes
// it as a violation; "" if nothing is
// (https://docs.slack.dev/reference/block-kit/blocks).
func (s *Server) checkContent(text, blocks string) string {
	refuse := func(code, format string, args ...any) string {
		s.violation(code+": "+format, args...)
		return code
	}
	if strings.TrimSpace(text) == "" {
		return refuse("no_text", "a message needs a text for notifications")
	}
	if n := length(text); n > 4000 {
		return refuse("msg_too_long", "text of %d characters", n)
	}
	s.checkMarkup("text", text)
	if blocks == "" {
		return ""
	}
	var list []block
	d := json.NewDecoder(strings.NewReader(blocks))
	d.DisallowUnknownFields()
	if err := d.Decode(&list); err != nil {
		return refuse("invalid_blocks_format", "%v", err)
	}
	if len(list) > 50 {
		return refuse("invalid_blocks", "%d blocks, want at most 50", len(list))
	}
	total := 0
	for n, b := range list {
		size, err := s.checkBlock(b)
		if err != nil {
			return refuse("invalid_blocks", "block %d: %v", n, err)
		}
		total += size
	}
	if total > 13_200 {
		return refuse("msg_blocks_too_long", "%d characters in all blocks", total)
	}
	return ""
}

// checkBlock returns how long the texts of a block are together.
func (s *Server) checkBlock(b block) (size int, err error) {
	check := func(t textObject, limit int, types ...string) {
		n := length(t.Text)
		size += n
		switch {
		case err != nil:
		case !slices.Contains(types, t.Type):
			err = fmt.Errorf("text of type %q in a %s", t.Type, b.Type)
		case n == 0 || n > limit:
			err = fmt.Errorf("text of %d characters in a %s, want 1 to %d", n, b.Type, limit)
		case !utf8.ValidString(t.Text):
			err = fmt.Errorf("text of a %s is not UTF-8", b.Type)
		case t.Type == "mrkdwn" && (t.Emoji != nil || !t.Verbatim):
			err = fmt.Errorf("mrkdwn in a %s with emoji %v, verbatim %t: names in it would become links and mentions", b.Type, t.Emoji, t.Verbatim)
		}
		s.checkMarkup(b.Type, t.Text)
	}
	switch b.Type {
	case "header":
		if b.Text == nil || b.Fields != nil || b.Elements != nil {
			return 0, fmt.Errorf("a header has a text and nothing else")
		}
		check(*b.Text, 150, "plain_text")
	case "section":
		if b.Text == nil && len(b.Fields) == 0 || len(b.Fields) > 10 || b.Elements != nil {
			return 0, fmt.Errorf("a section has a text or 1 to 10 fields")
		}
		if b.Text != nil {
			check(*b.Text, 3000, "plain_text", "mrkdwn")
		}
		for _, f := range b.Fields {
			check(f, 2000, "plain_text", "mrkdwn")
		}
	case "context":
		var elements []textObject
		if err := strictly(b.Elements, &elements); err != nil {
			return 0, err
		}
		if len(elements) == 0 || len(elements) > 10 || b.Text != nil || b.Fields != nil {
			return 0, fmt.Errorf("a context has 1 to 10 elements and nothing else")
		}
		for _, e := range elements {
			check(e, 3000, "plain_text", "mrkdwn")
		}
	case "actions":
		var buttons []buttonElement
		if err := strictly(b.Elements, &buttons); err != nil {
			return 0, err
		}
		if len(buttons) == 0 || len(buttons) > 25 || b.Text != nil || b.Fields != nil {
			return 0, fmt.Errorf("actions have 1 to 25 elements and nothing else")
		}
		ids := map[string]bool{}
		for _, e := range buttons {
			check(e.Text, 75, "plain_text")
			if e.Type != "button" || e.ActionID == "" || len(e.ActionID) > 255 || ids[e.ActionID] || length(e.Value) > 2000 {
				return 0, fmt.Errorf("a %s with id %q and a value of %d characters", e.Type, e.ActionID, length(e.Value))
			}
			ids[e.ActionID] = true
		}
	default:
		return 0, fmt.Errorf("block of type %q", b.Type)
	}
	return size, err
}

// strictly decodes raw, without unknown fields.
func strictly(raw json.RawMessage, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// checkMarkup notes every < > & that is neither escaped nor part of a link, a
// date or an allowed mention: a name from outside got through unescaped.
func (s *Server) checkMarkup(where, text string) {
	for len(text) > 0 {
		i := strings.IndexAny(text, "<>&")
		if i < 0 {
			return
		}
		text = text[i:]
		size := 0
		for _, entity := range []string{"&amp;", "&lt;", "&gt;"} {
			if strings.HasPrefix(text, entity) {
				size = len(entity)
			}
		}
		if end := strings.IndexByte(text, '>'); size == 0 && text[0] == '<' && end > 0 && s.allowed(text[:end+1]) {
			size = end + 1
		}
		if size == 0 {
			s.violation("unescaped in %s: %.60q", where, text)
			return
		}
		text = text[size:]
	}
}

func (s *Server) allowed(markup string) bool {
	for _, prefix := range []string{"<!date^", "<https://", "<http://"} {
		if strings.HasPrefix(markup, prefix) && !strings.ContainsAny(markup[1:len(markup)-1], "<>") {
			return true
		}
	}
	return slices.Contains(s.mentions, markup)
}

// checkMetadata reads metadata: an event type and a flat payload
// (https://docs.slack.dev/messaging/message-metadata).
func (s *Server) checkMetadata(raw string) (md Metadata, ok bool) {
	d := json.NewDecoder(bytes.NewReader([]byte(raw)))
	d.DisallowUnknownFields()
	if err := d.Decode(&md); err != nil || md.EventType == "" {
		s.violation("metadata %s: %v", raw, err)
		return md, false
	}
	for k, v := range md.EventPayload {
		switch v.(type) {
		case string, float64, bool:
		default:
			s.violation("metadata %s: %v is not flat", k, v)
			return md, false
		}
	}
	return md, true
}

// length is the length of text in UTF-16 units.
func length(text string) int {
	n := 0
	for _, r := range text {
		n += utf16.RuneLen(r)
	}
	return n
}
