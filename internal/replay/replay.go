// Package replay looks back: it steps the rules over a stored log again and
// compares what they decide with what was decided (Backtest), and shows the
// results behind an incident (Explain). It reads a data directory that nobody
// else uses, or through the API of the monitor that runs on it (Handler,
// Remote): both are a Source.
package replay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Source is a stored log and the state beside it.
type Source interface {
	// Scan calls f with every batch of the log that was written since a time, up
	// to the newest at the time of the call, as it is stored. The zero time means
	// all; somewhat older ones may come first. data is good until f returns.
	Scan(ctx context.Context, since time.Time, f func(seq uint64, at time.Time, data []byte) error) error
	// List returns the records of the state strictly below prefix.
	List(ctx context.Context, prefix ...string) ([]notify.Record, error)
	// Evidence returns the newest evidence of a check, nil if there is none.
	Evidence(ctx context.Context, check string) (*probe.Evidence, error)
}

// Config is what decides: the rules, and the checks as rules see them.
type Config struct {
	Rules    []alerting.Rule    `json:"rules"`
	Subjects []alerting.Subject `json:"subjects"`
	Policy   alerting.Policy    `json:"policy"` // without the schedules of its windows, once stored
}

// Hash names a config: equal ones have the same.
func (c Config) Hash() string {
	sum := sha256.Sum256(c.encode())
	return hex.EncodeToString(sum[:])[:12]
}

// encode encodes plain data, which cannot fail.
func (c Config) encode() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return b
}

// Decision is one thing that people were, or would have been, told.
type Decision struct {
	Seq      uint64            `json:"seq"` // of the batch that it came of
	At       time.Time         `json:"at"`  // of the entry that it came of
	Event    alerting.Event    `json:"event"`
	Incident alerting.Incident `json:"incident"` // as it was then
}

// Replay steps the rules of a config, and of those that came after it, over a
// log.
type Replay struct {
	Decisions []Decision
	Newest    map[string]alerting.Incident // the newest version of each incident, by id

	engine *alerting.Engine
	eras   []Era // those to come
	seq    uint64
	at     time.Time
}

// New returns a Replay that begins with config; eras are what came after it,
// by their beginning.
func New(config Config, eras []Era) *Replay {
	r := &Replay{
		engine: alerting.NewEngine(config.Rules, config.Subjects), eras: eras,
		Newest: map[string]alerting.Incident{},
	}
	r.engine.SetPolicy(config.Policy)
	return r
}

// Step takes the next batch of the log.
func (r *Replay) Step(seq uint64, entries []checks.Entry) {
	r.change(seq)
	r.seq = seq
	for _, e := range entries {
		if t := e.Time(); !t.IsZero() {
			r.at = t
		}
		r.decided(r.engine.Step(seq, e))
	}
}

// End takes the changes of the config after the last batch.
func (r *Replay) End() { r.change(r.seq + 1) }

// change puts the configs in force that come before batch seq.
func (r *Replay) change(seq uint64) {
	for len(r.eras) > 0 && r.eras[0].After < seq {
		e := r.eras[0]
		r.eras = r.eras[1:]
		at := e.At
		if e.Restart { // the rules of a new process agree at the time of the newest entry
			at = r.at
		}
		r.engine.SetPolicy(e.Config.Policy)
		r.decided(r.engine.Reconfigure(e.Config.Rules, e.Config.Subjects, at))
	}
}

func (r *Replay) decided(changes []alerting.Change) {
	for _, c := range changes {
		r.Decisions = append(r.Decisions, Decision{Seq: r.seq, At: r.at, Event: c.Event, Incident: c.Incident})
		r.Newest[c.Incident.ID] = c.Incident
	}
}
