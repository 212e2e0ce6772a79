package notify

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// newHTTPClient returns a client for the services of one notifier. It follows
// no redirect, since that would hand the credential to whoever is named, and
// every step has its own limit below that of the whole attempt.
func newHTTPClient() *http.Client {
	return &http.Client{
		Timeout: 30 * time.Second, // the context of the attempt comes first
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			ForceAttemptHTTP2:   true,
			TLSHandshakeTimeout: 5 * time.Second,
			MaxIdleConnsPerHost: defaultWorkers,
			IdleConnTimeout:     30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// transportError says what a request without an answer came to, without its URL
// and without secret, one of which may be in the text of err.
func transportError(err error, secret string) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // the rest of u is the URL
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer in time")
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted before the answer")
	case secret != "" && strings.Contains(err.Error(), secret):
		return errors.New(strings.ReplaceAll(err.Error(), secret, "[redacted]"))
	}
	return err
}

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3): seconds, also with
// a fraction, or a date. What cannot be read is otherwise.
func retryAfter(header string, otherwise time.Duration, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if s, err := strconv.ParseFloat(header, 64); err == nil && !math.IsNaN(s) {
		return time.Duration(min(max(s, 0), MaxRetry.Seconds()) * float64(time.Second))
	}
	if at, err := http.ParseTime(header); err == nil {
		return at.Sub(now)
	}
	return otherwise
}
