package probe

import "context"

// Inquiry finds out why an attempt failed. It may send further requests, until
// ctx ends; thrifty means that nobody asked for them, so that they must stay
// few. What it returns concludes from the answers, and from later attempts at
// the same, and asks nothing more.
type Inquiry func(ctx context.Context, thrifty bool) (conclude func(later []Outcome) Diagnosis)

// Diagnosis is what an Inquiry came to.
type Diagnosis struct {
	Causes []Cause    // the likeliest first
	Asked  []Question // the further requests and their answers
}

// Question is a further request that was made to find a cause.
type Question struct {
	What   string `json:"what"`             // such as: the same path without upgrade
	Answer string `json:"answer,omitempty"` // a status, or the class of what came instead
	Same   bool   `json:"same,omitempty"`   // the answer is that of the attempt that failed
}

// Cause is one explanation of a failure, in words for people and without
// secrets.
type Cause struct {
	Name      string    `json:"name"` // such as route_missing; it stays as it is
	Certainty Certainty `json:"certainty"`
	Text      string    `json:"text"`               // what is wrong, in one sentence
	Evidence  []string  `json:"evidence,omitempty"` // what was seen that speaks for it
	Next      string    `json:"next,omitempty"`     // what would prove it or rule it out
	Fix       string    `json:"fix,omitempty"`      // what to do if it is so
}

// Certainty is how much speaks for a Cause.
type Certainty string

// The certainties. Several causes of one failure that are Possible cannot be
// told apart with what was seen.
const (
	Proven   Certainty = "proven" // nothing else explains what was seen
	Likely   Certainty = "likely"
	Possible Certainty = "possible"
	Unlikely Certainty = "unlikely"
)

// The most of a Diagnosis that Evidence holds.
const (
	maxCauses = 8
	maxAsked  = 16
)

// size is about how many bytes c takes.
func (c *Cause) size() int {
	n := len(c.Name) + len(c.Text) + len(c.Next) + len(c.Fix)
	for _, e := range c.Evidence {
		n += len(e)
	}
	return n
}

// With puts d into e and returns e.
func (e *Evidence) With(d Diagnosis) *Evidence {
	e.Causes, e.Asked = d.Causes, d.Asked
	return e.Bound()
}
