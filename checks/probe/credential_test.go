package probe

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tokens is a login that numbers its tokens.
type tokens struct {
	n     int
	life  time.Duration // 0: nobody says
	slow  time.Duration
	fails bool
}

func (s *tokens) fetch(ctx context.Context) (Token, *Failure) {
	select {
	case <-time.After(s.slow):
	case <-ctx.Done():
		return Token{}, &Failure{Class: HandshakeTimeout, Reason: "POST http://login: no answer"}
	}
	s.n++
	if s.fails {
		return Token{}, &Failure{Class: ServerError, Reason: "POST http://login: status 500"}
	}
	t := Token{Value: fmt.Sprintf("token-%d", s.n)}
	if s.life != 0 {
		t.Expires = time.Now().Add(s.life)
	}
	return t, nil
}

// pass lets time go by in a bubble, and ends when nothing is left to be done.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func use(t *testing.T, c *Credential) (used []string, f *Failure) {
	t.Helper()
	f = c.Use(t.Context(), func(tok Token) bool { used = append(used, tok.Value); return false })
	return used, f
}

// TestCredentialLife: a token is kept until shortly before its end, and an early
// renewal that fails does no harm.
func TestCredentialLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tokens{life: time.Hour}
		c := NewCredential(NewRedactor(), CredentialOptions{Name: "app", From: "POST http://login", Fetch: s.fetch})
		for _, step := range []struct {
			after time.Duration
			fails bool
			want  string
		}{
			{0, false, "token-1"},
			{58 * time.Minute, false, "token-1"},
			{90 * time.Second, true, "token-1"},  // 30 s before the end: renewed early, in vain
			{11 * time.Second, false, "token-1"}, // renewed for the next one
			{0, false, "token-3"},
			{59*time.Minute - time.Second, false, "token-3"},
			{2 * time.Minute, true, ""},  // its end has passed
			{5 * time.Second, false, ""}, // not tried again so soon
			{6 * time.Second, false, "token-5"},
		} {
			pass(step.after)
			s.fails = step.fails
			used, f := use(t, c)
			if got := strings.Join(used, " "); got != step.want || (f != nil) != (step.want == "") {
				t.Fatalf("after %s: used %q, failure %v; want %q", step.after, got, f, step.want)
			}
			if f != nil && (f.Class != AuthSetup || f.Stage != StageMonitor || f.Reason != `no credential "app": POST http://login: status 500`) {
				t.Errorf("%+v", f)
			}
		}
		s.life = 0 // nobody says when it ends
		pass(2 * time.Hour)
		for _, want := range []string{"token-6", "token-6", "token-6", "token-7"} {
			if used, _ := use(t, c); strings.Join(used, "") != want {
				t.Errorf("used %q, want %q", used, want)
			}
			pass(unknownLife/2 - time.Second)
		}
	})
}

// TestCredentialSlow: a login that takes longer than one check has serves the
// next one.
func TestCredentialSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tokens{slow: 5 * time.Second, life: time.Hour}
		c := NewCredential(NewRedactor(), CredentialOptions{Name: "app", From: "POST http://login", Fetch: s.fetch})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f := c.Use(ctx, func(Token) bool { t.Error("there is no token yet"); return false })
		if f == nil || f.Class != AuthSetup || f.Reason != `no credential "app": POST http://login was not answered in time` {
			t.Errorf("%+v", f)
		}
		pass(5 * time.Second)
		if used, _ := use(t, c); strings.Join(used, "") != "token-1" || s.n != 1 {
			t.Errorf("used %q after %d logins", used, s.n)
		}
		s.slow = time.Hour // never
		pass(2 * time.Hour)
		begin := time.Now()
		if _, f := use(t, c); f == nil || !strings.Contains(f.Reason, "no answer") || time.Since(begin) != fetchTime {
			t.Errorf("%+v after %s", f, time.Since(begin))
		}
		stopped, stop := context.WithCancel(t.Context())
		stop()
		pass(time.Minute)
		if f := c.Use(stopped, func(Token) bool { return false }); f == nil || f.Class != Interrupted {
			t.Errorf("%+v", f)
		}
		pass(time.Minute)
	})
}

// TestCredentialRenewal: a login that is slow takes no time from checks for which
// the present token is good.
func TestCredentialRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tokens{life: time.Hour}
		c := NewCredential(NewRedactor(), CredentialOptions{Name: "app", From: "POST http://login", Fetch: s.fetch})
		use(t, c)
		s.slow = 5 * time.Second
		pass(59*time.Minute + 30*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		begin, used := time.Now(), ""
		if f := c.Use(ctx, func(tok Token) bool { used = tok.Value; return false }); f != nil || used != "token-1" || time.Since(begin) != 0 {
			t.Errorf("used %q after %s, failure %+v; want token-1 at once", used, time.Since(begin), f)
		}
		pass(6 * time.Second)
		if used, f := use(t, c); strings.Join(used, "") != "token-2" || s.n != 2 {
			t.Errorf("used %q after %d logins, failure %+v; want token-2 after 2", used, s.n, f)
		}
	})
}

