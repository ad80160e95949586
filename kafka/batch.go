package kafka

import (
	"encoding/binary"
	"hash/crc32"
	"sync"
	"time"

	"github.com/fa5182d2/messaging"
)

// Headers of records, for what has no field of its own on Kafka.
const (
	idHeader      = "messaging-id"
	subjectHeader = "messaging-subject"
)

// The header of a record batch, version 2
// (https://kafka.apache.org/documentation/#recordbatch).
const (
	atBatchLength     = 8
	atLeaderEpoch     = 12
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atRecordCount     = 57
	batchHeader       = 61

	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batch is records of one partition that are stored together or not at all.
// The mutex of its lane guards it until done is closed; then nothing of it
// changes any more.
type batch struct {
	buf       encoder // the header's place, then records; nil when it is done
	n         int     // records
	created   int64   // milliseconds, the base timestamp
	latest    int64   // the largest timestamp
	wire      []byte  // what is sent: buf, or a compressed copy
	stamped   bool    // wire carries a producer's identity and a sequence
	unknown   bool    // an attempt ended without an answer: it may be stored
	tries     int
	renewals  int     // how often it got another identity
	waiters   int     // calls that wait for it
	cancelled []span  // of places
	origin    []int32 // the places of its records; nil: they are their numbers

	done        chan struct{}
	err         error
	left, right *batch // what it was split into, if it was
	splitAt     int
}

// span is records from one on, to before another.
type span struct{ from, to int }

var buffers = sync.Pool{New: func() any { b := make(encoder, 0, 16<<10); return &b }}

// keptBuffer is the largest buffer that is used again.
const keptBuffer = 2 << 20

func newBatch() *batch {
	buf := *buffers.Get().(*encoder)
	return &batch{buf: buf[:batchHeader], done: make(chan struct{})}
}

// finish is the end of b. Its memory is used again.
func (b *batch) finish(err error) {
	b.err = err
	recycle(b.buf)
	if b.isCompressed() {
		recycle(b.wire)
	}
	b.buf, b.wire, b.cancelled = nil, nil, nil
	close(b.done)
}

func recycle(buf encoder) {
	if buf != nil && cap(buf) <= keptBuffer {
		buf = buf[:cap(buf)]
		buffers.Put(&buf)
	}
}

func (b *batch) isCompressed() bool {
	return len(b.wire) > 0 && (len(b.buf) == 0 || &b.wire[0] != &b.buf[0])
}

// recordSize is what a message takes in a batch, at most. The id has idSize
// bytes.
func recordSize(m *messaging.Message, idSize int) int {
	const varint = 5
	size := 4*varint + 1 + varint + varint + len(m.Key) + varint + len(m.Body) + varint
	size += 2*varint + len(idHeader) + idSize
	if hasSubject(m) {
		size += 2*varint + len(subjectHeader) + len(m.Subject)
	}
	for i := range m.Headers {
		size += 2*varint + len(m.Headers[i].Key) + len(m.Headers[i].Value)
	}
	return size
}

// hasSubject says whether a message's subject travels as a header. An empty one
// does where a header of the message could be taken for it.
func hasSubject(m *messaging.Message) bool {
	if m.Subject != "" {
		return true
	}
	for i := range m.Headers {
		if m.Headers[i].Key == subjectHeader {
			return true
		}
	}
	return false
}

// add appends a message and returns its place. The message keeps nothing of
// it.
func (b *batch) add(m *messaging.Message, id []byte, now time.Time) int {
	ms := now.UnixMilli()
	if b.n == 0 {
		b.created, b.latest = ms, ms
	}
	b.latest = max(b.latest, ms)
	subject := hasSubject(m)
	// The length of the record comes first and has no fixed size.
	size := 1 + varintSize(ms-b.created) + varintSize(int64(b.n)) + fieldSize(len(m.Key), m.Key == "") +
		fieldSize(len(m.Body), m.Body == nil) + fieldSize(len(idHeader), false) + fieldSize(len(id), false)
	headers := len(m.Headers) + 1
	if subject {
		headers++
		size += fieldSize(len(subjectHeader), false) + fieldSize(len(m.Subject), false)
	}
	size += varintSize(int64(headers))
	for i := range m.Headers {
		size += fieldSize(len(m.Headers[i].Key), false) + fieldSize(len(m.Headers[i].Value), false)
	}
	e := &b.buf
	e.varint(int64(size))
	e.int8(0)
	e.varint(ms - b.created)
	e.varint(int64(b.n))
	if m.Key == "" {
		e.varint(-1)
	} else {
		e.field(m.Key)
	}
	if m.Body == nil {
		e.varint(-1)
	} else {
		e.varint(int64(len(m.Body)))
		*e = append(*e, m.Body...)
	}
	e.varint(int64(headers))
	e.field(idHeader)
	e.varint(int64(len(id)))
	*e = append(*e, id...)
	if subject {
		e.header(subjectHeader, m.Subject)
	}
	for i := range m.Headers {
		e.header(m.Headers[i].Key, m.Headers[i].Value)
	}
	b.n++
	return b.n - 1
}

func fieldSize(n int, null bool) int {
	if null {
		return 1
	}
	return varintSize(int64(n)) + n
}

func (e *encoder) varint(v int64) { *e = binary.AppendVarint(*e, v) }

func (e *encoder) field(s string) {
	e.varint(int64(len(s)))
	*e = append(*e, s...)
}

func (e *encoder) header(key, value string) {
	e.field(key)
	e.field(value)
}

// identity is what the broker knows a batch again by.
type identity struct {
	id       int64
	epoch    int16
	sequence int32
}

// stamp freezes b: from here on its bytes are the same in every attempt.
func (b *batch) stamp(who identity, pack *packer) error {
	if b.wire == nil {
		wire, codec, err := pack.pack(b.buf)
		if err != nil {
			return err
		}
		b.wire = wire
		h := encoder(wire[:batchHeader])
		clear(h[:atBatchLength])
		h.int32At(atBatchLength, int32(len(wire)-atLeaderEpoch))
		h.int32At(atLeaderEpoch, -1)
		h[atMagic] = 2
		h[atAttributes], h[atAttributes+1] = 0, byte(codec)
		h.int32At(atLastOffsetDelta, int32(b.n-1))
		h.int64At(atBaseTimestamp, b.created)
		h.int64At(atMaxTimestamp, b.latest)
		h.int32At(atRecordCount, int32(b.n))
	}
	h := encoder(b.wire[:batchHeader])
	h.int64At(atProducerID, who.id)
	binary.BigEndian.PutUint16(h[atProducerEpoch:], uint16(who.epoch))
	h.int32At(atBaseSequence, who.sequence)
	binary.BigEndian.PutUint32(h[atCRC:], crc32.Checksum(b.wire[atAttributes:], castagnoli))
	b.stamped = true
	return nil
}

func (e *encoder) int64At(at int, v int64) { binary.BigEndian.PutUint64((*e)[at:], uint64(v)) }

// thaw lets the records of b change again: it is certain that none is stored.
func (b *batch) thaw() {
	if b.isCompressed() {
		recycle(b.wire)
	}
	b.wire, b.stamped = nil, false
}
