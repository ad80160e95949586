package kafka

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/segmentio/kafka-go/compress"
)

// section is the records of one batch, as they were fetched.
type section struct {
	base    int64  // offset that the deltas of its records count from
	time    int64  // milliseconds that the deltas of its records count from
	appends bool   // time is the broker's, and that of all its records
	records []byte // decompressed, those that are left to be delivered
	n       int    // how many
}

// chunk is what one fetch returned of a partition.
type chunk struct {
	response *response // whose memory the sections are in
	sections []section
	end      int64 // what is to be fetched next
	size     int   // bytes, as they count for the reading ahead
}

// response is the memory of a fetch's answer. It is used again when all of its
// chunks are read. The stream's mutex guards refs.
type response struct {
	buf  []byte
	refs int
}

// aborted is a transaction that was aborted: records of its producer from first
// on, to its marker, were never to be read.
type aborted struct{ producer, first int64 }

// corrupt says which batch cannot be read.
type corrupt struct {
	offset int64
	why    error
}

func (e *corrupt) Error() string {
	return fmt.Sprintf("the batch at offset %d cannot be read: %v", e.offset, e.why)
}

func (e *corrupt) Unwrap() error { return e.why }

// control record types (KIP-98).
const abortMarker = 0

// sectioner cuts a record set into sections.
type sectioner struct {
	aborts []aborted      // sorted, those that begin further on
	open   map[int64]bool // producers whose records are of an aborted transaction
}

// cut reads the batches of set, of which those before from are read over, and
// those that are not whole, at the end. The chunk has what is to be delivered:
// control records, and what was aborted, are only counted.
func (s *sectioner) cut(set []byte, from int64) (c *chunk, err error) {
	c = &chunk{end: from, size: len(set)}
	for len(set) >= batchHeader {
		size := int64(int32(binary.BigEndian.Uint32(set[atBatchLength:]))) + atLeaderEpoch
		if size < batchHeader {
			return c, &corrupt{c.end, errMalformed}
		}
		if size > int64(len(set)) {
			break
		}
		b := set[:size]
		set = set[size:]
		base := int64(binary.BigEndian.Uint64(b))
		last := base + int64(int32(binary.BigEndian.Uint32(b[atLastOffsetDelta:])))
		if last < c.end {
			continue
		}
		if err := s.batch(c, b, base, last); err != nil {
			return c, err
		}
		c.end = last + 1 // not the last record's: compaction may have removed that
	}
	return c, nil
}

// batch adds the section of one batch.
func (s *sectioner) batch(c *chunk, b []byte, base, last int64) error {
	switch magic := b[atMagic]; {
	case magic != 2:
		return &corrupt{base, fmt.Errorf("it has the format of version %d, from before Kafka 0.11", magic)}
	case crc32.Checksum(b[atAttributes:], castagnoli) != binary.BigEndian.Uint32(b[atCRC:]):
		return &corrupt{base, errChecksum}
	}
	attributes := binary.BigEndian.Uint16(b[atAttributes:])
	producer := int64(binary.BigEndian.Uint64(b[atProducerID:]))
	s.begin(last)
	if attributes&attrControl != 0 {
		if isAbort(b[batchHeader:]) {
			delete(s.open, producer)
		}
		return nil
	}
	if attributes&attrTransactional != 0 && s.open[producer] {
		return nil
	}
	n := int(int32(binary.BigEndian.Uint32(b[atRecordCount:])))
	if n <= 0 {
		return nil // compacted away
	}
	records := b[batchHeader:]
	if codec := compress.Compression(attributes & attrCodec); codec != compress.None {
		var err error
		if records, err = unpack(nil, records, codec); err != nil {
			return &corrupt{base, err}
		}
		c.size += len(records)
	}
	sec := section{base: base, time: int64(binary.BigEndian.Uint64(b[atBaseTimestamp:])), records: records, n: n}
	if attributes&attrLogAppendTime != 0 {
		sec.appends, sec.time = true, int64(binary.BigEndian.Uint64(b[atMaxTimestamp:]))
	}
	c.sections = append(c.sections, sec)
	return nil
}

// begin notes the aborted transactions that begin at or before an offset.
func (s *sectioner) begin(last int64) {
	for len(s.aborts) > 0 && s.aborts[0].first <= last {
		if s.open == nil {
			s.open = map[int64]bool{}
		}
		s.open[s.aborts[0].producer] = true
		s.aborts = s.aborts[1:]
	}
}

// isAbort says whether a control batch ends a transaction that was aborted. The
// key of its record is a version and a type, 16 bits each.
func isAbort(records []byte) bool {
	d := decoder{b: records}
	d.varint() // length
	d.int8()
	d.varint()
	d.varint()
	key := decoder{b: d.field()}
	key.int16()
	return key.int16() == abortMarker && !d.bad && !key.bad
}

// record is a record within a section, before anything of it is copied.
type record struct {
	offset, time int64
	key, value   []byte
	headers      []byte // as they are written, headerCount of them
	headerCount  int
	size         int
}

// peek returns the size of the next record, 0 when there is none.
func (s *section) peek() int {
	if s.n == 0 {
		return 0
	}
	d := decoder{b: s.records}
	return int(min(d.varint(), int64(len(d.b)))) // what is malformed shows when it is read
}

// next reads the next record, of which there has to be one.
func (s *section) next() (r record, err error) {
	d := decoder{b: s.records}
	body := decoder{b: d.field()}
	r.size = len(body.b)
	body.int8()
	r.time = s.time
	if delta := body.varint(); !s.appends {
		r.time += delta
	}
	r.offset = s.base + body.varint()
	r.key = body.field()
	r.value = body.field()
	r.headerCount = int(body.varint())
	r.headers = body.b
	if d.bad || body.bad || r.headerCount < 0 || r.headerCount > len(body.b)/2 {
		return r, &corrupt{s.base, errMalformed}
	}
	s.records = d.b
	s.n--
	return r, nil
}
