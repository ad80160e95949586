package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/fa5182d2/messaging"
)

// stream is a subscriber of a topic: a member of a group, or alone.
type stream struct {
	c       *cluster
	o       *options
	m       *member // nil: alone
	caps    messaging.Capabilities
	bounded bool // what is read has an end
	grows   bool // alone, and reads partitions that are added

	receiving atomic.Bool   // there is a Receive
	woken     chan struct{} // holds one: look again
	ailing    chan struct{} // holds one: the keeper has something to do
	done      chan struct{} // closed when err is set
	wg        sync.WaitGroup

	mu        sync.Mutex
	err       error // why no call works any more
	assigned  []*assignment
	turn      int // which of assigned is served first
	bytes     int // unsettled, in all
	ahead     int // read ahead, in all
	fetchers  map[int32]*fetcher
	backs     []*assignment // by the Release under way
	round     *round        // the commits that wait for the one under way
	committed chan struct{} // holds one: round has something
	unled     error         // a permanent error of a connection, for the keeper

	cut       cutter
	collected []*messaging.Delivery // by the Receive under way
}

// openStream opens a subscriber.
func openStream(ctx context.Context, c *cluster, o *options) (*stream, error) {
	if err := o.checkPositions(); err != nil {
		return nil, err
	}
	s := &stream{
		c: c, o: o, fetchers: map[int32]*fetcher{}, cut: cutter{topic: o.topic},
		woken: make(chan struct{}, 1), ailing: make(chan struct{}, 1), committed: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.caps = messaging.Capabilities{Order: messaging.Ordered, MaxMessage: c.maxBatch(ctx), Window: o.inflight}
	if o.group != "" {
		s.caps.Lease = o.session
	}
	if n := int32(len(c.layout().leaders)); o.only >= n {
		return nil, fmt.Errorf("topic %q has no partition %d, but %d of them: %w", o.topic, o.only, n, messaging.ErrNotFound)
	}
	begin := s.readAlone
	if o.group != "" {
		begin = s.join
	}
	s.wg.Go(s.keep)
	if err := begin(ctx); err != nil {
		s.end(messaging.ErrClosed)
		c.close()
		s.wg.Wait()
		return nil, err
	}
	return s, nil
}

// Capabilities implements messaging.Subscriber.
func (s *stream) Capabilities() messaging.Capabilities { return s.caps }

// String says what s reads, in errors.
func (s *stream) String() string {
	if s.o.group == "" {
		return s.o.topic
	}
	return fmt.Sprintf("%s in group %q", s.o.topic, s.o.group)
}

// end makes every call return err, and loses the leases, unless it has ended
// before.
func (s *stream) end(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == messaging.ErrClosed {
		return false
	}
	first := s.err == nil
	s.err = err
	if first {
		close(s.done)
		for len(s.assigned) > 0 {
			s.lose(s.assigned[len(s.assigned)-1])
		}
	}
	s.rouse()
	return true
}

// fail ends s by an error that nobody can mend.
func (s *stream) fail(err error) {
	s.mu.Lock()
	ended := s.err != nil
	s.mu.Unlock()
	if !ended {
		s.o.log.Error("kafka: the subscriber cannot go on", "topic", s.o.topic, "group", s.o.group, "error", err)
		s.end(err)
	}
}

// Close implements messaging.Subscriber.
func (s *stream) Close() error {
	if !s.end(messaging.ErrClosed) {
		return nil
	}
	if s.m != nil {
		s.m.quit()
	}
	s.c.close()
	s.wg.Wait()
	return nil
}

// install gives s a partition. mu is held.
func (s *stream) install(a *assignment) {
	if s.err != nil {
		a.over = true
		a.lease.Lose()
		return
	}
	s.assigned = append(s.assigned, a)
	s.steer()
}

// lose takes a partition from s. mu is held.
func (s *stream) lose(a *assignment) {
	for i := range s.assigned {
		if s.assigned[i] == a {
			s.assigned = append(s.assigned[:i:i], s.assigned[i+1:]...)
			break
		}
	}
	if a.over {
		return
	}
	a.over = true
	if a.bound != nil {
		a.bound.Stop()
	}
	s.bytes -= a.sent.bytes - a.settled.bytes
	a.sent = a.settled
	for _, c := range a.ahead.chunks {
		s.discard(a, c)
	}
	a.ahead.chunks = nil
	a.lease.Lose()
	s.rouse()
}

// steer starts a fetcher for each broker that leads one of the partitions, and
// wakes all. mu is held.
func (s *stream) steer() {
	layout := s.c.layout()
	for _, a := range s.assigned {
		id := layout.leader(a.partition)
		if id < 0 {
			s.stale(nil)
			continue
		}
		if s.fetchers[id] == nil && s.err == nil {
			f := &fetcher{s: s, broker: id, wake: make(chan struct{}, 1)}
			s.fetchers[id] = f
			s.wg.Go(f.run)
		}
	}
	s.wakeFetchers()
}

// wakeFetchers has the fetchers look what there is to fetch. mu is held.
func (s *stream) wakeFetchers() {
	for _, f := range s.fetchers {
		notify(f.wake)
	}
}

// notify fills a channel that holds one.
func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// rouse wakes the Receive that sleeps.
func (s *stream) rouse() { notify(s.woken) }

// discard gives back the memory of a chunk that was read ahead. mu is held.
func (s *stream) discard(a *assignment, c *chunk) {
	a.ahead.bytes -= c.size
	a.ahead.touched = true
	s.ahead -= c.size
	s.release(c)
	s.wakeFetchers()
}

// release gives back the memory of a chunk. mu is held.
func (s *stream) release(c *chunk) {
	if c == nil || c.response == nil {
		return
	}
	r := c.response
	c.response, c.sections = nil, nil
	if r.refs--; r.refs == 0 && cap(r.buf) <= mostKept {
		responses.Put(r)
	}
}

// mostKept is the largest memory of a response that is used again.
const mostKept = 2 * fetchRequest

// begin returns with mu locked, or with the error that says why no call works.
func (s *stream) begin(ctx context.Context) error {
	s.mu.Lock()
	err := s.err
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.mu.Unlock()
	}
	return err
}

// beginSettle is begin for a settle: when s has failed, each delivery is lost.
func (s *stream) beginSettle(ctx context.Context) error {
	s.mu.Lock()
	err := ctx.Err()
	if s.err == messaging.ErrClosed {
		err = s.err
	}
	if err != nil {
		s.mu.Unlock()
	}
	return err
}

var errReceiving = errors.New("another Receive is under way: a stream has one receiver at a time")
