package memory

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/internal/slab"
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
	bounded     bool  // alone, and what is read has an end
	grows       bool  // alone, and reads partitions that are added
	until       int64 // alone: the end=, where it is a time

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
	copies    slab.Of[copies]
	cut       cutter
}

var _ messaging.StreamSubscriber = (*stream)(nil)

// openStream opens a subscriber to the channel's stream.
func (c *channel) openStream(o *options) (*stream, error) {
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
