package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hookSecret is the one of the examples of Standard Webhooks: 24 bytes.
const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// webhookAt makes a notifier of a URL with a secret in it.
func webhookAt(url string) Notifier {
	s := &Webhook{URL: url + "/hooks/s3cr3t-path?key=q5", Secret: hookSecret, AllowPrivate: true}
	if p := s.Validate(); len(p) > 0 {
		panic(p[0].Text)
	}
	return s.Notifier(Env{})
}

// verify checks a request as the receiver of a webhook does.
func verify(t *testing.T, p posted) {
	t.Helper()
	stamp, err := strconv.ParseInt(p.Header.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(stamp, 0)).Abs() > 5*time.Minute {
		t.Errorf("webhook-timestamp %q at %s", p.Header.Get("webhook-timestamp"), p.At)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(hookSecret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(p.Header.Get("webhook-id") + "." + p.Header.Get("webhook-timestamp") + "." + string(p.Body)))
	if got, want := p.Header.Get("webhook-signature"), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("webhook-signature %q, want %q", got, want)
	}
}

// The signature over known bytes, as computed by Python's hmac.
func TestWebhookSignature(t *testing.T) {
	key, err := webhookKey(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	h := (&signedHook{key: key}).header("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if got := h.Get("webhook-signature"); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %q", got)
	}
}

func TestWebhookGolden(t *testing.T) {
	for name, m := range night() {
		golden(t, "webhook-"+name+".json", pretty(t, webhookBody(m)))
	}
}

func TestWebhookLife(t *testing.T) {
	r := startReceiver(t, response{status: 204})
	n := webhookAt(r.URL)
	i := opened("ws", time.Now())
	told := tell(t, n, i, nil)
	told = tell(t, n, i, pending(told, 1)) // the answer was lost: the same again
	i = then(i, "also: slow", time.Now())
	told = tell(t, n, i, told)
	tell(t, n, over(i), told)
	var got []string
	for _, p := range r.posts() {
		verify(t, p)
		var e webhookEvent
		if err := json.Unmarshal(p.Body, &e); err != nil {
			t.Fatal(err)
		}
		if p.Path != "/hooks/s3cr3t-path" || e.Data.V != 1 {
			t.Errorf("request %s %s", p.Path, p.Body)
		}
		got = append(got, p.Header.Get("webhook-id")+" "+e.Type+" "+e.Data.State)
	}
	want := []string{"ws-v1 incident.opened open", "ws-v1 incident.opened open", "ws-v2 incident.updated open", "ws-v3 incident.resolved resolved"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if a, b := r.posts()[0], r.posts()[1]; string(a.Body) != string(b.Body) {
		t.Errorf("the body of a repeat is another one:\n%s\n%s", a.Body, b.Body)
	}
}

func TestWebhookUnsigned(t *testing.T) {
	r := startReceiver(t, response{status: 200})
	n := (&Webhook{URL: r.URL, AllowUnsigned: true, AllowPrivate: true}).Notifier(Env{})
	tell(t, n, opened("ws", time.Now()), nil)
	if h := r.posts()[0].Header; h["Webhook-Signature"] != nil || h.Get("webhook-id") != "ws-v1" {
		t.Errorf("headers %v", h)
	}
}

func TestWebhookErrors(t *testing.T) {
	const leak = "hooks/s3cr3t-path?key=q5"
	list := append(unknownAnswers(leak), []wrongAnswer{
		{"302", response{status: 302, header: map[string][]string{"Location": {"http://127.0.0.1:1/"}}}, "again", 0, "status 302, want 2xx"},
		{"400", response{status: 400, body: leak}, "again", 0, "status 400, want 2xx"},
		{"401", response{status: 401, body: leak}, "again", 0, "status 401, want 2xx"},
		{"403", response{status: 403}, "again", 0, "status 403, want 2xx"},
		{"404", response{status: 404}, "again", 0, "status 404, want 2xx"},
		{"410", response{status: 410, body: leak}, "permanent", 0, "status 410: the receiver wants no more, nothing is posted until the settings change or the monitor restarts"},
		{"429", response{status: 429}, "later", laterPause, "status 429, want 2xx"},
		{"429 7", retrying(429, "7"), "later", 7 * time.Second, "status 429, want 2xx"},
		{"429 -7", retrying(429, "-7"), "later", 0, "status 429, want 2xx"},
		{"429 odd", retrying(429, "in a while"), "later", laterPause, "status 429, want 2xx"},
		{"500 7", retrying(500, "7"), "again", 0, "status 500, want 2xx"},
		{"502 7", retrying(502, "7"), "later", 7 * time.Second, "status 502, want 2xx"},
		{"503", response{status: 503, body: leak}, "again", 0, "status 503, want 2xx"},
		{"503 7", retrying(503, "7"), "later", 7 * time.Second, "status 503, want 2xx"},
		{"503 odd", retrying(503, "soon"), "again", 0, "status 503, want 2xx"},
		{"504 0.5", retrying(504, "0.5"), "later", 500 * time.Millisecond, "status 504, want 2xx"},
	}...)
	leaks := []string{"s3cr3t-path", "q5", strings.TrimPrefix(hookSecret, "whsec_")}
	checkAnswers(t, list, webhookAt, leaks...)
	unreachable(t, webhookAt, leaks...)
}

// After a 410 nothing more is posted, whatever there is to tell; new settings and
// a new start make a notifier that does.
func TestWebhookGone(t *testing.T) {
	r := startReceiverFunc(t, func(n int, _ posted) response {
		if n == 1 {
			return response{status: 410}
		}
		return response{status: 204}
	})
	n := webhookAt(r.URL)
	for _, id := range []string{"a", "a", "b"} {
		_, err := n.Notify(t.Context(), Message{Incident: opened(id, time.Now())}, nil)
		if _, permanent := errors.AsType[*PermanentError](err); !permanent || !strings.Contains(err.Error(), "status 410: ") {
			t.Errorf("%s: error %v, want that the receiver wants no more", id, err)
		}
	}
	if got := len(r.posts()); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
	tell(t, webhookAt(r.URL), opened("b", time.Now()), nil)
}

// What a name resolves to decides, not what it looks like.
func TestWebhookGuard(t *testing.T) {
	r := startReceiver(t, response{status: 200})
	if tr, ok := guarded(newHTTPClient()).Transport.(*http.Transport); !ok || tr.Proxy != nil {
		t.Error("a proxy is used, behind which nothing is seen")
	}
	url := strings.Replace(r.URL, "127.0.0.1", "localhost", 1)
	n := (&Webhook{URL: url, Secret: hookSecret}).Notifier(Env{})
	_, err := n.Notify(t.Context(), Message{Incident: opened("ws", time.Now())}, nil)
	if err == nil || len(r.posts()) != 0 {
		t.Fatalf("error %v and %d requests, want none", err, len(r.posts()))
	}
	_, what, _ := strings.Cut(err.Error(), " is ")
	checkError(t, err, "permanent", 0, err.Error(), hookSecret)
	if what != "a loopback address, want a public address, or allow_private" {
		t.Errorf("error %q", err)
	}
}

func TestBlocked(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "0.0.0.0": true, "::": true, "10.1.2.3": true, "172.16.0.1": true,
		"172.31.255.255": true, "192.168.1.1": true, "169.254.169.254": true, "fe80::1%eth0": true, "fd00:ec2::254": true,
		"100.100.100.200": true, "168.63.129.16": true, "192.0.0.192": true, "::ffff:10.0.0.1": true, "::10.0.0.1": true,
		"64:ff9b::a00:1": true, "2002:a00:1::1": true, "224.0.0.1": true, "255.255.255.255": true, "ff02::1": true, "240.0.0.1": true,
		"1.1.1.1": false, "172.32.0.1": false, "11.0.0.1": false, "100.128.0.1": false, "2606:4700:4700::1111": false, "168.63.129.17": false,
	} {
		if got := blocked(netip.MustParseAddr(text)) != nil; got != want {
			t.Errorf("%s is blocked: %t, want %t", text, got, want)
		}
	}
}

