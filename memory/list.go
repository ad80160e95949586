package memory

// list is a doubly linked list through its elements' own links, so that an
// element is added and removed without allocating or searching. The zero
// value is empty. Not safe for concurrent use.
type list[T any] struct {
	first, last *T
	n           int
}

// links is what an element of a list has.
type links[T any] struct{ prev, next *T }

// linked is a pointer to an element.
type linked[T any] interface {
	*T
	chain() *links[T]
}

func push[T any, P linked[T]](l *list[T], p P) {
	c := p.chain()
	c.prev, c.next = l.last, nil
	if l.last == nil {
		l.first = p
	} else {
		P(l.last).chain().next = p
	}
	l.last = p
	l.n++
}

func unlink[T any, P linked[T]](l *list[T], p P) {
	c := p.chain()
	if c.prev == nil {
		l.first = c.next
	} else {
		P(c.prev).chain().next = c.next
	}
	if c.next == nil {
		l.last = c.prev
	} else {
		P(c.next).chain().prev = c.prev
	}
	c.prev, c.next = nil, nil
	l.n--
}
