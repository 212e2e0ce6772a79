package journal
import ("testing";"os";"fmt";"strings";"time";"context";"runtime/debug")
func TestScratchSteady(t *testing.T) {
	rss := func() string { b,_ := os.ReadFile("/proc/self/status"); for _, l := range strings.Split(string(b),"\n") { if strings.HasPrefix(l,"VmRSS") {return strings.TrimSpace(l[6:])} }; return "" }
	debug.FreeOSMemory()
	fmt.Println("base", rss())
	j, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil { t.Fatal(err) }
	defer j.Close()
	l, _ := NewLog(t.Context(), j, LogOptions[*sample]{})
	stop := background(t, l.Run)
	defer stop()
	for range 4 { background(t, func(ctx context.Context) error { return l.Follow(ctx, 1, func(context.Context, Batch[*sample]) error { return nil }) }) }
	fmt.Println("open", rss())
	for _, rate := range []int{2, 100, 1000} {
		c := cpuTime(); n := 0
		tick := time.NewTicker(time.Second/time.Duration(rate))
		b0 := l.Health().Batches
		for end := time.Now().Add(15*time.Second); time.Now().Before(end); { <-tick.C; l.Append(newSample(n), false); n++ }
		used := cpuTime()-c
		fmt.Println("rate", rate, "cpu/s", used/15, "per entry", used/time.Duration(n), "batches", l.Health().Batches-b0, rss())
	}
}
