package wsprobe

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Reported is a version that the health path of a host reported for a while.
type Reported struct {
	Version     string
	Times       int           // how often
	First, Last time.Duration // how long ago it was reported first and last, without another one between
}

// keptSpans is how many changes of the version are remembered.
const keptSpans = 8

// versionLog is what the health path of one host:port reported, oldest first.
type versionLog struct {
	mu    sync.Mutex
	spans []span
}

type span struct {
	version     string
	times       int
	first, last time.Time
}

func (l *versionLog) note(version string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.spans); n > 0 && l.spans[n-1].version == version {
		l.spans[n-1].last = at
		l.spans[n-1].times++
		return
	}
	if len(l.spans) == keptSpans {
		l.spans = slices.Delete(l.spans, 0, 1)
	}
	l.spans = append(l.spans, span{version, 1, at, at})
}

// reported is what was noted within a while before now.
func (l *versionLog) reported(now time.Time) (list []Reported) {
	const while = time.Hour
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.spans {
		if now.Sub(s.last) <= while {
			list = append(list, Reported{s.version, s.times, now.Sub(s.first), now.Sub(s.last)})
		}
	}
	return list
}

// unsteady tells whether the version has changed so lately that the one before
// may serve still.
func (l *versionLog) unsteady(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.spans)
	return n > 1 && l.spans[n-1].times < steady && now.Sub(l.spans[n-1].first) <= recentChange
}

func versionsOf(net *probe.Network, addr string) *versionLog {
	l, _ := probe.Shared(net, "versions:"+addr, func() (*versionLog, error) { return &versionLog{}, nil })
	return l
}

// NoteVersion remembers which version the service at addr (host:port) said that
// it is: a failure of another check there can then name those before and after.
func NoteVersion(net *probe.Network, addr, version string, at time.Time) {
	versionsOf(net, addr).note(clip(version, 40), at)
}

// noteVersions remembers what the health path answered to siblings.
func (p *Prober) noteVersions(sib *Siblings, now time.Time) {
	for _, v := range healthVersions(sib) {
		NoteVersion(p.net, p.req.target.Addr, v, now)
	}
}

// healthVersions lists the versions that the health path answered to siblings.
func healthVersions(sib *Siblings) (list []string) {
	answers := sib.HealthAgain
	if sib.Health != nil {
		answers = append([]Seen{*sib.Health}, answers...)
	}
	for i := range answers {
		_, rest, ok := strings.Cut(answers[i].Body, `"version"`)
		if !ok || !answers[i].has(http.StatusOK) {
			continue
		}
		v, _, _ := strings.Cut(strings.TrimLeft(rest, `: "`), `"`)
		list = append(list, clip(v, 40))
	}
	return list
}

// fresh is how old answers may be that are about now.
const fresh = 10 * time.Second

// recentChange is how long a change of the version counts as the reason for what
// fails now.
const recentChange = 5 * time.Minute

// steady is how many reports in a row make a version one that serves alone.
const steady = 3

// changed returns the versions before and after the last change; ok if it is a
// recent one, from a version that served alone.
func (d *diagnosis) changed() (before, after Reported, ok bool) {
	n := len(d.sib.Versions)
	if n < 2 || d.byTurns() {
		return before, after, false
	}
	before, after = d.sib.Versions[n-2], d.sib.Versions[n-1]
	return before, after, after.First <= recentChange && before.Times >= steady
}

// byTurns tells whether two versions serve at the same time: requests made at
// once saw both, or one was gone again as soon as it had come.
func (d *diagnosis) byTurns() bool {
	if list := healthVersions(&d.sib); len(list) > 1 && slices.ContainsFunc(list, func(v string) bool { return v != list[0] }) {
		return true
	}
	n := len(d.sib.Versions)
	if n < 2 {
		return false
	}
	before := d.sib.Versions[n-2] // it served too short a time to have served alone
	return before.Times < steady && before.First <= recentChange
}

// version says which versions the health path reports.
func (d *diagnosis) version() string {
	const says = "the health path report"
	quoted := func(v Reported) string { return strconv.Quote(v.Version) }
	if d.byTurns() {
		return says + "s by turns version " + strings.Join(d.distinct(), " and ")
	}
	list := d.sib.Versions
	if len(list) == 0 {
		if v := d.distinct(); len(v) > 0 {
			return says + "s version " + v[0]
		}
		return ""
	}
	now := list[len(list)-1]
	if h := d.sib.Health; h != nil && !h.has(http.StatusOK) && d.sib.Age < fresh {
		return fmt.Sprintf("%sed version %s until %s ago", says, quoted(now), ago(now.Last))
	}
	if before, after, ok := d.changed(); ok {
		return fmt.Sprintf("%sed version %s until %s ago, and %s since", says, quoted(before), ago(after.First), quoted(after))
	}
	return says + "s version " + quoted(now)
}

// distinct lists the versions that were seen, quoted.
func (d *diagnosis) distinct() (list []string) {
	all := healthVersions(&d.sib)
	for _, v := range d.sib.Versions {
		if v.Last <= recentChange {
			all = append(all, v.Version)
		}
	}
	for _, v := range all {
		if v = strconv.Quote(v); !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	slices.Sort(list)
	return list
}

// byVersion looks for a failure that came with another version.
func (d *diagnosis) byVersion() {
	switch before, after, ok := d.changed(); {
	case d.first.Class == probe.BadGateway, d.sib.Health.silent():
	case d.byTurns():
		d.add(likely+5, CauseMixedVersions, d.version())
	case ok && (d.sib.LastGood == 0 || d.sib.LastGood >= after.First): // it was good with the one before
		d.add(likely+3, CauseNewVersion, fmt.Sprintf("version %q took over from %q %s ago", after.Version, before.Version, ago(after.First)))
	}
}

// ago is a time since something as people read it.
func ago(d time.Duration) string {
	if d < time.Second {
		return "a second"
	}
	return d.Round(time.Second).String()
}

// nameVersions puts the versions into the sentence of causes that are about them:
// messages show little else of a cause.
func (d *diagnosis) nameVersions() {
	v := d.version()
	_, _, changed := d.changed()
	if h := d.sib.Health; v == "" || !changed && !d.byTurns() && (h == nil || h.has(http.StatusOK)) {
		return
	}
	for i := range d.causes {
		switch c := &d.causes[i]; c.Name {
		case CauseMixedVersions, CauseNewVersion, CauseStaleDeploy, CauseRestart, CauseOriginDown:
			c.Text += " (" + v + ")"
			c.Evidence = slices.DeleteFunc(c.Evidence, func(e string) bool { return e == v })
		}
	}
}
