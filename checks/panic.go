package checks

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/tripline/tripline/checks/probe"
)

// panicked makes an unknown outcome of a panic, with the place it came from.
func panicked(p any) probe.Outcome {
	return probe.Outcome{
		Class: probe.Panic, Stage: probe.StageMonitor,
		Reason: fmt.Sprintf("the probe panicked at %s: %v", panicSite(), p),
	}
}

// panicSite returns file:line of the first frame below the runtime's own.
func panicSite() string {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") && !catches(f.Function) {
			return f.File[strings.LastIndexByte(f.File, '/')+1:] + ":" + fmt.Sprint(f.Line)
		}
		if !more {
			return "unknown"
		}
	}
}

// catches tells whether function is one that recovers from panics.
func catches(function string) bool {
	for _, name := range []string{"checks.attempt", "checks.diagnose", "checks.(*diagnosis)"} {
		if strings.Contains(function, name) {
			return true
		}
	}
	return false
}
