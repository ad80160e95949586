package memory

import "time"

// arm makes the timer go off when something is due, while anybody is there to
// see it. With nobody there is no timer, and the next to open looks.
func (s *subscription) arm() {
	at := min(s.later.next(), s.leases)
	if at >= s.armed || s.opened == 0 {
		return
	}
	s.armed = at
	in := at - s.clock()
	if s.timer == nil {
		s.timer = time.AfterFunc(in, s.tick)
	} else {
		s.timer.Reset(in)
	}
}

func (s *subscription) disarm() {
	s.armed = never
	if s.timer != nil {
		s.timer.Stop()
	}
}

// tick is what the timer calls.
func (s *subscription) tick() {
	s.mu.Lock()
	s.armed = never
	lost := 0
	if s.opened > 0 {
		lost = s.expire(s.clock())
	}
	next := s.nextWaiter()
	s.arm()
	s.mu.Unlock()
	next.wake()
	if lost > 0 {
		s.c.b.logger().Warn("memory: leases lost, the messages come again", "queue", s.String(), "lost", lost)
	}
}

// expire does what is due, and returns how many leases were lost.
func (s *subscription) expire(now time.Duration) (lost int) {
	for s.later.next() <= now {
		l := s.later.take()
		switch r := l.expire; {
		case r == nil:
			s.back(l.item)
		case !r.over:
			r.q.lose(r)
			s.lapse(r, now)
			r.q.unpark()
			lost++
		}
	}
	if now < s.leases {
		return lost
	}
	s.leases = never
	kept := s.queues[:0]
	for _, q := range s.queues {
		lost += q.expire(now)
		s.leases = min(s.leases, q.nextExpiry())
		if q.err == nil || q.held.n > 0 {
			kept = append(kept, q)
		}
	}
	clear(s.queues[len(kept):])
	s.queues = kept
	return lost
}

// lapse counts the attempt of r, which was lost, as failed. Its message comes
// again, but never before the lease that Receive took has ended.
func (s *subscription) lapse(r *Receipt, now time.Duration) {
	m := s.fail(r.item)
	if due := r.at + r.q.lease; due > now {
		s.later.add(due, later{item: m})
	} else {
		s.back(m)
	}
}

// nextExpiry is when a lease of q ends, if nothing happens before.
func (q *queue) nextExpiry() time.Duration {
	switch {
	case q.held.first == nil:
		return never
	case q.lapse != never:
		return q.lapse
	}
	return q.held.first.at + q.hold
}

// expire ends the leases of q that are over, and returns how many.
func (q *queue) expire(now time.Duration) (lost int) {
	for r := q.held.first; r != nil && q.nextExpiry() <= now; r = q.held.first {
		q.lose(r)
		q.s.lapse(r, now)
		lost++
	}
	if lost > 0 {
		q.unpark()
	}
	return lost
}
