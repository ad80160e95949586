package kafka

import (
	"strconv"
	"strings"
	"time"

	"github.com/fa5182d2/messaging"
	"github.com/fa5182d2/messaging/internal/slab"
)

// Record is what the Raw of a [messaging.Delivery] points to: the record as
// Kafka has it, where the Message has no place for it, and what settling needs.
// It must not be copied.
type Record struct {
	// Topic, Partition and Offset are where the record is.
	Topic     string
	Partition int32
	Offset    int64

	// NullKey says that the record has no key. A Message has none either when
	// the record's key is empty.
	NullKey bool

	self *Record // a copy is told by it
	pass *pass
	upTo tally // of the assignment, with this delivery
	size int
}

// void reports whether the partition was set back to r or before it since.
func (r *Record) void() bool { return r.Offset >= r.pass.until }

// How much deliveries share of one allocation: whoever keeps one keeps as much
// alive.
const (
	sharedParcels = 32
	sharedText    = 16 << 10
	sharedBytes   = 32 << 10
	sharedHeaders = 64
)

// parcel is one allocation for all that a delivery is made of.
type parcel struct {
	delivery messaging.Delivery
	record   Record
}

// cutter makes deliveries. Nothing of them is the memory that was fetched, so
// that it can be used again, and no delivery keeps more than its neighbours.
// Only Receive uses it.
type cutter struct {
	topic   string
	parcels slab.Of[parcel]
	bytes   slab.Of[byte]
	headers slab.Of[messaging.Header]
	text    strings.Builder
}

// deliver makes a delivery of a record.
func (c *cutter) deliver(a *assignment, r *record) (*messaging.Delivery, error) {
	p := &c.parcels.Cut(1, sharedParcels)[0]
	d, raw := &p.delivery, &p.record
	*raw = Record{
		Topic: c.topic, Partition: a.partition, Offset: r.offset, NullKey: r.key == nil,
		self: raw, pass: a.pass(), upTo: a.sent, size: r.size,
	}
	if err := c.message(&d.Message, r); err != nil {
		return nil, err
	}
	d.Published = time.UnixMilli(r.time)
	d.Redelivered = r.offset < a.reached
	d.Partition, d.Offset = a.name, a.text(r.offset)
	if d.ID == "" {
		d.ID = c.coordinates(d)
	}
	d.Lease, d.Raw = &a.lease, raw
	return d, nil
}

// message copies a record's key, headers and value. What we put into headers is
// taken out of them.
func (c *cutter) message(m *messaging.Message, r *record) error {
	c.room(len(r.key) + len(r.headers))
	m.Key = c.copy(r.key)
	switch {
	case r.value == nil: // a tombstone
	case len(r.value) == 0:
		m.Body = []byte{}
	default:
		m.Body = c.bytes.Cut(len(r.value), sharedBytes)
		copy(m.Body, r.value)
	}
	d := decoder{b: r.headers}
	var id, subject bool
	var headers []messaging.Header
	for i := range r.headerCount {
		key, value := d.field(), d.field()
		switch {
		case !id && string(key) == idHeader:
			id, m.ID = true, c.copy(value)
		case !subject && string(key) == subjectHeader:
			subject, m.Subject = true, c.copy(value)
		default:
			if headers == nil {
				headers = c.headers.Cut(r.headerCount-i, sharedHeaders)[:0]
			}
			headers = append(headers, messaging.Header{Key: c.copy(key), Value: c.copy(value)})
		}
	}
	m.Headers = headers[:len(headers):len(headers)]
	if d.bad {
		return &corrupt{r.offset, errMalformed}
	}
	return nil
}

// room makes room for texts. A Builder that does not grow does not move what it
// has, so its texts can be cut from it while it fills.
func (c *cutter) room(n int) {
	if c.text.Cap()-c.text.Len() >= n {
		return
	}
	size := min(max(1<<10, 2*c.text.Cap()), sharedText)
	c.text = strings.Builder{}
	c.text.Grow(max(n, size))
}

// copy returns a text, for which there is room.
func (c *cutter) copy(b []byte) string {
	from := c.text.Len()
	c.text.Write(b)
	return c.text.String()[from:]
}

// coordinates is the id of a record that has none: where it is.
func (c *cutter) coordinates(d *messaging.Delivery) string {
	c.room(len(c.topic) + len(d.Partition) + len(d.Offset) + 2)
	from := c.text.Len()
	c.text.WriteString(c.topic)
	c.text.WriteByte('/')
	c.text.WriteString(d.Partition)
	c.text.WriteByte('/')
	c.text.WriteString(string(d.Offset))
	return c.text.String()[from:]
}

// offsetTexts is how many texts of offsets share an allocation.
const offsetTexts = 32

// digits are the texts of the offsets from one to before another.
type digits struct {
	all      string
	from, to int64
	width    int
}

// text returns the text of an offset.
func (s *digits) text(offset int64) messaging.Offset {
	if offset < s.from || offset >= s.to {
		s.write(offset)
	}
	i := int(offset-s.from) * s.width
	return messaging.Offset(s.all[i : i+s.width])
}

// write writes the texts of the offsets from one on, as far as they have the
// same length.
func (s *digits) write(from int64) {
	var buf [offsetTexts * 19]byte
	texts := strconv.AppendInt(buf[:0], from, 10)
	width := len(texts)
	for range offsetTexts - 1 {
		last := len(texts) - width
		texts = append(texts, texts[last:]...)
		if !increment(texts[last+width:]) {
			texts = texts[:last+width]
			break
		}
	}
	s.all, s.width = string(texts), width
	s.from, s.to = from, from+int64(len(texts)/width)
}

// increment adds one to a decimal number. It reports whether that has as many
// digits.
func increment(digits []byte) bool {
	for i := len(digits) - 1; i >= 0; i-- {
		if digits[i] != '9' {
			digits[i]++
			return true
		}
		digits[i] = '0'
	}
	return false
}
