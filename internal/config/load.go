package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io/fs"
	"net"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/internal/schedule"
)

// A loader makes a Config of a file. Every step adds what it finds wrong to
// the decoder's errors and goes on, so that all of them are told at once.
type loader struct {
	*decoder
	env   Env
	root  *yaml.Node
	file  File
	cfg   *Config
	hash  hash.Hash
	crons map[[2]string]cronEntry // by text and time zone

	auth         map[string]*probe.Credential // nil values: known, and wrong
	seen         []seen                       // the checks, for rules
	goodDefaults bool                         // the timing of all checks can be relied on
}

// Load reads a config file. name is what messages call it. The error is an
// *Errors that lists everything that is wrong.
func Load(name string, src []byte, env Env) (*Config, error) {
	s := newSource(name, strings.TrimPrefix(string(src), "\uFEFF"))
	root := s.parse()
	if root == nil {
		return nil, s.errors()
	}
	l := newLoader(s, root, env)
	l.load()
	if err := s.errors(); err != nil {
		return nil, err
	}
	l.cfg.Hash = hex.EncodeToString(l.hash.Sum(nil))[:12]
	return l.cfg, nil
}

func newLoader(s *source, root *yaml.Node, env Env) *loader {
	if env.Lookup == nil {
		env.Lookup = func(string) (string, bool) { return "", false }
	}
	if env.ReadFile == nil {
		env.ReadFile = func(string) ([]byte, error) { return nil, fs.ErrNotExist }
	}
	redact := probe.NewRedactor()
	v := &vault{redact: redact, seen: map[string]bool{}}
	s.clean = v.clean
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%d\x00%s", Version, s.text) // a hash cannot fail
	agent := "Tripline"
	if env.Version != "" {
		agent += "/" + env.Version
	}
	return &loader{
		env: env, root: root, hash: sum, crons: map[[2]string]cronEntry{},
		cfg: &Config{Redact: redact, Net: probe.NewNetwork(probe.NetworkOptions{UserAgent: agent, Redact: redact})},
		decoder: &decoder{
			src: s, secret: v.add,
			bad: map[*yaml.Node]bool{}, expanded: map[*yaml.Node]bool{}, off: map[*yaml.Node]string{},
			structs: map[reflect.Type]*structInfo{}, seed: func(reflect.Value) {},
			merged: map[*yaml.Node][]pair{},
			expand: &expander{
				lookup: env.Lookup, readFile: env.ReadFile, secret: v.add, files: map[string]fileValue{},
				public: func(name, value string) { _, _ = fmt.Fprintf(sum, "\x00%s=%s", name, value) },
			},
		},
	}
}

func (l *loader) load() {
	if l.root.Kind != yaml.MappingNode {
		l.fail(l.root, "%s, want keys: %s", found(l.root), strings.Join(l.info(reflect.TypeFor[File]()).keys, ", "))
		return
	}
	l.findOff()
	l.prepare(l.root, "", false, 0)
	if !l.version() {
		return
	}
	l.connectionDefaults()
	l.decode(l.root, reflect.ValueOf(&l.file).Elem(), "the file")
	l.general()
	l.loadChecks()
	l.loadRules()
	l.loadIncidents()
	l.loadNotifiers()
	l.loadHeartbeat()
	l.loadCloudMonitoring()
	l.warn()
	if len(l.src.wrong) == 0 {
		schedule.Spread(l.cfg.Checks)
		l.fingerprints()
		l.estimate()
	}
}

// version judges the version of the format. Nothing else is said of a file of
// another one: its keys may mean something else.
func (l *loader) version() bool {
	_, n := l.find(l.root, "version")
	if n == nil {
		l.src.add(1, 1, 1, fmt.Sprintf("version is missing, want version: %d at the top of the file", Version))
		return true
	}
	v, err := strconv.Atoi(n.Value)
	if err != nil || v == Version || l.bad[n] {
		return true
	}
	l.src.wrong = nil
	if v > Version {
		l.fail(n, "version %d, this Tripline knows %d: it was written for a newer Tripline, run that one", v, Version)
	} else {
		l.fail(n, "version %d, want %d", v, Version)
	}
	return false
}

// general fills in everything but checks, rules and notifiers. An empty text
// is as good as none, so that ${NAME:-} can say so.
func (l *loader) general() {
	c, f := l.cfg, &l.file
	c.Environment, c.Data, c.HTTP = f.Environment, f.Data, f.HTTP
	c.Location = cmp.Or(f.Location, "local")
	if !isLocation(c.Location) {
		l.failOnce(l.at("location"), "location: %q, want at most 50 letters, digits, dots, dashes and underscores", short(c.Location))
	}
	if c.Environment != "" {
		l.checkText(l.at("environment"), "environment", c.Environment)
	}
	l.data()
	l.listen()
	l.canaries()
}

const mostCanaries = 10

// canaries compiles the canaries, which all checks share.
func (l *loader) canaries() {
	key, n := l.find(l.root, "canaries")
	if n == nil || l.bad[n] || len(l.file.Canaries) == 0 {
		return
	}
	if len(l.file.Canaries) > mostCanaries {
		l.fail(n, "canaries: %d, want at most %d: all are asked at once", len(l.file.Canaries), mostCanaries)
		return
	}
	canaries, problems := checks.NewCanaries(l.cfg.Net, l.file.Canaries)
	for _, p := range problems {
		l.problem(n, key, "canaries", "", p)
	}
	l.cfg.Canaries = canaries
}

