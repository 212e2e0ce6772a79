package journal

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/internal/replay/replaytest"
)

// monthDir makes TestWriteMonth write a data directory, for measurements of what reads it:
//
//	go test ./internal/journal -run TestWriteMonth -month-dir /tmp/month -timeout 1h
//	tripline backtest --config /tmp/month/config.yaml
var (
	monthDir    = flag.String("month-dir", "", "where TestWriteMonth writes a month of results")
	monthDays   = flag.Int("month-days", 30, "how many days")
	monthChecks = flag.Int("month-checks", 100, "of how many checks")
)

func TestWriteMonth(t *testing.T) {
	if *monthDir == "" {
		t.Skip("for measurements: no -month-dir is given")
	}
	m := replaytest.New(*monthDays, *monthChecks)
	fill(t, *monthDir, m)
	j, err := Open(t.Context(), Options{Dir: *monthDir})
	if err != nil {
		t.Fatal(err)
	}
	incidents, err := m.Decide()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range incidents {
		value, err := json.Marshal(i)
		if err == nil {
			_, err = j.State().Commit(t.Context(), Change{Key: NewKey("incident", i.ID), Value: value})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d incidents", len(incidents))
	config := fmt.Sprintf("version: 1\ndata: {dir: %q}\ndefaults: {every: 1m}\nchecks:\n", *monthDir)
	for _, s := range m.Subjects {
		url := "http://" + s.Host + "/"
		if s.WebSocket {
			url = "ws://" + s.Host + "/"
		}
		config += fmt.Sprintf("  - {name: %s, group: %s, %s: {url: %q}}\n", s.Name, s.Group, s.Kind, url)
	}
	rules, err := json.Marshal(m.Rules) // is YAML
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*monthDir, "config.yaml"), []byte(config+"rules: "+string(rules)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// fill writes the log of m below dir as the monitor writes it, but without waiting for the disk after each batch.
func fill(t testing.TB, dir string, m *replaytest.Month) {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		ServerName: "tripline", DontListen: true, NoSigs: true, NoLog: true, JetStream: true,
		StoreDir: filepath.Join(dir, storeName), JetStreamMaxStore: 1 << 50,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(startTimeout) {
		t.Fatal("not ready")
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	o, err := Options{Dir: dir}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = js.CreateStream(t.Context(), streams(o)[0]); err != nil {
		t.Fatal(err)
	}
	err = m.Each(func(seq uint64, at time.Time, _ []checks.Entry, data []byte) error {
		msg := &nats.Msg{Subject: rootLog, Data: data, Header: nats.Header{
			hdrExpectLast: {strconv.FormatUint(seq-1, 10)}, hdrAt: {strconv.FormatInt(at.UnixNano(), 10)},
		}}
		if seq%1000 > 0 {
			return nc.PublishMsg(msg)
		}
		_, err := nc.RequestMsgWithContext(t.Context(), msg) // so that the server keeps up
		return err
	})
	if err == nil {
		err = nc.FlushTimeout(time.Minute)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), streamLog)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.CachedInfo().State.LastSeq, uint64(m.Days*m.N*24*60); got != want {
		t.Fatalf("the log ends at %d, want %d", got, want)
	}
}
