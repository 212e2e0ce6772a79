package checks

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/tripline/tripline/checks/probe"
)

// Auth is a credential that checks share: they name it. It sets exactly one of
// bearer, login, oauth2 and google_id_token. The last three obtain a token when
// it is first needed, keep it until shortly before it expires, and get a new one,
// once, when a target refuses it (401, 403, or a close frame that means
// credentials). The time that takes is in no latency. Without a token the result
// of a check is unknown, with class auth_setup.
type Auth struct {
	// Bearer is a token that is always the same.
	Bearer string `yaml:"bearer,omitempty" json:"bearer,omitempty"`
	// Login is a request to the service's own login.
	Login *AuthLogin `yaml:"login,omitempty" json:"login,omitempty"`
	// OAuth2 asks for a token with client credentials (RFC 6749 §4.4).
	OAuth2 *AuthOAuth2 `yaml:"oauth2,omitempty" json:"oauth2,omitempty"`
	// GoogleIDToken is an identity token of Google, as private Cloud Run
	// services want it.
	GoogleIDToken *AuthGoogle `yaml:"google_id_token,omitempty" json:"google_id_token,omitempty"`
	// In is where requests carry the token: header (the default) or query.
	In string `yaml:"in,omitempty" json:"in,omitempty"`
	// Name is the name of the header or of the query parameter. The default is
	// Authorization, which holds "Bearer " and the token, and in the query token.
	// Any other header holds the token alone.
	Name string `yaml:"name,omitempty" json:"name,omitempty"`
}

// Credential compiles a under its name. It is nil if there are problems.
func (a *Auth) Credential(name string, env probe.Env) (*probe.Credential, []probe.Problem) {
	o := probe.CredentialOptions{Name: name, Value: a.Bearer}
	var bad []probe.Problem
	problem := func(path, format string, args ...any) {
		bad = append(bad, probe.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	switch a.In {
	case "", "header":
		o.Header = a.Name
		if a.Name != "" && !httpguts.ValidHeaderFieldName(a.Name) {
			problem("name", "%q is no name of a header field (RFC 9110 §5.1)", a.Name)
		}
	case "query":
		if o.Query = a.Name; o.Query == "" {
			o.Query = "token"
		}
	default:
		problem("in", "%q is no choice, want header or query", a.In)
	}
	n := 0
	for _, set := range []bool{a.Bearer != "", a.Login != nil, a.OAuth2 != nil, a.GoogleIDToken != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		problem("", "%d of bearer, login, oauth2 and google_id_token are set, want exactly one", n)
		return nil, bad
	}
	if !httpguts.ValidHeaderFieldValue(a.Bearer) {
		problem("bearer", "the token holds control characters")
	}
	env.Headers, env.Auth = nil, nil // they are for the checks' targets
	var source *tokenSource
	var more []probe.Problem
	path := ""
	switch {
	case a.Login != nil:
		path = "login"
		source, more = a.Login.source(env)
	case a.OAuth2 != nil:
		path = "oauth2"
		source, more = a.OAuth2.source(env)
	case a.GoogleIDToken != nil:
		path = "google_id_token"
		source, more = a.GoogleIDToken.source(env)
	}
	for _, p := range more {
		bad = append(bad, probe.Problem{Path: path + "." + p.Path, Text: p.Text})
	}
	if len(bad) > 0 {
		return nil, bad
	}
	if source != nil {
		o.From, o.Fetch = source.http.what, source.fetch
	}
	return probe.NewCredential(env.Net.Redactor(), o), nil
}

// tokenSource obtains tokens by one HTTP request.
type tokenSource struct {
	http *httpCheck
	// body makes the request body of one attempt; nil: it is always the same.
	body func() (string, error)
	// read finds the token in an answer whose status is accepted. reason says why
	// there is none; it holds nothing of the answer that may be a token.
	read func(ctx context.Context, a *answer) (t probe.Token, reason string)
	// why adds to the reason of an answer whose status is not accepted; nil: nothing.
	why func(a *answer) string
}

// fetch obtains a token.
func (s *tokenSource) fetch(ctx context.Context) (t probe.Token, _ *probe.Failure) {
	c := s.http
	if s.body != nil {
		body, err := s.body()
		if err != nil {
			return t, &probe.Failure{Reason: c.what + ": " + err.Error(), Err: err}
		}
		c = c.sending(c.request.Target, c.request.Method, c.request.Fields, body)
	}
	more := ""
	o := c.once(ctx, func(ctx context.Context, a *answer, _ *probe.Outcome) (reason string) {
		if !c.status.has(a.StatusCode) {
			if s.why != nil {
				more = s.why(a)
			}
			return ""
		}
		t, reason = s.read(ctx, a)
		return reason
	})
	if o.Class.Status() == probe.Up || o.Class.Status() == probe.Degraded {
		if !httpguts.ValidHeaderFieldValue(t.Value) {
			return t, &probe.Failure{Reason: c.what + ": the token that it gave holds control characters"}
		}
		return t, nil
	}
	f := &probe.Failure{Reason: o.Reason + more, RetryAfter: o.RetryAfter}
	if o.Evidence != nil {
		f.Instead = o.Evidence()
		f.Instead.Body = "" // it may hold a token
	}
	return t, f
}

// tokenRequest compiles a POST for a token.
func tokenRequest(env probe.Env, url string, headers map[string]string, body string, conn probe.Connection) (*httpCheck, []probe.Problem) {
	c, bad := compileHTTP(env, httpSettings{url: url, method: http.MethodPost, headers: headers, body: body, conn: conn})
	if c != nil {
		c.keepBody = true
	}
	return c, bad
}

// keysOf tells what a JSON answer holds, without its values.
func keysOf(doc any) string {
	const most = 8
	object, ok := doc.(map[string]any)
	if !ok || len(object) == 0 {
		return "it is no object with keys"
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if len(name) > 30 {
			name = name[:30] + "..."
		}
		names = append(names, strconv.Quote(name))
	}
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return "it has " + strings.Join(names, ", ")
}
