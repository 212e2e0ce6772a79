package probe

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Redactor removes secrets from text that is shown or stored. It knows secret
// values (whole, percent-encoded, escaped for JSON or HTML, or inside base64)
// and, without knowing them, what stands where secrets stand: userinfo in URLs,
// the values of query parameters, header fields and JSON strings with telling
// names, and JSON Web Tokens. A nil Redactor knows no values.
type Redactor struct {
	mu     sync.RWMutex
	values map[prefix][]string // known values by their first bytes
	all    map[string]int      // how often each is known: always, or by so many rotations
}

// prefix is the beginning of a known value: what is looked up at each position
// of a text, so that many known values cost no more than a few.
type prefix [minSecret]byte

// mask stands for what was removed. It is shorter than any known value, so it
// never is or holds one.
const mask = "***"

const minSecret = 4

// NewRedactor returns a Redactor that knows the given secret values. Values
// shorter than 4 bytes are ignored: they would match everywhere.
func NewRedactor(secrets ...string) *Redactor {
	r := &Redactor{}
	r.Add(secrets...)
	return r
}

// Add makes further secret values known.
func (r *Redactor) Add(secrets ...string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range secrets {
		s = strings.TrimSpace(s)
		if r.all[s] < always {
			for _, form := range forms(s) {
				r.know(form, always)
			}
		}
	}
}

// always is the count of a value that is never forgotten.
const always = 1 << 40

// know counts that a value is known n times more.
func (r *Redactor) know(form string, n int) {
	if r.values == nil {
		r.values, r.all = map[prefix][]string{}, map[string]int{}
	}
	if r.all[form] == 0 {
		p := prefix([]byte(form[:minSecret]))
		r.values[p] = append(r.values[p], form)
	}
	r.all[form] += n
}

// forget takes back know(form, 1).
func (r *Redactor) forget(form string) {
	if r.all[form]--; r.all[form] > 0 {
		return
	}
	delete(r.all, form)
	p := prefix([]byte(form[:minSecret]))
	if r.values[p] = slices.DeleteFunc(r.values[p], func(v string) bool { return v == form }); len(r.values[p]) == 0 {
		delete(r.values, p)
	}
}

// forms returns s and what it looks like inside base64; nothing if it is too
// short to be known.
func forms(s string) []string {
	if len(s) < minSecret {
		return nil
	}
	all := []string{s}
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			if f := inside(enc, s, shift); len(f) >= 6 && !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	return all
}

// inside returns the base64 characters that depend on s alone when s stands
// shift bytes (modulo 3) into the encoded data.
func inside(enc *base64.Encoding, s string, shift int) string {
	b := enc.EncodeToString(append(make([]byte, shift), s...))
	from := (shift*8 + 5) / 6
	to := (shift + len(s)) * 8 / 6
	return b[from:to]
}

// AddHeader makes the value of a header field known if its name says that it
// is secret: the whole of it, and what follows a scheme such as Bearer.
func (r *Redactor) AddHeader(name, value string) { r.Add(headerSecrets(name, value)...) }

// AddURL makes the password and the values of telling query parameters known.
func (r *Redactor) AddURL(u *url.URL) { r.Add(urlSecrets(u)...) }

func headerSecrets(name, value string) []string {
	if !sensitiveHeader(name) {
		return nil
	}
	list := []string{value}
	if scheme, rest := authScheme(value); scheme != "" {
		list = append(list, rest)
	}
	if strings.EqualFold(name, "Cookie") {
		for c := range strings.SplitSeq(value, ";") {
			_, v, _ := strings.Cut(c, "=")
			list = append(list, v)
		}
	}
	return list
}

func urlSecrets(u *url.URL) (list []string) {
	if p, ok := u.User.Password(); ok {
		list = append(list, p, base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+p)))
	}
	for p := range strings.SplitSeq(u.RawQuery, "&") {
		name, value, _ := strings.Cut(p, "=")
		if n, err := url.QueryUnescape(name); err != nil || !sensitiveParam(n) {
			continue
		}
		list = append(list, value)
		if v, err := url.QueryUnescape(value); err == nil {
			list = append(list, v)
		}
	}
	return list
}

// String removes secrets from text of any sort.
func (r *Redactor) String(s string) string { return r.last(r.scan(s, false)) }

