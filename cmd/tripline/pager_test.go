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
	mode   string            // "ok", "503", "hang"
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
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodies = append(p.bodies, string(body))
	holder, open := p.open[event.Dedup]
	switch {
	case event.Action == "trigger" && !open:
		p.open[event.Dedup] = event.Key
		p.opened = append(p.opened, event.Dedup)
	case event.Action == "resolve" && open && holder == event.Key:
		delete(p.open, event.Dedup)
		p.ended = append(p.ended, event.Dedup)
	}
	w.WriteHeader(http.StatusAccepted)
	fmt.Fprintf(w, `{"status":"success","dedup_key":%q}`, event.Dedup)
}
