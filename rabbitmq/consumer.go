package rabbitmq

import (
	"context"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/fa5182d2/messaging"
)

// consumer is what takes messages for a subscriber over one connection. Its
// deliveries share its lease, and end with it: a delivery tag means something
// on its own channel only.
type consumer struct {
	q    *queue
	c    *connection
	ch   *amqp.Channel
	over chan struct{} // closed when it has ended and cause is set

	cause error // why it ended
	lease messaging.Lease

	mu          sync.Mutex
	dead        bool            // nothing of it can be settled any more
	ready       []amqp.Delivery // not yet handed over
	next        int             // the first of ready that is
	first, last *Receipt        // what was handed over and is unsettled, by delivery tag
}

// Receipt is what the Raw of a [messaging.Delivery] points to: the native
// delivery, and what settling needs. It must not be copied.
type Receipt struct {
	// Delivery is the native delivery with all its properties. It is to be
	// read: settling it with its own methods would go behind the back of its
	// subscriber, and loses its channel with all that is unsettled.
	Delivery amqp.Delivery

	self       *Receipt // to tell a copy
	s          *consumer
	attempt    int
	state      receiptState
	unsure     verb // of a settle that was given to the connection and not seen to be written
	marked     bool // by the settle under way
	prev, next *Receipt
}

type receiptState uint8

const (
	held    receiptState = iota
	claimed              // a Nack with a delay is under way
	settled
)

// consumer opens the channel of a consumer, and has it wait until it is wanted.
func (q *queue) consumer(ctx context.Context, c *connection) (*consumer, error) {
	s := &consumer{q: q, c: c, over: make(chan struct{})}
	opened := make(chan error, 1)
	c.wg.Go(func() {
		var err error
		if s.ch, err = c.conn.Channel(); err == nil {
			err = s.ch.Qos(q.o.inflight, 0, false)
		}
		opened <- judged(err)
	})
	select {
	case err := <-opened:
		if err != nil {
			return nil, err
		}
	case <-ctx.Done():
		return nil, ended(ctx, ctx.Err())
	}
	closed := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	q.current.Store(s)
	c.wg.Go(func() { s.run(closed) })
	return s, nil
}

func (s *consumer) ended() <-chan struct{} { return s.over }

func (s *consumer) close() { s.c.close() }

// run consumes until the channel ends or the subscriber is closed.
func (s *consumer) run(closed <-chan *amqp.Error) {
	defer close(s.over)
	select {
	case <-s.q.wanted:
	case <-s.q.closing:
		s.lose(messaging.ErrClosed)
		return
	case err := <-closed:
		s.lose(s.closedBy(err))
		return
	}
	for again := true; again; {
		deliveries, err := s.ch.Consume(s.q.name, "messaging", false, false, false, false, nil)
		if err != nil {
			s.lose(judged(err))
			return
		}
		again = s.pump(deliveries, closed)
	}
}

// pump takes deliveries in, and says whether consuming may begin again.
func (s *consumer) pump(deliveries <-chan amqp.Delivery, closed <-chan *amqp.Error) (again bool) {
	for {
		select {
		case d, ok := <-deliveries:
			switch {
			case ok:
				s.take(d)
				continue
			case s.ch.IsClosed():
				s.lose(s.closedBy(<-closed))
				return false
			}
			// The broker cancelled the consumer: its queue was deleted, or has
			// moved.
			if err := lookQueue(s.ch, s.q.name); err != nil {
				s.lose(err)
				return false
			}
			return true
		case <-s.q.closing:
			s.lose(messaging.ErrClosed)
			s.leave(deliveries)
			return false
		}
	}
}

// closedBy is what the end of the channel says. One that the broker closed with
// 406 held something for too long (consumer_timeout): the next may go on.
func (s *consumer) closedBy(err *amqp.Error) error {
	switch {
	case err == nil:
		return s.c.why()
	case err.Code == amqp.PreconditionFailed:
		return err
	}
	return judged(err)
}

