package memory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
)

// stream is a subscriber of a log: a member of a group, or alone.
type stream struct {
	l           *log
	g           *group // nil: alone
	id          uint64 // for the logger
	caps        messaging.Capabilities
	window      int
	lease       time.Duration
	handover    time.Duration
	trimmedSkip bool
	bounded     bool // alone, and what is read has an end
	grows       bool // alone, and reads partitions that are added

	receiving atomic.Bool   // there is a Receive
	sleeping  atomic.Bool   // it waits, or is about to, and nobody has woken it yet
	woken     chan struct{} // holds one: look again
	frozen    gate          // Freeze
	done      chan struct{} // closed when err is set

	mu       sync.Mutex // after the group's, before a partition's
	err      error      // why no call works any more: closed, crashed, deleted
	assigned []*assignment
	turn     int           // which of assigned is served first
	bytes    int           // unsettled, in all
	follow   []*assignment // for the group to look at, after unlocking
	backs    []*assignment // by the Release under way
	stale    []*assignment // lost while frozen
	lapse    *time.Timer   // when the broker notices that it is frozen

	// Of the Receive under way.
	runs      []run
	collected int
	cut       cutter
}

var _ messaging.StreamSubscriber = (*stream)(nil)

// openStream opens a subscriber to the channel's stream.
func (c *channel) openStream(_ context.Context, o *options) (*stream, error) {
	if c.log == nil {
		return nil, fmt.Errorf("channel %q was created with kind=queue and has no stream: %w", c.name, errors.ErrUnsupported)
	}
	s := newStream(c.log, o)
	if err := s.open(o); err != nil {
		return nil, err
	}
	if s.g != nil {
		s.g.report()
	}
	return s, nil
}

// open makes s read what o says.
func (s *stream) open(o *options) error {
	c := s.l.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removed {
		return errDeleted
	}
	s.l.opened++
	s.id = s.l.opened
	read := s.read
	if o.group != "" {
		read = s.join
	}
	if err := read(o); err != nil {
		return err
	}
	c.subscribed = true
	return nil
}

func newStream(l *log, o *options) *stream {
	s := &stream{
		l: l, window: o.inflight, lease: o.lease, handover: o.handover, trimmedSkip: o.trimmedSkip,
		woken: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if s.window == 0 {
		s.window = defaultStreamInflight
	}
	s.caps = messaging.Capabilities{Order: messaging.Ordered, MaxMessage: o.maxMessage, Window: s.window}
	if o.group != "" {
		s.caps.Lease = o.lease
	}
	return s
}

// Capabilities implements messaging.Subscriber.
func (s *stream) Capabilities() messaging.Capabilities { return s.caps }

// String says what s reads, in errors.
func (s *stream) String() string {
	if s.g == nil {
		return fmt.Sprintf("stream %q", s.l.c.name)
	}
	return fmt.Sprintf("stream %q in group %q", s.l.c.name, s.g.name)
}

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
		// Whoever has something for it from now on wakes it, so what came
		// before is looked for once more.
		if err == nil && wait != again && s.sleeping.Swap(true) {
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

// closed reports whether Close was what ended s.
func (s *stream) closed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == messaging.ErrClosed
}

// alive reports whether s has not ended.
func (s *stream) alive() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil
}

// unlock unlocks mu and lets the group look at what has come about.
func (s *stream) unlock() {
	follow := s.follow
	s.follow = nil
	s.mu.Unlock()
	for _, a := range follow {
		s.g.settled(a)
	}
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

// Close implements messaging.Subscriber.
func (s *stream) Close() error {
	if !s.end(messaging.ErrClosed) {
		return nil
	}
	if s.g != nil {
		s.g.leave(s, "left")
	} else {
		s.unread()
	}
	return nil
}

// end makes every call return err, and loses the leases, unless it has ended
// before. What the broker thinks of it is the caller's.
func (s *stream) end(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false
	}
	s.err = err
	close(s.done)
	s.tellStale()
	for _, a := range s.assigned {
		a.over = a.over || err == errDeleted
		a.lease.Lose()
	}
	if s.lapse != nil {
		s.lapse.Stop()
	}
	s.rouse()
	return true
}
