package memory

import (
	"time"

	"github.com/fa5182d2/messaging"
)

// Receipt is what the Raw of a queue's [messaging.Delivery] points to: what
// settling needs. It must not be copied.
type Receipt struct {
	// Sequence is the message's place in its channel, from 1, by the order in
	// which messages were stored. It is the same on every delivery.
	Sequence uint64

	q *queue
	item
	lease   messaging.Lease
	at      time.Duration // of Receive, by the subscription's clock
	over    bool          // settled, given back or lost
	settled verb          // the settle whose answer was lost
	links[Receipt]
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

// The most that small deliveries share of an allocation, see sharedText.
const (
	leastParcels   = 4
	sharedParcels  = 25
	mostPrepared   = 200 // that wait for a batch like the latest
	sharedPointers = 128
	sharedBytes    = 16 << 10
)

// hand takes n items of the subscription, whose mutex is held, for w.
func (w *waiter) hand(n int) {
	s := w.q.s
	at := s.clock()
	w.latest = n
	if w.q.held.n == 0 {
		s.leases = min(s.leases, at+w.q.hold)
	}
	for range n {
		p := w.parcel()
		r := &p.receipt
		r.q, r.at, r.item = w.q, at, s.next()
		p.delivery.Attempt, p.delivery.Redelivered = s.attempt(&r.item)
		push(&w.q.held, r)
		if chaos := s.c.chaos; chaos.roll(chaos.now().Expire) {
			s.later.add(at+time.Duration(chaos.float()*float64(w.q.lease)), later{expire: r})
		}
		w.taken = append(w.taken, p)
	}
	s.c.pages.reading.Add(1)
}

// fill copies the messages into their deliveries. Nothing is locked: until it
// is done nobody else knows them, but for their leases.
func (w *waiter) fill() []*messaging.Delivery {
	ds := w.cut.pointers.Cut(len(w.taken), sharedPointers)
	for i, p := range w.taken {
		d, r := &p.delivery, &p.receipt
		m := r.written()
		r.Sequence = m.seq()
		w.cut.message(&d.Message, m)
		d.Published = time.Unix(0, m.published())
		d.Lease, d.Raw = &r.lease, r
		ds[i] = d
	}
	w.q.s.c.pages.reading.Add(-1)
	clear(w.taken)
	w.taken = w.taken[:0]
	if cap(w.taken) > 8*mostPrepared {
		w.taken = nil
	}
	return ds
}

// prepare makes room for a batch like the latest, while nothing is locked and
// nobody waits for it.
func (w *waiter) prepare() {
	have := len(w.parcels)
	for _, more := range w.stock {
		have += len(more)
	}
	for ; have < min(max(1, w.latest), mostPrepared); have += w.size {
		w.size = min(max(2*w.size, leastParcels), sharedParcels)
		w.stock = append(w.stock, make([]parcel, w.size))
	}
	w.cut.prepare()
}

// parcel returns a new one.
func (w *waiter) parcel() *parcel {
	if len(w.parcels) == 0 {
		last := len(w.stock) - 1
		if last < 0 {
			w.stock, last = append(w.stock, make([]parcel, sharedParcels)), 0
		}
		w.parcels, w.stock[last] = w.stock[last], nil
		w.stock = w.stock[:last]
	}
	p := &w.parcels[0]
	w.parcels = w.parcels[1:]
	return p
}
