package conformance

import (
	"context"
	"net/url"
	"time"

	"github.com/fa5182d2/messaging"
)

// leaseMutants break what concerns leases and what comes again.
func leaseMutants() []Mutant {
	return []Mutant{
		queueMutant("loses-on-crash", "Q01", "One in 20 messages that a consumer has in hand when it crashes is gone.", func(s *brokenQueue) {
			s.track()
			s.onCrash = func() { _ = s.QueueSubscriber.Ack(background(), s.some(20, s.held())...) }
		}),
		queueMutant("loses-the-last-on-crash", "Q01", "The last message that a consumer received is gone when it crashes with the next in its window.", func(s *brokenQueue) {
			s.track()
			s.onCrash = func() {
				if ds := s.held(); len(ds) > 0 && s.every(3) {
					_ = s.QueueSubscriber.Ack(background(), ds[len(ds)-1])
				}
			}
		}),
		queueMutant("nack-delay-halved", "Q04", "One in 300 messages that are nacked with a delay comes after half of it.", func(s *brokenQueue) {
			s.nack = func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
				if delay == 0 {
					return s.QueueSubscriber.Nack(ctx, 0, ds...)
				}
				return s.instead(300, ds, func(d *messaging.Delivery) error { return s.QueueSubscriber.Nack(ctx, delay/2, d) },
					func(ds []*messaging.Delivery) error { return s.QueueSubscriber.Nack(ctx, delay, ds...) })
			}
		}),
		queueMutant("short-delay-ignored", "Q04", "A nack with a delay below a second has none.", func(s *brokenQueue) {
			s.nack = func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
				return s.QueueSubscriber.Nack(ctx, delay.Truncate(time.Second), ds...)
			}
		}),
		queueMutant("nack-forgets", "Q04", "One in 500 nacked messages does not come again.", func(s *brokenQueue) {
			s.nack = func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
				return s.instead(500, ds, func(d *messaging.Delivery) error { return s.QueueSubscriber.Ack(ctx, d) },
					func(ds []*messaging.Delivery) error { return s.QueueSubscriber.Nack(ctx, delay, ds...) })
			}
		}),
		queueMutant("nack-late", "Q04", "One in 300 messages that are nacked without a delay comes after ten seconds.", func(s *brokenQueue) {
			s.nack = func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
				if delay > 0 {
					return s.QueueSubscriber.Nack(ctx, delay, ds...)
				}
				return s.instead(300, ds, func(d *messaging.Delivery) error { return s.QueueSubscriber.Nack(ctx, 10*time.Second, d) },
					func(ds []*messaging.Delivery) error { return s.QueueSubscriber.Nack(ctx, 0, ds...) })
			}
		}),
		queueMutant("delivers-what-another-holds", "Q05", "One in 500 deliveries to a consumer is a copy of what another one holds.", deliverHeld),
		queueMutant("crash-gives-back", "Q06", "One in 50 messages that a consumer has in hand when it crashes is available at once.", func(s *brokenQueue) {
			s.track()
			s.onCrash = func() { _ = s.QueueSubscriber.Nack(background(), 0, s.some(50, s.held())...) }
		}),
		queueMutant("crash-expires-late", "Q06", "One in 50 messages that a consumer has in hand when it crashes is hidden for twice its lease.", func(s *brokenQueue) {
			s.track()
			s.onCrash = func() {
				_ = s.QueueSubscriber.Nack(background(), 2*s.Capabilities().Lease, s.some(50, s.held())...)
			}
		}),
		{
			Name: "lease-not-extended", Breaks: "Q07", About: "A subscriber does not keep its leases: hold= is the lease.", Flavour: ForQueue,
			Target: func(t *Target) {
				(&wrapping{url: func(u *url.URL) *url.URL {
					q := u.Query()
					q.Set("hold", "30s")
					u.RawQuery = q.Encode()
					return u
				}}).around(t)
			},
		},
		queueMutant("extends-three-times", "Q07", "One in 500 leases is lost after three times its length.", func(s *brokenQueue) {
			s.track()
			receive := s.receive
			s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
				ds, err := receive(ctx, max)
				for _, d := range s.some(500, ds) {
					time.AfterFunc(3*s.Capabilities().Lease, func() { _ = s.QueueSubscriber.Nack(background(), 0, d) })
				}
				return ds, err
			}
		}),
		queueMutant("leases-by-the-wall-clock", "Q07", "One in 100 leases ends when the wall clock steps forward.", func(s *brokenQueue) {
			s.track()
			s.onStep = func(d time.Duration) {
				if d > 0 {
					_ = s.QueueSubscriber.Nack(background(), 0, s.some(100, s.held())...)
				}
			}
		}),
		queueMutant("lost-keeps-its-slot", "Q07", "What was lost after hold= still counts in the window.", keepSlots),
		queueMutant("stale-ack-deletes", "Q08", "One in 20 Acks of an older delivery is ErrLost and acknowledges the newer one.", func(s *brokenQueue) {
			s.track()
			ack := s.ack
			s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
				err := ack(ctx, ds)
				for i, d := range ds {
					if d != nil && codeOf(messaging.ErrorAt(err, i)) == LostError && s.every(20) {
						s.ackNewer(ctx, d)
					}
				}
				return err
			}
		}),
		queueMutant("stale-ack-is-nil", "Q08", "One in 300 Acks of what was lost is nil, and does nothing.", func(s *brokenQueue) {
			s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
				err := s.QueueSubscriber.Ack(ctx, ds...)
				for i := range ds {
					if one := messaging.ErrorAt(err, i); codeOf(one) == LostError && s.every(300) {
						err = withOutcome(err, len(ds), i, nil)
					}
				}
				return err
			}
		}),
	}
}

