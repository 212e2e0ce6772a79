package cloudmon

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

const (
	maxLabelBytes = 1024 // Cloud Monitoring counts characters; bytes are never fewer
	maxNameBytes  = 100  // of a recorded number
	hashDigits    = 12
)

// labelValue makes s a legal label value: valid UTF-8 of at most 1,024 bytes.
// What has to be changed gets a hash of the original at its end, so that two
// values never become one.
func labelValue(s string) string {
	if len(s) <= maxLabelBytes && utf8.ValidString(s) && !hashed(s, '~') {
		return s
	}
	return shorten(strings.ToValidUTF8(s, "\uFFFD"), maxLabelBytes-1-hashDigits) + "~" + hash(s)
}

// metricName makes s a legal end of a metric type and of a Prometheus name:
// letters, digits and _, at most 100 of them, with a hash like labelValue.
func metricName(s string) string {
	clean := strings.Map(func(r rune) rune {
		if r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, s)
	if clean == s && s != "" && len(s) <= maxNameBytes && !hashed(s, '_') {
		return s
	}
	return shorten(clean, maxNameBytes-1-hashDigits) + "_" + hash(s)
}

// hashed tells whether s looks like something that was changed already: if it
// came from outside it needs a hash of its own.
func hashed(s string, sep byte) bool {
	i := len(s) - hashDigits - 1
	return i >= 0 && s[i] == sep && strings.Trim(s[i+1:], "0123456789abcdef") == ""
}

func hash(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])[:hashDigits]
}

// shorten cuts valid UTF-8 to at most n bytes, between characters.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
