package schedule

import (
	"time"

	"github.com/tripline/tripline/checks"
	"github.com/tripline/tripline/checks/probe"
)

// keptWithin is how soon after its slot a run must start for the slot to
// count as kept.
const keptWithin = time.Second

// Health is the state of the schedule itself. The totals count slots since the
// Runner was made; each slot whose run has ended is in Kept or Late, each that
// has no run in Missed.
type Health struct {
	Checks   int
	InFlight int // runs that have not ended
	Waiting  int // slots that wait for a worker
	Workers  int // most runs at one time

	Kept            uint64 // runs that started within 1 s of their slot
	Late            uint64 // runs that started later
	Missed          uint64 // slots without a run; all are in a Gap
	Shed            uint64 // those of Missed for want of a worker
	EvidenceDropped uint64 // records that were not stored in time

	LastWake      time.Time     // when the plan was last looked at: at least each second
	WorstLateness time.Duration // of the last minute's runs, and of slots shed
	Oldest        string        // the check whose run in flight started first
	OldestFor     time.Duration // how long that run has gone on
}

// Due is the number of slots whose time has come.
func (h Health) Due() uint64 {
	return h.Kept + h.Late + h.Missed + uint64(h.InFlight) + uint64(h.Waiting)
}

// Health returns the state of the schedule.
func (r *Runner) Health() Health {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.read()
	h := r.stats.Health
	h.Checks, h.InFlight, h.Waiting, h.Workers = len(r.order), len(r.running), 0, r.o.Workers
	for _, it := range r.waiting {
		if it.state == queued {
			h.Waiting++
		}
	}
	for it := range r.running {
		if age := now.mono - it.started; age >= h.OldestFor {
			h.Oldest, h.OldestFor = it.check.Name, age
		}
		if it.state == reported {
			h.InFlight-- // already in Kept or Late
		}
	}
	h.WorstLateness = r.stats.worst(now.mono)
	return h
}

// stats are the counts behind Health, with the worst lateness of each of the
// last seconds.
type stats struct {
	Health
	second [60]int64
	late   [60]time.Duration
}

func (s *stats) woke(now reading) { s.LastWake = at(now.wall) }

func (s *stats) missed(n int) { s.Missed += uint64(n) }

func (s *stats) ran(r *checks.Result, now time.Duration) {
	late := r.Start.Sub(r.Slot)
	if late <= keptWithin && r.Class != probe.Late {
		s.Kept++
	} else {
		s.Late++
	}
	s.lateness(late, now)
}

func (s *stats) lateness(late, now time.Duration) {
	sec := int64(now / time.Second)
	i := sec % int64(len(s.second))
	if s.second[i] != sec {
		s.second[i], s.late[i] = sec, 0
	}
	s.late[i] = max(s.late[i], late)
}

func (s *stats) worst(now time.Duration) (worst time.Duration) {
	for i, sec := range s.second {
		if sec > int64(now/time.Second)-int64(len(s.second)) {
			worst = max(worst, s.late[i])
		}
	}
	return worst
}