// withOutcome returns err, the outcome of n arguments, with another at place i.
func withOutcome(err error, n, i int, outcome error) error {
	errs := make([]error, n)
	failed := false
	for k := range errs {
		if errs[k] = messaging.ErrorAt(err, k); k == i {
			errs[k] = outcome
		}
		failed = failed || errs[k] != nil
	}
	if !failed {
		return nil
	}
	return &messaging.BatchError{Errs: errs}
}

// ackNewer acknowledges whatever delivery of d's message is in hand.
func (s *brokenQueue) ackNewer(ctx context.Context, d *messaging.Delivery) {
	s.mu.Lock()
	var newer *messaging.Delivery
	var of *brokenQueue
	for other, holder := range s.inHand {
		if other != d && other.ID == d.ID {
			newer, of = other, holder
		}
	}
	s.mu.Unlock()
	if newer != nil {
		_ = of.QueueSubscriber.Ack(ctx, newer)
	}
}

// deliverHeld adds copies of what others hold to what a subscriber receives.
// Settling one does nothing.
func deliverHeld(s *brokenQueue) {
	s.track()
	receive, ack, nack, release := s.receive, s.ack, s.nack, s.release
	copies := map[*messaging.Delivery]bool{} // guarded by s.mu
	s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		ds, err := receive(ctx, max)
		if err != nil || len(ds) == max || !s.every(50) {
			return ds, err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for d, of := range s.inHand {
			if of != s && of.u.String() == s.u.String() {
				c := &messaging.Delivery{Message: d.Message, Published: d.Published, Attempt: d.Attempt, Redelivered: true}
				copies[c] = true
				return append(ds, c), nil
			}
		}
		return ds, nil
	}
	real := func(ds []*messaging.Delivery, do func([]*messaging.Delivery) error) error {
		s.mu.Lock()
		var inner []*messaging.Delivery
		for _, d := range ds {
			if !copies[d] {
				inner = append(inner, d)
			}
		}
		s.mu.Unlock()
		if len(inner) == 0 {
			return nil
		}
		return do(inner)
	}
	s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
		return real(ds, func(ds []*messaging.Delivery) error { return ack(ctx, ds) })
	}
	s.nack = func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
		return real(ds, func(ds []*messaging.Delivery) error { return nack(ctx, delay, ds) })
	}
	s.release = func(ctx context.Context, ds []*messaging.Delivery) error {
		return real(ds, func(ds []*messaging.Delivery) error { return release(ctx, ds) })
	}
}

// keepSlots counts what is unsettled itself, and forgets nothing that was
// lost.
func keepSlots(s *brokenQueue) {
	s.track()
	receive, ack, nack, release := s.receive, s.ack, s.nack, s.release
	free := make(chan struct{}, 1)
	s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		for {
			room := s.Capabilities().Window - len(s.held())
			if room > 0 {
				return receive(ctx, min(max, room))
			}
			select {
			case <-free:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	}
	wake := func(err error) error {
		select {
		case free <- struct{}{}:
		default:
		}
		return err
	}
	s.ack = func(ctx context.Context, ds []*messaging.Delivery) error { return wake(ack(ctx, ds)) }
	s.nack = func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
		return wake(nack(ctx, delay, ds))
	}
	s.release = func(ctx context.Context, ds []*messaging.Delivery) error { return wake(release(ctx, ds)) }
}
