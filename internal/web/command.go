package web

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// CommandTime is how long a command may take: to reload 100,000 checks takes
// half a minute.
const CommandTime = 5 * time.Minute

// maxCommand is the most bytes of a command's arguments.
const maxCommand = 64 << 10

// command carries out POST /api/commands/{name}: the body is a JSON object of
// texts, the answer is plain text. Pages of other sites cannot send commands:
// browsers say where a request comes from (Sec-Fetch-Site, Origin).
func (h *Server) command() http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		args := map[string]string{}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCommand)).Decode(&args); err != nil {
			http.Error(w, fmt.Sprintf("the body is no JSON object of texts: %v", err), http.StatusBadRequest)
			return
		}
		if args == nil { // the body was null
			args = map[string]string{}
		}
		// A writer that cannot be told one keeps the server's.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(CommandTime + writeTimeout))
		ctx, cancel := context.WithTimeout(r.Context(), CommandTime)
		defer cancel()
		answer, err := h.o.Command(ctx, r.PathValue("name"), args)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, answer+"\n") // the client may have gone
	}))
}
