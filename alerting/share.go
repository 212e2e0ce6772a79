package alerting

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Share is a part of a whole, from 0 to 1. It is written as a percentage
// ("1%", "0.1 %") or as a fraction below 1 (0.01).
type Share float64

// ParseShare reads a share. A bare 1 is refused, since it could mean either
// 1 % or all.
func ParseShare(s string) (Share, error) {
	const want = "want a percentage such as 5% or 0.1%, or a fraction such as 0.05"
	text := strings.TrimSpace(s)
	number, percent := strings.CutSuffix(text, "%")
	number = strings.TrimRight(number, " ")
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is no share, %s", s, want)
	}
	exact := number
	if percent {
		exact += "e-2" // dividing by 100 would round: 0.7/100 is not 0.007
	}
	f, err := strconv.ParseFloat(exact, 64)
	switch {
	case err != nil || math.IsNaN(f):
		return 0, fmt.Errorf("%q is no share, %s", s, want)
	case percent && f > 1:
		return 0, fmt.Errorf("%q is more than 100 %%", s)
	case !percent && f == 1:
		return 0, fmt.Errorf("%q could be 1 %% or 100 %%, want it with the percent sign", s)
	case !percent && f > 1:
		return 0, fmt.Errorf("%q is more than the whole, want %s%% if that is meant", s, number)
	}
	return Share(f), nil
}

// String returns s as a percentage of at most two decimals, such as "60 %" or
// "0.1 %". It says 0 % and 100 % only of exactly that.
func (s Share) String() string {
	p := float64(s) * 100
	text := strconv.FormatFloat(p, 'f', 2, 64)
	switch {
	case text == "0.00" && p > 0:
		text = strconv.FormatFloat(p, 'g', 1, 64)
		if p < 1e-4 {
			text = "under 0.0001"
		}
	case text == "100.00" && p < 100:
		text = "99.99"
	default:
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + " %"
}

// MarshalText writes s as an exact percentage.
func (s Share) MarshalText() ([]byte, error) {
	exact := strconv.FormatFloat(float64(s), 'f', -1, 64) // such as 0.007
	if exact == "1" {
		return []byte("100%"), nil
	}
	whole, decimals, _ := strings.Cut(exact, ".")
	for len(decimals) < 2 {
		decimals += "0"
	}
	text := strings.TrimLeft(whole+decimals[:2], "0")
	if text == "" {
		text = "0"
	}
	if len(decimals) > 2 {
		text += "." + decimals[2:]
	}
	return []byte(text + "%"), nil
}

// UnmarshalText reads what ParseShare reads.
func (s *Share) UnmarshalText(b []byte) error {
	v, err := ParseShare(string(b))
	if err != nil {
		return err
	}
	*s = v
	return nil
}
