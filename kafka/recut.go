package kafka

import (
	"encoding/binary"
)

// What becomes of a batch that is not as it is to be sent: some of its callers
// have given up, or it is too large for the topic.

// cancel takes records out of a batch that is not stored. They are cut out
// when it is sent.
func (b *batch) cancel(s span) { b.cancelled = append(b.cancelled, s) }

// place is where the record at i was added: what callers know it by, whatever
// was cut out since.
func (b *batch) place(i int) int {
	if b.origin == nil {
		return i
	}
	return int(b.origin[i])
}

// isCancelled says whether the record that was added there was cancelled.
func (b *batch) isCancelled(i int) bool {
	for _, s := range b.cancelled {
		if i >= s.from && i < s.to {
			return true
		}
	}
	return false
}

// cut makes a batch of the records of b for which keep says so, in their order.
// It has a buffer of its own.
func (b *batch) cut(keep func(i int) bool) *batch {
	to := newBatch()
	to.created, to.latest = b.created, b.latest
	rest := []byte(b.buf[batchHeader:])
	for i := range b.n {
		size, n := binary.Varint(rest)
		record := rest[n : n+int(size)]
		rest = rest[n+int(size):]
		if keep(i) {
			to.copyRecord(record)
			to.origin = append(to.origin, int32(b.place(i)))
		}
	}
	return to
}

// copyRecord appends a record as the next one.
func (b *batch) copyRecord(record []byte) {
	d := decoder{b: record[1:]}
	ts := d.varint()
	d.varint() // its place in the other batch
	e := &b.buf
	e.varint(int64(1 + varintSize(ts) + varintSize(int64(b.n)) + len(d.b)))
	e.int8(0)
	e.varint(ts)
	e.varint(int64(b.n))
	*e = append(*e, d.b...)
	b.n++
}

// prune replaces the bytes of b by those without the cancelled records, and
// reports whether any are left.
func (b *batch) prune() bool {
	if len(b.cancelled) == 0 {
		return b.n > 0
	}
	b.thaw()
	rest := b.cut(func(i int) bool { return !b.isCancelled(b.place(i)) })
	recycle(b.buf)
	b.buf, b.n, b.origin, b.cancelled = rest.buf, rest.n, rest.origin, nil
	return b.n > 0
}

// split makes two batches of the records of b, in their order. Who waits for b
// looks for its records there.
func (b *batch) split() (left, right *batch) {
	half := b.n / 2
	left = b.cut(func(i int) bool { return i < half })
	right = b.cut(func(i int) bool { return i >= half })
	left.waiters, right.waiters = b.waiters, b.waiters
	b.splitAt = b.place(half)
	b.left, b.right = left, right
	return left, right
}
