// Package slab makes small slices cheaper than an allocation each.
package slab

// Of hands out short slices that share larger allocations, so that small
// things cost less than an allocation each. The price: whoever keeps one of
// them keeps its neighbours alive, so the shared part is bounded. The zero
// value is ready. Not safe for concurrent use.
type Of[T any] struct {
	free []T
	size int // of the latest shared allocation: they grow from small, for those who need few
}

// Cut returns n zero elements, from a shared allocation of at most most
// elements, or from one of their own when they would be a large part of it.
func (s *Of[T]) Cut(n, most int) []T {
	if n > len(s.free) {
		if n > most/4 {
			return make([]T, n)
		}
		s.Refill(n, most)
	}
	cut := s.free[:n:n]
	s.free = s.free[n:]
	return cut
}

// Left is how many elements the shared allocation has left.
func (s *Of[T]) Left() int { return len(s.free) }

// Refill makes the next shared allocation, for at least n.
func (s *Of[T]) Refill(n, most int) {
	s.size = max(min(2*s.size, most), n, most/16)
	s.free = make([]T, s.size)
}
