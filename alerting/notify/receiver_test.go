package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting"
)

// posted is a request that a receiver got.
type posted struct {
	Path   string
	Header http.Header
	Body   []byte
	At     time.Time
}

// response is how a receiver answers.
type response struct {
	status             int
	header             http.Header
	body               string
	hang, drop, babble bool // no answer; the connection ends; what comes is not HTTP
}

// receiver is a service on a loopback address.
type receiver struct {
	*httptest.Server
	answer func(n int, p posted) response // n counts from 1

	mu  sync.Mutex
	got []posted
}

// startReceiver starts one that answers all requests alike.
func startReceiver(t *testing.T, r response) *receiver {
	t.Helper()
	return startReceiverFunc(t, func(int, posted) response { return r })
}

func startReceiverFunc(t *testing.T, answer func(n int, p posted) response) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	p := posted{Path: req.URL.Path, Header: req.Header, Body: body, At: time.Now()}
	r.mu.Lock()
	r.got = append(r.got, p)
	n := len(r.got)
	r.mu.Unlock()
	a := r.answer(n, p)
	switch {
	case a.hang:
		<-req.Context().Done()
	case a.drop, a.babble:
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		if a.babble {
			_, _ = io.WriteString(conn, "nonsense:"+a.body+"\r\n\r\n")
		}
		_ = conn.Close()
	default:
		maps.Copy(w.Header(), a.header)
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}
}

func (r *receiver) posts() []posted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]posted(nil), r.got...)
}

// at is how errors of requests to r begin.
func (r *receiver) at() string { return "POST " + strings.TrimPrefix(r.URL, "http://") + ": " }

func retrying(status int, after string) response {
	return response{status: status, header: http.Header{"Retry-After": {after}}}
}

// wrongAnswer is an answer other than the wanted one, and what it must come to.
type wrongAnswer struct {
	name  string
	reply response
	kind  string // as in checkError
	after time.Duration
	text  string // after what was done
}

// checkAnswers makes an attempt for each answer. leaks is echoed by the
// receiver where it can, and must not be in the errors.
func checkAnswers(t *testing.T, list []wrongAnswer, build func(url string) Notifier, leaks ...string) {
	t.Helper()
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			r := startReceiverFunc(t, func(int, posted) response {
				if c.reply.hang { // the time is up once the request is there
					cancel(context.DeadlineExceeded)
				}
				return c.reply
			})
			_, err := build(r.URL).Notify(ctx, Message{Incident: opened("ws", time.Now())}, nil)
			if err == nil {
				t.Fatal("no error")
			}
			text := c.text
			if !strings.HasPrefix(text, "*") {
				text = r.at() + text
			} else if text = text[1:]; strings.Contains(err.Error(), text) {
				text = err.Error()
			}
			checkError(t, err, c.kind, c.after, text, leaks...)
			if n := len(r.posts()); n != 1 {
				t.Errorf("%d requests in an attempt, want 1", n)
			}
		})
	}
}

// unknownAnswers are those of which no service says anything of its own.
func unknownAnswers(leak string) []wrongAnswer {
	return []wrongAnswer{
		{"hang", response{hang: true}, "again", 0, "no answer in time"},
		{"hang-up", response{drop: true}, "again", 0, "EOF"},
		{"garbage", response{babble: true, body: leak}, "again", 0, "*malformed HTTP"},
	}
}

// unreachable makes an attempt at an address where nobody listens.
func unreachable(t *testing.T, build func(url string) Notifier, leaks ...string) {
	t.Helper()
	r := startReceiver(t, response{status: 200})
	r.Close()
	_, err := build(r.URL).Notify(t.Context(), Message{Incident: opened("ws", time.Now())}, nil)
	if err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Fatalf("error %v", err)
	}
	checkError(t, err, "again", 0, err.Error(), leaks...)
}

// pretty indents JSON for golden files.
func pretty(t *testing.T, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "  "); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return append(b.Bytes(), '\n')
}

// Three minutes of 503 end with one delivery of each incident, of its newest
// state: the real notifiers behind a Desk, whose clock is the real one, so the
// receiver counts attempts instead of minutes.
func TestServicesDown(t *testing.T) {
	for name, build := range map[string]func(url string) Notifier{
		"pagerduty":    pagerDutyAt(""),
		"alertmanager": alertmanagerAt,
		"webhook":      webhookAt,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ok := map[string]int{"pagerduty": 202, "alertmanager": 200, "webhook": 204}[name]
			store := newMemStore()
			i := opened("ws", time.Now())
			r := startReceiverFunc(t, func(n int, _ posted) response {
				if n == 1 {
					store.want(t, "n", then(i, "also: slow", time.Now()))
				}
				if n <= 2 {
					return response{status: 503}
				}
				return response{status: ok}
			})
			store.want(t, "n", i)
			d := &Desk{Name: "n", Notifier: build(r.URL), Store: store, Log: logger(t)}
			runDesk(t, d, func() bool { return d.Stats().Told > 0 })
			rec, _ := stored[Receipt](t, store, keyReceipt, "n", "ws")
			if rec.Version != 2 || rec.Pending {
				t.Errorf("receipt %+v, want version 2", rec)
			}
			if s := d.Stats(); s.Told != 1 || s.Failures < 2 || s.Depth != 0 {
				t.Errorf("stats %+v, want one delivery after the failures", s)
			}
		})
	}
}

// storm is an incident of the most findings and names that there can be.
func storm() Message {
	i := opened("ws", time.Now())
	for range 400 {
		f := i.Findings[0]
		f.Checks, f.Text, f.Reason = nil, strings.Repeat("<té\"xt> ", 100), strings.Repeat("\x00\u2028&", 200)
		for range 50 {
			f.Checks = append(f.Checks, strings.Repeat("n", 60))
		}
		i.Findings = append(i.Findings, f)
	}
	m := night()["opened"]
	m.Evidence.Body = strings.Repeat("\u202e<body>\"\\", 3000)
	return Message{Incident: i, Evidence: m.Evidence, Link: m.Link}
}

// over is i as it was told: resolved after a minute.
func over(i alerting.Incident) alerting.Incident {
	return resolved(i, i.Since, i.Since.Add(time.Minute))
}
