package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// hostile are the ways in which a target can do harm, by path, and the classes
// that each may get.
func hostile(t *testing.T) (answers map[string]http.HandlerFunc, classes map[string][]probe.Class) {
	t.Helper()
	var member bytes.Buffer
	z := gzip.NewWriter(&member)
	if _, err := z.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := bytes.Repeat(member.Bytes(), 1<<10) // 1 GiB
	raw := func(w http.ResponseWriter) io.WriteCloser {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		return c
	}
	drip := func(w io.Writer, done <-chan struct{}, text string) {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for k := range text {
			if _, err := io.WriteString(w, text[k:k+1]); err != nil {
				return
			}
			if f, ok := w.(http.Flusher); ok {
				f.Flush()
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	}
	answers = map[string]http.HandlerFunc{
		"headers": func(w http.ResponseWriter, _ *http.Request) {
			c := raw(w)
			defer c.Close()
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\n")
			for n := range 2 << 10 {
				if _, err := fmt.Fprintf(c, "X-%d: %s\r\n", n, strings.Repeat("x", 1<<10)); err != nil {
					return
				}
			}
			fmt.Fprint(c, "Content-Length: 0\r\n\r\n")
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			for err := error(nil); err == nil; {
				_, err = w.Write(make([]byte, 64<<10))
			}
		},
		"bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		},
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			n := 0
			_, _ = fmt.Sscan(r.URL.RawQuery, &n)
			if n < 10_000 {
				http.Redirect(w, r, fmt.Sprintf("/redirects?%d", n+1), http.StatusFound)
			}
		},
		"slow-body": func(w http.ResponseWriter, r *http.Request) { drip(w, r.Context().Done(), "this takes a while") },
		"slow-head": func(w http.ResponseWriter, _ *http.Request) {
			c := raw(w)
			defer c.Close()
			drip(c, nil, "HTTP/1.1 2")
		},
		"silent": hang,
	}
	return answers, map[string][]probe.Class{
		"headers":   {probe.NotHTTP},
		"endless":   {probe.BodyTooLarge},
		"bomb":      {probe.BodyTooLarge},
		"redirects": {probe.TooManyRedirects},
		"slow-body": {probe.BodyTimeout},
		"slow-head": {probe.HandshakeTimeout},
		"silent":    {probe.HandshakeTimeout},
	}
}

// footprint is what a leak would make grow.
type footprint struct{ memory, goroutines, files float64 }

func measure(t *testing.T, listen string) (f footprint) {
	t.Helper()
	waitFor(t, time.Minute, "/metrics", func() bool { // 503 while too many ask at once
		f = footprint{
			metric(t, listen, "process_resident_memory_bytes"), metric(t, listen, "go_goroutines"), metric(t, listen, "process_open_fds"),
		}
		return f.memory > 0 && f.goroutines > 0 && f.files > 0
	})
	return f
}

// wantBack fails the test unless the process goes back to before, but for some
// goroutines and files of probes under way and some MiB.
func wantBack(t *testing.T, listen string, before footprint, some, mib float64) {
	t.Helper()
	var now footprint
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		now = measure(t, listen)
		if now.goroutines <= before.goroutines+some && now.files <= before.files+some {
			tick.Stop()
			break
		}
		if time.Now().After(deadline) {
			t.Errorf("goroutines %g, open files %g; want at most %g more than before: %g, %g", now.goroutines, now.files, some, before.goroutines, before.files)
			break
		}
	}
	t.Logf("before %.0f, after %.0f", before, now)
	if grown := (now.memory - before.memory) / (1 << 20); grown > mib {
		t.Errorf("memory grew by %.1f MiB, want at most %.0f", grown, mib)
	}
}

// TestAdversityHostile probes targets that try to do harm: each gets its class
// within its timeout, and nothing is left behind.
func TestAdversityHostile(t *testing.T) {
	t.Parallel()
	const timeout, each = 800 * time.Millisecond, 3
	answers, classes := hostile(t)
	f, listen := newFleet(t, 1), freePort(t)
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {dir: data}\nhttp: {listen: %q}\ndefaults: {every: 1s, timeout: %s, confirm: 0, per_host: 1000}\nchecks:\n", listen, timeout)
	for name := range answers {
		for n := range each {
			fmt.Fprintf(&b, "  - {name: %s-%d, group: %s, route: {url: \"http://%s/%s\", redirects: follow, max_redirects: 3}}\n", name, n, name, f.hosts[0], name)
		}
	}
	p, dir := launch(t, b.String())
	waitFor(t, time.Minute, "good runs", func() bool {
		return metric(t, listen, `tripline_slots_total{outcome="kept"}`) >= 3*each*float64(len(answers))
	})
	before := measure(t, listen)

	at := time.Now()
	f.answers(func(w http.ResponseWriter, r *http.Request) { answers[strings.Trim(r.URL.Path, "/")](w, r) })
	worst := 0.0
	for time.Since(at) < *adversityTime {
		worst = math.Max(worst, measure(t, listen).memory)
	}
	healed := time.Now()
	f.answers(func(http.ResponseWriter, *http.Request) {})
	p.alive()
	wantBack(t, listen, before, 6, 64)
	if grown := (worst - before.memory) / (1 << 20); grown > 96 {
		t.Errorf("memory grew by %.1f MiB under attack, want at most 96", grown)
	} else {
		t.Logf("memory grew by %.1f MiB under attack", grown)
	}
	p.stop()

	got := map[string]map[probe.Class]int{}
	for _, e := range readLog(t, dir) {
		r := e.Result
		if r == nil || r.Start.Before(at) || r.Start.Add(timeout).After(healed) || r.Class == probe.Interrupted {
			continue
		}
		if got[r.Group] == nil {
			got[r.Group] = map[probe.Class]int{}
		}
		got[r.Group][r.Class]++
		if r.Duration > timeout+time.Second/2 {
			f.late(t, "%s took %s, want at most its timeout %s: %s", r.Check, r.Duration, timeout, r.Reason)
		}
	}
	t.Logf("classes: %v", got)
	for name, want := range classes {
		n := 0
		for _, class := range want {
			n += got[name][class]
			delete(got[name], class)
		}
		if n == 0 || len(got[name]) > 0 {
			f.late(t, "%s: %d results of class %s, and also %v", name, n, want, got[name])
		}
	}
}
