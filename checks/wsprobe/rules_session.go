package wsprobe

import (
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// bySession applies the rules for what fails before HTTP or after the 101.
func (d *diagnosis) bySession() {
	f := &d.first
	switch f.Class {
	case probe.AuthClosed:
		d.add(likely, CauseCredentials, "close code "+strconv.Itoa(f.Code)+" means credentials: the application checks them after the handshake")
		d.add(remote, CauseAppClose)
	case probe.ClosedEarly:
		d.closedEarly()
	case probe.Dropped:
		d.add(possible+1, CauseProcessDied, "the connection ended without a close frame")
		d.add(possible, CauseAppException, "servers end the connection like this after an exception in the handler")
		if f.Idle >= time.Second {
			d.add(possible, CauseIdleCut, "nothing had been sent or received for "+brief(f.Idle))
		} else {
			d.add(remote, CauseIdleCut)
		}
	case probe.ProtocolError:
		d.protocolError()
	case probe.MessageTooBig:
		d.add(proven, CauseMessageLimit, f.Reason)
	case probe.NoPong:
		d.noPong()
	case probe.NoReply:
		d.add(possible+1, CauseAppSilent, "the handshake worked, and then the expected message did not come")
		d.add(possible, CauseHungHandler)
		if len(f.Offered) == 0 {
			d.add(possible, CauseSubprotocol, "no subprotocol was offered: some servers then accept and never answer")
		}
	case probe.BadPayload, probe.AppRefused, probe.FlowMissing, probe.FlowOrder, probe.FlowDuplicate, probe.Isolation:
		d.add(likely, CauseAppLogic, f.Reason)
	case probe.CloseUnanswered:
		d.add(likely, CauseViolation, "a close frame must be answered (RFC 6455 §5.5.1)")
	case probe.Slow:
		d.add(likely, CauseHungHandler, f.Reason)
		d.add(possible, CauseOverload)
	case probe.IdleCut:
		d.add(likely, CauseIdleCut, f.Reason)
	case probe.Flapping:
		d.add(likely, CauseMixedVersions, f.Reason)
	case probe.Capacity:
		d.add(likely, CauseConnLimit, f.Reason)
	default:
		d.byNetwork()
	}
}

// noPong: whether the process lives is told by what else it answers.
func (d *diagnosis) noPong() {
	again, n := opened(d.sib.Again), len(d.sib.Again)
	switch {
	case len(d.first.Texts) > 0:
		d.add(likely, CausePingsIgnored, "messages came: the process lives")
	case again > 0:
		d.add(likely, CausePingsIgnored, "the same upgrade was accepted "+times(again)+" more: the process lives")
		d.add(remote, CauseHungProcess)
	case d.sib.Health.silent() || n > 0:
		d.add(likely, CauseHungProcess, "other requests are not answered either")
		d.add(possible, CausePingsIgnored)
	case d.first.Idle > 0: // it was open for a while
		d.add(possible+1, CauseHungProcess, "the connection is open and nothing comes back")
		d.add(possible, CausePingsIgnored)
	default:
		d.add(possible+1, CausePingsIgnored, "the upgrade was answered a moment before")
		d.add(possible, CauseHungProcess)
	}
}

func (d *diagnosis) closedEarly() {
	f := &d.first
	if d.isSocketIO() {
		d.add(likely, CauseSocketIOTalk, "socket.io closes like this when its protocol is broken")
	}
	switch f.Code {
	case 1001, 1012:
		d.add(likely, CauseRestart, "close code "+strconv.Itoa(f.Code))
	case 1013:
		d.add(likely, CauseOverload, "close code 1013")
	case 1011:
		d.add(likely, CauseAppException, "close code 1011")
	case 1002, 1003, 1007:
		d.add(likely, CauseViolation, "the server says that we broke the protocol")
	}
	d.add(possible, CauseAppClose, f.Reason)
}

func (d *diagnosis) protocolError() {
	if d.first.Detail == DetailHTTPInStream {
		if d.isSocketIO() {
			d.add(likely, CauseSocketIO, d.first.Reason, "engine.io answers a version that it does not speak like this")
		}
		d.add(possible, CauseViolation, d.first.Reason)
		return
	}
	d.add(likely, CauseViolation, d.first.Reason)
}

// isSocketIO tells whether the URL or the first message is socket.io's.
func (d *diagnosis) isSocketIO() bool {
	if strings.Contains(d.first.Path, "/socket.io") || strings.Contains(d.first.Path, "EIO=") {
		return true
	}
	return len(d.first.Texts) > 0 && strings.HasPrefix(d.first.Texts[0], `0{"sid"`)
}

// byNetwork applies the rules for names, connections and TLS.
func (d *diagnosis) byNetwork() {
	f := &d.first
	switch f.Class {
	case probe.DNSNXDomain, probe.DNSNoData, probe.DNSError, probe.DNSTimeout:
		d.add(likely, CauseDNS, f.Reason)
	case probe.ConnectRefused:
		d.add(likely, CauseNotListening, f.Reason)
	case probe.ConnectTimeout, probe.ConnectError:
		d.add(likely, CauseFiltered, f.Reason)
	case probe.FamilyBroken:
		d.add(likely, CauseOneFamily, f.Reason)
	case probe.TLSExpired:
		d.add(proven, CauseCertExpired, f.Reason)
	case probe.TLSHostname:
		if net.ParseIP(f.Host) != nil {
			d.add(proven, CauseCertName, "the URL has an address, and servers are not told of addresses (SNI is for names): use the name")
		}
		d.add(proven, CauseCertName, f.Reason)
	case probe.TLSUntrusted:
		d.add(proven, CauseCertUntrusted, f.Reason)
	case probe.TLSClientCert:
		d.add(likely, CauseClientCert, f.Reason)
	case probe.TLSALPN:
		d.add(likely, CauseH2Only, f.Reason)
	case probe.TLSHandshake:
		d.add(likely, CauseTLS, f.Reason)
	case probe.SchemeMismatch:
		if f.Secure {
			d.add(proven, CauseScheme, "the URL says TLS, and plain HTTP is spoken on this port")
		} else {
			d.add(proven, CauseScheme, "the URL says no TLS, and TLS is spoken on this port")
		}
	case probe.NotHTTP:
		d.add(likely, CauseWrongService, f.Reason)
	default:
		d.add(possible, CauseUnclear, f.Reason)
	}
}
