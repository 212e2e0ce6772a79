package journal

import (
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
	Dir              string        // the data directory; created with mode 0700 if missing
	MaxAge           time.Duration // how long entries are kept; default 31 days
	MaxBytes         int64         // bytes of entries before compression; default 4 GiB; the oldest go first
	EvidenceMaxBytes int64         // bytes of evidence before compression; default 256 MiB; the oldest goes first
	// MinFree is the free disk space below which entries wait in memory and evidence is refused, so that the state can still
	// be written; default 64 MiB.
	MinFree int64
	Log     *slog.Logger // default: none

	// Tests shorten these.
	markerTTL time.Duration // how long the marker of a deleted key stays
	flush     time.Duration // how long Log.Run may write after the end of its context
	answer    time.Duration // how long one request waits for the server before the journal looks for the reason
}

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("open journal: no directory given")
	}
	for name, v := range map[string]int64{
		"MaxAge": int64(o.MaxAge), "MaxBytes": o.MaxBytes, "EvidenceMaxBytes": o.EvidenceMaxBytes, "MinFree": o.MinFree,
	} {
		if v < 0 {
			return o, fmt.Errorf("open journal: %s is %d, want 0 or more", name, v)
		}
	}
	set := func(p *int64, v int64) {
		if *p == 0 {
			*p = v
		}
	}
	set((*int64)(&o.MaxAge), int64(defaultMaxAge))
	set(&o.MaxBytes, defaultMaxBytes)
	set(&o.EvidenceMaxBytes, defaultEvidenceMaxBytes)
	set(&o.MinFree, defaultMinFree)
	set((*int64)(&o.markerTTL), int64(defaultMarkerTTL))
	set((*int64)(&o.answer), int64(defaultAnswer))
	set((*int64)(&o.flush), int64(defaultFlush))
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}
