package probe

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// visible writes what is not printable as \x00 or \u202e, so that text from a
// target cannot move a terminal's cursor or hide what stands beside it. Line
// ends and tabs stay.
func visible(s string) string {
	if printable(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1, r < 0x80 && control(r):
			b.WriteString(`\x`)
			b.WriteByte("0123456789abcdef"[s[i]>>4])
			b.WriteByte("0123456789abcdef"[s[i]&15])
		case control(r):
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 || control(rune(s[i])) {
			return false
		}
	}
	return true
}

// control says whether r steers how text is shown: C0 and C1 controls but line
// ends and tabs, line separators, and the marks for writing direction.
func control(r rune) bool {
	switch {
	case r == '\n', r == '\r', r == '\t':
		return false
	case r < 0x20, 0x7F <= r && r < 0xA0:
		return true
	case 0x200B <= r && r <= 0x200F, 0x2028 <= r && r <= 0x202E, 0x2066 <= r && r <= 0x2069, r == 0xFEFF:
		return true
	}
	return false
}

// clip cuts s to at most limit bytes, between characters, and says so.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	n := limit - len("...")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// quoteFirst returns the first bytes received as a quoted text for a reason.
func quoteFirst(b []byte) string {
	const most = 32
	if len(b) > most {
		return strconv.QuoteToASCII(string(b[:most])) + "..."
	}
	return strconv.QuoteToASCII(string(b))
}
