package memory

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

func (v verb) String() string {
	return [...]string{"settle", "ack", "nack", "release"}[v]
}

var (
	errNil     = errors.New("the delivery is nil")
	errForeign = errors.New("the delivery is not of this subscriber")
)

// Ack implements messaging.QueueSubscriber.
func (q *queue) Ack(ctx context.Context, ds ...*messaging.Delivery) error {
	return q.settle(ctx, ack, 0, ds)
}

// Nack implements messaging.QueueSubscriber.
func (q *queue) Nack(ctx context.Context, delay time.Duration, ds ...*messaging.Delivery) error {
	return q.settle(ctx, nack, min(delay, longest), ds)
}

// Release implements messaging.Subscriber.
func (q *queue) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	return q.settle(ctx, release, 0, ds)
}

// settle applies v to ds. It is applied as a whole or, when the call fails
// before it reached the broker, not at all.
func (q *queue) settle(ctx context.Context, v verb, delay time.Duration, ds []*messaging.Delivery) error {
	err := q.reach(ctx)
	s := q.s
	s.mu.Lock()
	if q.err != nil || err != nil {
		if all, failed := q.ended(v, err); all {
			s.mu.Unlock()
			return q.failed(v, ds, failed)
		}
	}
	batch := q.settleAll(v, delay, ds)
	q.unpark()
	next := s.nextWaiter()
	s.arm()
	s.mu.Unlock()
	next.wake()
	if batch == nil {
		return nil
	}
	return fmt.Errorf("memory: %v on %s: %w", v, s, batch)
}

// ended returns whether a settle fails, or is nil, as a whole, because the
// subscriber has ended or the call did not reach the broker with err.
func (q *queue) ended(v verb, err error) (all bool, failed error) {
	switch {
	case q.err == nil:
		return true, err
	case q.err == messaging.ErrClosed && v == release:
		return true, nil // Close has done it
	case errors.Is(q.err, messaging.ErrClosed):
		return true, q.err
	}
	return false, nil // the channel was deleted: each delivery is lost
}

// reach returns when the subscriber and the broker can talk, or it has ended,
// or with ctx's error.
func (q *queue) reach(ctx context.Context) error {
	for {
		err := q.frozen.waitOr(ctx, q.done)
		if err == nil {
			err = q.s.c.b.gate.waitOr(ctx, q.done)
		}
		if err != nil || !q.frozen.isShut() {
			return err
		}
	}
}

// failed is the error of a call that failed as a whole.
func (q *queue) failed(v verb, ds []*messaging.Delivery, err error) error {
	if err == nil {
		return nil
	}
	batch := &messaging.BatchError{Errs: make([]error, len(ds))}
	for i := range ds {
		batch.Errs[i] = err
	}
	if len(ds) == 0 {
		return fmt.Errorf("memory: %v on %s: %w", v, q.s, err)
	}
	return fmt.Errorf("memory: %v on %s: %w", v, q.s, batch)
}

// settleAll settles each of ds and returns what failed, or nil.
func (q *queue) settleAll(v verb, delay time.Duration, ds []*messaging.Delivery) *messaging.BatchError {
	chaos := q.s.c.chaos
	replyLost := chaos.roll(chaos.now().LostReply)
	due := time.Duration(0)
	if delay > 0 {
		due = q.s.clock() + delay
	}
	var batch *messaging.BatchError
	for i, d := range ds {
		err := q.settleOne(v, due, d, replyLost)
		if err == nil {
			continue
		}
		if batch == nil {
			batch = &messaging.BatchError{Errs: make([]error, len(ds))}
		}
		batch.Errs[i] = err
	}
	return batch
}

// settleOne settles d; due is when a nack's is ready again.
func (q *queue) settleOne(v verb, due time.Duration, d *messaging.Delivery, replyLost bool) error {
	if d == nil {
		return errNil
	}
	r, ok := d.Raw.(*Receipt)
	if !ok || r == nil || r.q != q || r.isCopy() {
		return errForeign
	}
	switch {
	case !r.over:
		q.apply(v, due, r)
		if replyLost {
			r.settled = v
		}
	case r.settled == v:
		if !replyLost {
			r.settled = 0
		}
	case !replyLost:
		return messaging.ErrLost
	}
	if replyLost {
		return fmt.Errorf("%w: %w", messaging.ErrUncertain, errReplyLost)
	}
	return nil
}

// apply settles r, which is held.
func (q *queue) apply(v verb, due time.Duration, r *Receipt) {
	unlink(&q.held, r)
	r.over = true
	switch v {
	case ack:
		q.s.finish(r.item)
	case release:
		q.s.back(r.item)
	case nack:
		m := q.s.fail(r.item)
		if due == 0 {
			q.s.back(m)
		} else {
			q.s.later.add(due, later{item: m})
		}
	}
}
