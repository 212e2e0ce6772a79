package main

import (
	"log/slog"
	"testing"
	"time"

	"github.com/tripline/tripline/alerting"
	"github.com/tripline/tripline/internal/config"
	"github.com/tripline/tripline/internal/journal"
)

// TestLink leads people to the page where they can reach it, and nowhere else.
func TestLink(t *testing.T) {
	broken := alerting.Incident{ID: "shop/1 a", Group: "shop", Findings: []alerting.Finding{{Rule: "r", Kind: "rate"}}}
	direct := *directIncident(time.Now(), journal.LogHealth{StuckSince: time.Now()})
	for _, c := range []struct {
		listen, url, port string
		i                 alerting.Incident
		want              string
	}{
		{"127.0.0.1:8080", "", "", broken, "http://127.0.0.1:8080/incidents/shop%2F1%20a"},
		{"[::1]:8080", "", "", broken, "http://[::1]:8080/incidents/shop%2F1%20a"},
		{"", "", "", broken, "http://127.0.0.1:8080/incidents/shop%2F1%20a"},
		{"0.0.0.0:8080", "", "", broken, ""},
		{":8080", "", "", broken, ""},
		{"192.0.2.1:8080", "", "", broken, ""},
		{"", "", "9090", broken, ""}, // as on Cloud Run
		{"", "https://tripline.example.com", "9090", broken, "https://tripline.example.com/incidents/shop%2F1%20a"},
		{"127.0.0.1:8080", "https://tripline.example.com/", "", broken, "https://tripline.example.com/incidents/shop%2F1%20a"},
		{":8080", "http://example.com:81/ops/tripline//", "", broken, "http://example.com:81/ops/tripline/incidents/shop%2F1%20a"},
		{"0.0.0.0:8080", "", "", direct, ""},
		{"0.0.0.0:8080", "https://tripline.example.com/", "", direct, "https://tripline.example.com/"},
	} {
		src := "version: 1\nhttp: {listen: '" + c.listen + "', url: '" + c.url + "'}\nchecks:\n  - {name: a, health: {url: 'http://127.0.0.1/'}}\n"
		cfg, err := config.Load("c.yaml", []byte(src), config.Env{Lookup: func(name string) (string, bool) {
			return c.port, name == "PORT"
		}})
		if err != nil {
			t.Fatal(err)
		}
		m := &monitor{cfg: cfg, slog: slog.New(slog.DiscardHandler)}
		if got := m.link(c.i); got != c.want {
			t.Errorf("listen %q, url %q, PORT %q: link %q, want %q", c.listen, c.url, c.port, got, c.want)
		}
	}
}
