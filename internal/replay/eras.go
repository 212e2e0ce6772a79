package replay

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
)

// EraVersion is the version of the stored form of eras and their configs.
const EraVersion = 1

// Era says since when a config has been in force. The monitor keeps eras in its
// state, so that a replay can change the config where the monitor did.
type Era struct {
	V       int       `json:"v"`
	After   uint64    `json:"after"` // the newest batch that the config before it has judged
	At      time.Time `json:"at"`    // of the change
	Restart bool      `json:"restart,omitempty"`
	Hash    string    `json:"hash"` // of Config
	Config  Config    `json:"-"`
}

const (
	keyEra    = "era"
	keyConfig = "ruleset"

	mostEras   = 500     // that are kept
	mostConfig = 400_000 // bytes of a config, compressed; a commit holds 512 KiB
)

// storedConfig is a config as it is stored, once however often it comes back.
type storedConfig struct {
	V    int    `json:"v"`
	Gzip []byte `json:"gzip"` // JSON of Config
}

// Remember stores that config is in force after a batch, from a time on, and
// forgets what was in force before the log begins at first. A restart with the
// config that was in force is no era.
func Remember(ctx context.Context, s notify.Store, config Config, e Era, first uint64) error {
	known, err := eras(ctx, s)
	if err != nil {
		return err
	}
	e.V, e.Hash = EraVersion, config.Hash()
	var writes []notify.Write
	for n := len(known); e.Restart && n > 0 && known[n-1].After > e.After; n-- {
		writes = append(writes, notify.Write{Key: known[n-1].key()}) // of a log that was moved away
		known = known[:n-1]
	}
	if n := len(known); e.Restart && n > 0 && known[n-1].Hash == e.Hash && len(writes) == 0 {
		return nil
	}
	value, err := compressed(config)
	if err != nil {
		return err
	}
	if len(value) > mostConfig {
		return fmt.Errorf("remember the rules for a later replay: %d bytes compressed, want at most %d", len(value), mostConfig)
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	known = append(known, e)
	writes = append(writes, []notify.Write{
		{Key: []string{keyConfig, e.Hash}, Value: value},
		{Key: e.key(), Value: text},
	}...)
	return s.Commit(ctx, append(writes, superseded(known, first)...)...)
}

func (e Era) key() []string {
	return []string{keyEra, fmt.Sprintf("%020d-%d", e.After, e.At.UnixNano())}
}

// superseded returns the writes that delete the eras that ended before first,
// and the configs that no other era has.
func superseded(known []Era, first uint64) (writes []notify.Write) {
	keep := max(0, len(known)-mostEras)
	for keep < len(known)-1 && known[keep+1].After < first {
		keep++
	}
	gone := known[:min(keep, 200)] // the rest another time: a commit has its limits
	for _, e := range gone {
		writes = append(writes, notify.Write{Key: e.key()})
	}
	deleted := map[string]bool{}
	for _, e := range gone {
		used := slices.ContainsFunc(known[len(gone):], func(o Era) bool { return o.Hash == e.Hash })
		if !used && !deleted[e.Hash] {
			deleted[e.Hash] = true
			writes = append(writes, notify.Write{Key: []string{keyConfig, e.Hash}})
		}
	}
	return writes
}

func compressed(c Config) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(c.encode())
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, err
	}
	return json.Marshal(storedConfig{V: EraVersion, Gzip: b.Bytes()})
}

// lister is the part of a Source, and of a notify.Store, that eras are read of.
type lister interface {
	List(ctx context.Context, prefix ...string) ([]notify.Record, error)
}

// eras returns the eras without their configs, by their beginning.
func eras(ctx context.Context, s lister) ([]Era, error) {
	records, err := s.List(ctx, keyEra)
	if err != nil {
		return nil, err
	}
	var list []Era
	for _, r := range records {
		var e Era
		if err := decode(r, &e, &e.V); err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Era) int { return cmp.Or(cmp.Compare(a.After, b.After), a.At.Compare(b.At)) })
	return list, nil
}

// Eras returns the stored eras, by their beginning.
func Eras(ctx context.Context, s Source) ([]Era, error) {
	list, err := eras(ctx, s)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	records, err := s.List(ctx, keyConfig)
	if err != nil {
		return nil, err
	}
	configs := map[string]Config{}
	for _, r := range records {
		if configs[r.Key[len(r.Key)-1]], err = decompressed(r); err != nil {
			return nil, err
		}
	}
	known := list[:0]
	for _, e := range list {
		if c, ok := configs[e.Hash]; ok {
			e.Config = c
			known = append(known, e)
		}
	}
	return known, nil
}

func decompressed(r notify.Record) (c Config, err error) {
	var st storedConfig
	if err := decode(r, &st, &st.V); err != nil {
		return c, err
	}
	z, err := gzip.NewReader(bytes.NewReader(st.Gzip))
	if err == nil {
		var b []byte
		if b, err = io.ReadAll(io.LimitReader(z, 64<<20)); err == nil {
			err = json.Unmarshal(b, &c)
		}
	}
	if err != nil {
		return c, fmt.Errorf("record %q: %w", r.Key, err)
	}
	return c, nil
}

// decode reads a record into v, whose version is then in seen.
func decode(r notify.Record, v any, seen *int) error {
	if err := json.Unmarshal(r.Value, v); err != nil {
		return fmt.Errorf("record %q: %w", r.Key, err)
	}
	if *seen > EraVersion {
		return fmt.Errorf("record %q: %w", r.Key, &checks.NewerError{Seen: *seen, Known: EraVersion})
	}
	return nil
}
