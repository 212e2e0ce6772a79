package checks

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// BenchmarkHTTP compares a probe with the bare loop: the least code that can do
// the same. Both run in turns against one target, so that what else the machine
// does weighs on both. The figure to watch is cpu-ratio.
func BenchmarkHTTP(b *testing.B) {
	addr := startTarget(b)
	health := &Health{URL: "http://" + addr + "/health"}
	route := &Route{URL: "http://" + addr + "/health", Contains: probe.List{"ok"}}
	env := probe.Env{Net: probe.NewNetwork(probe.NetworkOptions{UserAgent: "Tripline/bench"})}
	for _, s := range []Settings{health, route} {
		if p := s.Validate(env); len(p) > 0 {
			b.Fatal(p)
		}
	}
	run := func(s Settings) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if o := s.Probe(ctx); o.Class != probe.OK {
				return fmt.Errorf("%s: %s", o.Class, o.Reason)
			}
			return nil
		}
	}
	bare := func() error { return bareProbe(addr) }
	for _, bm := range []struct {
		name  string
		probe func() error
	}{{"health", run(health)}, {"route", run(route)}, {"bare", bare}} {
		b.Run(bm.name, func(b *testing.B) {
			const turn = 50
			var cpu [2]time.Duration
			b.ReportAllocs()
			for b.Loop() {
				for i, f := range []func() error{bare, bm.probe} {
					start := cpuTime()
					for range turn {
						if err := f(); err != nil {
							b.Fatal(err)
						}
					}
					cpu[i] += cpuTime() - start
				}
			}
			n := float64(b.N) * turn * 1000
			b.ReportMetric(float64(cpu[0])/n, "bare-us")
			b.ReportMetric(float64(cpu[1])/n, "probe-us")
			b.ReportMetric(float64(cpu[1])/float64(cpu[0]), "cpu-ratio")
		})
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var bareReaders = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }}

// bareProbe is one check by the least code: no classes, no evidence.
func bareProbe(addr string) error {
	d := net.Dialer{KeepAlive: -1}
	c, err := d.Dial("tcp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintf(c, "GET /health HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nConnection: close\r\n\r\n", addr); err != nil {
		return err
	}
	br := bareReaders.Get().(*bufio.Reader)
	defer bareReaders.Put(br)
	br.Reset(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return err
}

// TestBenchTarget is the target of BenchmarkHTTP, in a process of its own so
// that its CPU is not counted: a server that costs as little as can be.
func TestBenchTarget(t *testing.T) {
	if os.Getenv("TRIPLINE_BENCH_TARGET") == "" {
		t.Skip("runs only as a child of BenchmarkHTTP")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("listening on %s\n", l.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		_ = l.Close()
	}()
	const body = `{"status":"ok","version":"1.4.2","environment":"prod","checks":{"db":"ok"}}`
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 1024)
			if _, err := c.Read(buf); err == nil {
				_, _ = c.Write(answer)
			}
		}()
	}
}

func startTarget(b *testing.B) (addr string) {
	child := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestBenchTarget$", "-test.v")
	child.Env = append(os.Environ(), "TRIPLINE_BENCH_TARGET=1")
	stdin, err := child.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = child.Wait()
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "listening on %s", &addr); err == nil {
			return addr
		}
	}
	b.Fatal("the target did not start")
	return ""
}
