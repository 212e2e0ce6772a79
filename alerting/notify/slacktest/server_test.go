package slacktest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// post makes a request of the Web API and returns the error code, "" for ok.
func post(t *testing.T, s *Server, method string, args ...string) string {
	t.Helper()
	form := url.Values{"token": {Token}}
	for k := 0; k < len(args); k += 2 {
		form.Set(args[k], args[k+1])
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.API+method, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.http.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var v struct {
		OK    bool   `json:"ok"`
		Error string `json:"error"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		t.Fatal(err)
	}
	if v.OK != (v.Error == "") {
		t.Errorf("%s answers ok=%t with error %q", method, v.OK, v.Error)
	}
	return v.Error
}

func section(text string) string {
	return fmt.Sprintf(`[{"type":"section","text":{"type":"mrkdwn","verbatim":true,"text":%q}}]`, text)
}

// What Slack would refuse, cut, or take for a mention is noticed.
func TestStrict(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	blocks := func(n int, block string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(block+",", n), ",") + "]"
	}
	full := `{"type":"section","text":{"type":"mrkdwn","verbatim":true,"text":"` + long(2900) + `"}}`
	for _, c := range []struct {
		name      string
		args      []string
		code      string
		violation string
	}{
		{"good", []string{"text", "a &amp; b", "blocks", section("<!date^1^{date}|then> <https://x|y> &lt;")}, "", ""},
		{"wrong token", []string{"text", "a", "token", "xoxb-other"}, "invalid_auth", ""},
		{"other channel", []string{"text", "a", "channel", "C9"}, "channel_not_found", ""},
		{"no such thread", []string{"text", "a", "thread_ts", "1.1"}, "thread_not_found", ""},
		{"unknown argument", []string{"text", "a", "txet", "b"}, "invalid_arguments", "txet"},
		{"no text", []string{"text", " "}, "no_text", "needs a text"},
		{"long text", []string{"text", long(4001)}, "msg_too_long", "4001"},
		{"no blocks", []string{"text", "a", "blocks", "{}"}, "invalid_blocks_format", "invalid_blocks_format"},
		{"51 blocks", []string{"text", "a", "blocks", blocks(51, section("a")[1:len(section("a"))-1])}, "invalid_blocks", "51 blocks"},
		{"long section", []string{"text", "a", "blocks", section(long(3001))}, "invalid_blocks", "3001"},
		{"empty section", []string{"text", "a", "blocks", section("")}, "invalid_blocks", "0 characters"},
		{"too much in all", []string{"text", "a", "blocks", blocks(5, full)}, "msg_blocks_too_long", "14500"},
		{"mention in blocks", []string{"text", "a", "blocks", section("check <!channel>")}, "", `unescaped in section: "<!channel>"`},
		{"mention in text", []string{"text", "<@U1>"}, "", `unescaped in text: "<@U1>"`},
		{"raw ampersand", []string{"text", "a & b"}, "", "unescaped in text"},
		{"raw quote", []string{"text", "> quote"}, "", "unescaped in text"},
		{"not verbatim", []string{"text", "a", "blocks", `[{"type":"section","text":{"type":"mrkdwn","text":"#general"}}]`}, "invalid_blocks", "verbatim"},
		{"markdown header", []string{"text", "a", "blocks", `[{"type":"header","text":{"type":"mrkdwn","text":"x"}}]`}, "invalid_blocks", "mrkdwn"},
		{"unknown block", []string{"text", "a", "blocks", `[{"type":"divider"}]`}, "invalid_blocks", "divider"},
		{"unknown field", []string{"text", "a", "blocks", `[{"type":"section","style":"x"}]`}, "invalid_blocks_format", "style"},
		{"deep metadata", []string{"text", "a", "metadata", `{"event_type":"x","event_payload":{"a":{}}}`}, "invalid_metadata_format", "not flat"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New()
			defer s.Close()
			args := append([]string{"channel", ChannelName}, c.args...)
			if got := post(t, s, "chat.postMessage", args...); got != c.code {
				t.Errorf("error %q, want %q", got, c.code)
			}
			got := strings.Join(s.Violations(), "\n")
			if c.violation == "" && got != "" || !strings.Contains(got, c.violation) {
				t.Errorf("violations %q, want %q", got, c.violation)
			}
			if posted := len(s.Messages()) == 1; posted != (c.code == "") {
				t.Errorf("posted: %t", posted)
			}
		})
	}
}

func TestUpdate(t *testing.T) {
	s := New()
	defer s.Close()
	meta := `{"event_type":"x","event_payload":{"a":1}}`
	post(t, s, "chat.postMessage", "channel", Channel, "text", "a", "metadata", meta)
	ts := s.Messages()[0].TS
	if got := post(t, s, "chat.update", "channel", ChannelName, "ts", ts, "text", "b"); got != "channel_not_found" {
		t.Errorf("update by name: %q, want that only the id will do", got)
	}
	if got := post(t, s, "chat.update", "channel", Channel, "ts", ts, "text", "b"); got != "" {
		t.Errorf("update: %q", got)
	}
	if m := s.Messages()[0]; m.Text != "b" || m.Edits != 1 || m.Metadata.EventType != "x" {
		t.Errorf("message %+v, want the new text and the old metadata", m)
	}
	s.Delete(ts)
	if got := post(t, s, "chat.update", "channel", Channel, "ts", ts, "text", "c"); got != "message_not_found" {
		t.Errorf("update of a deleted message: %q", got)
	}
}
