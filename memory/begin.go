package memory

import (
	"fmt"
	"math"
	"slices"

	"github.com/fa5182d2/messaging"
)

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
	s.until = math.MaxInt64
	if o.to.kind == atTime {
		s.until = nano(o.to.at)
	}
	ahead := o.to.kind == atTime && s.until > nano(s.l.c.b.now())
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
			if at := p.since(o.to.at); at < p.end.Load() || !ahead {
				a.end = at
			}
		}
		s.install(a)
	}
	s.bounded = o.end != "" || o.partition != ""
	s.grows = o.partition == "" && (o.end == "" || ahead)
	s.l.readers = append(s.l.readers, s)
	return nil
}

// alone makes the assignment of a partition that s reads without a group.
func (s *stream) alone(p *partition, from int64) *assignment {
	c := new(cursor)
	c.committed.Store(from)
	a := newAssignment(s, p, c)
	a.until = s.until
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
