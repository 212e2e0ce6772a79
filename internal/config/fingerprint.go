package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/tripline/tripline/checks"
)

// fingerprints tells of each check and notifier what it was made of, so that a
// reload changes only what is different.
func (l *loader) fingerprints() {
	defaults := l.file.Defaults
	defaults.Every, defaults.Timeout, defaults.Confirm = nil, nil, nil // what they came to is in the check
	common := fingerprint(defaults)
	l.cfg.Fingerprints = make(map[string]string, len(l.cfg.Checks))
	for i, c := range l.cfg.Checks {
		l.cfg.Fingerprints[c.Name] = fingerprint(struct {
			Settings *Check
			Common   string
			Canaries []string `json:",omitempty"`
			Auth     checks.Auth
			Attempt  []int64
		}{
			&l.file.Checks[i], common, l.file.Canaries, l.file.Auth[l.file.Checks[i].Auth],
			[]int64{int64(c.Timeout), int64(c.Confirm), int64(l.seen[i].Interval)},
		})
	}
	for i := range l.cfg.Notifiers {
		n := &l.cfg.Notifiers[i]
		n.Fingerprint = fingerprint(struct {
			Kind, Off string
			Settings  any
			Others    []any
		}{n.Kind, n.Off, n.Settings, []any{n.Route, n.Limit, n.Fallback, n.FallbackAfter}})
	}
}

// fingerprint is a hash of v, which is plain data and may hold secrets.
func fingerprint(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		b = fmt.Appendf(nil, "%#v", v) // never equal to another load's: changed is the safe answer
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:12])
}
