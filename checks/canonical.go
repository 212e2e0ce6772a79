package checks

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/tripline/tripline/checks/probe"
)

// decodeCanonical reads entries in the form that EncodeEntries writes: known
// keys in the order of the fields, no white space. Of anything else it says no
// and encoding/json decides, which is the reference: what decodeCanonical
// accepts, it reads the same. A month of results is read with a tenth of the
// CPU, which is what makes a replay of the log quick.
func decodeCanonical(b []byte) (entries []Entry, ok bool) {
	c := canonical{b: b, good: true}
	c.want(`[`)
	entries = make([]Entry, 0, 1)
	for !c.has(`]`) {
		if len(entries) > 0 {
			c.want(`,`)
		}
		entries = append(entries, c.entry())
		if !c.good {
			return nil, false
		}
	}
	return entries, c.good && c.i == len(c.b)
}

// canonical is a position in canonical JSON. After the first thing that is not
// canonical good is false and nothing else means anything.
type canonical struct {
	b    []byte
	i    int
	good bool
}

// has steps over text if it comes next.
func (c *canonical) has(text string) bool {
	if len(c.b)-c.i >= len(text) && string(c.b[c.i:c.i+len(text)]) == text {
		c.i += len(text)
		return true
	}
	return false
}

func (c *canonical) want(text string) {
	if !c.has(text) {
		c.good = false
	}
}

func (c *canonical) entry() (e Entry) {
	c.want(`{"v":`)
	e.V = int(c.integer())
	switch {
	case c.has(`,"result":`):
		e.Result = c.result()
	case c.has(`,"tick":{"at":`):
		e.Tick = &Tick{At: c.time()}
		c.want(`}`)
	default: // the rest is too rare to matter
		c.good = false
	}
	c.want(`}`)
	return e
}

func (c *canonical) result() *Result {
	r := new(Result)
	c.want(`{"check":`)
	r.Check = c.text()
	c.want(`,"kind":`)
	r.Kind = c.text()
	if c.has(`,"group":`) {
		r.Group = c.text()
	}
	c.want(`,"loc":`)
	r.Location = c.text()
	c.want(`,"slot":`)
	r.Slot = c.time()
	c.want(`,"start":`)
	r.Start = c.time()
	c.want(`,"dur":`)
	r.Duration = time.Duration(c.integer())
	if c.has(`,"lat":`) {
		r.Latency = time.Duration(c.integer())
	}
	c.want(`,"status":`)
	r.Status = probe.Status(c.text())
	c.want(`,"class":`)
	r.Class = probe.Class(c.text())
	if c.has(`,"stage":`) {
		r.Stage = probe.Stage(c.text())
	}
	if c.has(`,"reason":`) {
		r.Reason = c.text()
	}
	if c.has(`,"tally":{`) {
		r.Tally = pairs(c, func() (probe.Class, int) { return probe.Class(c.key()), int(c.integer()) })
	}
	if c.has(`,"tries":`) {
		r.Tries = int(c.integer())
	}
	if c.has(`,"phases":{`) {
		c.phases(&r.Phases)
	}
	if c.has(`,"measures":{`) {
		r.Measures = pairs(c, func() (string, float64) { return c.key(), c.number() })
	}
	if c.has(`,"facts":{`) {
		r.Facts = pairs(c, func() (string, string) { return c.key(), c.text() })
	}
	c.want(`}`)
	return r
}

func (c *canonical) phases(p *probe.Phases) {
	first := true
	read := func(key string, d *time.Duration) {
		if at := c.i; (first || c.has(`,`)) && c.has(key) {
			*d, first = time.Duration(c.integer()), false
		} else {
			c.i = at
		}
	}
	read(`"dns":`, &p.DNS)
	read(`"connect":`, &p.Connect)
	read(`"tls":`, &p.TLS)
	read(`"first_byte":`, &p.FirstByte)
	read(`"body":`, &p.Body)
	read(`"upgrade":`, &p.Upgrade)
	read(`"message":`, &p.Message)
	read(`"ping":`, &p.Ping)
	read(`"close":`, &p.Close)
	c.want(`}`)
}

// pairs reads the rest of an object that is used as a map.
func pairs[K comparable, V any](c *canonical, pair func() (K, V)) map[K]V {
	m := map[K]V{}
	for c.good {
		k, v := pair()
		m[k] = v
		if c.has(`}`) {
			return m
		}
		c.want(`,`)
	}
	return nil
}

// key reads a key of a map with its colon.
func (c *canonical) key() string {
	k := c.text()
	c.want(`:`)
	return k
}

