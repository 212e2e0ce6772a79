package schedule

import (
	"context"
	"fmt"
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

const (
	evidenceQueue   = 256
	evidenceTimeout = 10 * time.Second
)

// memory is what is remembered of a check's last results, to know which ones
// say something new.
type memory struct {
	status probe.Status
	class  probe.Class
	streak uint8     // results in a row that were not up, counted to 255
	kept   time.Time // slot of the newest evidence
}

// note takes the next result. changed tells that its status is not that of
// the one before it, or that it is the first and not up. keep tells that its
// evidence is worth storing: on a change of class, for the first three results
// of a row that are not up, then once an hour.
func (m *memory) note(r *checks.Result) (changed, keep bool) {
	first := m.class == ""
	changed = r.Status != m.status && (!first || r.Status != probe.Up)
	if r.Status == probe.Up {
		keep = r.Class != m.class && !first
	} else {
		keep = m.New(r.Class, r.Slot)
	}
	if r.Status == probe.Up {
		m.streak = 0
	} else if m.streak < 255 {
		m.streak++
	}
	if keep {
		m.kept = r.Slot
	}
	m.status, m.class = r.Status, r.Class
	return changed, keep
}

// New implements checks.Newness: the evidence of what is new is kept, so it is
// worth a diagnosis.
func (m *memory) New(class probe.Class, slot time.Time) bool {
	return class != m.class || m.streak < 3 || slot.Sub(m.kept) >= time.Hour
}

// keep builds the evidence, which must happen before the check's next run, and
// hands it to the goroutine of storeEvidence.
func (r *Runner) keep(result *checks.Result, build func() *probe.Evidence) {
	e, err := guarded(build)
	if err != nil {
		r.o.Log.Error("evidence not built", "check", result.Check, "err", err)
	}
	if e == nil {
		return
	}
	e.V, e.Check, e.Location, e.Slot = probe.EvidenceVersion, result.Check, result.Location, result.Slot
	select {
	case r.records <- e:
	default:
		r.mu.Lock()
		r.stats.EvidenceDropped++
		r.mu.Unlock()
	}
}

// guarded makes a panic of build, a bug of ours, an error.
func guarded(build func() *probe.Evidence) (e *probe.Evidence, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return build(), nil
}

// storeEvidence calls Options.Evidence for the records, until the function it
// returns is called, which stores the last ones.
func (r *Runner) storeEvidence(ctx context.Context) (stop func() error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case e := <-r.records:
				r.store(ctx, e)
			case <-stopping:
				for len(r.records) > 0 {
					r.store(ctx, <-r.records)
				}
				return
			}
		}
	}()
	return func() error {
		defer cancel()
		close(stopping)
		timeout := time.NewTimer(grace)
		defer timeout.Stop()
		select {
		case <-stopped:
			return nil
		case <-timeout.C:
			return fmt.Errorf("store the last evidence: not done after %s", grace)
		}
	}
}

func (r *Runner) store(ctx context.Context, e *probe.Evidence) {
	ctx, cancel := context.WithTimeout(ctx, evidenceTimeout)
	defer cancel()
	if err := r.o.Evidence(ctx, e); err != nil {
		r.o.Log.Warn("evidence not stored", "check", e.Check, "err", err)
	}
}
