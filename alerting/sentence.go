package alerting

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// sentence puts a finding into one line: the figure, the counts behind it and
// the limit.
func (w *watch) sentence(f *Finding) string {
	if f.Kind == kindBlind {
		return fmt.Sprintf("the monitor is blind: %d of %s fail at once, limit %d",
			f.Bad, plural(f.Total, "host"), int(f.Threshold+0.999))
	}
	switch w.kind {
	case kindRate:
		what, limit := "attempt", "limit "+Share(f.Threshold).String()
		if w.Rate.Of == ofDown {
			what = "result"
		}
		if w.Rate.AtLeast != nil {
			limit = "alerts from " + Share(f.Threshold).String()
		}
		return fmt.Sprintf("%s %d of %s (%s) in %s, %s", w.Rate.Of, f.Bad, plural(f.Total, what), Share(f.Figure), w.Rate.Over, limit)
	case kindLatency:
		stat := w.Latency.Stat
		if stat == "" {
			stat = statMean
		}
		return fmt.Sprintf("%s latency %s of %s in %s, limit %s", stat,
			seconds(time.Duration(f.Figure*float64(time.Second))), plural(f.Total, "result"), w.Latency.Over,
			seconds(time.Duration(w.Latency.Above)))
	case kindDown:
		s := fmt.Sprintf("down: %d of %s", f.Bad, plural(f.Total, "check"))
		if f.Figure > 1 {
			s += ", up to " + plural(int(f.Figure), "slot") + " in a row"
		}
		if f.Threshold > 1 {
			s += ", alerts from " + strconv.Itoa(int(f.Threshold))
		}
		return s
	case kindUnknown:
		return fmt.Sprintf("unknown %d of %s (%s) in %s, limit %s", f.Bad, plural(f.Total, "result"), Share(f.Figure),
			probe.Duration(time.Duration(w.over)*time.Millisecond), Share(f.Threshold))
	case kindSLO, kindMeasure, kindAbsent: // made with the figure
	}
	return f.Text
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// seconds formats a latency for people: 240 ms, 2.41 s.
func seconds(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatFloat(float64(d.Round(100*time.Microsecond))/1e6, 'f', -1, 64) + " ms"
	}
	return strconv.FormatFloat(d.Round(10*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
}