func (l *loader) data() {
	d := &l.cfg.Data
	d.Dir = cmp.Or(d.Dir, "./data")
	if n := l.at("data.keep"); n == nil {
		d.Keep = probe.Duration(31 * 24 * time.Hour)
	} else if d.Keep < probe.Duration(time.Hour) {
		l.failOnce(n, "data.keep: %s, want at least 1h", d.Keep)
	}
	if n := l.at("data.max_size"); n == nil {
		d.MaxSize = 4 << 30
	} else if d.MaxSize < 16<<20 {
		l.failOnce(n, "data.max_size: %s, want at least 16MiB", d.MaxSize)
	}
}

// listen decides where this process can be reached. PORT is how Cloud Run and
// others say it; what the file says wins.
func (l *loader) listen() {
	h := &l.cfg.HTTP
	if h.Listen == "" {
		h.Listen = "127.0.0.1:8080"
		if port, _ := l.env.Lookup("PORT"); port != "" {
			if !isPort(port) {
				l.src.add(0, 0, 0, fmt.Sprintf("the variable PORT is %q, want a port from 0 to 65535", short(port)))
			}
			h.Listen = net.JoinHostPort("0.0.0.0", port)
		}
	} else if _, port, err := net.SplitHostPort(h.Listen); err != nil || !isPort(port) {
		l.failOnce(l.at("http.listen"), "http.listen: %q, want host:port such as 127.0.0.1:8080, or :8080 for all addresses", short(h.Listen))
	}
	if h.Token != "" && len(h.Token) < 8 {
		l.failOnce(l.at("http.token"), "http.token: %d characters, want at least 8, or none at all", utf8.RuneCountInString(h.Token))
	}
	l.publicURL()
}

// publicURL judges the address of the page and makes it one to put a path behind.
func (l *loader) publicURL() {
	h := &l.cfg.HTTP
	if h.URL == "" {
		return
	}
	u, err := probe.ResolveURL(nil, h.URL, "https", "http")
	switch {
	case err != nil:
		l.failOnce(l.at("http.url"), "http.url: %s", err)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery:
		l.failOnce(l.at("http.url"), "http.url: want no user, no password and no query: everybody who is told reads it")
	default:
		h.URL = strings.TrimRight(u.String(), "/")
	}
}

// connectionDefaults reads the defaults before all else, so that the settings
// of each check begin with the connection settings among them.
func (l *loader) connectionDefaults() {
	n := l.at("defaults")
	if n == nil || isNull(n) {
		return
	}
	d := &l.file.Defaults
	l.decode(n, reflect.ValueOf(d).Elem(), "defaults")
	if d.Connection == (probe.Connection{}) {
		return
	}
	before := len(l.src.wrong)
	key, _ := l.find(l.root, "defaults")
	_, problems := l.cfg.Net.Target(&url.URL{Scheme: "https", Host: "localhost", Path: "/"}, d.Connection)
	for _, p := range problems {
		l.problem(n, key, "defaults", "", p)
	}
	if len(l.src.wrong) > before {
		return // said once, not by every check
	}
	l.seed = func(v reflect.Value) {
		if f := v.FieldByName("Connection"); f.IsValid() && f.Type() == reflect.TypeFor[probe.Connection]() {
			f.Set(reflect.ValueOf(d.Connection))
		}
	}
}

// base returns what path-only URLs are resolved against, nil if there is none.
// For a wrong one, which is reported, something else stands in.
func (l *loader) base() *url.URL {
	n := l.at("defaults.base_url")
	if n == nil {
		return nil
	}
	if !l.bad[n] {
		u, err := probe.ResolveURL(nil, l.file.Defaults.BaseURL, "https", "http", "wss", "ws")
		if err == nil {
			return u
		}
		l.fail(n, "defaults.base_url: %s", err)
	}
	return &url.URL{Scheme: "http", Host: "localhost", Path: "/"}
}

// at returns the node of a path from the root, nil if the file does not have it.
func (l *loader) at(path string) *yaml.Node {
	_, n := l.find(l.root, path)
	return n
}

// failOnce reports what is wrong with a value, unless something is already.
func (l *loader) failOnce(n *yaml.Node, format string, args ...any) {
	if !l.bad[n] {
		l.fail(n, format, args...)
	}
}

const maxName = 100

// checkText reports a name that cannot be shown as one.
func (l *loader) checkText(n *yaml.Node, what, text string) bool {
	switch {
	case strings.TrimSpace(text) == "":
		l.failOnce(n, "%s is empty, want 1 to %d characters", what, maxName)
	case utf8.RuneCountInString(text) > maxName:
		l.failOnce(n, "%s has %d characters, want at most %d", what, utf8.RuneCountInString(text), maxName)
	case strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		l.failOnce(n, "%s: %q has a character that cannot be shown, want letters, digits, spaces and punctuation", what, short(text))
	default:
		return true
	}
	return false
}

func isLocation(s string) bool {
	return s != "" && len(s) <= 50 && !strings.ContainsFunc(s, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-", r)
	})
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// isLoopback tells whether only this machine can reach an address.
func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