// take puts a delivery where Receive finds it.
func (s *consumer) take(d amqp.Delivery) {
	s.mu.Lock()
	if s.next > 0 && s.next == len(s.ready) {
		s.ready, s.next = s.ready[:0], 0
	}
	if !s.dead {
		s.ready = append(s.ready, d)
	}
	s.mu.Unlock()
	s.q.tell()
}

// lose ends the hold on everything.
func (s *consumer) lose(cause error) {
	s.mu.Lock()
	if cause != nil && s.cause == nil {
		s.cause = cause
	}
	s.dead = true
	s.ready, s.next, s.first, s.last = nil, 0, nil, nil
	s.mu.Unlock()
	s.lease.Lose()
}

// leave gives back what is unsettled, untouched where the broker can tell, and
// ends the channel in order.
func (s *consumer) leave(deliveries <-chan amqp.Delivery) {
	if s.ch.Cancel("messaging", false) != nil {
		return
	}
	for range deliveries {
		// they are given back with the others
	}
	if s.ch.Nack(0, true, true) == nil { // 0 is all
		_ = s.ch.Close()
	}
}

// parcel is one allocation for what a delivery is made of.
type parcel struct {
	delivery messaging.Delivery
	receipt  Receipt
}

// hand hands over up to max deliveries, and says whether there are more.
func (s *consumer) hand(max int) (ds []*messaging.Delivery, more bool) {
	s.mu.Lock()
	n := min(max, len(s.ready)-s.next)
	if n == 0 {
		s.mu.Unlock()
		return nil, false
	}
	ps := make([]parcel, n)
	for i := range ps {
		r := &ps[i].receipt
		r.Delivery, s.ready[s.next] = s.ready[s.next], amqp.Delivery{}
		s.next++
		r.self, r.s = r, s
		s.push(r)
	}
	more = s.next < len(s.ready)
	s.mu.Unlock()
	ds = make([]*messaging.Delivery, n)
	for i := range ps {
		p := &ps[i]
		s.q.unwrap(&p.delivery, &p.receipt)
		p.delivery.Lease, p.delivery.Raw = &s.lease, &p.receipt
		ds[i] = &p.delivery
	}
	return ds, more
}

// unwrap fills d from what came.
func (q *queue) unwrap(d *messaging.Delivery, r *Receipt) {
	n := &r.Delivery
	d.ID, d.Body, d.Redelivered = n.MessageId, n.Body, n.Redelivered
	exchange, key := n.Exchange, n.RoutingKey
	attempts := 0
	if was, ok := n.Headers[delayHeader].(amqp.Table); ok {
		exchange, key = text(was[wasExchange]), text(was[wasKey])
		attempts, _ = number(was[wasAttempts])
		d.Redelivered = true
	}
	if exchange != "" {
		d.Subject = key // otherwise it is a queue's name
	}
	read(n.Headers, &d.Message)
	if q.o.classic {
		return
	}
	count, counted := number(n.Headers["x-delivery-count"])
	d.Attempt = attempts + count + 1
	r.attempt = d.Attempt
	if n.Redelivered && !counted {
		q.warn.Do(func() {
			q.o.say("rabbitmq: the queue does not count attempts, so it is no quorum queue: open it with type=classic", "queue", q.name)
		})
		d.Attempt, r.attempt = 0, 0
	}
}

// number reads an integer, which may come in any width.
func number(v any) (int, bool) {
	switch n := v.(type) {
	case int8:
		return int(n), true
	case int16:
		return int(n), true
	case int32:
		return int(n), true
	case int64:
		return int(n), true
	case uint8:
		return int(n), true
	case uint16:
		return int(n), true
	case uint32:
		return int(n), true
	}
	return 0, false
}

func (s *consumer) push(r *Receipt) {
	if r.prev = s.last; r.prev != nil {
		r.prev.next = r
	} else {
		s.first = r
	}
	s.last = r
}

func (s *consumer) unlink(r *Receipt) {
	if r.prev != nil {
		r.prev.next = r.next
	} else {
		s.first = r.next
	}
	if r.next != nil {
		r.next.prev = r.prev
	} else {
		s.last = r.prev
	}
	r.prev, r.next = nil, nil
}
