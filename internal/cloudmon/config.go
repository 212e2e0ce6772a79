package cloudmon

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tripline/tripline/checks/probe"
)

// Config is the part of the config file about Cloud Monitoring.
type Config struct {
	// Project is the id of the Google Cloud project to write to.
	Project string `yaml:"project" json:"project"`
	// Location is where this monitor runs: a region or zone. With namespace,
	// job and a task_id that is made up and kept in the data directory it is
	// the monitored resource generic_task, under which all series are written.
	// Default "global".
	Location string `yaml:"location,omitempty" json:"location,omitempty"`
	// Namespace is whose monitor this is. Default "default".
	Namespace string `yaml:"namespace,omitempty" json:"namespace,omitempty"`
	// Job is the name of this monitor. Default "tripline".
	Job string `yaml:"job,omitempty" json:"job,omitempty"`
	// CredentialsFile is the path of a Google credentials file. Without it
	// Application Default Credentials are used.
	CredentialsFile string `yaml:"credentials_file,omitempty" json:"credentials_file,omitempty"`
	// Endpoint replaces monitoring.googleapis.com:443. One of the form
	// http://127.0.0.1:8080 is spoken to without TLS and credentials, which
	// is for tests and only allowed on loopback.
	Endpoint string `yaml:"endpoint,omitempty" json:"endpoint,omitempty"`
	// Prefix begins all metric types. Default custom.googleapis.com/tripline.
	Prefix string `yaml:"prefix,omitempty" json:"prefix,omitempty"`
	// Latency says how latency is exported, and which of it /metrics has.
	Latency Latency `yaml:"latency,omitempty" json:"latency,omitzero"`
}

// Latency says how latency is exported: as mean (of each minute),
// distribution or off. A distribution costs ten times as much as a mean.
type Latency struct {
	// PerCheck is for each check. Default mean.
	PerCheck string `yaml:"per_check,omitempty" json:"per_check,omitempty"`
	// PerGroup is for each group of checks. Default distribution.
	PerGroup string `yaml:"per_group,omitempty" json:"per_group,omitempty"`
}

const (
	latencyMean         = "mean"
	latencyDistribution = "distribution"
	latencyOff          = "off"

	maxPrefix = 80 // leaves 100 of the 200 characters of a metric type for recorded/<name>
)

// Validate fills in defaults and returns everything that is wrong.
func (c *Config) Validate() []probe.Problem {
	var problems []probe.Problem
	add := func(path, format string, args ...any) {
		problems = append(problems, probe.Problem{Path: path, Text: fmt.Sprintf(format, args...)})
	}
	if c.Project == "" {
		add("project", "is empty, want the id of a Google Cloud project")
	} else if strings.Trim(c.Project, "abcdefghijklmnopqrstuvwxyz0123456789-.:") != "" {
		add("project", "%q is no project id, want lower-case letters, digits and -", c.Project)
	}
	for _, l := range []struct {
		path, standard string
		v              *string
	}{{"location", "global", &c.Location}, {"namespace", "default", &c.Namespace}, {"job", "tripline", &c.Job}} {
		if *l.v == "" {
			*l.v = l.standard
		}
		if len(*l.v) > maxLabelBytes || !utf8.ValidString(*l.v) {
			add(l.path, "has %d bytes, want at most %d of valid UTF-8", len(*l.v), maxLabelBytes)
		}
	}
	c.validatePrefix(add)
	if c.Endpoint != "" {
		if _, _, err := c.endpoint(); err != nil {
			add("endpoint", "%s", err)
		}
	}
	for _, l := range []struct {
		path, standard string
		v              *string
	}{{"latency.per_check", latencyMean, &c.Latency.PerCheck}, {"latency.per_group", latencyDistribution, &c.Latency.PerGroup}} {
		switch *l.v {
		case "":
			*l.v = l.standard
		case latencyMean, latencyDistribution, latencyOff:
		default:
			add(l.path, "%q is unknown, want mean, distribution or off", *l.v)
		}
	}
	return problems
}

func (c *Config) validatePrefix(add func(path, format string, args ...any)) {
	if c.Prefix == "" {
		c.Prefix = "custom.googleapis.com/tripline"
	}
	c.Prefix = strings.TrimSuffix(c.Prefix, "/")
	domain, path, _ := strings.Cut(c.Prefix, "/")
	switch domain {
	case "custom.googleapis.com", "external.googleapis.com", "workload.googleapis.com":
	default:
		add("prefix", "%q begins with %q, want custom.googleapis.com, external.googleapis.com or workload.googleapis.com", c.Prefix, domain)
		return
	}
	legal := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_/", r)
	}
	if path == "" || len(c.Prefix) > maxPrefix || strings.Contains(path, "//") ||
		strings.ContainsFunc(path, func(r rune) bool { return !legal(r) }) {
		add("prefix", "%q has no path or an illegal one, want letters, digits, _ and / after the domain, at most %d characters", c.Prefix, maxPrefix)
	}
}

// endpoint returns host:port and whether it is spoken to in plain text.
func (c *Config) endpoint() (addr string, plain bool, err error) {
	addr, plain = strings.CutPrefix(c.Endpoint, "http://")
	addr = strings.TrimPrefix(addr, "https://")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", false, fmt.Errorf("%q is no endpoint, want host:port", c.Endpoint)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return "", false, fmt.Errorf("%q is no endpoint, want host:port", c.Endpoint)
	}
	if ip := net.ParseIP(host); plain && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", false, fmt.Errorf("%q is plain text to another machine, want host:port (with TLS) or http:// on loopback", c.Endpoint)
	}
	return addr, plain, nil
}

// clientOptions returns how the client connects. The config must be valid.
func (c *Config) clientOptions() ([]option.ClientOption, error) {
	opts := []option.ClientOption{
		option.WithUserAgent("tripline"),
		option.WithGRPCDialOption(grpc.WithConnectParams(grpc.ConnectParams{
			// The default waits up to 2 minutes, while points are waiting.
			Backoff:           backoff.Config{BaseDelay: time.Second, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 30 * time.Second},
			MinConnectTimeout: 10 * time.Second,
		})),
	}
	if c.Endpoint != "" {
		addr, plain, err := c.endpoint()
		if err != nil {
			return nil, err
		}
		opts = append(opts, option.WithEndpoint(addr))
		if plain {
			return append(opts, option.WithoutAuthentication(),
				option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials()))), nil
		}
	}
	if c.CredentialsFile == "" {
		return opts, nil
	}
	b, err := os.ReadFile(c.CredentialsFile)
	if err != nil {
		return nil, fmt.Errorf("read credentials_file: %w", err)
	}
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(b, &kind); err != nil || kind.Type == "" { // err may quote the file
		return nil, fmt.Errorf("credentials_file %q is no Google credentials file, want JSON with a type", c.CredentialsFile)
	}
	return append(opts, option.WithAuthCredentialsJSON(option.CredentialsType(kind.Type), b)), nil
}
