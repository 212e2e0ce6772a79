// Package picture draws the results behind an incident as a PNG. It is pure:
// data in, bytes out. It uses the drawing parts of gonum's plot and not its
// plots: importing those parses twelve fonts when the program starts and makes
// it 6 MB larger.
package picture

import (
	"bytes"
	"fmt"
	"time"

	"gonum.org/v1/plot/vg/vgimg"

	"github.com/tripline/tripline/checks"
)

// Width and Height are the size of every picture, in pixels.
const (
	Width  = 800
	Height = 300
)

// Window is what a picture shows: a bar for each result, as high as its latency
// where it has one, above a strip of how the results were. What is neither up
// nor degraded has a band over the whole height instead of a bar. Time without
// results is left blank.
type Window struct {
	Title string // large, such as "checkout · too-slow"
	Text  string // below it, such as "p95 latency 2.4 s of 20 results in 20m, limit 2 s"

	// Entries are the results and gaps of one check, in any order; of results
	// the slot, the status and the latency count, of gaps the first slot and
	// the number. At most the newest 120 are shown, and no more time than 120
	// slots take.
	Entries []checks.Entry
	// Limit is the latency at which a line is drawn; 0 for none.
	Limit time.Duration
}

// PNG draws w. It is an error if there is no result to show.
func PNG(w Window) ([]byte, error) {
	s := newScene(w.Entries, w.Limit)
	if len(s.points) == 0 {
		return nil, fmt.Errorf("draw %q: there are no results, want at least one", w.Title)
	}
	p, err := newPen()
	if err != nil {
		return nil, err
	}
	p.words(w.Title, w.Text, s.counts)
	p.grid(s)
	p.points(s)
	p.limit(s)
	var b bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: p.image}).WriteTo(&b); err != nil {
		return nil, fmt.Errorf("draw %q: %w", w.Title, err)
	}
	return b.Bytes(), nil
}
