package alerting

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tripline/tripline/checks/probe"
)

// allClasses reads the closed list from its source, so that a new class cannot
// be forgotten here.
func allClasses(t *testing.T) []probe.Class {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../checks/probe/class.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []probe.Class
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); !ok || typ.Name != "Class" {
			return true
		}
		for _, v := range spec.Values {
			text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, probe.Class(text))
		}
		return true
	})
	if len(list) < 60 {
		t.Fatalf("found %d classes in the source, want all of about 65", len(list))
	}
	return list
}

// memberships says which groups each class is in: on a WebSocket check, and
// after the bar what differs on another one.
func memberships() map[probe.Class]string {
	return map[probe.Class]string{
		probe.OK:               "",
		probe.DNSNXDomain:      "connection_failure dns any",
		probe.DNSNoData:        "connection_failure dns any",
		probe.DNSError:         "connection_failure dns any",
		probe.DNSTimeout:       "connection_failure dns timeout any",
		probe.ConnectRefused:   "connection_failure any",
		probe.ConnectTimeout:   "connection_failure timeout any",
		probe.ConnectError:     "connection_failure any",
		probe.FamilyBroken:     "",
		probe.TLSExpired:       "connection_failure tls any",
		probe.TLSHostname:      "connection_failure tls any",
		probe.TLSUntrusted:     "connection_failure tls any",
		probe.TLSClientCert:    "connection_failure tls any",
		probe.TLSALPN:          "connection_failure tls any",
		probe.TLSHandshake:     "connection_failure tls any",
		probe.SchemeMismatch:   "connection_failure tls any",
		probe.HandshakeTimeout: "connection_failure timeout any",
		probe.HandshakeClosed:  "connection_failure any",
		probe.NotHTTP:          "connection_failure any",
		probe.Redirected:       "connection_failure upgrade_rejected any | any",
		probe.UpgradeIgnored:   "connection_failure upgrade_rejected any | any",
		probe.Auth:             "connection_failure upgrade_rejected any | any",
		probe.Forbidden:        "connection_failure upgrade_rejected any | any",
		probe.NotFound:         "not_found connection_failure upgrade_rejected any | not_found any",
		probe.RateLimited:      "connection_failure upgrade_rejected any | any",
		probe.UpgradeRefused:   "connection_failure upgrade_rejected any | any",
		probe.ServerError:      "connection_failure upgrade_rejected server_error any | server_error any",
		probe.BadGateway:       "connection_failure upgrade_rejected server_error any | server_error any",
		probe.Unavailable:      "connection_failure upgrade_rejected server_error any | server_error any",
		probe.GatewayTimeout:   "connection_failure upgrade_rejected server_error timeout any | server_error timeout any",
		probe.UnexpectedStatus: "connection_failure upgrade_rejected any | any",
		probe.TooManyRedirects: "connection_failure upgrade_rejected any | any",
		probe.BodyTimeout:      "timeout any",
		probe.BodyTooLarge:     "any",
		probe.ConditionFailed:  "any",
		probe.BadAccept:        "connection_failure any | any",
		probe.Bad101:           "connection_failure any | any",
		probe.Subprotocol:      "connection_failure any | any",
		probe.ClosedEarly:      "session any",
		probe.AuthClosed:       "session any",
		probe.Dropped:          "session any",
		probe.ProtocolError:    "session any",
		probe.MessageTooBig:    "session any",
		probe.NoPong:           "timeout session any",
		probe.NoReply:          "timeout session any",
		probe.BadPayload:       "session any",
		probe.AppRefused:       "session any",
		probe.CloseUnanswered:  "timeout session any",
		probe.FlowMissing:      "session any",
		probe.FlowOrder:        "session any",
		probe.FlowDuplicate:    "session any",
		probe.Isolation:        "session any",
		probe.Slow:             "",
		probe.IdleCut:          "session any",
		probe.Flapping:         "any",
		probe.Capacity:         "any",
		probe.Interrupted:      "",
		probe.Missed:           "",
		probe.Late:             "",
		probe.OwnNetwork:       "",
		probe.OwnResolver:      "",
		probe.FDLimit:          "",
		probe.AuthSetup:        "",
		probe.Panic:            "",
	}
}

func TestInGroup(t *testing.T) {
	want := memberships()
	for _, c := range allClasses(t) {
		text, ok := want[c]
		if !ok {
			t.Errorf("class %s: this test does not say which groups it is in", c)
			continue
		}
		ws, other, differs := strings.Cut(text, " | ")
		if !differs {
			other = ws
		}
		for websocket, groupsWanted := range map[bool]string{true: ws, false: other} {
			var got []string
			for _, g := range groups() {
				if InGroup(g, c, websocket) {
					got = append(got, g)
				}
			}
			if g := strings.Join(got, " "); g != groupsWanted {
				t.Errorf("class %s, WebSocket %t: in %q, want %q", c, websocket, g, groupsWanted)
			}
		}
		if c != probe.OK && stageOf(c) == "" {
			t.Errorf("class %s has no stage", c)
		}
		single := c.Status() == probe.Down || c.Status() == probe.Degraded
		if !slices.Contains(groups(), string(c)) && InGroup(string(c), c, true) != single {
			t.Errorf("class %s as a group of its own: %t, want %t", c, !single, single)
		}
	}
	if InGroup("connection_failure", "new_in_a_later_version", true) || InGroup("nonsense", probe.NotFound, true) {
		t.Error("something unknown is in a group")
	}
}

func TestNetworkClasses(t *testing.T) {
	for _, c := range allClasses(t) {
		want := strings.HasPrefix(string(c), "dns_") || strings.HasPrefix(string(c), "connect_")
		if got := isNetwork(c); got != want {
			t.Errorf("%s: %t, want %t", c, got, want)
		}
	}
}
