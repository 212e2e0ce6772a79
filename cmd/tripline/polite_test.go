package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRunAsksLittle: a hundred checks of one host that fail at once, are well for
// a moment and fail in another way cost it at most 8 requests besides their own.
func TestRunAsksLittle(t *testing.T) {
	t.Parallel()
	var own, more, status atomic.Int64
	status.Store(http.StatusNotFound)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		check := strings.HasPrefix(r.URL.Path, "/ws/c") && !strings.HasSuffix(r.URL.Path, "/") && r.Header.Get("Origin") == "" &&
			r.Header.Get("Upgrade") != "" && r.Header.Get("Sec-Websocket-Version") == "13"
		if check {
			own.Add(1)
		} else {
			more.Add(1)
		}
		w.WriteHeader(int(status.Load()))
	}))
	defer s.Close()
	const checks = 100
	dir := t.TempDir()
	var b strings.Builder
	fmt.Fprintf(&b, "version: 1\ndata: {dir: data}\nhttp: {listen: %q}\ndefaults: {base_url: %q, every: 4s, timeout: 1s, confirm: 1}\nchecks:\n", freePort(t), s.URL)
	for i := range checks {
		fmt.Fprintf(&b, "  - {name: c%d, websocket: {url: /ws/c%d}}\n", i, i)
	}
	writeFile(t, filepath.Join(dir, "config.yaml"), b.String())
	p := start(t, dir, nil, "run")
	for _, next := range []int64{http.StatusNotFound, http.StatusForbidden, http.StatusBadGateway, http.StatusInternalServerError} {
		status.Store(next)
		before := own.Load()
		waitFor(t, 60*time.Second, "all checks to run", func() bool { return own.Load() >= before+2*checks })
	}
	p.stop()
	if n := more.Load(); n < 1 || n > 8 {
		t.Errorf("%d runs of the checks made %d further requests, want 1 to 8", own.Load(), n)
	}
}
