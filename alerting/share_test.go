package alerting

import (
	"strings"
	"testing"
)

func TestParseShare(t *testing.T) {
	good := map[string]Share{
		"1%": 0.01, "0.1 %": 0.001, "0.7%": 0.007, "7%": 0.07, "100%": 1, "0%": 0, "0": 0, "0.01": 0.01, ".5": 0.5, " 5 % ": 0.05, "99.95%": 0.9995,
	}
	for text, want := range good {
		got, err := ParseShare(text)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", text, float64(got), err, float64(want))
		}
	}
	bad := map[string]string{
		"":      "no share",
		"%":     "no share",
		"1":     "could be 1 % or 100 %",
		"1.0":   "could be 1 % or 100 %",
		"5":     "want 5% if that is meant",
		"101%":  "more than 100 %",
		"-1%":   "no share",
		"0,1 %": "no share",
		"1e-2":  "no share",
		"NaN":   "no share",
		"1%%":   "no share",
		"1.2.3": "no share",
	}
	for text, want := range bad {
		if got, err := ParseShare(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v, want an error with %q", text, got, err, want)
		}
	}
}

func TestShareString(t *testing.T) {
	for s, want := range map[Share]string{
		0: "0 %", 0.6: "60 %", 0.001: "0.1 %", 1.0 / 3: "33.33 %", 1: "100 %", 0.999999: "99.99 %", 0.0000123: "0.001 %",
		0.00000001: "under 0.0001 %", 0.9995: "99.95 %", 0.1: "10 %",
	} {
		if got := s.String(); got != want {
			t.Errorf("%v: %q, want %q", float64(s), got, want)
		}
	}
}

func FuzzShare(f *testing.F) {
	for _, s := range []string{"1%", "0.1 %", "0.01", "100%", "1", "x", "0.7%", "00.700%", "1e300%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseShare(text)
		if err != nil {
			return
		}
		if !(s >= 0 && s <= 1) {
			t.Fatalf("%q is %v", text, float64(s))
		}
		out, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var again Share
		if err := again.UnmarshalText(out); err != nil || again != s {
			t.Fatalf("%q is %v, written as %q, read as %v, %v", text, float64(s), out, float64(again), err)
		}
		if text := s.String(); s > 0 && strings.HasPrefix(text, "0 ") || s < 1 && strings.HasPrefix(text, "100") {
			t.Fatalf("%v reads %q", float64(s), text)
		}
	})
}
