package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Version is the version of the config format that this program knows.
const Version = 1

// File is the shape of the config file.
//
// Durations have units: 500ms, 10s, 1m30s, 12h, 31d. So have sizes: 500MB,
// 4GiB. Percentages have the sign: 0.1%.
//
// Values may hold references: ${NAME} and ${NAME:-default} stand for environment
// variables, ${file:PATH} for the contents of a file without the line break at
// its end, $$ for a literal $. A variable that has neither a value nor a default
// is an error. What a reference stands for is always one value, never YAML.
// Files are looked for from the working directory.
//
// Everything that is wrong with the file is told at once, and then nothing
// starts. There are no keys besides these.
type File struct {
	// Version of this format: 1.
	Version int `yaml:"version" jsonschema:"required"`
	// Location names where this process probes from; it is part of every
	// result. Letters, digits, dots, dashes and underscores. Default "local".
	Location string `yaml:"location,omitempty"`
	// Environment names what is watched, such as production. It is shown in
	// messages and on the page.
	Environment string `yaml:"environment,omitempty"`
	// Data says where the log, the state and the history are kept.
	Data Data `yaml:"data,omitempty"`
	// HTTP is the page, the API, /health and the live feed of this process.
	HTTP HTTP `yaml:"http,omitempty"`
	// Defaults apply to all checks that do not say otherwise.
	Defaults Defaults `yaml:"defaults,omitempty"`
	// Canaries are hosts that do not fail together with what is watched, as
	// host:port or as URLs, of which host and port are used: a TCP connection
	// is all that is wanted of them. They are asked, at most once a second,
	// when a target does not answer. If none of them answers within 1s either,
	// the failure is this machine's own network, and the result is unknown. If
	// only their names cannot be resolved, so are failures to resolve. Have at
	// least one that is a name and one that is an address. Default none.
	Canaries []string `yaml:"canaries,omitempty"`
	// Auth are credentials by name, for checks that say auth: NAME.
	Auth map[string]checks.Auth `yaml:"auth,omitempty"`
	// Checks are what is watched, at least one.
	Checks []Check `yaml:"checks" jsonschema:"required"`
	// Rules say when people are told. Without rules nobody is.
	Rules []alerting.Rule `yaml:"rules,omitempty"`
	// Incidents says what becomes of incidents that come too many at once, too
	// often, or last too long.
	Incidents alerting.Incidents `yaml:"incidents,omitempty"`
	// Maintenance lists windows that come again, in which checks run and count
	// as always, but people are told of what broke only if it still is at the end.
	Maintenance []Maintenance `yaml:"maintenance,omitempty"`
	// Notify says who is told and how.
	Notify []Notify `yaml:"notify,omitempty"`
	// Heartbeat tells somebody else that this monitor works, so that they can
	// tell when it does not.
	Heartbeat *Heartbeat `yaml:"heartbeat,omitempty"`
	// CloudMonitoring exports metrics to Google Cloud Monitoring. Without it
	// they are on /metrics only.
	CloudMonitoring *CloudMonitoring `yaml:"cloud_monitoring,omitempty"`
}

// Data says where the log, the state and the history are kept, and how long.
type Data struct {
	// Dir is the data directory. One process at a time may use it. Default ./data.
	Dir string `yaml:"dir,omitempty"`
	// Keep is how long results stay in the log. Default 31d.
	Keep probe.Duration `yaml:"keep,omitempty"`
	// MaxSize is how large the log may become before the oldest results are
	// removed. Default 4GiB.
	MaxSize Size `yaml:"max_size,omitempty"`
}

// HTTP says where this process itself can be reached.
type HTTP struct {
	// Listen is host:port. Default 127.0.0.1:8080, or 0.0.0.0:$PORT where the
	// environment has PORT. Anywhere but on loopback only /health answers
	// until there is a token.
	Listen string `yaml:"listen,omitempty"`
	// Token is what others must present to see anything but /health.
	Token string `yaml:"token,omitempty"`
	// URL is the address under which people reach the page, such as
	// https://tripline.example.com; it may have a path, which a proxy takes
	// away again. Messages link to it: {url}/incidents/{id}. Without it they
	// have links only where listen is on loopback. Without a token the page
	// answers to its host and to the names of this machine only.
	URL string `yaml:"url,omitempty"`
}

// Defaults apply to all checks that do not say otherwise.
type Defaults struct {
	// BaseURL is what URLs that are only a path are resolved against. http and
	// https mean ws and wss for WebSocket checks.
	BaseURL string `yaml:"base_url,omitempty"`
	// Every is the time between two runs of a check. Default 1m.
	Every *probe.Duration `yaml:"every,omitempty"`
	// Timeout is how long one attempt may take. Default 10s, or less where
	// that and the re-probes would not fit the interval.
	Timeout *probe.Duration `yaml:"timeout,omitempty"`
	// Confirm is how many re-probes on fresh connections follow a failed
	// attempt before the target counts as down. Default 2, or less where they
	// would not fit the interval, and 0 for requests that must not be repeated.
	// Where an answer asks for a pause (Retry-After) the next one waits so long,
	// up to 5 s and as far as it fits the interval; else there is none.
	Confirm *int `yaml:"confirm,omitempty"`
	// Labels are put on all checks.
	Labels map[string]string `yaml:"labels,omitempty"`
	// Headers are sent with all requests; a check's own win.
	Headers map[string]string `yaml:"headers,omitempty"`

	probe.Connection `yaml:",inline"`
}

