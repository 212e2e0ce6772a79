package wsprobe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// TestThriftyTogether: a hundred checks of one host:port that fail at once cost
// it a handful of requests, and each of them is explained.
func TestThriftyTogether(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	addr := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		req, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		mu.Lock()
		asked++
		mu.Unlock()
		status, body := "404 Not Found", `{"detail":"Not Found"}`
		if req.URL.Path == "/health" {
			status, body = "200 OK", `{"version":"7"}`
		}
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\nServer: uvicorn\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	})
	n := testNetwork()
	const checks = 100
	var good atomic.Int32
	var wg sync.WaitGroup
	for i := range checks {
		path := "/ws" // half of them on a path of their own
		if i%2 == 1 {
			path = fmt.Sprintf("/ws/%d", i)
		}
		p := newProber(t, n, "ws://"+addr+path, probe.Connection{}, nil, nil, Options{})
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			o := p.Probe(ctx)
			d := o.Inquiry(ctx, true)(nil)
			if len(d.Causes) > 1 && d.Causes[0].Name == CauseNoLibrary && len(d.Asked) >= 5 {
				good.Add(1)
			} else {
				t.Errorf("%s: %v %+v", o.Reason, names(d.Causes), d.Asked)
			}
		})
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if more := asked - checks; more > mostAtOnce || more == 0 {
		t.Errorf("%d checks made %d further requests, want at most %d", checks, more, mostAtOnce)
	}
	if good.Load() != checks {
		t.Errorf("%d of %d are explained", good.Load(), checks)
	}
}

// TestThriftyByTurns: the first answer of another version may be that of a new
// one or of one of two that serve by turns; two more requests tell.
func TestThriftyByTurns(t *testing.T) {
	for _, c := range []struct {
		versions string // one letter for each answer of the health path, the last for the rest
		cause    string
	}{
		{"AB", CauseMixedVersions},
		{"A", CauseNewVersion},
	} {
		var asked atomic.Int32
		addr := listen(t, func(conn *net.TCPConn) {
			defer conn.Close()
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			status, body := "403 Forbidden", ""
			if req.URL.Path == "/health" {
				n := min(int(asked.Add(1)), len(c.versions))
				status, body = "200 OK", fmt.Sprintf(`{"version":"%c"}`, c.versions[n-1])
			}
			fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
		})
		p := newProber(t, testNetwork(), "ws://"+addr+"/ws", probe.Connection{}, nil, nil, Options{})
		for i := range steady {
			NoteVersion(p.net, p.versionSource(), "B", time.Now().Add(time.Duration(i-steady)*time.Second))
		}
		o := p.Probe(t.Context())
		d := o.Inquiry(t.Context(), true)(nil)
		if len(d.Causes) == 0 || d.Causes[0].Name != c.cause || asked.Load() != 3 {
			t.Errorf("%s: %v after %d questions about the version, want %s after 3", c.versions, names(d.Causes), asked.Load(), c.cause)
		}
	}
}

func TestTake(t *testing.T) {
	var h host
	t0 := time.Now()
	for i, c := range []struct {
		after   time.Duration
		n, want int
	}{
		{0, 6, 6},
		{time.Minute, 6, 2},
		{2 * time.Minute, 6, 0},
		{perWindow - 1, 6, 0},
		{perWindow, 3, 3},
		{perWindow, 6, 3},
		{perWindow + time.Minute, 6, 2},
	} {
		if got := h.take(c.n, t0.Add(c.after)); got != c.want {
			t.Errorf("%d: after %s %d of %d, want %d", i, c.after, got, c.n, c.want)
		}
	}
}

func TestHeed(t *testing.T) {
	t0 := time.Now()
	for _, c := range []struct {
		status int
		after  string
		want   time.Duration
	}{
		{404, "", 0},
		{429, "", perWindow},
		{429, "600", 10 * time.Minute},
		{429, "999999", time.Hour},
		{503, "", busyTime},
		{503, "120", 2 * time.Minute},
	} {
		header := http.Header{}
		if c.after != "" {
			header.Set("Retry-After", c.after)
		}
		for _, own := range []bool{true, false} {
			answer, fine := Seen{Status: c.status, Header: header}, Seen{Status: 404}
			first, sib := fine, &Siblings{Get: &answer}
			if own {
				first, sib = answer, &Siblings{Get: &fine}
			}
			var h host
			h.heed(first, sib, t0)
			if c.want > 0 && (h.take(1, t0.Add(c.want-1)) != 0 || h.take(1, t0.Add(c.want)) != 1) || c.want == 0 && h.take(1, t0) != 1 {
				t.Errorf("%d with Retry-After %q (own answer: %v): quiet until %s, want %s", c.status, c.after, own, h.quiet.Sub(t0), c.want)
			}
		}
	}
}

