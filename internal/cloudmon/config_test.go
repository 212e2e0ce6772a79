package cloudmon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tripline/tripline/checks/probe"
)

func TestValidate(t *testing.T) {
	c := Config{Project: "my-project-1"}
	if p := c.Validate(); len(p) > 0 {
		t.Errorf("problems %v", p)
	}
	want := Config{
		Project: "my-project-1", Location: "global", Namespace: "default", Job: "tripline",
		Prefix: "custom.googleapis.com/tripline", Latency: Latency{PerCheck: "mean", PerGroup: "distribution"},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Errorf("defaults, want - and got +:\n%s", d)
	}
	for _, tt := range []struct {
		name string
		c    Config
		want []probe.Problem
	}{
		{"project", Config{}, []probe.Problem{{Path: "project", Text: "is empty, want the id of a Google Cloud project"}}},
		{"project", Config{Project: "My Project"}, []probe.Problem{{Path: "project", Text: `"My Project" is no project id, want lower-case letters, digits and -`}}},
		{"job", Config{Project: "p", Job: "a\xff"}, []probe.Problem{{Path: "job", Text: "has 2 bytes, want at most 1024 of valid UTF-8"}}},
		{"domain", Config{Project: "p", Prefix: "compute.googleapis.com/x"}, []probe.Problem{{Path: "prefix", Text: `"compute.googleapis.com/x" begins with "compute.googleapis.com", want custom.googleapis.com, external.googleapis.com or workload.googleapis.com`}}},
		{"path", Config{Project: "p", Prefix: "custom.googleapis.com/a b"}, []probe.Problem{{Path: "prefix", Text: `"custom.googleapis.com/a b" has no path or an illegal one, want letters, digits, _ and / after the domain, at most 80 characters`}}},
		{"remote plain text", Config{Project: "p", Endpoint: "http://10.1.2.3:80"}, []probe.Problem{{Path: "endpoint", Text: `"http://10.1.2.3:80" is plain text to another machine, want host:port (with TLS) or http:// on loopback`}}},
		{"no port", Config{Project: "p", Endpoint: "monitoring.googleapis.com"}, []probe.Problem{{Path: "endpoint", Text: `"monitoring.googleapis.com" is no endpoint, want host:port`}}},
		{"port", Config{Project: "p", Endpoint: "x:99999"}, []probe.Problem{{Path: "endpoint", Text: `"x:99999" is no endpoint, want host:port`}}},
		{"latency", Config{Project: "p", Latency: Latency{PerCheck: "p95", PerGroup: "sum"}}, []probe.Problem{
			{Path: "latency.per_check", Text: `"p95" is unknown, want mean, distribution or off`},
			{Path: "latency.per_group", Text: `"sum" is unknown, want mean, distribution or off`},
		}},
	} {
		if d := cmp.Diff(tt.want, tt.c.Validate()); d != "" {
			t.Errorf("%s: problems, want - and got +:\n%s", tt.name, d)
		}
	}
}

func TestClientOptions(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tt := range []struct {
		name string
		c    Config
		n    int // options
		err  string
	}{
		{"default credentials", Config{}, 2, ""},
		{"plain", Config{Endpoint: "http://localhost:1"}, 5, ""},
		{"TLS", Config{Endpoint: "https://x:1"}, 3, ""},
		{"credentials", Config{CredentialsFile: write("ok.json", `{"type":"service_account","private_key":"SECRET"}`)}, 3, ""},
		{"no such file", Config{CredentialsFile: dir + "/none.json"}, 0, "read credentials_file: open " + dir + "/none.json: no such file"},
		{"no JSON", Config{CredentialsFile: write("bad.json", `SECRET`)}, 0, "is no Google credentials file, want JSON with a type"},
		{"no type", Config{CredentialsFile: write("empty.json", `{"private_key":"SECRET"}`)}, 0, "is no Google credentials file"},
	} {
		opts, err := tt.c.clientOptions()
		if len(opts) != tt.n || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %d options and error %v, want %d and %q", tt.name, len(opts), err, tt.n, tt.err)
		}
		if err != nil && strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: the error shows the file: %v", tt.name, err)
		}
	}
}

// A credentials file that makes no sense is a problem at start, without a secret in it.
func TestBadCredentials(t *testing.T) {
	p := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(p, []byte(`{"type":"service_account","private_key":"SECRET","client_email":"a@b"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	x := New(Config{Project: "p", CredentialsFile: p}, Options{Log: newLog()})
	x.connect(t.Context())
	if h := x.Health(); strings.Contains(h.Err, "SECRET") {
		t.Errorf("the problem shows the key: %s", h.Err)
	}
}

func TestEstimate(t *testing.T) {
	c := Config{Project: "p"}
	c.Validate()
	group := func(n int, every time.Duration, recorded int) []Planned {
		p := make([]Planned, n)
		for i := range p {
			p[i] = Planned{Check: string(rune('a' + i)), Group: "g", Every: every, Recorded: recorded}
		}
		return p
	}
	for _, tt := range []struct {
		name    string
		planned []Planned
		latency Latency
		want    string
	}{
		{"nothing", nil, c.Latency, "5 series, 0.2 million samples and 2 MiB a month: about $0 a month"},
		// 2 counts + up + mean + 1 recorded = 5 series, and one distribution.
		{"one", group(1, time.Minute, 1), c.Latency, "11 series, 0.5 million samples and 7 MiB a month: about $0 a month"},
		{"one every 10 minutes", group(1, 10*time.Minute, 1), c.Latency, "11 series, 0.4 million samples and 6 MiB a month: about $0 a month"},
		{"one every second costs as one every minute", group(1, time.Second, 1), c.Latency, "11 series, 0.5 million samples and 7 MiB a month: about $0 a month"},
		{"500", group(500, time.Minute, 1), c.Latency, "2506 series, 109.8 million samples and 840 MiB a month: about $178 a month"},
		{"500 distributions", group(500, time.Minute, 1), Latency{"distribution", "off"}, "2505 series, 109.7 million samples and 2341 MiB a month: about $565 a month"},
	} {
		c.Latency = tt.latency
		got := Estimate(c, tt.planned).String()
		if !strings.HasPrefix(got, tt.want+" (assumed: list price $0.2580 per MiB after 150 MiB free as of 2026-11, ") {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	for mib, want := range map[float64]float64{0: 0, 150: 0, 151: 0.258, 100_000: 99_850 * 0.258, 250_001: 99_850*0.258 + 150_000*0.151 + 0.061} {
		if got := price(mib); got < want-1e-6 || got > want+1e-6 {
			t.Errorf("price of %v MiB: %v, want %v", mib, got, want)
		}
	}
}

// The estimate counts the series that are really written.
func TestEstimateAgreesWithExport(t *testing.T) {
	c := Config{Project: "p"}
	c.Validate()
	counters := NewCounters(c.Latency, nil)
	var planned []Planned
	for _, name := range []string{"a", "b", "c"} {
		for _, class := range []probe.Class{probe.OK, probe.NotFound} {
			e := result(name, time.Now(), class)
			e.Result.Measures = map[string]float64{"n": 1}
			counters.Fold(e)
		}
		planned = append(planned, Planned{Check: name, Group: "shop", Every: time.Minute, Recorded: 1})
	}
	n := len(counters.Snapshot()) + len(Health{}.Samples())
	if got := Estimate(c, planned).Series; got != n {
		t.Errorf("estimated %d series, %d are written", got, n)
	}
}
