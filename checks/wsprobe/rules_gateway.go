package wsprobe

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/tripline/tripline/checks/probe"
)

// The rules for what a proxy answered in place of the application, and for no
// answer at all.

// gateway: 502, 503, 504. What matters is whether plain requests fare better.
func (d *diagnosis) gateway() {
	f, s := &d.first, &d.sib
	all := ""
	if s.Health != nil && s.Health.Status == f.Status {
		all = "the health path is answered " + statusText(f.Status) + " too: this is no WebSocket fault"
	}
	only := ""
	if s.Health.has(http.StatusOK) {
		only = "the health path is answered 200: only upgrades or this path fail"
	}
	body := strings.ToLower(f.Body)
	switch f.Class {
	case probe.GatewayTimeout:
		process := likely - 1
		if all != "" {
			process = likely + 1
		}
		d.add(likely, CauseHungHandler, only)
		d.add(process, CauseHungProcess, all)
		d.add(possible, CauseOriginDown, all)
	case probe.BadGateway:
		d.add(likely, CauseOriginDown, all)
		h2 := possible
		if strings.HasPrefix(strings.ToLower(f.Header.Get("Server")), "nginx") { // it speaks HTTP/1 to applications
			h2 = remote
		}
		d.add(h2, CauseH2Backend, all)
		d.add(possible, CauseAppException, only)
	default:
		limit, down := possible, possible
		if strings.Contains(body, "too many") || only != "" || f.Took >= queueTime {
			limit = likely
		}
		if strings.Contains(body, "no server is available") {
			down = possible + 1
		}
		maintenance := possible + 1
		if f.Header.Get("Retry-After") != "" {
			maintenance = likely
		}
		d.add(limit, CauseConnLimit, only, tookText(f))
		d.add(down, CauseOriginDown, all)
		d.add(maintenance, CauseOverload, headerEvidence(f, "Retry-After"), all)
	}
}

// timeout: no answer in time.
func (d *diagnosis) timeout() {
	f, s := &d.first, &d.sib
	if len(s.all()) == 0 {
		d.add(possible, CauseHungHandler)
		d.add(possible, CauseHungProcess)
		return
	}
	if s.Get.silent() && s.Health.silent() && s.UpRandom.silent() {
		d.add(likely, CauseHungProcess, "no path is answered")
		d.add(possible, CauseWrongService)
		d.add(possible, CauseHungHandler)
		return
	}
	if s.UpRandom != nil && s.UpRandom.Status != 0 {
		d.add(likely, CauseHungHandler, "an upgrade on another path is answered "+statusText(s.UpRandom.Status)+" at once: this handler hangs")
		return
	}
	d.add(likely, CauseHungHandler, "plain requests are answered, upgrades are not: nobody answers for them", f.Reason)
}

// closedBefore: the connection ended without an answer.
func (d *diagnosis) closedBefore() {
	s := &d.sib
	answered := ""
	for _, o := range s.all() {
		if o.Status != 0 {
			answered = "other requests are answered"
		}
	}
	closes, service := possible+1, possible
	if answered == "" && len(s.all()) > 0 {
		closes, service = possible, possible+1
		answered = "no request is answered on this port"
	} else if answered != "" {
		service = 0
	}
	if len(d.first.Offered) > 0 {
		d.add(possible+2, CauseSubprotocol, fmt.Sprintf("%q was offered: some servers hang up on one that they do not know", d.first.Offered))
	}
	d.add(closes, CausePeerCloses, d.first.Reason, answered)
	if service > 0 {
		d.add(service, CauseWrongService, answered)
	}
	if !d.first.Secure {
		d.add(remote, CauseScheme, "a TLS port may hang up on plain requests")
	}
	if strings.Contains(d.first.Path, "/socket.io") {
		d.add(possible, CauseSocketIO)
	}
}
