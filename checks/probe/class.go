package probe

// Class is the closed list of what a probe can end with. It is the first step
// that failed, in the words that appear in metrics, messages and rules.
type Class string

// The classes, in the order of the stages they belong to.
const (
	// OK means that every step did what was wanted.
	OK Class = "ok"

	DNSNXDomain Class = "dns_nxdomain" // the name does not exist
	DNSNoData   Class = "dns_nodata"   // the name exists, without an address of the wanted family
	DNSError    Class = "dns_error"    // SERVFAIL, REFUSED or an answer that is no answer
	DNSTimeout  Class = "dns_timeout"  // no answer in time

	ConnectRefused Class = "connect_refused" // a reset in answer to the SYN
	ConnectTimeout Class = "connect_timeout" // no answer to the SYN in time
	ConnectError   Class = "connect_error"   // host or port unreachable, or another connect error
	FamilyBroken   Class = "family_broken"   // one IP family works and the other does not: a warning

	TLSExpired     Class = "tls_expired"     // a certificate of the chain is outside its validity
	TLSHostname    Class = "tls_hostname"    // the certificate is for other names
	TLSUntrusted   Class = "tls_untrusted"   // no path to a trusted root
	TLSClientCert  Class = "tls_client_cert" // the server wants another client certificate, or one at all
	TLSALPN        Class = "tls_alpn"        // the server does not speak HTTP/1.1 over TLS
	TLSHandshake   Class = "tls_handshake"   // any other failure of the TLS handshake
	SchemeMismatch Class = "scheme_mismatch" // TLS spoken to a plain port or the reverse

	HandshakeTimeout Class = "handshake_timeout" // no complete response head in time
	HandshakeClosed  Class = "handshake_closed"  // the connection ended before a status line
	NotHTTP          Class = "not_http"          // the first bytes are not an HTTP/1 response

	Redirected       Class = "redirected"         // 3xx where no redirect is accepted
	UpgradeIgnored   Class = "upgrade_ignored"    // 2xx in answer to an upgrade
	Auth             Class = "auth"               // 401
	Forbidden        Class = "forbidden"          // 403
	NotFound         Class = "not_found"          // 404 or 410
	RateLimited      Class = "rate_limited"       // 429
	UpgradeRefused   Class = "upgrade_refused"    // another 4xx, or 501, in answer to an upgrade
	ServerError      Class = "server_error"       // 500
	BadGateway       Class = "bad_gateway"        // 502
	Unavailable      Class = "unavailable"        // 503
	GatewayTimeout   Class = "gateway_timeout"    // 504
	UnexpectedStatus Class = "unexpected_status"  // any other status that is not wanted (HTTP kinds)
	TooManyRedirects Class = "too_many_redirects" // more redirects than allowed (HTTP kinds)
	BodyTimeout      Class = "body_timeout"       // the response body did not end in time (HTTP kinds)
	BodyTooLarge     Class = "body_too_large"     // the response body is larger than the limit (HTTP kinds)
	ConditionFailed  Class = "condition_failed"   // a condition on the answer does not hold (HTTP kinds)

	BadAccept   Class = "bad_accept"  // Sec-WebSocket-Accept is missing or wrong
	Bad101      Class = "bad_101"     // a 101 whose Upgrade, Connection, extension or HTTP version is wrong
	Subprotocol Class = "subprotocol" // a subprotocol that was not asked for, or the wanted one is missing

	ClosedEarly     Class = "closed_early"     // a close frame before the session had done its work
	AuthClosed      Class = "auth_closed"      // closed with a code that means credentials (1008, 3000, 3003, 4401, 4403)
	Dropped         Class = "dropped"          // FIN or RST without a close frame
	ProtocolError   Class = "protocol_error"   // bytes that RFC 6455 forbids
	MessageTooBig   Class = "message_too_big"  // a message over the limit of either side
	NoPong          Class = "no_pong"          // a ping was not answered in time
	NoReply         Class = "no_reply"         // an expected message did not come in time
	BadPayload      Class = "bad_payload"      // a message that is not what was expected
	AppRefused      Class = "app_refused"      // the application answered with an error message
	CloseUnanswered Class = "close_unanswered" // our close frame was not answered in time

	FlowMissing   Class = "flow_missing"   // an expected event did not come
	FlowOrder     Class = "flow_order"     // events came in another order
	FlowDuplicate Class = "flow_duplicate" // an event came twice
	Isolation     Class = "isolation"      // a message of another session or user arrived

	Slow     Class = "slow"     // everything worked, over the threshold
	IdleCut  Class = "idle_cut" // an idle connection was cut at a repeatable time
	Flapping Class = "flapping" // mixed verdicts over several tries
	Capacity Class = "capacity" // fails only from the n-th held connection on

	// The classes below are about us, not about the target: status unknown.

	Interrupted Class = "interrupted"  // the monitor was stopped in the middle
	Missed      Class = "missed"       // the run could not start
	Late        Class = "late"         // the run could not start in time
	OwnNetwork  Class = "own_network"  // this machine has no route, or its proxy failed
	OwnResolver Class = "own_resolver" // this machine has no working resolver
	FDLimit     Class = "fd_limit"     // no file descriptor left
	AuthSetup   Class = "auth_setup"   // our own credential could not be obtained
	Panic       Class = "panic"        // a bug in the probe
)

// Status is the verdict on a target at one slot.
type Status string

// The four verdicts. Degraded works, but slowly, with a warning, or only on a
// second try. Unknown is about us and neither good nor bad.
const (
	Up       Status = "up"
	Degraded Status = "degraded"
	Down     Status = "down"
	Unknown  Status = "unknown"
)

// Status returns the verdict that one attempt of class c means by itself.
func (c Class) Status() Status {
	switch c {
	case OK:
		return Up
	case Slow, FamilyBroken:
		return Degraded
	case Interrupted, Missed, Late, OwnNetwork, OwnResolver, FDLimit, AuthSetup, Panic:
		return Unknown
	default:
		return Down
	}
}

// Stage is the step of a probe at which its class was decided.
type Stage string

// The stages in the order in which a probe passes them.
const (
	StageDNS       Stage = "dns"
	StageConnect   Stage = "connect"
	StageTLS       Stage = "tls"
	StageHandshake Stage = "handshake" // request sent, no complete response head yet
	StageHTTP      Stage = "http"      // the response head was judged
	StageUpgrade   Stage = "upgrade"   // the 101 was judged
	StageBody      Stage = "body"
	StageCondition Stage = "condition"
	StageSession   Stage = "session"
	StageFlow      Stage = "flow"
	StageClose     Stage = "close"
	StageTime      Stage = "time"    // judged by how long it took
	StageSeries    Stage = "series"  // judged over several tries
	StageMonitor   Stage = "monitor" // about us
)
