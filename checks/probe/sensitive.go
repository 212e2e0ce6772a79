package probe

import "strings"

// marked returns the part of s that begins at or after i and is marked as a
// secret by what stands at i: a URL's userinfo, a telling parameter or JSON
// key, a JSON Web Token. from == to if there is none.
func marked(s string, i int, cut bool) (from, to int) {
	switch s[i] {
	case ':':
		return userinfo(s, i)
	case '?', '&', ';':
		return parameter(s, i+1, sensitiveParam)
	case '"':
		return jsonString(s, i)
	}
	if strings.HasPrefix(s[i:], "eyJ") {
		return webToken(s, i, cut)
	}
	if i == 0 || strings.IndexByte(" \t\r\n\"'(", s[i-1]) >= 0 { // a form, or text such as: bad token=...
		return parameter(s, i, sensitiveName)
	}
	return 0, 0
}

// userinfo finds user:password in ://user:password@host (RFC 3986 §3.2.1).
func userinfo(s string, i int) (from, to int) {
	if !strings.HasPrefix(s[i:], "://") {
		return 0, 0
	}
	from = i + 3
	authority := s[from:]
	if n := strings.IndexAny(authority, "/?# \t\r\n\"'<>"); n >= 0 {
		authority = authority[:n]
	}
	return from, from + max(0, strings.LastIndexByte(authority, '@'))
}

// parameter finds the value in name=value.
func parameter(s string, i int, sensitive func(string) bool) (from, to int) {
	name, ok := word(s[i:], '=')
	if !ok || !sensitive(name) {
		return 0, 0
	}
	from = i + len(name) + 1
	if strings.HasPrefix(s[from:], mask) {
		return 0, 0 // removed before
	}
	n := strings.IndexAny(s[from:], "&# \t\r\n\"'<>")
	if n < 0 {
		n = len(s) - from
	}
	// A sentence may go on behind the value.
	return from, from + len(strings.TrimRight(s[from:from+n], ",.:;)"))
}

// jsonString finds the value in "name": "value".
func jsonString(s string, i int) (from, to int) {
	name, ok := word(s[i+1:], '"')
	if !ok || !sensitiveName(name) {
		return 0, 0
	}
	rest := s[i+1+len(name)+1:]
	value := strings.TrimLeft(rest, " \t\r\n")
	if !strings.HasPrefix(value, ":") {
		return 0, 0
	}
	value = strings.TrimLeft(value[1:], " \t\r\n")
	if !strings.HasPrefix(value, `"`) {
		return 0, 0
	}
	from = len(s) - len(value) + 1
	for to = from; to < len(s) && s[to] != '"'; to++ {
		if s[to] == '\\' {
			to++
		}
	}
	return from, min(to, len(s))
}

// word returns the text of s before the delimiter if it looks like a name.
func word(s string, delimiter byte) (string, bool) {
	s = s[:min(len(s), 65)]
	n := strings.IndexByte(s, delimiter)
	if n <= 0 {
		return "", false
	}
	for _, c := range []byte(s[:n]) {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte("-_.[]%", c) < 0 {
			return "", false
		}
	}
	return s[:n], true
}

// webToken finds a JSON Web Token (RFC 7519): three base64url parts of which
// the first is a JSON object.
func webToken(s string, i int, cut bool) (from, to int) {
	dots, j := 0, i
	for ; j < len(s); j++ {
		c := s[j]
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '-', c == '_', c == '=':
		case c == '.' && dots < 2:
			dots++
		default:
			if dots < 2 {
				return 0, 0
			}
			return i, j
		}
	}
	if dots == 2 || cut && j-i >= 16 {
		return i, j
	}
	return 0, 0
}

// sensitiveName says whether a name tells that its value is secret.
func sensitiveName(name string) bool {
	n := strings.ToLower(name)
	for _, w := range []string{
		"token", "secret", "password", "passwd", "passphrase", "signature", "credential", "authorization",
		"apikey", "api_key", "api-key", "access_key", "access-key", "private_key", "jwt", "sessionid", "session_id",
	} {
		if strings.Contains(n, w) {
			return true
		}
	}
	return false
}

// Telling says whether a name tells that its value is secret, such as token or
// client_secret.
func Telling(name string) bool { return sensitiveName(name) }

// sensitiveParam says the same of query parameters, of which short names are
// secret too.
func sensitiveParam(name string) bool {
	switch strings.ToLower(name) {
	case "key", "sig", "auth", "code", "pass", "pwd", "sid", "ticket", "hmac", "otp":
		return true
	}
	return sensitiveName(name)
}

// sensitiveHeader says the same of header fields. The fields of the WebSocket
// handshake (RFC 6455 §11.3) are no secrets, and needed as evidence.
func sensitiveHeader(name string) bool {
	n := strings.ToLower(strings.TrimSpace(name))
	switch n {
	case "cookie", "set-cookie", "x-auth", "x-amz-security-token":
		return true
	}
	if strings.HasPrefix(n, "sec-websocket-") {
		return false
	}
	return strings.Contains(n, "key") || strings.HasPrefix(n, "x-auth-") || sensitiveName(n)
}

// authScheme splits an Authorization value into its scheme, with the space
// after it, and the rest; the scheme is "" if it is none that is known.
func authScheme(value string) (scheme, rest string) {
	scheme, rest, ok := strings.Cut(value, " ")
	if !ok {
		return "", value
	}
	switch strings.ToLower(scheme) {
	case "basic", "bearer", "digest", "token", "negotiate", "apikey":
		return scheme + " ", strings.TrimSpace(rest)
	}
	return "", value
}
