package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fa5182d2/messaging"
)

// verb is a way to settle; 0 is none.
type verb uint8

const (
	ack verb = iota + 1
	nack
	release
)

func (v verb) String() string { return [...]string{"settle", "ack", "nack", "release"}[v] }

var (
	errNil     = errors.New("the delivery is nil")
	errForeign = errors.New("the delivery is not of this subscriber")
	errUnsent  = errors.New("it was not written to the connection")
)

// Ack implements messaging.QueueSubscriber.
func (q *queue) Ack(ctx context.Context, ds ...*messaging.Delivery) error {
	return q.settle(ctx, ack, ds, func(s *settling) { s.direct(ack) })
}

// Nack implements messaging.QueueSubscriber.
func (q *queue) Nack(ctx context.Context, delay time.Duration, ds ...*messaging.Delivery) error {
	if delay <= 0 || !q.delays() {
		return q.settle(ctx, nack, ds, func(s *settling) { s.direct(nack) })
	}
	return q.settle(ctx, nack, ds, func(s *settling) { s.later(delay) })
}

// Release implements messaging.Subscriber.
func (q *queue) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	return q.settle(ctx, release, ds, func(s *settling) { s.direct(release) })
}

// settling is one call that settles.
type settling struct {
	q    *queue
	ctx  context.Context
	s    *consumer
	ds   []*messaging.Delivery
	errs []error // nil until one is set
}

func (q *queue) settle(ctx context.Context, v verb, ds []*messaging.Delivery, do func(*settling)) error {
	t := &settling{q: q, ctx: ctx, s: q.current.Load(), ds: ds}
	err := q.ended()
	switch {
	case errors.Is(err, messaging.ErrClosed) && v == release:
		return nil // Close has done it
	case errors.Is(err, messaging.ErrClosed):
	default:
		err = ctx.Err()
	}
	switch {
	case err == nil:
		do(t)
	case len(ds) == 0:
		return fmt.Errorf("rabbitmq: %v on queue %s: %w", v, q.name, err)
	default:
		for i := range ds {
			t.fail(i, err)
		}
	}
	if t.errs == nil {
		return nil
	}
	return fmt.Errorf("rabbitmq: %v on queue %s: %w", v, q.name, &messaging.BatchError{Errs: t.errs})
}

func (t *settling) fail(i int, err error) {
	if t.errs == nil {
		t.errs = make([]error, len(t.ds))
	}
	t.errs[i] = err
}

// receipt returns what place i settles, or nil and sets its error. The
// consumer is locked.
func (t *settling) receipt(i int, v verb) *Receipt {
	d := t.ds[i]
	if d == nil {
		t.fail(i, errNil)
		return nil
	}
	r, ok := d.Raw.(*Receipt)
	switch {
	case !ok || r == nil || r.self != r || r.s.q != t.q:
		t.fail(i, errForeign)
	case r.s != t.s || t.s.dead:
		t.fail(i, messaging.ErrLost)
	case r.state == held:
		return r
	case r.state == settled && r.unsure == v:
		return r // a repeat of what may be written by now
	default:
		t.fail(i, messaging.ErrLost)
	}
	return nil
}

// direct settles by a word to the broker, to which AMQP has no answer. It
// waits until it is written.
func (t *settling) direct(v verb) {
	s := t.s
	s.mu.Lock()
	var mark int64
	waits := make([]*Receipt, len(t.ds))
	for i := range t.ds {
		if waits[i] = t.receipt(i, v); waits[i] != nil && waits[i].state == held {
			waits[i].marked, waits[i].state = true, settled
		}
	}
	err := s.write(v, waits)
	mark = s.c.wire.mark()
	s.mu.Unlock()
	if err == nil {
		err = t.written(mark)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range waits {
		switch {
		case r == nil:
		case err != nil:
			r.unsure = v
			t.fail(i, fmt.Errorf("%w: %w", messaging.ErrUncertain, err))
		default:
			r.unsure = 0
		}
	}
}

// written waits until everything up to a mark is with the network.
func (t *settling) written(mark int64) error {
	for {
		done, err := t.s.c.wire.reached(mark)
		if done || err != nil {
			return err
		}
		b := bound{ctx: t.ctx, abort: t.s.over, aborted: errUnsent}
		// All of it, and what others add meanwhile is not much.
		if wait := t.s.c.wire.below(0); wait != nil {
			if err := b.wait(wait, nil); err != nil {
				if done, _ := t.s.c.wire.reached(mark); done {
					return nil
				}
				return err
			}
		}
	}
}

// write tells the broker of the marked receipts: those which nothing unsettled
// precedes with one word, and the others one by one. s is locked.
func (s *consumer) write(v verb, rs []*Receipt) (err error) {
	if v != nack { // basic.reject has no multiple
		n := 0
		var last *Receipt
		for r := s.first; r != nil && r.marked; r = s.first {
			s.unlink(r)
			r.marked = false
			last, n = r, n+1
		}
		if n > 0 {
			err = s.tell(v, last.Delivery.DeliveryTag, n > 1)
		}
	}
	for _, r := range rs {
		if r == nil || !r.marked {
			continue
		}
		s.unlink(r)
		r.marked = false
		err = errors.Join(err, s.tell(v, r.Delivery.DeliveryTag, false))
	}
	return err
}

// tell says one thing. From RabbitMQ 4.3 on nack gives back and counts nothing,
// and reject says that an attempt has failed; before, both count.
func (s *consumer) tell(v verb, tag uint64, multiple bool) error {
	switch v {
	case ack:
		return s.ch.Ack(tag, multiple)
	case release:
		return s.ch.Nack(tag, multiple, true)
	}
	return s.ch.Reject(tag, true)
}
