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
