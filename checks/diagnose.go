package checks

import (
	"context"
	"fmt"
	"time"

	"github.com/tripline/tripline/checks/probe"
)

// diagnoseTime bounds how long a run looks for the causes of a failure. Its
// re-probes go on meanwhile.
const diagnoseTime = 2500 * time.Millisecond

// diagnosis is an inquiry under way.
type diagnosis struct {
	done     chan struct{}
	conclude func(later []probe.Outcome) probe.Diagnosis
}

// diagnose starts to find out why an attempt failed. It has ended by end, and
// soon after ctx.
func diagnose(ctx context.Context, q probe.Inquiry, thrifty bool, end time.Time) *diagnosis {
	d := &diagnosis{done: make(chan struct{})}
	if limit := time.Now().Add(diagnoseTime); limit.Before(end) {
		end = limit
	}
	go func() {
		defer close(d.done)
		defer func() {
			if p := recover(); p != nil {
				failed := failedDiagnosis(p)
				d.conclude = func([]probe.Outcome) probe.Diagnosis { return failed }
			}
		}()
		ctx, cancel := context.WithDeadline(ctx, end)
		defer cancel()
		d.conclude = q(ctx, thrifty)
	}()
	return d
}

// into waits for the end of the inquiry and returns a builder of evidence that
// holds what it came to. later are the attempts after the first.
func (d *diagnosis) into(evidence func() *probe.Evidence, later []probe.Outcome) func() *probe.Evidence {
	<-d.done
	if evidence == nil {
		return nil
	}
	return func() *probe.Evidence {
		e := evidence()
		if e != nil {
			e.With(d.concluded(later))
		}
		return e
	}
}

func (d *diagnosis) concluded(later []probe.Outcome) (result probe.Diagnosis) {
	defer func() {
		if p := recover(); p != nil {
			result = failedDiagnosis(p)
		}
	}()
	return d.conclude(later)
}

// failedDiagnosis stands for one that panicked: a bug of ours, which must not
// take the evidence with it.
func failedDiagnosis(p any) probe.Diagnosis {
	return probe.Diagnosis{Asked: []probe.Question{{What: fmt.Sprintf("the diagnosis panicked at %s: %v", panicSite(), p)}}}
}
