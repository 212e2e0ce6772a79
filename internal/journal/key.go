package journal

import "strings"

const hexDigits = "0123456789ABCDEF"

// Key names a record of the state or of the evidence: a path of segments, such as ("incident", "checkout"). A segment may hold
// any bytes at all; it is escaped so that the key is a valid NATS subject and no segment can reach outside its place.
// Keys are comparable. The zero Key has no segments; as a prefix it means everything.
type Key struct{ escaped string }

// NewKey returns the key with these segments. Different segments always give different keys.
func NewKey(segments ...string) Key {
	if len(segments) == 0 {
		return Key{}
	}
	b := make([]byte, 0, 64)
	for i, s := range segments {
		if i > 0 {
			b = append(b, '.')
		}
		b = appendEscaped(b, s)
	}
	return Key{string(b)}
}

// Segments returns what NewKey was given.
func (k Key) Segments() []string {
	if k.escaped == "" {
		return nil
	}
	parts := strings.Split(k.escaped, ".")
	for i, p := range parts {
		parts[i] = unescaped(p)
	}
	return parts
}

// String returns the escaped form: segments joined by dots, every byte other than A-Z a-z 0-9 - _ as %XX, an empty segment as
// a single %. It is the NATS subject without the name of the stream in front.
func (k Key) String() string { return k.escaped }

// IsZero reports whether k has no segments.
func (k Key) IsZero() bool { return k.escaped == "" }

// subject is the NATS subject of the record k in the stream whose subjects start with root.
func (k Key) subject(root string) string { return root + "." + k.escaped }

// filter is the NATS subject filter for all keys below k.
func (k Key) filter(root string) string {
	if k.IsZero() {
		return root + ".>"
	}
	return root + "." + k.escaped + ".>"
}

func appendEscaped(b []byte, s string) []byte {
	if s == "" {
		return append(b, '%')
	}
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
			b = append(b, c)
		} else {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return b
}

// unescaped reads what appendEscaped wrote. Keys are only ever made by appendEscaped, so there is nothing malformed to refuse;
// a subject that somebody wrote by hand comes back as it is.
func unescaped(s string) string {
	if s == "%" {
		return ""
	}
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := strings.IndexByte(hexDigits, s[i+1]), strings.IndexByte(hexDigits, s[i+2])
			if hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}
