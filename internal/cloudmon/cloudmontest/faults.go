package cloudmontest

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Fault is something that goes wrong with a write that breaks no rule. The
// fields combine; the zero value changes nothing.
type Fault struct {
	Code codes.Code // the answer; OK leaves it as it is
	// Written lets the write happen before the fault: the client cannot know.
	Written bool
	// Series are the positions in the request that fail with Code; the others
	// are written. Empty means the whole request.
	Series []int
	Delay  time.Duration // before the answer; past the caller's deadline it never gets there
	Drop   bool          // all connections are cut instead of an answer
	All    bool          // other calls than CreateTimeSeries fail as well
}

type injected struct {
	Fault
	left int // negative: for ever
}

// Inject makes the next n writes suffer f; n < 0 means until Clear. Faults
// that were injected earlier come first.
func (s *Server) Inject(n int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n != 0 {
		s.faults = append(s.faults, injected{Fault: f, left: n})
	}
}

// Clear ends all faults.
func (s *Server) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults, s.chaos = nil, nil
}

// Chaos asks f before each write which fault it shall suffer; nil means none.
// Injected faults come first.
func (s *Server) Chaos(f func() *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chaos = f
}

// nextFault returns the fault of one call. Calls other than writes suffer
// those with All only and do not use them up.
func (s *Server) nextFault(write bool) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) > 0 {
		f := &s.faults[0]
		if !write {
			if f.All {
				return f.Fault
			}
			return Fault{}
		}
		out := f.Fault
		if f.left > 0 {
			f.left--
		}
		if f.left == 0 {
			s.faults = s.faults[1:]
		}
		return out
	}
	if write && s.chaos != nil {
		if f := s.chaos(); f != nil {
			return *f
		}
	}
	return Fault{}
}

// suffer delays, drops and fails as f says, after do was given its chance to
// happen. Without a fault it returns what do returns.
func (s *Server) suffer(ctx context.Context, f Fault, do func() error) error {
	whole := len(f.Series) == 0
	breaks := f.Drop || f.Delay > 0 || (f.Code != codes.OK && whole)
	var err error
	if !breaks || f.Written || !whole {
		err = do()
	}
	if f.Delay > 0 {
		t := time.NewTimer(f.Delay)
		defer t.Stop()
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-t.C:
		}
	}
	if f.Drop {
		go s.DropConnections()
		<-ctx.Done()
		return status.FromContextError(ctx.Err()).Err()
	}
	if f.Code != codes.OK && whole {
		return status.Error(f.Code, "injected: "+f.Code.String())
	}
	if breaks && !f.Written && whole { // only delayed, and in time after all
		return do()
	}
	return err
}
