package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// printTable prints one row per check and below it, indented, why one is not up.
func printTable(w io.Writer, runs []run) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CHECK\tSTATUS\tCLASS\tLATENCY\tPHASES\tURL")
	for _, r := range runs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.result.Check, r.result.Status, r.result.Class,
			short(r.result.Latency), phases(r.result.Phases), r.endpoint.URL)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	first := true
	for _, r := range runs {
		if r.result.Status == probe.Up && r.result.Reason == "" {
			continue
		}
		if first {
			b.WriteByte('\n')
			first = false
		}
		fmt.Fprintf(&b, "%s: %s\n", r.result.Check, r.result.Reason)
		if e := r.evidence; e != nil {
			if len(e.Causes) > 0 {
				fmt.Fprintf(&b, "    %s: %s\n    next: %s\n", e.Causes[0].Certainty, e.Causes[0].Text, e.Causes[0].Next)
			}
			if e.Curl != "" {
				fmt.Fprintf(&b, "    %s\n", e.Curl)
			}
		}
	}
	counts := map[probe.Status]int{}
	for _, r := range runs {
		counts[r.result.Status]++
	}
	fmt.Fprintf(&b, "\n%d checks: %d up, %d degraded, %d down, %d unknown\n",
		len(runs), counts[probe.Up], counts[probe.Degraded], counts[probe.Down], counts[probe.Unknown])
	_, err := w.Write(b.Bytes())
	return err
}

// phases prints the phases that were reached, such as "dns 1ms connect 2ms tls 9ms".
func phases(p probe.Phases) string {
	var parts []string
	add := func(name string, d time.Duration) {
		if d > 0 {
			parts = append(parts, name+" "+short(d))
		}
	}
	add("dns", p.DNS)
	add("connect", p.Connect)
	add("tls", p.TLS)
	add("first-byte", p.FirstByte)
	add("body", p.Body)
	add("upgrade", p.Upgrade)
	add("message", p.Message)
	add("ping", p.Ping)
	add("close", p.Close)
	return strings.Join(parts, ", ")
}

// short prints a duration with the precision that a person reads.
func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < 100*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}

func printJSON(w io.Writer, runs []run) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, r := range runs {
		err := enc.Encode(struct {
			checks.Result
			URL      string          `json:"url"`
			Evidence *probe.Evidence `json:"evidence,omitempty"`
		}{r.result, r.endpoint.URL, r.evidence})
		if err != nil {
			return err
		}
	}
	return nil
}

// JUnit's XML, as CI systems read it: a failure is the target's, an error ours.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name      string      `xml:"name,attr"`
		ClassName string      `xml:"classname,attr"`
		Time      string      `xml:"time,attr"`
		Failure   *junitFault `xml:"failure,omitempty"`
		Error     *junitFault `xml:"error,omitempty"`
	}
	junitFault struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

func printJUnit(w io.Writer, runs []run) error {
	suite := junitSuite{Name: "tripline", Tests: len(runs)}
	for _, r := range runs {
		c := junitCase{Name: r.result.Check, ClassName: r.result.Kind, Time: fmt.Sprintf("%.3f", r.result.Duration.Seconds())}
		fault := &junitFault{Type: string(r.result.Class), Message: r.result.Reason, Text: r.endpoint.URL}
		switch r.result.Status {
		case probe.Down:
			c.Failure = fault
			suite.Failures++
		case probe.Unknown:
			c.Error = fault
			suite.Errors++
		default:
		}
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(suite); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