// Check is one thing to check: its name, when to run it, and exactly one kind.
type Check struct {
	// Name identifies the check, in messages and in history: a renamed check
	// is a new one. At most 100 characters.
	Name string `yaml:"name" jsonschema:"required"`
	// Group is what incidents gather by: failures of one group are one
	// incident. Default the check's name.
	Group string `yaml:"group,omitempty"`
	// Needs names a check, or several, without which this one cannot work.
	// While one of these is in trouble people are not told of this one: they are
	// when that has recovered and this one has not. A new incident waits for
	// the next verdict on what it needs: at most 60s, or two intervals of that
	// check if they are less. Nothing else changes: this check runs, counts,
	// and resolves.
	Needs probe.List `yaml:"needs,omitempty"`
	// Labels are free names and values that rules select by. They go with
	// every metric. Names hold letters, digits and underscores.
	Labels map[string]string `yaml:"labels,omitempty"`
	// Auth is the name of the credential that the requests of this check carry:
	// one of those below auth at the top of the file. In a flow all its steps do.
	Auth string `yaml:"auth,omitempty"`
	// Every is the time between two runs, at least 1s. When in the interval it
	// runs follows from the names of the checks: they are spread evenly, and
	// stay where they are after a restart.
	Every *probe.Duration `yaml:"every,omitempty"`
	// Cron is a schedule in the five fields of crontab, instead of every:
	// minute hour day month weekday. Where clocks change, times that are left
	// out have no run, and times that come twice have two.
	Cron string `yaml:"cron,omitempty"`
	// Timezone is what cron means its hours in, such as Europe/Berlin. Default UTC.
	Timezone string `yaml:"timezone,omitempty"`
	// Timeout is how long one attempt may take. Timeout and confirm must fit
	// the interval less 10 %.
	Timeout *probe.Duration `yaml:"timeout,omitempty"`
	// Confirm is how many re-probes on fresh connections follow a failed
	// attempt before the target counts as down. A Retry-After of up to 5 s is
	// waited for; after a longer one there is none.
	Confirm *int `yaml:"confirm,omitempty"`

	checks.Kinds `yaml:",inline"`
}

// Maintenance is a window that comes again.
type Maintenance struct {
	// Name identifies the window.
	Name string `yaml:"name" jsonschema:"required"`
	// Select says which checks it is for. Default all.
	Select alerting.Select `yaml:"select,omitempty"`
	// Cron says when it begins, in the five fields of crontab: minute hour day
	// month weekday.
	Cron string `yaml:"cron" jsonschema:"required"`
	// For is how long it lasts.
	For probe.Duration `yaml:"for" jsonschema:"required"`
	// Timezone is what cron means its hours in, such as Europe/Berlin. Default UTC.
	Timezone string `yaml:"timezone,omitempty"`
}

// Notify is one way to tell people: its name and exactly one kind.
type Notify struct {
	// Name identifies it. What it was told is remembered under this name. At
	// most 100 characters.
	Name string `yaml:"name" jsonschema:"required"`
	// OnlyIf is the name of an environment variable. Where that is unset or
	// empty this notifier is off, and says so at start.
	OnlyIf string `yaml:"only_if,omitempty"`
	// Fallback is the name of another notifier. It is told of what this one
	// has not delivered for fallback_after, or has given up, and of its end.
	Fallback string `yaml:"fallback,omitempty"`
	// FallbackAfter is how long this notifier may have something undelivered
	// until its fallback is told. Default 5m.
	FallbackAfter *probe.Duration `yaml:"fallback_after,omitempty"`
	// Limit is how many attempts to tell somebody are made at most, such as
	// 60/m: what is more waits, pages first, and then tells the newest state.
	// Default 1/s for Slack, 120/m for PagerDuty, none for others.
	Limit notify.Limit `yaml:"limit,omitempty"`

	notify.Route `yaml:",inline"`
	notify.Kinds `yaml:",inline"`
}

// Size is a number of bytes that is written with its unit: 500MB, 4GiB.
type Size int64

// UnmarshalText reads a size: a whole number and one of B, kB, MB, GB, TB
// (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024).
func (s *Size) UnmarshalText(b []byte) error {
	text := string(b)
	digits := len(text) - len(strings.TrimLeft(text, "0123456789"))
	unit := unitSize(strings.TrimSpace(text[digits:]))
	n, err := strconv.ParseInt(text[:digits], 10, 64)
	if err != nil || unit == 0 || n > (1<<62)/unit {
		return fmt.Errorf("%q is no size, want one such as 500MB or 4GiB", short(text))
	}
	*s = Size(n * unit)
	return nil
}

func unitSize(unit string) int64 {
	switch strings.ToLower(unit) {
	case "b":
		return 1
	case "kb":
		return 1e3
	case "mb":
		return 1e6
	case "gb":
		return 1e9
	case "tb":
		return 1e12
	case "kib":
		return 1 << 10
	case "mib":
		return 1 << 20
	case "gib":
		return 1 << 30
	case "tib":
		return 1 << 40
	}
	return 0
}

// String returns s with the largest unit that divides it.
func (s Size) String() string {
	for _, unit := range []string{"TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "kB"} {
		if n := Size(unitSize(unit)); s >= n && s%n == 0 {
			return strconv.FormatInt(int64(s/n), 10) + unit
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}
