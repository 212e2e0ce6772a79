package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamLog      = "LOG"
	streamEvidence = "EVIDENCE"
	streamCtrl     = "CTRL"

	// What the subjects of each stream start with. The log has this one subject, the others one for each key.
	rootLog      = "log"
	rootEvidence = "evidence"
	rootCtrl     = "ctrl"
	rootChanged  = "changed" // the server says here, to whoever listens, that a record of CTRL was stored

	storeName = "standalone" // below Options.Dir

	startTimeout = time.Minute // a store of 4 GiB opens in about a second
)

// engine is one run of the embedded server, with the connection to it. A server that has met a write error refuses all further
// writes to that stream until it is started again, so the journal replaces its engine when that happens.
type engine struct {
	srv  *server.Server
	nc   *nats.Conn
	js   jetstream.JetStream
	log  *serverLog
	gone chan struct{} // closed when this engine is stopped
}

// startEngine starts the server on the store below o.Dir and makes sure of the streams. changed is called after every change of
// the state. Nothing listens on any port: the connection is a pipe.
func startEngine(ctx context.Context, o Options, changed func()) (_ *engine, err error) {
	store := filepath.Join(o.Dir, storeName)
	log := &serverLog{log: o.Log}
	srv, err := server.NewServer(&server.Options{
		ServerName:         "tripline",
		DontListen:         true,
		NoSigs:             true,
		JetStream:          true,
		StoreDir:           store,
		SyncAlways:         true,
		JetStreamMaxMemory: 16 << 20, // only short-lived readers of the log use memory storage
		JetStreamMaxStore:  1 << 50,  // the streams have their own limits; without this the server takes 75 % of the free disk
	})
	if err != nil {
		return nil, fmt.Errorf("start the embedded server: %w", err)
	}
	e := &engine{srv: srv, log: log, gone: make(chan struct{})}
	defer func() {
		if err != nil {
			e.stop()
		}
	}()
	srv.SetLoggerV2(log, false, false, false)
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) {
		return nil, fmt.Errorf("start the embedded server on %s: not ready%s", store, log.because())
	}
	e.nc, err = nats.Connect("", nats.InProcessServer(srv), nats.NoReconnect(), nats.PingInterval(time.Hour),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			o.Log.Error("journal connection", "err", err)
		}))
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded server: %w", err)
	}
	if e.js, err = jetstream.New(e.nc); err != nil {
		return nil, fmt.Errorf("connect to the embedded server: %w", err)
	}
	if _, err = e.nc.Subscribe(rootChanged+".>", func(*nats.Msg) { changed() }); err != nil {
		return nil, fmt.Errorf("subscribe to changes of the state: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, cfg := range streams(o) {
		if err := e.ensure(ctx, store, cfg, o.Existing); err != nil {
			return nil, fmt.Errorf("open stream %s in %s: %w%s", cfg.Name, store, err, log.because())
		}
	}
	return e, nil
}

// streams says what each stream keeps.
func streams(o Options) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name: streamLog, Description: "entries, batched", Subjects: []string{rootLog},
			MaxAge: o.MaxAge, MaxBytes: o.MaxBytes,
			// A quarter of the bytes on disk for no CPU that could be measured; blocks are compressed when they are full.
			Compression: jetstream.S2Compression, AllowDirect: true,
		},
		{
			Name: streamEvidence, Description: "what was on the wire, newest by key", Subjects: []string{rootEvidence + ".>"},
			MaxBytes: o.EvidenceMaxBytes, MaxMsgsPerSubject: 1,
			Compression: jetstream.S2Compression, AllowDirect: true,
		},
		{
			Name: streamCtrl, Description: "state, one message for each key", Subjects: []string{rootCtrl + ".>"},
			MaxMsgsPerSubject: 1, AllowAtomicPublish: true, AllowDirect: true,
			AllowMsgTTL: true, SubjectDeleteMarkerTTL: o.markerTTL, AllowRollup: true,
			RePublish: &jetstream.RePublish{Source: rootCtrl + ".>", Destination: rootChanged + ".>", HeadersOnly: true},
		},
	}
}

