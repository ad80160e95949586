package memory

import ()

// What others do to a subscriber: its group, with the group's mutex held, and
// its log, with the channel's.

// install gives a to s.
func (s *stream) install(a *assignment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.place = len(s.assigned)
	s.assigned = append(s.assigned, a)
	a.p.watch(s)
	if s.err != nil {
		a.lease.Lose()
	}
	s.rouse()
}

// finish lets s settle what it has in hand of a. It reports whether that is
// nothing. A subscriber that is frozen or crashed does not hear and does not
// answer.
func (s *stream) finish(a *assignment) (idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.ending = true
	if s.err != nil || s.frozen.isShut() {
		return false
	}
	a.lease.End()
	return a.inHand() == 0
}

// idle reports whether s has confirmed that nothing of a is in hand.
func (s *stream) idle(a *assignment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil && !s.frozen.isShut() && a.inHand() == 0
}

// lose takes a from s and returns how many deliveries of it were in hand.
func (s *stream) lose(a *assignment) (inHand int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inHand = a.inHand()
	a.over = true
	s.drop(a)
	if s.err == nil && s.frozen.isShut() {
		s.stale = append(s.stale, a) // it finds out when it thaws
	} else {
		a.lease.Lose()
	}
	return inHand
}

// retire takes a from s, of which all is committed. Committing it once more
// is nil.
func (s *stream) retire(a *assignment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(a)
	a.lease.Lose()
}

// drop removes a from assigned, and from the windows.
func (s *stream) drop(a *assignment) {
	if a.place < 0 {
		return
	}
	last := len(s.assigned) - 1
	s.assigned[a.place] = s.assigned[last]
	s.assigned[a.place].place = a.place
	s.assigned[last] = nil
	s.assigned = s.assigned[:last]
	a.place = -1
	a.p.unwatch(s)
	s.bytes -= a.sent.bytes - a.settled.bytes
	a.sent, a.seg = a.settled, nil
	s.rouse()
}
