package probe

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func TestParseDuration(t *testing.T) {
	tests := []struct {
		in   string
		want time.Duration
		out  string
		err  string
	}{
		{"500ms", 500 * time.Millisecond, "500ms", ""},
		{"10s", 10 * time.Second, "10s", ""},
		{"1m30s", 90 * time.Second, "1m30s", ""},
		{"90s", 90 * time.Second, "1m30s", ""},
		{"60m", time.Hour, "1h", ""},
		{"2d", 48 * time.Hour, "2d", ""},
		{"1d12h", 36 * time.Hour, "36h", ""},
		{"1.5d", 36 * time.Hour, "36h", ""},
		{"0s", 0, "0s", ""},
		{"", 0, "", "is no duration"},
		{"10", 0, "", "has no unit"},
		{"0", 0, "", "has no unit"},
		{"1d5", 0, "", "has no unit"},
		{"-1s", 0, "", "is negative"},
		{"-1d", 0, "", "is no duration"},
		{"10 s", 0, "", "is no duration"},
		{"forever", 0, "", "is no duration"},
		{"36526d", 0, "", "more than 100 years"},
		{"1e9d", 0, "", "is no duration"},
	}
	for _, tt := range tests {
		got, err := ParseDuration(tt.in)
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: error %v, want %q", tt.in, err, tt.err)
			}
		case err != nil || time.Duration(got) != tt.want || got.String() != tt.out:
			t.Errorf("%q: %s (%v), want %s", tt.in, got, err, tt.out)
		}
	}
}

func TestDurationAndListInYAML(t *testing.T) {
	type settings struct {
		A    Duration
		B    Duration
		L, M List
	}
	var got settings
	if err := yaml.Unmarshal([]byte("a: 1m30s\nb: 2d\nl: 2xx\nm: [200, ok]\n"), &got); err != nil {
		t.Fatal(err)
	}
	want := settings{Duration(90 * time.Second), Duration(48 * time.Hour), List{"2xx"}, List{"200", "ok"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	out, err := yaml.Marshal(got.A)
	if err != nil || string(out) != "1m30s\n" {
		t.Errorf("marshalled %q, %v", out, err)
	}
	if j, err := json.Marshal(got.B); err != nil || string(j) != `"2d"` {
		t.Errorf("as JSON %s, %v", j, err)
	}
	for in, want := range map[string]string{
		"a: 10":     `"10" has no unit`,
		"b: -5s":    `"-5s" is negative`,
		"l: {x: 1}": "this is no text, want one text or a list of texts",
		"m: [[1]]":  "this is no text, want one text or a list of texts",
	} {
		if err := yaml.Unmarshal([]byte(in), &got); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not hold %q", in, err, want)
		}
	}
}
