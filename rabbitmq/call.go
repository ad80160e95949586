package rabbitmq

import (
	"fmt"

	"github.com/fa5182d2/messaging"
)

// run sends what is not done and waits until it is, or the lane ends, or b.
func (l *lane) run(b *bound, exchange string, items []item) (r runner, err error) {
	r = runner{lane: l, b: b, items: items}
	for i := range items {
		if items[i].done {
			continue
		}
		sent, err := r.send(exchange, i)
		if err != nil {
			return r, err
		}
		if !sent {
			break // the lane has ended
		}
	}
	// The last first: what confirms it mostly confirms all before it, so that
	// this waits once.
	for i := len(items) - 1; i > r.first; i-- {
		if c := items[i].confirm; c != nil {
			if err := b.wait(c.Done(), nil); err != nil {
				return r, err
			}
			break
		}
	}
	for ; r.first < len(items); r.first++ {
		if err := r.await(r.first); err != nil {
			return r, err
		}
	}
	return r, nil
}

// runner is a call that goes through a lane.
type runner struct {
	*lane
	b      *bound
	items  []item
	first  int  // none before it is in flight
	tried  bool // something was sent
	nacked bool // the broker refused to store something, which is not done
}

// send sends items[i] when there is room, and says whether it did: not when the
// lane has ended.
func (r *runner) send(exchange string, i int) (sent bool, err error) {
	for {
		wait, err := r.offer(exchange, &r.items[i])
		switch {
		case err != nil:
			// The end of the channel; nothing that was not written whole is
			// looked at by the broker.
			return false, r.b.wait(r.over, nil)
		case wait == nil:
			r.tried = true
			return true, nil
		}
		// What is in flight of this call makes room when it is looked at.
		for r.first < i && r.items[r.first].confirm == nil {
			r.first++
		}
		if r.first < i {
			if err := r.await(r.first); err != nil {
				return false, err
			}
			continue
		}
		if err := r.b.wait(wait, r.over); err != nil {
			return false, err
		}
		select {
		case <-r.over:
			return false, nil
		default:
		}
	}
}

// await waits for the outcome of items[i], if it is in flight.
func (r *runner) await(i int) error {
	it := &r.items[i]
	if it.confirm == nil {
		return nil
	}
	select {
	case <-it.confirm.Done():
	default:
		if err := r.b.wait(it.confirm.Done(), nil); err != nil {
			return err
		}
	}
	acked := it.confirm.Acked()
	alone := r.landed(it.confirm.DeliveryTag)
	it.confirm = nil
	switch {
	case acked && r.wasReturned(it):
		it.done, it.err = true, fmt.Errorf("%w: no queue gets what has routing key %q: bind one", messaging.ErrNotFound, it.key)
	case acked:
		it.done = true
	case !r.ch.IsClosed():
		// A queue that is full, or whose leader is gone: others may have it.
		it.unknown, r.nacked = true, true
	default:
		return r.cutOff(it, alone)
	}
	return nil
}

// cutOff takes the end of the lane while an item was in flight.
func (r *runner) cutOff(it *item, alone bool) error {
	if err := r.b.wait(r.over, nil); err != nil {
		it.unknown = true
		return err
	}
	cause := r.why()
	_, large := largestIn(cause)
	switch {
	case !alone || !isRefusal(cause):
		it.unknown = true
	case large: // the pipe refuses it, knowing why
	case it.unknown:
		it.done, it.err = true, fmt.Errorf("%w: an earlier attempt may have been stored, the latest was refused: %w", messaging.ErrUncertain, cause)
	default:
		it.done, it.err = true, cause
	}
	return nil
}
