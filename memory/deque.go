package memory

// deque is a first-in first-out list in chunks: an element costs the same
// whether a thousand or a million are in it, and nothing is ever moved. The
// zero value is empty. Not safe for concurrent use.
type deque[T any] struct {
	head, tail *chunk[T]
	first      int // index of the first element in head
	n          int
	spare      *chunk[T] // the last chunk that ran empty, so that a queue that stays short allocates nothing
}

type chunk[T any] struct {
	items []T
	used  int
	next  *chunk[T]
}

const (
	leastChunk = 8
	mostChunk  = 256
)

func (d *deque[T]) len() int { return d.n }

// push appends v.
func (d *deque[T]) push(v T) {
	if d.tail == nil || d.tail.used == len(d.tail.items) {
		d.grow()
	}
	d.tail.items[d.tail.used] = v
	d.tail.used++
	d.n++
}

func (d *deque[T]) grow() {
	c := d.spare
	d.spare = nil
	if c == nil {
		size := leastChunk
		if d.tail != nil {
			size = min(2*len(d.tail.items), mostChunk)
		}
		c = &chunk[T]{items: make([]T, size)}
	}
	if d.tail == nil {
		d.head, d.first = c, 0
	} else {
		d.tail.next = c
	}
	d.tail = c
}

// at returns the i-th element, which must be there and near the front: it
// walks the chunks.
func (d *deque[T]) at(i int) *T {
	c, i := d.head, d.first+i
	for i >= c.used {
		i -= c.used
		c = c.next
	}
	return &c.items[i]
}

// pop removes the first element, which must be there.
func (d *deque[T]) pop() T {
	c := d.head
	v := c.items[d.first]
	var zero T
	c.items[d.first] = zero
	d.first++
	d.n--
	if d.first == c.used {
		d.shrink(c)
	}
	return v
}

// shrink takes the first chunk away, which ran empty.
func (d *deque[T]) shrink(c *chunk[T]) {
	d.head, d.first = c.next, 0
	if d.head == nil {
		d.tail = nil
	}
	c.used, c.next = 0, nil
	d.spare = c
}
