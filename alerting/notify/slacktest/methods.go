package slacktest

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// read takes in a request and returns what carrying it out does.
func (s *Server) read(r *http.Request, method string) (func(http.ResponseWriter), error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if r.Method != http.MethodPost {
		return nil, errors.New("want POST")
	}
	if method == "webhook" {
		return func(w http.ResponseWriter) { s.webhook(w, r.URL.Path, body) }, nil
	}
	if method == Upload {
		return func(w http.ResponseWriter) { s.upload(w, r, body) }, nil
	}
	if method == "apps.connections.open" {
		return func(w http.ResponseWriter) { s.openSocket(w, r) }, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter) {
		s.mu.Lock()
		defer s.mu.Unlock()
		v, code := s.api(method, form)
		if code != "" {
			answer(w, map[string]any{"ok": false, "error": code})
			return
		}
		v["ok"] = true
		answer(w, v)
	}, nil
}

// api carries out one method of the Web API. code is Slack's word for what is
// wrong, "" if nothing is.
func (s *Server) api(method string, form url.Values) (v map[string]any, code string) {
	if form.Get("token") != Token {
		return nil, "invalid_auth"
	}
	known := map[string][]string{
		"chat.postMessage": {
			"token", "channel", "text", "blocks", "metadata", "thread_ts", "reply_broadcast",
			"parse", "link_names", "unfurl_links", "unfurl_media",
		},
		"chat.update":                  {"token", "channel", "ts", "text", "blocks", "metadata", "parse", "link_names", "unfurl_links", "unfurl_media"},
		"files.getUploadURLExternal":   {"token", "filename", "length", "alt_txt"},
		"files.completeUploadExternal": {"token", "files", "channel_id", "thread_ts"},
		"chat.postEphemeral":           {"token", "channel", "user", "text", "parse", "link_names"},
		"conversations.history":        {"token", "channel", "limit", "cursor", "oldest", "latest", "inclusive", "include_all_metadata"},
		"conversations.replies":        {"token", "channel", "ts", "limit", "cursor", "oldest", "latest", "inclusive", "include_all_metadata"},
	}[method]
	if known == nil {
		return nil, "unknown_method"
	}
	for name, values := range form {
		if !slices.Contains(known, name) || len(values) != 1 {
			s.violation("%s: argument %s=%q", method, name, values)
			return nil, "invalid_arguments"
		}
	}
	switch method {
	case "chat.postMessage":
		return s.postMessage(form)
	case "chat.update":
		return s.update(form)
	case "chat.postEphemeral":
		return s.postEphemeral(form)
	case "files.getUploadURLExternal":
		return s.uploadURL(form)
	case "files.completeUploadExternal":
		return s.completeUpload(form)
	}
	if s.unreadable != "" {
		return nil, s.unreadable
	}
	if form.Get("channel") != Channel {
		return nil, "channel_not_found"
	}
	if method == "conversations.replies" {
		return s.replies(form)
	}
	return s.history(form)
}

func (s *Server) postMessage(form url.Values) (map[string]any, string) {
	if c := form.Get("channel"); c != Channel && c != ChannelName && "#"+c != ChannelName {
		return nil, "channel_not_found"
	}
	m := &Message{Thread: form.Get("thread_ts"), Broadcast: form.Get("reply_broadcast") == "true"}
	if m.Thread != "" {
		if parent := s.find(m.Thread); parent == nil || parent.Thread != "" {
			return nil, "thread_not_found"
		}
	}
	if code := s.fill(m, form); code != "" {
		return nil, code
	}
	s.add(m)
	return map[string]any{"channel": Channel, "ts": m.TS, "message": wire(*m, true)}, ""
}

func (s *Server) postEphemeral(form url.Values) (map[string]any, string) {
	switch {
	case form.Get("channel") != Channel:
		return nil, "channel_not_found"
	case form.Get("user") == "":
		return nil, "user_not_in_channel"
	}
	if code := s.checkContent(form.Get("text"), ""); code != "" {
		return nil, code
	}
	s.ephemerals = append(s.ephemerals, Ephemeral{form.Get("user"), form.Get("text")})
	s.notify()
	return map[string]any{"message_ts": "1.000001"}, ""
}

