package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReloadOutlivesItsClient sends whoever asked for a reload away while the
// file is being read: the reload is made nevertheless, whole.
func TestReloadOutlivesItsClient(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "pipe")
	text := fmt.Sprintf(`version: 1
data: {dir: %q}
checks:
  - {name: first, health: {url: "http://127.0.0.1:1/health"}}
`, filepath.Join(dir, "data"))
	m := openMonitor(t, dir, text)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.run(ctx, l) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	// Whoever reads the file waits for what is written into the pipe.
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, text+fmt.Sprintf("  - {name: second, health: {url: \"http://127.0.0.1:1/${file:%s}\"}}\n", pipe))
	client, leave := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	go func() {
		_, err := m.command(client, "reload", map[string]string{})
		answer <- err
	}()
	var w *os.File
	waitFor(t, patience, "the file to be read", func() bool {
		w, err = os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		return err == nil
	})
	leave()
	select {
	case err := <-answer:
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "begun and goes on") {
			t.Errorf("who leaves hears %v, want that the reload goes on", err)
		}
	case <-time.After(patience):
		t.Error("who leaves is held")
	}
	if _, err := w.WriteString("health"); errors.Join(err, w.Close()) != nil {
		t.Fatal(err)
	}
	waitFor(t, patience, "the reload", func() bool { return len(m.config().Checks) == 2 })
	waitFor(t, patience, "a result of the new check", func() bool { return m.page.History("second") != nil })
}

// TestSlowMonitor tells a monitor that does not answer yet from none.
func TestSlowMonitor(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // before that the server does not see its client leave
		cancel()                           // as an interrupt of the command line does, or its time
		<-r.Context().Done()
	}))
	defer slow.Close()
	for _, c := range []struct {
		name, listen, want string
		code               int
	}{
		{"slow", strings.TrimPrefix(slow.URL, "http://"), "was asked and has not answered for ", exitDown},
		{"none", "127.0.0.1:1", "no monitor answers: ", exitCannot},
	} {
		file := filepath.Join(t.TempDir(), "config.yaml")
		writeFile(t, file, fmt.Sprintf("version: 1\nhttp: {listen: %q}\nchecks:\n  - {name: a, health: {url: \"http://127.0.0.1:1/\"}}\n", c.listen))
		p := program{stdout: &syncBuffer{}, stderr: &syncBuffer{}, lookup: os.LookupEnv}
		commandCtx := t.Context()
		if c.code == exitDown {
			commandCtx = ctx
		}
		err := reloadCmd{configFlag{file}}.Run(commandCtx, p)
		exit, ok := errors.AsType[*exitError](err)
		if !ok || exit.code != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want exit code %d and %q", c.name, err, c.code, c.want)
		}
	}
}
