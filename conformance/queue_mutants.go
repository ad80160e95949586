package conformance

import (
	"context"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

// queueMutants break the rules of queueRules.
func queueMutants() []Mutant {
	return slices.Concat(leaseMutants(), settleMutants(), groupMutants())
}

// queueMutant is a mutant that wraps the subscribers of a queue. state is made
// anew for each target.
func queueMutant(name, breaks, about string, wrap func(s *brokenQueue)) Mutant {
	return Mutant{Name: name, Breaks: breaks, About: about, Flavour: ForQueue, Target: func(t *Target) {
		state := &broken{target: t, inHand: map[*messaging.Delivery]*brokenQueue{}, roots: map[*messaging.Delivery]root{}}
		state.crash, state.stepClock = t.Crash, t.StepClock
		(&wrapping{queue: func(q messaging.QueueSubscriber, u *url.URL) messaging.QueueSubscriber {
			s := &brokenQueue{broken: state, u: u}
			s.QueueSubscriber = q
			wrap(s)
			state.open(s)
			return &s.queueWrap
		}}).around(t)
		t.Crash = func(s messaging.Subscriber) error {
			state.crashing(s)
			return state.crash(s)
		}
		t.StepClock = func(d time.Duration) {
			state.stepClock(d)
			state.stepped(d)
		}
	}}
}

// broken is what the subscribers of a mutant share.
type broken struct {
	target    *Target
	crash     func(messaging.Subscriber) error
	stepClock func(time.Duration)
	n         atomic.Int64

	mu     sync.Mutex
	queues []*brokenQueue
	inHand map[*messaging.Delivery]*brokenQueue // whose is what was received and not settled
	extra  []*messaging.Delivery                // what a mutant keeps for later
	roots  map[*messaging.Delivery]root         // of what comes again by the mutant's doing
	out    int
	change chan struct{} // closed at the next change of extra or out
}

// root is the delivery that another one came from, and whose it is.
type root struct {
	delivery *messaging.Delivery
	of       *brokenQueue
}

// brokenQueue is one subscriber of a mutant.
type brokenQueue struct {
	queueWrap
	*broken
	u *url.URL

	onCrash func()                // before the subscriber crashes
	onStep  func(d time.Duration) // after the clock stepped
	closed  atomic.Bool
}

func (b *broken) open(s *brokenQueue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queues = append(b.queues, s)
}

func (b *broken) crashing(inner messaging.Subscriber) {
	b.mu.Lock()
	i := slices.IndexFunc(b.queues, func(s *brokenQueue) bool { return s.QueueSubscriber == inner })
	b.mu.Unlock()
	if i >= 0 && b.queues[i].onCrash != nil {
		b.queues[i].onCrash()
	}
}

func (b *broken) stepped(d time.Duration) {
	b.mu.Lock()
	qs := slices.Clone(b.queues)
	b.mu.Unlock()
	for _, s := range qs {
		if s.onStep != nil {
			s.onStep(d)
		}
	}
}

// every says yes each n-th time.
func (b *broken) every(n int64) bool { return b.n.Add(1)%n == 0 }

// track keeps account of what the subscriber holds: held returns it.
func (s *brokenQueue) track() {
	s.receive = func(ctx context.Context, max int) ([]*messaging.Delivery, error) {
		ds, err := s.QueueSubscriber.Receive(ctx, max)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, d := range ds {
			s.inHand[d] = s
		}
		return ds, err
	}
	s.ack = func(ctx context.Context, ds []*messaging.Delivery) error {
		s.forget(ds)
		return s.QueueSubscriber.Ack(ctx, ds...)
	}
	s.nack = func(ctx context.Context, delay time.Duration, ds []*messaging.Delivery) error {
		s.forget(ds)
		return s.QueueSubscriber.Nack(ctx, delay, ds...)
	}
	s.release = func(ctx context.Context, ds []*messaging.Delivery) error {
		s.forget(ds)
		return s.QueueSubscriber.Release(ctx, ds...)
	}
}

func (s *brokenQueue) forget(ds []*messaging.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		delete(s.inHand, d)
	}
}

// held returns what the subscriber holds, in the order of their ids.
func (s *brokenQueue) held() []*messaging.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ds []*messaging.Delivery
	for d, of := range s.inHand {
		if of == s {
			ds = append(ds, d)
		}
	}
	slices.SortFunc(ds, func(a, b *messaging.Delivery) int { return slices.Compare([]byte(a.ID), []byte(b.ID)) })
	return ds
}

// some returns each n-th of ds.
func (b *broken) some(n int64, ds []*messaging.Delivery) []*messaging.Delivery {
	var some []*messaging.Delivery
	for _, d := range ds {
		if b.every(n) {
			some = append(some, d)
		}
	}
	return some
}

// instead calls some for each n-th of ds alone, and rest for the others, and
// joins what they return.
func (b *broken) instead(n int64, ds []*messaging.Delivery, some func(d *messaging.Delivery) error, rest func(ds []*messaging.Delivery) error) error {
	errs := make([]error, len(ds))
	var others []*messaging.Delivery
	var places []int
	for i, d := range ds {
		if d != nil && b.every(n) {
			errs[i] = some(d)
			continue
		}
		others, places = append(others, d), append(places, i)
	}
	if len(others) > 0 {
		err := rest(others)
		for k, i := range places {
			errs[i] = messaging.ErrorAt(err, k)
		}
	}
	for _, err := range errs {
		if err != nil {
			return &messaging.BatchError{Errs: errs}
		}
	}
	return nil
}

// background is the context of what a mutant does by itself.
func background() context.Context { return context.Background() }
