package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

type object = map[string]any

// writeConfig writes one check for each case, as JSON, which is YAML.
func writeConfig(w io.Writer, cases []byte, dir string) error {
	list, err := readCases(cases, dir)
	if err != nil {
		return err
	}
	var checks []object
	for _, c := range list {
		checks = append(checks, c.check(filepath.Join(dir, "certs", "ca.pem")))
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	return e.Encode(object{
		"version":  1,
		"data":     object{"dir": filepath.Join(dir, "tripline-data")},
		"http":     object{"listen": "127.0.0.1:0"},
		"defaults": object{"every": "60s", "confirm": 0},
		"checks":   checks,
	})
}

// The settings that a user would give every check of such servers.
const (
	defaultTimeout = 3000 // ms
	defaultWithin  = 1500 // ms for a message
	slowerThan     = "1s"
	settle         = "500ms"
	longestSend    = 1 << 20 // bytes: a config file may have 16 MiB in all
)

func (c testCase) check(ca string) object {
	ws := object{"url": c.URL, "slower_than": slowerThan, "ping": c.Ping}
	if !c.Ping && c.Read == 0 {
		ws["settle"] = settle
	}
	if c.DNS != "" {
		ws["resolver"] = c.DNS
	}
	if strings.HasPrefix(c.URL, "wss:") && (c.Trust == "" || c.Trust == "ca") {
		ws["tls"] = object{"ca_file": ca}
	}
	if c.Method != "" {
		ws["method"] = c.Method
	}
	headers := object{}
	for _, h := range c.Headers {
		name, value, _ := strings.Cut(h, ": ")
		headers[name] = value
	}
	if len(headers) > 0 {
		ws["headers"] = headers
	}
	if len(c.Sub) > 0 {
		ws["subprotocols"] = c.Sub
	}
	if c.HoldMS > 0 {
		ws["hold"] = ms(c.HoldMS)
	}
	switch { // tries and users are sessions at the same time
	case c.Repeat > 1:
		ws["sessions"] = c.Repeat
	case c.Parallel > 0:
		ws["sessions"], ws["stagger"] = c.Parallel+1, "200ms"
	case c.Users > 1:
		ws["sessions"], ws["isolation"] = c.Users, ".user_id == null or .user_id == $session"
	}
	timeout := max(c.Timeout, defaultTimeout)
	if c.ReadMS > 0 {
		timeout = max(timeout, c.ReadMS+defaultTimeout)
	}
	c.conversation(ws)
	return object{"name": c.ID, "timeout": ms(timeout), "websocket": ws}
}

// conversation says what to send, and what a user who sends that would expect.
func (c testCase) conversation(ws object) {
	within := ms(max(c.ReadMS, defaultWithin))
	if c.Users > 0 {
		ws["steps"] = []object{
			{"send": `{"type":"user_message","user_id":"{{session}}","data":"{{nonce}}"}`},
			{"expect": object{"jq": `.type == "user_reply"`, "within": within}},
		}
		return
	}
	var texts, binary []string
	for _, s := range c.Send {
		var n int
		if hex, ok := strings.CutPrefix(s, "bin:"); ok {
			binary = append(binary, hex)
			continue
		}
		if _, err := fmt.Sscanf(s, "big:%d", &n); err == nil { // so many bytes
			s = strings.Repeat("y", min(n, longestSend))
		}
		texts = append(texts, s)
	}
	first := strings.Join(texts[:min(1, len(texts))], "")
	if strings.Contains(first, `"agent_execute"`) { // answered by a run of five events
		var of []string
		for _, e := range []string{"agent_started", "agent_thinking", "tool_executing", "tool_completed", "agent_completed"} {
			of = append(of, `.type == "`+e+`"`)
		}
		ws["steps"] = []object{
			{"send": first},
			{"expect_events": object{"of": of, "ordered": true, "no_duplicates": true, "within": within}},
		}
		return
	}
	if len(texts) > 0 {
		ws["send"] = texts
	}
	if len(binary) > 0 {
		ws["send_binary"] = binary
	}
	var expect []object
	for range c.Read {
		expect = append(expect, object{"within": within})
	}
	switch {
	case len(expect) == 0:
		return
	case strings.Contains(c.URL, "/socket.io/"): // its packets: open, connect, event
		for i, packet := range []string{"0{", "40", "42"}[:min(3, len(expect))] {
			expect[i]["text"] = packet
		}
	case strings.Contains(first, `"ping"`):
		expect[0]["jq"] = `.type == "pong"`
	case strings.Contains(first, `"subscribe"`) && strings.HasPrefix(first, "{"):
		expect[0]["jq"] = `.type == "subscription_confirmed"`
	case first == "hi": // it is echoed
		expect[0]["text"] = "hi"
	}
	ws["expect"] = expect
}

func ms(n int) string { return fmt.Sprintf("%dms", n) }

// token is a JWT of the servers' users (RFC 7519, HS256) that expires in d.
func token(d time.Duration) string {
	enc := base64.RawURLEncoding
	body := enc.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		enc.EncodeToString(fmt.Appendf(nil, `{"sub":"u1","exp":%d}`, time.Now().Add(d).Unix()))
	h := hmac.New(sha256.New, []byte("testbed-secret"))
	_, _ = h.Write([]byte(body)) // never fails: hash.Hash
	return body + "." + enc.EncodeToString(h.Sum(nil))
}
