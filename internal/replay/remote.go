package replay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/tripline/tripline/alerting/notify"
	"github.com/tripline/tripline/checks/probe"
)

const (
	askTime = 30 * time.Second
	maxLine = 2 << 20 // of the log; a batch is at most 1 MiB
	maxBody = 256 << 20
)

// Remote is the Source of a running monitor.
type Remote struct {
	base, token string
	client      *http.Client
}

// NewRemote returns the Source that a Handler serves at the URL base. token is
// sent along; "" if none is wanted.
func NewRemote(base, token string) *Remote {
	return &Remote{base: base, token: token, client: &http.Client{}}
}

// Close lets go of connections.
func (r *Remote) Close() error {
	r.client.CloseIdleConnections()
	return nil
}

// PID returns the id of the process that answers.
func (r *Remote) PID(ctx context.Context) (int, error) {
	var p process
	err := r.ask(ctx, "/process", &p)
	return p.PID, err
}

// List implements Source.
func (r *Remote) List(ctx context.Context, prefix ...string) ([]notify.Record, error) {
	if len(prefix) == 0 {
		return nil, errors.New("list records: of which kind?")
	}
	var list []record
	err := r.ask(ctx, "/records?of="+url.QueryEscape(prefix[0]), &list)
	return asRecords(list, prefix), err
}

// Evidence implements Source.
func (r *Remote) Evidence(ctx context.Context, check string) (*probe.Evidence, error) {
	var e *probe.Evidence
	err := r.ask(ctx, "/evidence?check="+url.QueryEscape(check), &e)
	return e, err
}

// ask decodes the JSON of a short answer into v.
func (r *Remote) ask(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	body, err := r.get(ctx, path)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, maxBody)).Decode(v); err != nil {
		return fmt.Errorf("GET %s%s: %w", r.base, path, err)
	}
	return nil
}

func (r *Remote) get(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+path, nil)
	if err != nil {
		return nil, err
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	res, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(res.Body, 300)) // the status says enough
		return nil, fmt.Errorf("GET %s%s: status %d, want 200: %s", r.base, path, res.StatusCode, strings.TrimSpace(string(text)))
	}
	return res.Body, nil
}

// Scan implements Source.
func (r *Remote) Scan(ctx context.Context, since time.Time, f func(seq uint64, at time.Time, data []byte) error) error {
	path := "/log"
	if !since.IsZero() {
		path += "?since=" + url.QueryEscape(since.UTC().Format(time.RFC3339Nano))
	}
	body, err := r.get(ctx, path)
	if err != nil {
		return err
	}
	defer body.Close()
	in := bufio.NewReaderSize(body, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the answer ended too early")
			}
			return fmt.Errorf("GET %s/log: %w", r.base, err)
		}
		if string(line) == "{\"end\":true}\n" {
			return nil
		}
		seq, at, data, ok := parseLine(line)
		if !ok {
			return fmt.Errorf("GET %s/log: %.40q... is no batch of the log", r.base, line)
		}
		if err := f(seq, at, data); err != nil {
			return err
		}
	}
}

// parseLine takes a line of the log apart.
func parseLine(line []byte) (seq uint64, at time.Time, data []byte, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"seq":`))
	if !ok {
		return 0, at, nil, false
	}
	number, rest, ok := bytes.Cut(rest, []byte(`,"at":`))
	if !ok {
		return 0, at, nil, false
	}
	ns, rest, ok := bytes.Cut(rest, []byte(`,"entries":`))
	if !ok {
		return 0, at, nil, false
	}
	data, ok = bytes.CutSuffix(rest, []byte("}\n"))
	seq, err := strconv.ParseUint(string(number), 10, 64)
	stamp, errAt := strconv.ParseInt(string(ns), 10, 64)
	return seq, time.Unix(0, stamp).UTC(), data, ok && err == nil && errAt == nil
}
