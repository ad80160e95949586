package messaging

import (
	"context"
	"errors"
	"math/bits"
	"time"
)

// settle is one kind of settling: the Acks, the Nacks with one delay, the
// Releases, or the Commits of one partition. One call of it is under way at a
// time, and the next takes all that became ready meanwhile. Its fields are
// guarded by the consumer's mu.
type settle struct {
	call    func(context.Context, ...*Delivery) error
	delay   time.Duration // of Nack
	lane    *lane         // of Commit
	release bool

	ds     []*Delivery // ready; of Commit only the highest
	n      int         // how many deliveries in hand ds stands for
	spare  []*Delivery // memory for the next ds
	busy   bool        // a call is under way, or its repetition waits
	queued bool        // in the consumer's settles
	tries  int         // failed calls in a row
}

// toSettle makes d part of the next call of s.
func (c *consumer) toSettle(s *settle, d *Delivery) {
	s.ds = append(s.ds, d)
	s.n++
	c.queueSettle(s)
}

func (c *consumer) queueSettle(s *settle) {
	if !s.busy && !s.queued && len(s.ds) > 0 {
		s.queued = true
		c.settles.push(s)
	}
}

// settle makes one call of s. It is called with mu held and gives it up for
// the call.
func (c *consumer) settle(s *settle) {
	s.queued = false
	if len(s.ds) == 0 { // the lane was lost
		return
	}
	ds, n := s.ds, s.n
	s.ds, s.n, s.spare = s.spare[:0], 0, nil
	s.busy = true
	c.wake()
	c.mu.Unlock()
	err := s.call(c.settleCtx, ds...)
	c.mu.Lock()
	failed := 0 // to be repeated
	if s.lane != nil {
		failed = c.committed(s, ds[0], n, err)
	} else {
		failed = c.settled(s, ds, err)
	}
	if failed < n {
		s.tries = 0
	}
	if s.busy = failed > 0; s.busy {
		c.pause(s)
	}
	clear(ds)
	s.spare = ds[:0]
	if s.delay > 0 && len(s.ds) == 0 && !s.busy {
		delete(c.nacks, s.delay)
	}
	c.queueSettle(s)
}

// settled takes the outcome of a queue's settle, or of a Release, and returns
// how many are to be repeated.
func (c *consumer) settled(s *settle, ds []*Delivery, err error) (failed int) {
	if err == nil {
		c.leave(s, len(ds))
		return 0
	}
	for i, d := range ds {
		err := ErrorAt(err, i)
		if err != nil && !final(err) {
			failed++
			c.toSettle(s, d)
			c.tell(d, err)
			continue
		}
		c.leave(s, 1)
		if err != nil && !s.release {
			c.tell(d, err)
		}
	}
	return failed
}

// leave takes n settled deliveries out of hand.
func (c *consumer) leave(s *settle, n int) {
	c.inHand -= n
	if s.release {
		c.releasing -= n
	}
}

// committed takes the outcome of a Commit that stands for n deliveries up to
// last, and returns how many are to be repeated.
func (c *consumer) committed(s *settle, last *Delivery, n int, err error) (failed int) {
	if err = ErrorAt(err, 0); err != nil {
		c.tell(last, err)
	}
	if err == nil || final(err) || s.lane.lost {
		c.inHand -= n
		if err != nil {
			c.lose(s.lane, err)
		}
		return 0
	}
	// A later one, which became ready meanwhile, covers this one.
	if s.n += n; len(s.ds) == 0 {
		s.ds = append(s.ds, last)
	}
	return n
}

// final says whether repeating a settle is of no use.
func final(err error) bool {
	return errors.Is(err, ErrLost) || errors.Is(err, ErrClosed)
}

// pause holds s back for a while, after a call of which something is to be
// repeated.
func (c *consumer) pause(s *settle) {
	s.tries++
	time.AfterFunc(settleBackoff(s.tries), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.busy = false
		c.queueSettle(s)
		c.wake()
	})
}

// settleBackoff doubles from 50 ms to 5 s.
func settleBackoff(try int) time.Duration {
	return min(5*time.Second, 50*time.Millisecond<<min(try-1, 10))
}

// nack gives d back as failed.
func (c *consumer) nack(d *Delivery, delay time.Duration) {
	delay = quantise(delay)
	s := c.nacks[delay]
	if s == nil {
		s = &settle{delay: delay}
		s.call = func(ctx context.Context, ds ...*Delivery) error { return c.queue.Nack(ctx, delay, ds...) }
		c.nacks[delay] = s
	}
	c.toSettle(s, d)
}

// quantise rounds a delay up by less than an eighth, to one of eight steps in
// each power of two, so that many delays share a call.
func quantise(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	low := max(0, bits.Len64(uint64(d))-4) // all but the four highest bits
	step := time.Duration(1) << low
	if q := (d + step - 1) &^ (step - 1); q > 0 {
		return q
	}
	return d
}
