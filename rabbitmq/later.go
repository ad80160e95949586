package rabbitmq

import (
	"fmt"
	"time"

	"github.com/fa5182d2/messaging"
)

// later settles by putting copies aside, and acknowledging what was.
func (t *settling) later(delay time.Duration) {
	claims, items := t.claim()
	if len(items) > 0 {
		b := bound{ctx: t.ctx, timeout: t.q.o.timeout, abort: t.q.closing, aborted: messaging.ErrClosed}
		t.q.delayer.put(&b, delay, items)
		b.end()
	}
	mark, done := t.acknowledge(claims, items)
	if len(done) == 0 {
		return
	}
	if err := t.written(mark); err != nil {
		t.s.mu.Lock()
		defer t.s.mu.Unlock()
		for _, i := range done {
			claims[i].unsure = nack
			t.fail(i, fmt.Errorf("%w: %w", messaging.ErrUncertain, err))
		}
	}
}

// claim claims what can be put aside and makes copies of it. What cannot comes
// again at once.
func (t *settling) claim() (claims []*Receipt, items []item) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	claims, items = make([]*Receipt, len(t.ds)), make([]item, 0, len(t.ds))
	for i := range t.ds {
		r := t.receipt(i, nack)
		if r == nil || r.state != held {
			continue // or it is a repeat: what was given to the connection stays so
		}
		copied := t.q.copyOf(r)
		if most := t.q.o.dialer.frame.Load(); most > 0 && tableSize(copied.Headers)+propertyBytes > int(most) {
			// With the header of our own they are too many for one frame.
			r.state = settled
			s.unlink(r)
			if err := s.tell(nack, r.Delivery.DeliveryTag, false); err != nil {
				t.fail(i, fmt.Errorf("%w: %w", messaging.ErrUncertain, err))
			}
			continue
		}
		r.state, claims[i] = claimed, r
		items = append(items, item{p: copied})
	}
	return claims, items
}

// acknowledge acknowledges the claims whose items are put aside, gives up the
// others, and returns the places of those.
func (t *settling) acknowledge(claims []*Receipt, items []item) (mark int64, done []int) {
	s := t.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range claims {
		if r == nil {
			continue
		}
		err := items[0].err
		items = items[1:]
		switch {
		case s.dead:
			// It comes again from here as well as from the delay queue, if that
			// has it.
			t.fail(i, messaging.ErrLost)
		case err != nil:
			r.state = held
			t.fail(i, err)
		default:
			r.state, r.marked = settled, true
			done = append(done, i)
		}
	}
	if err := s.write(ack, claims); err != nil {
		for _, i := range done {
			t.fail(i, fmt.Errorf("%w: %w", messaging.ErrUncertain, err))
		}
		return 0, nil
	}
	return s.c.wire.mark(), done
}
