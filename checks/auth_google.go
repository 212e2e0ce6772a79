package checks

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// AuthGoogle is an identity token of Google for one audience: from the metadata
// server of the machine (Cloud Run, GKE, Compute Engine), or with the key of a
// service account.
type AuthGoogle struct {
	// Audience is whom the token is for: of Cloud Run the URL of the service.
	Audience string `yaml:"audience" json:"audience"`
	// CredentialsFile is the JSON key file of a service account. Without it the
	// metadata server is asked.
	CredentialsFile string `yaml:"credentials_file,omitempty" json:"credentials_file,omitempty"`
	// MetadataURL is the metadata server; default http://metadata.google.internal.
	MetadataURL string `yaml:"metadata_url,omitempty" json:"metadata_url,omitempty"`

	probe.Connection `yaml:",inline"`
}

func (g *AuthGoogle) source(env probe.Env) (*tokenSource, []probe.Problem) {
	if g.Audience == "" {
		return nil, []probe.Problem{{Path: "audience", Text: "there is no audience, want the URL of the service such as https://api-abc123.a.run.app"}}
	}
	if g.CredentialsFile == "" {
		return g.metadata(env)
	}
	if g.MetadataURL != "" {
		return nil, []probe.Problem{{Path: "metadata_url", Text: "credentials_file is set too, want one of them"}}
	}
	return g.account(env)
}

const (
	metadataServer = "http://metadata.google.internal"
	metadataPath   = "/computeMetadata/v1/instance/service-accounts/default/identity"
	metadataFlavor = "Metadata-Flavor"
)

// metadata asks the metadata server, which shows by a header field that it is one.
func (g *AuthGoogle) metadata(env probe.Env) (*tokenSource, []probe.Problem) {
	server := g.MetadataURL
	if server == "" {
		server = metadataServer
	}
	query := url.Values{"audience": {g.Audience}, "format": {"full"}}
	c, bad := compileHTTP(env, httpSettings{
		url: strings.TrimSuffix(server, "/") + metadataPath + "?" + query.Encode(), conn: g.Connection,
		headers: map[string]string{metadataFlavor: "Google"},
	})
	for i := range bad {
		if bad[i].Path == "url" {
			bad[i].Path = "metadata_url"
		}
	}
	if c == nil {
		return nil, bad
	}
	c.keepBody = true
	return &tokenSource{http: c, read: func(_ context.Context, a *answer) (t probe.Token, reason string) {
		if a.Header.Get(metadataFlavor) != "Google" {
			return t, "this is no metadata server: its answer lacks " + metadataFlavor + ": Google"
		}
		t.Value = strings.TrimSpace(string(a.body))
		var ok bool
		if t.Expires, ok = jwtExpiry(t.Value); !ok {
			return t, "the answer is no JSON Web Token with an end"
		}
		return t, ""
	}}, bad
}

// serviceAccount is a key file as Google makes it.
type serviceAccount struct {
	Type       string `json:"type"`
	Email      string `json:"client_email"`
	PrivateKey string `json:"private_key"`
	KeyID      string `json:"private_key_id"`
	TokenURI   string `json:"token_uri"`
	key        *rsa.PrivateKey
}

// account exchanges an assertion that is signed with the key (RFC 7523 §2.1) for
// an identity token.
func (g *AuthGoogle) account(env probe.Env) (*tokenSource, []probe.Problem) {
	s, err := readAccount(g.CredentialsFile)
	if err != nil {
		return nil, []probe.Problem{{Path: "credentials_file", Text: err.Error()}}
	}
	headers := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	c, bad := tokenRequest(env, s.TokenURI, headers, "", g.Connection)
	for i := range bad {
		if bad[i].Path == "url" {
			bad[i] = probe.Problem{Path: "credentials_file", Text: "token_uri: " + bad[i].Text}
		}
	}
	token, err := compileJQ(env.Net, ".id_token")
	if err != nil {
		bad = append(bad, probe.Problem{Text: err.Error()})
	}
	if len(bad) > 0 {
		return nil, bad
	}
	known := env.Net.Redactor().Rotation(8)
	return &tokenSource{http: c, read: jsonToken(token, nil), why: oauthError, body: func() (string, error) {
		assertion, err := s.assertion(g.Audience, time.Now())
		known.Add(assertion)
		return url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion},
		}.Encode(), err
	}}, nil
}

// readAccount reads a key file. Its errors hold nothing of the key.
func readAccount(name string) (*serviceAccount, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	s := &serviceAccount{TokenURI: "https://oauth2.googleapis.com/token"}
	if err := json.Unmarshal(b, s); err != nil || s.Type != "service_account" || s.Email == "" {
		return nil, fmt.Errorf("%s is no key file of a service account, want JSON with type service_account", name)
	}
	block, _ := pem.Decode([]byte(s.PrivateKey))
	if block == nil {
		return nil, fmt.Errorf("%s: private_key is not PEM", name)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: private_key is no PKCS #8 key", name)
	}
	var ok bool
	if s.key, ok = key.(*rsa.PrivateKey); !ok {
		return nil, fmt.Errorf("%s: private_key is no RSA key", name)
	}
	return s, nil
}

// assertion is a JSON Web Token that asks for one for audience, signed with RS256
// (RFC 7515, RFC 7518 §3.3).
func (s *serviceAccount) assertion(audience string, now time.Time) (string, error) {
	var text string
	for _, part := range []any{
		map[string]any{"alg": "RS256", "typ": "JWT", "kid": s.KeyID},
		map[string]any{
			"iss": s.Email, "sub": s.Email, "aud": s.TokenURI, "target_audience": audience,
			"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		},
	} {
		b, err := json.Marshal(part)
		if err != nil {
			return "", fmt.Errorf("assertion: %w", err)
		}
		text += base64.RawURLEncoding.EncodeToString(b) + "."
	}
	text = strings.TrimSuffix(text, ".")
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", errors.New("the private_key does not sign: " + err.Error())
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}
