package wsprobe

import (
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// TestVersions: what the health path reported, in a notation of one letter for
// each report, a second apart, the newest last.
func TestVersions(t *testing.T) {
	ok := func(v string) *Seen { return &Seen{Status: 200, Body: `{"version":"` + v + `"}`} }
	forbidden := Seen{Path: "/ws", Class: probe.Forbidden, Stage: probe.StageHTTP, Status: 403}
	down := Seen{Path: "/ws", Class: probe.BadGateway, Stage: probe.StageHTTP, Status: 502}
	for _, c := range []struct {
		reports string
		good    time.Duration // how long ago the probe was good; 0: never
		first   Seen
		health  *Seen
		cause   string // the first one; "": any
		text    string // of it, or of the one about versions
	}{
		{"", 0, forbidden, nil, CauseCredentials, ""},
		{"BBBB", time.Second, forbidden, ok("B"), CauseCredentials, ""},
		{"BBBBA", 2 * time.Second, forbidden, ok("A"), CauseNewVersion, `reported version "B" until 1s ago, and "A" since`},
		{"AAABBBA", 2 * time.Second, forbidden, ok("A"), CauseNewVersion, `reported version "B" until 1s ago, and "A" since`},
		{"AAABBBB", time.Second, forbidden, nil, CauseCredentials, ""}, // it was good with B
		{"AAABBBB", 0, forbidden, nil, CauseNewVersion, `version "A" until 4s ago, and "B" since`},
		{"BBBBAB", 2 * time.Second, forbidden, ok("B"), CauseMixedVersions, `reports by turns version "A" and "B"`},
		{"AB", 0, forbidden, nil, CauseMixedVersions, `reports by turns version "A" and "B"`},
		{"AAAA", 0, down, &Seen{Status: 502}, CauseOriginDown, `reported version "A" until 1s ago`},
		{"AABA", 0, down, &Seen{Status: 502}, CauseOriginDown, "by turns"},
	} {
		var log versionLog
		now := time.Now()
		for i, v := range c.reports {
			log.note(string(v), now.Add(time.Duration(i-len(c.reports))*time.Second))
		}
		causes := Diagnose(c.first, Siblings{Versions: log.reported(now), Health: c.health, LastGood: c.good, Get: &Seen{Status: 404}})
		if causes[0].Name != c.cause || !strings.Contains(causes[0].Text, c.text) {
			t.Errorf("%q: got %s: %s; want %s: %s", c.reports, causes[0].Name, causes[0].Text, c.cause, c.text)
		}
	}
	var log versionLog
	now := time.Now()
	for i := range 100 {
		log.note(strings.Repeat("x", i), now)
	}
	if got := log.reported(now); len(got) != keptSpans || len(log.reported(now.Add(2*time.Hour))) != 0 {
		t.Errorf("%d are kept, want %d, and none for long", len(got), keptSpans)
	}
}

func TestJSONVersion(t *testing.T) {
	for body, want := range map[string]string{
		`{"version":"1.4"}`: "1.4", ` { "a": {"version": "no"}, "version" : 1.10 } `: "1.10", `{"version":" 1  4 "}`: "1 4",
		`{"version":"1.4","rest":"cut h...`: "1.4", `{"components":[{"version":"16"}]}`: "", `{"version":{"api":"2"}}`: "",
		`{"version":null}`: "", `["version","1"]`: "", `"version":"1"`: "", `{"version":"1`: "", ``: "", `{`: "",
	} {
		if got := jsonVersion(body); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// TestTellingVersions: reports of one source at a time, a letter each, a second apart.
func TestTellingVersions(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		own, other string
		want       string
	}{
		{"", "", ""},
		{"AAA", "", "A"},
		{"", "B", "B"},
		{"AAA", "BBB", "A"},
		{"AAA", "BBC", "BC"},
		{"AAB", "DDD", "AB"},
		{"ABBB", "CCCD", "CD"},
		{"AAAB", "CDDD", "AB"},
	} {
		l := versionLogs{of: map[VersionSource]*versionLog{}}
		own, other := VersionSource{Path: healthPath, Expr: DefaultVersion}, VersionSource{Path: healthPath, Expr: ".db"}
		for source, reports := range map[VersionSource]string{own: c.own, other: c.other} {
			for i, v := range reports {
				l.from(source).note(string(v), now.Add(time.Duration(i-len(reports))*time.Second))
			}
		}
		got := ""
		for _, r := range l.telling(own, now) {
			got += r.Version
		}
		if got != c.want {
			t.Errorf("%q and %q: %q, want %q", c.own, c.other, got, c.want)
		}
	}
}
