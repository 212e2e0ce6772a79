package checks

import (
	"context"
	"fmt"
	"strings"
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

// into puts what was found into a builder of evidence.
func into(evidence func() *probe.Evidence, found probe.Diagnosis) func() *probe.Evidence {
	if evidence == nil {
		return nil
	}
	return func() *probe.Evidence {
		e := evidence()
		if e != nil {
			e.With(found)
		}
		return e
	}
}

// FactCause is the fact of a result that says what most likely caused its failure.
const FactCause = "cause"

// mostCause is the most bytes of FactCause.
const mostCause = 240

// leading is the first of the causes in few words; "" if none is likely.
func leading(found probe.Diagnosis) string {
	if len(found.Causes) == 0 || found.Causes[0].Certainty == probe.Possible || found.Causes[0].Certainty == probe.Unlikely {
		return ""
	}
	c := found.Causes[0]
	text := c.Name + ": " + c.Text
	return strings.ToValidUTF8(text[:min(len(text), mostCause)], "")
}

// concluded waits for the end of the inquiry. later are the attempts after the first.
func (d *diagnosis) concluded(later []probe.Outcome) (result probe.Diagnosis) {
	<-d.done
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
