package notify

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tripline/tripline/alerting"
)

var (
	manyRuns = flag.Int("series", 60, "how many random runs TestDeskModel makes; TestPathModel makes a tenth")
	firstRun = flag.Uint64("series-from", 0, "the seed of the first of them")
)

// channel is the plainest notifier: a list of what arrived, where what may have
// arrived is looked up. Of a hundred attempts some fail, in all ways there are.
type channel struct {
	mu      sync.Mutex
	rnd     *rand.Rand
	faults  int // of a hundred attempts
	arrived map[string][]alerting.Incident
	ways    map[string]int // how often which fault came
}

func (c *channel) Notify(ctx context.Context, m Message, told *Receipt) (Receipt, error) {
	c.mu.Lock()
	list := c.arrived[m.Incident.ID]
	fault, wait := "", time.Duration(c.rnd.IntN(90))*time.Second
	if c.rnd.IntN(100) < c.faults {
		fault = []string{"refused", "lost", "hangs", "hangs after it arrived", "later", "panics", "slow"}[c.rnd.IntN(7)]
		c.ways[fault]++
	}
	if told != nil && told.Pending && len(list) > 0 && list[len(list)-1].Version >= m.Incident.Version {
		c.ways["looked up"]++
		c.mu.Unlock()
		return Receipt{IDs: map[string]string{"ts": m.Incident.ID}}, nil
	}
	c.mu.Unlock()
	switch fault {
	case "refused":
		return Receipt{}, errors.New("status 503, want 200")
	case "hangs":
		<-ctx.Done()
		return Receipt{}, ctx.Err()
	case "later":
		return Receipt{}, &LaterError{After: wait, Err: errors.New("status 429")}
	case "panics":
		panic("index out of range")
	case "slow":
		sleep(ctx, 3*time.Second)
	}
	c.mu.Lock()
	c.arrived[m.Incident.ID] = append(c.arrived[m.Incident.ID], m.Incident)
	c.mu.Unlock()
	switch fault {
	case "lost":
		return Receipt{}, errors.New("EOF")
	case "hangs after it arrived":
		<-ctx.Done()
		return Receipt{}, ctx.Err()
	}
	return Receipt{IDs: map[string]string{"ts": m.Incident.ID}}, nil
}

func (c *channel) note(way string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ways[way]++
}

func (c *channel) set(faults int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = faults
}

// TestDeskModel opens, changes and resolves incidents at random over two hours,
// while the channel fails, the Desk is stopped and killed, and disks refuse
// writes. In the end the newest state of each has arrived, none arrived twice or
// after a newer one, and each was told resolved once.
func TestDeskModel(t *testing.T) {
	ways := map[string]int{}
	for k := range uint64(*manyRuns) {
		synctest.Test(t, func(t *testing.T) { deskRun(t, *firstRun+k, ways) })
		if t.Failed() {
			return
		}
	}
	for _, way := range []string{"refused", "lost", "hangs", "hangs after it arrived", "later", "panics", "slow", "looked up", "killed", "stopped", "disk"} {
		if ways[way] < max(1, *manyRuns/10) {
			t.Errorf("%d times %s in %d runs: they prove little", ways[way], way, *manyRuns)
		}
	}
}

func deskRun(t *testing.T, seed uint64, ways map[string]int) {
	rnd := rand.New(rand.NewPCG(seed, 11))
	c := &channel{rnd: rand.New(rand.NewPCG(seed, 12)), arrived: map[string][]alerting.Incident{}, ways: ways}
	store := newMemStore()
	refuse := func(on bool) {
		store.mu.Lock()
		defer store.mu.Unlock()
		if store.before = nil; on {
			store.before = func([]Write) error { return errDisk }
		}
	}
	newDesk := func() *bench {
		b := &bench{T: t, store: store}
		b.desk = &Desk{Name: "fake", Notifier: c, Store: store, Log: logger(t)}
		return b.run()
	}
	b := newDesk()
	var all []alerting.Incident
	for range 40 {
		b.after(time.Duration(rnd.IntN(180)) * time.Second)
		now := time.Now()
		switch way := rnd.IntN(12); {
		case way < 3:
			i := opened(fmt.Sprintf("i%d", len(all)), now)
			all = append(all, i)
			b.want(i)
		case way < 7 && len(all) > 0:
			k := rnd.IntN(len(all))
			if !all[k].Open() {
				continue
			}
			if all[k] = then(all[k], "also", now); way == 6 {
				all[k] = resolved(all[k], now, now)
			}
			b.want(all[k])
		case way < 9:
			c.set([]int{0, 30, 100}[rnd.IntN(3)])
		case way == 9: // killed: what it does after this is stored nowhere
			refuse(true)
			b.end()
			refuse(false)
			b = newDesk()
			c.note("killed")
		case way == 10:
			b.end()
			b = newDesk()
			c.note("stopped")
		case way == 11:
			refuse(true)
			b.after(time.Duration(rnd.IntN(60)) * time.Second)
			refuse(false)
			c.note("disk")
		}
	}
	c.set(0)
	for k := range all {
		if all[k].Open() {
			all[k] = resolved(all[k], time.Now(), time.Now())
			b.want(all[k])
		}
	}
	b.after(time.Hour)
	b.end()
	for _, i := range all {
		var versions []int
		ends := 0
		for _, a := range c.arrived[i.ID] {
			versions = append(versions, a.Version)
			if !a.Open() {
				ends++
			}
		}
		if twice := len(slices.Compact(slices.Sorted(slices.Values(versions)))) < len(versions); twice || !slices.IsSorted(versions) ||
			ends != 1 || versions[len(versions)-1] != i.Version {
			t.Errorf("seed %d: of %s there arrived the versions %v, %d of them resolved; want each at most once, and version %d at last, resolved", seed, i.ID, versions, ends, i.Version)
		}
	}
}
