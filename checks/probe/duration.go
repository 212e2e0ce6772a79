package probe

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a setting that is written with its unit: 500ms, 10s, 1m30s, 12h, 2d.
type Duration time.Duration

// ParseDuration reads what time.ParseDuration reads, and days (2d, 1d12h). It
// refuses numbers without a unit, negative values, and more than 100 years.
func ParseDuration(s string) (Duration, error) {
	const want = "want a duration such as 500ms, 10s, 1m30s or 2d"
	rest, days := s, 0.0
	if head, tail, ok := strings.Cut(s, "d"); ok {
		d, err := strconv.ParseFloat(head, 64)
		if err != nil || strings.ContainsAny(head, "eExXpPnN_+-") {
			return 0, fmt.Errorf("%q is no duration, %s", s, want)
		}
		if days, rest = d, tail; rest == "" {
			rest = "0s"
		}
	}
	if _, err := strconv.ParseFloat(rest, 64); err == nil {
		return 0, fmt.Errorf("%q has no unit, %s", s, want)
	}
	t, err := time.ParseDuration(rest)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration, %s", s, want)
	}
	if t < 0 {
		return 0, fmt.Errorf("%q is negative, %s", s, want)
	}
	if days+t.Hours()/24 > 36525 {
		return 0, fmt.Errorf("%q is more than 100 years, %s", s, want)
	}
	return Duration(time.Duration(days*24*float64(time.Hour)) + t), nil
}

// String returns d in the form that ParseDuration reads, without zero parts:
// 1h, not 1h0m0s.
func (d Duration) String() string {
	const day = 24 * time.Hour
	t := time.Duration(d)
	if t >= day && t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText returns d as text, for YAML and JSON.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads d from text: what ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// UnmarshalYAML reads d from a YAML scalar.
func (d *Duration) UnmarshalYAML(decode func(any) error) error {
	var text string
	if decode(&text) != nil {
		return errors.New("this is no duration, want one such as 10s")
	}
	return d.UnmarshalText([]byte(text))
}

// List is a setting that is one text or a list of texts.
type List []string

// UnmarshalYAML reads one scalar, or a sequence of scalars.
func (l *List) UnmarshalYAML(decode func(any) error) error {
	var one string
	if decode(&one) == nil {
		*l = List{one}
		return nil
	}
	var many []string
	if decode(&many) != nil {
		return errors.New("this is no text, want one text or a list of texts")
	}
	*l = many
	return nil
}
