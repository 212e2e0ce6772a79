package journal

import (
	"slices"
	"strings"
	"testing"
)

func TestKey(t *testing.T) {
	for _, c := range []struct {
		segments []string
		want     string
	}{
		{nil, ""},
		{[]string{"incident", "checkout-1_A"}, "incident.checkout-1_A"},
		{[]string{""}, "%"},
		{[]string{"", "", ""}, "%.%.%"},
		{[]string{"a.b", "*", ">"}, "a%2Eb.%2A.%3E"},
		{[]string{"Größe 1\n"}, "Gr%C3%B6%C3%9Fe%201%0A"},
		{[]string{"%", "%41", "$JS"}, "%25.%2541.%24JS"},
		{[]string{"\x00\xff"}, "%00%FF"},
	} {
		k := NewKey(c.segments...)
		if k.String() != c.want {
			t.Errorf("NewKey(%q) is %s, want %s", c.segments, k, c.want)
		}
		if got := k.Segments(); !slices.Equal(got, c.segments) {
			t.Errorf("segments of %s: %q, want %q", k, got, c.segments)
		}
		if k.IsZero() != (len(c.segments) == 0) {
			t.Errorf("%s: IsZero is %v", k, k.IsZero())
		}
	}
}

func FuzzKey(f *testing.F) {
	f.Add("incident", "checkout")
	f.Add("", ".")
	f.Add("%", "%2E")
	f.Add("a b\t", "*.>")
	f.Add("\x00\xff", "ü\u2028")
	f.Fuzz(func(t *testing.T, a, b string) {
		k := NewKey(a, b)
		if got := k.Segments(); !slices.Equal(got, []string{a, b}) {
			t.Fatalf("NewKey(%q, %q) has segments %q", a, b, got)
		}
		if k == NewKey(b, a) && a != b {
			t.Fatalf("%q, %q and the reverse are the same key", a, b)
		}
		if k == NewKey(a+"."+b) {
			t.Fatalf("%q, %q is the same key as one joined segment", a, b)
		}
		tokens := strings.Split(k.subject(rootCtrl), ".")
		if len(tokens) != 3 {
			t.Fatalf("subject %q has %d tokens, want 3", k.subject(rootCtrl), len(tokens))
		}
		for _, token := range tokens {
			if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '*' || r == '>' }) {
				t.Fatalf("subject %q has the invalid token %q", k.subject(rootCtrl), token)
			}
		}
	})
}
