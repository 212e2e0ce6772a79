package notify

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limit is how many attempts a notifier makes at most in a time. It is written
// as a number and s, m or h: 1/s, 60/m. The zero value is no limit.
type Limit struct {
	Times int
	Per   time.Duration
}

// IsZero tells whether there is no limit.
func (l Limit) IsZero() bool { return l.Times == 0 }

// Pause is the time from one attempt to the next; 0 without a limit.
func (l Limit) Pause() time.Duration {
	if l.IsZero() {
		return 0
	}
	return l.Per / time.Duration(l.Times)
}

// String returns l as it is written; "" for none.
func (l Limit) String() string {
	for unit, per := range limitUnits() {
		if per == l.Per && !l.IsZero() {
			return strconv.Itoa(l.Times) + "/" + unit
		}
	}
	return ""
}

func limitUnits() map[string]time.Duration {
	return map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}
}

// MarshalText writes l.
func (l Limit) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads a limit.
func (l *Limit) UnmarshalText(b []byte) error {
	times, unit, _ := strings.Cut(string(b), "/")
	n, err := strconv.Atoi(times)
	per := limitUnits()[unit]
	if err != nil || per == 0 || n < 1 || n > 10_000 {
		return fmt.Errorf("%q is no limit, want a number from 1 to 10000 and s, m or h, such as 1/s or 60/m", cut(string(b), 100))
	}
	*l = Limit{n, per}
	return nil
}
