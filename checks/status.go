package checks

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tripline/tripline/checks/probe"
)

// statusSet is the set of HTTP status codes that are accepted.
type statusSet struct {
	ranges []statusRange
	text   string // for reasons
}

type statusRange struct{ from, to int }

// parseStatuses reads forms such as 200, 2xx and 200-299; none means 2xx.
func parseStatuses(list probe.List) (statusSet, []probe.Problem) {
	if len(list) == 0 {
		return statusSet{[]statusRange{{200, 299}}, "2xx"}, nil
	}
	var problems []probe.Problem
	s := statusSet{text: strings.Join(list, " or ")}
	for i, text := range list {
		r, ok := parseStatus(text)
		if !ok {
			problems = append(problems, probe.Problem{
				Path: fmt.Sprintf("status[%d]", i),
				Text: fmt.Sprintf("%q is no status, want a code such as 200, a class such as 2xx or a range such as 200-299", text),
			})
		}
		s.ranges = append(s.ranges, r)
	}
	return s, problems
}

func parseStatus(s string) (r statusRange, ok bool) {
	if len(s) == 3 && strings.EqualFold(s[1:], "xx") && '1' <= s[0] && s[0] <= '5' {
		from := int(s[0]-'0') * 100
		return statusRange{from, from + 99}, true
	}
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	a, errA := strconv.Atoi(strings.TrimSpace(from))
	b, errB := strconv.Atoi(strings.TrimSpace(to))
	return statusRange{a, b}, errA == nil && errB == nil && 100 <= a && a <= b && b <= 599
}

func (s statusSet) has(code int) bool {
	for _, r := range s.ranges {
		if r.from <= code && code <= r.to {
			return true
		}
	}
	return false
}

// statusClass names a status that is not accepted.
func statusClass(code int) probe.Class {
	switch code {
	case 401:
		return probe.Auth
	case 403:
		return probe.Forbidden
	case 404, 410:
		return probe.NotFound
	case 429:
		return probe.RateLimited
	case 500:
		return probe.ServerError
	case 502:
		return probe.BadGateway
	case 503:
		return probe.Unavailable
	case 504:
		return probe.GatewayTimeout
	}
	if code/100 == 3 {
		return probe.Redirected
	}
	return probe.UnexpectedStatus
}