// The longest of the times that a host asked for counts, in whichever order.
func TestHeedTheLongest(t *testing.T) {
	t0 := time.Now()
	long := Seen{Status: 429, Header: http.Header{"Retry-After": {"1800"}}}
	short := Seen{Status: 503, Header: http.Header{}}
	for _, answers := range [][2]Seen{{long, short}, {short, long}} {
		var together, apart host
		together.heed(answers[0], &Siblings{Get: &answers[1]}, t0)
		apart.heed(answers[0], &Siblings{}, t0)
		apart.heed(answers[1], &Siblings{}, t0)
		for _, h := range []host{together, apart} {
			if got := h.quiet.Sub(t0); got != 30*time.Minute {
				t.Errorf("%d then %d: quiet for %s, want 30m", answers[0].Status, answers[1].Status, got)
			}
		}
	}
}

func TestFind(t *testing.T) {
	t0 := time.Now()
	seen := func(path string, status int) Seen {
		return Seen{Path: path, Stage: probe.StageHTTP, Class: classStatus(status), Status: status, Header: http.Header{}, Body: "no " + path}
	}
	token := seen("/a", 404)
	token.Credential = true
	open := Seen{Status: 101}
	h := host{known: []known{
		{t0.Add(-perWindow), "x", seen("/old", 502), Siblings{}},
		{t0.Add(-time.Minute), "x", seen("/a", 404), Siblings{Slash: &open, Health: &open}},
		{t0.Add(-30 * time.Second), "x", seen("/b", 404), Siblings{Health: &open}},
	}}
	for _, c := range []struct {
		what  string
		name  string
		first Seen
		note  string // "": not found
		slash bool
	}{
		{"the same", "x", seen("/a", 404), "(asked 1m0s ago)", true},
		{"another path that fails alike", "x", seen("/c", 404), "(asked 30s ago for /b, which fails alike)", false},
		{"another failure", "x", seen("/a", 403), "", false},
		{"with a credential", "x", token, "", false},
		{"another virtual host", "y", seen("/a", 404), "", false},
		{"too long ago", "x", seen("/old", 502), "", false},
	} {
		k := h.find(c.first, c.name, t0)
		if k == nil || c.note == "" {
			if k != nil || c.note != "" {
				t.Errorf("%s: found %+v, want %q", c.what, k, c.note)
			}
			continue
		}
		sib := k.sibFor(c.first)
		if got := k.note(c.first, t0); got != c.note || (sib.Slash != nil) != c.slash || sib.Health == nil {
			t.Errorf("%s: %q, %+v; want %q", c.what, got, sib, c.note)
		}
	}
	if len(h.known) != 2 {
		t.Errorf("%d failures are remembered, want 2", len(h.known))
	}
}

// TestInquiry: later attempts count, secrets stay out, and where there is no
// time nothing is asked.
func TestInquiry(t *testing.T) {
	const secret = "tok-1234567890"
	asked := make(chan string, 32)
	addr := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			asked <- req.URL.Path
			_, _ = io.WriteString(conn, "HTTP/1.1 404 Not Found\r\nContent-Length: 31\r\nServer: "+secret+"\r\n\r\nnothing here for "+secret)
		}
	})
	p := newProber(t, probe.NewNetwork(probe.NetworkOptions{Redact: probe.NewRedactor(secret)}), "ws://"+addr+"/ws?token="+secret, probe.Connection{}, nil, nil, Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	o := p.Probe(ctx)
	d := o.Inquiry(ctx, false)([]probe.Outcome{{Class: probe.OK}, {Class: probe.NotFound, Stage: probe.StageHTTP}})
	if names(d.Causes)[0] != CauseMixedVersions || d.Causes[0].Certainty != probe.Proven {
		t.Errorf("with a later attempt that works: %+v", d.Causes)
	}
	if last := d.Asked[len(d.Asked)-1]; last != (probe.Question{What: "the same again, 7 times", Answer: "6 x 404, 1 x 101"}) {
		t.Errorf("asked %+v", last)
	}
	if all := fmt.Sprintf("%+v", d); strings.Contains(all, "1234567890") {
		t.Errorf("secret in %s", all)
	}
	for len(asked) > 0 {
		<-asked
	}
	short, stop := context.WithTimeout(t.Context(), leastTime/2)
	defer stop()
	d = o.Inquiry(short, false)(nil)
	if len(asked) > 0 || len(d.Asked) > 0 || !slices.Contains(names(d.Causes), CauseRouteMissing) {
		t.Errorf("without time: %d requests, %+v", len(asked), d)
	}
}
