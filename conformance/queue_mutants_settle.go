package conformance

import (
	"context"
	"time"

	"github.com/fa5182d2/messaging"
)

// settleMutants break what concerns settling, and what it leaves.
func settleMutants() []Mutant {
	return []Mutant{
		queueMutant("ack-does-nothing", "Q03", "One in 500 Acks is nil, and its message comes again after a lease.", func(s *brokenQueue) {
			s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
				return s.instead(500, ds, func(d *messaging.Delivery) error {
					return s.QueueSubscriber.Nack(ctx, s.Capabilities().Lease, d)
				}, func(ds []*messaging.Delivery) error { return s.QueueSubscriber.Ack(ctx, ds...) })
			}
		}),
		queueMutant("ack-not-flushed", "Q03", "An Ack of one message is nil before it is sent: it goes with the next one, or is lost in a crash.", delayAcks),
		queueMutant("second-settle-is-nil", "Q09", "A second settle of a message that was acknowledged is nil.", func(s *brokenQueue) {
			acked := map[*messaging.Delivery]bool{} // guarded by s.mu
			s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
				err := s.QueueSubscriber.Ack(ctx, ds...)
				s.mu.Lock()
				defer s.mu.Unlock()
				for i, d := range ds {
					switch one := messaging.ErrorAt(err, i); {
					case one == nil:
						acked[d] = true
					case acked[d] && codeOf(one) == LostError:
						err = withOutcome(err, len(ds), i, nil)
					}
				}
				return err
			}
		}),
		queueMutant("ack-is-cumulative", "Q09", "An Ack of one delivery acknowledges what its subscriber received before it, too.", func(s *brokenQueue) {
			s.track()
			ack := s.ack
			order := map[*messaging.Delivery]int64{} // guarded by s.mu
			receive := s.receive
			s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
				ds, err := receive(ctx, max)
				s.mu.Lock()
				defer s.mu.Unlock()
				for _, d := range ds {
					order[d] = s.n.Add(1)
				}
				return ds, err
			}
			s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
				if len(ds) == 1 {
					for _, d := range s.held() {
						if s.before(order, d, ds[0]) {
							_ = s.QueueSubscriber.Ack(ctx, d)
						}
					}
				}
				return ack(ctx, ds)
			}
		}),
		queueMutant("second-settle-loses-others", "Q09", "A settle that fails gives back another delivery of its subscriber.", func(s *brokenQueue) {
			s.track()
			ack := s.ack
			s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
				err := ack(ctx, ds)
				if held := s.held(); err != nil && len(held) > 0 {
					_ = s.QueueSubscriber.Release(ctx, held[0])
				}
				return err
			}
		}),
		queueMutant("attempt-forgets-expiry", "Q12", "Attempt counts nacks and no leases that ended.", func(s *brokenQueue) {
			nacks := map[string]int{}
			s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
				ds, err := s.QueueSubscriber.Receive(ctx, max)
				s.mu.Lock()
				defer s.mu.Unlock()
				for _, d := range ds {
					d.Attempt = 1 + nacks[d.ID]
				}
				return ds, err
			}
			s.nack = func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
				err := s.QueueSubscriber.Nack(ctx, delay, ds...)
				s.mu.Lock()
				defer s.mu.Unlock()
				for i, d := range ds {
					if messaging.ErrorAt(err, i) == nil {
						nacks[d.ID] = d.Attempt
					}
				}
				return err
			}
		}),
		queueMutant("release-counts", "Q12", "One in 300 releases counts as an attempt.", func(s *brokenQueue) {
			s.release = func(ctx context.Context, ds []*messaging.Delivery) error {
				return s.instead(300, ds, func(d *messaging.Delivery) error { return s.QueueSubscriber.Nack(ctx, 0, d) },
					func(ds []*messaging.Delivery) error { return s.QueueSubscriber.Release(ctx, ds...) })
			}
		}),
		queueMutant("release-hides-redelivery", "Q12", "What was only released is not marked as redelivered.", func(s *brokenQueue) {
			s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
				ds, err := s.QueueSubscriber.Receive(ctx, max)
				for _, d := range ds {
					d.Redelivered = d.Attempt > 1
				}
				return ds, err
			}
		}),
		queueMutant("settled-comes-to-the-next", "Q15", "The last message that was acknowledged comes once more to the first consumer that opens when all others are gone.", func(s *brokenQueue) {
			s.comesOnceMore()
		}),
		queueMutant("leaves-a-stranger", "Q15", "When all consumers are gone, the next one gets a message that nobody published.", func(s *brokenQueue) {
			first := s.alone()
			s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
				if first {
					first = false
					return []*messaging.Delivery{{Message: messaging.Message{ID: "stranger", Body: []byte("x")}, Attempt: 1}}, nil
				}
				return s.QueueSubscriber.Receive(ctx, max)
			}
		}),
		queueMutant("outcomes-in-another-order", "Q18", "The outcomes of a settle that failed in part are those of its arguments, the failed ones first.", func(s *brokenQueue) {
			s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
				return failedFirst(s.QueueSubscriber.Ack(ctx, ds...), len(ds))
			}
		}),
		queueMutant("one-fails-all", "Q18", "A settle that fails for one of more than 20 arguments fails for all.", func(s *brokenQueue) {
			s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
				err := s.QueueSubscriber.Ack(ctx, ds...)
				if err != nil && len(ds) > 20 {
					return messaging.ErrLost
				}
				return err
			}
		}),
		queueMutant("release-lingers", "Q19", "One in 300 released messages is available only after half a lease.", func(s *brokenQueue) {
			s.release = func(ctx context.Context, ds []*messaging.Delivery) error {
				return s.instead(300, ds, func(d *messaging.Delivery) error {
					time.AfterFunc(s.Capabilities().Lease/2, func() { _ = s.QueueSubscriber.Release(background(), d) })
					return nil
				}, func(ds []*messaging.Delivery) error { return s.QueueSubscriber.Release(ctx, ds...) })
			}
		}),
		queueMutant("close-keeps-the-lease", "Q19", "What a consumer has in hand at its Close is hidden until its lease is over.", func(s *brokenQueue) {
			s.close = func() error {
				if s.closed.Swap(true) {
					return nil
				}
				time.AfterFunc(s.Capabilities().Lease, func() { _ = s.QueueSubscriber.Close() })
				return nil
			}
		}),
	}
}

