package config

import (
	"cmp"
	"net/http"
	"net/url"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/checks/probe"
)

// Heartbeat is a dead man's switch: a request that is made while this monitor
// keeps its schedule, stores its results and can tell people. When it stops,
// whoever receives it raises the alarm, such as healthchecks.io or a push
// monitor elsewhere. Why it stops is logged, and shown on /health.
type Heartbeat struct {
	// OnlyIf is the name of an environment variable. Where that is unset or
	// empty there is no heartbeat, which is said at start.
	OnlyIf string `yaml:"only_if,omitempty"`
	// URL is requested, a secret. Redirects are not followed.
	URL string `yaml:"url" jsonschema:"required"`
	// Method is GET or POST. Default GET.
	Method string `yaml:"method,omitempty"`
	// Every is the time between two requests, 1s to 1h. Default 1m.
	Every *probe.Duration `yaml:"every,omitempty"`
}

// Beat is the heartbeat with its defaults.
type Beat struct {
	URL    string
	Method string
	Every  time.Duration
	Off    string // why there is none, such as "HEARTBEAT_URL is not set"; "" when on
}

// The range of Heartbeat.Every.
const (
	leastBeat = time.Second
	mostBeat  = time.Hour
)

func (l *loader) loadHeartbeat() {
	n := l.at("heartbeat")
	if n == nil || n.Kind != yaml.MappingNode || l.bad[n] || l.file.Heartbeat == nil {
		return
	}
	h := l.file.Heartbeat
	const what = "heartbeat"
	l.judgeOnlyIf(n, what, h.OnlyIf)
	b := &Beat{URL: h.URL, Method: cmp.Or(h.Method, http.MethodGet), Every: time.Minute, Off: l.off[n]}
	if h.Every != nil {
		b.Every = time.Duration(*h.Every)
	}
	l.cfg.Heartbeat = b
	if v := l.below(n, "every"); v != nil && (b.Every < leastBeat || b.Every > mostBeat) {
		l.fail(v, "%s: every: %s, want %s to %s", what, text(b.Every), text(leastBeat), text(mostBeat))
	}
	if v := l.below(n, "method"); v != nil && b.Method != http.MethodGet && b.Method != http.MethodPost {
		l.fail(v, "%s: method: %q, want GET or POST", what, short(b.Method))
	}
	if key, v := l.find(n, "url"); b.Off == "" && !l.bad[v] {
		u, err := url.Parse(b.URL)
		switch {
		case v == nil:
			key, _ = l.find(l.root, what)
			l.fail(key, "%s has no url, want url: https://...", what)
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "": // the URL is a secret
			l.fail(key, "%s: url is no http or https URL", what)
		default:
			l.secret(b.URL)
			if path := u.EscapedPath(); len(path) > shownOfSecret {
				l.secret(path)
			}
		}
	}
}
