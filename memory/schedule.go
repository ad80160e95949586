package memory

import "time"

// schedule is what is due at some time, the earliest first, and what is due at
// one time in the order in which it came: a binary heap. The zero value is
// empty. Not safe for concurrent use.
type schedule[T any] struct {
	events []event[T]
	count  uint64
}

type event[T any] struct {
	at    time.Duration
	order uint64
	what  T
}

func (e *event[T]) before(f *event[T]) bool {
	if e.at != f.at {
		return e.at < f.at
	}
	return e.order < f.order
}

// next is when the earliest is due, or never.
func (s *schedule[T]) next() time.Duration {
	if len(s.events) == 0 {
		return never
	}
	return s.events[0].at
}

func (s *schedule[T]) add(at time.Duration, what T) {
	s.count++
	s.events = append(s.events, event[T]{at, s.count, what})
	for i := len(s.events) - 1; i > 0; {
		parent := (i - 1) / 2
		if s.events[parent].before(&s.events[i]) {
			return
		}
		s.events[parent], s.events[i] = s.events[i], s.events[parent]
		i = parent
	}
}

// take removes and returns the earliest, which must be there.
func (s *schedule[T]) take() T {
	what := s.events[0].what
	last := len(s.events) - 1
	s.events[0] = s.events[last]
	s.events[last] = event[T]{}
	s.events = s.events[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if s.events[child].before(&s.events[least]) {
				least = child
			}
		}
		if least == i {
			return what
		}
		s.events[i], s.events[least] = s.events[least], s.events[i]
		i = least
	}
}
