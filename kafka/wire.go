package kafka

import (
	"encoding/binary"
	"errors"
)

// encoder appends what requests are made of, in the encoding of the versions
// that have no tagged fields.
type encoder []byte

func (e *encoder) int8(v int8)   { *e = append(*e, byte(v)) }
func (e *encoder) int16(v int16) { *e = binary.BigEndian.AppendUint16(*e, uint16(v)) }
func (e *encoder) int32(v int32) { *e = binary.BigEndian.AppendUint32(*e, uint32(v)) }
func (e *encoder) int64(v int64) { *e = binary.BigEndian.AppendUint64(*e, uint64(v)) }

func (e *encoder) string(s string) {
	e.int16(int16(len(s)))
	*e = append(*e, s...)
}

func (e *encoder) nullString() { e.int16(-1) }

func (e *encoder) nullBytes() { e.int32(-1) }

// int32At overwrites four bytes that were written before.
func (e *encoder) int32At(at int, v int32) { binary.BigEndian.PutUint32((*e)[at:], uint32(v)) }

// begin writes the header of a request, whose size end fills in.
func (e *encoder) begin(key, version int16, correlation int32, clientID string) {
	*e = (*e)[:0]
	e.int32(0)
	e.int16(key)
	e.int16(version)
	e.int32(correlation)
	e.string(clientID)
}

// end fills in the size of a request of which more bytes follow.
func (e *encoder) end(more int) { e.int32At(0, int32(len(*e)-4+more)) }

var errMalformed = errors.New("malformed: the bytes are not what the protocol says")

// decoder reads what responses and records are made of. What it is asked for
// beyond its end is zero, and then bad is set. It never panics.
type decoder struct {
	b   []byte
	bad bool
}

// take returns the next n bytes, or nil.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad = true
		d.b = nil
		return nil
	}
	taken := d.b[:n:n]
	d.b = d.b[n:]
	return taken
}

func (d *decoder) int8() int8 {
	if b := d.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (d *decoder) int16() int16 {
	if b := d.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (d *decoder) int32() int32 {
	if b := d.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (d *decoder) int64() int64 {
	if b := d.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// string reads a string, "" for null.
func (d *decoder) string() string {
	n := d.int16()
	if n < 0 {
		return ""
	}
	return string(d.take(int(n)))
}

// bytes reads a byte array, nil for null.
func (d *decoder) bytes() []byte {
	n := d.int32()
	if n < 0 {
		return nil
	}
	return d.take(int(n))
}

// count reads the length of an array whose elements have at least size bytes,
// so that nobody makes room for more than there can be.
func (d *decoder) count(size int) int {
	n := int(d.int32())
	if n < 0 {
		return 0
	}
	if n > len(d.b)/size {
		d.bad = true
		d.b = nil
		return 0
	}
	return n
}

// varint reads a zigzag number of up to 64 bits.
func (d *decoder) varint() int64 {
	if len(d.b) > 0 && d.b[0] < 0x80 { // the usual case
		v := d.b[0]
		d.b = d.b[1:]
		return int64(v>>1) ^ -int64(v&1)
	}
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		d.b = nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

// field reads bytes with a varint for their length, nil for null.
func (d *decoder) field() []byte {
	n := d.varint()
	if n < 0 {
		return nil
	}
	if n > int64(len(d.b)) {
		d.bad = true
		d.b = nil
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) err() error {
	if d.bad {
		return errMalformed
	}
	return nil
}

// varintSize is how many bytes a zigzag number takes.
func varintSize(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}
