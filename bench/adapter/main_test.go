//go:build unix

package main

import (
	"encoding/json"
	"encoding/pem"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func sample(t *testing.T) (w workload) {
	t.Helper()
	if err := json.Unmarshal(read(t, "testdata/workload.json"), &w); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestConfigTimeout(t *testing.T) {
	w := sample(t)
	w.Webhook = ""
	for i := range w.Checks {
		w.Checks[i].IntervalMS, w.Checks[i].TimeoutMS = 2000, 1900
	}
	if got := w.config("/scratch"); !strings.Contains(got, "every: 2s, timeout: 1.8s") || strings.Contains(got, "1.9s") {
		t.Errorf("want a timeout that fits:\n%s", got)
	}
}

func TestConfig(t *testing.T) {
	got := []byte(sample(t).config("/scratch"))
	const golden = "testdata/config.yaml"
	if *update {
		write(t, golden, got)
	}
	if diff := cmp.Diff(string(read(t, golden)), string(got)); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}

// build builds a program of this project as .ci/run does.
func build(t *testing.T, pkg, program string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return program
}

// TestRun has `tripline validate` look at the config of every kind of check,
// and the adapter become a monitor that runs the checks of a workload.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	tripline, adapter := build(t, "../../cmd/tripline", filepath.Join(dir, "tripline")), build(t, ".", filepath.Join(dir, "adapter"))

	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	w := sample(t)
	w.CAFile = filepath.Join(dir, "ca.pem")
	write(t, w.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	config := filepath.Join(dir, "config.yaml")
	write(t, config, []byte(w.config(dir)))
	if out, err := exec.CommandContext(t.Context(), tripline, "validate", "--config", config).CombinedOutput(); err != nil {
		t.Errorf("tripline validate: %v\n%s", err, out)
	}

	var arrived atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) }))
	defer target.Close()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.Checks, w.Listen, w.Webhook = w.Checks[:1], l.Addr().String(), ""
	w.Checks[0].URL = target.URL + "/health/0"
	_ = l.Close()
	b, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "workload.json")
	write(t, file, b)
	run := exec.Command(adapter, "-tripline", tripline, file)
	out, err := run.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	run.Stderr = run.Stdout
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan []byte)
	go func() {
		b, _ := io.ReadAll(out)
		said <- b
	}()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := false; arrived.Load() < 3 && !late; {
		select {
		case <-tick.C:
		case <-deadline:
			late = true
			t.Error("no three runs within 60s")
		}
	}
	// The process that was started is the monitor itself.
	if err := run.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	text := <-said
	if err := run.Wait(); err != nil {
		t.Errorf("the monitor: %v\n%s", err, text)
	}
}
