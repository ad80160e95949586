package memory

import "time"

// tellStale tells s what it lost while it was frozen.
func (s *stream) tellStale() {
	for _, a := range s.stale {
		a.lease.Lose()
	}
	s.stale = nil
}

// crash implements fragile: the client is gone at once, the broker finds out
// when the lease is over.
func (s *stream) crash() {
	if !s.end(errCrashed) {
		return
	}
	if s.g == nil {
		s.unread()
		return
	}
	time.AfterFunc(s.lease, func() { s.g.leave(s, "timed out") })
}

// freeze implements fragile.
func (s *stream) freeze() (thaw func()) {
	open := s.frozen.shut()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.g != nil && s.err == nil && s.lapse == nil {
		s.lapse = time.AfterFunc(s.lease, func() { s.g.expel(s) })
	}
	return func() {
		open()
		s.thaw()
	}
}

// thaw lets s find out what has happened while it was frozen.
func (s *stream) thaw() {
	s.mu.Lock()
	if s.err != nil || s.frozen.isShut() {
		s.mu.Unlock()
		return
	}
	if s.lapse != nil {
		s.lapse.Stop()
		s.lapse = nil
	}
	s.tellStale()
	for _, a := range s.assigned {
		if a.ending {
			a.lease.End()
			s.follow = append(s.follow, a)
		}
	}
	s.rouse()
	s.unlock()
	if s.g != nil {
		s.g.rejoin(s)
	}
}
