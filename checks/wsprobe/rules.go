package wsprobe

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tripline/tripline/checks/probe"
)

// byClass applies the rules for the class of the failure.
func (d *diagnosis) byClass() {
	d.onlyHere()
	switch d.first.Class {
	case probe.NotFound:
		d.notFound()
	case probe.Forbidden:
		d.forbidden()
	case probe.Auth:
		d.unauthorized()
	case probe.UpgradeIgnored:
		d.ignored()
	case probe.Redirected:
		d.redirected()
	case probe.UpgradeRefused:
		d.refused()
	case probe.RateLimited:
		d.add(proven, CauseRateLimit, headerEvidence(&d.first, "Retry-After"))
	case probe.ServerError:
		d.serverError()
	case probe.BadGateway, probe.Unavailable, probe.GatewayTimeout:
		d.gateway()
	case probe.HandshakeTimeout:
		d.timeout()
	case probe.HandshakeClosed:
		d.closedBefore()
	case probe.BadAccept, probe.Bad101:
		d.add(likely, CauseHandshake, d.first.Reason)
	case probe.Subprotocol:
		if len(d.first.Offered) == 0 {
			d.add(likely+1, CauseHandshake, "a server must not choose what was not offered (RFC 6455 §4.2.2)")
		}
		d.add(likely, CauseSubprotocol, d.first.Reason)
		d.add(possible, CauseHandshake)
	default:
		d.bySession()
	}
}

// onlyHere looks for a server that takes upgrades on any path but this one: there
// is nothing then that the answer could be compared with.
func (d *diagnosis) onlyHere() {
	switch d.first.Class {
	case probe.NotFound, probe.Forbidden, probe.UpgradeIgnored, probe.UpgradeRefused:
		if d.sib.UpRandom.opened() {
			d.add(possible+3, CauseUnclear, "an upgrade of a path that cannot exist was accepted: something answers for this path alone")
		}
	}
}

// notFound tells a path that does not exist from an upgrade that was not seen
// as one: then the answer is that to a plain GET.
func (d *diagnosis) notFound() {
	same, aware := d.sameAsGet(), d.aware()
	page := proxyPage(&d.first)
	switch {
	case page != "":
		where := "the health path is answered by the application: only this path is not routed"
		if d.sib.Health.has(http.StatusNotFound) {
			where = "the health path gets the same page: this host name is not routed to the application"
		} else if d.sib.Health == nil {
			where = ""
		}
		d.add(likely, CauseProxyRoute, page, where)
		d.add(remote, CauseStripped)
	case same != "" && aware != "":
		d.add(likely, CauseRouteMissing, aware, "plain requests and upgrades are routed alike and neither has this path")
		d.add(possible, CauseStaleDeploy)
	case same != "":
		d.notSeen(same)
		route := possible + 1
		if splitsRouting(&d.first) {
			route = remote
		}
		d.add(route, CauseRouteMissing, "frameworks that route WebSockets like plain requests give the same answer for a missing route")
		d.add(min(route, possible-15), CauseStaleDeploy, d.version())
		if sameAnswer(d.sib.Health, &d.first) {
			d.add(possible-12, CauseProxyRoute, "the health path gets the same answer: perhaps another application answers for this host")
		}
	case d.sib.Get == nil:
		d.add(possible+2, CauseUnclear)
		d.add(possible, CauseRouteMissing)
		d.notSeen("")
	default:
		d.add(likely, CauseRouteMissing, d.unlikeGet(), aware)
		d.add(possible, CauseStaleDeploy, d.version())
		d.add(remote, CauseCredentials, "some applications answer 404 to hide what exists")
	}
}

// notSeen adds the three reasons why an upgrade is handled as a plain GET. From
// outside a proxy that drops it and a server that ignores it look the same;
// the Server header is a hint, which proxies may pass through unchanged.
func (d *diagnosis) notSeen(evidence string) {
	stripped, library, server := possible, possible, possible-10
	hint := ""
	switch name := strings.ToLower(d.first.Header.Get("Server")); {
	case d.sib.Bypass != nil && sameAnswer(d.sib.Bypass, &d.first):
		stripped = remote
		hint = "past the proxy the answer is the same: no proxy is to blame"
	case d.sib.UpRandom.opened():
		library, server = remote, remote
		hint = "an upgrade of another path was accepted: the server knows WebSockets"
	case isProxy(name), d.first.Header.Get("Via") != "":
		stripped++
		hint = "a proxy answers here (" + strings.TrimSpace(name+" "+d.first.Header.Get("Via")) + ")"
	case isASGI(name):
		library++
		hint = "the server is " + name + ", which needs a WebSocket library; a proxy may pass this header on unchanged"
	case isPlainServer(&d.first):
		server = possible + 1
		hint = "the answer is that of a framework for plain HTTP"
	}
	d.add(stripped, CauseStripped, evidence, hint)
	d.add(library, CauseNoLibrary, evidence, hint)
	d.add(server, CauseNoWebSockets, evidence, hint)
}

