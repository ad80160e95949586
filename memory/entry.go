package memory

import (
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/internal/slab"
)

// Entry is what the Raw of a stream's [messaging.Delivery] points to: what
// settling needs. It must not be copied.
type Entry struct {
	// Sequence is the message's place in its channel, from 1, by the order in
	// which messages were stored. It is the same on every delivery, and rises
	// with the offset in each partition.
	Sequence uint64

	self   *Entry // a copy is told by it
	pass   *pass
	offset int64
	upTo   tally // of the assignment, with this delivery
	size   int
}

// void reports whether the partition was set back to e or before it since.
func (e *Entry) void() bool { return e.offset >= e.pass.until }

// run is what a Receive returns of one segment: records that follow each
// other.
type run struct {
	pass    *pass
	seg     *segment
	pos     int
	offset  int64
	n       int
	before  tally // of the assignment, without them
	reached int64 // what lies below may have been delivered before
}

// copies is one allocation for all that a delivery is made of.
type copies struct {
	delivery messaging.Delivery
	entry    Entry
}

// cutter is the memory that deliveries are cut from. They share allocations:
// whoever keeps one keeps some of its neighbours alive, at most as much as
// sharedParcels, sharedText, sharedBytes and sharedHeaders say.
type cutter struct {
	pointers slab.Of[*messaging.Delivery]
	bytes    slab.Of[byte]
	texts
	headers slab.Of[messaging.Header]

	body, textual int // sizes of the last
}

// prepare makes room for one delivery like the last, so that a message which is
// waited for does not wait for that.
func (c *cutter) prepare() {
	if c.pointers.Left() == 0 {
		c.pointers.Refill(1, sharedPointers)
	}
	if n := c.body; n > c.bytes.Left() && n <= sharedBytes/4 {
		c.bytes.Refill(n, sharedBytes)
	}
	c.room(min(c.textual, sharedText/4))
}

// fill copies what was collected into deliveries. Nothing is locked.
func (s *stream) fill() []*messaging.Delivery {
	ds := s.cut.pointers.Cut(s.collected, sharedPointers)
	all := s.copies.Cut(s.collected, sharedParcels)
	i := 0
	for _, r := range s.runs {
		a := r.pass.a
		for range r.n {
			w := r.seg.at(r.pos)
			r.pos += w.size
			r.before.n++
			r.before.bytes += w.size
			d, e := &all[i].delivery, &all[i].entry
			*e = Entry{Sequence: w.seq(), self: e, pass: r.pass, offset: r.offset, upTo: r.before, size: w.size}
			s.cut.message(&d.Message, w)
			d.Published = time.Unix(0, w.published())
			d.Redelivered = r.offset < r.reached
			d.Partition, d.Offset = a.p.name, a.text(r.offset)
			d.Lease, d.Raw = &a.lease, e
			ds[i] = d
			r.offset++
			i++
		}
	}
	clear(s.runs)
	s.runs, s.collected = s.runs[:0], 0
	return ds
}

// message copies the message of w.
func (c *cutter) message(m *messaging.Message, w written) {
	payload, l := w.parse()
	c.body, c.textual = len(payload)-l.body, l.body
	text := c.copy(payload[:l.body])
	m.ID, m.Key, m.Subject = l.id.of(text), l.key.of(text), l.subject.of(text)
	m.Headers = c.headersOf(payload, text, l)
	m.Body = c.bytes.Cut(len(payload)-l.body, sharedBytes)
	copy(m.Body, payload[l.body:])
}

// record returns w as it was published. The body is that of the segment.
func (c *cutter) record(w written) *record {
	payload, l := w.parse()
	text := c.copy(payload[:l.body])
	r := new(record)
	r.id, r.key, r.subject = l.id.of(text), l.key.of(text), l.subject.of(text)
	r.headers = c.headersOf(payload, text, l)
	r.body = payload[l.body:]
	r.seq, r.published = w.seq(), time.Unix(0, w.published())
	return r
}

// headersOf returns the headers of a payload, of which text is a copy.
func (c *cutter) headersOf(payload []byte, text string, l layout) messaging.Headers {
	if l.headers == 0 {
		return nil
	}
	headers := c.headers.Cut(l.headers, sharedHeaders)
	at := l.headersAt
	for i := range headers {
		key := field(payload, at)
		value := field(payload, key.to)
		headers[i] = messaging.Header{Key: key.of(text), Value: value.of(text)}
		at = value.to
	}
	return headers
}
