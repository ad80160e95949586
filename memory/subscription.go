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

	mu      sync.Mutex
	removed bool
	rng     *rand.Rand
	fresh   pool             // ready, never failed
	again   pool             // ready, and was delivered before
	turn    bool             // again goes next: the two alternate, so neither starves the other
	later   schedule[later]  // not ready before some time
	lanes   map[string]*lane // order=key: by key
	idle    *lane            // a lane to use again
	twins   map[uint64]*twin // chaos: messages that are here twice, by seq
	queues  []*queue         // subscribers that are open or hold something
	opened  int              // subscribers that are open
	waiters list[waiter]     // Receives that wait for a message, the longest first
	told    *waiter          // the one that was told of a message and has not fetched it yet
	leases  time.Duration    // no lease ends before
	armed   time.Duration    // when the timer goes off
	timer   *time.Timer      // nil until it is needed
}

// entry is one message in one subscription.
type entry struct {
	rec       *record
	lane      *lane // nil: not ordered
	failed    int   // attempts that ended in nack, expiry or crash
	delivered bool
	twin      bool // there is another entry of this message
}

// later is what happens at a time: an entry becomes ready, or the lease of a
// delivery ends early.
type later struct {
	entry  entry
	expire *Receipt
}

// lane is what waits behind the entry of its key that is ready, scheduled or
// held: at most one is, so order is kept whatever happens to it.
type lane struct {
	behind deque[entry]
	next   *lane
}

// twin is what two entries of one message share.
type twin struct {
	copies, failed int
	delivered      bool
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

// publish takes those of recs that match. The caller wakes the waiter.
func (s *subscription) publish(recs []*record) *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range recs {
		if !s.pattern.match(r.subject) {
			continue
		}
		e := entry{rec: r}
		if s.order == messaging.Unordered && s.c.chaos.roll(s.c.chaos.Duplicate) {
			e.twin = true
			s.pair(r.seq)
			s.admit(e)
		}
		s.admit(e)
	}
	return s.nextWaiter()
}

// admit puts a new entry in its place.
func (s *subscription) admit(e entry) {
	chaos := s.c.chaos
	switch {
	case s.order == messaging.Unordered:
		if chaos.roll(chaos.Reorder) {
			s.later.add(s.clock()+time.Duration(chaos.float()*float64(time.Second)), later{entry: e})
			s.arm()
			return
		}
	case e.rec.key != "":
		if l := s.lanes[e.rec.key]; l != nil {
			l.behind.push(e)
			return
		}
		e.lane = s.newLane()
		s.lanes[e.rec.key] = e.lane
	}
	s.fresh.push(e)
}

func (s *subscription) newLane() *lane {
	l := s.idle
	if l == nil {
		return new(lane)
	}
	s.idle, l.next = l.next, nil
	return l
}

// ready is how many entries can be delivered.
func (s *subscription) ready() int { return s.fresh.len() + s.again.len() }

// next takes the entry to deliver next; one must be ready.
func (s *subscription) next() entry {
	from := &s.fresh
	if s.again.len() > 0 && (s.turn || s.fresh.len() == 0) {
		from = &s.again
	}
	s.turn = from == &s.fresh
	if s.order == messaging.Unordered {
		from.shuffle(s.rng)
	}
	return from.pop()
}

// back makes an entry that was taken ready again.
func (s *subscription) back(e entry) { s.again.push(e) }

// fail counts an attempt of e that failed.
func (s *subscription) fail(e *entry) {
	e.failed++
	if e.twin {
		s.twins[e.rec.seq].failed++
	}
}

// finish removes an entry that was taken. The next one of its key is ready
// now.
func (s *subscription) finish(e *entry) {
	if e.twin {
		s.unpair(e.rec.seq)
	}
	l := e.lane
	if l == nil {
		return
	}
	if l.behind.len() == 0 {
		delete(s.lanes, e.rec.key)
		l.next, s.idle = s.idle, l
		return
	}
	head := l.behind.pop()
	head.lane = l
	s.fresh.push(head)
}

// attempt returns the number of e's attempt that begins now, and whether it
// may have been delivered before.
func (s *subscription) attempt(e *entry) (number int, redelivered bool) {
	number, redelivered = e.failed+1, e.delivered
	e.delivered = true
	if e.twin {
		t := s.twins[e.rec.seq]
		number, redelivered = t.failed+1, t.delivered
		t.delivered = true
	}
	return number, redelivered
}

func (s *subscription) pair(seq uint64) {
	if s.twins == nil {
		s.twins = map[uint64]*twin{}
	}
	s.twins[seq] = &twin{copies: 2}
}

func (s *subscription) unpair(seq uint64) {
	if t := s.twins[seq]; t.copies > 1 {
		t.copies--
	} else {
		delete(s.twins, seq)
	}
}

// remove ends the subscription with its channel.
func (s *subscription) remove() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = true
	for _, q := range s.queues {
		q.end(fmt.Errorf("channel was deleted: %w", messaging.ErrNotFound))
		for r := q.held.first; r != nil; r = q.held.first {
			q.lose(r)
		}
	}
	s.queues = nil
	s.fresh, s.again, s.later, s.lanes, s.twins = pool{}, pool{}, schedule[later]{}, nil, nil
	s.disarm()
}

// String names the subscription in errors.
func (s *subscription) String() string {
	if s.group == "" {
		return s.c.name
	}
	return s.c.name + " group " + s.group
}
