package replay

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/tripline/tripline/alerting/notify"
)

// served are the kinds of records that Handler gives out: what people were
// told, and what decided it.
func served() []string {
	return []string{"incident", "outbox", "receipt", "dead", keyEra, keyConfig}
}

const (
	servedAtOnce = 2 // logs on their way
	breath       = 10 * time.Millisecond
	writeLimit   = 10 * time.Second // for a client that does not read
)

// Handler lets the commands that look back read s while a monitor runs on it:
//
//	GET /process       {"pid":1}
//	GET /log?since=    since a time (RFC 3339) or all, lines of {"seq":1,"at":ns,"entries":[...]}, and at the end {"end":true}
//	GET /records?of=   a list of the records of one kind
//	GET /evidence?check=
//
// The log goes out slowly enough to leave the monitor half of one processor's
// time; a client that does not read for 10 s is cut off.
func Handler(s Source, log *slog.Logger) http.Handler {
	h := &handler{source: s, log: log, turns: make(chan struct{}, servedAtOnce)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /process", func(w http.ResponseWriter, _ *http.Request) { h.json(w, process{os.Getpid()}) })
	mux.HandleFunc("GET /log", h.sendLog)
	mux.HandleFunc("GET /records", h.records)
	mux.HandleFunc("GET /evidence", h.evidence)
	return mux
}

type process struct {
	PID int `json:"pid"`
}

// record is a record of the state on its way.
type record struct {
	Key   []string `json:"key"`
	Value []byte   `json:"value"`
}

type handler struct {
	source Source
	log    *slog.Logger
	turns  chan struct{}
}

func (h *handler) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		h.log.Debug("answer not sent", "err", err)
	}
}

func (h *handler) records(w http.ResponseWriter, r *http.Request) {
	of := r.URL.Query().Get("of")
	if !slices.Contains(served(), of) {
		http.Error(w, fmt.Sprintf("no records of kind %q, want one of %q", of, served()), http.StatusNotFound)
		return
	}
	list, err := h.source.List(r.Context(), of)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answer := make([]record, len(list))
	for i, r := range list {
		answer[i] = record{r.Key, r.Value}
	}
	h.json(w, answer)
}

func (h *handler) evidence(w http.ResponseWriter, r *http.Request) {
	e, err := h.source.Evidence(r.Context(), r.URL.Query().Get("check"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.json(w, e)
}

func (h *handler) sendLog(w http.ResponseWriter, r *http.Request) {
	var since time.Time
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			http.Error(w, fmt.Sprintf("since is %q, want a time such as 2026-11-21T03:12:00Z", text), http.StatusBadRequest)
			return
		}
	}
	select {
	case h.turns <- struct{}{}:
		defer func() { <-h.turns }()
	default:
		http.Error(w, fmt.Sprintf("the log is being read %d times already, try again later", servedAtOnce), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := &paced{ctx: r.Context(), w: w, control: http.NewResponseController(w), began: time.Now()}
	b := bufio.NewWriterSize(out, 1<<18)
	var line []byte
	err := h.source.Scan(r.Context(), since, func(seq uint64, at time.Time, data []byte) error {
		line = strconv.AppendUint(append(line[:0], `{"seq":`...), seq, 10)
		line = strconv.AppendInt(append(line, `,"at":`...), at.UnixNano(), 10)
		line = append(append(append(line, `,"entries":`...), data...), "}\n"...)
		_, err := b.Write(line)
		return err
	})
	if err == nil {
		_, err = b.WriteString("{\"end\":true}\n")
	}
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		h.log.Debug("log not sent to the end", "err", err) // the client misses the end and says so
	}
}

// paced writes with pauses: as long as the work took, but not longer than the
// client would notice.
type paced struct {
	ctx     context.Context
	w       http.ResponseWriter
	control *http.ResponseController
	began   time.Time // of the work since the last pause
}

// Write implements io.Writer.
func (p *paced) Write(b []byte) (int, error) {
	took := time.Since(p.began)
	t := time.NewTimer(min(took, breath))
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.ctx.Done():
		return 0, p.ctx.Err()
	}
	if err := p.control.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, err
	}
	n, err := p.w.Write(b)
	p.began = time.Now()
	return n, err
}

// asRecords turns what was sent back into records.
func asRecords(list []record, prefix []string) []notify.Record {
	var records []notify.Record
	for _, r := range list {
		if len(r.Key) > len(prefix) && slices.Equal(r.Key[:len(prefix)], prefix) {
			records = append(records, notify.Record{Key: r.Key, Value: r.Value})
		}
	}
	return records
}