func (c *canonical) text() string {
	c.want(`"`)
	if !c.good {
		return ""
	}
	start, plain := c.i, true
	for ; c.i < len(c.b); c.i++ {
		switch ch := c.b[c.i]; {
		case ch == '"':
			raw := c.b[start:c.i]
			c.i++
			if plain {
				return shared(raw)
			}
			return c.unescape(raw)
		case ch == '\\':
			plain = false
			c.i++ // what is escaped ends no text
		case ch < ' ':
			c.good = false
			return ""
		case ch >= utf8.RuneSelf:
			plain = false
		}
	}
	c.good = false
	return ""
}

// unescape replaces the escapes that encoding/json writes into reasons.
func (c *canonical) unescape(raw []byte) string {
	if !utf8.Valid(raw) {
		c.good = false
		return ""
	}
	s := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			s = append(s, raw[i])
			continue
		}
		rest := raw[i+1:]
		switch {
		case len(rest) > 0 && (rest[0] == '"' || rest[0] == '\\'):
			s = append(s, rest[0])
			i++
		case len(rest) >= 5 && rest[0] == 'u' && rest[1] == '0' && rest[2] == '0' && rest[3] == '3' && (rest[4] == 'c' || rest[4] == 'e'):
			s = append(s, '<'+rest[4]-'c') // or >, which is as far from < as e is from c
			i += 5
		case len(rest) >= 5 && string(rest[:5]) == "u0026":
			s = append(s, '&')
			i += 5
		default:
			c.good = false
			return ""
		}
	}
	return string(s)
}

// shared returns the text of b, for the most frequent ones without a copy.
func shared(b []byte) string {
	switch string(b) {
	case "up":
		return "up"
	case "down":
		return "down"
	case "degraded":
		return "degraded"
	case "ok":
		return "ok"
	case "health":
		return "health"
	case "route":
		return "route"
	case "websocket":
		return "websocket"
	case "local":
		return "local"
	}
	return string(b)
}

// integer reads a whole number that fits 18 digits.
func (c *canonical) integer() (n int64) {
	negative := c.has(`-`)
	start := c.i
	for ; c.i < len(c.b) && '0' <= c.b[c.i] && c.b[c.i] <= '9'; c.i++ {
		n = 10*n + int64(c.b[c.i]-'0')
	}
	if digits := c.i - start; digits == 0 || digits > 18 || digits > 1 && c.b[start] == '0' {
		c.good = false
	}
	if negative {
		return -n
	}
	return n
}

// number reads a number of JSON (RFC 8259, section 6).
func (c *canonical) number() float64 {
	start := c.i
	digits := func() {
		from := c.i
		for c.i < len(c.b) && '0' <= c.b[c.i] && c.b[c.i] <= '9' {
			c.i++
		}
		c.good = c.good && c.i > from
	}
	c.has(`-`)
	if !c.has(`0`) {
		digits()
	}
	if c.has(`.`) {
		digits()
	}
	if c.has(`e`) || c.has(`E`) {
		if !c.has(`+`) {
			c.has(`-`)
		}
		digits()
	}
	f, err := strconv.ParseFloat(string(c.b[start:c.i]), 64)
	c.good = c.good && err == nil
	return f
}

// time reads a time in UTC (RFC 3339).
func (c *canonical) time() time.Time {
	const form = `"0000-00-00T00:00:00`
	if len(c.b)-c.i < len(form)+len(`Z"`) {
		c.good = false
		return time.Time{}
	}
	t := c.b[c.i : c.i+len(form)]
	for i, want := range []byte(form) {
		if ch := t[i]; want != '0' && ch != want || want == '0' && (ch < '0' || ch > '9') {
			c.good = false
			return time.Time{}
		}
	}
	two := func(i int) int { return int(t[i]-'0')*10 + int(t[i+1]-'0') }
	year, month, day, hour, minute, second := two(1)*100+two(3), two(6), two(9), two(12), two(15), two(18)
	c.i += len(form)
	nano := 0
	if c.has(`.`) {
		unit := 1_000_000_000
		for ; c.i < len(c.b) && '0' <= c.b[c.i] && c.b[c.i] <= '9' && unit > 1; c.i++ {
			unit /= 10
			nano += int(c.b[c.i]-'0') * unit
		}
		c.good = c.good && unit < 1_000_000_000
	}
	c.want(`Z"`)
	// Of days, the 29th to 31st depend on the month: time.Date would make them the next one's.
	at := time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC)
	if at.Day() != day || at.Month() != time.Month(month) || hour > 23 || minute > 59 || second > 59 {
		c.good = false
	}
	return at
}
