package wsprobe

import (
	"cmp"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Seen is what one request came to: plain data, from which Diagnose concludes.
// Of the request it holds only what conclusions need.
type Seen struct {
	Host       string   // name or address that was asked, without port
	At         string   // the address, if the host has several
	Path       string   // path and query as sent
	Secure     bool     // wss
	Offered    []string // subprotocols
	Credential bool     // a credential was sent
	Origin     bool     // an Origin was sent

	Class  probe.Class
	Stage  probe.Stage
	Reason string
	Status int           // 0: no response head
	Header http.Header   // of the response
	Body   string        // its beginning
	Took   time.Duration // request written to first byte of the answer
	Code   int           // of the server's close frame; 0: none
	Texts  []string      // the beginning of the messages that came
	Detail string        // sub-kind of Class, such as DetailHTTPInStream
	Idle   time.Duration // of a held connection: how long nothing came or went before its end
}

// DetailHTTPInStream means that HTTP text came where a frame belongs.
const DetailHTTPInStream = "http_in_stream"

// Siblings are further requests that tell apart what one answer cannot. A nil
// one was not made.
type Siblings struct {
	Again        []Seen        // the same upgrade on fresh connections, one after the other
	Beside       []Seen        // the same upgrade, at the same time
	Get          *Seen         // the same path without upgrade
	GetRandom    *Seen         // a path that cannot exist, without upgrade
	UpRandom     *Seen         // a path that cannot exist, upgrade
	Version      *Seen         // the same upgrade with Sec-WebSocket-Version 99
	Health       *Seen         // the health path
	HealthAgain  []Seen        // and again
	Versions     []Reported    // what it reported so far, oldest first
	LastGood     time.Duration // how long ago the same probe was good; 0: never
	Age          time.Duration // how long ago all this was asked
	Slash        *Seen         // the same upgrade with the trailing slash toggled
	WithOrigin   *Seen         // with Origin = the target's own scheme and host
	NoCredential *Seen         // without the credential, if one is configured
	NoProtocol   *Seen         // without subprotocols, if some are configured
	WithGet      *Seen         // with GET, if another method is configured
	Bypass       *Seen         // the same upgrade past the proxies, if a bypass URL is configured
}

// Names of causes. They appear in messages and stay as they are.
const (
	CauseStripped      = "proxy_strips_upgrade"
	CauseNoLibrary     = "no_websocket_library"
	CauseNoWebSockets  = "server_without_websockets"
	CauseRouteMissing  = "route_missing"
	CauseProxyRoute    = "proxy_route_missing"
	CauseStaleDeploy   = "stale_deploy"
	CauseMixedVersions = "mixed_versions"
	CauseNewVersion    = "new_version"
	CauseCredentials   = "credentials"
	CauseOrigin        = "origin_policy"
	CauseEdgeRule      = "edge_rule"
	CauseSlash         = "trailing_slash"
	CauseCatchAll      = "catch_all"
	CausePlainHandler  = "plain_http_handler"
	CauseRedirect      = "redirect"
	CauseMethod        = "method"
	CauseVersion       = "websocket_version"
	CauseWantsTLS      = "wants_tls"
	CauseScheme        = "wrong_scheme"
	CauseSocketIO      = "socketio_parameters"
	CauseSocketIOSid   = "socketio_sticky_sessions"
	CauseSocketIOTalk  = "socketio_conversation"
	CauseSubprotocol   = "subprotocol"
	CauseAppException  = "app_exception"
	CauseAppLogic      = "app_logic"
	CauseAppSilent     = "app_silent"
	CauseAppClose      = "app_closes"
	CauseRestart       = "server_restart"
	CauseHungHandler   = "slow_or_hung_handler"
	CauseHungProcess   = "hung_process"
	CauseOriginDown    = "origin_down"
	CauseH2Backend     = "h2c_to_http1_backend"
	CauseOverload      = "overload_or_maintenance"
	CauseConnLimit     = "connection_limit"
	CauseRateLimit     = "rate_limit"
	CausePeerCloses    = "peer_closes"
	CauseWrongService  = "wrong_service"
	CauseHandshake     = "broken_handshake"
	CauseViolation     = "protocol_violation"
	CausePingsIgnored  = "pings_ignored"
	CauseProcessDied   = "process_died"
	CauseIdleCut       = "proxy_idle_timeout"
	CauseMessageLimit  = "message_limit"
	CauseH2Only        = "http2_only"
	CauseCertExpired   = "certificate_expired"
	CauseCertName      = "certificate_name"
	CauseCertUntrusted = "certificate_untrusted"
	CauseClientCert    = "client_certificate"
	CauseTLS           = "tls_settings"
	CauseDNS           = "dns"
	CauseNotListening  = "nobody_listens"
	CauseFiltered      = "filtered_or_full_backlog"
	CauseOneFamily     = "one_address_family"
	CauseUnclear       = "unclear"
)

// Cause is one explanation of a failure.
type Cause = probe.Cause

// weighed is a cause under consideration.
type weighed struct {
	Cause
	weight int
}

// How much speaks for a cause. Equal weights keep the order of the rules.
const (
	proven   = 100 // nothing else explains what was seen
	likely   = 70
	possible = 40 // cannot be told from another with what was seen
	remote   = 15
)

// certainty puts a weight in words.
func certainty(weight int) probe.Certainty {
	switch {
	case weight >= proven-1:
		return probe.Proven
	case weight >= likely-1:
		return probe.Likely
	case weight > remote:
		return probe.Possible
	}
	return probe.Unlikely
}

// Diagnose explains a failure: the causes that fit, the likeliest first. It is
// empty for what is no failure. Where the answers cannot tell two causes
// apart both are given, with what would tell (Next).
func Diagnose(first Seen, sib Siblings) []Cause {
	if first.Class == probe.OK || first.Class.Status() == probe.Unknown {
		return nil
	}
	d := &diagnosis{first: first, sib: sib}
	d.flapping()
	if len(d.causes) == 0 || d.causes[0].weight < proven {
		d.differences()
		d.byClass()
	}
	d.nameVersions()
	slices.SortStableFunc(d.causes, func(a, b weighed) int { return cmp.Compare(b.weight, a.weight) })
	causes := make([]Cause, len(d.causes))
	for i, c := range d.causes {
		causes[i] = c.Cause
		causes[i].Certainty = certainty(c.weight)
	}
	return causes
}

type diagnosis struct {
	first  Seen
	sib    Siblings
	causes []weighed
}

// add adds a cause, or strengthens one that is there.
func (d *diagnosis) add(weight int, name string, evidence ...string) {
	evidence = slices.DeleteFunc(evidence, func(e string) bool { return e == "" })
	for i := range d.causes {
		c := &d.causes[i]
		if c.Name == name {
			c.weight = max(c.weight, weight)
			for _, e := range evidence {
				if !slices.Contains(c.Evidence, e) {
					c.Evidence = append(c.Evidence, e)
				}
			}
			return
		}
	}
	c := explain(name)
	c.Name, c.Evidence = name, evidence
	d.causes = append(d.causes, weighed{c, weight})
}

// flapping looks at the repeated tries: when they differ, nothing else matters.
func (d *diagnosis) flapping() {
	if d.first.Class == probe.RateLimited {
		return
	}
	if d.full() {
		return
	}
	again := slices.Concat(d.sib.Again, d.sib.Beside)
	n, good := len(again), opened(again)
	if good > 0 && !d.first.opened() {
		accepted := "the same upgrade was accepted in " + countText(good, n) + " other tries" + d.byAddress(again)
		switch d.first.Class {
		case probe.NotFound, probe.Forbidden, probe.Auth, probe.UpgradeIgnored, probe.UpgradeRefused, probe.Redirected:
			d.add(proven, CauseMixedVersions, accepted, d.version())
		default: // it may be over
			d.add(likely+2, CauseRestart, accepted)
			d.add(likely, CauseMixedVersions, accepted, d.version())
		}
		return
	}
	for i := range again {
		if a := &again[i]; a.Status != 0 && d.first.Status != 0 && a.Status != d.first.Status {
			d.add(likely, CauseMixedVersions, "the same upgrade was answered "+statusText(d.first.Status)+" and "+statusText(a.Status))
			return
		}
	}
}

// byAddress says which addresses accept the upgrade and which do not, if that is
// what the difference is.
func (d *diagnosis) byAddress(again []Seen) string {
	var good, bad []string
	for _, s := range append([]Seen{d.first}, again...) {
		list := &bad
		if s.opened() {
			list = &good
		}
		if s.At == "" {
			return ""
		}
		if !slices.Contains(*list, s.At) {
			*list = append(*list, s.At)
		}
	}
	if slices.ContainsFunc(good, func(at string) bool { return slices.Contains(bad, at) }) {
		return ""
	}
	return ": on " + strings.Join(good, ", ") + ", and never on " + strings.Join(bad, ", ")
}

// full looks for a server that takes some connections and turns others away.
func (d *diagnosis) full() bool {
	beside := opened(d.sib.Beside)
	if beside == 0 || d.first.opened() || routed(d.first.Class) || !turnedAway(d.first.Class) {
		return false
	}
	after := ""
	if n := opened(d.sib.Again); n > 0 {
		after = countText(n, len(d.sib.Again)) + " tries were accepted later, when the others were closed"
	}
	d.add(likely+6, CauseConnLimit, countText(beside, len(d.sib.Beside)+1)+" upgrades at the same time were accepted, and the others turned away", after)
	return true
}

func opened(list []Seen) (n int) {
	for i := range list {
		if list[i].opened() {
			n++
		}
	}
	return n
}

// differences looks for the one change of the request that helps.
func (d *diagnosis) differences() {
	s := &d.sib
	if d.first.opened() {
		return
	}
	d.byVersion()
	certain := likely + 8
	if len(s.Again) > 1 { // and none of them was accepted: then one of several servers is not the reason
		certain = proven
	}
	if s.Bypass.opened() {
		d.add(certain, CauseStripped, "the same upgrade past the proxy was accepted")
	}
	if s.Slash.opened() && !s.UpRandom.opened() { // not a server that takes any path
		d.add(certain, CauseSlash, "the same upgrade on "+clip(s.Slash.Path, 100)+" was accepted")
	}
	if s.WithGet.opened() {
		d.add(certain, CauseMethod, "the same upgrade with GET was accepted")
	}
	if s.WithOrigin.opened() && !d.first.Origin {
		d.add(certain, CauseOrigin, "the same upgrade with an Origin header was accepted")
	}
	if s.NoCredential.opened() {
		d.add(certain, CauseCredentials, "the same upgrade without the credential was accepted")
	}
	if s.NoProtocol.opened() {
		d.add(certain, CauseSubprotocol, "the same upgrade without subprotocols was accepted")
	}
}

// helped tells whether a change of the request was accepted.
func (s *Siblings) helped() bool {
	for _, o := range []*Seen{s.Bypass, s.Slash, s.WithGet, s.WithOrigin, s.NoCredential, s.NoProtocol, s.UpRandom} {
		if o.opened() {
			return true
		}
	}
	return false
}

// opened tells whether the upgrade was accepted.
func (s *Seen) opened() bool { return s != nil && s.Status == http.StatusSwitchingProtocols }

// silent tells whether no response head came.
func (s *Seen) silent() bool { return s != nil && s.Status == 0 }

func (s *Seen) has(status ...int) bool { return s != nil && slices.Contains(status, s.Status) }

// sameAnswer tells whether two answers are the same but for what changes from one
// request to the next: dates, ids, the path that was asked for.
func sameAnswer(a, b *Seen) bool {
	if a == nil || b == nil || a.Status != b.Status || a.Status == 0 {
		return false
	}
	for _, name := range []string{"Server", "Content-Type", "Www-Authenticate", "Allow", "X-Powered-By"} {
		if a.Header.Get(name) != b.Header.Get(name) {
			return false
		}
	}
	return a.shape() == b.shape()
}

// shape is the body without the path and without numbers and ids.
func (s *Seen) shape() string {
	path, _, _ := strings.Cut(s.Path, "?")
	body := s.Body
	if len(path) > 1 {
		body = strings.ReplaceAll(body, path, "{path}")
	}
	return regexp.MustCompile(`[0-9a-fA-F-]{8,}|[0-9]+`).ReplaceAllString(body, "#")
}

// aware says what proves that code which knows WebSockets answered; "" if
// nothing does.
func (d *diagnosis) aware() string {
	s := &d.sib
	switch {
	case s.Version.has(http.StatusBadRequest, http.StatusUpgradeRequired) && !sameAnswer(s.Version, &d.first):
		return "version 99 was answered " + statusText(s.Version.Status) + ": a WebSocket layer is behind this address"
	case s.Version != nil && s.Version.Header.Get("Sec-Websocket-Version") != "":
		return "version 99 was answered with Sec-WebSocket-Version: a WebSocket layer is behind this address"
	case s.Get.has(http.StatusUpgradeRequired):
		return "a plain GET is answered 426: this server speaks WebSocket"
	case s.UpRandom.opened(), s.Slash.opened(), s.WithOrigin.opened():
		return "another upgrade on this address was accepted"
	}
	return ""
}

// sameAsGet says so when the upgrade's answer is the plain GET's.
func (d *diagnosis) sameAsGet() string {
	if sameAnswer(&d.first, d.sib.Get) {
		return "the upgrade's answer is identical to the plain GET's: the upgrade was not seen as one"
	}
	return ""
}

// unlikeGet says so when they differ.
func (d *diagnosis) unlikeGet() string {
	if d.sib.Get == nil || d.sib.Get.Status == 0 || sameAnswer(&d.first, d.sib.Get) {
		return ""
	}
	return "a plain GET is answered " + statusText(d.sib.Get.Status) + ": code that knows WebSockets, or a rule about them, answered the upgrade"
}