// TestCredentialTakesTheTime: what a login took of a check's time is not blamed on
// the target.
func TestCredentialTakesTheTime(t *testing.T) {
	for _, tt := range []struct {
		slow   time.Duration // of 10 s
		reason string        // "": there is time enough
	}{
		{4 * time.Second, ""},
		{9 * time.Second, `credential "app": POST http://login took 9s, which leaves 1s for the target`},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &tokens{slow: tt.slow, life: time.Hour}
			c := NewCredential(NewRedactor(), CredentialOptions{Name: "app", From: "POST http://login", Fetch: s.fetch})
			for i, want := range []string{tt.reason, ""} { // the next check has the token
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				tries := 0
				f := c.Use(ctx, func(Token) bool { tries++; return false })
				if want == "" && (f != nil || tries != 1) || want != "" && (f == nil || f.Class != AuthSetup || f.Reason != want || tries != 0) {
					t.Errorf("a login of %s, check %d: %d tries, %+v; want %q", tt.slow, i, tries, f, want)
				}
			}
			if tt.reason == "" {
				return
			}
			pass(time.Minute) // a refused token: the verdict on the first try stands
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			tries := 0
			if f := c.Use(ctx, func(Token) bool { tries++; return true }); f != nil || tries != 1 {
				t.Errorf("refused: %d tries, %+v; want one", tries, f)
			}
		})
	}
}

// TestCredentialRetryAfter: a login is asked again within minutes, however long
// it wants to be left alone: all checks that need it are blind until then.
func TestCredentialRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := NewCredential(NewRedactor(), CredentialOptions{Name: "app", Fetch: func(context.Context) (Token, *Failure) {
			if asked++; asked == 1 {
				return Token{}, &Failure{Class: RateLimited, Reason: "status 429", RetryAfter: 24 * time.Hour}
			}
			return Token{Value: "token-2"}, nil
		}})
		for _, step := range []struct {
			after time.Duration
			want  string
		}{{0, ""}, {2 * time.Minute, ""}, {3 * time.Minute, "token-2"}} {
			pass(step.after)
			if used, _ := use(t, c); strings.Join(used, "") != step.want {
				t.Errorf("%s later: used %q, want %q", step.after, used, step.want)
			}
		}
	})
}

// TestCredentialRefused: one new token, and after that has been refused none for
// a while.
func TestCredentialRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tokens{life: time.Hour}
		c := NewCredential(NewRedactor(), CredentialOptions{Name: "app", Fetch: s.fetch})
		for _, step := range []struct{ bad, want string }{
			{"token-1", "token-1"}, // obtained just now: a new one is no better
			{"token-1", "token-1 token-2"},
			{"", "token-2"},
			{"token-2 token-3", "token-2 token-3"},
			{"token-3", "token-3"}, // in vain just now
			{"wait", ""},
			{"token-3", "token-3 token-4"},
		} {
			if pass(time.Second); step.bad == "wait" {
				pass(futileTime)
				continue
			}
			var used []string
			c.Use(t.Context(), func(tok Token) bool {
				used = append(used, tok.Value)
				return strings.Contains(step.bad, tok.Value)
			})
			if got := strings.Join(used, " "); got != step.want {
				t.Errorf("used %q, want %q", got, step.want)
			}
		}
	})
}

// TestCredentialPanics: a bug in a login ends no process.
func TestCredentialPanics(t *testing.T) {
	c := NewCredential(NewRedactor(), CredentialOptions{Name: "app", Fetch: func(context.Context) (Token, *Failure) { panic("bug") }})
	if _, f := use(t, c); f == nil || f.Class != Panic || !strings.Contains(f.Reason, "bug") {
		t.Errorf("%+v", f)
	}
}

// TestRotation: the newest secrets are known, older ones are forgotten unless
// somebody else knows them.
func TestRotation(t *testing.T) {
	r := NewRedactor("forever-known")
	a, b := r.Rotation(2), r.Rotation(2)
	a.Add("secret-one", "secret-two", "forever-known", "abc", "")
	b.Add("secret-two")
	a.Add("secret-three", "secret-four")
	for text, want := range map[string]string{
		"x secret-one": "x secret-one", "x secret-two": "x ***", "x secret-three": "x ***", "x secret-four": "x ***", "x forever-known": "x ***",
		"abc": "abc", "secret%2Dfour c2VjcmV0LWZvdXI=": "*** ***I=",
	} {
		if got := r.String(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	for i := range 1000 {
		a.Add(fmt.Sprintf("passing-secret-%d", i))
	}
	if n := len(r.all); n > 60 {
		t.Errorf("%d values are known, want those of a few secrets", n)
	}
}
