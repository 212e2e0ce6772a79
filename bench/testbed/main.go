// Command testbed measures the diagnosis of WebSocket failures against a folder
// of servers that are broken in known ways. It is no part of Tripline: it writes
// the config that a user of those servers would write, and afterwards compares
// what `tripline check` said with what was true.
//
//	testbed config  -cases DIR/cases/open.json -run RUN >testbed.yaml
//	tripline check --hold --config testbed.yaml --format json >results.jsonl
//	testbed compare -cases DIR/cases/open.json results.jsonl
//
// RUN is the folder in which the servers run: it holds ports.env and certs/ca.pem.
// docs/diagnosis.md has the whole procedure and its figures.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// testCase is what is asked of a server. What should come of it (expect, cause) is
// not here: the config must not depend on it.
type testCase struct {
	ID       string   `json:"id"`
	URL      string   `json:"url"`
	DNS      string   `json:"dns"`
	Trust    string   `json:"trust"`
	Headers  []string `json:"headers"`
	Sub      []string `json:"sub"`
	Send     []string `json:"send"`
	Read     int      `json:"read"`       // messages to wait for
	ReadMS   int      `json:"read_ms"`    // for each of them
	Timeout  int      `json:"timeout_ms"` // of the handshake
	HoldMS   int      `json:"hold_ms"`    // stay open for so long
	Repeat   int      `json:"repeat"`     // so many tries
	Parallel int      `json:"parallel"`   // so many others are open
	Users    int      `json:"users"`      // so many users at once
	Method   string   `json:"method"`
	Ping     bool     `json:"ping"` // the server answers pings
}

// truth is what should come of a case: only compare reads it.
type truth struct {
	ID     string `json:"id"`
	Expect string `json:"expect"`
	Cause  string `json:"cause"`
	What   string `json:"what"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("want config or compare; see the comment of the command")
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	cases := flags.String("cases", "", "the file of the cases")
	dir := flags.String("run", "", "the folder in which the servers run")
	names := flags.String("causes", "checks/wsprobe/testdata/causes.json", "which of our causes are right for a cause of the cases")
	_ = flags.Parse(args[1:]) // it exits on errors
	b, err := os.ReadFile(*cases)
	if err != nil {
		return err
	}
	switch args[0] {
	case "config":
		return writeConfig(os.Stdout, b, *dir)
	case "compare":
		return compare(os.Stdout, b, *names, flags.Args())
	}
	return fmt.Errorf("%q: want config or compare", args[0])
}

// readCases fills in ports and tokens.
func readCases(b []byte, dir string) (list []testCase, err error) {
	env, err := os.ReadFile(filepath.Join(dir, "ports.env"))
	if err != nil {
		return nil, err
	}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)=(\d+)`).FindAllSubmatch(env, -1) {
		b = bytes.ReplaceAll(b, []byte("@"+string(m[1])+"@"), m[2])
	}
	b = bytes.ReplaceAll(b, []byte("$TOKEN"), []byte(token(time.Hour)))
	b = bytes.ReplaceAll(b, []byte("$EXPIRED"), []byte(token(-time.Hour)))
	d := json.NewDecoder(bytes.NewReader(b))
	return list, d.Decode(&list)
}

func family(id string) string {
	name, _, _ := strings.Cut(id, "-")
	return name
}