func (s *Server) update(form url.Values) (map[string]any, string) {
	if form.Get("channel") != Channel { // a name will not do
		return nil, "channel_not_found"
	}
	m := s.find(form.Get("ts"))
	if m == nil {
		return nil, "message_not_found"
	}
	if m.Webhook || m.Metadata.EventType == "" {
		return nil, "cant_update_message"
	}
	if code := s.fill(m, form); code != "" {
		return nil, code
	}
	m.Edits++
	s.notify()
	return map[string]any{"channel": Channel, "ts": m.TS, "text": m.Text, "message": wire(*m, true)}, ""
}

// fill takes the content of a message. Metadata that is left out stays.
func (s *Server) fill(m *Message, form url.Values) (code string) {
	text, blocks := form.Get("text"), form.Get("blocks")
	if code := s.checkContent(text, blocks); code != "" {
		return code
	}
	if raw := form.Get("metadata"); raw != "" {
		md, ok := s.checkMetadata(raw)
		if !ok {
			return "invalid_metadata_format"
		}
		m.Metadata = md
	}
	m.Text, m.Blocks = text, json.RawMessage(blocks)
	return ""
}

// history answers with the messages of the channel, newest first.
func (s *Server) history(form url.Values) (map[string]any, string) {
	var list []Message
	for _, m := range s.messages {
		if !m.Deleted && (m.Thread == "" || m.Broadcast) && later(m.TS, form.Get("oldest")) {
			list = append(list, *m)
		}
	}
	slices.Reverse(list)
	return page(list, form)
}

// replies answers with a message and those in its thread, oldest first.
func (s *Server) replies(form url.Values) (map[string]any, string) {
	parent := s.find(form.Get("ts"))
	if parent == nil {
		return nil, "thread_not_found"
	}
	list := []Message{*parent}
	for _, m := range s.messages {
		if !m.Deleted && m.Thread == parent.TS {
			list = append(list, *m)
		}
	}
	return page(list, form)
}

func later(ts, oldest string) bool {
	a, _ := strconv.ParseFloat(ts, 64)
	b, _ := strconv.ParseFloat(oldest, 64)
	return a > b
}

// page answers with a part of list; the cursor is where the next one begins.
func page(list []Message, form url.Values) (map[string]any, string) {
	from, _ := strconv.Atoi(form.Get("cursor"))
	limit, err := strconv.Atoi(form.Get("limit"))
	if err != nil || limit < 1 || limit > 999 {
		return nil, "invalid_limit"
	}
	if from < 0 || from > len(list) {
		return nil, "invalid_cursor"
	}
	to := min(from+limit, len(list))
	cursor := ""
	if to < len(list) {
		cursor = strconv.Itoa(to)
	}
	messages := []any{}
	for _, m := range list[from:to] {
		messages = append(messages, wire(m, form.Get("include_all_metadata") == "1"))
	}
	return map[string]any{
		"messages": messages, "has_more": cursor != "", "response_metadata": map[string]any{"next_cursor": cursor},
	}, ""
}

// wire is a message as Slack sends it.
func wire(m Message, metadata bool) map[string]any {
	v := map[string]any{"type": "message", "ts": m.TS, "text": m.Text}
	if m.Thread != "" {
		v["thread_ts"] = m.Thread
	}
	if m.Broadcast {
		v["subtype"] = "thread_broadcast"
	}
	if len(m.Blocks) > 0 {
		v["blocks"] = m.Blocks
	}
	if metadata && m.Metadata.EventType != "" {
		v["metadata"] = m.Metadata
	}
	return v
}

// webhook takes a message through the incoming webhook.
func (s *Server) webhook(w http.ResponseWriter, path string, body []byte) {
	say := func(status int, word string) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, word)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if path != hookPath {
		say(http.StatusNotFound, "no_service")
		return
	}
	var form struct {
		Text            string          `json:"text"`
		Blocks          json.RawMessage `json:"blocks"`
		Parse           string          `json:"parse"`
		UnfurlLinks     *bool           `json:"unfurl_links"`
		UnfurlMedia     *bool           `json:"unfurl_media"`
		ReplaceOriginal bool            `json:"replace_original"`
		DeleteOriginal  bool            `json:"delete_original"`
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	if err := d.Decode(&form); err != nil {
		s.violation("webhook: %v", err)
		say(http.StatusBadRequest, "invalid_payload")
		return
	}
	if code := s.checkContent(form.Text, string(form.Blocks)); code != "" {
		say(http.StatusBadRequest, code)
		return
	}
	s.add(&Message{Text: form.Text, Blocks: form.Blocks, Webhook: true})
	say(http.StatusOK, "ok")
}