// ensure creates or updates a stream. It refuses to create one where the disk holds messages that the server could not read:
// an empty stream in their place would hide, and in time overwrite, what they hold. existing leaves one that is there as it is.
func (e *engine) ensure(ctx context.Context, store string, cfg jetstream.StreamConfig, existing bool) error {
	_, err := e.js.Stream(ctx, cfg.Name)
	if existing && err == nil {
		return nil
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		dir := filepath.Join(store, "jetstream", "$G", "streams", cfg.Name)
		if hasMessages(dir) {
			return fmt.Errorf("%s holds messages but the server could not recover the stream; restore its meta.inf and meta.sum, or %s", dir, without(cfg.Name))
		}
	} else if err != nil {
		return err
	}
	_, err = e.js.CreateOrUpdateStream(ctx, cfg)
	return err
}

// without says what to do when a stream is beyond repair.
func without(stream string) string {
	switch stream {
	case streamLog:
		return "move the folder away to begin an empty log: the history is lost; open incidents, and what people were told, stay"
	case streamEvidence:
		return "move the folder away: only what was on the wire is lost"
	}
	return "move the folders CTRL and LOG away together to begin anew: with CTRL alone people would be told of every incident in the log again"
}

func hasMessages(dir string) bool {
	files, err := os.ReadDir(filepath.Join(dir, "msgs"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(files, func(f os.DirEntry) bool {
		info, err := f.Info()
		return err == nil && info.Size() > 0 && filepath.Ext(f.Name()) == ".blk"
	})
}

// health returns the reason why this engine takes no writes to a stream, or with "" to any of them. Nil: it does.
func (e *engine) health(stream string) error {
	o := &server.HealthzOptions{}
	if stream != "" {
		o.Account, o.Stream = "$G", stream
	}
	if h := e.srv.Healthz(o); h.Status != "ok" {
		return fmt.Errorf("embedded server: %s", h.Error)
	}
	if e.nc.IsClosed() {
		return fmt.Errorf("embedded server: %w", nats.ErrConnectionClosed)
	}
	return nil
}

// stop ends the server at once. Lame duck mode is for servers that have clients to send elsewhere: without a listener the server
// does not even enter it.
func (e *engine) stop() {
	close(e.gone)
	if e.nc != nil {
		e.nc.Close()
	}
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
}

// serverLog hands the server's log to slog and remembers the last warning or error: the server's API often says only that
// something is unavailable, and its log says why. Warnings are for debugging: after each crash there are some about indexes
// that the server makes anew, and what matters to people is in the errors and in LogHealth.
type serverLog struct {
	log    *slog.Logger
	last   atomic.Pointer[string]
	failed atomic.Bool // there was an error
}

func (l *serverLog) Noticef(format string, v ...any) {
	l.log.Debug("nats-server", "text", fmt.Sprintf(format, v...))
}

func (l *serverLog) Warnf(format string, v ...any) {
	l.log.Debug("nats-server warning", "text", l.keep(format, v...))
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.failed.Store(true)
	l.log.Error("nats-server", "text", l.keep(format, v...))
}

// Fatalf must not end the program: the caller of startEngine decides.
func (l *serverLog) Fatalf(format string, v ...any) { l.Errorf(format, v...) }

func (l *serverLog) Debugf(string, ...any) {}
func (l *serverLog) Tracef(string, ...any) {}

func (l *serverLog) keep(format string, v ...any) string {
	text := fmt.Sprintf(format, v...)
	l.last.Store(&text)
	return text
}

// because returns the last warning or error in a form that completes an error text.
func (l *serverLog) because() string {
	if t := l.last.Load(); t != nil {
		return "; the server says: " + *t
	}
	return ""
}
