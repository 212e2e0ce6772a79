package cloudmon

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tripline/tripline/internal/cloudmon/cloudmontest"
)

// fileStore is a Store as cmd may have one.
type fileStore string

func (s fileStore) Load() ([]byte, error) {
	b, err := os.ReadFile(string(s))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (s fileStore) Save(b []byte) error {
	return errors.Join(os.WriteFile(string(s)+".new", b, 0o600), os.Rename(string(s)+".new", string(s)))
}

const killMinutes, killChecks = 40, 30

// TestKill kills an exporting process with -9 at random moments, many times,
// and demands that the counters go on as if nothing had happened.
func TestKill(t *testing.T) {
	if os.Getenv("CLOUDMON_KILL_ENDPOINT") != "" {
		killed(t)
		return
	}
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t, cloudmontest.Options{})
	base := began(killMinutes + 1)
	start := func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$") //nolint:gosec // this test
		cmd.Env = append(os.Environ(), "CLOUDMON_KILL_ENDPOINT="+r.cfg.Endpoint, "CLOUDMON_KILL_DIR="+r.dir, "CLOUDMON_KILL_BASE="+strconv.FormatInt(base.UnixMilli(), 10))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	// Answers that come late, so that many a process dies between the write and the answer.
	faults := rand.New(rand.NewPCG(seed, 1))
	r.server.Chaos(func() *cloudmontest.Fault {
		f := cloudmontest.Fault{Delay: 10 * time.Millisecond, Written: true}
		if faults.IntN(10) == 0 {
			f.Code = codes.Unavailable
		}
		return &f
	})
	const rounds = 10
	for range rounds {
		cmd := start()
		until := r.server.Calls() + 1 + rng.IntN(4)
		r.until("some calls", func() bool { return r.server.Calls() >= until })
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	r.server.Clear()
	if err := start().Wait(); err != nil {
		t.Errorf("the last process: %v", err)
	}
	r.noViolations()
	r.agrees(flat(traffic(base, killMinutes, killChecks, 30*time.Second, 99)))
	if n := len(r.server.Series(prefix+"heartbeat", nil)); n != 1 {
		t.Errorf("%d tasks, want 1", n)
	}
	for _, s := range r.server.Series(prefix+"check_count", nil) {
		for i, p := range s.Points {
			if !p.Start.Equal(s.Points[0].Start) || i > 0 && p.Int < s.Points[i-1].Int {
				t.Fatalf("%v: point %d is %+v after %+v", s.Labels, i, p, s.Points[i-1])
			}
		}
	}
	if p := r.server.Points(prefix+"heartbeat", nil); len(p) < killMinutes {
		t.Errorf("%d heartbeats, want one for each of %d minutes", len(p), killMinutes)
	}
	t.Logf("%d points were repeated", r.server.Repeats())
}

// killed is the process that is killed: it exports all and ends.
func killed(t *testing.T) {
	ms, err := strconv.ParseInt(os.Getenv("CLOUDMON_KILL_BASE"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("CLOUDMON_KILL_DIR")
	cfg := Config{Project: "test", Endpoint: os.Getenv("CLOUDMON_KILL_ENDPOINT")}
	if p := cfg.Validate(); len(p) > 0 {
		t.Fatal(p)
	}
	x := New(cfg, Options{
		Log:   newLog(traffic(time.UnixMilli(ms).UTC(), killMinutes, killChecks, 30*time.Second, 99)...),
		Store: fileStore(filepath.Join(dir, "state")), Dir: dir,
	})
	x.pace.stop, x.pace.catchUp, x.pace.firstWait = time.Minute, 0, time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.Run(ctx); err != nil {
		t.Fatal(err)
	}
}
