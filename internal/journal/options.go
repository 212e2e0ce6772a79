package journal

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

const (
	defaultMaxAge           = 31 * 24 * time.Hour
	defaultMaxBytes         = 4 << 30
	defaultEvidenceMaxBytes = 256 << 20
	defaultMinFree          = 64 << 20
	defaultMarkerTTL        = 24 * time.Hour

	defaultAnswer = 3 * time.Second
	defaultFlush  = 5 * time.Second
)

// Options say where the journal lives and how much it may keep. Zero means the default.
type Options struct {
	Dir    string        // the data directory; created with mode 0700 if missing
	MaxAge time.Duration // how long entries are kept; default 31 days
	// MaxBytes is how many bytes of entries are kept, before compression; default 4 GiB; the oldest go first. On a disk that
	// cannot hold them it is less: see Open.
	MaxBytes         int64
	EvidenceMaxBytes int64 // bytes of evidence before compression; default 256 MiB; the oldest goes first
	// MinFree is the free disk space below which entries wait in memory and evidence is refused, so that the state can still
	// be written; default 64 MiB.
	MinFree int64
	// Existing opens only what is there, with the limits that it has: a directory without a store is an error, and nothing
	// else of these options changes what is kept. For programs that look at the journal of another.
	Existing bool
	Log      *slog.Logger // default: none

	// Tests shorten these.
	markerTTL time.Duration // how long the marker of a deleted key stays
	flush     time.Duration // how long Log.Run may write after the end of its context
	answer    time.Duration // how long one request waits for the server before the journal looks for the reason
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("open journal: no directory given")
	}
	for _, n := range []struct {
		name  string
		value int64
	}{{"MaxAge", int64(o.MaxAge)}, {"MaxBytes", o.MaxBytes}, {"EvidenceMaxBytes", o.EvidenceMaxBytes}, {"MinFree", o.MinFree}} {
		if n.value < 0 {
			return o, fmt.Errorf("open journal: %s is %d, want 0 or more", n.name, n.value)
		}
	}
	o.MaxAge = cmp.Or(o.MaxAge, defaultMaxAge)
	o.MaxBytes = cmp.Or(o.MaxBytes, defaultMaxBytes)
	o.EvidenceMaxBytes = cmp.Or(o.EvidenceMaxBytes, defaultEvidenceMaxBytes)
	o.MinFree = cmp.Or(o.MinFree, defaultMinFree)
	o.markerTTL = cmp.Or(o.markerTTL, defaultMarkerTTL)
	o.answer = cmp.Or(o.answer, defaultAnswer)
	o.flush = cmp.Or(o.flush, defaultFlush)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
