package memory

import (
	"encoding/binary"
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// The sizes of segments in bytes. They grow from small, for partitions that
// hold little, and with the messages, so that at most a quarter is left over.
const (
	leastSegment = 1 << 10
	mostSegment  = 64 << 10
	wideSegment  = 1 << 20
)

// segment is a run of a partition's records, and what retention removes at
// once. Records are bytes here, which the garbage collector does not look
// into: it has no work with what a log retains. Each is written once, before
// the partition's end moves past it, so that readers need no lock.
type segment struct {
	base int64 // offset of the first record
	data []byte
	next atomic.Pointer[segment] // nil for the last one, and when removed

	used   int   // of data; the writer's
	latest int64 // Published of the latest record from the partition's begin to the end of the segment; the writer's
}

// newSegment returns a segment with room for a record of that size, behind
// one that is full or nil.
func newSegment(base int64, size int, last *segment) *segment {
	g := &segment{base: base, latest: math.MinInt64}
	room := leastSegment
	if last != nil {
		g.latest = last.latest
		room = min(2*len(last.data), mostSegment)
	}
	if size <= wideSegment {
		room = max(room, min(4*size, wideSegment))
	}
	g.data = make([]byte, max(room, size))
	return g
}

// A record is written as
//
//	seq, published    8 bytes each
//	length            of all that follows
//	id, key, subject  each behind its length
//	headers           their number, then each key and value behind its length
//	body              the rest
//
// with lengths and numbers as unsigned varints. No record has seq 0, so that
// zeroes are no record.
const fixedBytes = 16

// size is how many bytes r takes in a segment, and counts in windows and
// against retention.
func (r *record) size() int {
	n := r.payloadSize()
	return fixedBytes + uvarintSize(n) + n
}

func (r *record) payloadSize() int {
	n := r.idSize() + fieldSize(r.key) + fieldSize(r.subject) + uvarintSize(len(r.headers)) + len(r.body)
	for i := range r.headers {
		n += fieldSize(r.headers[i].Key) + fieldSize(r.headers[i].Value)
	}
	return n
}

func (r *record) idSize() int {
	if r.id == "" {
		return 1 + idLength
	}
	return fieldSize(r.id)
}

func fieldSize(s string) int { return uvarintSize(len(s)) + len(s) }

func uvarintSize(n int) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }

// appendRecord writes r.
func appendRecord(to []byte, r *record) []byte {
	to = binary.LittleEndian.AppendUint64(to, r.seq)
	to = binary.LittleEndian.AppendUint64(to, uint64(nano(r.published)))
	to = binary.AppendUvarint(to, uint64(r.payloadSize()))
	if r.id == "" {
		to = append(append(to, idLength), r.made[:]...)
	} else {
		to = appendField(to, r.id)
	}
	to = appendField(to, r.key)
	to = appendField(to, r.subject)
	to = binary.AppendUvarint(to, uint64(len(r.headers)))
	for i := range r.headers {
		to = appendField(to, r.headers[i].Key)
		to = appendField(to, r.headers[i].Value)
	}
	return append(to, r.body...)
}

func appendField(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

// written is a record in a segment. The zero value is none.
type written struct {
	data    []byte // from its first byte on
	payload int    // where that begins
	size    int
}

// at returns the record at a position, or none where no more follow. It must
// be below the partition's end, or g not be the partition's last segment:
// otherwise it may be written to.
func (g *segment) at(pos int) written {
	data := g.data[pos:]
	if len(data) <= fixedBytes || binary.LittleEndian.Uint64(data) == 0 {
		return written{}
	}
	return writtenIn(data)
}

// writtenIn returns the record that data begins with.
func writtenIn(data []byte) written {
	n, width := uvarint(data[fixedBytes:])
	return written{data, fixedBytes + width, fixedBytes + width + n}
}

// skip returns the position of an offset, which is not before the base of g
// and not beyond the partition's end, or that behind the last record of g.
func (g *segment) skip(offset int64) int {
	pos := 0
	for at := g.base; at < offset; at++ {
		w := g.at(pos)
		if w.size == 0 {
			break
		}
		pos += w.size
	}
	return pos
}

func (w written) seq() uint64 { return binary.LittleEndian.Uint64(w.data) }

func (w written) published() int64 { return int64(binary.LittleEndian.Uint64(w.data[8:])) }

// key returns the key, of which the caller makes a copy to keep it.
func (w written) key() []byte {
	payload := w.data[w.payload:]
	key := field(payload, field(payload, 0).to)
	return payload[key.from:key.to]
}

// bodySize is how long the body is.
func (w written) bodySize() int {
	_, l := w.parse()
	return w.size - w.payload - l.body
}

// layout is where the parts of a payload lie in it.
type layout struct {
	id, key, subject span
	headers          int // how many
	headersAt, body  int // where they begin
}

type span struct{ from, to int }

// of returns that part of a payload's beginning. What is empty refers to
// nothing, so that the garbage collector need not look what it belongs to.
func (s span) of(text string) string {
	if s.from == s.to {
		return ""
	}
	return text[s.from:s.to]
}

// parse returns the payload of w and its layout.
func (w written) parse() ([]byte, layout) {
	payload := w.data[w.payload:w.size]
	var l layout
	l.id = field(payload, 0)
	l.key = field(payload, l.id.to)
	l.subject = field(payload, l.key.to)
	n, width := uvarint(payload[l.subject.to:])
	l.headers, l.headersAt = n, l.subject.to+width
	l.body = l.headersAt
	for range 2 * n {
		l.body = field(payload, l.body).to
	}
	return payload, l
}

// field returns where the field lies whose length is at a position.
func field(payload []byte, at int) span {
	n, width := uvarint(payload[at:])
	return span{at + width, at + width + n}
}

// uvarint reads a length, and how many bytes it has itself: mostly one.
func uvarint(data []byte) (n, width int) {
	for {
		b := data[width]
		n |= int(b&0x7f) << (7 * width)
		width++
		if b < 0x80 {
			return n, width
		}
	}
}

// nano is t in nanoseconds since 1970, or the nearest that can be said.
func nano(t time.Time) int64 {
	switch s := t.Unix(); {
	case s <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	case s >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	}
	return t.UnixNano()
}