// MaxReason is the most bytes of a reason.
const MaxReason = 300

// Line removes secrets from text and makes one printable line of at most
// MaxReason bytes of it, as reasons are.
func (r *Redactor) Line(s string) string {
	cut := len(s) > 4*MaxReason
	if cut {
		s = s[:4*MaxReason]
	}
	s = strings.Join(strings.Fields(r.scan(s, cut)), " ")
	return r.last(clip(visible(s), MaxReason))
}

// URL returns u as text without secrets; a nil u is "".
func (r *Redactor) URL(u *url.URL) string {
	if u == nil {
		return ""
	}
	return r.String(u.String())
}

// Head returns the beginning of a raw request or response head as text of at
// most limit bytes, without the values of sensitive header fields and other
// secrets. What follows the empty line is left out.
func (r *Redactor) Head(raw []byte, limit int) string {
	s := string(raw[:min(len(raw), limit+1024)])
	if i := strings.Index(s, "\r\n\r\n"); i >= 0 {
		s = s[:i+2]
	}
	var b strings.Builder
	hidden := false // a folded line belongs to the field above it
	for line := range strings.Lines(s) {
		body := strings.TrimRight(line, "\r\n")
		end := line[len(body):]
		name, value, ok := strings.Cut(body, ":")
		folded := strings.HasPrefix(body, " ") || strings.HasPrefix(body, "\t")
		hidden = hidden && folded || !folded && ok && sensitiveHeader(name)
		switch {
		case hidden && folded:
			b.WriteString(" " + mask + end)
		case hidden:
			scheme, _ := authScheme(strings.TrimSpace(value))
			b.WriteString(r.scan(name, false) + ": " + scheme + mask + end)
		default:
			b.WriteString(r.scan(body, end == "") + end)
		}
	}
	return r.last(clip(visible(b.String()), limit))
}

// Excerpt returns the beginning of raw bytes as text of at most limit bytes:
// without secrets (nor the beginning of one where raw was cut), bytes that are
// not printable written as \x00.
func (r *Redactor) Excerpt(raw []byte, limit int) string {
	return r.last(clip(visible(r.scan(string(raw[:min(len(raw), limit+1024)]), true)), limit))
}

// Quote returns the beginning of raw bytes, at most limit of them and three dots,
// quoted as a Go string: without secrets (nor the beginning of one where raw was cut).
func (r *Redactor) Quote(raw []byte, limit int) string {
	s := r.scan(string(raw[:min(len(raw), limit+1024)]), true)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return r.last(strconv.Quote(s))
}

// scan is the one pass that all redaction goes through. With cut, s may end in
// the middle of a secret.
func (r *Redactor) scan(s string, cut bool) string {
	if r != nil {
		r.mu.RLock()
		defer r.mu.RUnlock()
	}
	var b strings.Builder
	done := 0 // s[:done] is in b
	for i := 0; i < len(s); {
		from, to := i, i+r.known(s[i:], cut)
		if from == to {
			if from, to = marked(s, i, cut); from < to {
				to = max(to, from+r.known(s[from:], cut))
			}
		}
		if from >= to {
			i++
			continue
		}
		b.WriteString(s[done:from])
		b.WriteString(mask)
		done, i = to, to
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// last is the last word: text in which a known value came to stand after all,
// by what was put together, is masked as a whole.
func (r *Redactor) last(s string) string {
	if r == nil {
		return s
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range max(0, len(s)-minSecret+1) {
		for _, v := range r.values[prefix([]byte(s[i:i+minSecret]))] {
			if strings.HasPrefix(s[i:], v) {
				return mask
			}
		}
	}
	return s
}

// known returns how many bytes at the beginning of s spell a known value.
func (r *Redactor) known(s string, cut bool) int {
	if r == nil || len(s) < minSecret {
		return 0
	}
	plain := prefix([]byte(s[:minSecret]))
	longest := 0
	for _, v := range r.values[plain] {
		longest = max(longest, spelled(v, s, cut))
	}
	if p, ok := unescaped(s); ok && p != plain {
		for _, v := range r.values[p] {
			longest = max(longest, spelled(v, s, cut))
		}
	}
	return longest
}

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
// does; an end that others cut is marked by dots. A \ or % may stand for itself or begin an escape, so that several
// readings are followed at once: ends holds where in s each of them is.
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
