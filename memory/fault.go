package memory

import (
	"fmt"
	"slices"
	"sync"

	"github.com/fa5182d2/messaging"
)

// errCrashed is not ErrClosed itself: a Release after a crash has not been
// done by anyone.
var errCrashed = fmt.Errorf("the subscriber crashed: %w", messaging.ErrClosed)

// crash implements fragile: the client is gone at once, the broker finds out
// when the leases end.
func (q *queue) crash() {
	s := q.s
	s.mu.Lock()
	if q.err == nil {
		q.end(errCrashed)
		for r := q.held.first; r != nil; r = r.next {
			r.lease.Lose()
		}
		q.stopRenewing()
		if q.held.n == 0 {
			s.queues = slices.DeleteFunc(s.queues, func(other *queue) bool { return other == q })
		}
	}
	next := s.nextWaiter()
	s.mu.Unlock()
	next.wake()
}

// stopRenewing lets the leases end that were renewed until now.
func (q *queue) stopRenewing() {
	q.lapse = min(q.lapse, q.s.clock()+q.lease)
	q.s.leases = min(q.s.leases, q.nextExpiry())
	q.s.arm()
}

// freeze implements fragile.
func (q *queue) freeze() (thaw func()) {
	s := q.s
	s.mu.Lock()
	open := q.frozen.shut()
	if w := s.told; w != nil && w.q == q {
		s.told = nil
		w.state = parked
		push(&q.parked, w)
	}
	q.stopRenewing()
	next := s.nextWaiter()
	s.mu.Unlock()
	next.wake()
	return sync.OnceFunc(func() { q.thaw(open) })
}

// thaw renews the leases that have not ended meanwhile.
func (q *queue) thaw(open func()) {
	s := q.s
	s.mu.Lock()
	open()
	if q.err == nil && !q.frozen.isShut() {
		q.tellStale()
		q.lapse = never
		s.leases = min(s.leases, q.nextExpiry())
		q.unpark()
	}
	next := s.nextWaiter()
	s.arm()
	s.mu.Unlock()
	next.wake()
}
