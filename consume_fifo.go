package messaging

import (
	"iter"
	"slices"
)

// fifo is a queue whose memory is used again. The zero value is empty.
type fifo[T any] struct {
	items []T // from head on
	head  int
}

func (f *fifo[T]) len() int { return len(f.items) - f.head }

// first returns the first element, or the zero value when there is none.
func (f *fifo[T]) first() (t T) {
	if f.len() > 0 {
		t = f.items[f.head]
	}
	return t
}

func (f *fifo[T]) push(t T) {
	if len(f.items) == cap(f.items) && f.head > len(f.items)/2 {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, t)
}

// pop removes the first element and returns it, or the zero value when there
// is none.
func (f *fifo[T]) pop() (t T) {
	if f.len() == 0 {
		return t
	}
	var zero T
	t, f.items[f.head] = f.items[f.head], zero
	if f.head++; f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
	return t
}

// popLastWhile removes the last elements for which f holds and returns them,
// in their order.
func (f *fifo[T]) popLastWhile(holds func(T) bool) []T {
	n := len(f.items)
	for n > f.head && holds(f.items[n-1]) {
		n--
	}
	popped := slices.Clone(f.items[n:])
	clear(f.items[n:])
	f.items = f.items[:n]
	return popped
}

// all yields the elements in their order. The fifo must not change meanwhile.
func (f *fifo[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, t := range f.items[f.head:] {
			if !yield(t) {
				return
			}
		}
	}
}
