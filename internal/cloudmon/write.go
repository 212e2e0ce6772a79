package cloudmon

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"cloud.google.com/go/monitoring/apiv3/v2/monitoringpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const maxSeriesPerCall = 200

// tally is what became of points.
type tally struct{ written, rejected, refused int }

// close writes the point of every series for the interval that ends at end,
// and tells whether that interval is over. It returns errStopped when it had
// to give up since Run ends.
//
// When everything is refused it waits and tries the same again: the log keeps
// what comes meanwhile. When only some of it is, that is a limit on those
// series, and the others must not wait for them: the points are dropped, and
// counters catch up with their next one.
func (x *Exporter) close(ctx, work context.Context, end time.Time) (over bool, err error) {
	if !x.folded || end.Sub(x.lastEnd) < minStep {
		return false, nil // nothing new, or a flush took this place: it goes with the next minute
	}
	x.mu.Lock()
	x.health.Minute, x.health.waiting = end, true
	x.mu.Unlock()
	samples := x.due(end)
	for again := x.replaying; ; again = true {
		if time.Since(end) > maxAge {
			x.done(end, tally{refused: len(samples)})
			return true, nil
		}
		if x.connect(work) {
			x.describe(work, samples)
			t, err := x.writeMinute(ctx, work, x.series(samples, end), end, again)
			if err != nil {
				return false, err
			}
			if t.written > 0 || t.rejected > 0 {
				if t.written > 0 {
					x.lastEnd = end
				}
				x.done(end, t)
				return true, nil
			}
		}
		if !x.wait(ctx, work, x.pace.cycle) {
			return false, errStopped
		}
	}
}

// due returns the samples that get a point.
func (x *Exporter) due(end time.Time) []Sample {
	all := x.counters.Snapshot()
	if !x.replaying { // a repeat must be the same in all, and these are not
		all = append(all, x.Health().Samples()...)
	}
	live := time.Since(end) < fresh && !x.replaying
	return slices.DeleteFunc(all, func(s Sample) bool {
		// What begins after the end was first seen before the clock was set back.
		return !s.Fresh || s.Metric.Name == nameOpenFindings && !live || s.StartMS >= end.UnixMilli()
	})
}

// done books what became of a minute.
func (x *Exporter) done(end time.Time, t tally) {
	x.replaying = false                 // the state is saved after each minute: only one can have been written before
	x.folded = t.rejected+t.refused > 0 // counters have to catch up
	x.mu.Lock()
	h := &x.health
	h.Lag, h.waiting = time.Since(end), false
	h.Written += int64(t.written)
	h.Rejected += int64(t.rejected)
	h.Dropped += int64(t.refused)
	recovered := h.Err != "" && t.written > 0 && t.rejected+t.refused == 0 && x.describeAgain.IsZero()
	since := h.ErrSince
	if recovered {
		h.Err, h.ErrSince = "", time.Time{}
	}
	x.mu.Unlock()
	if recovered {
		clear(x.logged)
		x.o.Logger.Info("export to Cloud Monitoring works again", "since", since, "minute", end)
	}
}

// writeMinute makes the calls for one minute, one after the other.
func (x *Exporter) writeMinute(ctx, work context.Context, series []*monitoringpb.TimeSeries, end time.Time, again bool) (tally, error) {
	var sum tally
	for chunk := range slices.Chunk(series, maxSeriesPerCall) {
		t, err := x.writeChunk(ctx, work, chunk, end, again)
		if err != nil {
			return sum, err
		}
		sum.written += t.written
		sum.rejected += t.rejected
		sum.refused += t.refused
		if time.Since(end) > fresh && !x.wait(ctx, work, x.pace.catchUp) {
			return sum, errStopped
		}
	}
	return sum, nil
}

// writeChunk makes one call, and the same again until its outcome is known.
// again says that it may have been made before.
func (x *Exporter) writeChunk(ctx, work context.Context, series []*monitoringpb.TimeSeries, end time.Time, again bool) (tally, error) {
	req := &monitoringpb.CreateTimeSeriesRequest{Name: "projects/" + x.cfg.Project, TimeSeries: series}
	for wait := x.pace.firstWait; ; wait = min(2*wait, x.pace.maxWait) {
		callCtx, cancel := context.WithTimeout(work, x.pace.deadline)
		err := x.client.CreateTimeSeries(callCtx, req)
		cancel()
		if err == nil {
			return tally{written: len(series)}, nil
		}
		if work.Err() != nil {
			return tally{}, errStopped
		}
		switch status.Code(err) {
		case codes.Unavailable, codes.DeadlineExceeded:
			x.problem("write to Cloud Monitoring", err)
			if time.Since(end) > maxAge {
				return tally{refused: len(series)}, nil
			}
			if !x.wait(ctx, work, wait/2+rand.N(wait/2+1)) {
				return tally{}, errStopped
			}
			again = true
		default:
			return x.judge(err, len(series), again), nil
		}
	}
}

// judge reads from the error of a call what became of its n points. Which ones
// failed is only in its prose, and not needed.
func (x *Exporter) judge(err error, n int, again bool) tally {
	st := status.Convert(err)
	var t tally
	rest := n
	book := func(code codes.Code, k int) {
		k = min(k, rest)
		rest -= k
		switch {
		case code == codes.InvalidArgument && again:
			t.written += k // out of order: it was written before
		case rejects(code):
			t.rejected += k
		default:
			t.refused += k
		}
	}
	for _, d := range st.Details() {
		if s, ok := d.(*monitoringpb.CreateTimeSeriesSummary); ok {
			t.written = min(int(s.GetSuccessPointCount()), rest)
			rest -= t.written
			for _, e := range s.GetErrors() {
				book(codes.Code(e.GetStatus().GetCode()), int(e.GetPointCount()))
			}
		}
	}
	book(st.Code(), rest)
	if t.rejected+t.refused > 0 {
		x.problem("write to Cloud Monitoring", err)
	}
	return t
}

// rejects tells whether a code means that the same call will never succeed.
func rejects(c codes.Code) bool {
	switch c {
	case codes.InvalidArgument, codes.PermissionDenied, codes.NotFound, codes.FailedPrecondition,
		codes.OutOfRange, codes.Unimplemented, codes.AlreadyExists:
		return true
	}
	return false
}

// wait waits for d, or less when Run is told to end, and tells whether there
// is still time for something.
func (x *Exporter) wait(ctx, work context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	ended := ctx.Done()
	if ctx.Err() != nil {
		ended = nil
	}
	select {
	case <-t.C:
	case <-ended:
	case <-work.Done():
	}
	return work.Err() == nil
}
