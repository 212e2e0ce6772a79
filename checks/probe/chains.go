package probe

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"sync"
	"time"
)

// chainsEnd returns until when the best of chains verifies.
func chainsEnd(chains [][]*x509.Certificate) time.Time {
	var best time.Time
	for _, chain := range chains {
		ends := chain[0].NotAfter
		for _, cert := range chain[1:] {
			if cert.NotAfter.Before(ends) {
				ends = cert.NotAfter
			}
		}
		if ends.After(best) {
			best = ends
		}
	}
	return best
}

// chainCache remembers chains that were verified. Verifying costs more than the
// rest of a handshake, and gives the same answer for the same bytes.
type chainCache struct {
	mu    sync.Mutex
	known map[chainKey]chainEntry
}

const (
	maxChains = 4096
	chainLife = 10 * time.Minute
)

// chainKey is the SHA-256 of the name, the policy and the exact chain.
type chainKey [sha256.Size]byte

type chainEntry struct {
	until time.Time // forget it
	ends  time.Time // the chain verifies until then
}

func keyOf(t *Target, chain []*x509.Certificate) (k chainKey) {
	h := sha256.New()
	part := func(b []byte) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	part([]byte(t.serverName))
	part([]byte(t.options.CAFile))
	for _, cert := range chain {
		part(cert.Raw)
	}
	h.Sum(k[:0])
	return k
}

func (c *chainCache) get(k chainKey, now time.Time) (ends time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.known[k]
	return e.ends, ok && now.Before(e.until)
}

func (c *chainCache) put(k chainKey, ends, now time.Time) {
	until := now.Add(chainLife)
	if ends.Before(until) {
		until = ends
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxChains {
		clear(c.known) // each is verified once more: cheaper than order among them
	}
	c.known[k] = chainEntry{until, ends}
}
