package probe

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestReleasedEvidence: what released versions have stored decodes for ever. The
// file is never written again: a new format gets a file of its own.
func TestReleasedEvidence(t *testing.T) {
	b, err := os.ReadFile("testdata/evidence.v1.json")
	if err != nil {
		t.Fatal(err)
	}
	want := Evidence{
		V: 1, Check: "live", Location: "eu-west", Slot: time.Date(2026, 11, 21, 3, 12, 0, 0, time.UTC),
		Class: NotFound, Stage: StageHTTP, Reason: "wss://app.test/ws: upgrade answered 404 Not Found, want 101",
		URL: "wss://app.test/ws?token=***",
		Addresses: []Address{
			{IP: "2001:db8::1", Err: "connection refused", Connect: 1000001},
			{IP: "192.0.2.1", Connect: 2000002},
		},
		TLS: &TLSFacts{
			Version: "TLS 1.3", Cipher: "TLS_AES_128_GCM_SHA256", ALPN: "http/1.1", Subject: "app.test", Issuer: "Test Root",
			Names: []string{"app.test", "*.app.test"}, Err: "none",
			NotBefore: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 12, 30, 0, 0, 0, 0, time.UTC),
		},
		Request: "GET /ws?token=*** HTTP/1.1\r\nHost: app.test\r\nUpgrade: websocket\r\n",
		Head:    "HTTP/1.1 404 Not Found\r\nServer: uvicorn\r\n", Body: `{"detail":"Not Found"}`, End: "FIN",
		Frames: []Frame{
			{At: 3000003, Op: 8, Fin: true, Len: 12, Header: "880c", Text: "going away", Code: 1001},
			{At: 4000004, Op: 1, Len: 5, Header: "c105", Err: "reserved bits 100 set"},
		},
		Phases: Phases{DNS: 1, Connect: 2, TLS: 3, FirstByte: 4, Body: 5, Upgrade: 6, Message: 7, Ping: 8, Close: 9},
		Facts:  map[string]string{"redirects": "1"}, Curl: "curl -sSv 'https://app.test/ws'",
		Causes: []Cause{
			{
				Name: "route_missing", Certainty: Likely, Text: "there is no such route",
				Evidence: []string{"a plain GET gets the same"}, Next: "list the routes", Fix: "mount the router",
			},
			{Name: "stale_deploy", Certainty: Possible, Text: "an old revision serves"},
		},
		Asked: []Question{{What: "a plain GET of this path", Answer: "404", Same: true}, {What: "(asked 1m0s ago)"}},
	}
	var got Evidence
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