func (s *brokenQueue) before(order map[*messaging.Delivery]int64, d, e *messaging.Delivery) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return order[d] < order[e]
}

// delayAcks keeps the Ack of a single delivery until something else is
// settled or the subscriber closes.
func delayAcks(s *brokenQueue) {
	kept := make(chan *messaging.Delivery, 1)
	flush := func(ctx context.Context) {
		select {
		case d := <-kept:
			_ = s.QueueSubscriber.Ack(ctx, d)
		default:
		}
	}
	s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
		flush(ctx)
		if len(ds) == 1 && ds[0] != nil {
			kept <- ds[0]
			return nil
		}
		return s.QueueSubscriber.Ack(ctx, ds...)
	}
	s.close = func() error {
		flush(background())
		return s.QueueSubscriber.Close()
	}
}

// alone says whether no other subscriber of the same URL is open, but there
// was one.
func (b *brokenQueue) alone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queues) > 3 && b.u.Query().Get("inflight") == ""
}

// comesOnceMore keeps the last acknowledged message for a consumer that opens
// later.
func (s *brokenQueue) comesOnceMore() {
	first := s.alone()
	s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
		err := s.QueueSubscriber.Ack(ctx, ds...)
		if err == nil {
			d := ds[len(ds)-1]
			s.mu.Lock()
			s.extra = []*messaging.Delivery{{Message: d.Message, Published: d.Published, Attempt: d.Attempt + 1, Redelivered: true}}
			s.mu.Unlock()
		}
		return err
	}
	s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		if first {
			first = false
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.extra) > 0 {
				return s.extra, nil
			}
		}
		return s.QueueSubscriber.Receive(ctx, max)
	}
}

// failedFirst sorts the outcomes of n arguments.
func failedFirst(err error, n int) error {
	if err == nil {
		return nil
	}
	errs := make([]error, 0, n)
	for _, failed := range []bool{true, false} {
		for i := range n {
			if one := messaging.ErrorAt(err, i); (one != nil) == failed {
				errs = append(errs, one)
			}
		}
	}
	return &messaging.BatchError{Errs: errs}
}
