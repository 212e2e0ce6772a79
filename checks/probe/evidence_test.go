package probe

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// checkEvidence checks that e is bounded, is valid JSON text, and cannot steer
// a terminal.
func checkEvidence(t testing.TB, e *Evidence) {
	t.Helper()
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > MaxEvidence {
		t.Errorf("%d bytes of evidence, want at most %d", len(b), MaxEvidence)
	}
	if !utf8.Valid(b) {
		t.Error("evidence is not UTF-8")
	}
	for _, s := range []string{e.Head, e.Body, e.Request, e.Reason} {
		if i := strings.IndexFunc(s, control); i >= 0 {
			t.Errorf("control character in %q", s)
		}
	}
	if e.V != EvidenceVersion {
		t.Errorf("version %d", e.V)
	}
}

func TestEvidenceIsBounded(t *testing.T) {
	r := NewRedactor()
	for _, unit := range []string{"<", "\x00", "\xff", "\u202e", "é", "\"", "\\", "&amp;", "\u2028", "a"} {
		hostile := []byte(strings.Repeat(unit, 1<<16))
		e := &Evidence{
			URL: strings.Repeat("u", 3000), Reason: r.Line(string(hostile)),
			Request: r.Head(hostile, maxEvidenceRequest), Head: r.Head(hostile, maxEvidenceHead), Body: r.Excerpt(hostile, maxEvidenceBody),
			End: r.Line(string(hostile)), Facts: map[string]string{"a": strings.Repeat("<", 5000)}, Curl: strings.Repeat("'", 2048),
			TLS: &TLSFacts{Names: []string{strings.Repeat("<", 100)}},
		}
		for range 200 {
			e.Frames = append(e.Frames, Frame{Header: "8100", Text: strings.Repeat("<", 100)})
			e.Addresses = append(e.Addresses, Address{IP: "::1", Err: "connection refused"})
		}
		checkEvidence(t, e.Bound())
		if e.Head == "" || e.Body == "" {
			t.Errorf("%q: nothing is left of head %q and body %q", unit, e.Head, e.Body)
		}
		line := r.Line(string(hostile))
		d := Diagnosis{}
		for range 20 {
			d.Causes = append(d.Causes, Cause{Name: "why", Text: "because", Evidence: []string{line, line}, Next: "look", Fix: "repair"})
			d.Asked = append(d.Asked, Question{What: line, Answer: line})
		}
		checkEvidence(t, e.With(d))
		if len(e.Causes) == 0 || len(e.Causes) > maxCauses || len(e.Asked) > maxAsked {
			t.Errorf("%q: %d causes and %d questions are left", unit, len(e.Causes), len(e.Asked))
		}
	}
	small := &Evidence{Head: "HTTP/1.1 200 OK\r\n", Facts: map[string]string{"a": "b"}, Frames: make([]Frame, 3)}
	small.Bound()
	if len(small.Frames) != 3 || len(small.Facts) != 1 || small.Head != "HTTP/1.1 200 OK\r\n" {
		t.Errorf("small evidence was cut: %+v", small)
	}
}

func TestFailureOutcome(t *testing.T) {
	addr := serve(t, answer("HTTP/1.1 200 OK\r\nX-Echo: tok-1234567890\r\nbroken tok-1234567890\r\n\r\n"))
	n := testNetwork("tok-1234567890")
	tg := target(t, n, "http://"+addr+"/?token=tok-1234567890", Connection{})
	_, _, f := get(t, n, tg, 5*time.Second)
	wantFailure(t, f, NotHTTP, StageHandshake)
	o := f.Outcome("GET "+tg.String(), n.Redactor(), func() *Evidence { return &Evidence{URL: tg.String()} })
	e := o.Evidence()
	checkEvidence(t, e)
	if !strings.HasPrefix(o.Reason, "GET http://"+addr+"/?token=***: the response head is malformed") {
		t.Errorf("reason %q", o.Reason)
	}
	if !strings.Contains(e.Head, "X-Echo: ***") || len(e.Addresses) != 1 || e.End == "" || e.Class != NotHTTP || e.Phases.Connect == 0 {
		t.Errorf("evidence %+v", e)
	}
	if all := fmt.Sprintf("%+v %+v", o, e); strings.Contains(all, "1234567890") {
		t.Errorf("secret in %s", all)
	}
}

func TestCurlLine(t *testing.T) {
	n := testNetwork()
	tg := target(t, n, "wss://x.test/ws?token=abcdef&a='b'", Connection{IP: "4", TLS: &TLSOptions{InsecureSkipVerify: true}, Proxy: "http://u:pw55@p.test:3128"})
	got := CurlLine(n.Redactor(), tg, "POST", []Field{{"Host", "x.test"}, {"Authorization", "Bearer zzz"}, {"X-A", "it's"}}, true)
	want := `curl -sSv --max-time 10 --http1.1 -k -x 'http://p.test:3128' -4 -X 'POST' -H 'Authorization: Bearer ***' -H 'X-A: it'\''s' --data-binary @BODY 'https://x.test/ws?token=***&a='\''b'\'''`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
