package journal

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

// sample is an entry of about 300 bytes of JSON.
type sample struct {
	V        int
	Check    string
	Kind     string
	Group    string
	Location string
	Slot     time.Time
	Start    time.Time
	Duration time.Duration
	Status   string
	Class    string
	Phases   map[string]time.Duration
}

func newSample(i int) *sample {
	at := time.Unix(1_700_000_000+int64(i), int64(i)*7919%1e9).UTC()
	return &sample{
		V: 1, Check: fmt.Sprintf("checkout-%d", i%100), Kind: "websocket", Group: "shop", Location: "local",
		Slot: at.Truncate(time.Minute), Start: at, Duration: time.Duration(i) * 31337 % time.Second, Status: "up", Class: "ok",
		Phases: map[string]time.Duration{"dns": 123456, "connect": 234567, "tls": 3456789, "first_byte": 45678901},
	}
}

func cpuTime() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func benchLog(b *testing.B, dir string) (*Journal, *Log[*sample]) {
	b.Helper()
	j, err := Open(b.Context(), Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	l, err := NewLog(b.Context(), j, LogOptions[*sample]{Buffer: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	return j, l
}

// BenchmarkAppendFollow appends b.N entries as fast as they become durable, with followers that see all of them.
func BenchmarkAppendFollow(b *testing.B) {
	for _, followers := range []int{0, 1, 4} {
		b.Run(fmt.Sprintf("followers=%d", followers), func(b *testing.B) {
			j, l := benchLog(b, b.TempDir())
			ctx, cancel := context.WithCancel(b.Context())
			written := make(chan error, 1)
			go func() { written <- l.Run(ctx) }()
			done := make(chan error, followers)
			samples := make([]*sample, 10_000)
			for i := range samples {
				samples[i] = newSample(i)
			}
			for range followers {
				go func() {
					n := 0
					done <- l.Follow(ctx, 1, func(_ context.Context, batch Batch[*sample]) error {
						if n += len(batch.Entries); n == b.N {
							return errEnough
						}
						return nil
					})
				}()
			}
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime()
			for i := range b.N {
				l.Append(samples[i%len(samples)], false)
				if i%1000 == 999 {
					for l.Health().Pending > 10_000 {
						_ = j.wait(ctx, time.Millisecond)
					}
				}
			}
			for l.Health().Pending > 0 {
				_ = j.wait(ctx, time.Millisecond)
			}
			for range followers {
				if err := <-done; !errors.Is(err, errEnough) {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(l.Health().Batches), "batches")
			cancel()
			if err := errors.Join(<-written, j.Close()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkReplay reads back b.N entries from the disk, with so many entries in each batch.
func BenchmarkReplay(b *testing.B) {
	for _, size := range []int{1, 100} {
		b.Run(fmt.Sprintf("entries=%d", size), func(b *testing.B) {
			dir := b.TempDir()
			j, l := benchLog(b, dir)
			data, err := l.o.Encode(nil, func() (s []*sample) {
				for i := range size {
					s = append(s, newSample(i))
				}
				return s
			}())
			if err != nil {
				b.Fatal(err)
			}
			n := (b.N + size - 1) / size
			for i := range n {
				m := &nats.Msg{Subject: rootLog, Data: data, Header: nats.Header{
					hdrExpectLast: {strconv.Itoa(i)}, hdrAt: {strconv.FormatInt(time.Now().UnixNano(), 10)},
				}}
				if i%1000 < 999 && i < n-1 {
					err = j.engine.nc.PublishMsg(m)
				} else {
					_, err = j.engine.publish(b.Context(), m)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
			j, l = benchLog(b, dir)
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime()
			err = l.Follow(b.Context(), 1, func(_ context.Context, batch Batch[*sample]) error {
				if batch.Seq == uint64(n) {
					return errEnough
				}
				return nil
			})
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
			if closeErr := j.Close(); closeErr != nil || !errors.Is(err, errEnough) {
				b.Fatal(err, closeErr)
			}
		})
	}
}

// BenchmarkCommit changes so many records at once.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 2, 20} {
		b.Run(fmt.Sprintf("changes=%d", n), func(b *testing.B) {
			j, err := Open(b.Context(), Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			value := make([]byte, 500)
			changes := make([]Change, n)
			for i := range changes {
				changes[i] = Change{Key: NewKey("k", fmt.Sprint(i)), Value: value}
			}
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				if _, err := j.State().Commit(b.Context(), changes...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
			if err := j.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkIdle measures an open journal that nobody uses: CPU for each second, memory above that of a process without it.
func BenchmarkIdle(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	j, l := benchLog(b, b.TempDir())
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	runtime.GC()
	runtime.ReadMemStats(&after)
	cpu := cpuTime()
	for b.Loop() {
		_ = j.wait(ctx, time.Second)
	}
	b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc), "heap-B")
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
	cancel()
	if err := errors.Join(<-done, j.Close()); err != nil {
		b.Fatal(err)
	}
}
