package memory

import (
	"context"
	"errors"
	"fmt"

	"github.com/fa5182d2/messaging"
)

var (
	errMoved   = fmt.Errorf("its partition is no longer ours: %w", messaging.ErrLost)
	errSetBack = fmt.Errorf("its partition was set back: %w", messaging.ErrLost)
)

// Commit implements messaging.StreamSubscriber.
func (s *stream) Commit(ctx context.Context, ds ...*messaging.Delivery) error {
	if err := s.begin(ctx); err != nil {
		return fmt.Errorf("memory: commit on %v: %w", s, err)
	}
	batch := s.each(ds, (*assignment).commit)
	s.rouse()
	s.unlock()
	if chaos := s.l.c.chaos; chaos.roll(chaos.now().LostReply) {
		batch = loseReplies(batch, len(ds))
	}
	if batch != nil {
		return fmt.Errorf("memory: commit on %v: %w", s, batch)
	}
	return nil
}

// Release implements messaging.Subscriber.
func (s *stream) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	if err := s.begin(ctx); err != nil {
		if s.closed() {
			return nil // that has given back everything
		}
		return fmt.Errorf("memory: release on %v: %w", s, err)
	}
	batch := s.each(ds, (*assignment).offer)
	for _, a := range s.backs {
		a.setBack()
	}
	s.backs = s.backs[:0]
	s.rouse()
	s.unlock()
	if batch != nil {
		return fmt.Errorf("memory: release on %v: %w", s, batch)
	}
	return nil
}

// begin returns with mu locked when the broker can be told something, or with
// the error that says why not.
func (s *stream) begin(ctx context.Context) error {
	for {
		if err := s.reach(ctx); err != nil && !errors.Is(err, messaging.ErrNotFound) {
			return err
		}
		s.mu.Lock()
		switch {
		case s.err != nil && s.err != errDeleted: // then each is lost
			err := s.err
			s.mu.Unlock()
			return err
		case !s.frozen.isShut() || s.err != nil:
			return nil
		}
		s.mu.Unlock()
	}
}

// each applies f to the entries of ds and returns what failed, or nil.
func (s *stream) each(ds []*messaging.Delivery, f func(*assignment, *Entry) error) (batch *messaging.BatchError) {
	for i, d := range ds {
		e, err := s.entry(d)
		if err == nil {
			err = f(e.pass.a, e)
		}
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

// entry returns what d is of ours.
func (s *stream) entry(d *messaging.Delivery) (*Entry, error) {
	if d == nil {
		return nil, errNil
	}
	e, ok := d.Raw.(*Entry)
	if !ok || e == nil || e.self != e || e.pass.a.s != s {
		return nil, errForeign
	}
	return e, nil
}

// loseReplies makes the outcomes unknown that the broker decides.
func loseReplies(batch *messaging.BatchError, n int) *messaging.BatchError {
	if n == 0 {
		return batch
	}
	if batch == nil {
		batch = &messaging.BatchError{Errs: make([]error, n)}
	}
	for i, err := range batch.Errs {
		if err != errNil && err != errForeign {
			batch.Errs[i] = fmt.Errorf("%w: %w", messaging.ErrUncertain, errReplyLost)
		}
	}
	return batch
}
