package notify

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// Log writes a line for every change of an incident, to the terminal or
// wherever the program's output goes.
type Log struct {
	// UTC writes times in UTC and not in the machine's time zone.
	UTC bool `yaml:"utc,omitempty" json:"utc,omitempty"`
}

// Validate returns nothing: every setting of Log is good.
func (l *Log) Validate() []probe.Problem { return nil }

// Notifier returns the notifier of the settings. It writes to env.Out.
func (l *Log) Notifier(env Env) Notifier {
	n := &lineLog{out: env.Out, zone: env.Zone}
	if l.UTC || n.zone == nil {
		n.zone = time.UTC
	}
	return n
}

type lineLog struct {
	zone *time.Location
	mu   sync.Mutex // keeps lines whole
	out  io.Writer
}

// Notify writes one line. It has no ids to return.
func (l *lineLog) Notify(_ context.Context, m Message, _ *Receipt) (Receipt, error) {
	line := logLine(m, time.Now(), l.zone)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.out, line+"\n"); err != nil {
		return Receipt{}, fmt.Errorf("write the line of %s: %w", m.Incident.ID, err)
	}
	return Receipt{}, nil
}

// logLine is an incident on one line, such as
// "22:15:03 PAGE opened ws: not_found 3 of 3 attempts (100 %) in 5m, limit 0 % — GET wss://gw/ws: upgrade answered 404".
// Names from outside cannot break the line or colour the terminal.
func logLine(m Message, now time.Time, zone *time.Location) string {
	i := m.Incident
	what := strings.TrimPrefix(i.Title(), "["+severity(i)+"] ")
	switch {
	case !i.Open():
		what += " — was bad " + span(i, now, zone)
	case i.First():
		what = i.Changed + " " + what
	default:
		what = i.Group + ": " + i.Changed
	}
	if r := reason(i); r != "" && i.Open() {
		what += " — " + r
	}
	if m.Because != "" {
		what += " (told here: " + m.Because + ")"
	}
	if m.Link != "" {
		what += " " + m.Link
	}
	return clean(now.In(zone).Format(time.TimeOnly)+" "+strings.ToUpper(severity(i))+" "+what, false)
}
