//go:build unix

package wsprobe

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tripline/tripline/checks/probe"
)

func startTarget(b *testing.B) (addr string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "WSPROBE_TARGET=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	if _, err := fmt.Fscanln(out, &addr); err != nil {
		b.Fatal(err)
	}
	return addr
}

// bare is the least that a program can do to open a WebSocket, ping it and
// close it.
func bare(readers *sync.Pool, addr string) error {
	d := net.Dialer{KeepAlive: -1}
	c, err := d.Dial("tcp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	var k [16]byte
	_, _ = rand.Read(k[:])
	key := base64.StdEncoding.EncodeToString(k[:])
	if _, err := fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n", addr, key); err != nil {
		return err
	}
	br := readers.Get().(*bufio.Reader)
	defer readers.Put(br)
	br.Reset(c)
	resp, err := http.ReadResponse(br, nil) //nolint:bodyclose // a 101 has none
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		return fmt.Errorf("bad handshake")
	}
	for _, op := range []byte{9, 8} {
		if _, err := c.Write([]byte{128 | op, 128, 0, 0, 0, 0}); err != nil {
			return err
		}
		h, err := br.Peek(2)
		if err != nil {
			return err
		}
		if _, err := br.Discard(2 + int(h[1]&127)); err != nil {
			return err
		}
	}
	return nil
}

func cpu() time.Duration {
	var ru syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkProbe compares the processor time of a probe (open, ping, close)
// with that of the bare loop, batch by batch in the same run.
func BenchmarkProbe(b *testing.B) {
	addr := startTarget(b)
	readers := &sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }}
	n := probe.NewNetwork(probe.NetworkOptions{UserAgent: "Tripline/bench"})
	for _, settle := range []time.Duration{0} {
		b.Run("settle="+settle.String(), func(b *testing.B) {
			p := newProber(b, n, "ws://"+addr+"/ws", probe.Connection{}, nil, nil, Options{Ping: true, Settle: settle})
			one := func() error {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				defer cancel()
				if o := p.Probe(ctx); o.Class != probe.OK {
					return fmt.Errorf("%s: %s", o.Class, o.Reason)
				}
				return nil
			}
			plain := func() error { return bare(readers, addr) }
			var ours, theirs time.Duration
			b.ReportAllocs()
			batch(b, 200, one)
			batch(b, 200, plain)
			for done := 0; done < b.N; {
				n := min(400, b.N-done)
				ours += batch(b, n, one)
				theirs += batch(b, n, plain)
				done += n
			}
			b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "cpu-µs/probe")
			b.ReportMetric(float64(theirs.Microseconds())/float64(b.N), "cpu-µs/bare")
			b.ReportMetric(float64(ours)/float64(theirs), "ratio")
		})
	}
}

// batch does n operations, eight at a time, and returns their processor time.
func batch(b *testing.B, n int, op func() error) time.Duration {
	t0 := cpu()
	var g errgroup.Group
	g.SetLimit(8)
	for range n {
		g.Go(op)
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	return cpu() - t0
}
