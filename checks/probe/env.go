package probe

import "net/url"

// Env is what settings need from outside themselves to become ready to probe.
type Env struct {
	Net     *Network          // how to reach targets; shared by all checks
	BaseURL *url.URL          // path-only URLs are resolved against it; nil if none is configured
	Headers map[string]string // default request headers; a check's own win
	Auth    *Credential       // what the check's requests carry; nil is nothing
}

// Problem is one thing that is wrong with a setting.
type Problem struct {
	Path string // YAML keys below the settings, such as "url" or "conditions[2]"; "" is the settings as a whole
	Text string // what was seen and what was wanted, such as `"htp" is no URL scheme, want http or https`
}

// Endpoint tells others what a check probes.
type Endpoint struct {
	URL        string // for people, without secrets
	Host       string // host:port; checks with equal Host share its concurrency and diagnosis limits
	WebSocket  bool   // decides what counts as a connection failure
	Repeatable bool   // a second try changes nothing at the target (GET, HEAD, a plain handshake)
}
