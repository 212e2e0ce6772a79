package checks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tripline/tripline/checks/probe"
	"github.com/tripline/tripline/checks/wsprobe"
)

// TestVersionsOfDifferentThings: what checks call a version is compared with what
// the same question was answered before, and with nothing else.
func TestVersionsOfDifferentThings(t *testing.T) {
	tests := []struct {
		name   string
		health string // what /health answers
		checks []string
		cause  string
	}{
		{"two expressions", `{"version":"1.4.2","db":{"version":"16.3"}}`, []string{"url: /health", "url: /health\nversion: .db.version"}, wsprobe.CauseRouteMissing},
		{"two paths", `{"version":"1.4.2"}`, []string{"url: /health", "url: /status"}, wsprobe.CauseRouteMissing},
		{"a nested one first", `{"db":{"version":"16.3"},"version":"1.4.2"}`, []string{"url: /health"}, wsprobe.CauseRouteMissing},
		{"a nested one only", `{"db":{"version":"16.3"}}`, []string{"url: /status"}, wsprobe.CauseRouteMissing},
		{"a number", `{"version":1.10}`, []string{"url: /health"}, wsprobe.CauseRouteMissing},
		{"two that serve by turns", "by turns", []string{"url: /health"}, wsprobe.CauseMixedVersions},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var n atomic.Int32
			u := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/status":
					_, _ = io.WriteString(w, `{"version":"build 977"}`)
				case r.URL.Path == "/health" && tt.health == "by turns":
					_, _ = fmt.Fprintf(w, `{"version":"1.4.%d"}`, n.Add(1)%2)
				case r.URL.Path == "/health":
					_, _ = io.WriteString(w, tt.health)
				default:
					http.NotFound(w, r)
				}
			})
			env := testEnv()
			for range 2 {
				for _, text := range tt.checks {
					probeOnce(t, env, settings[Health](t, strings.Replace(text, "url: ", "url: "+u, 1)))
				}
			}
			o := probeOnce(t, env, settings[WebSocket](t, "url: ws"+strings.TrimPrefix(u, "http")+"/ws"))
			wantOutcome(t, o, probe.NotFound, probe.StageHTTP)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			d := o.Inquiry(ctx, true)(nil)
			if d.Causes[0].Name != tt.cause {
				t.Errorf("%s: %s; want %s first", d.Causes[0].Name, d.Causes[0].Text, tt.cause)
			}
		})
	}
}
