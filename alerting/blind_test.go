package alerting

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// story steps results in the order given, "a c" being check a refused, two
// seconds apart; a bar is the next minute. It returns what happened after
// which of them.
func story(t *testing.T, rules []Rule, list []Subject, text string) (events []string) {
	t.Helper()
	e := NewEngine(rules, list)
	slot := base()
	fields := strings.Fields(text)
	for n := 0; n < len(fields); n++ {
		if fields[n] == "|" {
			slot = slot.Truncate(minuteOf).Add(minuteOf)
			continue
		}
		name := fields[n]
		n++
		entry := result(name, "", slot, rune(fields[n][0]))
		slot = slot.Add(2e9)
		for _, c := range e.Step(uint64(n), *entry) {
			text := name + fields[n] + ": " + string(c.Event) + " " + c.Incident.Group + " since " + c.Incident.Since.Format("04:05")
			if c.Event == Resolved {
				text += " for " + span(c.Incident.Outage())
			}
			events = append(events, text)
		}
		judgeEngine(t, e, map[string]bool{"a": true, "b": true, "c": true, "d": true, "e": true, "f": true, "g": true})
	}
	return events
}

const minuteOf = 60e9

func TestBlind(t *testing.T) {
	names := func(s string) (list []Subject) {
		for n := range strings.SplitSeq(s, "") {
			list = append(list, subjects([]line{{check: n}})...)
		}
		return list
	}
	rules := []Rule{downRule(1), {Name: "self", Unknown: &UnknownRule{}}}
	oneHost := names("abcd")
	for k := range oneHost {
		oneHost[k].Host = "EXAMPLE.com:" + []string{"80", "443", "8080", "8443"}[k]
	}
	twoPorts := names("abcd")
	twoPorts[0].Host, twoPorts[1].Host = "example.com:443", "example.com:8443"
	canaries := names("abcd")
	for k := range canaries {
		canaries[k].Canaries = true
	}
	some := names("abcdefg")
	for k := range some[:4] {
		some[k].Canaries = true
	}
	tests := []struct {
		name  string
		rules []Rule
		list  []Subject
		story string
		want  []string
	}{
		{
			"a suspect waits until another host answers", rules, names("abcd"), "a . b . c . d . | a c b d c .",
			[]string{"ac: opened a since 01:00", "c.: opened b since 01:02"},
		},
		{
			"it waits until its next failure if none answers", rules, names("abcd"), "a . b . c . d . | a c b d | b d",
			[]string{"ac: opened a since 01:00", "bd: opened b since 01:02"},
		},
		{
			"it does not wait after an answer", rules, names("abcd"), "a . b . c . d . | a c c . b d",
			[]string{"ac: opened a since 01:00", "bd: opened b since 01:04"},
		},
		{
			"with two hosts nobody is suspect", rules, names("ab"), "a . b . | a c b c",
			[]string{"ac: opened a since 01:00", "bc: opened b since 01:02"},
		},
		{
			"four ports of one host are one host", rules, oneHost, "a . b . c . d . | a c b c c c d c",
			[]string{"ac: opened a since 01:00", "bc: opened b since 01:02", "cc: opened c since 01:04", "dc: opened d since 01:06"},
		},
		{
			"with canaries it is the hosts that fail", rules, canaries, "a . b . c . d . | a c b c c c d c",
			[]string{"ac: opened a since 01:00", "bc: opened b since 01:02", "cc: opened c since 01:04", "dc: opened d since 01:06"},
		},
		{
			"while others are blind as well", rules, some, "a . b . c . d . e . f . g . | e c f c g c a c b c",
			[]string{"ec: opened e since 01:00", "gc: opened monitor since 01:00", "ac: opened a since 01:06", "bc: opened b since 01:08"},
		},
		{
			"hosts that failed before are not part of the whole", rules, names("abcdefg"),
			"a c d . b c d . c c d . | a c b c c c d . | a c b c c c d . | a c b c c c d . | d . e . f . g . | d c e c f c",
			[]string{
				"ac: opened a since 00:00", "bc: opened b since 00:04", "cc: opened c since 00:08",
				"dc: opened d since 05:00", "fc: opened monitor since 05:00",
			},
		},
		{
			"what was held counts no more",
			[]Rule{
				{Name: "conn", Rate: &Rate{Of: "connection_failure", Over: 60 * minute, Above: share("0%"), MinFailures: 3}},
				{Name: "self", Unknown: &UnknownRule{}},
			},
			names("abc"), "a . b . c . | a c b c c c | a c b c c c | a . b . c . | a . b . c . | a . b . c . | a c b . | b . a c",
			[]string{"cc: opened monitor since 01:00", "a.: resolved monitor since 01:00 for 1m4s"},
		},
		{
			"the blind finding says how long the hosts failed", rules, names("abc"), "a . b . c . | a c b c c c | a c b c c c | a . b . c . | a . b . | a . b .",
			[]string{"ac: opened a since 01:00", "cc: opened monitor since 01:00", "a.: resolved a since 01:00 for 1m", "a.: resolved monitor since 01:00 for 1m4s"},
		},
		{
			"a port that was closed before says nothing", rules, twoPorts, "b c a . c . d . | b c a . | b c a . | b c a . | b c a . c . d . | b c c c d c",
			[]string{"bc: opened b since 00:00", "cc: opened c since 05:02"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := story(t, tt.rules, tt.list, tt.story)
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}
