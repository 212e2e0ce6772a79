// Package config reads the config file: all of it or nothing. It is the only
// package that knows the syntax of YAML and of cron.
//
// The shape of the file is the struct File. Its doc comments, and those of the
// settings of each kind of check, rule and notifier, are the reference that
// people read (docs/config.md) and that editors use (config.schema.json): run
// go generate after a change. A new kind of check or notifier needs nothing
// here; a new key of the file is a field of File and whatever load makes of it.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Config is a config file that was found right in every part, ready to run.
type Config struct {
	Location    string
	Environment string
	Data        Data             // with defaults filled in
	HTTP        HTTP             // with defaults filled in
	Canaries    *checks.Canaries // of all checks; nil if none is configured
	Checks      []checks.Check
	Rules       []alerting.Rule
	Subjects    []alerting.Subject // the checks as rules see them, in the order of Checks
	Policy      alerting.Policy    // what is done with incidents
	Notifiers   []Notifier

	CloudMonitoring *Export // nil if none is configured
	Heartbeat       *Beat   // nil if none is configured

	Net    *probe.Network  // what the checks reach their targets through
	Redact *probe.Redactor // knows every secret of the file
	Hash   string          // changes with the text and with what its references yield, secrets apart
	// Fingerprints tells by check name what the check was made of: equal ones
	// are the same check.
	Fingerprints map[string]string
	Warnings     []string // what is allowed but hardly meant

	cost        string // of CloudMonitoring, for people
	maintenance []Maintenance
	incidents   alerting.Incidents
	when        []string // the schedule of each check as the file says it
}

// PageURL is the address of the page for people, without a slash at its end:
// http.url or, where only this machine can connect, that. It is "" where
// nobody has said how people reach the page.
func (c *Config) PageURL() string {
	if c.HTTP.URL != "" || !isLoopback(c.HTTP.Listen) {
		return c.HTTP.URL
	}
	return "http://" + c.HTTP.Listen
}

// IncidentText tells settings of incidents apart.
func (c *Config) IncidentText() string { return fingerprint(c.incidents) }

// MaintenanceTexts tells maintenance windows apart, by name.
func (c *Config) MaintenanceTexts() map[string]string {
	texts := make(map[string]string, len(c.maintenance))
	for _, m := range c.maintenance {
		texts[m.Name] = fingerprint(m)
	}
	return texts
}

// Notifier is one way to tell people.
type Notifier struct {
	Name     string
	Kind     string
	Settings notify.Settings // nil when off
	Off      string          // why it is off, such as "SLACK_BOT_TOKEN is not set"; "" when on

	Route         notify.Route
	Limit         notify.Limit  // its own or its kind's
	Fallback      string        // the name of another notifier; "" for none
	FallbackAfter time.Duration // how long this one may have something undelivered until then

	Fingerprint string // changes with the settings
}

// Env is what a config file may refer to outside itself.
type Env struct {
	Lookup   func(name string) (string, bool)  // environment variables, as os.LookupEnv
	ReadFile func(name string) ([]byte, error) // the files of ${file:...}, as ReadFile
	Version  string                            // of this program, for the User-Agent
}

// ReadFile reads a file that people name: a config file, or one with a secret.
// It refuses directories, and files larger than MaxSize without reading on.
func ReadFile(name string) (b []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, plain(name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err := f.Stat(); err != nil {
		return nil, plain(name, err)
	} else if info.IsDir() {
		return nil, fmt.Errorf("%s: is a directory, want a file", name)
	}
	b, err = io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, plain(name, err)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%s: more than %d bytes", name, MaxSize)
	}
	return b, nil
}

// plain drops the name of the system call from an error about a file.
func plain(name string, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return fmt.Errorf("%s: %w", name, err)
}