// forbidden: ASGI servers give one and the same 403 for a missing route, a
// rejected credential, a refused Origin and an old revision.
func (d *diagnosis) forbidden() {
	f, s := &d.first, &d.sib
	aware, unlike := d.aware(), d.unlikeGet()
	if strings.Contains(strings.ToLower(f.Body), "origin") {
		d.add(proven-1, CauseOrigin, "the answer names the Origin: "+clip(strings.TrimSpace(f.Body), 120))
	}
	if mark := edgeMark(f); mark != "" {
		d.add(likely, CauseEdgeRule, mark)
	}
	if unlike != "" && f.Body != "" && sameAnswer(s.UpRandom, f) && sameAnswer(s.Version, f) {
		d.add(likely, CauseEdgeRule, unlike, "upgrades on any path and of any version get this page: the application does not see them")
	}
	if d.sameAsGet() != "" {
		rule, login := possible, likely
		if strings.Contains(strings.ToLower(f.Header.Get("Content-Type")), "html") {
			rule, login = likely+1, possible+2
		}
		d.add(login, CauseCredentials, "plain requests are refused alike")
		d.add(rule, CauseEdgeRule, "plain requests are refused alike")
	}
	if f.Header.Get("X-Amzn-Errortype") != "" {
		d.add(likely, CauseProxyRoute, headerEvidence(f, "X-Amzn-Errortype"), "AWS API Gateway answers 403 for a stage or route that it does not have")
	}
	credentials, route := possible+1, possible
	why := "no credential was sent"
	if f.Credential {
		why = "a credential was sent"
	}
	switch {
	case s.Get.has(http.StatusOK, http.StatusMethodNotAllowed):
		route = possible + 2
		d.add(route, CauseRouteMissing, "plain HTTP requests have a handler at this path ("+statusText(s.Get.Status)+"), upgrades need their own")
	case s.UpRandom != nil && s.UpRandom.Status != f.Status && s.UpRandom.Status != 0:
		credentials, route = likely, remote
		why = "a path that cannot exist is answered " + statusText(s.UpRandom.Status) + ": this path exists and refuses. " + why
	}
	both := ""
	if (aware != "" || unlike != "") && sameAnswer(s.UpRandom, f) {
		both = "a path that cannot exist gets the same answer: ASGI servers answer a missing route, a bad credential and a refused Origin alike"
	}
	d.add(credentials, CauseCredentials, why, aware, both)
	d.add(route, CauseRouteMissing, aware, both)
	d.add(possible-10, CauseStaleDeploy, d.version(), both)
	if !f.Origin || s.WithOrigin == nil || !s.WithOrigin.opened() {
		d.add(possible-20, CauseOrigin, both)
	}
	if edgeMark(f) == "" && s.Get == nil {
		d.add(possible+2, CauseUnclear)
	}
}

func (d *diagnosis) unauthorized() {
	e := headerEvidence(&d.first, "Www-Authenticate")
	where := "a credential was sent"
	if !d.first.Credential {
		where = "no credential was sent"
	}
	d.add(likely, CauseCredentials, where, e)
	if d.sib.Get.has(http.StatusUnauthorized) && d.sib.GetRandom.has(http.StatusUnauthorized) {
		d.add(likely, CauseCredentials, "every path asks for it: it is the proxy's, not the WebSocket's")
	}
}

// ignored: a 2xx in answer to an upgrade.
func (d *diagnosis) ignored() {
	f, s := &d.first, &d.sib
	html := strings.Contains(f.Header.Get("Content-Type"), "html")
	switch {
	case s.UpRandom != nil && (sameAnswer(f, s.UpRandom) || sameAnswer(f, s.GetRandom)):
		d.add(likely, CauseCatchAll, "a path that cannot exist gets the same answer")
		d.notSeen(d.sameAsGet())
	case s.UpRandom == nil && html:
		d.add(likely, CauseCatchAll, "the answer is a web page")
		d.add(possible, CausePlainHandler)
	default:
		evidence := d.sameAsGet()
		weight := possible + 2
		if isASGI(strings.ToLower(f.Header.Get("Server"))) && evidence != "" {
			weight = possible // ASGI servers with a library never answer an upgrade from a GET handler
		}
		d.add(weight, CausePlainHandler, evidence)
		if html {
			d.add(possible+1, CauseCatchAll, "the answer is a web page: perhaps a fallback for this part of the site")
		}
		d.notSeen(evidence)
		if s.Get == nil {
			d.add(possible+3, CauseUnclear)
		}
	}
}

