package memory

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// subscription is what one group has of a channel: the messages that matched
// its pattern and are not settled, each in one of three places: ready (or
// behind the earlier one of its key), scheduled, or held by a subscriber.
type subscription struct {
	c       *channel
	group   string
	pattern pattern
	order   messaging.Order
	start   time.Time // what its times are counted from

	mu      sync.Mutex // after the channel's
	rng     *rand.Rand
	fresh   pool             // ready, never failed
	again   pool             // ready, and was delivered before
	turn    bool             // again goes next: the two alternate, so neither starves the other
	later   schedule[later]  // not ready before some time
	lanes   map[string]*lane // order=key: by key
	idle    deque[*lane]     // without messages, the longest first
	twins   map[uint64]*twin // chaos: messages that are here twice, by seq
	queues  []*queue         // subscribers that are open or hold something
	opened  int              // subscribers that are open
	waiters list[waiter]     // Receives that wait for a message, the longest first
	told    *waiter          // the one that was told of a message and has not fetched it yet
	leases  time.Duration    // no lease ends before
	armed   time.Duration    // when the timer goes off
	timer   *time.Timer      // nil until it is needed
}

func newSubscription(c *channel, group string, p pattern, order messaging.Order) *subscription {
	s := &subscription{c: c, group: group, pattern: p, order: order, start: time.Now(), leases: never, armed: never}
	name := fnv.New64a()
	name.Write([]byte(group))
	s.rng = rand.New(rand.NewPCG(c.seed, name.Sum64()))
	if order == messaging.OrderedByKey {
		s.lanes = map[string]*lane{}
	}
	return s
}

// clock is the time that leases and delays are counted in: monotonic, so no
// step of the wall clock disturbs them.
func (s *subscription) clock() time.Duration { return time.Since(s.start) }

// fits reports what o asks of a subscription that exists and is otherwise.
func (s *subscription) fits(o *options) error {
	switch {
	case o.given("subject") && o.subject != "" && o.subject != s.pattern.text:
		return fmt.Errorf("subscription %q of channel %q was created with subject=%s, not %s: open another group=", s.group, s.c.name, s.pattern.text, o.subject)
	case o.order != 0 && o.order != s.order:
		return fmt.Errorf("subscription %q of channel %q was created %v, not %v: open another group=", s.group, s.c.name, s.order, o.order)
	}
	return nil
}

// publish takes those of recs that match. The channel's mutex is held. The
// caller wakes the waiter.
func (s *subscription) publish(recs []*record) *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range recs {
		if !s.pattern.match(r.subject) {
			continue
		}
		m := s.c.item(r)
		if s.order == messaging.Unordered && s.c.chaos.roll(s.c.chaos.now().Duplicate) {
			m.twin = true
			s.pair(r.seq)
			s.admit(m, r)
		}
		s.admit(m, r)
	}
	return s.nextWaiter()
}

// remove ends the subscription with its channel.
func (s *subscription) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.queues {
		if q.err == nil { // one that crashed still holds something
			q.end(fmt.Errorf("channel was deleted: %w", messaging.ErrNotFound))
		}
		for r := q.held.first; r != nil; r = q.held.first {
			q.lose(r)
		}
	}
	s.queues = nil
	s.fresh, s.again, s.later, s.lanes, s.twins = pool{}, pool{}, schedule[later]{}, nil, nil
}

// String names the subscription in errors.
func (s *subscription) String() string {
	if s.group == "" {
		return s.c.name
	}
	return s.c.name + " group " + s.group
}
