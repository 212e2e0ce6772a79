package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/rogpeppe/go-internal/testscript"
)

// beTripline makes a child process of the test binary be the program itself,
// so that it can be killed for real.
const beTripline = "TRIPLINE_TEST_MAIN"

// limitFiles limits the descriptors of such a child process.
const limitFiles = "TRIPLINE_TEST_NOFILE"

// parallelTests is how many tests run at one time: they wait for most of theirs.
const parallelTests = 8

func TestMain(m *testing.M) {
	if os.Getenv(beTripline) != "" {
		if n, err := strconv.ParseUint(os.Getenv(limitFiles), 10, 64); err == nil {
			_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n})
		}
		main()
	}
	if strings.HasSuffix(os.Args[0], ".test") { // and not a command of a script
		flag.Parse()
		if p := flag.Lookup("test.parallel"); p.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) { // nobody chose it
			_ = p.Value.Set(strconv.Itoa(parallelTests)) // a number, which it takes
		}
	}
	testscript.Main(m, map[string]func(){"tripline": main})
}

// process is a running tripline.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    *syncBuffer
	exited chan struct{}
	load   *load // since it was started
}

// start runs tripline with args in dir; it is killed when the test ends.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	out := &syncBuffer{}
	return startTo(t, out, out, dir, env, args...)
}

// startTo is start with the process's output going to w.
func startTo(t *testing.T, w io.Writer, out *syncBuffer, dir string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, out: out, exited: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0], args...)
	p.cmd.Dir = dir
	p.cmd.Env = append(append(os.Environ(), beTripline+"=1"), env...)
	p.cmd.Stdout, p.cmd.Stderr = w, w
	p.load = watchLoad(p.exited)
	if err := p.cmd.Start(); err != nil {
		close(p.exited)
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("output of tripline %s:\n%s", strings.Join(args, " "), p.out)
		}
	})
	return p
}

// kill ends the process as a crash of the machine would, and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// stop asks the process to end and returns its exit code and how long it took.
func (p *process) stop() (code int, took time.Duration) {
	p.t.Helper()
	return p.stopBy(syscall.SIGTERM)
}

func (p *process) stopBy(sig syscall.Signal) (code int, took time.Duration) {
	p.t.Helper()
	at := time.Now()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatalf("still running %s after %s; output:\n%s", patience, sig, p.out)
	}
	return p.cmd.ProcessState.ExitCode(), time.Since(at)
}

// patience is what any wait gets at least, since the machine may be busy.
const patience = time.Minute

// waitFor polls cond until it holds.
func waitFor(t *testing.T, within time.Duration, what string, cond func() bool) {
	t.Helper()
	within = max(within, patience)
	deadline := time.Now().Add(within)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", within, what)
		}
		<-tick.C
	}
}

// target is the service under watch: a REST API and a WebSocket endpoint whose
// behaviour can be switched.
type target struct {
	*httptestServer
	mode     atomic.Value // "ok", "404", "mix", "hang", "503"
	upgrades atomic.Int64 // upgrade requests seen
	health   atomic.Int64 // health requests seen
}

type httptestServer struct {
	URL  string
	addr string
}

func newTarget(t *testing.T) *target {
	t.Helper()
	tg := &target{}
	tg.mode.Store("ok")
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		tg.health.Add(1)
		if tg.mode.Load() == "503" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"status":"ok","version":"7","environment":"test","connections":{"active":3}}`)
	})
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		n := tg.upgrades.Add(1)
		switch mode := tg.mode.Load(); {
		case mode == "404", mode == "mix" && n%2 == 0:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"detail":"Not Found"}`)
		case mode == "hang":
			<-r.Context().Done()
		default:
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer func() { _ = c.CloseNow() }() // the client has gone
			_, _, _ = c.Read(r.Context())
		}
	})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	tg.httptestServer = &httptestServer{URL: "http://" + l.Addr().String(), addr: l.Addr().String()}
	return tg
}

// nextPort counts the ports that freePort has handed out, from a random one on:
// another run of these tests may be under way.
var nextPort atomic.Uint32

// freePort returns an address on which nothing listens, and which no socket that
// asks for any port gets: those are of the ephemeral range, and this is below
// it. So a program can be started there, killed and started again.
func freePort(t *testing.T) string {
	t.Helper()
	const lowest = 10_000
	ports := ephemeral() - lowest
	nextPort.CompareAndSwap(0, 1+rand.Uint32N(ports))
	for range ports {
		addr := fmt.Sprintf("127.0.0.1:%d", lowest+nextPort.Add(1)%ports)
		if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatalf("no port from %d to %d is free", lowest, lowest+ports-1)
	return ""
}

// ephemeral is the lowest port of those that the system hands out by itself.
func ephemeral() uint32 {
	const usual = 32768
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	var low uint32
	if _, scanErr := fmt.Sscan(string(b), &low); err != nil || scanErr != nil || low < 12_000 {
		return usual
	}
	return low
}

// get returns status and body of a GET.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Timeout: patience / 2}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// syncBuffer is a bytes.Buffer that a process writes while the test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
