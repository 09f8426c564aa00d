package diskkv

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// scheduler lets Pebble's compactions run, as many at a time as Pebble itself thinks
// right, but none before the store is open: Pebble's Open waits for compactions that began
// during it, which made a second of a reopening that takes a tenth. Other than Pebble's
// own scheduler it does not wake up ten times a second when there is nothing to do.
type scheduler struct {
	mu       sync.Mutex // all below; taken by Pebble under its own locks
	db       pebble.DBForCompaction
	open     bool
	ended    bool
	running  int
	granting bool // some goroutine is in grant
	again    bool // it must look once more
	idle     *sync.Cond
}

func newScheduler() *scheduler {
	s := &scheduler{}
	s.idle = sync.NewCond(&s.mu)
	return s
}

// Register implements pebble.CompactionScheduler.
func (s *scheduler) Register(_ int, db pebble.DBForCompaction) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db = db
}

// Unregister implements pebble.CompactionScheduler.
func (s *scheduler) Unregister() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for s.granting {
		s.idle.Wait()
	}
}

// start lets compactions run.
func (s *scheduler) start() {
	s.mu.Lock()
	s.open = true
	s.mu.Unlock()
	s.grant()
}

// may tells whether one more may run; s.mu must be held.
func (s *scheduler) may() bool {
	return s.open && !s.ended && s.running < s.db.GetAllowedWithoutPermission()
}

// TrySchedule implements pebble.CompactionScheduler.
func (s *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.may() {
		return false, nil
	}
	s.running++
	return true, s
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (s *scheduler) UpdateGetAllowedWithoutPermission() { go s.grant() }

// Started, MeasureCPU and CumulativeStats implement pebble.CompactionGrantHandle.
func (s *scheduler) Started() {}

func (s *scheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

func (s *scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle.
func (s *scheduler) Done() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.grant()
}

// grant starts compactions that were refused before, for which Pebble's locks must be free.
func (s *scheduler) grant() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.granting {
		s.again = true
		return
	}
	s.granting = true
	for s.may() {
		s.running++
		s.again = false
		s.mu.Unlock()
		waiting, _ := s.db.GetWaitingCompaction()
		taken := waiting && s.db.Schedule(s)
		s.mu.Lock()
		if taken {
			continue
		}
		s.running--
		if !s.again {
			break
		}
	}
	s.granting = false
	s.idle.Broadcast()
}

var (
	_ pebble.CompactionScheduler   = (*scheduler)(nil)
	_ pebble.CompactionGrantHandle = (*scheduler)(nil)
)
