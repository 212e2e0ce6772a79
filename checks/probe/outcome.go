package probe

import "time"

// Outcome is what one attempt on one target came to. It is not stored: Run
// makes a Result of it.
type Outcome struct {
	Class  Class
	Stage  Stage
	Reason string // one line for people, with what was seen and what was wanted; without secrets

	// Latency is measured from the first step to the last byte read (HTTP
	// kinds) or to the accepted 101 (WebSocket). Zero unless Class is good.
	Latency  time.Duration
	Phases   Phases
	Measures map[string]float64 // numbers by metric name, such as connections_active, certificate_days_left
	Facts    map[string]string  // short texts by name, such as version, environment

	// Tally counts attempts by class when one run makes several (sessions).
	// Nil means one attempt of Class.
	Tally map[Class]int

	// RetryAfter is what the target asked for in a 429 or 503; zero if nothing.
	RetryAfter time.Duration

	// Evidence builds the record of what was seen; nil when there is nothing
	// to show. It is a function since most successful probes are never looked
	// at. It must be called at most once and not after the next probe.
	Evidence func() *Evidence

	// Inquiry finds out why the attempt failed; nil when there is nothing to
	// find out.
	Inquiry Inquiry
}

// Phases are how long each step of an attempt took. A step that was not
// reached is zero and left out, never written as 0.
type Phases struct {
	DNS       time.Duration `json:"dns,omitempty"`
	Connect   time.Duration `json:"connect,omitempty"`
	TLS       time.Duration `json:"tls,omitempty"`
	FirstByte time.Duration `json:"first_byte,omitempty"` // request written to first byte of the answer
	Body      time.Duration `json:"body,omitempty"`       // first byte to last byte (HTTP kinds)
	Upgrade   time.Duration `json:"upgrade,omitempty"`    // request written to accepted 101
	Message   time.Duration `json:"message,omitempty"`    // send to the last expected message
	Ping      time.Duration `json:"ping,omitempty"`       // ping to its pong
	Close     time.Duration `json:"close,omitempty"`      // our close frame to the answer
}

// Evidence is what was seen on the wire, bounded and free of secrets. It is
// stored apart from results, at most MaxEvidence bytes as JSON.
type Evidence struct {
	V         int               `json:"v"`
	Check     string            `json:"check,omitempty"`
	Location  string            `json:"location,omitempty"`
	Slot      time.Time         `json:"slot,omitzero"`
	Class     Class             `json:"class"`
	Stage     Stage             `json:"stage"`
	Reason    string            `json:"reason,omitempty"`
	URL       string            `json:"url"`
	Addresses []Address         `json:"addresses,omitempty"`
	TLS       *TLSFacts         `json:"tls,omitempty"`
	Request   string            `json:"request,omitempty"` // request head as sent, secrets redacted
	Head      string            `json:"head,omitempty"`    // response head as received
	Body      string            `json:"body,omitempty"`    // beginning of the response body
	End       string            `json:"end,omitempty"`     // how the connection ended, when it matters
	Frames    []Frame           `json:"frames,omitempty"`
	Phases    Phases            `json:"phases,omitzero"`
	Facts     map[string]string `json:"facts,omitempty"`
	Curl      string            `json:"curl,omitempty"`   // a command that repeats the request by hand, secrets left out
	Causes    []Cause           `json:"causes,omitempty"` // the likeliest first; at most 8
	Asked     []Question        `json:"asked,omitempty"`  // further requests that were made to find the causes; at most 16
}

// MaxEvidence is the most bytes that one Evidence may take as JSON.
const MaxEvidence = 16 << 10

// EvidenceVersion is the version of the stored form of Evidence.
const EvidenceVersion = 1

// Address is one address that was tried.
type Address struct {
	IP      string        `json:"ip"`
	Err     string        `json:"err,omitempty"` // empty: it connected
	Connect time.Duration `json:"connect,omitempty"`
}

// TLSFacts is what the TLS handshake showed.
type TLSFacts struct {
	Version   string    `json:"version,omitempty"`
	Cipher    string    `json:"cipher,omitempty"`
	ALPN      string    `json:"alpn,omitempty"`
	Subject   string    `json:"subject,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	Names     []string  `json:"names,omitempty"` // at most 10
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	Err       string    `json:"err,omitempty"`
}

// Frame is one WebSocket frame received, with its header bytes.
type Frame struct {
	At     time.Duration `json:"at"` // since the request was written
	Op     byte          `json:"op"` // RFC 6455 §5.2
	Fin    bool          `json:"fin"`
	Len    uint64        `json:"len"`
	Header string        `json:"header"`         // hex
	Text   string        `json:"text,omitempty"` // beginning of the payload
	Code   int           `json:"code,omitempty"` // of a close frame
	Err    string        `json:"err,omitempty"`  // what RFC 6455 forbids about it
}

// Noted returns o with a remark at the end of its reason, in its evidence too.
func (o Outcome) Noted(remark string) Outcome {
	var plain *Redactor // the reason has no secrets, and the remark has none
	o.Reason = plain.Line(clip(o.Reason, MaxReason-len(remark)-2) + "; " + remark)
	return o.told()
}

// Of returns o as what came to a part of something larger, which its reason and
// its evidence name.
func (o Outcome) Of(what string) Outcome {
	var plain *Redactor
	o.Reason = plain.Line(what + ": " + o.Reason)
	return o.told()
}

// told makes the evidence say what o says.
func (o Outcome) told() Outcome {
	if build := o.Evidence; build != nil {
		class, stage, reason := o.Class, o.Stage, o.Reason
		o.Evidence = func() *Evidence {
			e := build()
			e.Class, e.Stage, e.Reason = class, stage, reason
			return e.Bound()
		}
	}
	return o
}

// WithFact returns o with one more fact in its evidence.
func (o Outcome) WithFact(name, value string) Outcome {
	if build := o.Evidence; build != nil {
		o.Evidence = func() *Evidence {
			e := build()
			if e.Facts == nil {
				e.Facts = map[string]string{}
			}
			e.Facts[name] = value
			return e.Bound()
		}
	}
	return o
}

// Plus returns the sums of the phases of two attempts that followed each other.
func (p Phases) Plus(q Phases) Phases {
	return Phases{
		DNS: p.DNS + q.DNS, Connect: p.Connect + q.Connect, TLS: p.TLS + q.TLS, FirstByte: p.FirstByte + q.FirstByte,
		Body: p.Body + q.Body, Upgrade: p.Upgrade + q.Upgrade, Message: p.Message + q.Message, Ping: p.Ping + q.Ping, Close: p.Close + q.Close,
	}
}
