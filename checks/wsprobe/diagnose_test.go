package wsprobe

import (
	"bufio"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// accepted says which of our causes are right for a cause of the recordings.
func accepted(t *testing.T) (right map[string][]string) {
	t.Helper()
	b, err := os.ReadFile("testdata/causes.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &right); err != nil {
		t.Fatal(err)
	}
	return right
}

// asSeen makes of a recorded answer what our own request would have made of it.
func (r raw) asSeen(path string) Seen {
	s := Seen{
		Path: path, Stage: probe.Stage(r.Stage), Status: r.Status, Body: r.Body, Reason: r.Err + r.End,
		Took: time.Duration(r.TookMS) * time.Millisecond,
	}
	if r.Status != 0 {
		if resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(r.Head)), nil); err == nil {
			s.Header = resp.Header
			_ = resp.Body.Close()
		}
	}
	for _, f := range r.Frames {
		s.Code = f.Code
		s.Texts = append(s.Texts, f.Text)
		if f.Raw == "4854" {
			s.Detail = DetailHTTPInStream
		}
	}
	return s
}

func (c *recording) seen(t *testing.T) (Seen, Siblings) {
	t.Helper()
	u, err := url.Parse(c.URL)
	if err != nil {
		t.Fatal(err)
	}
	first := c.Run.asSeen(u.RequestURI())
	first.Class, first.Secure, first.Offered = c.Expect, u.Scheme == "wss", c.Sub
	if c.Expect == probe.Flapping {
		first.Class = classStatus(first.Status)
	}
	first.Credential = u.RawQuery != "" && strings.Contains(u.RawQuery, "token")
	for _, h := range c.Headers {
		first.Credential = first.Credential || strings.HasPrefix(h, "Authorization")
		first.Origin = first.Origin || strings.HasPrefix(h, "Origin")
	}
	var sib Siblings
	for _, status := range c.Statuses {
		if c.Statuses[0] == first.Status {
			sib.Again = append(sib.Again, Seen{Status: status, Class: classStatus(status)})
		}
	}
	for name, r := range c.Siblings {
		path := u.RequestURI()
		var at **Seen
		switch name {
		case "get":
			at = &sib.Get
		case "get_random":
			at, path = &sib.GetRandom, "/zz-no-such-path-7f3a"
		case "up_random":
			at, path = &sib.UpRandom, "/zz-no-such-path-7f3a"
		case "up_v99":
			at = &sib.Version
		case "health":
			at, path = &sib.Health, "/health"
		case "up_slash":
			at, path = &sib.Slash, u.Path+"/"
		case "up_origin":
			at = &sib.WithOrigin
		case "alpn_h2": // asked by the first probe itself
			continue
		default:
			t.Fatalf("no place for sibling %q", name)
		}
		s := r.asSeen(path)
		*at = &s
	}
	return first, sib
}

// TestNoAnswersInTheCode: the rules must hold for servers that nobody has recorded,
// so no code that ships, and not the config that is measured with, knows a
// recorded case or its true cause by name.
func TestNoAnswersInTheCode(t *testing.T) {
	words := map[string]bool{}
	for _, c := range recordings(t) {
		if strings.Contains(c.ID, "-") { // others are plain words
			words[c.ID] = true
		}
	}
	for cause, ours := range accepted(t) {
		if strings.Contains(cause, "_") && !slices.Contains(ours, cause) {
			words[cause] = true
		}
	}
	for _, name := range []string{CauseEdgeRule, string(probe.RateLimited), CauseH2Only} { // names of ours too
		delete(words, name)
	}
	quoted := regexp.MustCompile("[\"`]([\\w-]+)[\"`]")
	files := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range quoted.FindAllSubmatch(b, -1) {
			if words[string(m[1])] {
				t.Errorf("%s: %s is the name of a recorded case or of its cause", path, m[0])
			}
		}
		return nil
	})
	if err != nil || files < 50 || len(words) < 200 {
		t.Errorf("read %d files for %d words: %v", files, len(words), err)
	}
}

// TestDiagnoseRecordings wants the true cause of every recorded failure among
// our causes, and mostly as the first of them.
func TestDiagnoseRecordings(t *testing.T) {
	failing, among, leading := 0, 0, 0
	causesOf := accepted(t)
	for _, c := range recordings(t) {
		first, sib := c.seen(t)
		causes := Diagnose(first, sib)
		if c.Expect == probe.OK {
			if len(causes) > 0 {
				t.Errorf("%s: %d causes for what is no failure", c.ID, len(causes))
			}
			continue
		}
		failing++
		right := causesOf[c.Cause]
		if right == nil {
			t.Fatalf("%s: no mapping for cause %q", c.ID, c.Cause)
		}
		var names []string
		for _, cause := range causes {
			names = append(names, cause.Name)
			if cause.Text == "" || cause.Next == "" || cause.Fix == "" {
				t.Errorf("%s: cause %s has no text", c.ID, cause.Name)
			}
		}
		at := slices.IndexFunc(names, func(n string) bool { return slices.Contains(right, n) })
		switch {
		case at < 0:
			t.Logf("%-22s %-18s not found: cause %s, got %v", c.ID, c.Expect, c.Cause, names)
		case at > 0:
			among++
			t.Logf("%-22s %-18s at %d: cause %s, got %v", c.ID, c.Expect, at+1, c.Cause, names)
		default:
			among++
			leading++
		}
	}
	t.Logf("%d failures: true cause among ours in %d (%.1f %%), first in %d (%.1f %%)", failing,
		among, 100*float64(among)/float64(failing), leading, 100*float64(leading)/float64(failing))
	if among*100 < failing*97 || leading*100 < failing*60 {
		t.Error("want it among ours in 97 % and first in 60 %")
	}
}
