// Package cloudmontest is a Cloud Monitoring MetricService for tests: a gRPC
// server that enforces the rules of the write path the way the real one does
// (nothing official offers that), with faults to switch on, and with what was
// written to read back.
//
// Every rule that a client breaks is answered as the real service answers it
// and also recorded, so that a long test can demand that Violations is empty.
// The rules are in rules.go, one function each; a new one is a function there
// with its number, and a test that breaks it.
package cloudmontest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	monitoring "cloud.google.com/go/monitoring/apiv3/v2"
	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// Options say what the server knows and allows. The zero value is usable.
type Options struct {
	Project        string           // the one project that exists; default "test"
	Now            func() time.Time // the server's clock, for skew; default time.Now
	SamplingPeriod time.Duration    // least distance between end times of one series; default 10 s
	// Lenient adds a label that an explicitly created descriptor does not
	// have, where the default is to refuse the series.
	Lenient         bool
	MaxDescriptors  int           // default 10,000
	MaxSeries       int           // active ones of one monitored resource within 24 h; default 200,000
	DescriptorDelay time.Duration // until a created descriptor is visible
	Keep            int           // newest points kept of each series, for long tests; default all
}

// Violation is a rule that a request broke. Rule is its number in rules.go.
type Violation struct {
	Rule   int
	Text   string // as answered to the client
	Series string // which, with its point and the newest one before; empty: the whole request
}

func (v Violation) String() string { return fmt.Sprintf("rule %d: %s %s", v.Rule, v.Text, v.Series) }

// Server is the service. Its methods may be called from any goroutine.
type Server struct {
	monitoringpb.UnimplementedMetricServiceServer

	opts Options

	mu          sync.Mutex
	gen         *generation // nil while not serving
	descriptors map[string]*descriptor
	series      map[string]*series
	violations  []Violation
	repeats     int
	calls       int
	faults      []injected
	chaos       func() *Fault
}

// New returns a server that knows no metric yet.
func New(o Options) *Server {
	if o.Project == "" {
		o.Project = "test"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SamplingPeriod == 0 {
		o.SamplingPeriod = 10 * time.Second
	}
	if o.MaxDescriptors == 0 {
		o.MaxDescriptors = 10_000
	}
	if o.MaxSeries == 0 {
		o.MaxSeries = 200_000
	}
	return &Server{opts: o, descriptors: map[string]*descriptor{}, series: map[string]*series{}}
}

// Start serves on a free loopback port until the test ends and returns the
// server with the endpoint in the form that cloudmon.Config takes.
func Start(tb testing.TB, o Options) (s *Server, endpoint string) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s = New(o)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return s, "http://" + l.Addr().String()
}

// Client returns a real client of the server at addr (host:port), which is
// closed when the test ends.
func Client(tb testing.TB, addr string) *monitoring.MetricClient {
	tb.Helper()
	c, err := monitoring.NewMetricClient(tb.Context(),
		option.WithEndpoint(addr),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// Serve answers on l until ctx ends, and closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	s.mu.Lock()
	s.gen = s.generation()
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		old := s.gen
		s.gen = nil
		s.mu.Unlock()
		old.grpc.Stop()
	}()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		s.mu.Lock()
		gen := s.gen
		s.mu.Unlock()
		gen.hand(c)
	}
}

// DropConnections cuts all connections at once; calls in progress are lost.
// New connections are served.
func (s *Server) DropConnections() { s.renew((*grpc.Server).Stop) }

// GoAway sends GOAWAY on all connections: calls in progress are answered, new
// ones need a new connection (RFC 9113 §6.8).
func (s *Server) GoAway() {
	s.renew(func(old *grpc.Server) { go old.GracefulStop() })
}

func (s *Server) renew(end func(*grpc.Server)) {
	s.mu.Lock()
	old := s.gen
	if old != nil {
		s.gen = s.generation()
	}
	s.mu.Unlock()
	if old != nil {
		end(old.grpc)
	}
}

func (s *Server) generation() *generation {
	g := &generation{grpc: grpc.NewServer(), conns: make(chan net.Conn), closed: make(chan struct{})}
	monitoringpb.RegisterMetricServiceServer(g.grpc, s)
	go func() { _ = g.grpc.Serve(g) }()
	return g
}

// generation is one grpc.Server and the listener it accepts from. A
// grpc.Server cannot send GOAWAY and go on, so each is used for one lot of
// connections.
type generation struct {
	grpc   *grpc.Server
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (g *generation) hand(c net.Conn) {
	select {
	case g.conns <- c:
	case <-g.closed:
		_ = c.Close()
	}
}

// Accept implements net.Listener.
func (g *generation) Accept() (net.Conn, error) {
	select {
	case c := <-g.conns:
		return c, nil
	case <-g.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (g *generation) Close() error {
	g.once.Do(func() { close(g.closed) })
	return nil
}

// Addr implements net.Listener.
func (g *generation) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
