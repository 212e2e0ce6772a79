package checks

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// AuthLogin is a request to the service's own login.
type AuthLogin struct {
	// URL is where to log in: http:// or https://, or a path behind the base URL.
	URL string `yaml:"url" json:"url"`
	// Method is the HTTP method; default POST.
	Method string `yaml:"method,omitempty" json:"method,omitempty"`
	// Headers are request header fields. Those of defaults are not sent.
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"`
	// Body is the request body, sent as it is.
	Body string `yaml:"body,omitempty" json:"body,omitempty"`
	// JSON is a request body that is written as YAML and sent as JSON.
	JSON probe.JSON `yaml:"json,omitempty" json:"json,omitempty"`
	// Token is a jq expression on the answer that gives the token; default
	// .access_token.
	Token string `yaml:"token,omitempty" json:"token,omitempty"`
	// Expires is a jq expression on the answer that gives the end of the token:
	// seconds from now, seconds since 1970, or a time as in RFC 3339. Without it
	// the exp of a JSON Web Token is taken, else .expires_in (seconds), else the
	// token is kept for 15 minutes.
	Expires string `yaml:"expires,omitempty" json:"expires,omitempty"`
	// Status is what is accepted; default 2xx.
	Status probe.List `yaml:"status,omitempty" json:"status,omitempty"`

	probe.Connection `yaml:",inline"`
}

func (l *AuthLogin) source(env probe.Env) (*tokenSource, []probe.Problem) {
	method := l.Method
	if method == "" {
		method = http.MethodPost
	}
	c, bad := compileHTTP(env, httpSettings{
		url: l.URL, method: method, headers: l.Headers, body: l.Body, json: l.JSON, conn: l.Connection, status: l.Status,
	})
	text := l.Token
	if text == "" {
		text = ".access_token"
	}
	token, err := compileJQ(env.Net, text)
	if err != nil {
		bad = append(bad, probe.Problem{Path: "token", Text: err.Error()})
	}
	var expires *jq
	if l.Expires != "" {
		if expires, err = compileJQ(env.Net, l.Expires); err != nil {
			bad = append(bad, probe.Problem{Path: "expires", Text: err.Error()})
		}
	}
	if len(bad) > 0 {
		return nil, bad
	}
	c.keepBody = true
	return &tokenSource{http: c, read: jsonToken(token, expires)}, nil
}

// AuthOAuth2 asks for a token with client credentials (RFC 6749 §4.4).
type AuthOAuth2 struct {
	// TokenURL is the token endpoint.
	TokenURL string `yaml:"token_url" json:"token_url"`
	// ClientID names the client.
	ClientID string `yaml:"client_id" json:"client_id"`
	// ClientSecret is its password.
	ClientSecret string `yaml:"client_secret" json:"client_secret"`
	// Scopes are what to ask for.
	Scopes probe.List `yaml:"scopes,omitempty" json:"scopes,omitempty"`
	// Audience is whom the token is for, where the server wants to know.
	Audience string `yaml:"audience,omitempty" json:"audience,omitempty"`
	// SecretIn is where the server wants client_id and client_secret: header (the
	// default: HTTP basic authentication) or body.
	SecretIn string `yaml:"secret_in,omitempty" json:"secret_in,omitempty"`

	probe.Connection `yaml:",inline"`
}

func (o *AuthOAuth2) source(env probe.Env) (*tokenSource, []probe.Problem) {
	var bad []probe.Problem
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(o.Scopes) > 0 {
		form.Set("scope", strings.Join(o.Scopes, " "))
	}
	if o.Audience != "" {
		form.Set("audience", o.Audience)
	}
	if o.ClientID == "" || o.ClientSecret == "" {
		bad = append(bad, probe.Problem{Text: "client_id or client_secret is missing, want both"})
	}
	env.Net.Redactor().Add(o.ClientSecret)
	headers := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
	switch o.SecretIn {
	case "", "header": // RFC 6749 §2.3.1
		pair := url.QueryEscape(o.ClientID) + ":" + url.QueryEscape(o.ClientSecret)
		headers["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	case "body":
		form.Set("client_id", o.ClientID)
		form.Set("client_secret", o.ClientSecret)
	default:
		bad = append(bad, probe.Problem{Path: "secret_in", Text: fmt.Sprintf("%q is no choice, want header or body", o.SecretIn)})
	}
	c, more := tokenRequest(env, o.TokenURL, headers, form.Encode(), o.Connection)
	for _, p := range more {
		if p.Path == "url" {
			p.Path = "token_url"
		}
		bad = append(bad, p)
	}
	token, err := compileJQ(env.Net, ".access_token")
	if err != nil {
		bad = append(bad, probe.Problem{Text: err.Error()})
	}
	if len(bad) > 0 {
		return nil, bad
	}
	return &tokenSource{http: c, read: jsonToken(token, nil), why: oauthError}, nil
}

// oauthError is the error code of a token endpoint (RFC 6749 §5.2).
func oauthError(a *answer) string {
	var body struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(a.body, &body) != nil || body.Error == "" || len(body.Error) > 60 {
		return ""
	}
	return fmt.Sprintf("; error %q", body.Error)
}

// jsonToken reads a token, and when it expires, from a JSON answer.
func jsonToken(token, expires *jq) func(context.Context, *answer) (probe.Token, string) {
	return func(ctx context.Context, a *answer) (t probe.Token, reason string) {
		doc, err := decodeJSON(a.body)
		if err != nil {
			return t, "the answer is not JSON, want " + token.text
		}
		value, ok := token.value(ctx, doc).(string)
		if !ok || value == "" {
			return t, fmt.Sprintf("the answer has no text at %s; %s", token.text, keysOf(doc))
		}
		t.Value = value
		if expires == nil {
			t.Expires = expiry(value, doc)
			return t, ""
		}
		if t.Expires, ok = moment(expires.value(ctx, doc), time.Now()); !ok {
			return t, fmt.Sprintf("the answer has no time at %s; %s", expires.text, keysOf(doc))
		}
		return t, ""
	}
}

// expiry is when a token expires, as far as it or the answer around it says so.
func expiry(token string, doc any) time.Time {
	if t, ok := jwtExpiry(token); ok {
		return t
	}
	object, _ := doc.(map[string]any)
	t, _ := moment(object["expires_in"], time.Now())
	return t
}

// moment reads a time: seconds from now, or since 1970 where they are too many
// for that, or RFC 3339.
func moment(v any, now time.Time) (time.Time, bool) {
	if s, ok := v.(string); ok {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return t, true
		}
		v = json.Number(strings.TrimSpace(s))
	}
	const since1970 = 1e9 // seconds: 2001, or 31 years from now
	switch f, ok := number(v); {
	case !ok || f <= 0 || f > lastMoment:
		return time.Time{}, false
	case f < since1970:
		return now.Add(time.Duration(f * float64(time.Second))), true
	default:
		return time.Unix(int64(f), 0), true
	}
}

// lastMoment is the end of the year 9999, in seconds since 1970.
const lastMoment = 253402300799

// jwtExpiry reads the exp of a JSON Web Token (RFC 7519 §4.1.4) without verifying
// it; false if token is none, or says nothing.
func jwtExpiry(token string) (time.Time, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || len(parts[1]) > 64<<10 {
		return time.Time{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}, false
	}
	var claims struct {
		Exp *json.Number `json:"exp"`
	}
	if json.Unmarshal(b, &claims) != nil || claims.Exp == nil {
		return time.Time{}, false
	}
	f, ok := number(*claims.Exp)
	if !ok || f <= 0 || f > lastMoment {
		return time.Time{}, false
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)), true
}
