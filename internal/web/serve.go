// Package web serves what Tripline knows: the page, its JSON form, the live
// feed and the health of the program itself. It decides nothing: State is fed
// by a reader of the log, everything else is asked for by the functions in
// Options.
//
// A new page is a method of Server, its route in Handler and a template
// beside page.html. Pages must be complete without JavaScript.
package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// Options are what the handler shows. State and Log must be set; functions
// that are nil have nothing to show. They are called for every request, from
// several goroutines, and should answer from memory.
type Options struct {
	State       *State
	Version     string
	Environment string
	Started     time.Time
	Log         *slog.Logger

	Checks    func() []checks.Check // as configured, in the order to show
	Problems  func() []string       // what is wrong with the monitor itself; they make /health answer 503
	Facts     func() []Fact         // how the monitor itself does
	Notifiers func() []Notifier
	Budgets   func() []alerting.Budget // error budgets, in the order of the rules
	Windows   func() []alerting.Window // of maintenance: results in them are marked
	// Evidence returns the newest evidence of a check, nil if there is none.
	Evidence func(ctx context.Context, check string) (*probe.Evidence, error)
	// Attempts returns the newest attempts to tell an incident, oldest first.
	Attempts func(ctx context.Context, incident string) ([]Attempt, error)
	Metrics  http.Handler // GET /metrics
	Replay   http.Handler // GET /api/replay/..., for the commands that look back
	// Warnings is what people should know of the monitor that does not make
	// /health answer 503, such as a config file that was not reloaded.
	Warnings func() []string
	// Command carries out POST /api/commands/{name} and returns what to answer.
	Command func(ctx context.Context, name string, args map[string]string) (string, error)

	// PublicHost is the host of the address under which people reach this
	// server, where that is not this machine's; "" if there is none.
	PublicHost func() string
	// Token is wanted from everybody who asks for more than /health: as
	// "Authorization: Bearer <token>" or as the password of basic
	// authentication, with any user name. Empty: not wanted, but then only
	// this machine gets more than /health, and only by its own names or
	// PublicHost.
	Token string
}

// Fact is one line about the monitor itself, such as its slots kept.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	Bad   bool   `json:"bad,omitempty"`
}

// Notifier is the state of one way of telling people.
type Notifier struct {
	Name    string    `json:"name"`
	State   string    `json:"state"`              // such as "ok", "off", "failing"
	Reason  string    `json:"reason,omitempty"`   // why it is off or failing
	Waiting int       `json:"waiting"`            // incidents whose newest version is not told yet
	Told    time.Time `json:"last_told,omitzero"` // when it last told somebody
}

const (
	writeTimeout  = 15 * time.Second
	shutdownGrace = 3 * time.Second
	// maxRenders bounds the answers that are in memory at one time, since a
	// client that does not read holds its answer until writeTimeout.
	maxRenders = 16
)

// Server answers all requests. Use New.
type Server struct {
	o         Options
	live      *live
	templates templates
	renders   chan struct{}
}

// New makes a Server.
func New(o Options) *Server {
	return &Server{o: o, live: newLive(), templates: parseTemplates(), renders: make(chan struct{}, maxRenders)}
}

// Handler answers the routes of this package. exposed says that others than
// this machine can connect: without a token they get /health and nothing else.
// A feed of /live ends when the context of its request does.
func (h *Server) Handler(exposed bool) http.Handler {
	inner := http.NewServeMux()
	inner.HandleFunc("GET /{$}", h.page)
	inner.HandleFunc("GET /checks/{name}", h.check)
	inner.HandleFunc("GET /api/checks", h.apiChecks)
	inner.HandleFunc("GET /api/checks/{name}", h.apiCheck)
	inner.HandleFunc("GET /incidents/{id}", h.incident)
	inner.HandleFunc("GET /api/incidents", h.apiIncidents)
	inner.HandleFunc("GET /api/budgets", h.apiBudgets)
	inner.HandleFunc("GET /api/incidents/{id}", h.apiIncident)
	inner.HandleFunc("GET /live", h.serveLive)
	inner.HandleFunc("GET /style.css", h.static("text/css; charset=utf-8", styleCSS))
	inner.HandleFunc("GET /page.js", h.static("text/javascript; charset=utf-8", pageJS))
	if h.o.Metrics != nil {
		inner.Handle("GET /metrics", h.o.Metrics)
	}
	if h.o.Replay != nil {
		inner.Handle("GET /api/replay/", http.StripPrefix("/api/replay", h.o.Replay))
	}
	if h.o.Command != nil {
		inner.Handle("POST /api/commands/{name}", h.command())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", h.health)
	mux.Handle("/", h.guard(exposed, inner))
	return h.recovered(headers(mux))
}

// recovered answers 500 where next panics, and logs why.
func (h *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler: // a sign to net/http
				panic(v)
			default:
				h.o.Log.Error("a request made the program panic", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", string(debug.Stack()))
				http.Error(w, "This is a fault of Tripline; its log says more.", http.StatusInternalServerError)
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// headers sets what holds for every answer. Pages load nothing from elsewhere.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// guard lets nobody in who may not see more than /health.
func (h *Server) guard(exposed bool, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(h.o.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case h.o.Token == "" && exposed:
			http.Error(w, "This address can be reached from other machines and no http.token is configured: only /health answers.", http.StatusForbidden)
			return
		case h.o.Token == "" && !h.here(r.Host):
			http.Error(w, fmt.Sprintf("This monitor is not %.100q: without http.token it answers to localhost, loopback addresses and the host of http.url.", r.Host), http.StatusMisdirectedRequest)
			return
		case h.o.Token != "":
			got := sha256.Sum256([]byte(credential(r)))
			if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
				w.Header().Set("WWW-Authenticate", `Basic realm="Tripline", charset="UTF-8"`)
				http.Error(w, "Send http.token of the configuration as bearer token, or as password with any user name.", http.StatusUnauthorized)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// here tells whether a Host header names this machine, or is the public one. A
// browser sends the name of the page that asks: if that is another site's whose
// name now means 127.0.0.1 (DNS rebinding), its scripts could read the answer.
func (h *Server) here(host string) bool {
	name := hostname(host)
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Unmap().IsLoopback()
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	return name != "" && h.o.PublicHost != nil && strings.EqualFold(name, hostname(h.o.PublicHost()))
}

// hostname returns the name or address in a Host header, without port.
func hostname(host string) string {
	return (&url.URL{Host: host}).Hostname()
}

// credential returns the bearer token or the basic password of r, or "".
func credential(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

// Serve answers on l until ctx ends, then ends the live feeds and waits up to
// 3 s for the answers that are under way (5 s at worst for a feed whose reader
// is silent). It closes l. The error is nil after
// ctx has ended. Serve may be called once.
func (h *Server) Serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{
		Handler:           h.Handler(!loopback(l.Addr())),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(h.o.Log.Handler(), slog.LevelDebug), // clients that go away
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			_ = s.Close() // answers that are still under way are cut
		}
	})
	err := s.Serve(l)
	if stop() { // Serve failed by itself
		_ = s.Close()
		h.live.wait()
		return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
	}
	<-stopped
	h.live.wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
}

// loopback tells whether only this machine can connect to a.
func loopback(a net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	default:
		return false
	}
}