func (d *diagnosis) redirected() {
	to := d.first.Header.Get("Location")
	e := "Location: " + clip(to, 200)
	if u, err := url.Parse(to); err == nil {
		path, _, _ := strings.Cut(d.first.Path, "?")
		switch {
		case u.Path != path && strings.Trim(u.Path, "/") == strings.Trim(path, "/"):
			d.add(likely, CauseSlash, e)
		case strings.Contains(strings.ToLower(u.Path+u.Host), "login"), strings.Contains(strings.ToLower(u.Path), "auth"), strings.Contains(strings.ToLower(u.Path), "signin"):
			d.add(likely, CauseCredentials, e+" looks like a login")
		case u.Scheme == "https" && !d.first.Secure:
			d.add(likely, CauseWantsTLS, e)
		}
	}
	d.add(likely, CauseRedirect, e)
}

// refused: 400, 405, 426 and other answers of code that may know WebSockets.
func (d *diagnosis) refused() {
	f := &d.first
	body := strings.ToLower(f.Body)
	upgrade := strings.ToLower(f.Header.Get("Upgrade"))
	version := f.Header.Get("Sec-Websocket-Version")
	switch {
	case strings.Contains(body, "websocket library"), strings.Contains(body, "unsupported upgrade request"):
		d.add(proven-1, CauseNoLibrary, "the server says so: "+clip(strings.TrimSpace(f.Body), 120))
		d.add(remote, CauseNoWebSockets)
	case strings.Contains(body, "session id unknown"):
		d.add(proven-1, CauseSocketIOSid, clip(f.Body, 120))
	case strings.Contains(body, "transport unknown"), strings.Contains(body, "unsupported protocol version"), strings.Contains(body, "bad handshake method"):
		d.add(proven-1, CauseSocketIO, clip(f.Body, 120))
	case f.Status == http.StatusMethodNotAllowed, strings.Contains(body, "valid http request"), strings.Contains(body, "invalid http method"):
		d.add(likely, CauseMethod, headerEvidence(f, "Allow"), clip(strings.TrimSpace(f.Body), 120))
		d.add(possible, CauseRouteMissing)
	case f.Status == http.StatusMisdirectedRequest, strings.Contains(body, "invalid host"):
		d.add(likely, CauseProxyRoute, "the server does not accept this host name: "+statusText(f.Status))
	case strings.Contains(upgrade, "tls"):
		d.add(likely, CauseWantsTLS, "Upgrade: "+upgrade)
	case version != "" && !hasToken([]string{version}, "13"):
		d.add(likely, CauseVersion, "Sec-WebSocket-Version: "+version)
	case f.Status == http.StatusUpgradeRequired:
		d.add(likely, CauseStripped, "426 in answer to an upgrade: the server did not get the Upgrade header")
		d.add(possible, CauseVersion, headerEvidence(f, "Sec-Websocket-Version"))
	case d.sib.Get.has(http.StatusUpgradeRequired):
		d.add(likely, CauseRouteMissing, d.aware(), "the server speaks WebSocket, but not at this path")
	default:
		d.add(possible, CauseRouteMissing, d.aware())
		d.add(possible, CauseHandshake, "a proxy may have removed headers of the handshake")
		if f.Status == http.StatusNotImplemented {
			d.add(possible, CauseNoWebSockets)
		}
	}
	if d.sib.Get == nil && d.first.Status != http.StatusMethodNotAllowed {
		d.add(possible+2, CauseUnclear)
	}
}

func (d *diagnosis) serverError() {
	where := ""
	if u := d.sib.UpRandom; u != nil && u.Status != d.first.Status && u.Status != 0 {
		where = "a path that cannot exist is answered " + statusText(u.Status) + ": only this handler fails"
	} else if sameAnswer(u, &d.first) {
		where = "every upgrade fails like this: middleware, a dependency, or the proxy"
	}
	d.add(likely, CauseAppException, where)
}

// all lists the siblings that were made.
func (s *Siblings) all() []*Seen {
	var made []*Seen
	for _, o := range []*Seen{s.Get, s.GetRandom, s.UpRandom, s.Version, s.Health, s.Slash, s.WithOrigin, s.NoCredential, s.NoProtocol, s.WithGet, s.Bypass} {
		if o != nil {
			made = append(made, o)
		}
	}
	return made
}

func headerEvidence(s *Seen, name string) string {
	if v := s.Header.Get(name); v != "" {
		return headerText(s.Header, http.CanonicalHeaderKey(name), nil) // without secrets already
	}
	return ""
}

func statusText(code int) string {
	if code == 0 {
		return "not at all"
	}
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

func countText(k, n int) string { return strconv.Itoa(k) + " of " + strconv.Itoa(n) }
