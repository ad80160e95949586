package memory

import (
	"time"

	"github.com/fa5182d2/messaging"
)

// Receipt is what the Raw of a queue's [messaging.Delivery] points to: what
// settling needs. It must not be copied.
type Receipt struct {
	q *queue
	item
	lease   messaging.Lease
	at      time.Duration // of Receive, by the subscription's clock
	over    bool          // settled, given back or lost
	settled verb          // the settle whose answer was lost
	links[Receipt]
}

// Sequence is the message's place in its channel, from 1, by the order in
// which messages were stored. It is the same on every delivery. On a Receipt
// that no Receive has returned it is 0.
func (r *Receipt) Sequence() uint64 {
	if r.rec == nil {
		return 0
	}
	return r.rec.seq
}

// isCopy reports whether r is a copy of a receipt that was held at the time:
// the links of a copy lead to others, but theirs do not lead to it. The
// subscription's mutex is held.
func (r *Receipt) isCopy() bool {
	switch {
	case r.over:
		return false // whatever it is, nothing is done to it
	case r.prev == nil:
		return r.q.held.first != r
	}
	return r.prev.next != r
}

func (r *Receipt) chain() *links[Receipt] { return &r.links }

// parcel is one allocation for all that a delivery is made of.
type parcel struct {
	delivery messaging.Delivery
	receipt  Receipt
}

// The most that small deliveries share of an allocation, see sharedRecords.
const (
	sharedParcels = 24
	sharedBytes   = 16 << 10
)

// prepare makes room for a batch like the latest, while nothing is locked.
func (w *waiter) prepare() {
	if n := max(1, w.latest); n > len(w.parcels.free) {
		w.parcels.refill(n, sharedParcels)
	}
}

// hand takes n entries of the subscription, whose mutex is held, for w.
func (w *waiter) hand(n int) []parcel {
	s := w.q.s
	parcels := w.parcels.cut(n, sharedParcels)
	w.latest = n
	at := s.clock()
	if w.q.held.n == 0 {
		s.leases = min(s.leases, at+w.q.hold)
	}
	for i := range parcels {
		p := &parcels[i]
		r := &p.receipt
		r.q, r.at, r.item = w.q, at, s.next()
		p.delivery.Attempt, p.delivery.Redelivered = s.attempt(&r.item)
		push(&w.q.held, r)
		if chaos := s.c.chaos; chaos.roll(chaos.now().Expire) {
			s.later.add(at+time.Duration(chaos.float()*float64(w.q.lease)), later{expire: r})
		}
	}
	return parcels
}

// fill copies the messages into their deliveries. Nothing is locked: until it
// is done nobody else knows them, but for their leases.
func (w *waiter) fill(parcels []parcel) []*messaging.Delivery {
	ds := w.pointers.cut(len(parcels), sharedParcels)
	for i := range parcels {
		d, r := &parcels[i].delivery, &parcels[i].receipt
		rec := r.rec
		d.ID, d.Key, d.Subject, d.Published = rec.id, rec.key, rec.subject, rec.published
		d.Body = w.bytes.cut(len(rec.body), sharedBytes)
		copy(d.Body, rec.body)
		if len(rec.headers) > 0 {
			d.Headers = w.headers.cut(len(rec.headers), sharedHeaders)
			copy(d.Headers, rec.headers)
		}
		d.Lease, d.Raw = &r.lease, r
		ds[i] = d
	}
	return ds
}
