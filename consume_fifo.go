package messaging

import "iter"

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

// last returns the last element, or the zero value when there is none.
func (f *fifo[T]) last() (t T) {
	if f.len() > 0 {
		t = f.items[len(f.items)-1]
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

// popLast removes the last element, if there is one.
func (f *fifo[T]) popLast() {
	if n := len(f.items) - 1; n >= f.head {
		var zero T
		f.items[n] = zero
		f.items = f.items[:n]
	}
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
