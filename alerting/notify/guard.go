package notify

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// guarded returns client with connections to public addresses only, judged
// after the name was resolved: what a name means can change between a look and
// the connection. It uses no proxy, which would resolve the name itself.
func guarded(client *http.Client) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		return blocked(at.Addr())
	}}
	if t, ok := client.Transport.(*http.Transport); ok {
		t.DialContext, t.Proxy = dialer.DialContext, nil
	}
	return client
}

// blockedError says that an address is not for webhooks.
type blockedError struct {
	ip   netip.Addr
	what string
}

func (e *blockedError) Error() string {
	return fmt.Sprintf("%s is %s, want a public address, or allow_private", e.ip, e.what)
}

// blocked returns a *blockedError if ip is no public unicast address, or one
// where a cloud answers its machines (metadata).
func blocked(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	for _, r := range [...]struct{ prefix, what string }{
		// More than the methods of netip.Addr know: https://www.iana.org/assignments/iana-ipv4-special-registry
		// and https://www.iana.org/assignments/iana-ipv6-special-registry.
		{"127.0.0.0/8", "a loopback address"},
		{"::1/128", "a loopback address"},
		{"169.254.0.0/16", "a link-local address"}, // 169.254.169.254: metadata of most clouds
		{"fe80::/10", "a link-local address"},
		{"10.0.0.0/8", "a private address"},
		{"172.16.0.0/12", "a private address"},
		{"192.168.0.0/16", "a private address"},
		{"fc00::/7", "a private address"},         // fd00:ec2::254: metadata of AWS
		{"fec0::/10", "a private address"},        // site-local, of old
		{"100.64.0.0/10", "a shared address"},     // behind carriers' NAT; 100.100.100.200: metadata of Alibaba
		{"168.63.129.16/32", "a cloud's address"}, // of Azure, for its machines
		{"192.0.0.0/24", "a reserved address"},    // 192.0.0.192: metadata of Oracle
		{"192.0.2.0/24", "a reserved address"},
		{"198.18.0.0/15", "a reserved address"},
		{"198.51.100.0/24", "a reserved address"},
		{"203.0.113.0/24", "a reserved address"},
		{"0.0.0.0/8", "an address of this host"},
		{"::/128", "an address of this host"},
		{"224.0.0.0/3", "a multicast or reserved address"},
		{"ff00::/8", "a multicast address"},
		// IPv6 that leads to IPv4 addresses, private ones among them.
		{"::/96", "an embedded IPv4 address"},
		{"64:ff9b::/96", "an embedded IPv4 address"},
		{"64:ff9b:1::/48", "an embedded IPv4 address"},
		{"2001::/32", "an embedded IPv4 address"},
		{"2002::/16", "an embedded IPv4 address"},
	} {
		if netip.MustParsePrefix(r.prefix).Contains(ip) {
			return &blockedError{ip, r.what}
		}
	}
	return nil
}
