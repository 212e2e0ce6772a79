package picture

import (
	"bytes"
	"flag"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

var keep = flag.String("keep", "", "directory to keep the pictures in, to look at them")

// story makes one entry for each letter: u(p), d(egraded), f(ailing), ?
// (unknown), - (a missed slot), and a space for a slot of which nothing is known.
func story(letters string, every, latency time.Duration) []checks.Entry {
	at := time.Date(2026, 11, 21, 22, 3, 20, 0, time.UTC)
	status := map[rune]probe.Status{'u': probe.Up, 'd': probe.Degraded, 'f': probe.Down, '?': probe.Unknown}
	var list []checks.Entry
	for k, c := range letters {
		slot := at.Add(time.Duration(k) * every)
		wobble := time.Duration(k*k*37%23) * latency / 60
		switch c {
		case ' ':
		case '-':
			list = append(list, checks.Entry{Gap: &checks.Gap{From: slot, To: slot, Slots: 1}})
		default:
			r := &checks.Result{Slot: slot, Status: status[c]}
			if c == 'u' || c == 'd' {
				r.Latency = latency + wobble
			}
			if c == 'd' {
				r.Latency *= 3
			}
			list = append(list, checks.Entry{Result: r})
		}
	}
	return list
}

func TestPNG(t *testing.T) {
	slow := story(strings.Repeat("u", 40), time.Minute, 300*time.Millisecond)
	for k := range slow[25:] {
		slow[25+k].Result.Latency *= time.Duration(2 + k)
	}
	for _, c := range []struct {
		name   string
		window Window
	}{
		{"outage", Window{"ws · ws-404", "not_found 12 of 30 attempts (40%) in 30m, limit 1% — live", story("uuuuuuuuuuuuuuuuuuufffffffffff", time.Minute, 24*time.Millisecond), 0}},
		{"flapping", Window{"checkout · any-failure", "any 13 of 45 attempts (28.9%) in 15m, alerts from 10% — api", story("uuuufuuffuuuduuufufuufuuudduffuuuufufuuufuuuf", 20*time.Second, 180*time.Millisecond), 0}},
		{"latency", Window{"checkout · too-slow", "p95 latency 5.1 s of 40 results in 40m, limit 2 s — api", slow, 2 * time.Second}},
		{"gaps", Window{"ws · ws-404", "unknown 20 of 60 results (33%) in 1h, limit 10% — live", story("uuuuuu-----uuuuuu        uuuu????uuu??uu----uuuff", time.Minute, 80*time.Millisecond), 0}},
		{"one", Window{"ws · ws-404", "not_found 1 of 1 attempt (100%) in 5m, limit 0% — live", story("f", time.Minute, 0), 0}},
		{"one-good", Window{"ws · ws-404", "latency 90 ms — live", story("u", time.Minute, 90*time.Millisecond), 80 * time.Millisecond}},
		{"sixty", Window{"ws · ws-404", "not_found 3 of 60 attempts (5%) in 1h, limit 1% — live", story(strings.Repeat("uuuuuuuuuuuuuduuuuuf", 3), time.Minute, 1200*time.Microsecond), 0}},
		{"all-down", Window{"ws · down", "down: 1 of 1 check, up to 60 slots in a row — live", story(strings.Repeat("f", 60), 5*time.Second, 0), 0}},
		{"fast-limit", Window{"ws · slow", "mean latency 2 ms of 60 results in 1h, limit 2 s — live", story(strings.Repeat("u", 60), time.Hour, 2*time.Millisecond), 2 * time.Second}},
		{"names", Window{strings.Repeat("very long group name ", 9), "结帐 🔥 \x00\xff\n" + strings.Repeat("a long sentence ", 30), story("uuf", 24*time.Hour, time.Hour), time.Hour}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := PNG(c.window)
			if err != nil {
				t.Fatal(err)
			}
			if *keep != "" {
				if err := os.WriteFile(filepath.Join(*keep, c.name+".png"), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			img, err := png.Decode(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if s := img.Bounds().Size(); s.X != Width || s.Y != Height || len(b) > 64<<10 {
				t.Errorf("%v in %d bytes", s, len(b))
			}
		})
	}
}
