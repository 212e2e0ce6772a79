package probe

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
)

func TestRedactString(t *testing.T) {
	const secret = `s3cr&t "pä/ss`
	r := NewRedactor(secret, "abc", "tok-1234567890")
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
	tests := []struct{ in, want string }{
		{"nothing to hide", "nothing to hide"},
		{"abc is too short to be a secret", "abc is too short to be a secret"},
		{"say tok-1234567890!", "say ***!"},
		{"tok-1234567890tok-1234567890", "******"},
		{"q=" + url.QueryEscape(secret) + "&x=1", "q=***&x=1"},
		{"/p/" + url.PathEscape(secret) + "/x", "/p/***/x"},
		{"twice " + url.QueryEscape(url.QueryEscape("tok-1234567890!")), "twice ***%2521"},
		{`{"echo":"s3cr&t \"pä\/ss"}`, `{"echo":"***"}`},
		{`<p>s3cr&amp;t &quot;pä/ss</p>`, `<p>***</p>`},
		{"Basic " + base64.StdEncoding.EncodeToString([]byte("tok-1234567890")), "Basic ***A="},
		{"https://user:pw@x.test/a", "https://***@x.test/a"},
		{"https://x.test/a?a=1&access_token=zzz&b=2", "https://x.test/a?a=1&access_token=***&b=2"},
		{"Location: /cb?code=zzz#frag", "Location: /cb?code=***#frag"},
		{"exit code=3 is no parameter", "exit code=3 is no parameter"},
		{"client_secret=zzz&grant=1", "client_secret=***&grant=1"},
		{"bad token=zzz here", "bad token=*** here"},
		{`{"access_token" : "zz\"z", "n": 1}`, `{"access_token" : "***", "n": 1}`},
		{`{"code":"E42"}`, `{"code":"E42"}`},
		{"jwt " + jwt + ".", "jwt ***."},
		{"eyJust a word", "eyJust a word"},
		{"keyword=x&monkey=y", "keyword=x&monkey=y"},
	}
	for _, tt := range tests {
		if got := r.String(tt.in); got != tt.want {
			t.Errorf("String(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
	var none *Redactor
	none.Add("ignored")
	if got := none.String("x?token=zzz tok-1234567890"); got != "x?token=*** tok-1234567890" {
		t.Errorf("nil Redactor: %q", got)
	}
}

func TestRedactInsideBase64(t *testing.T) {
	const secret = "tok-1234567890"
	r := NewRedactor(secret)
	for _, pre := range []string{"", "a", "ab", "user:"} {
		for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding} {
			b := enc.EncodeToString([]byte(pre + secret + "~tail"))
			got := r.String(b)
			plain, _ := base64.RawStdEncoding.DecodeString(strings.TrimRight(got, "="))
			if strings.Contains(string(plain), secret[2:12]) || !strings.Contains(got, mask) {
				t.Errorf("%q + secret in base64 %q became %q", pre, b, got)
			}
		}
	}
}

func TestRedactHead(t *testing.T) {
	r := NewRedactor("tok-1234567890")
	const in = "GET /a?token=zzz HTTP/1.1\r\n" +
		"Host: x.test\r\n" +
		"Authorization: Bearer opaque\r\n" +
		"proxy-authorization: weird\r\n" +
		"Cookie: a=1;\r\n\t b=2\r\n" +
		"X-Api-Key: k\r\n" +
		"X-My-Token: k\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"X-Echo: tok-1234567890\r\n" +
		"ETag: \"x\"\r\n\r\nbody"
	const want = "GET /a?token=*** HTTP/1.1\r\n" +
		"Host: x.test\r\n" +
		"Authorization: Bearer ***\r\n" +
		"proxy-authorization: ***\r\n" +
		"Cookie: ***\r\n ***\r\n" +
		"X-Api-Key: ***\r\n" +
		"X-My-Token: ***\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
		"X-Echo: ***\r\n" +
		"ETag: \"x\"\r\n"
	if got := r.Head([]byte(in), 4096); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if got := r.Head([]byte("HTTP/1.1 200 OK\r\nSet-Cookie: sess=abcdef; Pa"), 4096); strings.Contains(got, "abc") {
		t.Errorf("cut head: %q", got)
	}
}

func TestExcerptHidesTheBeginningOfASecretAtACut(t *testing.T) {
	r := NewRedactor("tok-1234567890")
	if got := r.Excerpt([]byte("echo tok-1234"), 100); got != "echo ***" {
		t.Errorf("got %q", got)
	}
	if got := r.Excerpt([]byte(`{"password":"abc`), 100); got != `{"password":"***` {
		t.Errorf("got %q", got)
	}
	if got := r.Excerpt([]byte("a\x00\x1b[31m\xff\u202eb\r\n\tc"), 100); got != "a\\x00\\x1b[31m\\xff\\u202eb\r\n\tc" {
		t.Errorf("got %q", got)
	}
	long := strings.Repeat("é", 100)
	if got := r.Excerpt([]byte(long), 50); len(got) > 50 || !strings.HasSuffix(got, "é...") {
		t.Errorf("got %q", got)
	}
}

func TestLineIsOneLine(t *testing.T) {
	got := NewRedactor().Line("a\r\n b\tc " + strings.Repeat("x", 1000))
	if !strings.HasPrefix(got, "a b c xxx") || len(got) != MaxReason {
		t.Errorf("got %q", got)
	}
}

// FuzzRedact: whatever a secret and the text around it are, the secret does not
// survive: plain, encoded, in a header field, at a cut.
func FuzzRedact(f *testing.F) {
	f.Add("tok-1234567890", "https://u:p@x/?token=", "&b=2", uint8(0))
	f.Add("%25%25%25%25", "a", "b", uint8(1))
	f.Add("***x", "y", "z", uint8(2))
	f.Add("a  b\nc", "Cookie: ", "\r\n x", uint8(3))
	f.Add(`\x00\x01`, "", "", uint8(4))
	f.Fuzz(func(t *testing.T, secret, before, after string, how uint8) {
		secret = strings.TrimSpace(secret)
		if len(secret) < minSecret {
			t.Skip()
		}
		r := NewRedactor(secret)
		form := secret
		switch how % 5 {
		case 1:
			form = url.QueryEscape(secret)
		case 2:
			form = url.PathEscape(secret)
		case 3:
			form = strings.ToLower(url.QueryEscape(secret))
		case 4:
			form = base64.StdEncoding.EncodeToString([]byte(secret))
		}
		text := before + form + after
		for name, got := range map[string]string{
			"String":  r.String(text),
			"Line":    r.Line(text),
			"Head":    r.Head([]byte(text), 1<<20),
			"Excerpt": r.Excerpt([]byte(text), 1<<20),
		} {
			if strings.Contains(got, secret) {
				t.Fatalf("%s(%q) = %q holds the secret %q", name, text, got, secret)
			}
			if len(form) >= minSecret && how%5 < 3 && before == "" && after == "" && strings.Contains(got, form) {
				t.Fatalf("%s(%q) = %q holds the encoded secret %q", name, text, got, form)
			}
			if name != "String" && strings.ContainsAny(got, "\x00\x1b") {
				t.Fatalf("%s(%q) = %q holds control characters", name, text, got)
			}
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	r := NewRedactor()
	for i := range 1000 {
		r.Add(strings.Repeat(string(rune('a'+i%26)), 8) + url.QueryEscape(string(rune(i))) + "tail")
	}
	body := []byte(strings.Repeat(`{"detail":"Not Found","path":"/websocket?x=1"} `, 40))
	b.ReportAllocs()
	for b.Loop() {
		r.Excerpt(body, 2048)
	}
}
