package probe

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Token is a secret that stands for who asks, and until when it is good.
type Token struct {
	Value   string
	Expires time.Time // zero: nobody said; it is renewed after unknownLife
}

// Credential is a token that requests carry, and where they carry it. Checks
// that name the same one share it: it is obtained when it is first needed, by
// one of them at a time, kept until shortly before it expires, and renewed when
// a target refuses it. A nil Credential is none.
type Credential struct {
	name   string
	from   string // what is asked for it
	header string // name of the field; "" if it is a query parameter
	prefix string // of the field's value, such as "Bearer "
	query  string // name of the parameter
	known  *Rotation
	fetch  func(ctx context.Context) (Token, *Failure) // nil: it is always the same

	mu      sync.Mutex
	token   Token
	got     time.Time // when token was obtained; zero: there is none
	flight  *flight   // under way; nil: none is
	failed  *Failure  // of the last attempt to obtain it; nil: it went well
	retryAt time.Time // not tried again before, after a failure
	futile  time.Time // not renewed again before: a new token was refused too
}

// flight is one attempt to obtain a token, which all who need it wait for.
type flight struct {
	done chan struct{}
	f    *Failure // once it is done
}

const (
	fetchTime   = 10 * time.Second // to obtain a token
	unknownLife = 15 * time.Minute // of a token of which nobody says when it expires
	mostEarly   = time.Minute      // before its end that a token is renewed
	// retryPause is how long nobody tries after a failure, and how long a refused
	// token is not renewed again: many checks share what must not be hammered.
	retryPause = 10 * time.Second
	futileTime = 30 * time.Second
	// longestPause is the most that a login may ask for: until then all checks
	// that need it are unknown.
	longestPause = 5 * time.Minute
)

// CredentialOptions say what a Credential is.
type CredentialOptions struct {
	Name   string // as people know it
	From   string // what is asked for it, such as "POST https://x/login"; without secrets
	Query  string // the query parameter that holds the token; "": it is a header field
	Header string // default Authorization, which holds "Bearer " and the token; others hold the token alone
	Value  string // the token, if it is always the same
	// Fetch obtains a token. Its Failure says in Reason what was tried.
	Fetch func(ctx context.Context) (Token, *Failure)
}

// NewCredential returns a Credential whose tokens r removes from what is shown.
func NewCredential(r *Redactor, o CredentialOptions) *Credential {
	c := &Credential{name: o.Name, from: o.From, header: o.Header, query: o.Query, fetch: o.Fetch, known: r.Rotation(8)}
	if c.query != "" {
		c.header = ""
	} else if c.header == "" || strings.EqualFold(c.header, "Authorization") {
		c.header, c.prefix = "Authorization", "Bearer "
	}
	if o.Fetch == nil {
		r.Add(o.Value)
		c.token.Value = o.Value
	}
	return c
}

// Name is the name of the header field or query parameter that holds the token.
func (c *Credential) Name() string {
	if c.query != "" {
		return c.query
	}
	return c.header
}

// Holds tells whether the token is in the header field of that name.
func (c *Credential) Holds(field string) bool {
	return c != nil && c.query == "" && strings.EqualFold(c.header, field)
}

// Use calls try with a token. If the target refuses that, and it was not
// obtained just now, try is called once more, with a new one. A Failure means
// that there is no token to be had: its class is AuthSetup, and try was not
// called. A nil Credential calls try once, without a token.
func (c *Credential) Use(ctx context.Context, try func(t Token) (refused bool)) *Failure {
	if c == nil {
		try(Token{})
		return nil
	}
	begin := time.Now()
	t, got, f := c.get(ctx)
	if f != nil {
		return f
	}
	if !try(t) || c.fetch == nil || !got.Before(begin) {
		return nil
	}
	if next, ok := c.renew(ctx, t); ok && try(next) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.futile = time.Now().Add(futileTime)
	}
	return nil
}

