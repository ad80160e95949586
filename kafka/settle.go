package kafka

import (
	"context"
	"fmt"

	"github.com/fa5182d2/messaging"
)

// Commit implements messaging.StreamSubscriber.
func (s *stream) Commit(ctx context.Context, ds ...*messaging.Delivery) error {
	errs, err := s.commit(ctx, ds)
	return s.outcome("commit", len(ds), errs, err)
}

func (s *stream) commit(ctx context.Context, ds []*messaging.Delivery) ([]error, error) {
	if err := s.beginSettle(ctx); err != nil {
		return nil, err
	}
	var errs []error
	var r *round
	open := make([]*Record, len(ds)) // those that the broker has to be told of
	for i, d := range ds {
		rec, err := s.record(d)
		done := false
		if err == nil {
			done, err = rec.pass.a.judge(rec)
		}
		switch {
		case err != nil:
			errs = madeFor(errs, len(ds))
			errs[i] = err
		case done:
		case s.m == nil:
			rec.pass.a.settle(rec, rec.pass.a.upTo(rec))
		default:
			open[i] = rec
			r = s.enlist(rec)
		}
	}
	s.rouse()
	s.mu.Unlock()
	if r == nil {
		return errs, nil
	}
	notify(s.committed)
	return s.await(ctx, r, open, errs), nil
}

// await waits for the end of a round.
func (s *stream) await(ctx context.Context, r *round, open []*Record, errs []error) []error {
	var left error
	select {
	case <-r.done:
	case <-ctx.Done():
		left = uncertain(cause(ctx))
	}
	for i, rec := range open {
		if rec == nil {
			continue
		}
		err := left
		if err == nil {
			err = r.errs[rec.pass.a]
		}
		if err != nil {
			errs = madeFor(errs, len(open))
			errs[i] = err
		}
	}
	return errs
}

// Release implements messaging.Subscriber.
func (s *stream) Release(ctx context.Context, ds ...*messaging.Delivery) error {
	errs, err := s.setBack(ctx, ds)
	if err == messaging.ErrClosed {
		return nil // that has given back everything
	}
	return s.outcome("release", len(ds), errs, err)
}

func (s *stream) setBack(ctx context.Context, ds []*messaging.Delivery) ([]error, error) {
	if err := s.beginApart(ctx, ds); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var errs []error
	for i, d := range ds {
		rec, err := s.record(d)
		if err == nil {
			err = rec.pass.a.offer(rec)
		}
		if err != nil {
			errs = madeFor(errs, len(ds))
			errs[i] = err
		}
	}
	for _, a := range s.backs {
		a.setBack()
		s.followUp(a)
	}
	clear(s.backs)
	s.backs = s.backs[:0]
	s.wakeFetchers()
	s.rouse()
	return errs, nil
}

// beginApart is begin when no commit of the partitions of ds is under way: one
// that is would cover what they are set back to.
func (s *stream) beginApart(ctx context.Context, ds []*messaging.Delivery) error {
	for {
		if err := s.beginSettle(ctx); err != nil {
			return err
		}
		var busy *round
		for _, d := range ds {
			if rec, err := s.record(d); err == nil && rec.pass.a.round != nil {
				busy = rec.pass.a.round
			}
		}
		if busy == nil {
			return nil
		}
		s.mu.Unlock()
		select {
		case <-busy.done:
		case <-ctx.Done():
			return cause(ctx)
		}
	}
}

// record returns what d is of ours.
func (s *stream) record(d *messaging.Delivery) (*Record, error) {
	if d == nil {
		return nil, errNil
	}
	r, ok := d.Raw.(*Record)
	if !ok || r == nil || r.self != r || r.pass.a.s != s {
		return nil, errForeign
	}
	return r, nil
}

// outcome is the error of a call with n arguments, that failed as a whole with
// err, or of which some failed, or none.
func (s *stream) outcome(what string, n int, errs []error, err error) error {
	if err != nil && n > 0 {
		errs = fill(errs, n, err)
	}
	switch {
	case errs != nil:
		err = &messaging.BatchError{Errs: errs}
	case err == nil:
		return nil
	}
	return fmt.Errorf("kafka: %s on %v: %w", what, s, err)
}
