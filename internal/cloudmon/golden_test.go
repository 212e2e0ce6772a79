package cloudmon

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The stored form of the first release decodes for ever. The fixture is never
// made anew: a change of the format gets a version and a fixture of its own.
func TestStateOfVersion1(t *testing.T) {
	b, err := os.ReadFile("testdata/state.v1.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	s := state{Counters: NewCounters(Latency{PerCheck: "mean", PerGroup: "distribution"}, func() map[Finding]int { return nil })}
	if err := s.decode(b); err != nil {
		t.Fatal(err)
	}
	got := show(s.Counters.Snapshot())
	s.Counters = nil
	want := state{
		V: 1, Task: "vm-0a1b2c3d", Seq: 4711, Skip: 2, Folded: true,
		End:     time.Date(2026, 11, 21, 12, 2, 0, 0, time.UTC).UnixMilli(),
		LastEnd: time.Date(2026, 11, 21, 12, 1, 0, 0, time.UTC).UnixMilli(),
		Since:   time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC).UnixMilli() + 1,
		Written: 120, Rejected: 3, Dropped: 4,
	}
	if diff := cmp.Diff(want, s, cmp.AllowUnexported(state{})); diff != "" {
		t.Errorf("state (-want +got):\n%s", diff)
	}
	samples := []string{
		"heartbeat{} 1 *",
		"check_count{check=api,kind=route,group=shop,class=ok,location=local} 7 *",
		"check_count{check=api,kind=route,group=shop,class=not_found,location=local} 1 *",
		"up{check=api,kind=route,group=shop,location=local} 0 *",
		"latency_mean{check=api,kind=route,group=shop,location=local} 0.03 *",
		"recorded/queue_depth{check=api,kind=route,group=shop,location=local} 4",
		"group_latency{group=shop,location=local} n=2 mean=0.030 *",
		"slots_missed{check=api,location=local} 5 *",
		"open_findings{rule=404,group=shop,severity=page} 0 *",
	}
	if diff := cmp.Diff(samples, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
}
