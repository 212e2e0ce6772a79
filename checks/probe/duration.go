package probe

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
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

// UnmarshalText reads d from text.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}

// UnmarshalYAML reads d from a YAML scalar. Its errors name the line and do not
// end the decoding, so that all of a file's errors are reported at once.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return typeError(n, "this is no duration, want one such as 10s")
	}
	if err := d.UnmarshalText([]byte(n.Value)); err != nil {
		return typeError(n, err.Error())
	}
	return nil
}

// List is a setting that is one text or a list of texts.
type List []string

// UnmarshalYAML reads one scalar, or a sequence of scalars.
func (l *List) UnmarshalYAML(n *yaml.Node) error {
	*l = nil
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for _, i := range items {
		if i.Kind == yaml.AliasNode {
			i = i.Alias
		}
		if i.Kind != yaml.ScalarNode || i.Tag == "!!null" {
			return typeError(i, "this is no text, want one text or a list of texts")
		}
		*l = append(*l, i.Value)
	}
	return nil
}

func typeError(n *yaml.Node, text string) error {
	return &yaml.TypeError{Errors: []string{"line " + strconv.Itoa(n.Line) + ": " + text}}
}