func TestWebhookLimits(t *testing.T) {
	body := webhookBody(storm())
	var e webhookEvent
	if err := json.Unmarshal(body, &e); err != nil {
		t.Fatal(err)
	}
	if len(body) >= 20_000 || len(e.Data.Findings) == 0 || len(e.Data.Findings)+e.Data.More != 401 {
		t.Errorf("%d bytes, %d findings and %d more, want less than 20 kB and 401", len(body), len(e.Data.Findings), e.Data.More)
	}
	if len(e.Data.Findings) < 10 || !strings.Contains(e.Data.Evidence, "404 Not Found") {
		t.Errorf("%d findings and evidence %q, want room for both", len(e.Data.Findings), e.Data.Evidence)
	}
	m := night()["opened"]
	m.Evidence.Body = strings.Repeat("é", 9000)
	if body := webhookBody(m); len(body) >= 20_000 || !strings.Contains(string(body), "404 Not Found") {
		t.Errorf("%d bytes: %s", len(body), body)
	}
}

func TestWebhookValidate(t *testing.T) {
	secret := func(bytes int) string { return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, bytes)) }
	for _, c := range []struct {
		s    Webhook
		want string
	}{
		{Webhook{URL: "https://example.com/hook", Secret: hookSecret}, ""},
		{Webhook{URL: "https://example.com/hook", Secret: secret(64)}, ""},
		{Webhook{URL: "https://example.com/hook", AllowUnsigned: true}, ""},
		{Webhook{URL: "http://10.0.0.1:8080/hook", Secret: hookSecret, AllowPrivate: true}, ""},
		{Webhook{}, "url: is empty, want an https URL; secret: is empty, want whsec_ and 24 to 64 bytes in base64, or allow_unsigned"},
		{Webhook{URL: "https://example.com/", Secret: hookSecret, AllowUnsigned: true}, "allow_unsigned: contradicts secret, want one of them"},
		{Webhook{URL: "https://example.com/", Secret: secret(23)}, "secret: has 23 bytes, want 24 to 64"},
		{Webhook{URL: "https://example.com/", Secret: secret(65)}, "secret: has 65 bytes, want 24 to 64"},
		{Webhook{URL: "https://example.com/", Secret: "whsec_%%"}, "secret: is not base64 after whsec_"},
		{Webhook{URL: "https://example.com/", Secret: "s3cr3t"}, "secret: does not start with whsec_"},
		{Webhook{URL: "http://example.com/s3cr3t", Secret: hookSecret}, "url: sends secrets to example.com without encryption, want https, or allow_private"},
		{Webhook{URL: "example.com/s3cr3t", Secret: hookSecret}, "url: is no https URL"},
		{Webhook{URL: "https://h\x00/s3cr3t", Secret: hookSecret}, "url: is no URL"},
		{
			Webhook{URL: "https://169.254.169.254/", Secret: hookSecret},
			"url: leads nowhere: 169.254.169.254 is a link-local address, want a public address, or allow_private",
		},
		{Webhook{URL: "https://localhost/", Secret: hookSecret}, "url: leads nowhere: 127.0.0.1 is a loopback address, want a public address, or allow_private"},
	} {
		if got := problems(&c.s); got != c.want {
			t.Errorf("%q: %q, want %q", c.s.URL, got, c.want)
		}
	}
}
