package kafka

import (
	"context"
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
		return nil, fmt.Errorf("kafka: receive from %v: %w", s, err)
	}
	return ds, nil
}

func (s *stream) receive(ctx context.Context, max int) ([]*messaging.Delivery, error) {
	if max < 1 {
		return nil, fmt.Errorf("max is %d: want 1 or more", max)
	}
	if !s.receiving.CompareAndSwap(false, true) {
		return nil, errReceiving
	}
	defer s.receiving.Store(false)
	for {
		ds, wait, err := s.take(ctx, max)
		if err != nil || len(ds) > 0 {
			return ds, err
		}
		if err := s.sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// take collects up to max records, one partition after the other, beginning
// with the one whose turn it is. When there are none it returns for how long
// there is nothing to look for.
func (s *stream) take(ctx context.Context, max int) (_ []*messaging.Delivery, wait time.Duration, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, 0, err
	}
	defer s.mu.Unlock()
	s.collected = nil
	n := len(s.assigned)
	for i := range n {
		at := (s.turn + i) % n
		before := len(s.collected)
		if err := s.assigned[at].collect(max - before); err != nil && before == len(s.collected) && before == 0 {
			return nil, 0, err
		} else if err != nil {
			s.turn = at // what it has to say comes first
			break
		}
		if len(s.collected) == max {
			s.turn = at + 1
			break
		}
	}
	if len(s.collected) > 0 {
		return s.collected, 0, nil
	}
	s.turn++
	if s.bounded {
		return s.untilEnd()
	}
	return nil, forever, nil
}

// forever is how long to sleep when somebody will wake.
const forever = time.Duration(0)

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
	case <-after:
	case <-s.done:
	case <-ctx.Done():
		return cause(ctx)
	}
	return nil
}

// untilEnd returns how long it is until nothing is left to read, which may
// depend on what is published, or io.EOF when that is so. mu is held.
func (s *stream) untilEnd() (_ []*messaging.Delivery, wait time.Duration, err error) {
	now := time.Now().UnixMilli()
	ended := true
	for _, a := range s.assigned {
		if a.end < 0 && a.until != math.MaxInt64 {
			if left := time.Duration(a.until-now) * time.Millisecond; left <= 0 {
				a.ahead.lookup = true // what is there by now is all
				s.stale(nil)
			} else if wait == forever || left < wait {
				wait = min(left, clockStep)
			}
		}
		ended = ended && a.exhausted()
	}
	if ended {
		return nil, 0, io.EOF
	}
	return nil, wait, nil
}

// clockStep is how often a Receive that waits for the wall clock looks at it.
const clockStep = time.Second
