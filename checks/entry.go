package checks

import (
	"encoding/json"
	"fmt"
	"time"
)

// Entry is one record of the log. Exactly one of its pointers is set.
type Entry struct {
	V       int      `json:"v"`
	Result  *Result  `json:"result,omitempty"`
	Tick    *Tick    `json:"tick,omitempty"`
	Gap     *Gap     `json:"gap,omitempty"`
	Command *Command `json:"command,omitempty"`
}

// Tick is written once a minute, so that rules see time pass without results.
type Tick struct {
	At time.Time `json:"at"`
}

// Gap says that slots passed without a result: From and To are the first and
// the last of them. Check is empty when it concerns all checks.
type Gap struct {
	Check    string    `json:"check,omitempty"`
	Location string    `json:"loc"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Slots    int       `json:"slots"` // how many, over all checks concerned
	Reason   string    `json:"reason"`
}

// Command is something a person or the program did that rules must know of:
// an acknowledge, a silence, a maintenance window, a change of the config.
type Command struct {
	At     time.Time         `json:"at"`
	Name   string            `json:"name"`             // "config", "acknowledge", "silence", ...
	Author string            `json:"author,omitempty"` // who did it
	Args   map[string]string `json:"args,omitempty"`
}

// Time returns the moment that the entry is about: the start of a result's
// run, the end of a gap.
func (e Entry) Time() time.Time {
	switch {
	case e.Result != nil:
		return e.Result.Start
	case e.Tick != nil:
		return e.Tick.At
	case e.Gap != nil:
		return e.Gap.To
	case e.Command != nil:
		return e.Command.At
	}
	return time.Time{}
}

// NewerError says that a record was written by a newer version of the program.
type NewerError struct{ Seen, Known int }

func (e *NewerError) Error() string {
	return fmt.Sprintf("record version %d, this program knows up to %d: it was written by a newer Tripline, run that one", e.Seen, e.Known)
}

// EncodeEntries appends the stored form of entries to b: a JSON array.
func EncodeEntries(b []byte, entries []Entry) ([]byte, error) {
	j, err := json.Marshal(entries)
	if err != nil {
		return b, fmt.Errorf("encode %d entries: %w", len(entries), err)
	}
	return append(b, j...), nil
}

// DecodeEntries reads what EncodeEntries wrote. The error is a *NewerError
// when a record is of a version that this program does not know.
func DecodeEntries(b []byte) ([]Entry, error) {
	entries, ok := decodeCanonical(b)
	if !ok {
		entries = nil
		if err := json.Unmarshal(b, &entries); err != nil {
			return nil, fmt.Errorf("decode entries: %w", err)
		}
	}
	for _, e := range entries {
		if e.V > ResultVersion {
			return nil, &NewerError{Seen: e.V, Known: ResultVersion}
		}
	}
	return entries, nil
}
