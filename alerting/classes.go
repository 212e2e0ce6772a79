package alerting

import "github.com/tripline/tripline/checks/probe"

// What a rate can be of, besides single classes.
const (
	ofNotFound          = "not_found"
	ofConnectionFailure = "connection_failure"
	ofUpgradeRejected   = "upgrade_rejected"
	ofServerError       = "server_error"
	ofTLS               = "tls"
	ofDNS               = "dns"
	ofTimeout           = "timeout"
	ofSession           = "session"
	ofAny               = "any"
	ofDown              = "down"
)

// groups lists what a rate can be of, besides single classes.
func groups() []string {
	return []string{
		ofNotFound, ofConnectionFailure, ofUpgradeRejected, ofServerError, ofTLS,
		ofDNS, ofTimeout, ofSession, ofAny, ofDown,
	}
}

// InGroup tells whether an attempt of class c is a failure in the sense of
// group, on a check that opens WebSockets or on one that does not:
//
//	connection_failure  WebSocket: no valid 101; else: no response head
//	upgrade_rejected    WebSocket only: an HTTP answer other than 101
//	server_error        500, 502, 503, 504
//	tls, dns            that step failed
//	timeout             something did not come in time, a 504 included
//	session             the WebSocket was open and then did not do its work
//	any                 every class that means down
//
// Groups overlap. Any other group is the name of a single class. "down" is no
// group of classes but the confirmed status of a result, so it holds none.
func InGroup(group string, c probe.Class, websocket bool) bool {
	if c == probe.OK {
		return false
	}
	switch group {
	case ofConnectionFailure:
		switch stageOf(c) {
		case probe.StageDNS, probe.StageConnect, probe.StageTLS, probe.StageHandshake:
			return true
		case probe.StageHTTP, probe.StageUpgrade:
			return websocket
		}
		return false
	case ofUpgradeRejected:
		return websocket && stageOf(c) == probe.StageHTTP
	case ofServerError:
		return c == probe.ServerError || c == probe.BadGateway || c == probe.Unavailable || c == probe.GatewayTimeout
	case ofTLS:
		return stageOf(c) == probe.StageTLS
	case ofDNS:
		return stageOf(c) == probe.StageDNS
	case ofTimeout:
		return isTimeout(c)
	case ofSession:
		switch stageOf(c) {
		case probe.StageSession, probe.StageFlow, probe.StageClose:
			return true
		}
		return c == probe.IdleCut
	case ofAny:
		return c.Status() == probe.Down
	case ofDown:
		return false
	}
	return group == string(c) && countable(c)
}

// countable tells whether a rate of the single class c makes sense: it says
// that something about the target is wrong.
func countable(c probe.Class) bool {
	s := c.Status()
	return stageOf(c) != "" && (s == probe.Down || s == probe.Degraded)
}

// isNetwork tells whether c is what a broken network of our own looks like.
func isNetwork(c probe.Class) bool {
	switch c {
	case probe.ConnectRefused, probe.ConnectTimeout, probe.ConnectError:
		return true
	}
	return stageOf(c) == probe.StageDNS
}

func isTimeout(c probe.Class) bool {
	switch c {
	case probe.DNSTimeout, probe.ConnectTimeout, probe.HandshakeTimeout, probe.BodyTimeout, probe.GatewayTimeout,
		probe.NoPong, probe.NoReply, probe.CloseUnanswered:
		return true
	}
	return false
}

// stageOf returns the step of a probe at which an attempt ends with c; "" for
// OK and for what is no class. FamilyBroken and Slow are warnings on success.
func stageOf(c probe.Class) probe.Stage {
	switch c {
	case probe.DNSNXDomain, probe.DNSNoData, probe.DNSError, probe.DNSTimeout:
		return probe.StageDNS
	case probe.ConnectRefused, probe.ConnectTimeout, probe.ConnectError:
		return probe.StageConnect
	case probe.TLSExpired, probe.TLSHostname, probe.TLSUntrusted, probe.TLSClientCert, probe.TLSALPN, probe.TLSHandshake,
		probe.SchemeMismatch:
		return probe.StageTLS
	case probe.HandshakeTimeout, probe.HandshakeClosed, probe.NotHTTP:
		return probe.StageHandshake
	case probe.Redirected, probe.UpgradeIgnored, probe.Auth, probe.Forbidden, probe.NotFound, probe.RateLimited,
		probe.UpgradeRefused, probe.ServerError, probe.BadGateway, probe.Unavailable, probe.GatewayTimeout,
		probe.UnexpectedStatus, probe.TooManyRedirects:
		return probe.StageHTTP
	case probe.BadAccept, probe.Bad101, probe.Subprotocol:
		return probe.StageUpgrade
	case probe.BodyTimeout, probe.BodyTooLarge:
		return probe.StageBody
	case probe.ConditionFailed:
		return probe.StageCondition
	case probe.ClosedEarly, probe.AuthClosed, probe.Dropped, probe.ProtocolError, probe.MessageTooBig, probe.NoPong,
		probe.NoReply, probe.BadPayload, probe.AppRefused:
		return probe.StageSession
	case probe.FlowMissing, probe.FlowOrder, probe.FlowDuplicate, probe.Isolation:
		return probe.StageFlow
	case probe.CloseUnanswered:
		return probe.StageClose
	case probe.FamilyBroken, probe.Slow, probe.IdleCut:
		return probe.StageTime
	case probe.Flapping, probe.Capacity:
		return probe.StageSeries
	case probe.Interrupted, probe.Missed, probe.Late, probe.OwnNetwork, probe.OwnResolver, probe.FDLimit,
		probe.AuthSetup, probe.Panic:
		return probe.StageMonitor
	}
	return ""
}
