package wsprobe

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// VersionSource is what was asked for a version: only answers to the same
// question can be compared.
type VersionSource struct {
	Addr string // host:port
	Host string // the Host header
	Path string
	Expr string // the jq expression for the version in the answer
}

// DefaultVersion is the jq expression for the version where none is set.
const DefaultVersion = ".version"

// Reported is a version that a source reported for a while.
type Reported struct {
	Version     string
	Times       int           // how often
	First, Last time.Duration // how long ago it was reported first and last, without another one between
}

// keptSpans is how many changes of the version are remembered.
const keptSpans = 8

// versionLogs are those of all sources of one virtual host.
type versionLogs struct {
	mu sync.Mutex
	of map[VersionSource]*versionLog
}

// versionLog is what one source reported, oldest first.
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

func versionsAt(net *probe.Network, addr, host string) *versionLogs {
	l, _ := probe.Shared(net, "versions:"+addr+" "+host, func() (*versionLogs, error) {
		return &versionLogs{of: map[VersionSource]*versionLog{}}, nil
	})
	return l
}

func (l *versionLogs) from(source VersionSource) *versionLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	log := l.of[source]
	if log == nil {
		log = &versionLog{}
		l.of[source] = log
	}
	return log
}

// telling returns what one source reported: the one that changed last, else own
// if it reported anything, else the one that was asked last.
func (l *versionLogs) telling(own VersionSource, now time.Time) (best []Reported) {
	l.mu.Lock()
	defer l.mu.Unlock()
	isOwn := false
	for source, log := range l.of {
		list := log.reported(now)
		if len(list) == 0 {
			continue
		}
		better := len(best) == 0
		if !better {
			a, b := list[len(list)-1], best[len(best)-1]
			switch changed := len(list) > 1; {
			case changed != (len(best) > 1):
				better = changed
			case changed && a.First != b.First:
				better = a.First < b.First
			default:
				better = source == own || !isOwn && a.Last < b.Last
			}
		}
		if better {
			best, isOwn = list, source == own
		}
	}
	return best
}

// NoteVersion remembers which version a source said that it is: a failure of
// another check there can then name those before and after.
func NoteVersion(net *probe.Network, from VersionSource, version string, at time.Time) {
	versionsAt(net, from.Addr, from.Host).from(from).note(clip(version, 40), at)
}

// versionSource is what siblings ask.
func (p *Prober) versionSource() VersionSource {
	return VersionSource{Addr: p.req.target.Addr, Host: probe.FieldValue(p.req.own, "Host"), Path: healthPath, Expr: DefaultVersion}
}

// reported is what is known of the versions of p's host.
func (p *Prober) reported(now time.Time) []Reported {
	own := p.versionSource()
	return versionsAt(p.net, own.Addr, own.Host).telling(own, now)
}

// noteVersions remembers what the health path answered to siblings.
func (p *Prober) noteVersions(sib *Siblings, now time.Time) {
	for _, v := range healthVersions(sib) {
		NoteVersion(p.net, p.versionSource(), v, now)
	}
}

// healthVersions lists the versions that the health path answered to siblings.
func healthVersions(sib *Siblings) (list []string) {
	answers := sib.HealthAgain
	if sib.Health != nil {
		answers = append([]Seen{*sib.Health}, answers...)
	}
	for i := range answers {
		if v := jsonVersion(answers[i].Body); v != "" && answers[i].has(http.StatusOK) {
			list = append(list, clip(v, 40))
		}
	}
	return list
}

// jsonVersion returns the text or number at .version of a JSON object, of which
// the end may be missing; "" if there is none.
func jsonVersion(body string) string {
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return ""
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return ""
		}
		var value any
		if d.Decode(&value) != nil {
			return ""
		}
		if name != "version" {
			continue
		}
		switch v := value.(type) {
		case string:
			return strings.Join(strings.Fields(v), " ")
		case json.Number:
			return v.String()
		}
		return ""
	}
	return ""
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
	if differ(healthVersions(&d.sib)) {
		return true
	}
	n := len(d.sib.Versions)
	if n < 2 {
		return false
	}
	before := d.sib.Versions[n-2] // it served too short a time to have served alone
	return before.Times < steady && before.First <= recentChange
}

func differ(list []string) bool {
	return slices.ContainsFunc(list, func(v string) bool { return v != list[0] })
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

// distinct lists the versions that were seen, quoted: those of the last answers
// if they differ, else those of one source, which may be another one.
func (d *diagnosis) distinct() (list []string) {
	all := healthVersions(&d.sib)
	if len(d.sib.Versions) > 0 && !differ(all) {
		all = nil
		for _, v := range d.sib.Versions {
			if v.Last <= recentChange {
				all = append(all, v.Version)
			}
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
