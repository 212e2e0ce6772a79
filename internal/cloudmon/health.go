package cloudmon

import (
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const maxErrorText = 600

// line is a problem that was logged.
type line struct {
	text string
	at   time.Time
}

// Health tells how the export goes.
type Health struct {
	TaskID   string
	Position uint64        // newest batch of the log that was folded
	Behind   uint64        // batches of the log that were not
	Minute   time.Time     // end of the newest minute that was written, or is being tried
	Lag      time.Duration // how long after its end that minute was written; grows while it is not
	Written  int64         // points, over all restarts
	Rejected int64         // points that are not accepted as they are
	Dropped  int64         // points that were refused or too old
	Err      string        // what is wrong at present; empty if nothing is
	ErrSince time.Time

	sinceMS int64
	waiting bool // Minute is being tried
}

// Samples returns the exporter's own metrics.
func (h Health) Samples() []Sample {
	var out []Sample
	for _, m := range Metrics() {
		switch m.Name {
		case nameLag:
			out = append(out, Sample{Metric: &m, Fresh: true, Double: h.Lag.Seconds()})
		case namePoints:
			for _, p := range []struct {
				outcome string
				n       int64
			}{{"written", h.Written}, {"rejected", h.Rejected}, {"dropped", h.Dropped}} {
				out = append(out, Sample{Metric: &m, Labels: []string{p.outcome}, StartMS: h.sinceMS, Fresh: true, Int: p.n})
			}
		}
	}
	return out
}

// Health tells how the export goes. It may be called at any time.
func (x *Exporter) Health() Health {
	x.mu.Lock()
	h := x.health
	x.mu.Unlock()
	if last := x.o.Log.Last(); last > h.Position {
		h.Behind = last - h.Position
	}
	if h.waiting {
		h.Lag = time.Since(h.Minute)
	}
	return h
}

// problem notes what is wrong. It is logged when its text changes, and again
// after an hour.
func (x *Exporter) problem(doing string, err error) {
	text := doing + ": " + x.explain(err)
	x.mu.Lock()
	if x.health.Err == "" {
		x.health.ErrSince = time.Now()
	}
	x.health.Err = text
	x.mu.Unlock()
	if last, ok := x.logged[doing]; ok {
		if since := time.Since(last.at); since < x.pace.log || last.text == text && since < x.pace.again {
			return
		}
	}
	x.logged[doing] = line{text, time.Now()}
	x.o.Logger.Warn("export to Cloud Monitoring has a problem", "err", text)
}

// explain says what a gRPC error means, with what to do about it.
func (x *Exporter) explain(err error) string {
	st, ok := status.FromError(err)
	if !ok {
		return shorten(err.Error(), maxErrorText)
	}
	text := shorten(fmt.Sprintf("%s: %s", st.Code(), st.Message()), maxErrorText)
	switch st.Code() {
	case codes.PermissionDenied:
		text += fmt.Sprintf("; want the role roles/monitoring.metricWriter in project %q", x.cfg.Project)
	case codes.Unauthenticated:
		text += "; want valid credentials: set credentials_file or GOOGLE_APPLICATION_CREDENTIALS"
	}
	return text
}
