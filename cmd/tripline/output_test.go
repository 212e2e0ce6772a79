package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// TestOutput writes to a reader that stands still and then reads again.
func TestOutput(t *testing.T) {
	r, w := io.Pipe()
	o := newOutput(w)
	const lines = outputLines + 100
	fmt.Fprintln(o, "line 0") // is in the writer's hands before the queue fills: it frees no place later
	waitFor(t, 5*time.Second, "the writer to take the first line", func() bool { return len(o.lines) == 0 })
	for n := 1; n < lines; n++ {
		fmt.Fprintf(o, "line %d\n", n)
	}
	read := make(chan string)
	go func() {
		b, _ := io.ReadAll(r)
		read <- string(b)
	}()
	waitFor(t, 5*time.Second, "the queue to empty", func() bool { return len(o.lines) == 0 })
	fmt.Fprintln(o, "the end")
	o.close(t.Context())
	fmt.Fprintln(o, "after the end")
	w.Close()
	got := <-read
	kept := strings.Count(got, "line ")
	if want := fmt.Sprintf("(%d lines were dropped here: nobody read the output)\nthe end\n", lines-kept); kept != outputLines+1 || !strings.HasSuffix(got, want) {
		t.Errorf("%d lines kept, want %d, and %q at the end, got %q", kept, outputLines+1, want, got[max(0, len(got)-200):])
	}
}

// TestOutputClose must not wait for a reader that stands still.
func TestOutputClose(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	o := newOutput(w)
	fmt.Fprintln(o, "nobody reads this")
	at := time.Now()
	o.close(t.Context())
	if took := time.Since(at); took > outputGrace+2*time.Second {
		t.Errorf("close took %s, want about %s", took, outputGrace)
	}
	var b bytes.Buffer
	o = newOutput(&b)
	fmt.Fprintln(o, "all of it")
	o.close(t.Context())
	if b.String() != "all of it\n" {
		t.Errorf("got %q", b.String())
	}
}
