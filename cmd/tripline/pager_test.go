package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

const (
	pagerKey    = "0123456789abcdef0123456789abcdef"
	newPagerKey = "fedcba9876543210fedcba9876543210"
)

// pager is PagerDuty's events API with its trap: an event for an alert that
// another key has opened is dropped, and answered 202.
type pager struct {
	*httptest.Server
	mu     sync.Mutex
	mode   string            // "ok", "503", "hang", "mute": takes an event and does not answer
	open   map[string]string // dedup key to routing key
	opened []string          // dedup keys, in order
	ended  []string
	bodies []string
}

func newPager(t *testing.T) *pager {
	t.Helper()
	p := &pager{mode: "ok", open: map[string]string{}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.set("ok")
		p.CloseClientConnections() // of those that hang
		p.Close()
	})
	return p
}

func (p *pager) set(mode string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = mode
}

// counts returns how many alerts were opened and ended, and how many are open.
func (p *pager) counts() (opened, ended, open int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.opened), len(p.ended), len(p.open)
}

// said returns all bodies.
func (p *pager) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.bodies, "\n")
}

func (p *pager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var event struct {
		Key    string `json:"routing_key"`
		Action string `json:"event_action"`
		Dedup  string `json:"dedup_key"`
	}
	err := json.Unmarshal(body, &event)
	p.mu.Lock()
	mode := p.mode
	p.mu.Unlock()
	switch {
	case mode == "hang":
		<-r.Context().Done()
		return
	case mode == "503":
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case err != nil || event.Dedup == "" || strings.HasSuffix(event.Key, "bad"):
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"status":"invalid event","errors":["invalid routing key"]}`)
		return
	}
	p.take(body, event.Key, event.Action, event.Dedup)
	if mode == "mute" {
		<-r.Context().Done()
		return
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"status":"success","dedup_key":%q}`, event.Dedup)
}

func (p *pager) take(body []byte, key, action, dedup string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodies = append(p.bodies, string(body))
	holder, open := p.open[dedup]
	switch {
	case action == "trigger" && (!open || holder != key): // each key has its own alerts
		p.open[dedup] = key
		p.opened = append(p.opened, dedup)
	case action == "resolve" && open && holder == key:
		delete(p.open, dedup)
		p.ended = append(p.ended, dedup)
	}
}
