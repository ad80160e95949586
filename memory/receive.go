package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/fa5182d2/messaging"
)

// Receive implements messaging.Subscriber.
func (s *stream) Receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	ds, err := s.receive(ctx, max)
	if err == io.EOF {
		return nil, err // itself: a wrapped one is an error
	}
	if err != nil {
		return nil, fmt.Errorf("memory: receive from %v: %w", s, err)
	}
	return ds, nil
}

var errReceiving = errors.New("another Receive is under way: a stream has one receiver at a time")

func (s *stream) receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	if max < 1 {
		return nil, fmt.Errorf("max is %d: want 1 or more", max)
	}
	if !s.receiving.CompareAndSwap(false, true) {
		return nil, errReceiving
	}
	defer s.receiving.Store(false)
	for {
		if err := s.reach(ctx); err != nil {
			return nil, err
		}
		wait, err := s.take(max)
		if err == nil && s.collected > 0 {
			return s.deliver(), nil
		}
		if err == nil && wait == ripe {
			s.fix()
			continue
		}
		// Whoever has something for it from now on wakes it, so what came
		// before is looked for once more.
		if err == nil && wait != again && s.sleeping.Swap(true) {
			s.cut.prepare()
			if s.copies.Left() == 0 {
				s.copies.Refill(1, sharedParcels)
			}
			err = s.sleep(ctx, wait)
		}
		if err != nil {
			return nil, err
		}
	}
}

// reach returns when the subscriber and the broker can talk, or it has ended,
// or with ctx's error.
func (s *stream) reach(ctx context.Context) error {
	for {
		err := s.frozen.waitOr(ctx, s.done)
		if err == nil && s.l.c.b.gate.isShut() {
			err = s.l.c.b.gate.waitOr(ctx, s.done)
		}
		if err != nil || !s.frozen.isShut() {
			return s.ended(err)
		}
	}
}

// ended returns why s ended, where err says that it did, else err.
func (s *stream) ended(err error) error {
	if err != messaging.ErrClosed {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// How long to sleep.
const (
	ripe    = time.Duration(-2) // not at all: fix ends that are times first
	again   = time.Duration(-1) // not at all: reach the broker first
	forever = time.Duration(0)  // until woken
)

// sleep returns when somebody woke s, or after a while, or with ctx's error.
func (s *stream) sleep(ctx context.Context, wait time.Duration) error {
	var after <-chan time.Time
	if wait != forever {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		after = timer.C
	}
	select {
	case <-s.woken:
		return nil
	case <-after:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// rouse wakes the Receive that sleeps.
func (s *stream) rouse() {
	if s.sleeping.Load() && s.sleeping.CompareAndSwap(true, false) {
		select {
		case s.woken <- struct{}{}:
		default:
		}
	}
}

// take collects up to max records, one partition after the other, beginning
// with the one whose turn it is. When there are none it returns for how long
// there is nothing to look for.
func (s *stream) take(max int) (wait time.Duration, err error) {
	s.mu.Lock()
	defer s.unlock()
	if s.err != nil {
		return 0, s.err
	}
	if s.frozen.isShut() || s.l.c.b.gate.isShut() {
		return again, nil
	}
	n := len(s.assigned)
	for i := range n {
		at := (s.turn + i) % n
		before := s.collected
		if err = s.assigned[at].collect(max - before); err != nil && before > 0 {
			s.turn = at // what it collected first comes first
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if s.collected == max {
			s.turn = at + 1
			return 0, nil
		}
	}
	s.turn++
	if s.collected == 0 && s.bounded {
		return s.untilEnd()
	}
	return forever, nil
}

// deliver returns what was collected.
func (s *stream) deliver() []*messaging.Delivery {
	chaos := s.l.c.chaos
	var moved []*assignment
	if move := chaos.now().Move; s.g != nil && move > 0 {
		for _, r := range s.runs {
			if chaos.roll(move) {
				moved = append(moved, r.pass.a)
			}
		}
	}
	ds := s.fill()
	for _, a := range moved {
		s.g.disturb(a, chaos.float() < 0.5)
	}
	return ds
}

// untilEnd returns how long it is until nothing is left to read, which may
// depend on what is published, ripe, or io.EOF when that is so.
func (s *stream) untilEnd() (wait time.Duration, err error) {
	now := nano(s.l.c.b.now())
	ended := true
	wait = forever
	for _, a := range s.assigned {
		switch left := time.Duration(a.until - now); {
		case a.end >= 0 || a.until == math.MaxInt64:
		case a.until <= now:
			return ripe, nil
		case wait == forever || left < wait:
			wait = min(left, clockStep) // the wall clock may be put forward meanwhile
		}
		ended = ended && a.exhausted()
	}
	if ended {
		return 0, io.EOF
	}
	return wait, nil
}

// fix fixes the ends of what is read up to a time that has come. Until now a
// message may have been on its way that was Published before it: Publish looks
// at the clock and stores with the channel's mutex held.
func (s *stream) fix() {
	b := s.l.c.b
	s.l.c.mu.Lock()
	defer s.l.c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.assigned {
		if a.end < 0 && a.until <= nano(b.now()) {
			a.end = a.p.since(time.Unix(0, a.until))
		}
	}
}

// clockStep is how often a Receive that waits for the wall clock looks at it.
const clockStep = time.Second
