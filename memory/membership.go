package memory

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fa5182d2/messaging"
)

// What others do to a subscriber: its group, with the group's mutex held, and
// its log, with the channel's.

// install gives a to s.
func (s *stream) install(a *assignment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.place = len(s.assigned)
	s.assigned = append(s.assigned, a)
	a.p.watch(s)
	if s.err != nil {
		a.lease.Lose()
	}
	s.rouse()
}

// finish lets s settle what it has in hand of a. It reports whether that is
// nothing. A subscriber that is frozen or crashed does not hear and does not
// answer.
func (s *stream) finish(a *assignment) (idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.ending = true
	if s.err != nil || s.frozen.isShut() {
		return false
	}
	a.lease.End()
	return a.inHand() == 0
}

// idle reports whether s has confirmed that nothing of a is in hand.
func (s *stream) idle(a *assignment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err == nil && !s.frozen.isShut() && a.inHand() == 0
}

// lose takes a from s and returns how many deliveries of it were in hand.
func (s *stream) lose(a *assignment) (inHand int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	inHand = a.inHand()
	a.over = true
	s.drop(a)
	if s.err == nil && s.frozen.isShut() {
		s.stale = append(s.stale, a) // it finds out when it thaws
	} else {
		a.lease.Lose()
	}
	return inHand
}

// retire takes a from s, of which all is committed. Committing it once more
// is nil.
func (s *stream) retire(a *assignment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(a)
	a.lease.Lose()
}

// drop removes a from assigned, and from the windows.
func (s *stream) drop(a *assignment) {
	if a.place < 0 {
		return
	}
	last := len(s.assigned) - 1
	s.assigned[a.place] = s.assigned[last]
	s.assigned[a.place].place = a.place
	s.assigned[last] = nil
	s.assigned = s.assigned[:last]
	a.place = -1
	a.p.unwatch(s)
	s.bytes -= a.sent.bytes - a.settled.bytes
	a.sent, a.seg = a.settled, nil
	s.rouse()
}

// tellStale tells s what it lost while it was frozen.
func (s *stream) tellStale() {
	for _, a := range s.stale {
		a.lease.Lose()
	}
	s.stale = nil
}

// crash implements fragile: the client is gone at once, the broker finds out
// when the lease is over.
func (s *stream) crash() {
	if !s.end(errCrashed) {
		return
	}
	if s.g == nil {
		s.unread()
		return
	}
	time.AfterFunc(s.lease, func() { s.g.leave(s, "timed out") })
}

// freeze implements fragile.
func (s *stream) freeze() (thaw func()) {
	open := s.frozen.shut()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.g != nil && s.err == nil && s.lapse == nil {
		s.lapse = time.AfterFunc(s.lease, func() { s.g.expel(s) })
	}
	return func() {
		open()
		s.thaw()
	}
}

// thaw lets s find out what has happened while it was frozen.
func (s *stream) thaw() {
	s.mu.Lock()
	if s.err != nil || s.frozen.isShut() {
		s.mu.Unlock()
		return
	}
	if s.lapse != nil {
		s.lapse.Stop()
		s.lapse = nil
	}
	s.tellStale()
	for _, a := range s.assigned {
		if a.ending {
			a.lease.End()
			s.follow = append(s.follow, a)
		}
	}
	s.rouse()
	s.unlock()
	if s.g != nil {
		s.g.rejoin(s)
	}
}

// join makes s a member of the group that o names, and makes the group where
// there is none. The channel's mutex is held.
func (s *stream) join(o *options) error {
	l := s.l
	if o.partition != "" {
		if _, err := l.partition(o.partition); err != nil {
			return err
		}
	}
	g := l.groups[o.group]
	if g == nil {
		if !o.create {
			return fmt.Errorf("channel %q has no group %q: %w", l.c.name, o.group, messaging.ErrNotFound)
		}
		var err error
		if g, err = l.found(o); err != nil {
			return err
		}
	}
	s.g = g
	g.join(s)
	return nil
}

// found makes the group that o names, with a cursor in every partition.
func (l *log) found(o *options) (*group, error) {
	g := &group{l: l, name: o.group}
	for _, p := range l.parts {
		at := o.from
		if at.kind == atOffset && p.name != o.partition {
			at = position{kind: atFirst}
		}
		offset, err := p.resolve(at)
		if err != nil {
			return nil, err
		}
		g.add(p, offset)
	}
	l.groups[o.group] = g
	l.recount()
	return g, nil
}

// read makes s read alone. The channel's mutex is held.
func (s *stream) read(o *options) error {
	parts := s.l.parts
	if o.partition != "" {
		p, err := s.l.partition(o.partition)
		if err != nil {
			return err
		}
		parts = []*partition{p}
	}
	for _, p := range parts {
		from, err := p.resolve(o.from)
		if err != nil {
			return err
		}
		a := s.alone(p, from)
		switch o.to.kind {
		case atEnd:
			a.end = p.end.Load()
		case atOffset:
			a.end = o.to.offset
		case atTime:
			a.until = nano(o.to.at)
			if at := p.since(o.to.at); at < p.end.Load() {
				a.end = at
			}
		}
		s.install(a)
	}
	s.bounded = o.end != "" || o.partition != ""
	s.grows = !s.bounded
	s.l.readers = append(s.l.readers, s)
	return nil
}

// alone makes the assignment of a partition that s reads without a group.
func (s *stream) alone(p *partition, from int64) *assignment {
	c := new(cursor)
	c.committed.Store(from)
	a := newAssignment(s, p, c)
	if p.parent == nil {
		return a
	}
	for _, other := range s.assigned {
		if other.p == p.parent {
			a.parent = other
		}
	}
	return a
}

// untilEnd returns how long it is until nothing is left to read, which may
// depend on what is published, or io.EOF when that is so.
func (s *stream) untilEnd() (wait time.Duration, err error) {
	now := nano(s.l.c.b.now())
	ended := true
	wait = forever
	for _, a := range s.assigned {
		if a.until != 0 && a.end < 0 {
			// In steps: the wall clock may be put forward meanwhile.
			if left := time.Duration(a.until - now); left <= 0 {
				a.end = a.p.end.Load()
			} else if left = min(left, clockStep); wait == forever || left < wait {
				wait = left
			}
		}
		ended = ended && a.exhausted()
	}
	if ended {
		return 0, io.EOF
	}
	return wait, nil
}

// clockStep is how often a Receive that waits for the wall clock looks at it.
const clockStep = time.Second

// unread ends what s reads alone.
func (s *stream) unread() {
	l := s.l
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if i := slices.Index(l.readers, s); i >= 0 {
		l.readers = slices.Delete(l.readers, i, i+1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.assigned) > 0 {
		s.drop(s.assigned[len(s.assigned)-1])
	}
}
