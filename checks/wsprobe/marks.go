package wsprobe

import (
	"strings"
	"time"
)

// queueTime is how long an answer must take before it looks like it waited in
// a queue for a free connection.
const queueTime = 500 * time.Millisecond

func tookText(s *Seen) string {
	if s.Took < queueTime {
		return ""
	}
	return "it was answered after " + s.Took.Round(time.Millisecond).String() + ", as if it had waited in a queue"
}

// isProxy tells whether a Server header (in lower case) is one of proxies and
// load balancers that put their own name there.
func isProxy(server string) bool {
	for _, p := range []string{
		"nginx", "openresty", "caddy", "envoy", "istio-envoy", "traefik", "cloudflare", "cloudfront", "awselb", "varnish",
		"google frontend", "gws", "akamaighost", "nghttpx", "h2o", "litespeed", "squid", "haproxy", "apache", "tengine", "kong",
	} {
		if strings.HasPrefix(server, p) {
			return true
		}
	}
	return false
}

// isASGI tells whether a Server header (in lower case) is that of a Python
// server that needs a library for WebSockets.
func isASGI(server string) bool {
	return strings.HasPrefix(server, "uvicorn") || strings.HasPrefix(server, "hypercorn") || strings.HasPrefix(server, "daphne")
}

// isPlainServer tells whether an answer looks like that of a framework which
// does plain HTTP unless something is attached to it.
func isPlainServer(s *Seen) bool {
	server := strings.ToLower(s.Header.Get("Server"))
	powered := strings.ToLower(s.Header.Get("X-Powered-By"))
	for _, p := range []string{"gunicorn", "werkzeug", "waitress", "wsgiserver", "webrick", "php", "simplehttp"} {
		if strings.HasPrefix(server, p) || strings.HasPrefix(powered, p) {
			return true
		}
	}
	return strings.HasPrefix(powered, "express") || strings.Contains(s.Body, "Cannot GET ")
}

// splitsRouting tells whether an answer is that of a framework which routes
// WebSockets and plain requests apart: it answers a missing WebSocket route in
// another way than a plain GET, so that the same answer means that it saw none.
func splitsRouting(s *Seen) bool {
	return strings.TrimSpace(s.Body) == `{"detail":"Not Found"}` || isPlainServer(s)
}

// proxyPage says whose error page s is: one that a proxy makes by itself.
func proxyPage(s *Seen) string {
	for _, p := range []struct{ mark, who string }{
		{"<center>nginx", "nginx"},
		{"<center>openresty", "openresty"},
		{"<hr>\n<address>Apache", "Apache"},
		{"default backend - 404", "the ingress's default backend"},
		{"no healthy upstream", "Envoy"},
		{"Error 404 (Not Found)!!1", "Google's front end"},
		{"<h1>404 Not Found</h1>\nThe server cannot find", "HAProxy"},
		{"The specified bucket does not exist", "a storage bucket"},
		{"<Error><Code>NoSuchKey", "a storage bucket"},
		{"no Route matched with those values", "Kong"},
	} {
		if strings.Contains(s.Body, p.mark) {
			return "the page is that of " + p.who + ", not of the application"
		}
	}
	server := strings.ToLower(s.Header.Get("Server"))
	if strings.HasPrefix(server, "awselb") {
		return "the answer is that of the AWS load balancer, not of the application"
	}
	return ""
}

// edgeMark says what in an answer shows a rule of a WAF or CDN.
func edgeMark(s *Seen) string {
	for _, h := range []string{"Cf-Mitigated", "X-Amzn-Waf-Action", "X-Sucuri-Block", "X-Iinfo", "X-Denied-Reason"} {
		if s.Header.Get(h) != "" {
			return headerText(s.Header, h, nil) // without secrets already
		}
	}
	server := strings.ToLower(s.Header.Get("Server"))
	if strings.HasPrefix(server, "cloudflare") || strings.HasPrefix(server, "akamaighost") {
		return "the answer is made by " + s.Header.Get("Server")
	}
	for _, m := range []string{"Just a moment...", "Attention Required! | Cloudflare", "Request blocked", "Access Denied", "Request forbidden by administrative rules", "The requested URL was rejected"} {
		if strings.Contains(s.Body, m) {
			return "the page says " + m
		}
	}
	return ""
}
