package probe

import (
	"slices"
	"strings"
)

// This file reads the ways in which a text may spell a secret.

// unescaped returns the first bytes that s stands for.
func unescaped(s string) (p prefix, ok bool) {
	i := 0
	for j := range p {
		if i >= len(s) {
			return p, false
		}
		b, n := decoded(s[i:])
		if n == 0 {
			b, n = s[i], 1
		}
		p[j] = b
		i += n
	}
	return p, true
}

// spelled returns how many bytes of s spell v, with each byte of v literal,
// percent-encoded or escaped; 0 if they do not. With cut, s may end before v
// does; an end that others cut is marked by dots. A \ or % may stand for itself
// or begin an escape, so that several readings are followed at once: ends holds
// where in s each of them is.
func spelled(v, s string, cut bool) int {
	const most = 16
	var buf [2][most]int
	ends, next := buf[0][:1], buf[1][:0]
	marked := 0
	for j := range len(v) {
		next = next[:0]
		for _, i := range ends {
			if i == len(s) {
				if cut && j >= minSecret {
					return i
				}
				continue
			}
			if j >= 2*minSecret && dots(s[i:]) {
				marked = i
			}
			if s[i] == v[j] && len(next) < most && !slices.Contains(next, i+1) {
				next = append(next, i+1)
			}
			if b, n := decoded(s[i:]); n > 0 && b == v[j] && len(next) < most && !slices.Contains(next, i+n) {
				next = append(next, i+n)
			}
		}
		if len(next) == 0 {
			return marked
		}
		ends, next = next, ends
	}
	return slices.Max(ends)
}

// dots says whether s begins as what stands behind text that was cut, such as
// "abc ..." or "abc"... of other programs' errors.
func dots(s string) bool { return strings.HasPrefix(strings.TrimLeft(s, `\" `), "...") }

// decoded returns the byte that an escape sequence at the beginning of s stands
// for, and its length; 0 if there is none.
func decoded(s string) (byte, int) {
	switch s[0] {
	case '+':
		return ' ', 1
	case '%':
		if b, ok := hexByte(s, 1); ok {
			if b == '%' { // encoded twice
				if b2, ok := hexByte(s, 3); ok {
					return b2, 5
				}
			}
			return b, 3
		}
	case '\\':
		switch {
		case len(s) > 5 && s[1] == 'u' && s[2] == '0' && s[3] == '0':
			if b, ok := hexByte(s, 4); ok {
				return b, 6
			}
		case len(s) > 3 && s[1] == 'x':
			if b, ok := hexByte(s, 2); ok {
				return b, 4
			}
		case len(s) > 1 && strings.IndexByte(`"\/'`, s[1]) >= 0:
			return s[1], 2
		}
	case '&':
		for _, e := range []string{"&amp;&", "&lt;<", "&gt;>", "&quot;\"", "&#34;\"", "&#39;'"} {
			if n := len(e) - 1; strings.HasPrefix(s, e[:n]) {
				return e[n], n
			}
		}
	}
	return 0, 0
}

func hexByte(s string, at int) (byte, bool) {
	if len(s) < at+2 {
		return 0, false
	}
	hi, lo := unhex(s[at]), unhex(s[at+1])
	return hi<<4 | lo, hi < 16 && lo < 16
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xFF
}
