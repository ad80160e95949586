package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// queue is a subscriber of a subscription.
type queue struct {
	s           *subscription
	window      int
	lease, hold time.Duration
	maxMessage  int
	spare       sync.Pool     // of waiters
	frozen      gate          // Freeze
	done        chan struct{} // closed when err is set

	// Guarded by the subscription's mutex.
	err    error         // why no call works any more: closed, crashed, deleted
	held   list[Receipt] // unsettled, the longest held first
	stale  list[Receipt] // lapsed while frozen
	parked list[waiter]
	lapse  time.Duration // when the broker gives up on a crashed or frozen holder; else never
}

var _ messaging.QueueSubscriber = (*queue)(nil)

// open adds a subscriber.
func (s *subscription) open(o *options) *queue {
	window := o.inflight
	if window == 0 {
		window = defaultQueueInflight
	}
	q := &queue{s: s, window: window, lease: o.lease, hold: o.hold, maxMessage: o.maxMessage, done: make(chan struct{}), lapse: never}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queues = append(s.queues, q)
	s.opened++
	s.arm() // at once, if something came due while nobody was there
	return q
}

// Capabilities implements messaging.Subscriber.
func (q *queue) Capabilities() messaging.Capabilities {
	return messaging.Capabilities{
		Order:         q.s.order,
		Attempts:      true,
		ExactAttempts: true,
		Lease:         q.lease,
		MaxDelay:      longest,
		MaxMessage:    q.maxMessage,
		Window:        q.window,
	}
}

// Receive implements messaging.Subscriber.
func (q *queue) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	if max < 1 {
		return nil, fmt.Errorf("memory: receive from %s: max is %d: want 1 or more", q.s, max)
	}
	w, ok := q.spare.Get().(*waiter)
	if !ok {
		w = &waiter{q: q, signal: make(chan struct{}, 1)}
	}
	ds, err := q.receive(ctx, w, max)
	q.spare.Put(w)
	if err != nil {
		return nil, fmt.Errorf("memory: receive from %s: %w", q.s, err)
	}
	return ds, nil
}

// receive is Receive with the memory and the place in line of w.
func (q *queue) receive(ctx context.Context, w *waiter, max int) ([]*messaging.Delivery, error) {
	paused := &q.s.c.b.gate
	w.prepare()
	for {
		if err := paused.waitOr(ctx, q.done); err != nil {
			return nil, q.leave(w, err)
		}
		err := q.take(w, max)
		if err != nil {
			return nil, err
		}
		if len(w.taken) > 0 {
			return w.fill(), nil
		}
		select {
		case <-w.signal:
		case <-ctx.Done():
			return nil, q.leave(w, ctx.Err())
		case <-q.done:
		}
	}
}

// take hands w what it gets now, or puts it in line.
func (q *queue) take(w *waiter, max int) error {
	s := q.s
	s.mu.Lock()
	if q.err != nil {
		s.withdraw(w)
		s.mu.Unlock()
		return q.err
	}
	if w.state == away || w.state == told {
		if n := s.share(w, max); n > 0 {
			s.withdraw(w)
			w.hand(n)
			s.arm()
		} else {
			s.wait(w)
		}
	}
	next := s.nextWaiter()
	s.mu.Unlock()
	next.wake()
	return nil
}

// leave takes w out of line. It returns why the queue ended, if it did, else
// err.
func (q *queue) leave(w *waiter, err error) error {
	s := q.s
	s.mu.Lock()
	s.withdraw(w)
	q.unpark() // what it was told of took room
	next := s.nextWaiter()
	if q.err != nil {
		err = q.err
	}
	s.mu.Unlock()
	next.wake()
	return err
}

// room is how many more deliveries the window allows. None go to a frozen
// subscriber.
func (q *queue) room() int {
	if q.frozen.isShut() {
		return 0
	}
	room := q.window - q.held.n
	if t := q.s.told; t != nil && t.q == q {
		room--
	}
	return room
}

// unpark puts those in line again that waited for room.
func (q *queue) unpark() {
	for w := q.parked.first; w != nil && q.room() > 0; w = q.parked.first {
		unlink(&q.parked, w)
		w.state = inLine
		push(&q.s.waiters, w)
	}
}

// Close implements messaging.Subscriber.
func (q *queue) Close() error {
	s := q.s
	s.mu.Lock()
	if q.err == nil {
		q.end(messaging.ErrClosed)
		for r := q.held.first; r != nil; r = q.held.first {
			q.lose(r)
			s.back(r.item)
		}
		s.queues = slices.DeleteFunc(s.queues, func(other *queue) bool { return other == q })
	}
	next := s.nextWaiter()
	s.mu.Unlock()
	next.wake()
	return nil
}

// end makes every call return err.
func (q *queue) end(err error) {
	s := q.s
	q.err = err
	close(q.done)
	if s.told != nil && s.told.q == q {
		s.told.state = away
		s.told = nil
	}
	q.tellStale()
	if s.opened--; s.opened == 0 {
		s.disarm()
	}
}

// lose takes r from the subscriber and tells it, unless it is frozen: then it
// finds out when it thaws. What becomes of its item is the caller's.
func (q *queue) lose(r *Receipt) {
	unlink(&q.held, r)
	r.over = true
	if q.err == nil && q.frozen.isShut() {
		push(&q.stale, r)
		return
	}
	r.lease.Lose()
}

// tellStale tells the subscriber what lapsed while it was frozen.
func (q *queue) tellStale() {
	for r := q.stale.first; r != nil; r = q.stale.first {
		unlink(&q.stale, r)
		r.lease.Lose()
	}
}