// get returns a token that is good, and when it was obtained. One that is to be
// renewed early serves meanwhile: no check waits for that.
func (c *Credential) get(ctx context.Context) (Token, time.Time, *Failure) {
	if c.fetch == nil {
		return c.token, time.Time{}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	good := !c.got.IsZero() && now.Before(c.expires())
	paused := c.failed != nil && now.Before(c.retryAt)
	switch {
	case good:
		if !paused && !now.Before(c.renewAt()) {
			c.start(ctx)
		}
		return c.token, c.got, nil
	case paused:
		return Token{}, time.Time{}, c.failed
	}
	fl := c.start(ctx)
	c.mu.Unlock()
	f := c.wait(ctx, fl)
	c.mu.Lock()
	return c.token, c.got, f
}

func (c *Credential) expires() time.Time {
	if c.token.Expires.IsZero() {
		return c.got.Add(unknownLife)
	}
	return c.token.Expires
}

// renewAt is when the token is renewed: a tenth of its life before its end, at
// most a minute.
func (c *Credential) renewAt() time.Time {
	end := c.expires()
	return end.Add(-min(end.Sub(c.got)/10, mostEarly))
}

// renew returns a token other than used, which was refused; false if there is none.
func (c *Credential) renew(ctx context.Context, used Token) (Token, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token.Value != used.Value {
		return c.token, true // somebody was faster
	}
	if now := time.Now(); now.Before(c.futile) || c.failed != nil && now.Before(c.retryAt) {
		return Token{}, false
	}
	fl := c.start(ctx)
	c.mu.Unlock()
	f := c.wait(ctx, fl)
	c.mu.Lock()
	if f == nil && c.token.Value == used.Value {
		c.futile = time.Now().Add(futileTime)
	}
	return c.token, f == nil && c.token.Value != used.Value
}

// start returns the attempt that is under way, and begins one if none is. It
// outlives the check that began it, since others wait for it too. c is locked.
func (c *Credential) start(ctx context.Context) *flight {
	if c.flight != nil {
		return c.flight
	}
	fl := &flight{done: make(chan struct{})}
	c.flight = fl
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTime)
	go func() {
		defer cancel()
		t, f := c.safely(ctx)
		c.known.Add(t.Value)
		c.mu.Lock()
		defer c.mu.Unlock()
		now := time.Now()
		if c.failed, c.flight = f, nil; f != nil {
			c.retryAt = now.Add(min(max(retryPause, f.RetryAfter), longestPause))
		} else {
			c.token, c.got = t, now
		}
		fl.f = f
		close(fl.done)
	}()
	return fl
}

// safely calls fetch: a panic in it must not take the monitor with it.
func (c *Credential) safely(ctx context.Context) (t Token, f *Failure) {
	defer func() {
		if p := recover(); p != nil {
			f = &Failure{Class: Panic, Stage: StageMonitor, Reason: fmt.Sprintf("credential %q: panic: %v", c.name, p)}
		}
	}()
	t, f = c.fetch(ctx)
	if f != nil {
		f = &Failure{Class: AuthSetup, Stage: StageMonitor, Reason: fmt.Sprintf("no credential %q: %s", c.name, f.Reason), Err: f.Err, Instead: f.Instead, RetryAfter: f.RetryAfter}
	}
	return t, f
}

// wait waits for an attempt to end, or for ctx. A wait that leaves less time than
// it took is a Failure too: what then does not end in time says nothing about the
// target. The token serves the next check.
func (c *Credential) wait(ctx context.Context, fl *flight) *Failure {
	begin := time.Now()
	select {
	case <-fl.done:
		now := time.Now()
		if end, limited := ctx.Deadline(); limited && fl.f == nil && end.Sub(now) < now.Sub(begin) {
			return &Failure{Class: AuthSetup, Stage: StageMonitor, Reason: fmt.Sprintf(
				"credential %q: %s took %s, which leaves %s for the target", c.name, c.from, short(now.Sub(begin)), short(max(0, end.Sub(now))))}
		}
		return fl.f
	case <-ctx.Done():
	}
	err := ctx.Err()
	if errors.Is(err, context.Canceled) {
		return &Failure{Class: Interrupted, Stage: StageMonitor, Reason: fmt.Sprintf("stopped while waiting for credential %q", c.name), Err: err}
	}
	return &Failure{Class: AuthSetup, Stage: StageMonitor, Reason: fmt.Sprintf("no credential %q: %s was not answered in time", c.name, c.from), Err: err}
}

// Put puts a token into a request: into fields (which it may change), or into u
// (of which it returns another).
func (c *Credential) Put(t Token, u *url.URL, fields []Field) (*url.URL, []Field) {
	switch {
	case c == nil:
		return u, fields
	case c.query == "":
		return u, setField(fields, Field{c.header, c.prefix + t.Value})
	}
	next := *u
	param := url.QueryEscape(c.query) + "=" + url.QueryEscape(t.Value)
	if next.RawQuery != "" {
		param = next.RawQuery + "&" + param
	}
	next.RawQuery = param
	return &next, fields
}
