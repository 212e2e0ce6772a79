package cloudmon

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLabelValue(t *testing.T) {
	long := strings.Repeat("x", 1024)
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"api", "api"},
		{"käse €", "käse €"},
		{long, long},
		{"a\xffb", "a\uFFFDb~" + hash("a\xffb")},
		{"a\xfeb", "a\uFFFDb~" + hash("a\xfeb")},
		{long + "y", long[:1011] + "~" + hash(long+"y")},
		{strings.Repeat("€", 400), strings.Repeat("€", 337) + "~" + hash(strings.Repeat("€", 400))},
		{"a~0123456789ab", "a~0123456789ab~" + hash("a~0123456789ab")},
	} {
		if got := labelValue(tt.in); got != tt.want {
			t.Errorf("labelValue(%.20q): %.40q, want %.40q", tt.in, got, tt.want)
		}
	}
}

func TestMetricName(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"ping_rtt", "ping_rtt"},
		{"a-b", "a_b_" + hash("a-b")},
		{"a.b", "a_b_" + hash("a.b")},
		{"", "_" + hash("")},
		{"ü", "__" + hash("ü")},
		{strings.Repeat("x", 101), strings.Repeat("x", 87) + "_" + hash(strings.Repeat("x", 101))},
		{"a_b_" + hash("a-b"), "a_b_" + hash("a-b") + "_" + hash("a_b_"+hash("a-b"))},
	} {
		if got := metricName(tt.in); got != tt.want {
			t.Errorf("metricName(%q): %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestRecordedUnit(t *testing.T) {
	for name, want := range map[string]string{
		"certificate_days_left": "d", "ping_rtt": "s", "uptime_seconds": "s", "connections_active": "{connection}",
		"heap_bytes": "By", "lag_ms": "ms", "queue_depth": "1", "days": "d", "alarms": "1",
	} {
		if got := recordedUnit(name); got != want {
			t.Errorf("unit of %s: %q, want %q", name, got, want)
		}
	}
}

// Every string becomes a legal value, and two never the same one.
func FuzzSanitise(f *testing.F) {
	f.Add("api", "a\xff")
	f.Add("a-b", "a.b")
	f.Add("a_b_"+hash("a-b"), "a-b")
	f.Add("a\uFFFD~"+hash("a\xff"), "a\xff")
	f.Add(strings.Repeat("x", 1025), strings.Repeat("x", 1026))
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			v := labelValue(s)
			if len(v) > maxLabelBytes || !utf8.ValidString(v) {
				t.Errorf("labelValue(%q): %q is not legal", s, v)
			}
			n := metricName(s)
			if n == "" || len(n) > maxNameBytes || strings.Trim(n, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
				t.Errorf("metricName(%q): %q is not legal", s, n)
			}
			if m := recordedMetric(n); m.Unit == "" || m.Display == "" {
				t.Errorf("metric of %q: %+v", s, m)
			}
		}
		if a != b && (labelValue(a) == labelValue(b) || metricName(a) == metricName(b)) {
			t.Errorf("%q and %q collide as %q or %q", a, b, labelValue(a), metricName(a))
		}
	})
}
