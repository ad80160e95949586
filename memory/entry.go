package memory

import (
	"github.com/fa5182d2/messaging"
)

// Entry is what the Raw of a stream's [messaging.Delivery] points to: what
// settling needs. It must not be copied.
type Entry struct {
	// Sequence is the message's place in its channel, from 1, by the order in
	// which messages were stored. It is the same on every delivery, and rises
	// with the offset in each partition.
	Sequence uint64

	self   *Entry // a copy is told by it
	a      *assignment
	offset int64
	upTo   tally // of the assignment, with this delivery
	size   int
	resetN uint32 // how often the assignment had been set back
}

// run is a part of what a Receive returns: consecutive records of a partition.
type run struct {
	a       *assignment
	from    int64
	n       int
	before  tally
	reached int64 // what lies below may have been delivered before
	resetN  uint32
}

// copies is one allocation for all that a delivery is made of.
type copies struct {
	delivery messaging.Delivery
	entry    Entry
}

// cutter is the memory that deliveries are cut from. Who keeps one delivery
// keeps at most this much of its neighbours alive, see sharedRecords.
type cutter struct {
	copies   slab[copies]
	pointers slab[*messaging.Delivery]
	bytes    slab[byte]
	headers  slab[messaging.Header]
}

// fill copies the records that were collected into deliveries. Nothing is
// locked.
func (s *stream) fill() []*messaging.Delivery {
	ds := s.cut.pointers.cut(len(s.recs), sharedParcels)
	all := s.cut.copies.cut(len(s.recs), sharedParcels)
	i := 0
	for _, r := range s.runs {
		for j := range r.n {
			d, e := &all[i].delivery, &all[i].entry
			s.copy(d, s.recs[i])
			offset := r.from + int64(j)
			size := s.recs[i].size()
			r.before.n++
			r.before.bytes += size
			*e = Entry{Sequence: s.recs[i].seq, self: e, a: r.a, offset: offset, upTo: r.before, size: size, resetN: r.resetN}
			d.Redelivered = offset < r.reached
			d.Partition, d.Offset = r.a.p.name, r.a.text(offset)
			d.Lease, d.Raw = &r.a.lease, e
			ds[i] = d
			i++
		}
	}
	clear(s.recs)
	s.recs, s.runs = s.recs[:0], s.runs[:0]
	return ds
}

// copy copies a record's message.
func (s *stream) copy(d *messaging.Delivery, r *record) {
	d.ID, d.Key, d.Subject, d.Published = r.id, r.key, r.subject, r.published
	d.Body = s.cut.bytes.cut(len(r.body), sharedBytes)
	copy(d.Body, r.body)
	if len(r.headers) > 0 {
		d.Headers = s.cut.headers.cut(len(r.headers), sharedHeaders)
		copy(d.Headers, r.headers)
	}
}
